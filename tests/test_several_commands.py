"""GlobalBatch commands in two processes: started here or by torchrun, stopped and killed; each takes half a minute."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import torch
import yaml
from readers import curves

from textadv.checkpoints import BEST, LAST, load_file
from textadv.system.processes import RANKS

pytestmark = pytest.mark.slow
TRAIN = str(Path(__file__).parents[1] / "train.py")
QUICKSTART = str(Path(TRAIN).parent / "configs" / "quickstart.yaml")
SETTINGS = {
    "data": {"train": "train.csv", "test": "train.csv", "cache": "cache", "keep_duplicates": True},
    "tokenizer": {"min_documents": 1},
    "model": {"embedding_size": 6, "hidden_size": 7, "head_size": 5},
    "pretraining": {"steps": 8, "batch_size": 4, "window": 6, "candidates": 10, "validate_every": 4},
    "finetuning": {
        "method": "adversarial",
        "batch_size": 4,
        "unlabeled_batch_size": 4,
        "epsilon": 0.5,
        "validate_every": 10,
        "patience": 10**6,
    },
    "trainer": {"accelerator": "cpu"},
}
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ONE_TASK = {"SLURM_NTASKS": "1", "SLURM_NNODES": "1", "SLURM_JOB_NAME": "train", "SLURM_JOB_ID": "77"}
ONE_TASK |= {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Start a command in two processes in a folder with a small corpus."""
    words = [("good", 1), ("bad", 0), ("of the week", 1)]
    rows = [(f"the film number{i} was {word}", label) for i in range(20) for word, label in words]
    with (tmp_path / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(SETTINGS))
    environment = {name: value for name, value in os.environ.items() if name not in RANKS}

    def command(
        name: str,
        *flags: object,
        devices: int = 2,
        starter: Sequence[str] = (),
        threads: int = 1,
        slurm: Mapping[str, str] | None = None,
    ) -> "subprocess.Popen[str]":
        given = [name, "--config", "config.yaml", "--trainer.devices", devices, *flags]
        return subprocess.Popen(
            [sys.executable, *starter, TRAIN, *map(str, given)],
            cwd=tmp_path,
            env=environment | {"OMP_NUM_THREADS": str(threads)} | dict(slurm or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return command


def complete(process: "subprocess.Popen[str]") -> tuple[str, str]:
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return output, errors


def weights(path: Path) -> dict[str, torch.Tensor]:
    content = load_file(path)
    found: dict[str, torch.Tensor] = content.get("current_model_state") or content["state_dict"]
    return found


def same(a: Path, b: Path) -> bool:
    first, second = weights(a), weights(b)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def ranks_of(process: "subprocess.Popen[str]") -> list[int]:
    """Process ids of the ranks, in their order."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process.pid and b"spawn_main" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return sorted(found)


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def wait_for_step(process: "subprocess.Popen[str]", step: int) -> None:
    assert process.stderr is not None
    lines = []
    while f"step {step}/" not in (lines or [""])[-1]:
        lines.append(process.stderr.readline())
        assert lines[-1], lines


LONG = ["--output", "parts", "--pretrained", "none", "--finetuning.steps", 10**6]


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("target", ["starter", "rank 0", "rank 1"])
def test_signals(start: Start, tmp_path: Path, devices: int, signum: signal.Signals, code: int, target: str) -> None:
    """To the process that the user has started, or to one of those that it has started."""
    if devices == 1 and target != "starter":
        pytest.skip("there is only one process")
    process = start("finetune", *LONG, devices=devices)
    wait_for_step(process, 20)
    ranks = ranks_of(process)
    assert len(ranks) == (2 if devices == 2 else 0)
    sent = time.monotonic()
    os.kill(process.pid if target == "starter" else ranks[int(target[-1])], signum)
    _, errors = process.communicate(timeout=60)
    seconds = time.monotonic() - sent
    assert (process.returncode, seconds < 10) == (code, True), errors
    assert not any(map(alive, ranks))
    step = load_file(tmp_path / "parts" / LAST)["global_step"]
    told = [line for line in errors.splitlines() if not line.startswith("fine-tuning")]
    assert told == [
        f"textadv: stopped by {signum.name} after step {step}, saved in parts/last.ckpt; "
        "`textadv finetune --resume --output parts` with the same settings goes on from there"
    ]
    print(f"{devices} processes, {signum.name} to {target}: exit code {code} after {seconds:.1f} s, saved step {step}")


@pytest.mark.parametrize("target", ["starter", "rank 0", "rank 1"])
def test_kills(start: Start, tmp_path: Path, target: str) -> None:
    """What was killed ends all, and goes on as if nothing had happened."""
    process = start("finetune", *LONG)
    wait_for_step(process, 20)
    ranks = ranks_of(process)
    killed = time.monotonic()
    os.kill(process.pid if target == "starter" else ranks[int(target[-1])], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)  # ends when no rank is left that could write
    seconds = time.monotonic() - killed
    while any(map(alive, ranks)):
        assert time.monotonic() - killed < 60
    if target == "starter":
        assert process.returncode == -9
        assert "textadv: error: the process that started this one is gone" in errors
    else:
        assert process.returncode == 137, errors
        assert errors.splitlines()[-1] == (
            f"textadv: error: process {target[-1]} was ended by SIGKILL, and the others with it; what has been saved "
            "is kept, and --resume goes on from there"
        )
    step = load_file(tmp_path / "parts" / LAST)["global_step"]
    steps = ["--pretrained", "none", "--finetuning.steps", (step // 10 + 2) * 10]
    complete(start("finetune", "--output", "parts", "--resume", *steps))
    complete(start("finetune", "--output", "whole", *steps))
    assert same(tmp_path / "parts" / LAST, tmp_path / "whole" / LAST)
    assert curves(tmp_path / "parts") == curves(tmp_path / "whole")
    print(f"SIGKILL to {target}: all ended after {seconds:.1f} s, went on from step {step} exactly")


def test_pretraining_and_finetuning_in_one_command(start: Start, tmp_path: Path) -> None:
    """Started here, by torchrun and in a SLURM job of one task: the same bits; in one process: the same numbers."""
    flags = ["--finetuning.steps", 20, "--finetuning.method", "adversarial+vat", "--data.labels_per_class", 10]
    ways = {"two": {}, "torchrun": {"starter": TORCHRUN}, "slurm": {"slurm": ONE_TASK}, "one": {"devices": 1}}
    for name, options in ways.items():
        output, errors = complete(
            start("finetune", "--output", name, "--data.cache", f"{name}-cache", *flags, **options)
        )
        assert output.count("best validation error") == 1
        assert errors.count("everything is in") == 2
        assert json.loads((tmp_path / name / "metrics.json").read_text())["steps"] == 20
    assert same(tmp_path / "two" / LAST, tmp_path / "torchrun" / LAST)
    assert same(tmp_path / "two" / LAST, tmp_path / "slurm" / LAST)
    two, one = weights(tmp_path / "two" / BEST), weights(tmp_path / "one" / BEST)
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-4)


def test_quickstart(start: Start, tmp_path: Path) -> None:
    output, _ = complete(
        start("quickstart", "--data.source", "null", "--data.labels_per_class", 10, "--finetuning.steps", 10)
    )
    assert output.count("adversarial+vat") == 1
    (folder,) = (tmp_path / "runs").iterdir()
    assert len(json.loads((folder / "metrics.json").read_text())["rows"]) == 3


def test_throughput(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes of one thread against one of two threads, the same batches; says how many tokens a second."""
    sizes = ["--config", QUICKSTART, "--data.source", "builtin", "--data.cache", "builtin", "--data.train", "null"]
    sizes += ["--data.test", "null", "--tokenizer.min_documents", 2]
    sizes += ["--model.embedding_size", 128, "--model.hidden_size", 256]
    sizes += ["--pretraining.batch_size", 64, "--pretraining.window", 100]
    sizes += ["--pretraining.steps", 30, "--pretraining.validate_every", 30]
    for devices in (1, 2):
        output = f"{devices} processes"
        complete(start("pretrain", *sizes, "--output", f"{output}, lm", devices=devices, threads=2 // devices))
        flags = ["--output", output, "--pretrained", "none", "--finetuning.method", "adversarial+vat"]
        flags += ["--finetuning.steps", 30, "--finetuning.validate_every", 30]
        complete(start("finetune", *sizes, *flags, devices=devices, threads=2 // devices))
    for name in (", lm", ""):
        speed = {
            devices: json.loads((tmp_path / f"{devices} processes{name}" / "metrics.json").read_text())
            for devices in (1, 2)
        }
        one, two = (speed[devices]["tokens_per_second"] for devices in (1, 2))
        print(f"{'pretraining' if name else 'fine-tuning'}: {one:,.0f} and {two:,.0f} tokens/s, ratio {two / one:.2f}")


@pytest.mark.parametrize("starter", [(), tuple(TORCHRUN)])
def test_wrong_input_ends_all(start: Start, starter: tuple[str, ...]) -> None:
    process = start("finetune", "--output", "f", "--resume", starter=starter)
    _, errors = process.communicate(timeout=120)
    lines = [line for line in errors.splitlines() if line.startswith("textadv: error")]
    assert set(lines) == {"textadv: error: --resume: no checkpoint in f"}
    if not starter:
        assert len(lines) == 1
        assert process.returncode == 2
    assert process.returncode != 0
