"""Reviews per second of a classifier in torch, in ONNX, and in ONNX with weights of 8 bits, side by side.

    python docs/export_speed.py --checkpoint runs/first/adversarial+vat --threads 2

The texts are those of the test split of the classifier's corpus, already in tokens: what is measured is the classifier.
Each one is measured in turns, and the table shows the fastest turn of each and the slowest. The machine has to be idle.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from textadv.checkpoints import load_classifier, trained_with
from textadv.commands.shared import prepared
from textadv.corpus.store import Split
from textadv.errors import InputError
from textadv.evaluation.evaluate import check_match, class_probabilities
from textadv.export import session
from textadv.export.graph import quantized, to_onnx
from textadv.system.machine import prepare_machine

NAMES = ("torch", "ONNX", "ONNX int8")


def measured(programs: Sequence[Callable[[Split], Any]], documents: Split, turns: int) -> list[list[float]]:
    """Texts per second of each program in each turn, after a first turn that does not count."""
    speeds: list[list[float]] = [[] for _ in programs]
    for turn in range(turns + 1):
        for program, speed in zip(programs, speeds, strict=True):
            started = time.perf_counter()
            program(documents)
            if turn:
                speed.append(len(documents) / (time.perf_counter() - started))
    return speeds


def first(documents: Split, count: int) -> Split:
    """The first documents of a split, at most so many."""
    count = min(count, len(documents))
    return Split(documents.tokens, documents.offsets[: count + 1], documents.labels[:count])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint of a classifier, or its folder")
    parser.add_argument("--documents", type=int, default=2000, help="texts of the test split, at most")
    parser.add_argument("--threads", type=int, default=2, help="of each of the programs")
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    prepare_machine()
    try:
        loaded = load_classifier(given.checkpoint)
        _, store = prepared(trained_with(loaded.card))
        documents = first(check_match(loaded, store, "test"), given.documents)
        exact = to_onnx(loaded.classifier)
    except InputError as error:
        parser.error(str(error))
    models = (exact, quantized(exact))
    onnx = [session.new_session(model, given.threads) for model in models]
    programs = [partial(class_probabilities, loaded.classifier)]
    programs += [partial(session.class_probabilities, one, temperature=1.0) for one in onnx]
    print(f"{len(documents):,} texts, {documents.lengths.mean():.0f} tokens on average, {given.threads} threads")
    print("\n| program | texts/s, fastest turn | slowest turn | file |\n|---|---:|---:|---:|")
    sizes = ("", *(f"{len(model) / 1e6:.1f} MB" for model in models))
    for name, speeds, size in zip(NAMES, measured(programs, documents, given.turns), sizes, strict=True):
        print(f"| {name} | {max(speeds):,.0f} | {min(speeds):,.0f} | {size} |")


if __name__ == "__main__":
    main()
