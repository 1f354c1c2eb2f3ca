"""The tables of the page, from what has been measured."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from textadv.corpus.store import TokenStore
from textadv.evaluation.report.examples import Move
from textadv.evaluation.report.page import Table, percent
from textadv.evaluation.report.subjects import Subject
from textadv.evaluation.robustness import Robustness


def cards(subjects: Sequence[Subject]) -> Table:
    """What was trained on what, a column for each checkpoint."""
    columns = [_card_rows(subject) for subject in subjects]
    rows = [(label, *(column[label] for column in columns)) for label in columns[0]]
    return Table("What was trained on what", ["", *(subject.name for subject in subjects)], rows, numeric=False)


def corpus(store: TokenStore) -> Table:
    """The size of each split."""
    rows = [(name, f"{len(split):,}", f"{len(split.tokens):,}") for name, split in store.splits.items()]
    return Table("The prepared corpus that is measured on", ["split", "documents", "tokens"], rows)


def settings(subject: Subject) -> Table:
    """All settings that a checkpoint was trained with."""
    rows = list(_flatten(subject.card["settings"]))
    return Table(subject.checkpoint, ["setting", "value"], rows, numeric=False)


def _card_rows(subject: Subject) -> dict[str, str]:
    card = subject.card
    settings = card["settings"]
    data, model, tuning = settings.get("data", {}), settings["model"], settings["finetuning"]
    versions = ", ".join(f"{name} {number}" for name, number in card.get("versions", {}).items())
    direction = "both directions" if model["bidirectional"] else "one direction"
    return {
        "checkpoint": subject.checkpoint,
        "method": tuning["method"],
        "epsilon": _perturbation(tuning),
        "started from": str(card.get("pretrained", "not recorded") or "no pretraining"),
        "labels": f"{card['labels']:,}" if "labels" in card else "not recorded",
        "labels seen, selection included": f"{card['labels_seen']:,}" if "labels_seen" in card else "not recorded",
        "classes": ", ".join(card["classes"]),
        "corpus": str(data.get("source") or data.get("train") or "not recorded"),
        "model": f"{model.get('encoder', 'lstm').upper()} of {model['hidden_size']}, {direction}, "
        f"embeddings of {model['embedding_size']}, "
        f"pooling {model['pooling']}, {card['vocabulary_size']:,} tokens",
        "step": f"{card['step']:,} of at most {tuning['steps']:,}",
        "temperature": f"{card['temperature']:.3f}" if "temperature" in card else "not fitted",
        "seed": str(settings.get("seed", "not recorded")),
        "fingerprint of the corpus": str(card.get("store_fingerprint", "not recorded")),
        "fingerprint of the tokenizer": str(card["tokenizer_fingerprint"]),
        "versions": versions or "not recorded",
    }


def _perturbation(tuning: dict[str, Any]) -> str:
    """Size of the perturbations that it was trained with, and what made those of labeled text."""
    method, epsilon = tuning["method"], f"{tuning['epsilon']:g}"
    virtual = epsilon if tuning.get("vat_epsilon") is None else f"{tuning['vat_epsilon']:g}"
    if method in ("none", "random", "vat"):
        return {"none": "not perturbed", "random": epsilon, "vat": virtual}[method]
    apart = f", {virtual} virtual" if "vat" in method and virtual != epsilon else ""
    return f"{epsilon} (adversary {tuning['adversary']}){apart}"


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", "null" if value is None else str(value)


def metrics(subjects: Sequence[Subject], split: str) -> Table:
    """How good predictions are, a row for each checkpoint that was measured."""
    rows = [
        (
            subject.name,
            f"{numbers.error:.2f} %",
            percent(numbers.accuracy),
            f"{numbers.macro_f1:.4f}",
            percent(numbers.expected_calibration_error),
            f"{numbers.count:,}",
        )
        for subject in subjects
        if (numbers := subject.quality) is not None
    ]
    columns = ["", "error", "accuracy", "macro F1", "calibration error", "documents"]
    return Table(f"Metrics on {split}", columns, rows)


def attacks(name: str, result: Robustness) -> list[Table]:
    """Accuracy under attack, a table for each norm, and when words are replaced."""
    clean, tables = percent(result.clean_accuracy), []
    for title, curves in ((" under attack", result.attacks), (", transferred attacks", result.transfer)):
        for norm in ("l2", "linf"):
            chosen = [curve for curve in curves if curve.norm == norm]
            if chosen:
                columns = ["attack", "0", *(f"{epsilon:g}" for epsilon in chosen[0].epsilons)]
                rows = [(curve.attack, clean, *map(percent, curve.accuracy)) for curve in chosen]
                tables.append(Table(f"Accuracy of {name}{title}, {norm}", columns, rows))
    if (words := result.words) is not None:
        title = f"Accuracy of {name} when words are replaced ({percent(words.exchangeable)} of the words can be)"
        budgets = ["words changed, at most", "0 %", *(f"{100 * budget:g} %" for budget in words.budgets)]
        tables.append(Table(title, budgets, [("accuracy", clean, *map(percent, words.accuracy))]))
    return tables


def moves(found: Sequence[Move]) -> Table:
    """The words that an interpretable perturbation moves most."""
    rows = [(move.word, f"{move.size:.3f}", move.towards or "away from all its neighbours") for move in found]
    return Table("Words moved most", ["word", "by", "towards"], rows, numeric=False)
