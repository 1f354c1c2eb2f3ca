"""The configs that come with textadv, found by name; `.ci/wheel` looks whether they are part of what is installed."""

import shutil
from pathlib import Path

import pytest

from textadv import cli
from textadv.errors import InputError
from textadv.system.configs import FOLDER, find_config, named_configs

ROOT = Path(__file__).parents[1]


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
