import pytest
import torch
from stepping import Make, step

from textadv.corpus.store import TokenStore


@pytest.mark.parametrize("layer_decay", [1.0, 0.1])
def test_each_layer_below_the_head_learns_more_slowly(make: Make, store: TokenStore, layer_decay: float) -> None:
    """The first step of Adam is as long as the learning rate wherever the gradient is not tiny."""
    module = make(method="none", learning_rate=0.01, layer_decay=layer_decay)
    optimizer = module.build_optimizer()
    encoder, head = module.model.encoder, module.model.head
    parts = {"head": head, "layers": encoder.directions, "embeddings": encoder.embedding}
    before = {name: [p.detach().clone() for p in part.parameters()] for name, part in parts.items()}
    step(module, store).backward()
    optimizer.step()
    moved = {
        name: max(float((p.detach() - old).abs().max()) for p, old in zip(part.parameters(), before[name], strict=True))
        for name, part in parts.items()
    }
    expected = {"head": 0.01, "layers": 0.01 * layer_decay, "embeddings": 0.01 * layer_decay**2}
    assert moved == pytest.approx(expected, rel=1e-3)


def test_every_parameter_is_in_one_group(make: Make) -> None:
    module = make(method="none", layer_decay=0.5)
    grouped = [id(p) for group in module.build_optimizer().param_groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in module.parameters())
    assert isinstance(module.build_optimizer(), torch.optim.Adam)
