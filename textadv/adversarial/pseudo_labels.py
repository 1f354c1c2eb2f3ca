"""Unlabeled text as if it were labeled: pseudo-labels with distribution alignment, and balance of the predictions.

Both keep virtual adversarial training from collapsing where labels are few: a prediction that is the same for all texts
is the smoothest one, but it is neither aligned with the classes' shares nor balanced.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from textadv.adversarial.divergences import log_probabilities


def aligned_prediction(logits: Tensor, mean_prediction: Tensor, class_shares: Tensor) -> Tensor:
    """Predictions moved so that their mean nears the classes' shares: q_c = p_c pi_c / mean(p)_c, normalized.

    Distribution alignment (Berthelot et al. 2020, arXiv 1911.09785, section 3.1).

    Args:
        logits: At unlabeled texts, (B, C); no gradient flows to them.
        mean_prediction: Mean of their predicted distributions, over all ranks, (C,).
        class_shares: Shares of the classes among the labeled texts, pi, (C,).

    Returns:
        The logarithm of q, a constant, (B, C).
    """
    tiny = torch.finfo(mean_prediction.dtype).tiny
    ratio = class_shares.clamp_min(tiny).log() - mean_prediction.clamp_min(tiny).log()
    return F.log_softmax(log_probabilities(logits.detach()) + ratio, dim=1)


def pseudo_labels(aligned: Tensor, threshold: Tensor | float) -> tuple[Tensor, Tensor]:
    """The class of each aligned prediction, and whether it is sure enough to stand for a label.

    FixMatch (Sohn et al. 2020, arXiv 2001.07685, equation 4) with the alignment and the relative threshold of AdaMatch
    (Berthelot et al. 2022, arXiv 2106.04732, sections 3.2 and 3.3).

    Args:
        aligned: Logarithm of the aligned prediction, (B, C), from `aligned_prediction`.
        threshold: Least probability of the class: for AdaMatch a share (0.9) of the mean confidence on labeled texts.

    Returns:
        Classes, (B,) int64, and which of them count, (B,) bool.
    """
    confidence, labels = aligned.max(dim=1)
    return labels, confidence.exp() >= threshold


def imbalance(logits: Tensor, mean_prediction: Tensor) -> Tensor:
    """Terms whose mean is minus the entropy of the mean prediction, -H(Y), the part of IMSAT that holds the balance.

    With the entropy of each prediction, H(Y | X), it makes minus the mutual information of text and class (Hu et al.
    2017, arXiv 1702.08720, equation 6). The gradient of -H(Y) is that of sum_c p_c log mean(p)_c with the logarithm
    held fixed, so that each example has a term of its own, whichever rank holds it.

    Args:
        logits: At unlabeled texts, (B, C).
        mean_prediction: Mean of their predicted distributions, over all ranks, (C,).

    Returns:
        sum_c p_c log mean(p)_c per example in nats, (B,), at most 0.
    """
    mean = mean_prediction.detach()
    return (log_probabilities(logits).exp() * mean.clamp_min(torch.finfo(mean.dtype).tiny).log()).sum(1)
