from collections.abc import Callable
from functools import partial

import pytest
import torch
from attack_cases import (
    ATTACKS,
    EPSILON,
    MakeClassifier,
    aimed,
    each_attack,
    each_norm,
    each_side,
    generator_of,
    loss_of,
)
from norm_of import norm_of
from torch import Tensor, nn

from textadv.adversarial.attacks import (
    fgsm,
    iterative_fgsm,
    least_likely_class,
    pgd,
    random_fgsm,
)
from textadv.adversarial.divergences import cross_entropy
from textadv.adversarial.norms import Norm, random_noise


@each_norm
@each_side
@pytest.mark.parametrize(
    "attack",
    [
        fgsm,
        partial(iterative_fgsm, step_size=0.1, num_steps=10),
        partial(pgd, step_size=EPSILON, num_steps=80, num_restarts=1),
    ],
    ids=["fgsm", "iterative_fgsm", "pgd"],
)
def test_attacks_find_the_optimum_of_a_linear_classifier(
    attack: Callable[..., Tensor], norm: Norm, targeted: bool, embeddings: Tensor, mask: Tensor
) -> None:
    weights = torch.randn(3, 6, 3, dtype=torch.float64, generator=generator_of()) * mask[..., None]

    def margins(x: Tensor) -> Tensor:
        return (weights * x).sum((1, 2))

    def loss(x: Tensor) -> Tensor:
        return cross_entropy(torch.stack([margins(x), torch.zeros(3, dtype=x.dtype)], 1), torch.zeros(3).long())

    r = attack(aimed(loss, targeted), embeddings, mask, EPSILON, norm)
    uphill = weights if targeted else -weights  # a wanted class 0 wants a large margin
    expected = EPSILON * (uphill.sign() if norm == "linf" else uphill / norm_of(weights, "l2")[:, None, None])
    dual = weights.abs().sum((1, 2)) if norm == "linf" else weights.square().sum((1, 2)).sqrt()
    reached = margins(embeddings) + (1 if targeted else -1) * EPSILON * dual
    assert torch.allclose(r, expected, rtol=0, atol=1e-12)
    assert torch.allclose(margins(embeddings + r), reached, rtol=0, atol=1e-12)


@each_attack
@each_norm
@each_side
def test_perturbations_are_constants_within_the_ball_and_on_the_words(
    attack: Callable[..., Tensor],
    norm: Norm,
    targeted: bool,
    make_classifier: MakeClassifier,
    embeddings: Tensor,
    mask: Tensor,
) -> None:
    embeddings.requires_grad_()
    r = attack(aimed(loss_of(make_classifier(2)), targeted), embeddings, mask, EPSILON, norm)
    assert r.dtype == torch.float64
    assert not r.requires_grad
    assert (norm_of(r, norm) <= EPSILON * (1 + 1e-14)).all()
    assert (norm_of(r, norm) > 0.5 * EPSILON).all()
    assert (r[~mask] == 0).all()


@each_attack
@each_norm
def test_attacks_move_the_loss_of_every_example_to_their_side(
    attack: Callable[..., Tensor], norm: Norm, make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor
) -> None:
    loss = loss_of(make_classifier(2))
    torch.manual_seed(0)
    clean = loss(embeddings)
    assert (loss(embeddings + attack(loss, embeddings, mask, 0.1, norm)) > clean).all()
    assert (loss(embeddings + attack(aimed(loss, True), embeddings, mask, 0.1, norm)) < clean).all()


@each_attack
@each_norm
def test_gradients_and_the_graph_of_the_embeddings_are_left_alone(
    attack: Callable[..., Tensor], norm: Norm, make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor
) -> None:
    classifier = make_classifier(2)
    parameters = list(classifier.parameters())
    half = len(parameters) // 2  # half of them without a gradient, half with one from before
    for parameter in parameters[:half]:
        parameter.grad = torch.randn_like(parameter)
    before = [parameter.grad.clone() for parameter in parameters[:half] if parameter.grad is not None]
    table = embeddings.clone().requires_grad_()
    looked_up = table.square()

    attack(loss_of(classifier), looked_up, mask, EPSILON, norm)

    assert all(torch.equal(p.grad, g) for p, g in zip(parameters[:half], before, strict=True) if p.grad is not None)
    assert all(parameter.grad is None for parameter in parameters[half:])
    assert table.grad is None
    looked_up.sum().backward()  # the graph is still there
    assert torch.equal(table.grad, 2 * embeddings)


