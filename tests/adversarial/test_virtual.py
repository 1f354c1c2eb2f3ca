from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from textadv.adversarial.divergences import cross_entropy, kl_divergence
from textadv.adversarial.norms import l2_norm, scale_to_norm
from textadv.adversarial.virtual import (
    closed_form_direction,
    curvature,
    epsilon_of_divergence,
    logit_gradients,
    power_iteration,
    virtual_direction,
)

MakeClassifier = Callable[..., nn.Module]
ONES = torch.ones(3, dtype=torch.float64)


def _logits_and_gradients(classifier: nn.Module, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    embeddings = embeddings.detach().requires_grad_()
    logits = classifier(embeddings)
    return logits, logit_gradients(logits, embeddings)


def _divergence(classifier: nn.Module, embeddings: Tensor) -> Callable[[Tensor], Tensor]:
    clean = classifier(embeddings).detach()
    return lambda perturbed: kl_divergence(clean, classifier(perturbed))


def _hessians(classifier: nn.Module, embeddings: Tensor, mask: Tensor) -> Tensor:
    """Exact Hessian of the divergence at r = 0, by double backward, per example."""
    divergence = _divergence(classifier, embeddings)
    size = embeddings[0].numel()
    return torch.stack(
        [
            torch.autograd.functional.hessian(
                lambda r, i=i: divergence(embeddings + r * mask[..., None])[i], torch.zeros_like(embeddings)
            )[i, :, :, i].reshape(size, size)
            for i in range(len(embeddings))
        ]
    )


def _hessian_direction(classifier: nn.Module, embeddings: Tensor, mask: Tensor) -> Tensor:
    """Top eigenvector of the exact Hessian."""
    return torch.linalg.eigh(_hessians(classifier, embeddings, mask)).eigenvectors[:, :, -1].view_as(embeddings)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((1, 2)).abs() / (l2_norm(a) * l2_norm(b))


def _assert_unit(direction: Tensor, mask: Tensor) -> None:
    assert not direction.requires_grad
    assert torch.allclose(l2_norm(direction), ONES.to(direction.dtype), rtol=1e-6)
    assert (direction[~mask] == 0).all()


@pytest.mark.parametrize("num_classes", [2, 4])
def test_logit_gradients_are_of_differences_to_the_last_class(
    make_classifier: MakeClassifier, embeddings: Tensor, num_classes: int
) -> None:
    classifier = make_classifier(num_classes)
    logits, gradients = _logits_and_gradients(classifier, embeddings)
    jacobian = torch.autograd.functional.jacobian(lambda x: classifier(x).sum(0), embeddings)  # (C, B, T, D)
    assert torch.allclose(gradients, jacobian[:-1] - jacobian[-1], rtol=1e-10, atol=1e-14)
    logits.sum().backward()  # the graph is still there


def test_for_two_classes_the_cross_entropy_lies_on_the_same_line(
    make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor
) -> None:
    classifier = make_classifier(2)
    logits, gradients = _logits_and_gradients(classifier, embeddings)
    direction = closed_form_direction(logits, gradients, mask)
    embeddings.requires_grad_()
    loss = cross_entropy(classifier(embeddings), torch.tensor([0, 1, 1])).sum()
    (gradient,) = torch.autograd.grad(loss, embeddings)
    assert (_cosine(direction, scale_to_norm(gradient, mask, 1.0)).abs() > 1 - 1e-10).all()


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("num_classes", [2, 4])
def test_closed_form_is_the_top_eigenvector_of_the_exact_hessian(
    make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor, num_classes: int, cell: type[nn.RNNBase]
) -> None:
    classifier = make_classifier(num_classes, cell)
    direction = closed_form_direction(*_logits_and_gradients(classifier, embeddings), mask)
    _assert_unit(direction, mask)
    assert (_cosine(direction, _hessian_direction(classifier, embeddings, mask)) > 1 - 1e-8).all()


@pytest.mark.parametrize("num_classes", [2, 4])
def test_closed_form_is_where_the_power_iteration_converges(
    make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor, num_classes: int
) -> None:
    classifier = make_classifier(num_classes)
    direction = closed_form_direction(*_logits_and_gradients(classifier, embeddings), mask)
    iterated = power_iteration(_divergence(classifier, embeddings), embeddings, mask, 1e-5, 200)
    _assert_unit(iterated, mask)
    assert (_cosine(direction, iterated) > 1 - 1e-6).all()


def test_one_power_iteration_is_the_closed_form_for_two_classes(
    make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor
) -> None:
    classifier = make_classifier(2)
    direction = closed_form_direction(*_logits_and_gradients(classifier, embeddings), mask)
    iterated = power_iteration(_divergence(classifier, embeddings), embeddings, mask, 1e-4, 1)
    assert (_cosine(direction, iterated) > 1 - 1e-6).all()


def test_no_power_iteration_leaves_the_random_start(embeddings: Tensor, mask: Tensor) -> None:
    def start(num_power_iterations: int, divergence: Callable[[Tensor], Tensor]) -> Tensor:
        generator = torch.Generator().manual_seed(3)
        return power_iteration(divergence, embeddings, mask, 0.1, num_power_iterations, generator)

    untouched = start(0, lambda _: pytest.fail("evaluated"))
    _assert_unit(untouched, mask)
    flat_first = torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64)
    kept = start(2, lambda perturbed: flat_first * (perturbed**2).sum((1, 2)))
    assert torch.equal(kept[0], untouched[0])  # its gradient is zero
    assert not torch.equal(kept[1], untouched[1])


