import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from textadv.models.language_model import LanguageModel, SampledSoftmax
from textadv.models.layers import LAYERS
from textadv.models.recurrent import RecurrentEncoder

VOCABULARY, HIDDEN = 40, 6


def make_softmax(frequencies: Tensor, hidden_size: int = HIDDEN) -> SampledSoftmax:
    torch.manual_seed(0)
    softmax = SampledSoftmax(hidden_size, frequencies / frequencies.sum()).double()
    with torch.no_grad():
        softmax.weight.normal_()
        softmax.bias.normal_()
    return softmax


@pytest.fixture
def softmax() -> SampledSoftmax:
    return make_softmax(1.0 / torch.arange(1, VOCABULARY + 1, dtype=torch.float64))  # Zipf


def examples(count: int, vocabulary: int = VOCABULARY, hidden_size: int = HIDDEN) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(count, hidden_size, dtype=torch.float64, generator=generator)
    return hidden, torch.randint(vocabulary, (count,), generator=generator)


def test_words_start_as_likely_as_they_are_frequent() -> None:
    frequencies = torch.tensor([0.5, 0.3, 0.2, 0.0])
    softmax = SampledSoftmax(HIDDEN, frequencies)
    losses = softmax.full_loss(torch.zeros(4, HIDDEN), torch.arange(4))
    expected = torch.tensor([0.5, 0.3, 0.2, 0.2])  # never seen, like the rarest that was
    torch.testing.assert_close(losses, -(expected / expected.sum()).log())


@pytest.mark.parametrize("count", [1, 1024, 2500])
def test_full_loss_is_the_cross_entropy(count: int) -> None:
    softmax = make_softmax(torch.ones(7))
    hidden, targets = examples(count, vocabulary=7)
    expected = F.cross_entropy(hidden @ softmax.weight.T + softmax.bias, targets, reduction="none")
    torch.testing.assert_close(softmax.full_loss(hidden, targets), expected)


