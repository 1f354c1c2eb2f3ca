"""Texts and labels as a program has them, and the files that they become."""

import json
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textadv.errors import InputError
from textadv.settings import DataSettings
from textadv.system.estimators import DataConversionWarning

TRAIN, UNLABELED = "train.jsonl", "unlabeled.jsonl"
TYPES = (str, bool, int, float)  # of labels


def checked_labels(y: Any) -> NDArray[Any]:
    """The labels of texts, all of one type.

    Args:
        y: `(n,)` or a column `(n, 1)`: strings, integers, booleans, or floating-point numbers that are whole.

    Returns:
        `(n,)`, of the type that NumPy gives them.

    Raises:
        InputError: There are none, they are of several types, or one cannot be a class.
    """
    if y is None:
        raise InputError("y: TextClassifier requires y to be passed, but the target y is None")
    try:
        labels = np.asarray(y)
    except ValueError:
        raise InputError("y: must be a list of labels, but holds lists of several lengths") from None
    given = list(y) if isinstance(y, list | tuple) and labels.ndim == 1 else None  # NumPy makes [1, "a"] two strings
    if labels.ndim == 2 and labels.shape[1] == 1:
        message = "A column-vector y was passed when a 1d array was expected; it is read as one"
        warnings.warn(message, DataConversionWarning, stacklevel=4)
        labels = labels[:, 0]
    if labels.ndim != 1 or not len(labels):
        raise InputError(f"y: must be a list of labels, but its shape is {labels.shape}")
    values = [value.item() if isinstance(value, np.generic) else value for value in given or labels.tolist()]
    for row, value in enumerate(values):
        if not isinstance(value, TYPES) or (isinstance(value, float) and not value.is_integer()):
            raise InputError(f"Unknown label type: y[{row}] is {value!r:.60}; a label is a string, integer or boolean")
        if isinstance(value, str) and not value.strip():
            raise InputError(f"y[{row}]: is empty; give texts without a label as `unlabeled`")
    kinds = sorted({type(value).__name__ for value in values})
    if len(kinds) > 1:
        raise InputError(f"y: has labels of several types: {', '.join(kinds)}")
    return labels


def class_names(labels: NDArray[Any]) -> list[str]:
    """The name of each label in a corpus; labels of one type that differ have different names."""
    return [str(label) for label in labels.tolist()]


def checked_texts(texts: Any, name: str) -> list[str]:
    """A list of texts, whatever holds them.

    Args:
        texts: `(n,)`, of any kind.
        name: Of the argument, for the message.

    Returns:
        The texts.

    Raises:
        InputError: It is none.
    """
    if isinstance(texts, str) or not isinstance(texts, Iterable) or getattr(texts, "ndim", 1) != 1:
        raise InputError(f"{name}: must be a list of texts, or an array or a column of one dimension")
    listed = list(texts)
    for row, text in enumerate(listed):
        if not isinstance(text, str):
            raise InputError(f"{name}[{row}]: holds {text!r:.60}, which is not a string")
    return listed


def written(
    folder: Path, data: DataSettings, texts: list[str], names: list[str], unlabeled: Iterable[str] | None
) -> DataSettings:
    """Write texts into the files of a corpus.

    Args:
        folder: Where they go.
        data: Where the text comes from, but for these files; for the names of the columns.
        texts: Texts with a label.
        names: Class name of each.
        unlabeled: Texts without labels; None for those of `data`.

    Returns:
        The settings, with the files.

    Raises:
        InputError: These are no texts, or not as many as labels, or a file cannot be written.
    """
    if len(texts) != len(names):
        raise InputError(f"X and y: {len(texts)} texts, but {len(names)} labels")
    files = {TRAIN: [{data.text_column: t, data.label_column: name} for t, name in zip(texts, names, strict=True)]}
    if unlabeled is not None:
        files[UNLABELED] = [{data.text_column: text} for text in checked_texts(unlabeled, "unlabeled")]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in files.items():
            (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    except OSError as error:
        raise InputError(f"output {folder}: cannot be written ({error.strerror or error})") from None
    raw = data.unlabeled if unlabeled is None else str(folder / UNLABELED)
    return replace(data, source=None, train=str(folder / TRAIN), unlabeled=raw)
