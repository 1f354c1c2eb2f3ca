"""What is to be known about a corpus before anything is trained on it: one typed result per question.

`wrong` is what `prepare` refuses. `look` is what training survives and a person should see.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Literal

import numpy as np

from textadv.corpus.rows import Corpus, NamedRows, PassedOver, Problem
from textadv.corpus.splits import TRAINING, build_corpus
from textadv.corpus.store import SPLITS
from textadv.corpus.tokenization import EncodedDocuments
from textadv.errors import InputError
from textadv.settings import DataSettings

Verdict = Literal["ok", "look", "wrong"]
Parts = Mapping[str, Sequence[NamedRows]]

HELD_OUT = ("validation", "test")
MOST_IMBALANCE = 5.0  # times the rows of the smallest class; beyond, the error rate says little about that class
FEW_LABELS = 10  # of a class
LONGEST_BY_MEDIAN = 50.0  # an unclosed quote makes one text of many rows
MANY_UNKNOWN, MANY_REPEATS = 0.1, 0.01
QUANTILES = (0.05, 0.5, 0.95, 1.0)
SUSPICIOUS = {
    "replacement characters": "\ufffd",
    "UTF-8 read as Latin-1": "[\u00c2\u00c3][\x80-\xbf]|\u00e2(?:\x80|\u20ac)",
    "control characters": "[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]",
}
_SUSPICIOUS = re.compile("|".join(f"({pattern})" for pattern in SUSPICIOUS.values()))


@dataclass(frozen=True)
class Check:
    """The answer to one question.

    Attributes:
        name: The question, in a word or two.
        verdict: Whether something is to be done about it.
        message: The answer, for people.
        figures: The same, for programs.
        example: Where to look first; None where nothing is to be seen.
    """

    name: str
    verdict: Verdict
    message: str
    figures: dict[str, Any] = field(default_factory=dict)
    example: str | None = None


def check_rows(parts: Parts, passed_over: PassedOver) -> Check:
    """How many texts each split has, and how many rows cannot be read as rows."""
    counts = {split: sum(len(part.texts) for part in parts.get(split, ())) for split in SPLITS}
    labeled = sum(name is not None for part in parts.get("train", ()) for name in part.names)
    message = ", ".join(f"{split} {number:,}" for split, number in counts.items() if number)
    message += f" ({labeled:,} of train with a label)" if labeled < counts["train"] else ""
    found = _refused(passed_over, "row")
    if found["count"]:
        message += f"; unreadable: {found['count']:,}"
    figures = {"texts": counts, "train_labels": labeled, "unreadable": found["count"]}
    return Check("rows", "wrong" if found["count"] else "ok", message, figures, found["first"])


def check_classes(parts: Parts) -> Check:
    """How many labels each class has for training."""
    counts = _class_counts(parts)
    verdict: Verdict = "wrong" if len(counts) < 2 else "look" if min(counts.values()) < FEW_LABELS else "ok"
    listed = ", ".join(f"{name} {number:,}" for name, number in counts.items())
    message = f"{len(counts)}: {listed}" if counts else "no labels"
    return Check("classes", verdict, message, {"labels": counts})


def check_balance(parts: Parts) -> Check:
    """How much larger the largest class is than the smallest."""
    counts = _class_counts(parts)
    if len(counts) < 2:
        return Check("balance", "ok", "nothing to compare", {"ratio": None})
    ratio = max(counts.values()) / min(counts.values())
    message = f"the largest class is {ratio:.1f} times the smallest"
    advice = "uneven classes: read macro-F1, not the error" if ratio > MOST_IMBALANCE else None
    return Check("balance", "look" if advice else "ok", message, {"ratio": ratio}, advice)


def check_lengths(documents: Mapping[str, EncodedDocuments]) -> Check:
    """How long the texts are, in tokens."""
    figures = {
        split: dict(zip(map(str, QUANTILES), np.quantile(encoded.lengths - 1, QUANTILES).tolist(), strict=True))
        for split, encoded in documents.items()
        if len(encoded.lengths)
    }
    lengths = np.concatenate([np.zeros(0, np.int64), *(documents[name].lengths - 1 for name in TRAINING if documents)])
    if not len(lengths):
        return Check("lengths", "ok", "no training text", figures)
    low, median, high, longest = (int(value) for value in np.quantile(lengths, QUANTILES))
    message = f"{low:,} (5 %), {median:,} (median), {high:,} (95 %), {longest:,} (longest) tokens"
    advice = None
    if longest > LONGEST_BY_MEDIAN * max(median, 1):
        advice = "the longest text is far longer than the others: several rows in one?"
    return Check("lengths", "look" if advice else "ok", message, figures, advice)


def check_unknown(documents: Mapping[str, EncodedDocuments]) -> Check:
    """Which share of the words the vocabulary does not have, in each split, and how many texts have no known word."""
    rates, blank, total = {}, 0, 0
    for split, encoded in documents.items():
        if not len(encoded.lengths):
            continue
        known = encoded.without_unknown().lengths - 1
        rates[split] = 1 - float(known.sum() / max((encoded.lengths - 1).sum(), 1))
        blank, total = blank + int((known == 0).sum()), total + len(known)
    figures = {"rates": rates, "texts_without_known_word": blank}
    if not rates:
        return Check("unknown", "ok", "no training text", figures)
    message = ", ".join(f"{100 * rate:.1f} % {split}" for split, rate in rates.items())
    many = max(rates.values()) > MANY_UNKNOWN or blank > MANY_REPEATS * total
    advice = f"texts without a known word: {blank:,}; --tokenizer.min_documents 1?" if many else None
    verdict: Verdict = "wrong" if rates.get("train") == 1 else "look" if many else "ok"
    return Check("unknown", verdict, message, figures, advice)


def check_encoding(parts: Parts, passed_over: PassedOver) -> Check:
    """How many lines are no text, and how many texts hold what a wrong encoding leaves behind."""
    kinds: Counter[str] = Counter()
    example = None
    for part in chain.from_iterable(parts.values()):
        for row, text in enumerate(part.texts):
            if found := _SUSPICIOUS.search(text):
                kinds[tuple(SUSPICIOUS)[(found.lastindex or 1) - 1]] += 1
                example = example or f"{part.place(row)}: {text[max(found.start() - 20, 0) : found.end() + 20]!r}"
    refused = _refused(passed_over, "encoding")
    said = [f"not UTF-8, or NUL: {refused['count']:,}"] if refused["count"] else []
    said += [f"{kind}: {number:,}" for kind, number in kinds.items()]
    verdict: Verdict = "wrong" if refused["count"] else "look" if kinds else "ok"
    figures = {"invalid": refused["count"], "suspicious": {kind: kinds[kind] for kind in SUSPICIOUS}}
    return Check("encoding", verdict, "; ".join(said) or "nothing unusual", figures, refused["first"] or example)


def check_empty(passed_over: PassedOver) -> Check:
    """How many texts are empty."""
    found = _refused(passed_over, "empty")
    message = f"nothing but white space: {found['count']:,}" if found["count"] else "none"
    return Check("empty", "wrong" if found["count"] else "ok", message, {"texts": found["count"]}, found["first"])


def check_labels(parts: Parts, passed_over: PassedOver) -> Check:
    """How many labels are none, and how many texts that are held out have none that training knows."""
    known = _class_counts(parts)
    missing, example = 0, None
    for part in chain.from_iterable(parts.get(split, ()) for split in HELD_OUT):
        for row, name in enumerate(part.names):
            if name not in known:
                missing += 1
                what = "no label" if name is None else f"label {name!r:.40}, which train does not have"
                example = example or f"{part.place(row)}: {what}"
    refused = _refused(passed_over, "label")
    said = [f"no name of a class: {refused['count']:,}"] if refused["count"] else []
    said += [f"of validation and test, not in train: {missing:,}"] if missing else []
    figures = {"invalid": refused["count"], "held_out_without_class": missing}
    message, first = "; ".join(said) or "all are classes of train", refused["first"] or example
    return Check("labels", "wrong" if said else "ok", message, figures, first)


def check_preparation(parts: Parts, data: DataSettings) -> tuple[Check, Corpus | None]:
    """What `prepare` does with the texts that can be used: the corpus, or the line with which it refuses them."""
    known = _class_counts(parts)
    usable = {
        split: [_chosen(part, [name in known for name in part.names]) if split in HELD_OUT else part for part in files]
        for split, files in parts.items()
    }
    try:
        corpus = build_corpus(usable, data)
    except InputError as error:
        return Check("prepare", "wrong", "refuses what can be read", {}, str(error)), None
    sizes = {split: len(rows.texts) for split, rows in corpus.splits.items()}
    message = ", ".join(f"{split} {size:,}" for split, size in sizes.items() if size)
    return Check("prepare", "ok", message, {"texts": sizes} | corpus.report), corpus


def texts_by_split(parts: Parts) -> dict[str, list[str]]:
    """The texts of each split, as the source has them."""
    return {split: [text for part in parts.get(split, ()) for text in part.texts] for split in SPLITS}


def usable(part: NamedRows) -> NamedRows:
    """The rows of a file without those whose text cannot be used."""
    return _chosen(part, [bool(text) for text in part.texts])


def _chosen(part: NamedRows, keep: Sequence[bool]) -> NamedRows:
    """The rows of a file that are to be kept."""
    if all(keep):
        return part
    rows = [row for row, kept in enumerate(keep) if kept]
    texts, names = [part.texts[row] for row in rows], [part.names[row] for row in rows]
    return replace(part, texts=texts, names=names, numbers=[part.numbers[row] for row in rows])


def _class_counts(parts: Parts) -> dict[str, int]:
    """Number of training labels by class, the largest first."""
    names = (name for part in parts.get("train", ()) for name in part.names if name is not None)
    return dict(sorted(Counter(names).items(), key=lambda item: (-item[1], item[0])))


def _refused(passed_over: PassedOver, problem: Problem) -> dict[str, Any]:
    return {"count": passed_over.counts[problem], "first": passed_over.first.get(problem)}
