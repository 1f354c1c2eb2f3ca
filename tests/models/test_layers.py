import pytest
import torch

from textadv.models.layers import GRU, LSTM, Layer


@pytest.mark.parametrize("layer", [LSTM, GRU])
def test_autocast_is_kept_out_elsewhere(layer: type[Layer], monkeypatch: pytest.MonkeyPatch) -> None:
    """It would run cuDNN's layers in float16; `meta` plays such a device."""
    monkeypatch.setattr("textadv.models.layers.without_autocast", lambda device: torch.autocast("cpu", enabled=False))
    seen = []
    base = layer.__mro__[1]
    forward = base.forward
    monkeypatch.setattr(base, "forward", lambda *args: seen.append(torch.is_autocast_enabled("cpu")) or forward(*args))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer(2, 3, batch_first=True, device="meta")(torch.ones(1, 4, 2, device="meta"), None)
    assert seen == [False]
