import copy
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

pytest.importorskip("transformers", reason="the extra textadv[transformers] is not installed")

from tiny_transformers import ARCHITECTURES, CLS, PAD, POSITIONS, SEP, VOCABULARY, tiny
from transformers import masking_utils

from textadv.adversarial.virtual import logit_gradients
from textadv.models.classifier import Classifier
from textadv.models.transformer import Pooling, TransformerEncoder

LENGTHS = torch.tensor([9, 3, 14, 2])
FREQUENCIES = torch.arange(1, VOCABULARY + 1)
SPECIAL = [PAD, CLS, SEP]

pytestmark = pytest.mark.parametrize("architecture", ARCHITECTURES)
Make = Callable[..., TransformerEncoder]


@pytest.fixture
def make(architecture: str) -> Make:
    def encoder(pooling: Pooling = "mean", checkpointing: bool = False, **changes: object) -> TransformerEncoder:
        return TransformerEncoder(tiny(architecture, **changes), FREQUENCIES, SPECIAL, pooling, checkpointing).eval()

    return encoder


def documents(extra: int = 0) -> Tensor:
    """Documents as a Transformer's tokenizer makes them, padded."""
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(SEP + 1, VOCABULARY, (len(LENGTHS), int(LENGTHS.max()) + extra), generator=generator)
    tokens[:, 0] = CLS
    for row, length in zip(tokens, LENGTHS.tolist(), strict=True):
        row[length - 1], row[length:] = SEP, PAD
    return tokens


def inside(tokens: Tensor) -> Tensor:
    return torch.arange(tokens.shape[1]) < LENGTHS[:, None]


def features_of_transformers(architecture: str, pooling: Pooling, tokens: Tensor) -> Tensor:
    """Its own model on token ids, one document at a time."""
    outputs = [
        tiny(architecture)(input_ids=document[None, :length], attention_mask=torch.ones(1, length).long())[0]
        for document, length in zip(tokens, LENGTHS.tolist(), strict=True)
    ]
    return torch.cat([output[:, 0] if pooling == "first" else output.mean(1) for output in outputs])


def weights(features: Tensor) -> Tensor:
    """Makes a scalar of features that depends on each."""
    generator = torch.Generator().manual_seed(8)
    return torch.randn(features.shape, dtype=features.dtype, generator=generator)


@pytest.mark.parametrize("pooling", ["first", "mean"])
@torch.no_grad()
def test_without_a_perturbation_it_is_the_pretrained_model(make: Make, architecture: str, pooling: Pooling) -> None:
    tokens, encoder = documents(), make(pooling)
    expected = features_of_transformers(architecture, pooling, tokens)
    assert (encoder.embedding_size, encoder.num_features) == (ARCHITECTURES[architecture].get("embedding_size", 16), 16)
    torch.testing.assert_close(encoder.read(tokens, LENGTHS), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(encoder.features(encoder.embed(tokens), LENGTHS), expected, rtol=1e-6, atol=1e-6)
    for parameter in encoder.embedding_parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.3)  # as training would: the statistics follow
    assert not torch.allclose(encoder.read(tokens, LENGTHS), expected, rtol=0.01, atol=0.01)
    torch.testing.assert_close(
        encoder.features(encoder.embed(tokens), LENGTHS), encoder.read(tokens, LENGTHS), rtol=1e-6, atol=1e-6
    )


@pytest.fixture
def in_windows(architecture: str) -> Callable[[Pooling], TransformerEncoder]:
    """An encoder that reads 8 tokens at once."""

    def encoder(pooling: Pooling) -> TransformerEncoder:
        encoder = TransformerEncoder(tiny(architecture), FREQUENCIES, SPECIAL, pooling, in_windows=True).eval()
        encoder.body.config.max_position_embeddings += 8 - encoder.positions
        return encoder

    return encoder


