from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from textadv import Attack, adversarial_loss, closed_form_direction, logit_gradients, virtual_adversarial_loss
from textadv.adversarial.divergences import cross_entropy, kl_divergence
from textadv.adversarial.norms import l2_norm

MakeClassifier = Callable[..., nn.Module]
LABELS = torch.tensor([0, 1, 1])
EPSILON = 0.3


class Recorder:
    """A classifier that keeps what it was given."""

    def __init__(self, classifier: nn.Module) -> None:
        self.classifier = classifier
        self.points: list[Tensor] = []

    def __call__(self, embeddings: Tensor) -> Tensor:
        self.points.append(embeddings.detach().clone())
        logits: Tensor = self.classifier(embeddings)
        return logits


@pytest.mark.parametrize("kind", [torch.bool, torch.int64, torch.float32])
def test_the_adversarial_loss_is_the_cross_entropy_at_the_steepest_step(
    make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor, kind: torch.dtype
) -> None:
    classify = Recorder(make_classifier(2))
    x = embeddings.requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(classify(x), LABELS).sum(), x)
    gradient = gradient * mask[..., None]
    r_adv = EPSILON * gradient / l2_norm(gradient)[:, None, None]
    loss = adversarial_loss(classify, x, LABELS, mask.to(kind), EPSILON)
    torch.testing.assert_close(loss, cross_entropy(classify(x + r_adv), LABELS), rtol=1e-12, atol=0)
    assert loss.shape == (3,)
    (through,) = torch.autograd.grad(loss.sum(), x)
    (expected,) = torch.autograd.grad(cross_entropy(classify(x + r_adv), LABELS).sum(), x)
    torch.testing.assert_close(through, expected)  # r_adv is a constant


def test_the_adversary_is_chosen(make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor) -> None:
    classify = make_classifier(2)
    one = adversarial_loss(classify, embeddings, LABELS, mask, EPSILON)
    ten = adversarial_loss(classify, embeddings, LABELS, mask, EPSILON, Attack("ifgsm", num_steps=10))
    assert (ten > one).all()
    noise = [
        adversarial_loss(classify, embeddings, LABELS, mask, EPSILON, Attack("noise"), generator=generator)
        for generator in (torch.Generator().manual_seed(seed) for seed in (1, 1, 2))
    ]
    assert torch.equal(noise[0], noise[1])
    assert not torch.equal(noise[0], noise[2])


@pytest.mark.parametrize("num_classes", [2, 3, 4])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("closed_form", [None, False, True])
def test_the_virtual_loss_is_the_divergence_at_the_direction_of_most_change(
    make_classifier: MakeClassifier,
    embeddings: Tensor,
    mask: Tensor,
    num_classes: int,
    known: bool,
    closed_form: bool | None,
) -> None:
    classifier = make_classifier(num_classes)
    classify = Recorder(classifier)
    x = embeddings.requires_grad_()
    logits = classifier(x)
    loss = virtual_adversarial_loss(
        classify,
        x,
        mask,
        EPSILON,
        logits if known else None,
        closed_form,
        num_power_iterations=200,
        generator=torch.Generator().manual_seed(0),
        xi=1e-4,
    )
    assert loss.shape == (3,)
    r = classify.points[-1] - x.detach()
    direction = closed_form_direction(logits, logit_gradients(logits, x), mask)
    cosine = (r * direction).sum((1, 2)).abs() / EPSILON
    torch.testing.assert_close(cosine, torch.ones_like(cosine), rtol=1e-3, atol=0)
    torch.testing.assert_close(loss, kl_divergence(logits.detach(), classifier(x + r)), rtol=1e-9, atol=1e-15)
    in_closed_form = num_classes <= 3 if closed_form is None else closed_form
    assert len(classify.points) == (not known) + 1 + (0 if in_closed_form else 200)


def test_gradients_of_parameters_come_from_the_losses_alone(
    make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor
) -> None:
    classifier = make_classifier(2)
    losses = adversarial_loss(classifier, embeddings, LABELS, mask, EPSILON)
    losses = losses + virtual_adversarial_loss(classifier, embeddings, mask, EPSILON)
    assert all(parameter.grad is None for parameter in classifier.parameters())
    losses.mean().backward()
    assert all(parameter.grad is not None for parameter in classifier.parameters())


@pytest.mark.parametrize("num_classes", [2, 5])
def test_losses_can_be_measured_without_gradients(
    make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor, num_classes: int
) -> None:
    classifier = make_classifier(num_classes)

    def measure() -> list[Tensor]:
        generator = torch.Generator().manual_seed(0)
        adversarial = adversarial_loss(classifier, embeddings, LABELS, mask, EPSILON)
        return [adversarial, virtual_adversarial_loss(classifier, embeddings, mask, EPSILON, generator=generator)]

    with torch.no_grad():
        measured = measure()
    assert not any(loss.requires_grad for loss in measured)
    for one, other in zip(measured, measure(), strict=True):
        assert torch.equal(one, other)
