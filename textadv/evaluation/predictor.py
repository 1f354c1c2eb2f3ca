"""From raw text to class names: what a trained classifier is for.

Torch is imported where a checkpoint is read: the predictor of an exported classifier does without it.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from textadv.corpus.store import Split
from textadv.corpus.tokenization import TextTokenizer

if TYPE_CHECKING:
    from textadv.checkpoints import LoadedClassifier

MAX_TOKENS = 100_000
CHUNK_TEXTS = 2048
CHUNK_CHARACTERS = 4_000_000


@dataclass(frozen=True)
class Prediction:
    """The classifier's answer for one text.

    Attributes:
        label: Name of the most probable class.
        probabilities: Of every class by name, summing to 1.
        truncated: Whether the text was longer than `MAX_TOKENS`, so that its beginning was not read, or than what a
            pretrained tokenizer leaves of a text.
    """

    label: str
    probabilities: dict[str, float]
    truncated: bool

    def to_json(self) -> str:
        """Write the prediction as one line of JSON, without the line's end."""
        return json.dumps(asdict(self))


class TextPredictor(ABC):
    """Classifies raw texts.

    A text is read from its first to its last token, however long, up to `MAX_TOKENS` tokens (the closing `<eos>`
    counted): of a longer one the end is read. A text in which the tokenizer finds nothing, such as an empty one, or one
    of unknown words only under a tokenizer that drops those, is a document too: its prediction is what the classifier
    makes of the special tokens alone, such as a bare `<eos>`. A tokenizer that replaces unknown words shows the
    classifier one `<unk>` for each instead.

    Args:
        classes: Names of the classes.
        tokenizer_json: The tokenizer, as `TextTokenizer.to_json` writes it.

    Attributes:
        classes: Names of the classes, in the order of the probabilities.
        tokenizer: The tokenizer.
    """

    def __init__(self, classes: Sequence[str], tokenizer_json: str) -> None:
        self.classes = tuple(classes)
        self.tokenizer = TextTokenizer.from_json(tokenizer_json)

    @abstractmethod
    def probabilities(self, documents: Split) -> NDArray[np.float64]:
        """Probabilities of the classes, shape (n, C), in the order of the documents.

        Raises:
            InputError: The classifier yields numbers that are not finite.
        """

    def predict(self, texts: Iterable[str]) -> Iterator[Prediction]:
        """Classify texts as they come, in memory that does not grow with their number.

        Up to `CHUNK_TEXTS` texts are taken before the first prediction is given.

        Yields:
            The prediction of each text, in their order.

        Raises:
            InputError: The classifier yields numbers that are not finite.
        """
        if isinstance(texts, str):
            raise TypeError("predict takes several texts: put the one into a list")
        for chunk in _chunks(texts):
            yield from self._predict_chunk(chunk)

    def encode(self, texts: Sequence[str]) -> tuple[Split, list[bool]]:
        """The documents that the classifier reads for texts, at least one, and which of the texts are cut for it."""
        encoded = self.tokenizer.documents(texts)
        tokens = [document[-MAX_TOKENS:] for document in encoded]
        lengths = encoded.lengths.tolist()
        cut = [number in encoded.truncated or length > MAX_TOKENS for number, length in enumerate(lengths)]
        offsets = np.cumsum([0] + [len(document) for document in tokens])
        return Split(np.concatenate(tokens), offsets, np.full(len(tokens), -1)), cut

    def _predict_chunk(self, texts: list[str]) -> Iterator[Prediction]:
        documents, cut = self.encode(texts)
        for was_cut, row in zip(cut, self.probabilities(documents), strict=True):
            label = self.classes[int(row.argmax())]
            yield Prediction(label, dict(zip(self.classes, row.tolist(), strict=True)), was_cut)


class Predictor(TextPredictor):
    """Classifies raw texts with a checkpoint. See `TextPredictor`.

    Args:
        loaded: A classifier with its class names and its tokenizer.
        device: Where to compute, such as `cuda`.

    Attributes:
        classifier: The network.
        temperature: What its logits are divided by.
        device: Where it computes.
    """

    def __init__(self, loaded: LoadedClassifier, device: str = "cpu") -> None:
        super().__init__(loaded.classes, loaded.tokenizer_json)
        self.classifier = loaded.classifier
        self.temperature = loaded.temperature
        self.device = device

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> Predictor:
        """Read a predictor from a checkpoint, or the folder of its run.

        Raises:
            InputError: The file is missing, damaged, or no classifier.
        """
        from textadv.checkpoints import load_classifier

        return cls(load_classifier(Path(path)), device)

    def probabilities(self, documents: Split) -> NDArray[np.float64]:
        """See `TextPredictor.probabilities`."""
        from textadv.evaluation.evaluate import class_probabilities

        return class_probabilities(self.classifier, documents, self.device, temperature=self.temperature)


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    """Cut a stream into lists of at most `CHUNK_TEXTS` texts, shorter ones where the texts are long."""
    chunk: list[str] = []
    characters = 0
    for text in texts:
        chunk.append(text)
        characters += len(text)
        if len(chunk) >= CHUNK_TEXTS or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk
