"""The language model that pretrains the encoder."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from textadv.draws import Generator, multinomial
from textadv.models.embedding import time_shared_dropout
from textadv.models.encoders import State, StreamEncoder


class SampledSoftmax(nn.Module):
    """Output layer of the language model, trained on sampled candidates (Jean et al. 2015, section 3.1).

    Args:
        hidden_size: Width H of its input.
        frequencies: Relative frequencies of the vocabulary, shape (V,): the distribution of the candidates.
        table: Word vectors to share, shape (V, D), behind a projection of the input to D dimensions; None for vectors
            of its own, shape (V, H).
    """

    proposal: Tensor

    def __init__(self, hidden_size: int, frequencies: Tensor, table: nn.Parameter | None = None) -> None:
        super().__init__()
        self.projection: nn.Module = nn.Identity()
        if table is None:
            bound = hidden_size**-0.5
            table = nn.Parameter(torch.empty(len(frequencies), hidden_size).uniform_(-bound, bound))
        else:
            self.projection = nn.Linear(hidden_size, table.shape[1], bias=False)
        self.weight = table
        # Entries never seen in training (padding) keep a floor: a candidate needs a finite log-probability.
        floored = frequencies.clamp(min=1e-9)
        self.register_buffer("proposal", floored / floored.sum(), persistent=False)
        # Each word starts as likely as it is frequent. From 0, steps of Adam's size would take thousands to get there,
        # above all at words that are seldom among the candidates (docs/PERFORMANCE.md).
        # Those never seen start like the rarest that were.
        seen = frequencies[frequencies > 0].min()
        self.bias = nn.Parameter(frequencies.clamp(min=float(seen)).log())

    def sampled_loss(self, hidden: Tensor, targets: Tensor, num_candidates: int, generator: Generator = None) -> Tensor:
        """Cross entropy against the target and one set of sampled candidates shared by all positions.

        Every logit is corrected by the log-probability that its class is among the candidates.

        Args:
            hidden: Shape (N, H).
            targets: Shape (N,).
            num_candidates: Draws (with replacement; a class drawn twice counts once).
            generator: Source of the draws, on the device of the input; the global one if None.

        Returns:
            Loss per position in nats, shape (N,).
        """
        candidates, repeated = _distinct(multinomial(self.proposal, num_candidates, generator))  # (K,)
        log_inclusion = torch.log(-torch.expm1(num_candidates * torch.log1p(-self.proposal)))  # (V,)
        offset = self.bias - log_inclusion  # (V,)
        biases = offset[candidates]
        biases = biases if repeated is None else biases.masked_fill(repeated, -torch.inf)
        hidden = self.projection(hidden)
        rows = F.embedding(torch.cat([candidates, targets]), self.weight)  # one lookup, one gradient of the table
        weights, wanted = torch.split(rows, [len(candidates), len(targets)])
        positive = (hidden * wanted).sum(1) + offset[targets]  # (N,)
        loss: Tensor = _SampledCrossEntropy.apply(  # type: ignore[no-untyped-call]
            hidden, weights, biases, positive, candidates == targets[:, None]
        )
        return loss

    def full_loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy over the whole vocabulary, a slice of positions at a time.

        Args:
            hidden: Shape (N, H).
            targets: Shape (N,).

        Returns:
            Loss per position in nats, shape (N,).
        """
        slices = zip(torch.split(self.projection(hidden), 1024), torch.split(targets, 1024), strict=True)
        return torch.cat([F.cross_entropy(F.linear(h, self.weight, self.bias), t, reduction="none") for h, t in slices])


def _distinct(candidates: Tensor) -> tuple[Tensor, Tensor | None]:
    """Candidates of which each class counts once.

    Args:
        candidates: Classes, shape (N,).

    Returns:
        On a CPU the different classes, (K,), and None. Elsewhere the host would have to wait for their number: there,
        all of them, sorted, (N,), and where one is a repetition, (N,).
    """
    if candidates.device.type == "cpu":
        return torch.unique(candidates), None
    candidates = candidates.sort().values
    return candidates, F.pad(candidates[1:] == candidates[:-1], (1, 0))


class _SampledCrossEntropy(torch.autograd.Function):
    """-log softmax of each position's target among the candidates, in few passes over the logits.

    Args, of `forward`: the input (N, H); weights (K, H) and biases (K,) of the candidates; the target's logit (N,);
    and where a candidate is the target, (N, K).
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weights: Tensor, biases: Tensor, positive: Tensor, are_targets: Tensor
    ) -> Tensor:
        logits = F.linear(hidden, weights, biases).masked_fill_(are_targets, -torch.inf)  # (N, K)
        total = torch.logaddexp(positive, logits.to(positive.dtype).logsumexp(1))  # (N,)
        kind = logits.dtype  # that of autocast, which does not reach the backward pass
        ctx.save_for_backward(hidden.to(kind), weights.to(kind), logits, positive, total)
        return total - positive

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        hidden, weights, logits, positive, total = ctx.saved_tensors
        at_logits = (logits - total[:, None]).exp_().mul_(gradient[:, None]).to(logits.dtype)  # (N, K)
        at_positive = torch.expm1(positive - total) * gradient
        return at_logits @ weights, at_logits.T @ hidden, at_logits.sum(0), at_positive, None


class LanguageModel(nn.Module):
    """One next-word predictor per reading direction over a shared encoder.

    Args:
        encoder: The encoder to pretrain.
        output_dropout: Dropout, in training, of the outputs that predict the next words (variational, Merity et al.
            2018, arXiv 1708.02182, section 4.2).
        tied_softmax: Share the table of word embeddings, as it is before the normalization (Press and Wolf 2017, arXiv
            1608.05859, section 3).
    """

    def __init__(self, encoder: StreamEncoder, output_dropout: float = 0.0, tied_softmax: bool = False) -> None:
        super().__init__()
        self.encoder = encoder
        self.output_dropout = output_dropout
        words = encoder.embedding
        self.softmaxes = nn.ModuleList(
            SampledSoftmax(width, words.frequencies, words.weight if tied_softmax else None)
            for width in encoder.stream_widths
        )

    def forward(
        self,
        tokens: Tensor,
        targets: Tensor,
        states: list[State] | None,
        num_candidates: int,
        generator: Generator = None,
    ) -> tuple[Tensor, list[State]]:
        """Loss of one window of the stream, per direction and position.

        Args:
            tokens: Input tokens of each direction's stream, shape (directions, B, T).
            targets: The tokens that follow, same shape; positions of 0 (padding) have loss 0.
            states: The state each direction was left in by the window before, or None at the start.
            num_candidates: Candidates of the sampled softmax; 0 for the full softmax.
            generator: Source of dropout and candidates, on the device of the tokens; the global one if None.

        Returns:
            Loss in nats, shape (directions, B, T), and the new states, detached.
        """
        losses, new_states = [], []
        for i, softmax in enumerate(self.softmaxes):
            outputs, state = self.encoder.read_stream(i, tokens[i], states[i] if states else None, generator)
            new_states.append(tuple(part.detach() for part in state))
            outputs = time_shared_dropout(outputs, self.output_dropout if self.training else 0.0, generator)
            hidden, flat = outputs.reshape(-1, outputs.shape[2]), targets[i].reshape(-1)
            assert isinstance(softmax, SampledSoftmax)
            if num_candidates:
                loss = softmax.sampled_loss(hidden, flat, num_candidates, generator)
            else:
                loss = softmax.full_loss(hidden, flat)
            losses.append((loss * (flat != 0)).view_as(targets[i]))
        return torch.stack(losses), new_states
