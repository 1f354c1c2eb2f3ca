import pytest
import torch

from textadv.models.encoders import Encoder, Pooling
from textadv.models.inference import read_tokens


@pytest.mark.parametrize("pooling", ["last", "last_mean_max"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [[3, 9, 1, 9, 5], [1], [4, 4]])
def test_features_are_those_of_the_encoder(pooling: Pooling, bidirectional: bool, lengths: list[int]) -> None:
    torch.manual_seed(0)
    encoder = Encoder(torch.rand(20) + 0.1, 4, 6, bidirectional).double().eval()
    sizes = torch.tensor(lengths)
    tokens = torch.randint(3, 20, (len(lengths), 11))  # wider than the longest, and not padded with zeros
    tokens[torch.arange(len(lengths)), sizes - 1] = 2
    expected = encoder.features(encoder.embed(tokens, 0.5), sizes, 4, pooling)
    features = read_tokens(encoder, tokens, sizes, pooling)
    torch.testing.assert_close(features, expected, rtol=1e-12, atol=1e-12)
    assert not features.requires_grad


def test_under_autocast() -> None:
    torch.manual_seed(0)
    encoder = Encoder(torch.rand(20) + 0.1, 4, 6, False).eval()
    tokens, lengths = torch.randint(3, 20, (3, 7)), torch.tensor([7, 2, 5])
    exact = read_tokens(encoder, tokens, lengths, "last_mean_max")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = read_tokens(encoder, tokens, lengths, "last_mean_max")
    torch.testing.assert_close(rounded.float(), exact, atol=0.05, rtol=0.05)
