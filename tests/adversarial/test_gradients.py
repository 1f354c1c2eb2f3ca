from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from textadv.adversarial.attacks import gradient_at
from textadv.adversarial.divergences import cross_entropy, kl_divergence
from textadv.adversarial.gradients import early_backward, sum_of_parts
from textadv.adversarial.virtual import logit_gradients, power_iteration
from textadv.precision import without_autocast


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def run(network: nn.Sequential, table: Tensor, early: bool) -> tuple[Tensor, list[Tensor], Tensor | None]:
    """A loss of which one part may go backward early; its gradients at the parameters and the table."""
    embeddings = table[[0, 2, 2]].view(3, 1, 3) * 2
    first = network(embeddings).square().sum((1, 2))
    gradient = None
    if early:
        first, gradient = early_backward(first, embeddings, list(network.parameters()))
    loss = 3 * first.mean() + network(embeddings + 1).exp().sum()
    return loss.detach(), list(torch.autograd.grad(loss, [table, *network.parameters()])), gradient


def test_replays_value_and_gradients(network: nn.Sequential) -> None:
    table = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    expected, expected_gradients, _ = run(network, table, False)
    loss, gradients, _ = run(network, table, True)
    assert torch.equal(loss, expected)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


def test_gradient_at_the_embeddings(network: nn.Sequential) -> None:
    table = torch.ones(4, 3, dtype=torch.float64, requires_grad=True)
    _, _, gradient = run(network, table, True)
    assert gradient is not None
    x = torch.full((3, 1, 3), 2.0, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(network(x).square().sum(), x)
    torch.testing.assert_close(gradient, expected)
    assert not gradient.requires_grad


def test_goes_backward_once_only(network: nn.Sequential) -> None:
    x = torch.ones(1, 2, 3, dtype=torch.float64, requires_grad=True)
    passes = []
    network[0].register_full_backward_hook(lambda *_: passes.append(1))
    loss, _ = early_backward(network(x).sum((1, 2)), x, list(network.parameters()))
    loss.sum().backward()
    assert len(passes) == 1


@pytest.mark.parametrize("count", [1, 2, 3])
def test_parts_go_backward_one_after_the_other(network: nn.Sequential, count: int) -> None:
    x = torch.randn(3, 3, dtype=torch.float64)
    unused = torch.ones(2, requires_grad=True)
    parameters = [*network.parameters(), unused]
    made: list[Tensor] = []

    def part(number: int) -> Tensor:
        for loss in made:
            with pytest.raises(RuntimeError, match="second time"):
                loss.backward()  # type: ignore[no-untyped-call]
        made.append(cross_entropy(network(x + number), torch.tensor([0, 1, 1])).mean())
        return made[-1]

    total = sum_of_parts(part, count, parameters)
    whole = torch.stack([cross_entropy(network(x + i), torch.tensor([0, 1, 1])).mean() for i in range(count)]).sum()
    torch.testing.assert_close(total, whole, rtol=1e-15, atol=0)
    expected = torch.autograd.grad(2 * whole, parameters, allow_unused=True)
    found = torch.autograd.grad(2 * total, parameters, allow_unused=True)
    assert (found[-1], expected[-1]) == (None, None)
    for ours, theirs in zip(found[:-1], expected[:-1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)


def test_a_parameter_without_part_in_the_loss_gets_no_gradient() -> None:
    x, idle = torch.ones(1, 2, 3, requires_grad=True), torch.ones(2, requires_grad=True)
    loss, _ = early_backward(x.square().sum((1, 2)), x, [idle])
    loss.sum().backward()
    assert idle.grad is None
    assert x.grad is not None


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
def test_autocast_does_not_round_the_backward_pass(
    make_classifier: Callable[..., nn.Module], embeddings: Tensor, mask: Tensor, cell: type[nn.RNNBase]
) -> None:
    """What the forward pass has kept in float32 is differentiated in float32."""
    classifier, x = make_classifier(3, cell).float(), embeddings.float().requires_grad_()
    labels = torch.tensor([0, 1, 2])

    def classify(x: Tensor) -> Tensor:
        with without_autocast(x.device):
            return classifier(x)

    def gradients() -> list[Tensor]:
        def loss(x: Tensor) -> Tensor:
            return cross_entropy(classify(x), labels)

        generator = torch.Generator().manual_seed(0)
        clean = classify(x).detach()
        losses, early = early_backward(loss(x), x, list(classifier.parameters()))
        direction = power_iteration(lambda x: kl_divergence(clean, classify(x)), x, mask, 0.1, 1, generator)
        found = [gradient_at(x, loss), logit_gradients(classify(x), x), early, direction]
        return [*found, *torch.autograd.grad(losses.sum(), list(classifier.parameters()))]

    expected = gradients()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gradients()
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
