"""`predict`: raw text in, JSON lines out."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from textadv.errors import InputError
from textadv.settings import ColumnSettings, DeviceSettings

if TYPE_CHECKING:
    from textadv.evaluation.predictor import TextPredictor


def predict(
    data: ColumnSettings,
    trainer: DeviceSettings,
    checkpoint: str | None = None,
    onnx: str | None = None,
    text: str | None = None,
    input: str | None = None,
    output: str | None = None,
) -> None:
    """Classify raw text; print one JSON line per text, in the same order.

    A file of predictions is there as a whole or not at all; one from before stays until then.

    Args:
        data: Where the text stands in the file.
        trainer: The device.
        checkpoint: Checkpoint of a classifier, or the folder of its run.
        onnx: Folder of an exported classifier, in the place of --checkpoint; torch is not needed.
        text: One text to classify.
        input: File of texts (txt, CSV, JSONL, parquet), `-` for stdin.
        output: Folder for `predictions.jsonl`; by default the lines are printed.
    """
    from textadv.evaluation.inputs import read_texts
    from textadv.system.durable import writing
    from textadv.system.progress import progress

    if (text is None) == (input is None):
        raise InputError("predict needs either --text or --input")
    predictor = _predictor(checkpoint, onnx, trainer)
    texts = iter([text]) if text is not None else read_texts(str(input), data.text_column)
    if text is None and (output is not None or not sys.stdout.isatty()):
        texts = progress(texts, None, "predicting")  # beside, not between the predictions; their number is not known
    predictions = (prediction.to_json() for prediction in predictor.predict(texts))
    if output is None:
        for line in predictions:
            print(line)
        return
    target = Path(output) / "predictions.jsonl"
    new = target.with_name(f".{target.name}.new")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with new.open("w", encoding="utf-8") as file:
                file.writelines(line + "\n" for line in predictions)
            new.replace(target)
        finally:
            new.unlink(missing_ok=True)
    print(f"predictions: {target}", file=sys.stderr)


def _predictor(checkpoint: str | None, onnx: str | None, trainer: DeviceSettings) -> "TextPredictor":
    """The classifier that is named, by torch or by onnxruntime."""
    if (checkpoint is None) == (onnx is None):
        raise InputError("predict needs either --checkpoint or --onnx")
    if onnx is not None:
        from textadv.export.folder import OnnxPredictor

        if trainer.accelerator not in ("auto", "cpu"):
            raise InputError(f"--trainer.accelerator {trainer.accelerator}: --onnx computes on the CPU")
        return OnnxPredictor.load(onnx)
    from textadv.evaluation.predictor import Predictor
    from textadv.system.machine import device

    return Predictor.load(str(checkpoint), device(trainer))
