"""What a run left behind, as tests compare it."""

import csv
from pathlib import Path
from typing import Any

import torch

from textadv.checkpoints import load_file


def curves(folder: Path) -> list[dict[str, str]]:
    """The rows of `metrics.csv` without the speed, which no two runs have in common."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    return [{name: value for name, value in row.items() if name != "tokens_per_second"} for row in rows]


def tensors(path: Path) -> dict[str, Any]:
    """Weights, optimizer and carried state of a checkpoint."""
    content = load_file(path)
    names = ("state_dict", "current_model_state", "optimizer_states", "carried_states", "lr_schedulers", "global_step")
    return {name: content[name] for name in names if name in content}


def equal(a: Any, b: Any) -> bool:
    """Whether two nested values are equal to the bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else bool(a == b)
