from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textadv.models.layers import GRU, LAYERS, LSTM, POOLINGS, Layer
from textadv.models.recurrent import RecurrentEncoder, reverse_documents
from textadv.precision import without_autocast

VOCABULARY, SIZE, HIDDEN = 20, 3, 5
LENGTHS = torch.tensor([23, 1, 9, 16, 2, 8])  # 1: a bare EOS

MakeEncoder = Callable[..., RecurrentEncoder]


@pytest.fixture(params=LAYERS)
def make_encoder(request: pytest.FixtureRequest) -> MakeEncoder:
    def make(
        bidirectional: bool, pooling: str = "last", window: int | None = None, dropout: float = 0.0
    ) -> RecurrentEncoder:
        torch.manual_seed(3)
        layer = LAYERS[request.param]
        encoder = RecurrentEncoder(
            torch.arange(1, VOCABULARY + 1), SIZE, HIDDEN, bidirectional, layer, POOLINGS[pooling], window, dropout
        ).double()
        with torch.no_grad():
            for parameter in encoder.directions.parameters():
                parameter.mul_(2.0)  # far from linear, so that mistakes show
        return encoder

    return make


def documents(lengths: Tensor = LENGTHS, extra: int = 0) -> Tensor:
    """Random embeddings; behind each document stands noise, which must not matter."""
    generator = torch.Generator().manual_seed(5)
    return torch.randn(len(lengths), int(lengths.max()) + extra, SIZE, dtype=torch.float64, generator=generator)


