from collections.abc import Callable

import torch
from torch import Tensor, nn

from textadv.adversarial.divergences import cross_entropy
from textadv.adversarial.norms import l2_norm, random_noise, steepest_step

LABELS = torch.tensor([0, 1, 1])
FIVE = torch.full((3,), 5.0, dtype=torch.float64)


def test_the_steepest_step_is_the_best_step_on_a_linear_loss(embeddings: Tensor, mask: Tensor) -> None:
    weights = embeddings
    r_adv = steepest_step(weights, mask, 5.0, "l2")
    gain = (weights * r_adv).sum((1, 2))
    assert torch.allclose(l2_norm(r_adv), FIVE, rtol=1e-14)
    assert torch.allclose(gain, 5 * l2_norm(weights * mask[..., None]), rtol=1e-14)  # the bound of Cauchy-Schwarz
    assert (r_adv[~mask] == 0).all()


def test_the_steepest_step_raises_the_loss_of_every_example(
    make_classifier: Callable[..., nn.Module], embeddings: Tensor, mask: Tensor
) -> None:
    classifier = make_classifier(2)
    embeddings.requires_grad_()
    clean = cross_entropy(classifier(embeddings), LABELS)
    (gradient,) = torch.autograd.grad(clean.sum(), embeddings)
    r_adv = steepest_step(gradient, mask, 0.1, "l2")
    assert (cross_entropy(classifier(embeddings + r_adv), LABELS) > clean).all()


def test_no_gradient_flows_through_the_perturbation(
    make_classifier: Callable[..., nn.Module], embeddings: Tensor, mask: Tensor
) -> None:
    classifier = make_classifier(2)
    embeddings.requires_grad_()
    loss = cross_entropy(classifier(embeddings), LABELS).sum()
    (gradient,) = torch.autograd.grad(loss, embeddings, create_graph=True)
    assert gradient.requires_grad
    assert not steepest_step(gradient, mask, 5.0, "l2").requires_grad
    assert not random_noise(embeddings, mask, 5.0).requires_grad


def test_a_zero_gradient_gives_a_zero_perturbation(mask: Tensor) -> None:
    assert (steepest_step(torch.zeros(3, 6, 3), mask, 5.0, "l2") == 0).all()


def test_random_noise_has_norm_epsilon_on_the_words_and_is_zero_elsewhere(embeddings: Tensor, mask: Tensor) -> None:
    r = random_noise(embeddings, mask, 5.0)
    assert r.dtype == embeddings.dtype
    assert torch.allclose(l2_norm(r), FIVE, rtol=1e-14)
    assert (r[~mask] == 0).all()
    assert (r[mask] != 0).all()


def test_random_noise_follows_its_generator_alone(embeddings: Tensor, mask: Tensor) -> None:
    def draw(seed: int) -> Tensor:
        return random_noise(embeddings, mask, 5.0, "l2", torch.Generator().manual_seed(seed))

    state = torch.get_rng_state()
    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    assert torch.equal(torch.get_rng_state(), state)


def test_random_directions_are_uniform() -> None:
    words = torch.ones(20_000, 1, dtype=torch.bool)
    r = random_noise(torch.zeros(20_000, 1, 3), words, 1.0, "l2", torch.Generator().manual_seed(0))
    covariance = r[:, 0].T @ r[:, 0] / len(r)
    assert r.mean(0).abs().max() < 0.02
    assert (covariance - torch.eye(3) / 3).abs().max() < 0.02
