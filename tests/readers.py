"""What a run left behind, as tests compare it."""

import csv
from pathlib import Path


def curves(folder: Path) -> list[dict[str, str]]:
    """The rows of `metrics.csv` without the speed, which no two runs have in common."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    return [{name: value for name, value in row.items() if name != "tokens_per_second"} for row in rows]
