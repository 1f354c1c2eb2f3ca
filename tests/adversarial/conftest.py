from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from textadv.models.encoders import positions_before

LENGTHS = torch.tensor([6, 4, 5])  # the final EOS counted; padded to 6


class LastOutputClassifier(nn.Module):
    """Logits of the last real output of a small recurrent network, float64."""

    def __init__(self, cell: type[nn.RNNBase], num_classes: int) -> None:
        super().__init__()
        self.recurrent = cell(3, 5, batch_first=True)
        self.head = nn.Linear(5, num_classes)
        self.double()

    def forward(self, embeddings: Tensor) -> Tensor:
        outputs, _ = self.recurrent(embeddings)
        last = outputs[torch.arange(len(LENGTHS)), LENGTHS - 1]
        return 3 * self.head(last)


@pytest.fixture
def make_classifier() -> Callable[..., LastOutputClassifier]:
    def make(num_classes: int, cell: type[nn.RNNBase] = nn.LSTM) -> LastOutputClassifier:
        torch.manual_seed(num_classes)
        return LastOutputClassifier(cell, num_classes)

    return make


@pytest.fixture
def embeddings() -> Tensor:
    return torch.randn(3, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


@pytest.fixture
def mask() -> Tensor:
    return positions_before(LENGTHS - 1, torch.ones(len(LENGTHS), 6))
