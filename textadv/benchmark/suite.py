"""The whole benchmark: every contender in turns, medians of several rounds, one table."""

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from textadv.benchmark.contenders import LANGUAGE_MODEL, Contender, Timing, process
from textadv.benchmark.peak import Product, machine_speed, matrix_products, speeds
from textadv.checkpoints import LoadedClassifier
from textadv.corpus.preparation import prepare
from textadv.corpus.store import TokenStore
from textadv.corpus.tokenization import TextTokenizer
from textadv.evaluation.predictor import Predictor
from textadv.models.factory import build_classifier, build_encoder
from textadv.settings import Experiment, Method
from textadv.system.progress import progress

METHODS: tuple[Method, ...] = ("none", "adversarial", "vat", "adversarial+vat")
CONTENDERS = {
    "ours": Contender("", textbook=False, tuned=True),
    "textbook": Contender("", textbook=True, tuned=False),
    "textbook, our settings": Contender("", textbook=True, tuned=True),
}
REVIEWS = 2000


def benchmark(experiment: Experiment, store: TokenStore, device: str, quick: bool) -> dict[str, Any]:
    """Measure everything side by side.

    Args:
        experiment: Sizes of the models and batches.
        store: The prepared corpus.
        device: `cpu` or `cuda`.
        quick: Fewer methods, fewer rounds, no preparation.

    Returns:
        Figures by name. `speedup` holds each task's ratio of real tokens per second to the textbook step's as a user
        would run it, `speedup_same_settings` that to the textbook step in a process with our settings.
    """
    rounds = 2 if quick else 5
    methods: tuple[Method, ...] = ("adversarial+vat",) if quick else METHODS
    width = int(np.median(store.splits["train"].lengths))
    model, rows = experiment.model, experiment.finetuning.batch_size
    products = matrix_products(model, rows, width, device)
    machine = machine_speed(products, model, rows, width, device, 5 * rounds)
    tasks = {LANGUAGE_MODEL: _compare(LANGUAGE_MODEL, experiment, store, products, device, rounds)}
    for method in methods:
        settings = replace(experiment, finetuning=replace(experiment.finetuning, method=method))
        tasks[method] = _compare(method, settings, store, products, device, rounds)
    result = {
        "device": torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} CPU threads",
        "machine": machine,
        "tasks": tasks,
        "speedup": _ratios(tasks, "textbook"),
        "speedup_same_settings": _ratios(tasks, "textbook, our settings"),
        "predict_reviews_per_second": _predict_speed(experiment, store, device),
    }
    if not quick and store.path != Path(str(experiment.data.source)):  # which was prepared before
        result["prepare_reviews_per_second"] = _prepare_speed(experiment)
    return result


def _compare(
    task: str, experiment: Experiment, store: TokenStore, products: Sequence[Product], device: str, rounds: int
) -> dict[str, Any]:
    """All contenders for a task, a step each in turns, and the machine's peak; the first round is not counted.

    The clock of a machine changes from second to second, so every step has a peak of its own, measured right after it.
    """
    timings: dict[str, list[Timing]] = {name: [] for name in CONTENDERS}
    peaks: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    with ExitStack() as stack:
        steps = {
            name: stack.enter_context(process(replace(contender, task=task), experiment, store, device))
            for name, contender in CONTENDERS.items()
        }
        for _ in progress(range(rounds + 1), rounds + 1, f"benchmark {task}"):
            for name, step in steps.items():
                timings[name].append(step())
                peaks[name].append(max(speeds(products, device).values()))
    return {name: _figures(rows[1:], np.array(peaks[name][1:]), rows[-1].peak_memory) for name, rows in timings.items()}


def _figures(timings: list[Timing], peaks: NDArray[np.float64], memory: float) -> dict[str, float]:
    """Medians over the rounds."""
    table = np.array(timings)
    seconds, tokens, operations = table[:, 0], table[:, 1], table[:, 2]
    return {
        "tokens_per_second": float(np.median(tokens / seconds)),
        "seconds_per_step": float(np.median(seconds)),
        "share_of_peak": float(np.median(operations / seconds / peaks)),
        "peak_memory": memory,
    }


def _ratios(tasks: dict[str, Any], reference: str) -> dict[str, float]:
    return {t: rows["ours"]["tokens_per_second"] / rows[reference]["tokens_per_second"] for t, rows in tasks.items()}


def _predict_speed(experiment: Experiment, store: TokenStore, device: str) -> float:
    """Raw texts per second."""
    encoder = build_encoder(experiment.model, torch.from_numpy(store.frequencies))
    classifier = build_classifier(experiment.model, encoder, len(store.classes)).eval()
    predictor = Predictor(LoadedClassifier(classifier, store.classes, store.tokenizer_json, {}), device)
    split = store.splits["train"]
    word = TextTokenizer.from_json(store.tokenizer_json).token
    texts = [" ".join(word(int(i)) for i in split.document(row)[:-1]) for row in range(min(REVIEWS, len(split)))]
    list(predictor.predict(texts[:100]))  # the first pass sets things up
    started = time.perf_counter()
    count = sum(1 for _ in predictor.predict(texts))
    return count / (time.perf_counter() - started)


def _prepare_speed(experiment: Experiment) -> float:
    """Documents per second, from the files to a new store."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        store = prepare(replace(experiment.data, cache=folder), experiment.tokenizer)
        seconds = time.perf_counter() - started
        return sum(len(split) for split in store.splits.values()) / seconds


def beyond_peak(result: dict[str, Any]) -> list[str]:
    """What did more operations per second than the peak, with its share: then the peak is not the machine's."""
    shares = {
        f"encoder {direction}": result["machine"][f"encoder_{direction}"] for direction in ("forward", "backward")
    }
    for task, rows in result["tasks"].items():
        shares |= {f"{task} ({name})": row["share_of_peak"] for name, row in rows.items()}
    return [f"{name} {share:.1%}" for name, share in shares.items() if share > 1]


def table(result: dict[str, Any]) -> str:
    """The figures as text."""
    machine = result["machine"]
    lines = [
        f"{result['device']}: peak {machine['peak'] / 1e9:,.0f} GFLOP/s ({machine['peak_product']}); "
        f"encoder forward {machine['encoder_forward']:.0%} of it, backward {machine['encoder_backward']:.0%}",
        "",
        f"{'matrix product':<32} {'GFLOP/s':>8}",
        *(f"{name:<32} {speed / 1e9:>8,.0f}" for name, speed in machine["matrix_products"].items()),
        "",
        f"{'task':<16} {'implementation':<24} {'tokens/s':>10} {'s/step':>8} {'of peak':>8} {'GiB':>6} {'ours is':>8}",
    ]
    for task, rows in result["tasks"].items():
        for name, row in rows.items():
            ratio = rows["ours"]["tokens_per_second"] / row["tokens_per_second"]
            lines.append(
                f"{task:<16} {name:<24} {row['tokens_per_second']:>10,.0f} {row['seconds_per_step']:>8.3f} "
                f"{row['share_of_peak']:>8.0%} {row['peak_memory'] / 2**30:>6.2f} {ratio:>7.2f}x"
            )
    beyond = beyond_peak(result)
    if beyond:
        lines += ["", f"more than 100 % of the peak, which is therefore not the machine's: {', '.join(beyond)}"]
    lines += ["", f"predict: {result['predict_reviews_per_second']:,.0f} reviews/s"]
    if "prepare_reviews_per_second" in result:
        lines.append(f"prepare: {result['prepare_reviews_per_second']:,.0f} reviews/s")
    return "\n".join(lines)
