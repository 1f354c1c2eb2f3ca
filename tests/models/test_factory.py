from dataclasses import replace

import pytest
import torch
from torch import nn

from textadv.models.factory import build_classifier, build_encoder
from textadv.models.layers import LAYERS
from textadv.models.recurrent import RecurrentEncoder
from textadv.settings import ModelSettings

SIZES = ModelSettings(embedding_size=4, hidden_size=5, head_size=3)


@pytest.mark.parametrize("kind", LAYERS)
def test_an_encoder_is_built_as_the_settings_say(kind: str) -> None:
    encoder = build_encoder(replace(SIZES, encoder=kind, bidirectional=True), torch.ones(11), dropout=0.3, window=7)
    assert isinstance(encoder, RecurrentEncoder)
    assert encoder.word_table().shape == (11, 4)
    assert [type(layer) for layer in encoder.layers] == [LAYERS[kind]] * 2
    assert encoder.stream_widths == [5, 5]
    assert (encoder.dropout, encoder.window) == (0.3, 7)


@pytest.mark.parametrize(("pooling", "parts"), [("last", 1), ("mean", 1), ("last_mean_max", 3)])
@pytest.mark.parametrize(("activation", "module"), [("gelu", nn.GELU), ("relu", nn.ReLU)])
def test_a_classifier_is_built_as_the_settings_say(
    pooling: str, parts: int, activation: str, module: type[nn.Module]
) -> None:
    sizes = replace(SIZES, pooling=pooling, head_activation=activation)
    classifier = build_classifier(sizes, build_encoder(sizes, torch.ones(11)), num_classes=2)
    assert [type(part) for part in classifier.head] == [nn.Linear, module, nn.Linear]
    assert [tuple(part.weight.shape) for part in (classifier.head[0], classifier.head[2])] == [(3, 5 * parts), (2, 3)]


def test_a_head_without_a_hidden_layer_is_linear() -> None:
    sizes = replace(SIZES, head_size=0)
    classifier = build_classifier(sizes, build_encoder(sizes, torch.ones(11)), num_classes=2)
    assert [tuple(part.weight.shape) for part in classifier.head] == [(2, 5)]
