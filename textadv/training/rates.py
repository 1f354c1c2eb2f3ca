"""Learning rates that fall from the head down to the embeddings."""

from typing import Any

from textadv.models.classifier import Classifier


def layered_groups(classifier: Classifier, learning_rate: float, layer_decay: float) -> list[dict[str, Any]]:
    """Groups of a classifier's parameters: its head, its encoder, and the encoder's embeddings.

    Discriminative fine-tuning (Howard and Ruder 2018, arXiv 1801.06146, section 3.2): what is d steps below the head
    learns at learning_rate layer_decay^d. A small factor keeps what pretraining has found where labels are few.

    Args:
        classifier: The classifier.
        learning_rate: Of the head.
        layer_decay: Factor per step.

    Returns:
        The groups, each with `params` and `lr`.
    """
    embeddings = classifier.encoder.embedding_parameters()
    known = {id(parameter) for parameter in embeddings}
    between = [parameter for parameter in classifier.encoder.parameters() if id(parameter) not in known]
    parts = [list(classifier.head.parameters()), between, embeddings]
    return [{"params": part, "lr": learning_rate * layer_decay**depth} for depth, part in enumerate(parts)]
