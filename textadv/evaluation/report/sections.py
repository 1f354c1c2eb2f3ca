"""The parts of the page: each from what has been measured, None where that is nothing."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from textadv.evaluation.masking import Check
from textadv.evaluation.report.findings import confusion_charts, percent
from textadv.evaluation.report.page import Html, beside, details, join, table, tag
from textadv.evaluation.report.subjects import Subject

SHADES = 5


def model_cards(subjects: Sequence[Subject], corpus: Mapping[str, Any]) -> Html:
    """What was trained on what."""
    names = ["", *(subject.name for subject in subjects)]
    cards = [_card_rows(subject) for subject in subjects]
    rows = [(label, *(card[label] for card in cards)) for label in cards[0]]
    settings = [
        details(f"All settings of {subject.name}", table(subject.checkpoint, ["setting", "value"], flat, numeric=False))
        for subject in subjects
        for flat in [list(_flatten(subject.card["settings"]))]
    ]
    splits = [(name, *(f"{split[key]:,}" for key in ("documents", "tokens"))) for name, split in corpus.items()]
    return join(
        [
            table("What was trained on what", names, rows, numeric=False),
            table("The prepared corpus that is measured on", ["split", "documents", "tokens"], splits),
            *settings,
        ]
    )


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
    target = [tuning["target"]] if tuning.get("target") else []
    adversary = "-".join([tuning.get("adversary", "fgsm"), tuning.get("norm", "l2"), *target])
    apart = f", {virtual} virtual" if "vat" in method and virtual != epsilon else ""
    return f"{epsilon} (adversary {adversary}){apart}"


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", "null" if value is None else str(value)


def quality(subjects: Sequence[Subject], split: str, figures: Sequence[Html]) -> Html | None:
    """Metrics, confusion matrices and calibration."""
    measured = [(subject, subject.quality) for subject in subjects if subject.quality is not None]
    if not measured:
        return None
    rows = [
        (
            subject.name,
            f"{numbers['error']:.2f} %",
            percent(numbers["accuracy"]),
            f"{numbers['macro_f1']:.4f}",
            percent(numbers["expected_calibration_error"]),
            f"{numbers['count']:,}",
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
        shades = "".join(_shade(count, sum(row)) for row in chart.counts for count in row)
        matrices.append(table(chart.title, head, cells, shades=shades))
    return join([table(f"Metrics on {split}", columns, rows), beside(tag("div", *matrices), *figures)])


def _shade(part: float, whole: float) -> str:
    """From 0 to `SHADES`, the strongest for the whole."""
    return str(round(SHADES * part / whole)) if whole > 0 else "0"


def robustness(subjects: Sequence[Subject], figures: Sequence[Html]) -> Html | None:
    """Accuracy under attack, as curves and as numbers, and the signs of masked gradients."""
    parts = [_attacked(subject.name, subject.robustness) for subject in subjects if subject.robustness is not None]
    if not parts:
        return None
    lead = tag(
        "p",
        "Every attack moves the embeddings by at most epsilon; noise is the control. At 0 stands the accuracy on "
        "unperturbed text. To withstand moved embeddings is not to withstand other words, which are measured apart.",
    )
    return join([lead, beside(*figures), beside(*parts)])


def _attacked(name: str, result: Mapping[str, Any]) -> Html:
    clean = result["clean_accuracy"]
    words = result["words"]
    tables = []
    for title, key in (("Accuracy of {} under attack", "attacks"), ("Accuracy of {}, transferred attacks", "transfer")):
        for norm in ("l2", "linf"):
            rows = [row for row in result[key] if row["norm"] == norm]
            if rows:
                columns = ["attack", "0", *(f"{epsilon:g}" for epsilon in rows[0]["epsilons"])]
                cells = [(row["attack"], percent(clean), *map(percent, row["accuracy"])) for row in rows]
                tables.append(table(f"{title.format(name)}, {norm}", columns, cells))
    budgets = ["words changed, at most", "0 %", *(f"{100 * budget:g} %" for budget in words["budgets"])]
    cells = [("accuracy", percent(clean), *map(percent, words["accuracy"]))]
    title = f"Accuracy of {name} when words are replaced ({percent(words['exchangeable'])} of the words can be)"
    tables.append(table(title, budgets, cells))
    checks = [_check_line(Check(**check)) for check in result["checks"]]
    about = tag("p", f"{result['documents']:,} documents of {result['split']}.", class_="soft")
    masking = tag("ul", *checks, class_="checks")
    return tag("div", tag("h3", name), about, *tables, tag("h4", f"Signs of masked gradients, {name}"), masking)


def _check_line(check: Check) -> Html:
    verdict = tag("span", "pass" if check.passed else "warn", class_="verdict")
    return tag("li", verdict, tag("span", f" {check.name}: {check.detail}"), class_="" if check.passed else "warn")


def word_examples(subjects: Sequence[Subject]) -> Html | None:
    """Documents with each word shaded by the size of its perturbation."""
    parts = [
        join([tag("h3", subject.name), *map(_word_example, subject.examples)])
        for subject in subjects
        if subject.examples
    ]
    if not parts:
        return None
    lead = tag(
        "p",
        "The stronger the shade, the larger the part of the adversarial perturbation that falls on the word; in each "
        "text the word that is moved most has the strongest. Below stand the words that an interpretable perturbation "
        "moves most, and the word of the vocabulary that each is pushed towards.",
    )
    return join([lead, *parts])


def _word_example(example: Mapping[str, Any]) -> Html:
    largest = max(example["sizes"], default=0.0)
    words = [
        join([space, tag("mark", word, class_=f"p{_shade(size, largest)}")])
        for piece, size in zip(example["words"], example["sizes"], strict=True)
        for space, word in [_split(piece)]
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
    moved = table("Words moved most", ["word", "by", "towards"], moves, numeric=False) if moves else Html()
    return tag("article", tag("h4", verdict), tag("p", skipped, *words, class_="text"), moved)


def substitutions(subjects: Sequence[Subject]) -> Html | None:
    """Documents before and after words were replaced."""
    parts = []
    for subject in subjects:
        examples = [] if subject.robustness is None else subject.robustness["words"]["examples"]
        if examples:
            parts.append(join([tag("h3", subject.name), *map(_substitution, examples)]))
    return join(parts) if parts else None


def _substitution(example: Mapping[str, Any]) -> Html:
    pairs = list(zip(example["before"], example["after"], strict=True))
    changed = sum(old != new for old, new in pairs)
    outcome = "label lost" if example["label"] != example["predicted"] else "label kept"
    verdict = (
        f"Document {example['document']:,}, class {example['label']}: {changed} of {len(pairs)} words replaced "
        f"(at most {100 * example['budget']:g} %), {outcome}, predicted {example['predicted']}"
    )
    texts = []
    for title, mark, side in (("Before", "del", 0), ("After", "ins", 1)):
        words = [
            join([space, tag(mark, word) if pair[0] != pair[1] else word])
            for pair in pairs
            for space, word in [_split(pair[side])]
        ]
        texts.append(tag("p", tag("strong", f"{title}:"), *words, class_="text"))
    return tag("article", tag("h4", verdict), *texts)


def _split(piece: str) -> tuple[str, str]:
    """The space before a word, and the word."""
    word = piece.lstrip()
    return piece[: len(piece) - len(word)], word
