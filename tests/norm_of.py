"""The norm that bounds a perturbation, as tests measure it."""

import math

import torch
from torch import Tensor

from textadv.adversarial.norms import Norm


def norm_of(r: Tensor, norm: Norm) -> Tensor:
    """Norm of each example over every dimension but the first, (B,)."""
    length: Tensor = torch.linalg.vector_norm(r.flatten(1), 2 if norm == "l2" else math.inf, dim=1)
    return length
