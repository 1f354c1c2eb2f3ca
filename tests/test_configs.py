"""The configs that come with textadv: found by name, and part of what is installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from textadv import cli
from textadv.errors import InputError
from textadv.system.configs import FOLDER, find_config, named_configs

ROOT = Path(__file__).parents[1]
BUILT_FROM = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "textadv", "configs")


def test_a_config_has_the_name_of_its_file() -> None:
    assert FOLDER == ROOT / "configs"
    assert {find_config(name) for name in named_configs()} == {str(file) for file in FOLDER.rglob("*.yaml")}
    assert find_config("imdb/small") == str(ROOT / "configs" / "imdb" / "small.yaml")


def test_a_file_wins_over_a_name_and_a_folder_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").mkdir()
    assert find_config("quickstart") == str(FOLDER / "quickstart.yaml")
    (tmp_path / "quickstart").rmdir()
    (tmp_path / "quickstart").write_text("seed: 5")
    assert find_config("quickstart") == "quickstart"
    assert cli.parse(["finetune", "--config", "quickstart"])[1]["experiment"].seed == 5


@pytest.mark.parametrize("name", ["imdb/smal", "imdb", "", "../configs/quickstart", "/imdb/small", "no/such.yaml"])
def test_another_name_is_refused_with_the_names_there_are(name: str) -> None:
    with pytest.raises(InputError) as refusal:
        find_config(name)
    message = str(refusal.value)
    assert message.startswith(f"--config {name}: no such file, and no config of that name; there are ")
    assert all(known in message for known in named_configs())


@pytest.mark.parametrize("arguments", [["--config", "imdb/small"], ["--config=imdb/small"]])
def test_a_name_means_what_the_path_means(arguments: list[str]) -> None:
    _, by_name = cli.parse(["finetune", *arguments, "--seed", "3"])
    _, by_path = cli.parse(["finetune", "--seed", "3", "--config", str(ROOT / "configs/imdb/small.yaml")])
    assert by_name == by_path
    assert by_name["experiment"].data.source == "stanfordnlp/imdb"


def test_the_quickstart_finds_its_config_in_a_folder_of_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parser takes the path for a pattern."""
    (tmp_path / "a[b]*").mkdir()
    monkeypatch.setattr(cli, "QUICKSTART_CONFIG", shutil.copy(FOLDER / "quickstart.yaml", tmp_path / "a[b]*"))
    assert cli.parse(["quickstart"])[1]["experiment"].data.source == "builtin"


@pytest.mark.slow
def test_an_installed_wheel_needs_no_checkout(tmp_path: Path) -> None:
    source, elsewhere, target = tmp_path / "source", tmp_path / "elsewhere", tmp_path / "target"
    for folder in (source, elsewhere):
        folder.mkdir()
    for name in BUILT_FROM:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    build = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run(build, check=True, cwd=elsewhere)
    (wheel,) = tmp_path.glob("textadv-*.whl")
    packed = {name for name in ZipFile(wheel).namelist() if name.startswith("textadv/configs/")}
    assert packed == {f"textadv/configs/{name}.yaml" for name in named_configs()}
    shutil.rmtree(source)
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)], check=True)

    def textadv(*arguments: str) -> str:
        """What the installed command prints."""
        done = subprocess.run(
            [sys.executable, target / "bin" / "textadv", *arguments],
            cwd=elsewhere,
            env=os.environ | {"PYTHONPATH": str(target)},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    assert "source: builtin" in textadv("quickstart", "--print_config")
    assert "source: stanfordnlp/imdb" in textadv("finetune", "--config", "imdb/small", "--print_config")
    assert textadv("--version").startswith("textadv ")
    assert textadv("--help").startswith("usage: textadv")
    few = ["--pretraining.steps", "2", "--finetuning.steps", "2", "--trainer.accelerator", "cpu"]
    assert textadv("quickstart", *few, "--output", "first").startswith("method ")
    rows = [f"the film number {i} was {word},{word}" for i in range(20) for word in ("good", "bad")]
    (elsewhere / "own.csv").write_text("\n".join(["text,label", *rows]))
    own = ["--data.train", "own.csv", "--data.unlabeled", "own.csv", "--output", "own"]
    assert "labels seen" in textadv("finetune", *own, *few)
    assert '"label"' in textadv("predict", "--checkpoint", "own", "--text", "a good film")