def test_with_every_class_a_candidate_the_sampled_loss_is_the_full_loss(softmax: SampledSoftmax) -> None:
    hidden, targets = examples(50)
    parameters = list(softmax.parameters())
    sampled, full = softmax.sampled_loss(hidden, targets, 20_000), softmax.full_loss(hidden, targets)
    torch.testing.assert_close(sampled, full)
    for one, other in zip(
        torch.autograd.grad(sampled.sum(), parameters), torch.autograd.grad(full.sum(), parameters), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_gradients_against_finite_differences(softmax: SampledSoftmax) -> None:
    hidden, targets = examples(8)

    def loss(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        torch.manual_seed(3)
        return torch.func.functional_call(
            SampledLoss(softmax), {"softmax.weight": weight, "softmax.bias": bias}, (hidden, targets)
        )

    assert torch.autograd.gradcheck(loss, (hidden.requires_grad_(), softmax.weight, softmax.bias))


class SampledLoss(torch.nn.Module):
    def __init__(self, softmax: SampledSoftmax) -> None:
        super().__init__()
        self.softmax = softmax

    def forward(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return self.softmax.sampled_loss(hidden, targets, 12)


def test_under_autocast() -> None:
    """In bfloat16 but for what is added up: near the losses and gradients of float32."""
    softmax = make_softmax(1.0 / torch.arange(1, VOCABULARY + 1)).float()
    hidden, targets = (value.float() if value.is_floating_point() else value for value in examples(30))
    hidden.requires_grad_()
    results = []
    for enabled in (False, True):
        torch.manual_seed(3)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            losses = softmax.sampled_loss(hidden, targets, 12)
        assert losses.dtype == torch.float32
        gradients = torch.autograd.grad(losses.sum(), [hidden, softmax.weight, softmax.bias])
        assert all(gradient.dtype == torch.float32 for gradient in gradients)
        results.append([losses, *gradients])
    for exact, rounded in zip(*results, strict=True):
        torch.testing.assert_close(rounded, exact, atol=0.1, rtol=0.05)


@pytest.mark.parametrize("num_candidates", [1, 3, 15])
def test_the_target_counts_once_and_a_repeated_candidate_once(softmax: SampledSoftmax, num_candidates: int) -> None:
    hidden, targets = examples(30)
    targets[:10] = 0  # the commonest class: often a candidate itself
    for seed in range(5):
        torch.manual_seed(seed)
        losses = softmax.sampled_loss(hidden, targets, num_candidates)
        torch.manual_seed(seed)
        drawn = torch.multinomial(softmax.proposal, num_candidates, replacement=True).tolist()
        for h, target, loss in zip(hidden, targets.tolist(), losses, strict=True):
            classes = [target, *sorted(set(drawn) - {target})]
            inclusion = 1 - (1 - softmax.proposal[classes]) ** num_candidates
            logits = softmax.weight[classes] @ h + softmax.bias[classes] - inclusion.log()
            torch.testing.assert_close(loss, F.cross_entropy(logits, torch.tensor(0)))


def test_one_candidate_that_is_the_target_gives_loss_and_gradient_0() -> None:
    frequencies = torch.zeros(5, dtype=torch.float64)
    frequencies[3] = 1.0
    softmax = make_softmax(frequencies)
    hidden, targets = examples(4, vocabulary=5)
    targets[:] = 3
    loss = softmax.sampled_loss(hidden.requires_grad_(), targets, 8)
    assert torch.equal(loss, torch.zeros_like(loss))
    for gradient in torch.autograd.grad(loss.sum(), [hidden, *softmax.parameters()]):
        assert torch.equal(gradient, torch.zeros_like(gradient))


def test_targets_never_seen_in_training_have_finite_losses() -> None:
    frequencies = torch.ones(6)
    frequencies[0] = 0.0
    softmax = make_softmax(frequencies).float()
    hidden, targets = examples(4, vocabulary=6)
    targets[:] = 0
    loss = softmax.sampled_loss(hidden.float(), targets, 3)
    assert loss.isfinite().all()


def mean_gradients(softmax: SampledSoftmax, hidden: Tensor, weights: Tensor, draws: int, candidates: int) -> Tensor:
    """Mean over many draws of the gradient of sum_y weights_y loss(hidden_y, y), flat."""
    targets = torch.arange(len(weights))
    losses = torch.stack([softmax.sampled_loss(hidden, targets, candidates) @ weights for _ in range(draws)])
    return torch.cat(
        [gradient.flatten() for gradient in torch.autograd.grad(losses.mean(), list(softmax.parameters()))]
    )


@pytest.mark.parametrize(("num_candidates", "cosine"), [(8, 0.87), (20, 0.93), (200, 0.997)])
def test_on_average_the_sampled_gradient_points_along_the_full_one(
    softmax: SampledSoftmax, num_candidates: int, cosine: float
) -> None:
    hidden, _ = examples(VOCABULARY)
    with torch.no_grad():
        for parameter in softmax.parameters():
            parameter.mul_(0.5)
    weights = torch.full((VOCABULARY,), 1 / VOCABULARY, dtype=torch.float64)
    full = (softmax.full_loss(hidden, torch.arange(VOCABULARY)) * weights).sum()
    full_gradient = torch.cat([g.flatten() for g in torch.autograd.grad(full, list(softmax.parameters()))])
    torch.manual_seed(0)
    sampled = mean_gradients(softmax, hidden, weights, draws=100, candidates=num_candidates)
    assert F.cosine_similarity(sampled, full_gradient, dim=0) > cosine


def test_the_true_distribution_is_the_optimum_whatever_the_proposal(softmax: SampledSoftmax) -> None:
    # Targets follow the model's own distribution, which is far from the proposal: on average the gradient must be
    # zero. A wrong or missing correction by the inclusion probabilities leaves it about as large as that of an
    # untrained model.
    hidden = examples(1)[0].expand(VOCABULARY, -1)
    with torch.no_grad():
        truth = (softmax.weight @ hidden[0] + softmax.bias).softmax(0)
    torch.manual_seed(0)
    at_truth = mean_gradients(softmax, hidden, truth, draws=300, candidates=12)[-VOCABULARY:]  # the bias's
    with torch.no_grad():
        softmax.bias.add_(softmax.proposal.log())  # what a missing correction would learn
    elsewhere = mean_gradients(softmax, hidden, truth, draws=300, candidates=12)[-VOCABULARY:]
    assert at_truth.norm() < 0.15 * elsewhere.norm()


def make_model(
    bidirectional: bool, kind: str = "lstm", dropout: float = 0.0, tied_softmax: bool = False
) -> LanguageModel:
    torch.manual_seed(4)
    encoder = RecurrentEncoder(torch.arange(1, 21), 3, HIDDEN, bidirectional, LAYERS[kind], dropout=dropout)
    return LanguageModel(encoder, tied_softmax=tied_softmax).double()


def windows(directions: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(6)
    stream = torch.randint(1, 20, (directions, 4, width + 1), generator=generator)
    return stream[:, :, :-1], stream[:, :, 1:]


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_two_windows_equal_one_double_window(bidirectional: bool, kind: str) -> None:
    model = make_model(bidirectional, kind)
    tokens, targets = windows(1 + bidirectional, 10)
    whole, whole_states = model(tokens, targets, None, 0)
    first, states = model(tokens[:, :, :4], targets[:, :, :4], None, 0)
    second, states = model(tokens[:, :, 4:], targets[:, :, 4:], states, 0)
    torch.testing.assert_close(torch.cat([first, second], 2), whole)
    for state, whole_state in zip(states, whole_states, strict=True):
        torch.testing.assert_close(state, whole_state)
    # Without the state the second window is another one.
    assert (model(tokens[:, :, 4:], targets[:, :, 4:], None, 0)[0] - second).abs().max() > 1e-3


@pytest.mark.parametrize("kind", LAYERS)
def test_no_gradient_flows_into_the_window_before(kind: str) -> None:
    model = make_model(True, kind)
    _, states = model(*windows(2, 5), None, 0)
    assert not any(part.requires_grad for state in states for part in state)


@pytest.mark.parametrize("num_candidates", [0, 5])
def test_padding_targets_have_no_loss_and_no_gradient(num_candidates: int) -> None:
    model = make_model(True)
    tokens, targets = windows(2, 6)
    targets = targets.clone()
    targets[:, 1, 4:] = 0
    targets[:, 3] = 0
    torch.manual_seed(0)
    losses, _ = model(tokens, targets, None, num_candidates)
    assert losses.shape == targets.shape
    assert torch.equal(losses != 0, targets != 0)
    torch.manual_seed(0)
    changed = tokens.clone()
    changed[:, 3] = 7  # the inputs of a lane without targets
    changed[:, 1, 5:] = 7
    other, _ = model(changed, targets, None, num_candidates)
    torch.testing.assert_close(other, losses)
    embedding = model.encoder.embedding.weight
    torch.testing.assert_close(
        torch.autograd.grad(other.sum(), embedding)[0], torch.autograd.grad(losses.sum(), embedding)[0]
    )


def test_the_loss_is_that_of_the_next_word() -> None:
    model = make_model(True)
    tokens, targets = windows(2, 3)
    losses, _ = model(tokens, targets, None, 0)
    for i, (lstm, softmax) in enumerate(zip(model.encoder.directions, model.softmaxes, strict=True)):
        outputs, _ = lstm(model.encoder.embedding(tokens[i]))
        log_p = (outputs @ softmax.weight.T + softmax.bias).log_softmax(2)
        torch.testing.assert_close(losses[i], -log_p.gather(2, targets[i][..., None]).squeeze(2))


@pytest.mark.parametrize("num_candidates", [0, 20_000])
def test_a_tied_softmax_predicts_by_the_table_of_embeddings(num_candidates: int) -> None:
    """Of both directions; what the embeddings get is the sum of the gradients as input and as output."""
    model = make_model(True, tied_softmax=True)
    tokens, targets = windows(2, 3)
    table = model.encoder.embedding.weight
    assert sum(parameter is table for parameter in model.parameters()) == 1
    assert not any(parameter.shape == (20, HIDDEN) for parameter in model.parameters())
    losses, _ = model(tokens, targets, None, num_candidates)
    copy = table.detach().clone().requires_grad_()
    total = losses.new_zeros(())
    for i, (lstm, softmax) in enumerate(zip(model.encoder.directions, model.softmaxes, strict=True)):
        outputs, _ = lstm(model.encoder.embedding(tokens[i]))
        log_p = (outputs @ softmax.projection.weight.T @ copy.T + softmax.bias).log_softmax(2)
        expected = -log_p.gather(2, targets[i][..., None]).squeeze(2)
        torch.testing.assert_close(losses[i], expected)
        total = total + expected.sum()
    as_input, as_output = torch.autograd.grad(total, [table, copy])
    assert as_output.abs().max() > 0.1
    torch.testing.assert_close(torch.autograd.grad(losses.sum(), table)[0], as_input + as_output)


def test_output_dropout_is_shared_over_time_and_leaves_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    model, without = make_model(False), make_model(False)
    model.output_dropout = 0.5
    batch = windows(1, 5)
    seen: list[Tensor] = []
    full_loss = SampledSoftmax.full_loss
    monkeypatch.setattr(
        SampledSoftmax, "full_loss", lambda self, hidden, t: seen.append(hidden) or full_loss(self, hidden, t)
    )
    states = [network(*batch, None, 0)[1] for network in (model, without)]
    model.eval()(*batch, None, 0)
    dropped, outputs, evaluated = (hidden.view(4, 5, HIDDEN) for hidden in seen)
    kept = dropped[:, 0] != 0  # (lanes, H)
    assert 0 < kept.sum() < kept.numel()
    torch.testing.assert_close(dropped, 2 * outputs * kept[:, None])
    assert torch.equal(evaluated, outputs)
    assert all(torch.equal(one, other) for one, other in zip(states[0][0], states[1][0], strict=True))


def test_dropout_only_in_training() -> None:
    model, without = make_model(False, dropout=0.5), make_model(False)
    batch = windows(1, 5)
    assert not torch.equal(model(*batch, None, 0)[0], without(*batch, None, 0)[0])
    model.eval()
    assert torch.equal(model(*batch, None, 0)[0], without(*batch, None, 0)[0])
