"""What each command does. Imported only once the arguments are known to be right."""

import hashlib
import json
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml

import textadv
from textadv.benchmark import suite
from textadv.checkpoints import LAST, load_classifier
from textadv.corpus.preparation import prepare as prepare_store
from textadv.corpus.store import TokenStore
from textadv.errors import InputError
from textadv.evaluation.evaluate import evaluate_split
from textadv.evaluation.inputs import read_texts
from textadv.evaluation.predictor import Predictor
from textadv.machine import prepare_machine
from textadv.settings import DataSettings, Experiment, Method, Options, TokenizerSettings
from textadv.training import runs

METRICS, CONFIG = "metrics.json", "config.yaml"


def quickstart(experiment: Experiment, options: Options) -> None:
    """Prepare, pretrain, fine-tune three ways, evaluate on test and print one table."""
    rows: list[dict[str, Any]] = []
    plan: list[tuple[Method, bool]] = [("none", False), ("none", True), ("adversarial+vat", True)]
    with _run("quickstart", experiment, options) as (output, metrics):
        store = prepare_store(experiment.data, experiment.tokenizer)
        _require_split(store, "test")
        metrics["pretraining"] = runs.pretrain(experiment, store, output / "pretraining")
        for method, pretrained in plan:
            started = time.perf_counter()
            settings = replace(experiment, finetuning=replace(experiment.finetuning, method=method))
            folder = output / (method if pretrained else f"{method}-not-pretrained")
            encoder = output / "pretraining" / LAST if pretrained else None
            figures = runs.finetune(settings, store, folder, encoder)
            seconds = time.perf_counter() - started
            test = evaluate_split(load_classifier(folder), store, "test", _device())
            row = {"method": method, "pretrained": pretrained, "labels": figures["labels"], "error": test["error"]}
            rows.append(row | {"validation_error": figures["validation_error"], "seconds": seconds})
        metrics["rows"] = rows
    print(_table(rows))


def prepare(experiment: Experiment, options: Options) -> None:
    """Build the token store, or find it."""
    with _run("prepare", experiment, options) as (_, metrics):
        started = time.perf_counter()
        store = prepare_store(experiment.data, experiment.tokenizer)
        metrics |= _store_figures(store) | {"seconds": time.perf_counter() - started}
        print(json.dumps(metrics, indent=2))


def pretrain(experiment: Experiment, options: Options) -> None:
    """Train the language model, by default where `finetune` looks for it."""
    store = prepare_store(experiment.data, experiment.tokenizer)
    if options.output is None:
        options = replace(options, output=str(_pretrained_folder(experiment, store)))
    with _run("pretrain", experiment, options) as (output, metrics):
        metrics |= runs.pretrain(experiment, store, output, _resume_point(output, options.resume))


def finetune(experiment: Experiment, options: Options) -> None:
    """Train the classifier; prepares the corpus and pretrains the encoder where that is missing."""
    store = prepare_store(experiment.data, experiment.tokenizer)
    with _run("finetune", experiment, options) as (output, metrics):
        resume = _resume_point(output, options.resume)
        if options.pretrained == "none":
            pretrained = None
        elif options.pretrained is not None:
            pretrained = Path(options.pretrained)
        else:
            pretrained = _pretrained_encoder(experiment, store)
        metrics["pretrained"] = None if pretrained is None else str(pretrained)
        metrics |= runs.finetune(experiment, store, output, pretrained, resume)
        print(f"best validation error {metrics['validation_error']:.2f} % ({metrics['labels']} labels)")


def evaluate(experiment: Experiment, options: Options) -> None:
    """Measure a classifier on a split, by default of the corpus it was trained on."""
    loaded = load_classifier(_given(options.checkpoint, "--checkpoint"))
    own = loaded.card["settings"]
    if experiment.data.source is None and experiment.data.train is None:
        experiment = replace(
            experiment, data=DataSettings(**own["data"]), tokenizer=TokenizerSettings(**own["tokenizer"])
        )
    store = prepare_store(experiment.data, experiment.tokenizer)
    with _run("evaluate", experiment, options) as (_, metrics):
        metrics |= evaluate_split(loaded, store, options.split, _device())
        metrics |= {"checkpoint": options.checkpoint, "split": options.split}
        print(json.dumps(metrics, indent=2))