@each_attack
@each_norm
@pytest.mark.parametrize("scale", [0.0, 1e-40, 1e-20, 1e30])
def test_gradients_of_any_size_are_safe(
    attack: Callable[..., Tensor], norm: Norm, scale: float, embeddings: Tensor, mask: Tensor
) -> None:
    weights = scale * embeddings.float()
    r = attack(lambda x: (weights * x).sum((1, 2)), torch.zeros(3, 6, 3), mask, EPSILON, norm)
    assert torch.isfinite(r).all()
    assert (norm_of(r, norm) <= EPSILON * (1 + 1e-6)).all()
    if scale == 0 and attack in (ATTACKS["fgsm"], ATTACKS["iterative_fgsm"], ATTACKS["momentum"]):
        assert (r == 0).all()
    elif scale:
        assert ((weights * r).double().sum((1, 2)) > 0).all()


@each_norm
def test_an_example_with_a_zero_gradient_stays_and_the_others_move(
    norm: Norm, embeddings: Tensor, mask: Tensor
) -> None:
    flat_first = torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64)
    r = fgsm(lambda x: flat_first * (x**2).sum((1, 2)), embeddings, mask, EPSILON, norm)
    assert (r[0] == 0).all()
    assert torch.allclose(norm_of(r[1:], norm), torch.full((2,), EPSILON, dtype=torch.float64), rtol=1e-14)


@pytest.mark.parametrize(
    "draw",
    [
        lambda embeddings, mask, norm, g: random_noise(embeddings, mask, EPSILON, norm, g),
        lambda embeddings, mask, norm, g: random_fgsm(
            lambda x: (x**3).sum((1, 2)), embeddings, mask, EPSILON, norm, 0.2, generator=g
        ),
        lambda embeddings, mask, norm, g: pgd(
            lambda x: (x**3).sum((1, 2)), embeddings, mask, EPSILON, norm, 0.1, 1, 2, generator=g
        ),
    ],
    ids=["random_noise", "random_fgsm", "pgd"],
)
@each_norm
def test_attacks_follow_their_generator_alone(
    draw: Callable[[Tensor, Tensor, Norm, torch.Generator], Tensor], norm: Norm, embeddings: Tensor, mask: Tensor
) -> None:
    state = torch.get_rng_state()
    assert torch.equal(draw(embeddings, mask, norm, generator_of(1)), draw(embeddings, mask, norm, generator_of(1)))
    assert not torch.equal(draw(embeddings, mask, norm, generator_of(1)), draw(embeddings, mask, norm, generator_of(2)))
    assert torch.equal(torch.get_rng_state(), state)


def test_random_noise_in_linf_has_random_signs() -> None:
    mask = torch.ones(100, 20, dtype=torch.bool)
    mask[:, 15:] = False
    noise = random_noise(torch.zeros(100, 20, 4), mask, EPSILON, "linf", generator_of())
    assert (noise[mask].abs() == EPSILON).all()
    assert (noise[~mask] == 0).all()
    assert abs((noise[mask] > 0).float().mean().item() - 0.5) < 0.03
    assert noise[mask].mean(0).abs().max() < 0.05


def test_least_likely_class_is_found_where_probabilities_round_to_zero() -> None:
    logits = torch.tensor([[1e4, -1e4, -2e4], [0.0, -300.0, -200.0], [0.1, 0.2, 0.3]])
    assert least_likely_class(logits).tolist() == [2, 1, 0]


def test_a_sure_prediction_has_a_direction_in_float16() -> None:
    """The loss is not scaled within a step: its gradients are below what float16 holds."""
    head = nn.Linear(8, 2)
    x, labels = torch.randn(4, 200, 8, generator=torch.Generator().manual_seed(0)), torch.zeros(4, dtype=torch.int64)
    with torch.no_grad():
        head.bias.copy_(torch.tensor([13.0, 0.0]))  # 1 - p is about 2e-6

    def loss(embeddings: Tensor) -> Tensor:
        return cross_entropy(head(embeddings).mean(1), labels)

    mask = torch.ones(4, 200, dtype=torch.bool)
    expected = fgsm(loss, x, mask, 1.0)
    with torch.autocast("cpu", torch.float16):
        found = fgsm(loss, x, mask, 1.0)
    torch.testing.assert_close(found, expected, rtol=0.01, atol=1e-4)
