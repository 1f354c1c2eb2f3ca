"""Settings and texts with which `TextClassifier` trains in a moment."""

from typing import Any

from command_line import BAD, GOOD, SMALL, sentence

TINY: dict[str, Any] = {
    "tokenizer_min_documents": 1,
    **{name: value for section in ("model", "finetuning") for name, value in SMALL[section].items()},
    **{f"pretraining_{name}": value for name, value in SMALL["pretraining"].items()},
    "trainer_accelerator": "cpu",
}
BOTH = [(sentence(i, words), label) for i in range(20) for words, label in ((GOOD, True), (BAD, False))]
TEXTS, LABELS = [text for text, _ in BOTH], [label for _, label in BOTH]
RAW = [sentence(200 + i, GOOD if i % 2 else BAD) for i in range(30)]