def test_the_finite_difference_is_taken_at_xi_on_the_words_only(embeddings: Tensor, mask: Tensor) -> None:
    seen: list[Tensor] = []

    def divergence(perturbed: Tensor) -> Tensor:
        seen.append((perturbed - embeddings).detach())
        return (perturbed**2).sum((1, 2))

    power_iteration(divergence, embeddings, mask, 0.1, 2)
    assert len(seen) == 2
    for r in seen:
        assert torch.allclose(l2_norm(r), 0.1 * ONES, rtol=1e-10)
        assert (r[~mask] == 0).all()


@pytest.mark.parametrize("num_classes", [2, 4])
def test_gradients_of_parameters_and_embeddings_are_left_alone(
    make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor, num_classes: int
) -> None:
    classifier = make_classifier(num_classes)
    embeddings.requires_grad_()
    parameters = list(classifier.parameters())
    half = len(parameters) // 2  # half of them without a gradient, half with one from before
    for parameter in parameters[:half]:
        parameter.grad = torch.randn_like(parameter)
    before = [parameter.grad.clone() for parameter in parameters[:half] if parameter.grad is not None]

    logits = classifier(embeddings)
    closed_form_direction(logits, logit_gradients(logits, embeddings), mask)
    power_iteration(_divergence(classifier, embeddings), embeddings, mask, 0.1, 1)

    assert all(torch.equal(p.grad, g) for p, g in zip(parameters[:half], before, strict=True) if p.grad is not None)
    assert len(before) == half
    assert all(parameter.grad is None for parameter in parameters[half:])
    assert embeddings.grad is None


@pytest.mark.parametrize("num_classes", [2, 4])
def test_no_gradient_flows_through_what_is_returned(num_classes: int, embeddings: Tensor, mask: Tensor) -> None:
    logits = embeddings[:, 0, :1].expand(3, num_classes).clone().requires_grad_()
    gradients = embeddings.expand(num_classes - 1, 3, 6, 3).clone().requires_grad_()
    embeddings.requires_grad_()
    assert not closed_form_direction(logits, gradients, mask).requires_grad
    for num_power_iterations in (0, 1):
        r = power_iteration(lambda x: (x**3).sum((1, 2)), embeddings, mask, 0.1, num_power_iterations)
        assert not r.requires_grad


@pytest.mark.parametrize("num_classes", [2, 4])
def test_what_stands_at_the_padding_does_not_matter(
    make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor, num_classes: int
) -> None:
    classifier = make_classifier(num_classes)
    changed = embeddings.clone()
    changed[1, 4:] += 10  # behind the EOS of the second document

    def directions(x: Tensor) -> tuple[Tensor, Tensor]:
        def generator() -> torch.Generator:
            return torch.Generator().manual_seed(0)

        closed = closed_form_direction(*_logits_and_gradients(classifier, x), mask, generator())
        return closed, power_iteration(_divergence(classifier, x), x, mask, 0.1, 1, generator())

    for one, other in zip(directions(embeddings), directions(changed), strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-12)


