"""A classifier as the library TextAttack takes one; TextAttack itself is neither imported nor needed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from textadv.adversarial.attacks import gradient_at
from textadv.adversarial.divergences import cross_entropy
from textadv.corpus.arguments import checked_texts
from textadv.corpus.padding import pad
from textadv.errors import ArgumentError, InputError
from textadv.evaluation.predictor import Predictor, TextPredictor


class TextAttackModel:
    """A classifier with the interface of TextAttack's `ModelWrapper` (Morris et al. 2020, arXiv 2005.05909).

    A recipe takes it as it is: `DeepWordBugGao2018.build(TextAttackModel(predictor))`. TextAttack counts the classes:
    label i of its data set is `predictor.classes[i]`.

    The only transformation that refuses it is `WordSwapGradientBased` (the recipe HotFlip), which TextAttack allows its
    own LSTM alone; the command `attack` of textadv has such substitutions.

    Args:
        predictor: Of a checkpoint, or of an exported classifier, which has no gradient.

    Attributes:
        predictor: The predictor.
        model: The network that is attacked; for an exported classifier, the predictor.
        tokenizer: The tokenizer.

    Raises:
        ArgumentError: It is no predictor, but a path, for example.
    """

    def __init__(self, predictor: TextPredictor) -> None:
        if not isinstance(predictor, TextPredictor):
            raise ArgumentError(f"predictor {predictor!r}: must be a Predictor; textadv.Predictor.load gives one")
        self.predictor = predictor
        self.model = predictor.classifier if isinstance(predictor, Predictor) else predictor
        self.tokenizer = predictor.tokenizer

    def __call__(self, text_input_list: Sequence[str]) -> NDArray[np.float64]:
        """The probabilities of the classes, `(B, C)`, in the order of `predictor.classes`.

        They are in float64: TextAttack takes rows that sum to 1 up to 1e-6 for probabilities, and all others for
        logits, so that probabilities in float32 would sometimes go through a second softmax.

        Raises:
            ArgumentError: They are no list of texts, such as pairs of texts.
        """
        texts = _checked(text_input_list, "text_input_list")
        rows = [list(prediction.probabilities.values()) for prediction in self.predictor.predict(texts)]
        return np.array(rows).reshape(-1, len(self.predictor.classes))

    def get_grad(self, text_input: str) -> dict[str, Any]:
        """The gradient of the loss with respect to the embeddings of a text, for attacks that know the network.

        The loss is the cross entropy of the class that is predicted, at the temperature of the probabilities.

        Returns:
            `ids`, the tokens of the text, T of them, and `gradient`, `(T, D)`, at normalized embeddings.

        Raises:
            ArgumentError: The classifier is an exported one, or the argument is no text.
        """
        predictor = self.predictor
        if not isinstance(predictor, Predictor):
            raise ArgumentError("get_grad: an exported classifier has no gradient; load its checkpoint instead")
        classifier = predictor.classifier.to(predictor.device).eval()
        documents, _ = predictor.encode(_checked([text_input], "text_input"))
        ids, lengths = (torch.from_numpy(values) for values in pad([documents.document(0)]))

        def loss(embeddings: torch.Tensor) -> torch.Tensor:
            logits = classifier.classify(embeddings, lengths) / predictor.temperature
            return cross_entropy(logits, logits.argmax(dim=1))

        (gradient,) = gradient_at(classifier.embed(ids.to(predictor.device)), loss)
        return {"ids": ids[0].tolist(), "gradient": gradient.cpu().numpy()}

    def tokenize(self, inputs: Sequence[str], strip_prefix: bool = False) -> list[list[str]]:
        """The tokens of each text as strings; token i is that of row i of the gradient.

        Args:
            inputs: Texts.
            strip_prefix: Leave out what marks the place of a token in a word; such marks there are none.
        """
        return self._tokenize(inputs)

    def _tokenize(self, inputs: Sequence[str]) -> list[list[str]]:
        """The tokens of each text as strings, without spaces around them."""
        documents, _ = self.predictor.encode(inputs)
        pieces = (self.tokenizer.pieces(documents.document(row).tolist()) for row in range(len(documents)))
        return [[piece.strip() or piece for piece in document] for document in pieces]


def _checked(texts: Sequence[str], name: str) -> list[str]:
    """The texts of a program that has no command line.

    Raises:
        ArgumentError: They are no list of texts.
    """
    try:
        return checked_texts(texts, name)
    except InputError as error:
        raise ArgumentError(str(error)) from None
