"""Self-training: a teacher, made from the labels there are, labels the unlabeled texts of which it is surest."""

import copy
import sys

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.nn import functional as F

from textadv.adversarial.pseudo_labels import aligned_prediction
from textadv.corpus.batching import Documents
from textadv.corpus.datamodules import NOT_ASKED, FinetuningData
from textadv.corpus.padding import Indices
from textadv.corpus.rows import UNLABELED
from textadv.errors import InputError
from textadv.models.encoders import Encoder
from textadv.models.layers import MeanOutput
from textadv.models.recurrent import RecurrentEncoder
from textadv.precision import autocast
from textadv.training.finetuning import FinetuningModule
from textadv.training.probe import fit_probe, read_features

ALIGNMENTS = 20
ROWS = 65_536  # whose scores are computed at a time


class Teacher(Callback):
    """Labels, before the first step, the surest of the unlabeled texts that the training reads.

    The first process asks the teacher and tells the others. What it has said is part of the checkpoint, since the
    encoder is not the pretrained one any more when a run goes on.

    Args:
        data: The texts; its unlabeled batches then have these labels.
    """

    def __init__(self, data: FinetuningData) -> None:
        self.data = data

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Ask the teacher, unless a checkpoint has its answers.

        Raises:
            InputError: The run that goes on reads texts that the teacher has not been asked about.
        """
        assert isinstance(pl_module, FinetuningModule)
        data, settings = self.data, pl_module.settings
        assert data.unlabeled is not None
        data.train_dataloader()  # refuses more processes than documents now, and not after everything has been read
        read = data.unlabeled.first(settings.steps)
        if data.teacher_labels is None:
            device = str(trainer.strategy.root_device)
            labels = None
            if trainer.is_global_zero:
                with autocast(device, trainer.precision):
                    encoder, shares = pl_module.model.encoder, pl_module.class_shares
                    labels = teach(data, encoder, shares, read, settings.teacher_share, device)
            data.teacher_labels = trainer.strategy.broadcast(labels)
        elif (data.teacher_labels[read] == NOT_ASKED).any():
            raise InputError(
                f"--finetuning.steps {settings.steps}: the run has a teacher, which was asked about the texts of fewer "
                "steps; a run that goes on cannot ask it again"
            )


def teach(
    data: FinetuningData,
    encoder: Encoder,
    class_shares: Tensor,
    rows: Indices,
    share: float,
    device: str,
) -> Indices:
    """Label texts by a linear probe of the pretrained encoder (`textadv.training.probe`).

    Args:
        data: The texts.
        encoder: As it was pretrained, on the device; its modules are in the same modes afterwards.
        class_shares: Shares of the classes among the labels, (C,).
        rows: The texts to label, (n,).
        share: Share of them that gets a label at most.
        device: Where the encoder is.

    Returns:
        For each row of train and unlabeled its class, -1 where the teacher is not sure, -2 for other rows than `rows`.
    """
    assert data.unlabeled is not None
    documents, labeled = data.unlabeled.documents, data.labeled.indices
    labels = torch.from_numpy(documents.labels[labeled])
    features = mean_features(encoder, documents, np.concatenate([labeled, rows]), device)
    weight, bias = fit_probe(features[: len(labeled)], labels, len(class_shares))
    parts = torch.split(features[len(labeled) :], ROWS)
    logits = torch.cat([F.linear(part.double(), weight, bias) for part in parts])
    chosen = surest(logits, class_shares.cpu().double(), share)
    known = int((chosen != UNLABELED).sum())
    print(f"textadv: a linear probe labels {known:,} of {len(rows):,} unlabeled texts", file=sys.stderr)
    answers = np.full(len(documents), NOT_ASKED)
    answers[rows] = chosen.numpy()
    return answers


def mean_features(encoder: Encoder, documents: Documents, rows: Indices, device: str) -> Tensor:
    """Features of documents without dropout: of a recurrent encoder the mean of its outputs, whatever its pooling.

    The mean holds more than the last output or the maximum for a linear classifier (docs/RESULTS.md).

    Args:
        encoder: The encoder, on the device.
        documents: Where the documents are.
        rows: Which of them, (n,).
        device: Where to compute.

    Returns:
        Shape (n, F), float32, on the CPU.
    """
    reader = copy.copy(encoder)
    if isinstance(reader, RecurrentEncoder):
        reader.pooling = MeanOutput
    return read_features(reader, documents, rows, device, "reading texts for the teacher")


def surest(logits: Tensor, class_shares: Tensor, share: float) -> Tensor:
    """The predictions of which a classifier is surest, each class up to its share among the labels.

    Predictions are aligned with these shares first, again and again, until their mean is theirs (class-balanced
    self-training, Zou et al. 2018, arXiv 1810.07911, section 4.2).

    Args:
        logits: Shape (n, C).
        class_shares: Shares of the classes among the labels, (C,).
        share: Share of the texts that is kept at most.

    Returns:
        Classes, -1 where the prediction is not kept, shape (n,).
    """
    aligned = logits.log_softmax(1)
    for _ in range(ALIGNMENTS):
        aligned = aligned_prediction(aligned, aligned.exp().mean(0), class_shares)
    confidence, classes = aligned.max(1)
    kept = torch.full_like(classes, UNLABELED)
    quotas = (class_shares * share * len(logits)).round().int().clamp(min=1)
    for label, quota in enumerate(quotas.tolist()):
        rows = (classes == label).nonzero().squeeze(1)
        best = rows[confidence[rows].argsort(descending=True, stable=True)[:quota]]
        kept[best] = label
    return kept