def lstm_step(inputs: Tensor, recurrent: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """The LSTM's equations with the gates i, f, g, o."""
    i, f, g, o = (inputs + recurrent).split(HIDDEN)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def gru_step(inputs: Tensor, recurrent: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """The GRU's equations with the gates r, z, n; it has no cell."""
    (r, z, n), (r_h, z_h, n_h) = inputs.split(HIDDEN), recurrent.split(HIDDEN)
    r, z = (r + r_h).sigmoid(), (z + z_h).sigmoid()
    return (1 - z) * (n + r * n_h).tanh() + z * h, c


STEPS = {LSTM: lstm_step, GRU: gru_step}


def cell_by_cell(layer: Layer, document: Tensor) -> Tensor:
    """The layer's equations for one document (T, D); returns all outputs (T, H)."""
    h = c = document.new_zeros(HIDDEN)
    outputs = []
    for x in document:
        inputs = F.linear(x, layer.weight_ih_l0, layer.bias_ih_l0)
        h, c = STEPS[type(layer)](inputs, F.linear(h, layer.weight_hh_l0, layer.bias_hh_l0), h, c)
        outputs.append(h)
    return torch.stack(outputs)


def pool(outputs: Tensor, pooling: str) -> Tensor:
    last = outputs[-1]
    mean = outputs.mean(0)
    return {"last": last, "mean": mean, "last_mean_max": torch.cat([last, mean, outputs.amax(0)])}[pooling]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_one_direction_equals_the_equations(make_encoder: MakeEncoder, pooling: str) -> None:
    encoder, embeddings = make_encoder(False, pooling), documents()
    (layer,) = encoder.layers
    expected = [
        pool(cell_by_cell(layer, x[:length]), pooling) for x, length in zip(embeddings, LENGTHS.tolist(), strict=True)
    ]
    features = encoder.features(embeddings, LENGTHS)
    torch.testing.assert_close(features, torch.stack(expected))
    assert features.shape[1] == encoder.num_features


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_second_direction_reads_the_words_from_the_end(make_encoder: MakeEncoder, pooling: str) -> None:
    encoder, embeddings = make_encoder(True, pooling), documents()
    forward, backward = encoder.layers
    expected = []
    for x, length in zip(embeddings, LENGTHS.tolist(), strict=True):
        reversed_words = torch.cat([x[: length - 1].flip(0), x[length - 1 : length]])  # EOS stays last
        expected.append(
            torch.cat(
                [
                    pool(cell_by_cell(forward, x[:length]), pooling),
                    pool(cell_by_cell(backward, reversed_words), pooling),
                ]
            )
        )
    features = encoder.features(embeddings, LENGTHS)
    torch.testing.assert_close(features, torch.stack(expected))
    assert features.shape[1] == encoder.num_features


def test_each_direction_sees_best_what_it_reads_last(make_encoder: MakeEncoder) -> None:
    encoder, embeddings = make_encoder(True), documents()[:1]
    lengths = LENGTHS[:1]

    def change(first: int, second: int) -> tuple[float, float]:
        """Distance that swapping two words moves the forward and the backward `last`."""
        order = torch.arange(embeddings.shape[1])
        order[first], order[second] = second, first
        swapped = torch.cat([embeddings, embeddings[:, order]])
        with torch.no_grad():
            before, after = encoder.features(swapped, lengths.expand(2))
        difference = after - before
        return float(difference[:HIDDEN].norm()), float(difference[HIDDEN:].norm())

    forward, backward = change(0, 1)
    assert backward > 20 * forward
    forward, backward = change(20, 21)
    assert forward > 20 * backward


@pytest.mark.parametrize("window", [1, 6, None])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_padded_batch_equals_one_document_at_a_time(
    make_encoder: MakeEncoder, pooling: str, bidirectional: bool, window: int | None
) -> None:
    encoder = make_encoder(bidirectional, pooling, window)
    embeddings = documents(extra=4).requires_grad_()
    weights = torch.randn(len(LENGTHS), encoder.num_features, dtype=torch.float64)

    batch = encoder.features(embeddings, LENGTHS)
    parameters = [embeddings, *encoder.directions.parameters()]
    batch_gradients = torch.autograd.grad((batch * weights).sum(), parameters)
    single = torch.cat(
        [
            encoder.features(embeddings[i : i + 1, :length], LENGTHS[i : i + 1])
            for i, length in enumerate(LENGTHS.tolist())
        ]
    )
    single_gradients = torch.autograd.grad((single * weights).sum(), parameters)
    torch.testing.assert_close(batch, single)
    for one, other in zip(batch_gradients, single_gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("window", [1, 2, 3, 4, 7, 8, 16, 22, 23])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_carrying_the_state_equals_reading_at_once(
    make_encoder: MakeEncoder, pooling: str, bidirectional: bool, window: int
) -> None:
    embeddings = documents()
    with torch.no_grad():
        carried = make_encoder(bidirectional, pooling, window).features(embeddings, LENGTHS)
        at_once = make_encoder(bidirectional, pooling).features(embeddings, LENGTHS)
    torch.testing.assert_close(carried, at_once)


@pytest.mark.parametrize("window", [1, 2, 4, 8, 11])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_gradients_reach_only_the_window(make_encoder: MakeEncoder, pooling: str, window: int) -> None:
    embeddings = documents(extra=3).requires_grad_()
    features = make_encoder(False, pooling, window).features(embeddings, LENGTHS)
    (gradient,) = torch.autograd.grad((features * torch.randn_like(features)).sum(), embeddings)
    stride = max(1, window // 4)
    for reached, length in zip((gradient != 0).any(2).tolist(), LENGTHS.tolist(), strict=True):
        count = sum(reached)
        assert min(length, max(1, window - stride)) <= count <= min(length, window)
        # Nothing before the window, nothing behind the document, no hole.
        assert reached == [length - count <= position < length for position in range(len(reached))]


def test_gradients_of_both_directions_reach_both_ends(make_encoder: MakeEncoder) -> None:
    encoder = make_encoder(True, window=8)
    lengths = torch.tensor([30])
    embeddings = documents(lengths).requires_grad_()
    (gradient,) = torch.autograd.grad(encoder.features(embeddings, lengths).sum(), embeddings)
    reached = (gradient != 0).any(2)[0].nonzero().flatten().tolist()
    start = [position for position in reached if position < 15]
    end = [position for position in reached if position >= 15]
    assert 5 <= len(start) <= 7  # the window less the EOS
    assert 6 <= len(end) <= 8
    assert reached == [*range(len(start)), *range(30 - len(end), 30)]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_state_before_the_window_is_a_constant(make_encoder: MakeEncoder, pooling: str) -> None:
    encoder = make_encoder(False, pooling, 8)
    (layer,) = encoder.layers
    embeddings = documents()[:1].requires_grad_()  # 23 tokens; window 8, stride 2: cut at 16, the next multiple to 15
    with torch.no_grad():
        before, state = layer(embeddings[:, :16], None)
    after, _ = layer(embeddings[:, 16:], state)
    expected = pool(torch.cat([before, after], 1)[0], pooling)[None]
    features = encoder.features(embeddings, LENGTHS[:1])
    weights = torch.randn_like(features)
    inputs = [embeddings, *layer.parameters()]
    torch.testing.assert_close(features, expected)
    expected_gradients = torch.autograd.grad((expected * weights).sum(), inputs)
    for one, other in zip(torch.autograd.grad((features * weights).sum(), inputs), expected_gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    ("dtype", "has_instructions"),
    [(torch.bfloat16, True), (torch.bfloat16, False), (torch.float16, True)],
)
def test_under_autocast_on_a_cpu(
    make_encoder: MakeEncoder,
    bidirectional: bool,
    dtype: torch.dtype,
    has_instructions: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the CPU has the instructions an LSTM is in bfloat16, near float32. All else is in float32 to the bit."""
    encoder = make_encoder(bidirectional, "mean", 4).float()  # a maximum may be elsewhere after rounding
    embeddings = documents().float().requires_grad_()
    tokens = torch.randint(3, 20, (len(LENGTHS), int(LENGTHS.max())))
    is_gru = isinstance(encoder.layers[0], GRU)
    exact = is_gru or not has_instructions or dtype != torch.bfloat16
    if not exact and not torch.cpu._is_avx512_bf16_supported():
        pytest.skip("this CPU has no instructions for bfloat16")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_instructions)

    def passes() -> list[torch.Tensor]:
        features = encoder.features(embeddings, LENGTHS)
        outputs, state = encoder.read_stream(0, tokens, None)
        loss, inputs = features.square().sum() + outputs.square().sum(), [embeddings, *encoder.directions.parameters()]
        # A CPU's GRU is many operations, whose backward pass obeys the autocast that it is made under.
        with without_autocast(loss.device) if is_gru else nullcontext():
            gradients = torch.autograd.grad(loss, inputs)
        with torch.no_grad():
            read = encoder.read(tokens, LENGTHS)
        return [features, outputs, *state, *gradients, read]

    expected = passes()
    with torch.autocast("cpu", dtype=dtype):
        found = passes()
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, other) == exact
        assert (one - other).norm() <= 0.01 * other.norm()


@pytest.mark.parametrize("shape", [(), (SIZE,)])
def test_reversing_twice_gives_the_documents_back(shape: tuple[int, ...]) -> None:
    values = torch.randn(len(LENGTHS), 25, *shape)
    assert torch.equal(reverse_documents(reverse_documents(values, LENGTHS), LENGTHS), values)


def test_reversing_leaves_eos_and_padding() -> None:
    tokens = torch.tensor([[5, 6, 7, 2, 0, 0], [2, 0, 0, 0, 0, 0], [8, 2, 0, 0, 0, 0], [3, 4, 5, 6, 7, 2]])
    expected = torch.tensor([[7, 6, 5, 2, 0, 0], [2, 0, 0, 0, 0, 0], [8, 2, 0, 0, 0, 0], [7, 6, 5, 4, 3, 2]])
    lengths = torch.tensor([4, 1, 2, 6])
    assert torch.equal(reverse_documents(tokens, lengths), expected)
    vectors = torch.stack([tokens, -tokens], dim=2)
    assert torch.equal(reverse_documents(vectors, lengths), torch.stack([expected, -expected], dim=2))


def test_evaluation_leaves_the_layers_in_training_mode(make_encoder: MakeEncoder) -> None:
    """Else cuDNN has no gradients; nothing else depends on it."""
    network = nn.Sequential(make_encoder(True)).eval()
    encoder = network[0]
    assert [module.training for module in (network, encoder, encoder.embedding)] == [False] * 3
    assert all(layer.training for layer in encoder.layers)


def test_dropout_only_in_training(make_encoder: MakeEncoder) -> None:
    encoder = make_encoder(False, dropout=0.5)
    tokens = torch.randint(VOCABULARY, (4, 6))
    clean = encoder.embedding(tokens)
    assert torch.equal(encoder.eval().embed(tokens), clean)
    dropped = encoder.train().embed(tokens)
    kept = dropped != 0
    assert 0 < kept.sum() < kept.numel()
    torch.testing.assert_close(dropped, torch.where(kept, 2 * clean, 0.0))


def test_the_table_of_words(make_encoder: MakeEncoder) -> None:
    encoder = make_encoder(False, dropout=0.5)  # in training mode: no dropout all the same
    table = encoder.word_table()
    assert not table.requires_grad
    assert torch.equal(table, encoder.eval().embed(torch.arange(VOCABULARY)))
    assert encoder.embedding_size == table.shape[1] == SIZE


def test_gradients_of_embedding_parameters_come_from_the_lookup_alone(make_encoder: MakeEncoder) -> None:
    encoder = make_encoder(True)
    tokens = torch.randint(VOCABULARY, (len(LENGTHS), int(LENGTHS.max())))
    embeddings = encoder.embed(tokens).detach()
    others = [p for p in encoder.parameters() if not any(p is other for other in encoder.embedding_parameters())]
    gradients = torch.autograd.grad(
        encoder.features(embeddings, LENGTHS).sum(), list(encoder.parameters()), allow_unused=True
    )
    reached = [p for p, gradient in zip(encoder.parameters(), gradients, strict=True) if gradient is not None]
    assert len(reached) == len(others) > 0
    assert all(one is other for one, other in zip(reached, others, strict=True))


def test_words_may_be_perturbed_but_neither_the_final_eos_nor_padding(make_encoder: MakeEncoder) -> None:
    tokens = torch.zeros(len(LENGTHS), int(LENGTHS.max()) + 2, dtype=torch.int64)
    mask = make_encoder(False).perturbation_mask(tokens, LENGTHS)
    assert mask.shape == tokens.shape
    assert [row.nonzero().flatten().tolist() for row in mask] == [list(range(n - 1)) for n in LENGTHS.tolist()]