@pytest.mark.parametrize("pooling", ["first", "mean"])
@torch.no_grad()
def test_features_of_long_documents_are_the_mean_of_windows(
    in_windows: Callable[[Pooling], TransformerEncoder], make: Make, architecture: str, pooling: Pooling
) -> None:
    encoder, tokens, model = in_windows(pooling).double(), documents(extra=2), tiny(architecture).double()
    assert (encoder.positions, encoder.max_tokens) == (8, None)

    def mean(document: Tensor, *cuts: int) -> Tensor:
        """Of transformers' own model."""
        words = [document[a:b] for a, b in pairwise(cuts)]
        outputs = [model(input_ids=torch.cat([document[:1], part, document[-1:]])[None])[0][0] for part in words]
        sizes = [len(output) for output in outputs]
        features = [output[0] if pooling == "first" else output.mean(0) for output in outputs]
        total = sum(size * one for size, one in zip(sizes, features, strict=True))
        return torch.as_tensor(total) / sum(sizes)

    long = torch.stack([mean(tokens[0, :9], 1, 4, 8), mean(tokens[2, :14], 1, 7, 13)])
    short = make(pooling).double().read(tokens[:, :9], LENGTHS.clamp(max=9))[1::2]
    for features in (encoder.read(tokens, LENGTHS), encoder.features(encoder.embed(tokens), LENGTHS)):
        torch.testing.assert_close(features[::2], long, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(features[1::2], short, rtol=1e-6, atol=1e-6)


def test_gradients_reach_all_windows_and_dropout_is_that_of_the_step(
    in_windows: Callable[[Pooling], TransformerEncoder],
) -> None:
    encoder = in_windows("first").train()
    x = encoder.embed(documents(extra=2))
    features = encoder.features(x, LENGTHS)
    (gradient,) = torch.autograd.grad((features * weights(features)).sum(), x)
    assert torch.equal((gradient != 0).any(2), inside(x))
    assert torch.equal(encoder.features(x, LENGTHS), features)


def test_the_longest_document_can_be_read(make: Make) -> None:
    encoder = make("first")
    assert encoder.max_tokens == encoder.positions <= POSITIONS
    tokens = torch.full((1, encoder.positions), SEP)
    assert encoder.read(tokens, torch.tensor([encoder.positions])).isfinite().all()


@torch.no_grad()
def test_embeddings_are_normalized_by_frequency_whatever_the_scale_of_the_table(make: Make) -> None:
    encoder = make().double()
    before, table = encoder.embed(documents()), encoder.word_table()
    torch.testing.assert_close(table[documents()], before)
    shares = FREQUENCIES.double() / FREQUENCIES.sum()
    torch.testing.assert_close(shares @ table, torch.zeros_like(table[0]))
    torch.testing.assert_close(shares @ table.square(), torch.ones_like(table[0]))
    encoder.words.weight.mul_(5.0).add_(2.0)
    torch.testing.assert_close(encoder.embed(documents()), before)


def test_a_perturbation_has_the_units_of_the_table(make: Make, architecture: str) -> None:
    encoder, tokens = make("first").double(), documents()
    r = torch.randn(*tokens.shape, encoder.embedding_size, dtype=torch.float64)
    model, table = tiny(architecture).double(), encoder.words.weight
    shares = FREQUENCIES.double() / FREQUENCIES.sum()
    deviation = (shares @ (table - shares @ table).square()).sqrt()
    perturbed = model(inputs_embeds=table[tokens] + deviation * r, attention_mask=inside(tokens).long())[0][:, 0]
    torch.testing.assert_close(encoder.features(encoder.embed(tokens) + r, LENGTHS), perturbed)


def test_the_gradient_of_the_table_is_that_of_plain_fine_tuning(make: Make, architecture: str) -> None:
    encoder, model, tokens = make("first").double(), tiny(architecture).double(), documents()
    mine = encoder.features(encoder.embed(tokens), LENGTHS)
    (mine * weights(mine)).sum().backward()
    plain = model(input_ids=tokens, attention_mask=inside(tokens).long())[0][:, 0]
    (plain * weights(plain)).sum().backward()
    torch.testing.assert_close(encoder.words.weight.grad, model.get_input_embeddings().weight.grad)
    from_here = encoder.features(encoder.embed(tokens).detach().requires_grad_(), LENGTHS).sum()
    assert torch.autograd.grad(from_here, encoder.embedding_parameters(), allow_unused=True) == (None,)


def test_all_passes_of_a_step_have_the_same_dropout(make: Make) -> None:
    torch.manual_seed(1)
    encoder = make().train()
    x = encoder.embed(documents())
    first = encoder.features(x, LENGTHS)
    torch.randn(3)  # as a random direction would draw
    state = torch.get_rng_state()
    second = encoder.features(x.detach(), LENGTHS)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, second)
    again = encoder.embed(documents())
    assert torch.equal(again, x)
    assert not torch.allclose(encoder.features(again, LENGTHS), first)
    clean = encoder.eval().features(x, LENGTHS)
    assert not torch.allclose(clean, first)
    torch.testing.assert_close(clean, encoder.read(documents(), LENGTHS))


