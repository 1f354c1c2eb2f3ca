"""The curves: `metrics.csv`, one row per logged step, and the same for TensorBoard."""

import csv
import io
import os
import platform
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from textadv.errors import one_line
from textadv.system.durable import replace_text, writing
from textadv.system.processes import is_main

Row = dict[str, Any]

EVENTS = "events.out.tfevents."  # how TensorBoard knows its files


class _CurveFile(Logger):
    """A file of a run.

    Args:
        path: The file.
    """

    name = version = ""  # Lightning's have one; there is one file per run

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the settings are in `config.yaml`."""


def tensorboard(folder: Path, resumed: bool) -> "list[TensorBoardFile]":
    """A file for TensorBoard, where that is installed and works; see `TensorBoardFile`."""
    if find_spec("tensorboard") is None:
        return []
    try:
        return [TensorBoardFile(folder, resumed)]
    except Exception as error:  # whatever a broken installation raises is no reason not to train
        if is_main():
            print(f"textadv: no curves for TensorBoard: {one_line(str(error))}", file=sys.stderr)
        return []


class TensorBoardFile(_CurveFile):
    """Events for TensorBoard, a file for each start of the run, written at once.

    Lightning's `TensorBoardLogger` writes in a thread of TensorBoard's: on a full disk that thread prints a traceback,
    and whoever logs next is told that a value "is currently not supported", rather than one line that names the file.

    Args:
        folder: Where TensorBoard looks.
        resumed: Keep the files of earlier starts; the steps after the checkpoint are in both.
    """

    def __init__(self, folder: Path, resumed: bool) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary, self._writer = Event, Summary, RecordWriter
        super().__init__(folder / f"{EVENTS}{time.time():.6f}.{platform.node()}.{os.getpid()}")
        self._resumed = resumed

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add the values of a step.

        Raises:
            InputError: They cannot be written.
        """
        values = [self._summary.Value(tag=name, simple_value=float(value)) for name, value in metrics.items()]
        events = [self._event(wall_time=time.time(), step=step, summary=self._summary(value=values))]
        with writing(self.path):
            if not self.path.exists():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                for old in [] if self._resumed else list(self.path.parent.glob(f"{EVENTS}*")):
                    old.unlink()
                events.insert(0, self._event(wall_time=time.time(), file_version="brain.Event:2"))
            with self.path.open("ab") as file:
                for event in events:
                    self._writer(file).write(event.SerializeToString())


class MetricsFile(_CurveFile):
    """Writes each row at once, and can go back to the rows that there were when a checkpoint was saved.

    Lightning's `CSVLogger` deletes the file when a run is resumed.

    Args:
        path: The file; what is there is replaced, unless `keep` is called first.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.rows = 0
        self._columns: list[str] = []

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add a row.

        Raises:
            InputError: It cannot be written.
        """
        row: Row = metrics | {"step": step}
        with writing(self.path):
            if row.keys() <= set(self._columns):
                with self.path.open("a", newline="", encoding="utf-8") as file:
                    csv.DictWriter(file, self._columns).writerow(row)
            else:
                self._rewrite([*self._read(self.rows), row])
        self.rows += 1

    @rank_zero_only
    def keep(self, rows: int) -> None:
        """Keep the first rows of the file that is there and drop the others, and columns that are empty then.

        Args:
            rows: How many.

        Raises:
            InputError: The file cannot be written.
        """
        with writing(self.path):
            kept = self._read(rows)
            self._rewrite(kept)
        self.rows = len(kept)

    def _read(self, rows: int) -> list[Row]:
        """The first rows; fewer where the file has fewer."""
        if not rows or not self.path.is_file():
            return []
        with self.path.open(newline="", encoding="utf-8", errors="replace") as file:
            return list(csv.DictReader(file))[:rows]

    def _rewrite(self, rows: list[Row]) -> None:
        """Replace the file in one step."""
        filled = ({name for name, value in row.items() if name and value not in ("", None)} for row in rows)
        self._columns = sorted(set().union(*filled))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(self.path, text.getvalue())
