import pytest
import torch
from encoders import ONE_OF_EACH, TRANSFORMERS, make_encoder
from stepping import Make, step
from torch import nn

from textadv.corpus.store import TokenStore
from textadv.models.transformer import TransformerEncoder
from textadv.training.rates import parameter_groups


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


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_every_encoder_has_its_embeddings_at_the_bottom(name: str) -> None:
    encoder, head = make_encoder(name, torch.arange(1, 21)), nn.Linear(2, 2)
    groups = parameter_groups(encoder, head, 1.0, 0.5, 0.0)
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert rates.keys() == {id(parameter) for parameter in (*encoder.parameters(), *head.parameters())}
    lowest = [rates[id(parameter)] for parameter in encoder.embedding_parameters()]
    assert set(lowest) == {min(rates.values())} != {rates[id(head.weight)]} == {1.0}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_the_layers_of_a_transformer_learn_more_slowly_from_above_downwards(name: str) -> None:
    encoder = make_encoder(name, torch.arange(1, 21))
    assert isinstance(encoder, TransformerEncoder)
    head = nn.Linear(encoder.num_features, 2)
    groups = parameter_groups(encoder, head, 1.0, 0.5, 0.01)
    found = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(found) == sorted(id(p) for p in (*encoder.parameters(), *head.parameters()))
    options = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    lowest = 0.25 if name == "albert" else 0.125  # whose layers are one
    assert options[id(encoder.words.weight)] == (lowest, 0.01)
    assert (options[id(head.weight)], options[id(head.bias)]) == ((1.0, 0.01), (1.0, 0.0))
    for number, layer in enumerate(encoder.layers, 1):
        expected = lowest * 2**number
        assert {options[id(p)] for p in layer.parameters() if p.dim() > 1} == {(expected, 0.01)}
        assert {options[id(p)] for p in layer.parameters() if p.dim() == 1} == {(expected, 0.0)}
    torch.optim.AdamW(groups)
    encoder.freeze(1)
    frozen = parameter_groups(encoder, head, 1.0, 0.5, 0.01)
    assert all(parameter.requires_grad for group in frozen for parameter in group["params"])