def classifier(encoder: TransformerEncoder, num_classes: int) -> Classifier:
    torch.manual_seed(2)
    return Classifier(encoder, num_classes, head_size=8).to(encoder.words.weight.dtype).eval()


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_of_several_logits_in_bfloat16(make: Make, checkpointing: bool) -> None:
    """C - 1 backward passes through one graph under autocast, then that of the loss."""
    network = classifier(make(checkpointing=checkpointing), num_classes=4).train()
    x = network.embed(documents())
    exact = logit_gradients(network.classify(x, LENGTHS), x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network.classify(x, LENGTHS)
        gradients = logit_gradients(logits, x)
        logits.logsumexp(1).sum().backward()
    assert gradients.dtype == torch.float32
    cosine = torch.cosine_similarity(gradients.flatten(1), exact.flatten(1), dim=1)
    assert (cosine > 0.98).all()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_checkpointing_changes_nothing(make: Make) -> None:
    results = []
    for checkpointing in (False, True):
        torch.manual_seed(6)
        encoder = make(checkpointing=checkpointing).double().train()
        x = encoder.embed(documents())
        features = encoder.features(x, LENGTHS)
        torch.randn(5)  # between the forward and the backward pass
        results.append(
            [features, *torch.autograd.grad((features * weights(features)).sum(), [x, *encoder.parameters()])]
        )
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_every_parameter_is_trained(make: Make) -> None:
    encoder = make().train()
    features = encoder.features(encoder.embed(documents()), LENGTHS)
    (features * weights(features)).sum().backward()
    assert [name for name, parameter in encoder.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("num_layers", [0, 1, 2])
def test_frozen_layers_have_no_gradient(make: Make, architecture: str, num_layers: int) -> None:
    encoder = make()
    encoder.freeze(num_layers)
    frozen = {name for name, parameter in encoder.named_parameters() if not parameter.requires_grad}
    names, top = {id(parameter): name for name, parameter in encoder.named_parameters()}, len(encoder.layers) + 1
    distances = {names[id(parameter)]: distance for distance, parameter in encoder.below_head()}
    assert frozen == {name for name, distance in distances.items() if num_layers and distance >= top - num_layers}
    assert distances["words.weight"] == top
    if architecture != "albert":  # whose layers are one
        assert len(encoder.layers) == 2
    x = encoder.embed(documents())
    (gradient,) = torch.autograd.grad(encoder.features(x, LENGTHS).sum(), x)
    assert (gradient[inside(documents())] != 0).any()
    with torch.no_grad():
        assert not encoder.embed(documents()).requires_grad


def test_a_step_without_values(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """On `meta`: nothing is on the wrong device, and the host reads no value but the one that transformers reads."""
    monkeypatch.setattr(masking_utils, "_ignore_bidirectional_mask_sdpa", lambda *_: False)  # asks: is there padding?
    network = classifier(make(), num_classes=3).train().to("meta")
    x = network.embed(documents().to("meta"))
    logits = network.classify(x, LENGTHS)
    assert logit_gradients(logits, x).shape == (2, *x.shape)
    logits.sum().backward()
    assert network.encoder.perturbation_mask(documents().to("meta"), LENGTHS).device.type == "meta"


def test_a_copy_is_another_network_with_the_same_weights(make: Make) -> None:
    encoder = make()
    twin = copy.deepcopy(encoder)
    twin.load_state_dict(encoder.state_dict())
    assert torch.equal(twin.read(documents(), LENGTHS), encoder.read(documents(), LENGTHS))
    assert not {id(p) for p in twin.parameters()} & {id(p) for p in encoder.parameters()}
