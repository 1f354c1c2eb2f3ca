"""Learning rates that fall from the head down to the embeddings."""

from itertools import groupby
from typing import Any

from torch import nn

from textadv.models.encoders import Encoder


def parameter_groups(
    encoder: Encoder, head: nn.Module, learning_rate: float, layer_decay: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Groups of parameters for AdamW, with a learning rate that falls from the head down to the embeddings.

    What is d steps below the head learns at learning_rate layer_decay^d: discriminative fine-tuning (Howard and Ruder
    2018, arXiv 1801.06146, section 3.2), by layers as in ELECTRA (Clark et al. 2020) and Sun et al. 2019 (arXiv
    1905.05583, section 5.4.3). A small factor keeps what pretraining has found where labels are few. Biases and norms
    have no weight decay.

    Args:
        encoder: The encoder; its frozen parameters are left out.
        head: What reads the features; what it shares with the encoder learns as the encoder does.
        learning_rate: Of the head.
        layer_decay: Factor per step.
        weight_decay: Of the matrices; with 0 AdamW is Adam.

    Returns:
        The groups, each with `params`, `lr` and `weight_decay`.
    """
    shared = {id(parameter) for parameter in encoder.parameters()}
    own = ((0, parameter) for parameter in head.parameters() if id(parameter) not in shared)
    trained = [(distance, p.dim() > 1, p) for distance, p in (*encoder.below_head(), *own) if p.requires_grad]
    trained.sort(key=lambda one: one[:2])
    return [
        {
            "params": [parameter for *_, parameter in group],
            "lr": learning_rate * layer_decay**distance,
            "weight_decay": weight_decay if is_matrix else 0.0,
        }
        for (distance, is_matrix), group in groupby(trained, lambda one: one[:2])
    ]
