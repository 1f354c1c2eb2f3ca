"""Every shell block of README runs as it stands, in a folder that looks like a clone after the installation.

Two things are smaller than README's: the sizes in the configs, and the corpus of those that name IMDB, in whose place
the built-in one stands, for tests use no network.
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```(?:bash|sh|shell|console)\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
INSTALLATION = "python -m venv .venv && .venv/bin/pip install -c constraints.txt -e .\n"
NOT_RUN = {INSTALLATION: "it needs the network; .ci/run installs the same way before it runs the tests"}
SMALL: dict[str, dict[str, Any]] = {
    "data": {"source": "builtin"},
    "tokenizer": {},
    "model": {"embedding_size": 4, "hidden_size": 5},
    "pretraining": {"steps": 2, "batch_size": 4, "window": 6, "candidates": 10, "warmup_steps": 1},
    "finetuning": {"steps": 2, "batch_size": 4, "unlabeled_batch_size": 4, "ramp_steps": 1},
}
FEW_STEPS = {"least_pretraining_steps": 1, "most_pretraining_steps": 2, "label_passes": 0.1}
PROGRAMS = {
    "python": "",
    "textadv": " -c 'from textadv.cli import main; main()'",
}  # as pip would install it


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the package, small configs, an environment and files of one's own."""
    shutil.copy(ROOT / "train.py", tmp_path)
    (tmp_path / "textadv").symlink_to(ROOT / "textadv")
    for path in (ROOT / "configs").rglob("*.yaml"):
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        small_config = {name: config.get(name, {}) | small for name, small in SMALL.items()}
        if "schedule" in config:  # of a preset, which has no corpus of its own
            small_config["schedule"] = config["schedule"] | FEW_STEPS
            del small_config["data"]
        copy.write_text(yaml.safe_dump(small_config))
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name, arguments in PROGRAMS.items():
        program = tmp_path / ".venv" / "bin" / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}"{arguments} "$@"\n')
        program.chmod(0o755)
    rows = [(f"the film number{i} was {word}", word) for i in range(20) for word in ("good", "bad")]
    with (tmp_path / "labeled.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    (tmp_path / "raw.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text, _ in rows))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_shell_block_runs(clone: Path, number: int) -> None:
    block = BLOCKS[number]
    for left_out in NOT_RUN:
        block = block.replace(left_out, "")
    environment = os.environ | {"PYTHONPATH": str(clone), "OMP_NUM_THREADS": "1"}
    bash = ["bash", "-euo", "pipefail", "-c", block]
    done = subprocess.run(bash, cwd=clone, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    folders = re.findall(r"^everything is in (.+)$", done.stderr, re.M)
    assert len(folders) >= block.count(".venv/bin/")  # each command of ours says where its results are
    for folder in folders:
        assert json.loads((clone / folder / "metrics.json").read_text())


def test_what_is_not_run_is_run_elsewhere() -> None:
    assert all(any(line in block for block in BLOCKS) for line in NOT_RUN)
    gates = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.search(r"-m venv .*-m pip install .*-c constraints\.txt -e ", gates, re.S)