def test_masked_gradients_do_not_count_in_the_eigenproblem(mask: Tensor) -> None:
    gradients = torch.zeros(2, 1, 3, 1)
    gradients[0, 0, 0], gradients[1, 0, 1], gradients[1, 0, 2] = 2.0, 1.0, 100.0
    words = torch.tensor([[True, True, False]])  # the second gradient is the largest only at the EOS
    direction = closed_form_direction(torch.zeros(1, 3), gradients, words)
    # z_2 is the reference: H = G A G with A = (3 I - 1 1^T) / 9 and G = diag(2, 1)
    expected = torch.linalg.eigh(torch.tensor([[8.0, -2.0], [-2.0, 2.0]])).eigenvectors[:, -1]
    assert abs((direction[0, :2, 0] * expected).sum().item()) == pytest.approx(1, abs=1e-6)
    assert direction[0, 2, 0] == 0


@pytest.mark.parametrize("num_classes", [2, 4])
def test_signs_are_random_per_example_and_follow_the_generator(num_classes: int) -> None:
    logits, gradients = torch.zeros(64, num_classes), torch.ones(num_classes - 1, 64, 1, 1)
    gradients *= torch.arange(1.0, num_classes)[:, None, None, None]

    def signs(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return closed_form_direction(logits, gradients, torch.ones(64, 1, dtype=torch.bool), generator).sign()

    assert torch.equal(signs(0), signs(0))
    assert not torch.equal(signs(0), signs(1))
    assert 16 < (signs(0) > 0).sum() < 48


def test_two_classes_do_not_depend_on_the_prediction(embeddings: Tensor, mask: Tensor) -> None:
    def direction(logits: Tensor) -> Tensor:
        return closed_form_direction(logits, embeddings[None].float(), mask, torch.Generator().manual_seed(0))

    certain = torch.tensor([[1e4, -1e4], [-1e4, 1e4], [200.0, 0.0]])
    assert torch.equal(direction(certain), direction(torch.zeros(3, 2)))
    _assert_unit(direction(certain), mask)


@pytest.mark.parametrize("margin", [10.0, 30.0, 1e4])
def test_certain_predictions_of_many_classes_have_the_direction_of_the_runner_up(margin: float) -> None:
    # p_2 -> 1: H is p_1 grad(z_1 - z_2) grad(z_1 - z_2)^T in the limit, p_0 and p_3 being far smaller than p_1.
    logits = torch.tensor([[-margin, margin, 2 * margin, -margin]])
    gradients = torch.randn(3, 1, 5, 2, generator=torch.Generator().manual_seed(0))
    words = torch.ones(1, 5, dtype=torch.bool)
    direction = closed_form_direction(logits, gradients, words)
    assert _cosine(direction, gradients[1] - gradients[2]).item() > 0.999


@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize("scale", [0.0, 1e-38, 1e-20, 1.0, 1e18])
def test_directions_are_finite_for_certain_predictions_and_gradients_of_any_size(
    num_classes: int, scale: float, mask: Tensor
) -> None:
    logits = torch.full((3, num_classes), -1e4)
    logits[0, 0] = logits[1, -1] = 1e4  # the third row is uniform
    gradients = scale * torch.randn(num_classes - 1, 3, 6, 3, generator=torch.Generator().manual_seed(0))
    direction = closed_form_direction(logits, gradients, mask)
    if scale:
        _assert_unit(direction, mask)
    else:
        assert (direction == 0).all()


def test_what_is_not_finite_stays_with_its_text(mask: Tensor) -> None:
    """It ends in a loss that is not finite, of which training can tell the text."""
    logits, gradients = torch.randn(3, 3), torch.randn(2, *mask.shape, 4)
    expected = closed_form_direction(logits, gradients, mask, torch.Generator().manual_seed(0))
    logits[1, 0] = torch.nan
    direction = closed_form_direction(logits, gradients, mask, torch.Generator().manual_seed(0))
    assert direction[1][mask[1]].isnan().any()
    assert torch.equal(direction[[0, 2]], expected[[0, 2]])


def test_power_iteration_is_finite_for_certain_predictions(mask: Tensor) -> None:
    def divergence(perturbed: Tensor) -> Tensor:
        scores = perturbed.sum((1, 2))
        return kl_divergence(torch.tensor([[1e4, -1e4]]).expand(3, 2), torch.stack([scores, -scores], 1) + 1e4)

    _assert_unit(power_iteration(divergence, torch.zeros(3, 6, 3), mask, 0.1, 2), mask)
    constant = power_iteration(lambda x: 0 * x.sum((1, 2)), torch.zeros(3, 6, 3), mask, 0.1, 2)
    _assert_unit(constant, mask)


def test_autocast_does_not_round_the_eigenproblem(mask: Tensor) -> None:
    logits = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).expand(3, 4)
    gradients = torch.randn(3, 3, 6, 3, generator=torch.Generator().manual_seed(0))

    def direction() -> Tensor:
        return closed_form_direction(logits, gradients, mask, torch.Generator().manual_seed(0))

    with torch.autocast("cpu", torch.bfloat16):
        rounded = direction()
    assert torch.equal(rounded, direction())


