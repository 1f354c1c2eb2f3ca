import pytest
import torch

from textadv.models.layers import LAYERS, POOLINGS
from textadv.models.recurrent import RecurrentEncoder


def make_encoder(kind: str, bidirectional: bool, pooling: str) -> RecurrentEncoder:
    torch.manual_seed(0)
    return RecurrentEncoder(torch.rand(20) + 0.1, 4, 6, bidirectional, LAYERS[kind], POOLINGS[pooling], 4, 0.5).eval()


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [[3, 9, 1, 9, 5], [1], [4, 4]])
def test_features_are_those_with_gradients(
    monkeypatch: pytest.MonkeyPatch, kind: str, pooling: str, bidirectional: bool, lengths: list[int]
) -> None:
    encoder = make_encoder(kind, bidirectional, pooling).double()
    sizes = torch.tensor(lengths)
    tokens = torch.randint(3, 20, (len(lengths), 11))  # wider than the longest, and not padded with zeros
    tokens[torch.arange(len(lengths)), sizes - 1] = 2
    expected = encoder.read(tokens, sizes)
    assert torch.equal(expected, encoder.features(encoder.embed(tokens), sizes))
    monkeypatch.delattr(RecurrentEncoder, "features")  # it is not needed without gradients
    with torch.no_grad():
        features = encoder.read(tokens, sizes)
    torch.testing.assert_close(features, expected.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kind", "has_instructions"), [("lstm", False), ("gru", False), ("gru", True)])
def test_autocast_does_not_round(kind: str, has_instructions: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an LSTM on a CPU without instructions for bfloat16; tests/models/test_encoders.py has the one with them."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_instructions)
    encoder = make_encoder(kind, False, "last_mean_max")
    tokens, lengths = torch.randint(3, 20, (3, 7)), torch.tensor([7, 2, 5])
    with torch.no_grad():
        exact = encoder.read(tokens, lengths)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(encoder.read(tokens, lengths), exact)
