"""Fine-tuning takes no more memory the longer it lasts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from pathlib import Path

from textadv import cli
from textadv.training.base import TrainingModule

original = TrainingModule.on_before_backward

def resident(module, loss):
    original(module, loss)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    print("resident", module.global_step + 1, pages, flush=True)

TrainingModule.on_before_backward = resident
cli.run(sys.argv[1:])
"""
FLAGS = ["--data.source", "builtin", "--data.cache", "cache", "--output", "run", "--pretrained", "none"]
FLAGS += ["--finetuning.steps", "500", "--finetuning.patience", "99", "--trainer.accelerator", "cpu"]
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks Linux for the resident memory")
def test_five_hundred_steps(tmp_path: Path) -> None:
    """On the built-in corpus with the quickstart's sizes; batches are of many lengths, so single steps differ."""
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, "finetune", "--config", str(ROOT / "configs" / "quickstart.yaml"), *FLAGS],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    pages = [int(line.split()[2]) for line in result.stdout.splitlines() if line.startswith("resident ")]
    assert len(pages) == 500
    start, later = pages[50], pages[51:]
    assert max(later) <= 1.02 * start, [round(count / start, 3) for count in pages[::25]]
