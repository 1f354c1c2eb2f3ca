"""A disk that is full, read-only, or has no room for temporary files: one line, and what was saved before is whole."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from textadv.checkpoints import LAST, PREVIOUS, load_file, newest_intact
from textadv.commands.folder import run_folder
from textadv.corpus.preparation import prepare
from textadv.corpus.store import TokenStore
from textadv.errors import InputError
from textadv.settings import DataSettings, Experiment, TokenizerSettings
from textadv.training import runs


def mount(*arguments: str) -> bool:
    try:
        return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)):
        pytest.skip("mounting a file system takes the rights of the administrator")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path, room: int) -> Path:
    """Fill a disk but for some pages."""
    status = os.statvfs(disk)
    filler = disk / "filler"
    filler.write_bytes(bytes(status.f_bavail * status.f_frsize - room))
    return filler


def longer(experiment: Experiment, steps: int) -> Experiment:
    return replace(
        experiment,
        finetuning=replace(experiment.finetuning, steps=steps),
        pretraining=replace(experiment.pretraining, steps=steps),
    )


@pytest.mark.parametrize("kind", ["finetune", "pretrain"])
@pytest.mark.parametrize("room", [0, 4096, 12288])
def test_a_full_disk_in_training(experiment: Experiment, store: TokenStore, disk: Path, room: int, kind: str) -> None:
    def train(steps: int, resume: Path | None) -> None:
        if kind == "finetune":
            runs.finetune(longer(experiment, steps), store, disk, None, resume)
        else:
            runs.pretrain(longer(experiment, steps), store, disk, resume)

    train(3, None)
    files = {file.name: file.read_bytes() for file in disk.iterdir() if file.is_file()}
    filler = fill(disk, room)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\)") as error:
        train(9, disk / LAST)
    assert "\n" not in str(error.value)
    assert newest_intact(disk) == (disk / LAST, [])
    assert (disk / LAST).read_bytes() == files[LAST]
    assert {file.name for file in disk.iterdir()} == {*files, "filler", "tensorboard"}
    filler.unlink()
    train(9, disk / LAST)
    assert load_file(disk / LAST)["global_step"] == 9
    assert load_file(disk / PREVIOUS)["global_step"] == 6


def test_a_read_only_disk_in_training(experiment: Experiment, store: TokenStore, disk: Path) -> None:
    runs.finetune(longer(experiment, 3), store, disk, None)
    files = {file.name: file.read_bytes() for file in disk.iterdir() if file.is_file()}
    assert mount("-o", "remount,ro", str(disk))
    with pytest.raises(InputError, match=r"cannot be written \(Read-only file system\)"):
        runs.finetune(longer(experiment, 9), store, disk, None, disk / LAST)
    assert {file.name: file.read_bytes() for file in disk.iterdir() if file.is_file()} == files
    with (
        pytest.raises(InputError, match=r"--output .*: cannot be written \(Read-only file system\)"),
        run_folder("finetune", str(disk / "run"), asdict(experiment)),
    ):
        pass


def test_a_full_disk_keeps_the_settings_of_the_run_before(experiment: Experiment, disk: Path) -> None:
    with run_folder("finetune", str(disk), asdict(experiment)) as (_, metrics):
        metrics["steps"] = 3
    files = {file.name: file.read_bytes() for file in disk.iterdir()}
    filler = fill(disk, 0)
    with pytest.raises(InputError), run_folder("finetune", str(disk), asdict(longer(experiment, 9))):
        pass
    filler.unlink()
    assert {file.name: file.read_bytes() for file in disk.iterdir()} == files
    assert set(files) == {"config.yaml", "metrics.json"}


def test_a_full_disk_in_preparation(tmp_path: Path, disk: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"word{i},{'ab'[i % 2]}\n" for i in range(4000)))
    data = DataSettings(train=str(tmp_path / "train.csv"), cache=str(disk / "cache"))
    filler = fill(disk, 65536)
    with pytest.raises(InputError, match=r"--data.cache .*: cannot write: .*(space|written)"):
        prepare(data, TokenizerSettings(min_documents=1))
    assert list((disk / "cache" / "stores").iterdir()) == []
    filler.unlink()
    assert len(prepare(data, TokenizerSettings(min_documents=1)).splits["train"]) == 3400


@pytest.mark.slow
def test_no_room_for_temporary_files(tmp_path: Path, disk: Path) -> None:
    """Nothing is written there, so all goes well."""
    fill(disk, 0)
    rows = "".join(f"good film {i},a\nbad film {i},b\n" for i in range(20))
    (tmp_path / "train.csv").write_text(f"text,label\n{rows}")
    flags = ["--data.train", "train.csv", "--data.cache", "cache", "--output", "run", "--trainer.accelerator", "cpu"]
    flags += ["--finetuning.method", "adversarial", "--finetuning.steps", "2", "--model.hidden_size", "8"]
    flags += ["--pretrained", "none", "--tokenizer.min_documents", "1"]
    result = subprocess.run(
        [sys.executable, "-c", "from textadv.cli import main; main()", "finetune", *flags],
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(disk), "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert newest_intact(tmp_path / "run") == (tmp_path / "run" / LAST, [])
