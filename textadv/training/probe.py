"""A linear probe: logistic regression on the features of a pretrained encoder, which is not trained."""

from typing import NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.nn import functional as F

from textadv.corpus.batching import EVALUATION_TOKENS, Documents
from textadv.corpus.datamodules import FinetuningData
from textadv.corpus.padding import Indices, sequential_batches
from textadv.models.encoders import Encoder
from textadv.precision import autocast
from textadv.system.progress import progress
from textadv.training.finetuning import FinetuningModule

INVERSE_PENALTY = 2.5  # of the weights, for features whose variances sum to 1
MOST_ITERATIONS = 200


class LinearProbe(NamedTuple):
    """Logits of features x, (n, F), are x @ weight.T + bias.

    Attributes:
        weight: Shape (C, F), float64, on the CPU.
        bias: Shape (C,), float64, on the CPU.
    """

    weight: Tensor
    bias: Tensor


class ProbeStart(Callback):
    """Start the head, one linear layer, as a probe of the pretrained encoder (LP-FT, Kumar et al. 2022, section 3).

    A head with random weights changes a good encoder before it has learned anything itself. The first process fits the
    probe and tells the others. A run that goes on from a checkpoint has no use for this callback.

    Args:
        data: The texts, of which the labeled ones are read.
    """

    def __init__(self, data: FinetuningData) -> None:
        self.data = data

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Fit the probe, and set the head."""
        assert isinstance(pl_module, FinetuningModule)
        probe: LinearProbe | None = None
        if trainer.is_global_zero:
            labeled, device = self.data.labeled, str(trainer.strategy.root_device)
            rows, encoder = labeled.indices, pl_module.model.encoder
            with autocast(device, trainer.precision):
                features = read_features(encoder, labeled.documents, rows, device, "reading texts for the head")
            probe = fit_probe(features, torch.from_numpy(labeled.documents.labels[rows]), pl_module.num_classes)
        probe = trainer.strategy.broadcast(probe)
        assert probe is not None
        with torch.no_grad():
            for parameter, values in zip(pl_module.model.head.parameters(), probe, strict=True):
                parameter.copy_(values)


@torch.no_grad()
def read_features(
    encoder: Encoder, documents: Documents, rows: Indices, device: str, description: str | None = None
) -> Tensor:
    """What a classifier's head reads of documents, without dropout.

    Args:
        encoder: The encoder, on the device; its modules are in the same modes afterwards.
        documents: Where the documents are.
        rows: Which of them, (n,).
        device: Where to compute.
        description: What is being done, in a few words; None not to show how far it got.

    Returns:
        Shape (n, F), float32, on the CPU.
    """
    modes = [module.training for module in encoder.modules()]
    encoder.eval()
    features = torch.empty(0)
    batches = sequential_batches(documents.lengths[rows], EVALUATION_TOKENS)
    for places in batches if description is None else progress(batches, len(batches), description):
        batch = documents.batch(rows[places]).to(device)
        found = encoder.read(batch.tokens, batch.lengths).cpu().float()
        if not len(features):
            features = found.new_empty(len(rows), found.shape[1])
        features[torch.from_numpy(places)] = found
    for module, mode in zip(encoder.modules(), modes, strict=True):
        module.training = mode
    return features


def fit_probe(features: Tensor, labels: Tensor, num_classes: int) -> LinearProbe:
    """Logistic regression with a penalty on the weights.

    All features have one scale. With scales of their own, a feature that hardly varies would weigh as much as one that
    tells the texts apart, and few labels cannot say which is which (docs/RESULTS.md).

    Args:
        features: Shape (n, F).
        labels: Shape (n,).
        num_classes: Number of classes C.
    """
    x = features.double()
    variance, mean = torch.var_mean(x, 0, correction=0)
    total = variance.sum()
    scale = total.rsqrt() if total > 0 else torch.ones_like(total)
    x = (x - mean) * scale
    parameters = x.new_zeros(num_classes, x.shape[1] + 1, requires_grad=True)
    weight, bias = parameters[:, :-1], parameters[:, -1]
    optimizer = torch.optim.LBFGS([parameters], max_iter=MOST_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        penalty = weight.square().sum() / (2 * INVERSE_PENALTY)
        value = F.cross_entropy(F.linear(x, weight, bias), labels, reduction="sum") + penalty
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return LinearProbe(scale * weight, bias - scale * weight @ mean)
