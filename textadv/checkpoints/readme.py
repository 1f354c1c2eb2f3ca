"""The model card that people read: `README.md` beside a classifier, with metadata as the Hugging Face Hub has them."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from textadv.errors import one_line

LIBRARY = "textadv"
TITLE_LABELS = 5
METADATA = {
    "library_name": LIBRARY,
    "pipeline_tag": "text-classification",
    "tags": ["text-classification", "semi-supervised", "adversarial-training", "virtual-adversarial-training"],
}
FIGURES = {  # in the order in which they are shown, and their units
    "validation_error": "%",
    "validation_macro_f1": "",
    "temperature": "",
    "labels": "",
    "validation_labels": "",
    "labels_seen": "",
    "steps": "",
    "seconds": "s",
    "tokens_per_second": "",
}
USE = """```python
from textadv import TextClassifier

classifier = TextClassifier.from_pretrained("FOLDER")  # or its name on the Hub
classifier.predict(["a text"])
```

On the command line: `textadv predict --checkpoint FOLDER --text "a text"`."""
LIMITS = """- Every text gets one of these labels, also a text that belongs to none of them.
- Probabilities may be too sure, also with a temperature. `textadv evaluate` measures by how much on your data.
- Where validation labels chose this checkpoint, its validation error is a little too good. Measure on your own texts.
- Texts of another language, topic or style than the training texts are classified less well. The classifier has
  learned the mistakes of the labels, too.
- Adversarial training moves word embeddings. It helps little against edits of the text."""


def is_own_readme(path: Path) -> bool:
    """Whether there is no file yet, or a model card of textadv, which may be replaced."""
    if not path.exists():
        return True
    with suppress(OSError, ValueError, IndexError, AttributeError, yaml.YAMLError):
        metadata = yaml.safe_load(path.read_text(encoding="utf-8").split("---\n")[1])
        return bool(metadata.get("library_name") == LIBRARY)
    return False


def readme(card: Mapping[str, Any]) -> str:
    """Write the model card.

    Args:
        card: What the classifier says about itself; with `corpus` and `figures` where they are known.

    Returns:
        Markdown that begins with YAML.
    """
    settings = card["settings"]
    model, tuning = settings["model"], settings["finetuning"]
    corpus = card.get("corpus", {})
    counts = corpus.get("labels", {})
    labels = [(name, counts[name]) if counts else (name,) for name in card["classes"]]
    splits = [(name, *sizes) for name, sizes in corpus.get("splits", {}).items()]
    figures = card.get("figures", {})
    known = [(name, figures[name], unit) for name, unit in FIGURES.items() if figures.get(name) is not None]
    training = {
        "method": tuning["method"],
        "epsilon": tuning["epsilon"],
        "encoder": model["encoder"],
        "embedding size": model["embedding_size"],
        "hidden size": model["hidden_size"],
        "vocabulary": card["vocabulary_size"],
        "seed": str(settings["seed"]),
        **{f"version of {name}": version for name, version in card["versions"].items()},
    }
    sections = {
        "": "A text classifier that was trained with textadv, whose methods are adversarial and virtual adversarial "
        "training in the space of word embeddings (Miyato, Dai and Goodfellow, ICLR 2017).",
        "Use": USE,
        "Labels": _table(("label", "training texts") if counts else ("label",), labels),
        "Data": _table(("split", "texts", "tokens"), splits),
        "Training": _table(("setting", "value"), training.items()),
        "Figures": _table(("figure", "value"), [(name, f"{value:.6g} {unit}".strip()) for name, value, unit in known]),
        "Limits": LIMITS,
    }
    title = f"# Text classifier: {', '.join(map(_cell, card['classes'][:TITLE_LABELS]))}"
    title += ", ..." if len(card["classes"]) > TITLE_LABELS else ""
    body = "\n\n".join(f"## {name}\n\n{text}" if name else text for name, text in sections.items() if text)
    return f"---\n{yaml.safe_dump(METADATA, sort_keys=False)}---\n\n{title}\n\n{body}\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown; nothing where it would have no rows."""
    lines = ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines]) if lines else ""


def _cell(value: object) -> str:
    """A value that cannot leave its cell or become markup."""
    text = one_line(f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value))
    return "".join(f"\\{character}" if character in "\\|`*_<>[]#" else character for character in text)
