"""`predict`: raw text in, JSON lines out."""

import sys
from pathlib import Path

from textadv.commands.shared import given
from textadv.errors import InputError
from textadv.evaluation.inputs import read_texts
from textadv.evaluation.predictor import Predictor
from textadv.settings import Experiment, Options
from textadv.system.durable import writing
from textadv.system.machine import device
from textadv.system.progress import progress


def run(experiment: Experiment, options: Options) -> None:
    """Classify raw text; one JSON line per text, in the same order, to stdout or to --output.

    A file of predictions is there as a whole or not at all; one from before stays until then.
    """
    if (options.text is None) == (options.input is None):
        raise InputError("predict needs either --text or --input")
    predictor = Predictor.load(given(options.checkpoint, "--checkpoint"), device(experiment.trainer))
    column = experiment.data.text_column
    texts = iter([options.text]) if options.text is not None else read_texts(str(options.input), column)
    if options.text is None and (options.output is not None or not sys.stdout.isatty()):
        texts = progress(texts, None, "predicting")  # beside, not between the predictions; their number is not known
    predictions = (prediction.to_json() for prediction in predictor.predict(texts))
    if options.output is None:
        for line in predictions:
            print(line)
        return
    target = Path(options.output) / "predictions.jsonl"
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
