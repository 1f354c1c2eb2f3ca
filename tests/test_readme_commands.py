"""Every shell block of README and docs/ runs as it stands, in a folder that looks like a clone after the installation.

Two things are smaller than in the documents: the sizes in the configs, and the corpus of those that name IMDB, in whose
place the built-in one stands, for tests use no network. Only the lines in `NOT_RUN` are left out.
"""

import csv
import gzip
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


def _blocks(document: Path) -> list[str]:
    return re.findall(r"```(?:bash|sh|shell|console)\n(.*?)```", document.read_text(encoding="utf-8"), re.S)


BLOCKS = _blocks(ROOT / "README.md")
INSTALLATION = "python -m venv .venv && .venv/bin/pip install -c constraints.txt -e .\n"
NOT_RUN = {
    INSTALLATION: "needs the network; .ci/run installs the same way before it runs the tests",
    INSTALLATION.replace(" && ", "\n"): "the same, in two lines",
    '.venv/bin/pip install -c constraints.txt -e ".[sklearn]"\n': "needs the network",
    '.venv/bin/pip install -c constraints.txt -e ".[transformers]"\n': "needs the network",
    ".venv/bin/hf download sentence-transformers/all-MiniLM-L6-v2 \\\n"
    "    config.json tokenizer.json model.safetensors --local-dir minilm\n": "needs the Hub; a tiny model stands in",
}
OTHERS = [path for path in sorted((ROOT / "docs").glob("*.md")) if ".zh" not in path.name and _blocks(path)]
TRAINING = next(block for block in BLOCKS if "--output runs/none" in block)  # what other documents go on with
DEMO = ".venv/bin/textadv demo --checkpoint runs/first/adversarial+vat"
SHORTER = {
    "for spins in 100 500 1000 2000 10000 300000;": "for spins in 1000;",
    "benchmark --config": "benchmark --quick --config",
    "--finetuning.steps 100 --finetuning.validate_every 100": "",
    f"{DEMO}\n": f"timeout 60 {DEMO} || [ $? = 124 ]\n",  # it would go on until somebody ends it
}
GRIDS = ROOT / "configs" / "experiments"
SMALL: dict[str, dict[str, Any]] = {
    "data": {"source": "builtin"},
    "tokenizer": {"max_tokens": 12},  # read by a Transformer only
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
    for package in ("textadv", "tests"):
        (tmp_path / package).symlink_to(ROOT / package)
    for path in (ROOT / "configs").rglob("*.yaml"):
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        small_config = {name: config.get(name, {}) | small for name, small in SMALL.items()}
        if "schedule" in config:  # of a preset, which has no corpus of its own
            small_config["schedule"] = config["schedule"] | FEW_STEPS
            del small_config["data"]
        if "train" in config.get("data", {}):
            small_config["data"] = config["data"]
        copy.write_text(yaml.safe_dump(small_config))
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name, arguments in PROGRAMS.items():
        program = tmp_path / ".venv" / "bin" / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}"{arguments} "$@"\n')
        program.chmod(0o755)
    rows = [(f"the film number{i} was {word}", word) for i in range(20) for word in ("good", "bad")]
    for name in ("labeled.csv", "tickets.csv"):
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
    lines = [json.dumps({"text": text}) + "\n" for text, _ in rows]
    (tmp_path / "raw.jsonl").write_text("".join(lines))
    (tmp_path / "raw").mkdir()
    for number in range(2):
        with gzip.open(tmp_path / "raw" / f"{number}.jsonl.gz", "wt") as file:
            file.writelines(lines[number::2])
    (tmp_path / "reviews.txt").write_text("".join(f"{text}\n" for text, _ in rows))
    for name in ("test.csv", "reviews.csv"):  # other texts, since train must not hold those of test
        labeled = (tmp_path / "labeled.csv").read_text(encoding="utf-8")
        (tmp_path / name).write_text(labeled.replace("film", "book"), encoding="utf-8")
    shutil.copytree(GRIDS, tmp_path / GRIDS.relative_to(ROOT), dirs_exist_ok=True)  # their base is small
    return tmp_path


def _run(block: str, folder: Path) -> str:
    """Run a shell block in a folder; what it says on stderr."""
    for left_out in NOT_RUN:
        block = block.replace(left_out, "")
    environment = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    bash = ["bash", "-euo", "pipefail", "-c", block]
    done = subprocess.run(bash, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{block}\n{done.stderr}"
    return done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_shell_block_runs(clone: Path, number: int) -> None:
    block = BLOCKS[number]
    said = _run(block, clone)
    folders = re.findall(r"^everything is in (.+)$", said, re.M)
    commands = re.findall(r"^\.venv/bin/", block, re.M)  # not the installation, which stands behind another command
    assert len(folders) >= len(commands)  # each command of ours says where its results are
    for folder in folders:
        assert json.loads((clone / folder / "metrics.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("document", OTHERS, ids=lambda path: path.name)
def test_the_shell_blocks_of_a_document_run(clone: Path, document: Path) -> None:
    blocks = _blocks(document)
    if any("runs/adversarial_vat" in block for block in blocks):
        blocks.insert(0, TRAINING)
    if any("--model.pretrained minilm" in block for block in blocks):
        from tiny_transformers import write_pretrained

        write_pretrained(clone / "minilm")
    for block in blocks:
        for long, short in SHORTER.items():
            block = block.replace(long, short)
        _run(block, clone)


def test_what_is_changed_or_not_run_is_in_a_document() -> None:
    blocks = [*BLOCKS, *(block for path in OTHERS for block in _blocks(path))]
    assert all(any(text in block for block in blocks) for text in (*NOT_RUN, *SHORTER))
    gates = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.search(r"-m venv .*-m pip install .*-c constraints\.txt -e ", gates, re.S)


@pytest.mark.parametrize("document", [ROOT / "README.md", *OTHERS], ids=lambda path: path.name)
def test_programs_are_those_of_the_environment(document: Path) -> None:
    """A shell in which nobody has activated `.venv` finds them."""
    for block in _blocks(document):
        assert not re.search(r"(?<![\w/.-])(?:python|pip|textadv|hf) (?!-m venv )", block), block


@pytest.mark.parametrize("document", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_a_test_that_prints_runs_in_one_process(document: Path) -> None:
    """`-s` shows nothing of what is printed in the processes of pytest-xdist."""
    commands = re.findall(r"`(pytest [^`]*)`", document.read_text(encoding="utf-8"))
    assert all("-n 0" in command for command in commands if "-s" in command.split())