def predict(experiment: Experiment, options: Options) -> None:
    """Classify raw text; one JSON line per text, in the same order, to stdout or to --output."""
    if (options.text is None) == (options.input is None):
        raise InputError("predict needs either --text or --input")
    prepare_machine()
    predictor = Predictor.load(_given(options.checkpoint, "--checkpoint"), _device())
    column = experiment.data.text_column
    texts = iter([options.text]) if options.text is not None else read_texts(str(options.input), column)
    predictions = (prediction.to_json() for prediction in predictor.predict(texts))
    if options.output is None:
        for line in predictions:
            print(line)
        return
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "predictions.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in predictions)
    print(f"predictions: {folder / 'predictions.jsonl'}", file=sys.stderr)


def benchmark(experiment: Experiment, options: Options) -> None:
    """Measure the speed of everything, side by side with a textbook implementation."""
    store = prepare_store(experiment.data, experiment.tokenizer)
    with _run("benchmark", experiment, options) as (_, metrics):
        metrics |= suite.benchmark(experiment, store, _device(), options.quick)
        print(suite.table(metrics))


@contextmanager
def _run(command: str, experiment: Experiment, options: Options) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A run's folder and its figures: writes the resolved config first, `metrics.json` at the end, says where."""
    prepare_machine()
    output = Path(options.output or f"runs/{command}-{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / CONFIG).write_text(yaml.safe_dump(asdict(experiment), sort_keys=False), encoding="utf-8")
    except OSError as error:
        raise InputError(f"--output {output}: cannot be written ({error.strerror})") from None
    metrics: dict[str, Any] = {}
    yield output, metrics
    report = metrics | {"command": command, "versions": _versions()}
    temporary = output / f".{METRICS}"
    temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    temporary.replace(output / METRICS)
    print(f"everything is in {output}", file=sys.stderr)


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _versions() -> dict[str, str]:
    return {
        "textadv": textadv.__version__,
        "torch": torch.__version__,
        "pytorch-lightning": version("pytorch-lightning"),
        "python": platform.python_version(),
    }


def _given(path: str | None, flag: str) -> Path:
    if path is None:
        raise InputError(f"{flag} is needed")
    return Path(path)


def _require_split(store: TokenStore, split: str) -> None:
    if not len(store.splits[split]):
        raise InputError(f"the corpus has no {split} split")


def _resume_point(output: Path, resume: bool) -> Path | None:
    if not resume:
        return None
    if not (output / LAST).is_file():
        raise InputError(f"--resume: no {LAST} in {output}")
    return output / LAST


def _pretrained_folder(experiment: Experiment, store: TokenStore) -> Path:
    """Where the encoder of these settings is kept: named by all that its weights depend on."""
    model = experiment.model
    identity = [
        store.fingerprint,
        [model.embedding_size, model.hidden_size, model.bidirectional],
        asdict(experiment.pretraining),
        experiment.seed,
        experiment.trainer.precision,
    ]
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    return Path(experiment.data.cache) / "pretrained" / name


def _pretrained_encoder(experiment: Experiment, store: TokenStore) -> Path:
    """The encoder of these settings; trained, or its training finished, where that is missing."""
    folder = _pretrained_folder(experiment, store)
    if not (folder / METRICS).is_file():
        with _run("pretrain", experiment, Options(output=str(folder))) as (output, metrics):
            metrics |= runs.pretrain(experiment, store, output, _resume_point(output, (output / LAST).is_file()))
    return folder / LAST


def _store_figures(store: TokenStore) -> dict[str, Any]:
    counts = {name: {"documents": len(split), "tokens": len(split.tokens)} for name, split in store.splits.items()}
    return {
        "store": str(store.path),
        "vocabulary_size": store.vocabulary_size,
        "classes": list(store.classes),
        "splits": counts,
        "report": store.report,
    }


def _table(rows: list[dict[str, Any]]) -> str:
    """The quickstart's table."""
    lines = [f"{'method':<16} {'pretrained':<10} {'labels':>6} {'test error':>10} {'seconds':>8}"]
    for row in rows:
        pretrained = "yes" if row["pretrained"] else "no"
        error = f"{row['error']:.2f} %"
        lines.append(f"{row['method']:<16} {pretrained:<10} {row['labels']:>6} {error:>10} {row['seconds']:>8.1f}")
    return "\n".join(lines)
