"""Documents in windows, for an encoder that cannot read longer ones at once."""

from typing import NamedTuple

import torch
from torch import Tensor


class Windows(NamedTuple):
    """N windows of B documents, in their order: words of a document between its first and its last token."""

    documents: Tensor  # which document it is of, (N,)
    places: Tensor  # which of its tokens, (N, W); behind the window's length any of them
    lengths: Tensor  # tokens, (N,)

    def of(self, values: Tensor) -> Tensor:
        """What the windows see of values for each token, (B, T, ...): (N, W, ...)."""
        return values[self.documents[:, None], self.places]

    def mean(self, features: Tensor, num_documents: int) -> Tensor:
        """Features of windows, (N, F), averaged for each document by the windows' lengths: (B, F)."""
        total = self.lengths.new_zeros(num_documents).index_add(0, self.documents, self.lengths)
        shares = (self.lengths / total[self.documents]).to(features)
        zeros = features.new_zeros(num_documents, features.shape[1])
        return zeros.index_add(0, self.documents, features * shares[:, None])


def windows(lengths: Tensor, width: int, size: int, device: torch.device) -> Windows:
    """Divide documents into as few windows as possible, those of a document as long as each other, give or take a word.

    Args:
        lengths: Tokens of each document, its first and its last token counted, which are special, (B,), in main memory.
        width: Tokens that documents are padded to, T.
        size: Tokens of a window at most, special ones included, at least 3.
        device: Where the windows are needed.

    Returns:
        The windows. A document of up to `size` tokens is one window.
    """
    room, words = size - 2, (lengths - 2).clamp(min=0)
    counts = ((words + room - 1) // room).clamp(min=1)
    most: int = torch.sym_max(1, (width - 2 + room - 1) // room)  # type: ignore[no-untyped-call]
    cuts = torch.arange(most + 1) * words[:, None] // counts[:, None]  # words before each window, (B, most + 1)
    documents, number = (torch.arange(most) < counts[:, None]).nonzero(as_tuple=True)
    before, held = cuts[documents, number], cuts.diff()[documents, number]
    exporting = torch.compiler.is_exporting()  # a graph has no width that depends on the values of the lengths
    longest: int = torch.sym_min(width, size) if exporting else int(held.max()) + 2  # type: ignore[no-untyped-call]
    slots = torch.arange(longest)
    places = torch.where(slots <= held[:, None], before[:, None] + slots, lengths[documents, None] - 1)
    places[:, 0] = 0
    sizes = (held + 2).minimum(lengths[documents])  # an exported graph is tried on single tokens, too
    return Windows(*(one.to(device, non_blocking=True) for one in (documents, places, sizes)))