@pytest.mark.parametrize("closed_form", [True, False])
def test_either_way_to_the_direction(
    make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor, closed_form: bool
) -> None:
    classifier = make_classifier(4)
    x = embeddings.clone().requires_grad_()
    logits = classifier(x)
    found = virtual_direction(classifier, x, logits, mask, closed_form, 1e-3, 2, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    if closed_form:
        expected = closed_form_direction(logits, logit_gradients(logits, x), mask, generator)
    else:
        expected = power_iteration(_divergence(classifier, embeddings), embeddings, mask, 1e-3, 2, generator)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    _assert_unit(found, mask)


def test_the_power_iteration_is_in_full_precision_under_autocast(
    make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor
) -> None:
    classifier, x = make_classifier(4).float(), embeddings.float()
    expected = virtual_direction(
        classifier, x, classifier(x).detach(), mask, False, 1e-3, 1, torch.Generator().manual_seed(0)
    )
    with torch.autocast("cpu", torch.bfloat16):
        logits = classifier(x).detach()
        found = virtual_direction(classifier, x, logits, mask, False, 1e-3, 1, torch.Generator().manual_seed(0))
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected)


def test_embeddings_that_autocast_has_made_are_promoted(
    make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor
) -> None:
    """As those of a layer behind the table. A prediction in bfloat16 would be compared with others."""
    classifier, x = make_classifier(4).float(), embeddings.bfloat16()
    expected = virtual_direction(
        classifier, x.float(), classifier(x.float()).detach(), mask, False, 1e-3, 1, torch.Generator().manual_seed(0)
    )
    with torch.autocast("cpu", torch.bfloat16):
        logits = classifier(x).detach()
        found = virtual_direction(classifier, x, logits, mask, False, 1e-3, 1, torch.Generator().manual_seed(0))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_the_curvature_along_the_closed_form_is_the_largest_eigenvalue(
    make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor, num_classes: int
) -> None:
    classifier = make_classifier(num_classes)
    logits, gradients = _logits_and_gradients(classifier, embeddings)
    found = curvature(logits, gradients, closed_form_direction(logits, gradients, mask))
    expected = torch.linalg.eigvalsh(_hessians(classifier, embeddings, mask))[:, -1]
    assert torch.allclose(found, expected, rtol=1e-8)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_the_curvature_along_any_direction_is_that_of_the_exact_hessian(
    make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor, num_classes: int
) -> None:
    classifier = make_classifier(num_classes)
    logits, gradients = _logits_and_gradients(classifier, embeddings)
    direction = scale_to_norm(torch.randn_like(embeddings), mask, 1.0)
    d = direction.flatten(1)
    expected = torch.einsum("bi,bij,bj->b", d, _hessians(classifier, embeddings, mask), d)
    assert torch.allclose(curvature(logits, gradients, direction), expected, rtol=1e-8)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_a_small_target_is_met(
    make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor, num_classes: int
) -> None:
    classifier, target = make_classifier(num_classes), 1e-8
    logits, gradients = _logits_and_gradients(classifier, embeddings)
    direction = closed_form_direction(logits, gradients, mask)
    epsilon = epsilon_of_divergence(target, curvature(logits, gradients, direction).mean(), 100.0)
    reached = _divergence(classifier, embeddings)(embeddings + epsilon * direction).mean()
    assert reached.item() == pytest.approx(target, rel=1e-3)


def test_the_size_is_bounded_where_the_prediction_does_not_change() -> None:
    assert epsilon_of_divergence(0.1, torch.tensor(0.0), 5.0).item() == pytest.approx(5.0)
