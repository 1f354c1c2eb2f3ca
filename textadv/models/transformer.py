"""A pretrained Transformer of the transformers library as an encoder; the library itself is not imported here."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from textadv.draws import Generator, new_seed
from textadv.models.embedding import normalization
from textadv.models.encoders import Encoder, positions_before
from textadv.models.windows import windows

Pooling = Literal["first", "mean"]


class TransformerEncoder(Encoder):
    """Word table and body of a pretrained Transformer, with perturbations in normalized coordinates.

    With E and Var the frequency-weighted statistics of the word table, `embed` gives v̄ = (v - E) / sqrt(Var), and
    `features` hands E + sqrt(Var) (v̄ + r) to the body as `inputs_embeds`. A perturbation r is as large for the words
    of this table as for those of any other, and at r = 0 the body reads what it was pretrained on. E and Var follow
    the table, but as constants of each step. So the gradient of the table at r = 0 is that of plain fine-tuning, and
    the table does not lie between embeddings and features.

    The body's own dropout follows from `seed`, which each `embed` draws anew in training mode. It is the same for all
    calls of `features` with one seed: with other masks in the perturbed pass, virtual adversarial training would
    measure dropout.

    Args:
        body: A model of `transformers.AutoModel`, which from now on belongs to the encoder: its word table is moved
            out of it, and its pooler, which nothing reads, is dropped.
        frequencies: Counts of the vocabulary entries, shape (V,); entries of the table behind them count as unseen.
        special_tokens: Ids that no perturbation may change: [CLS], [SEP], <s>, </s>, padding.
        pooling: Features are the output at the `first` token, or the `mean` of a document's outputs.
        checkpointing: Compute the layers' activations again in the backward pass instead of keeping them.
        in_windows: Read a document that has more tokens than the body has positions in windows of these, each between
            the first and the last token of the document. Its features are the mean over the windows, weighted by
            their tokens. A perturbation is one over the whole document all the same.
    """

    frequencies: Tensor
    is_special: Tensor

    def __init__(
        self,
        body: Any,
        frequencies: Tensor,
        special_tokens: Sequence[int],
        pooling: Pooling = "mean",
        checkpointing: bool = False,
        in_windows: bool = False,
    ) -> None:
        words: nn.Embedding = body.get_input_embeddings()
        super().__init__(words.weight.shape[1], body.config.hidden_size)
        self.words = words
        self.body = body
        body.set_input_embeddings(nn.Identity())
        if hasattr(body, "pooler"):
            body.pooler = None  # without a gradient it would stop several processes
        for layer in self.layers if checkpointing else ():
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)  # else it forbids `autograd.grad`
        shares = (frequencies / frequencies.sum()).to(words.weight)
        self.register_buffer("frequencies", F.pad(shares, (0, len(words.weight) - len(shares))))
        is_special = torch.zeros(len(words.weight), dtype=torch.bool)
        is_special[list(special_tokens)] = True
        self.register_buffer("is_special", is_special.to(words.weight.device))
        self.pooling = pooling
        self.in_windows = in_windows
        self.train()  # as every new module is; a body comes in evaluation mode

    def embed(self, tokens: Tensor, generator: Generator = None) -> Tensor:
        """Normalized embeddings, without dropout; in training mode this draws the body's dropout. See `Encoder.embed`.

        Gradients can be taken with respect to them, also where the word table is frozen.
        """
        if self.training:
            self.seed = new_seed(generator)
        mean, scale = normalization(self.words.weight, self.frequencies)
        embeddings: Tensor = (self.words(tokens) - mean) * scale
        return embeddings if embeddings.requires_grad else embeddings.requires_grad_(torch.is_grad_enabled())

    @torch.no_grad()
    def word_table(self) -> Tensor:
        """Normalized embeddings of the vocabulary, shape (V, D), without gradient."""
        mean, scale = normalization(self.words.weight, self.frequencies)
        return (self.words.weight - mean) * scale

    def embedding_parameters(self) -> list[nn.Parameter]:
        """The word table. See `Encoder.embedding_parameters`."""
        return list(self.words.parameters())

    def features(self, embeddings: Tensor, lengths: Tensor) -> Tensor:
        """Pooled outputs of whole documents. See `Encoder.features`."""
        mean, scale = normalization(self.words.weight, self.frequencies)
        inside = positions_before(lengths, embeddings)
        # Attention weighs what is outside by 0, which does not help against NaN.
        return self._features(mean + embeddings.masked_fill(~inside[:, :, None], 0.0) / scale, lengths)

    def read(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Features of unperturbed documents, exactly those of the pretrained model. See `Encoder.read`."""
        if self.training:
            return super().read(tokens, lengths)
        return self._features(self.words(tokens), lengths)

    def _features(self, inputs_embeds: Tensor, lengths: Tensor) -> Tensor:
        """Features (B, H) of documents whose embeddings are as the body knows them, (B, T, D)."""
        if not self.in_windows:
            return self._pooled(inputs_embeds, lengths)
        num_documents, width, _ = inputs_embeds.shape
        parts = windows(lengths, width, self.positions, inputs_embeds.device)
        return parts.mean(self._pooled(parts.of(inputs_embeds), parts.lengths), num_documents)

    def _pooled(self, inputs_embeds: Tensor, lengths: Tensor) -> Tensor:
        """Features (B, H) of what the body can read at once, in the number format of the embeddings, (B, T, D)."""
        inside = positions_before(lengths, inputs_embeds)
        outputs = self.outputs(inputs_embeds, inside).to(inputs_embeds.dtype)
        if self.pooling == "first":
            return outputs[:, 0]
        return outputs.masked_fill(~inside[:, :, None], 0.0).sum(1) / inside.sum(1, keepdim=True)

    def outputs(self, inputs_embeds: Tensor, inside: Tensor) -> Tensor:
        """What the body makes of each position, in training mode with the dropout of `seed`.

        Args:
            inputs_embeds: Embeddings as the body knows them, shape (B, T, D).
            inside: Where documents are, shape (B, T), bool.

        Returns:
            Shape (B, T, H).
        """
        with _draws(self.seed, inputs_embeds.device, self.training):
            outputs: Tensor = self.body(inputs_embeds=inputs_embeds, attention_mask=inside.long())[0]
        return outputs

    def perturbation_mask(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Mark the positions that a perturbation may change: all but padding and special tokens."""
        return positions_before(lengths, tokens) & ~self.is_special[tokens]

    @property
    def max_tokens(self) -> int | None:
        """Tokens of the longest document that can be read; None for any."""
        return None if self.in_windows else self.positions

    @property
    def positions(self) -> int:
        """Positions that the body was pretrained with: as many tokens can be read at once."""
        positions: int = self.body.config.max_position_embeddings
        for name, module in self.body.named_modules():
            # Those of RoBERTa's family are counted from behind the padding's.
            if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
                return positions - int(module.padding_idx) - 1
        return positions

    @property
    def layers(self) -> nn.ModuleList:
        """The layers of the body, the lowest first; one for all depths in an architecture that shares it."""
        return next(module for module in self.body.modules() if isinstance(module, nn.ModuleList))

    def freeze(self, num_layers: int) -> None:
        """Keep the embeddings and the lowest layers as they are: their parameters get no gradient.

        Args:
            num_layers: How many layers; with 0 the embeddings are trained, too.
        """
        for distance, parameter in self.below_head():
            parameter.requires_grad_(num_layers == 0 or distance <= len(self.layers) - num_layers)

    def below_head(self) -> Iterator[tuple[int, nn.Parameter]]:
        """Each parameter, after the number of steps that it is below the head. See `Encoder.below_head`.

        The layers are L to 1 and the embeddings L + 1. What all layers share, or what follows them, is 0.
        """
        embedding, top = True, len(self.layers) + 1
        layer_of = {id(p): number for number, layer in enumerate(self.layers, 1) for p in layer.parameters()}
        for parameter in self.parameters():
            embedding = embedding and id(parameter) not in layer_of
            yield top - layer_of.get(id(parameter), 0 if embedding else top), parameter


@contextmanager
def _draws(seed: int, device: torch.device, active: bool) -> Iterator[None]:
    """Draw random numbers from a seed; afterwards the state of torch's global generators is what it was."""
    if not active:
        yield
        return
    beside = [] if device.type in ("cpu", "meta") else [device]
    with torch.random.fork_rng(beside, device_type=device.type if beside else "cuda"):
        torch.default_generator.manual_seed(seed)
        for one in beside:
            torch.get_device_module(one).manual_seed(seed)
        yield
