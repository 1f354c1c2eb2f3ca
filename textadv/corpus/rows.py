"""What every source yields: rows with a text and a class, and the checks that each of them must pass."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

from textadv.errors import InputError

UNLABELED = -1
MAX_CLASS_NAME = 200  # what is longer is a text in the wrong column
# Names of splits on the Hub, and what they are here.
HUB_SPLITS = {
    "train": "train",
    "unsupervised": "unlabeled",
    "unlabeled": "unlabeled",
    "validation": "validation",
    "test": "test",
}
Problem = Literal["empty", "encoding", "row", "label"]


@dataclass
class PassedOver:
    """What the readers could not use, by what was wrong with it.

    Attributes:
        problems: Those that are passed over; others are refused.
        counts: Number of texts, rows or labels of each problem; of `encoding`, lines of files that have lines.
        first: The line with which the first one of each problem would be refused.
    """

    problems: frozenset[Problem] = frozenset(get_args(Problem))
    counts: Counter[Problem] = field(default_factory=Counter)
    first: dict[Problem, str] = field(default_factory=dict)


_passed_over: ContextVar[PassedOver | None] = ContextVar("passed_over", default=None)


@contextmanager
def passing_over(*problems: Problem) -> Iterator[PassedOver]:
    """Let the readers count what they cannot use, where they otherwise stop at the first.

    A text that cannot be used is read as an empty one, such a label as none; a row that cannot be taken apart is left
    out, and so are bytes that are no text.

    Args:
        problems: What to pass over, and nothing else; by default all of it.

    Yields:
        What they have passed over so far.
    """
    passed_over = PassedOver(frozenset(problems)) if problems else PassedOver()
    token = _passed_over.set(passed_over)
    try:
        yield passed_over
    finally:
        _passed_over.reset(token)


def refuse(problem: Problem, message: str) -> None:
    """Stop at what cannot be used; within `passing_over`, count it.

    Args:
        problem: What is wrong.
        message: One line that names the place.

    Raises:
        InputError: The message, outside of `passing_over`, or within one of other problems.
    """
    passed_over = _passed_over.get()
    if passed_over is None or problem not in passed_over.problems:
        raise InputError(message) from None
    passed_over.counts[problem] += 1
    passed_over.first.setdefault(problem, message)


@dataclass(frozen=True)
class Rows:
    """Documents of one split in memory.

    Attributes:
        texts: The documents.
        labels: Index into `Corpus.classes` for each of them, -1 for an unlabeled one.
    """

    texts: list[str]
    labels: list[int]


class Document(NamedTuple):
    """One document of a corpus; `label` is an index into its classes, -1 for an unlabeled one."""

    split: str
    text: str
    label: int


@dataclass(frozen=True)
class Corpus:
    """The four splits of a corpus under one schema, in memory.

    Attributes:
        classes: Class names; their order is the source's own where it declares one, otherwise sorted.
        splits: Exactly `train`, `unlabeled`, `validation` and `test`; `unlabeled` and `test` may be empty.
        report: Counts of what was found and done while loading, such as texts shared between splits.
    """

    classes: tuple[str, ...]
    splits: dict[str, Rows]
    report: dict[str, int]

    def __len__(self) -> int:
        """Number of documents."""
        return sum(len(rows.texts) for rows in self.splits.values())

    def __iter__(self) -> Iterator[Document]:
        """All documents, one split after another."""
        return (
            Document(name, text, label)
            for name, rows in self.splits.items()
            for text, label in zip(rows.texts, rows.labels, strict=True)
        )


NamedRow = tuple[int, str, str | None]  # number, text and class name (None for an unlabeled one)


@dataclass(frozen=True)
class RowStream:
    """Rows of one file, before class names become indices, read as they are asked for; they can be read once.

    Attributes:
        rows: Where each row stands in the file, counted from 1, its text and the name of its class.
        file: The file, for messages.
        unit: What the rows' numbers count: `line` or `row`.
        declared: Class names in the order that the file declares, empty if it declares none.
    """

    rows: Iterator[NamedRow]
    file: str
    unit: str
    declared: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[NamedRow]:
        return self.rows

    def read(self) -> "NamedRows":
        """All rows in memory."""
        numbers, texts, names = [], [], []
        for number, text, name in self.rows:
            numbers.append(number)
            texts.append(text)
            names.append(name)
        return NamedRows(texts, names, self.file, self.unit, numbers, self.declared)


@dataclass(frozen=True)
class NamedRows:
    """Rows of one file in memory.

    Attributes:
        texts: The documents.
        names: Class name of each, None for an unlabeled one.
        file: The file, for messages.
        unit: What `numbers` counts: `line` or `row`.
        numbers: Where each row stands in the file, counted from 1.
        declared: Class names in the order that the file declares, empty if it declares none.
    """

    texts: list[str]
    names: list[str | None]
    file: str
    unit: str
    numbers: Sequence[int]
    declared: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[NamedRow]:
        return zip(self.numbers, self.texts, self.names, strict=True)

    def place(self, index: int) -> str:
        """Where a row stands: file and line, or file and row."""
        return f"{self.file}, {self.unit} {self.numbers[index]}"


def checked_text(value: object, place: str, column: str = "text") -> str:
    """Let a text pass that can be stored and tokenized.

    Args:
        value: What the source holds in the text column.
        place: File and row, for the message.
        column: Name of the text column, for the message.

    Returns:
        The value, unchanged.

    Raises:
        InputError: If it is no string, has nothing but white space, a NUL character or a lone surrogate.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        refuse("empty", f"{place}: column '{column}' is empty")
    elif not isinstance(value, str):
        refuse("row", f"{place}: column '{column}' holds {value!r:.60}, which is not a string")
    else:
        return _storable(value, place, column) or ""
    return ""


def class_name(value: object, place: str, column: str = "label") -> str | None:
    """Turn a label of any source into a class name.

    Args:
        value: What the source holds in the label column: a string, an integer, or nothing.
        place: File and row, for the message.
        column: Name of the label column, for the message.

    Returns:
        The string itself, or the integer's digits; None where there is no label (null, or an empty string).

    Raises:
        InputError: If it is neither a string nor an integer, or longer than `MAX_CLASS_NAME` characters.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        name = _storable(str(value), place, column)
        if name is None or len(name) <= MAX_CLASS_NAME:
            return name
        refuse("label", f"{place}: column '{column}' holds a label of more than {MAX_CLASS_NAME} characters")
    else:
        refuse("label", f"{place}: column '{column}' holds {value!r:.60}; a label is a string or an integer")
    return None


def _storable(text: str, place: str, column: str) -> str | None:
    if "\0" in text:
        refuse("encoding", f"{place}: column '{column}' holds a NUL character")
        return None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        refuse("encoding", f"{place}: column '{column}' holds a lone surrogate, which is not valid Unicode")
        return None
    return text
