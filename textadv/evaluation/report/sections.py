"""What each section of the page shows, from what has been measured: empty where that is nothing."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from textadv.evaluation.report.findings import confusion_charts, percent
from textadv.evaluation.report.page import Figure, Table
from textadv.evaluation.report.subjects import Subject

SHADES = 5


def model_cards(subjects: Sequence[Subject], corpus: Mapping[str, Any]) -> dict[str, Any]:
    """What was trained on what."""
    names = ["", *(subject.name for subject in subjects)]
    cards = [_card_rows(subject) for subject in subjects]
    rows = [(label, *(card[label] for card in cards)) for label in cards[0]]
    splits = [(name, *(f"{split[key]:,}" for key in ("documents", "tokens"))) for name, split in corpus.items()]
    return {
        "cards": Table("What was trained on what", names, rows, numeric=False),
        "corpus": Table("The prepared corpus that is measured on", ["split", "documents", "tokens"], splits),
        "settings": [{"name": subject.name, "table": _settings(subject)} for subject in subjects],
    }


def _settings(subject: Subject) -> Table:
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


def quality(subjects: Sequence[Subject], split: str, figures: Sequence[Figure]) -> dict[str, Any]:
    """Metrics, confusion matrices and calibration."""
    measured = [(subject, subject.quality) for subject in subjects if subject.quality is not None]
    if not measured:
        return {}
    rows = [
        (
            subject.name,
            f"{numbers.error:.2f} %",
            percent(numbers.accuracy),
            f"{numbers.macro_f1:.4f}",
            percent(numbers.expected_calibration_error),
            f"{numbers.count:,}",
        )
        for subject, numbers in measured
    ]
    columns = ["", "error", "accuracy", "macro F1", "calibration error", "documents"]
    matrices = []
    for chart in confusion_charts(subjects):
        head = ["true \\ predicted", *chart.classes]
        cells = [
            (name, *(f"{count:,}" for count in row)) for name, row in zip(chart.classes, chart.counts, strict=True)
        ]
        shades = [[_shade(count, sum(row)) for count in row] for row in chart.counts]
        matrices.append(Table(chart.title, head, cells, shades=shades))
    return {"metrics": Table(f"Metrics on {split}", columns, rows), "matrices": matrices, "figures": figures}


def _shade(part: float, whole: float) -> int:
    """From 0 to `SHADES`, the strongest for the whole."""
    return round(SHADES * part / whole) if whole > 0 else 0


def robustness(subjects: Sequence[Subject], figures: Sequence[Figure]) -> dict[str, Any]:
    """Accuracy under attack, as curves and as numbers, and the signs of masked gradients."""
    attacked = [_attacked(subject.name, subject.robustness) for subject in subjects if subject.robustness is not None]
    return {"figures": figures, "subjects": attacked} if attacked else {}


def _attacked(name: str, result: Mapping[str, Any]) -> dict[str, Any]:
    clean = result["clean_accuracy"]
    words = result["words"]
    tables = []
    for title, key in (("Accuracy of {} under attack", "attacks"), ("Accuracy of {}, transferred attacks", "transfer")):
        for norm in ("l2", "linf"):
            rows = [row for row in result[key] if row["norm"] == norm]
            if rows:
                columns = ["attack", "0", *(f"{epsilon:g}" for epsilon in rows[0]["epsilons"])]
                cells = [(row["attack"], percent(clean), *map(percent, row["accuracy"])) for row in rows]
                tables.append(Table(f"{title.format(name)}, {norm}", columns, cells))
    budgets = ["words changed, at most", "0 %", *(f"{100 * budget:g} %" for budget in words["budgets"])]
    cells = [("accuracy", percent(clean), *map(percent, words["accuracy"]))]
    title = f"Accuracy of {name} when words are replaced ({percent(words['exchangeable'])} of the words can be)"
    tables.append(Table(title, budgets, cells))
    about = f"{result['documents']:,} documents of {result['split']}."
    return {"name": name, "about": about, "tables": tables, "checks": result["checks"]}


def word_examples(subjects: Sequence[Subject]) -> list[dict[str, Any]]:
    """Documents with each word shaded by the size of its perturbation."""
    return [
        {"name": subject.name, "examples": [_word_example(example) for example in subject.examples]}
        for subject in subjects
        if subject.examples
    ]


def _word_example(example: Mapping[str, Any]) -> dict[str, Any]:
    largest = max(example["sizes"], default=0.0)
    words = [
        (*_split(piece), _shade(size, largest)) for piece, size in zip(example["words"], example["sizes"], strict=True)
    ]
    skipped = f"({example['skipped']:,} words before) … " if example["skipped"] else ""
    verdict = (
        f"Document {example['document']:,}, class {example['label']}: predicted {example['predicted']} "
        f"({percent(example['probability'])}), at epsilon {example['epsilon']:g} {example['predicted_perturbed']} "
        f"({percent(example['probability_perturbed'])})"
    )
    moves = [
        (move["word"], f"{move['size']:.3f}", move["towards"] or "away from all its neighbours")
        for move in example["moves"]
    ]
    moved = Table("Words moved most", ["word", "by", "towards"], moves, numeric=False)
    return {"verdict": verdict, "skipped": skipped, "words": words, "moved": moved}


def substitutions(subjects: Sequence[Subject]) -> list[dict[str, Any]]:
    """Documents before and after words were replaced."""
    return [
        {
            "name": subject.name,
            "examples": [_substitution(example) for example in subject.robustness["words"]["examples"]],
        }
        for subject in subjects
        if subject.robustness is not None and subject.robustness["words"]["examples"]
    ]


def _substitution(example: Mapping[str, Any]) -> dict[str, Any]:
    pairs = list(zip(example["before"], example["after"], strict=True))
    changed = sum(old != new for old, new in pairs)
    outcome = "label lost" if example["label"] != example["predicted"] else "label kept"
    verdict = (
        f"Document {example['document']:,}, class {example['label']}: {changed} of {len(pairs)} words replaced "
        f"(at most {100 * example['budget']:g} %), {outcome}, predicted {example['predicted']}"
    )
    before = [(*_split(old), old != new) for old, new in pairs]
    after = [(*_split(new), old != new) for old, new in pairs]
    return {"verdict": verdict, "before": before, "after": after}


def _split(piece: str) -> tuple[str, str]:
    """The space before a word, and the word."""
    word = piece.lstrip()
    return piece[: len(piece) - len(word)], word
