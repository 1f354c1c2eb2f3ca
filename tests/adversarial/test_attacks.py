from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
import torch
from norm_of import norm_of
from torch import Tensor, nn

from textadv.adversarial.attacks import (
    Attack,
    LossFunction,
    fgsm,
    iterative_fgsm,
    least_likely_class,
    perturb,
    pgd,
    random_fgsm,
)
from textadv.adversarial.divergences import cross_entropy
from textadv.adversarial.norms import Norm, random_noise, steepest_step

MakeClassifier = Callable[..., nn.Module]
LABELS = torch.tensor([0, 1, 1])
EPSILON = 0.5
NORMS: tuple[Norm, ...] = ("l2", "linf")
ATTACKS: dict[str, Callable[..., Tensor]] = {
    "fgsm": fgsm,
    "iterative_fgsm": partial(iterative_fgsm, step_size=0.2, num_steps=4),
    "momentum": partial(iterative_fgsm, step_size=0.2, num_steps=4, decay=1.0),
    "random_fgsm": partial(random_fgsm, alpha=0.05),
    "pgd": partial(pgd, step_size=0.2, num_steps=2, num_restarts=3),
}

each_norm = pytest.mark.parametrize("norm", NORMS)
each_attack = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
each_side = pytest.mark.parametrize("targeted", [False, True])


def _loss(classifier: nn.Module) -> LossFunction:
    return lambda perturbed: cross_entropy(classifier(perturbed), LABELS)


def _aimed(loss: LossFunction, targeted: bool) -> LossFunction:
    """What an attack raises: a targeted one lowers the loss."""
    return (lambda x: -loss(x)) if targeted else loss


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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
    weights = torch.randn(3, 6, 3, dtype=torch.float64, generator=_generator()) * mask[..., None]

    def margins(x: Tensor) -> Tensor:
        return (weights * x).sum((1, 2))

    def loss(x: Tensor) -> Tensor:
        return cross_entropy(torch.stack([margins(x), torch.zeros(3, dtype=x.dtype)], 1), torch.zeros(3).long())

    r = attack(_aimed(loss, targeted), embeddings, mask, EPSILON, norm)
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
    r = attack(_aimed(_loss(make_classifier(2)), targeted), embeddings, mask, EPSILON, norm)
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
    loss = _loss(make_classifier(2))
    torch.manual_seed(0)
    clean = loss(embeddings)
    assert (loss(embeddings + attack(loss, embeddings, mask, 0.1, norm)) > clean).all()
    assert (loss(embeddings + attack(_aimed(loss, True), embeddings, mask, 0.1, norm)) < clean).all()


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

    attack(_loss(classifier), looked_up, mask, EPSILON, norm)

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


@each_norm
def test_fgsm_is_the_steepest_step_at_the_clean_embeddings(
    norm: Norm, make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor
) -> None:
    loss = _loss(make_classifier(2))
    x = embeddings.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(x).sum(), x)
    r = fgsm(loss, embeddings, mask, EPSILON, norm)
    assert torch.equal(r, steepest_step(gradient, mask, EPSILON, norm))


@each_norm
def test_iterative_fgsm_takes_small_steps_and_stays_in_the_ball(
    norm: Norm, make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor
) -> None:
    path: list[Tensor] = []
    loss = _loss(make_classifier(2))

    def record(perturbed: Tensor) -> Tensor:
        path.append((perturbed - embeddings).detach())
        return loss(perturbed)

    iterative_fgsm(record, embeddings, mask, EPSILON, norm, 0.2, 6)
    assert len(path) == 6
    assert (path[0] == 0).all()
    for r, after in pairwise(path):
        assert (norm_of(r, norm) <= EPSILON * (1 + 1e-12)).all()
        assert (norm_of(after - r, norm) <= 0.2 * (1 + 1e-12)).all()
    assert torch.allclose(norm_of(path[1], norm), torch.full((3,), 0.2, dtype=torch.float64), rtol=1e-12)
    assert torch.allclose(norm_of(path[-1], norm), torch.full((3,), EPSILON, dtype=torch.float64), rtol=1e-12)


@each_norm
@each_side
def test_many_steps_get_further_than_one_on_a_recurrent_classifier(
    norm: Norm, targeted: bool, make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor
) -> None:
    loss = _loss(make_classifier(2))
    epsilon = 3.0 if norm == "l2" else 1.0
    height = _aimed(loss, targeted)
    once = height(embeddings + fgsm(height, embeddings, mask, epsilon, norm))
    often = height(embeddings + iterative_fgsm(height, embeddings, mask, epsilon, norm, epsilon / 5, 20))
    assert often.mean() > once.mean()


@each_norm
def test_iterative_fgsm_goes_on_from_where_it_is_started(
    norm: Norm, make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor
) -> None:
    def run(num_steps: int, start: Tensor | None = None) -> Tensor:
        return iterative_fgsm(loss, embeddings, mask, EPSILON, norm, 0.2, num_steps, start=start)

    loss = _loss(make_classifier(2))
    assert torch.equal(run(2, run(3)), run(5))
    assert (run(0) == 0).all()


@each_norm
@pytest.mark.parametrize("decay", [0.5, 1.0])
def test_momentum_sums_gradients_of_norm_1(
    norm: Norm, decay: float, make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor
) -> None:
    """Dong et al. 2018, algorithm 1, written out for each example by itself."""
    loss = _loss(make_classifier(2))
    expected = torch.zeros_like(embeddings)
    momentum = torch.zeros_like(embeddings)
    for _ in range(4):
        x = (embeddings + expected).requires_grad_()
        (gradient,) = torch.autograd.grad(loss(x).sum(), x)
        gradient = gradient * mask[..., None]
        for i in range(3):
            momentum[i] = decay * momentum[i] + gradient[i] / gradient[i].abs().sum()
            step = momentum[i].sign() if norm == "linf" else momentum[i] / momentum[i].norm()
            moved = expected[i] + 0.2 * step
            size = moved.norm()
            expected[i] = moved.clamp(-EPSILON, EPSILON) if norm == "linf" else moved * min(1.0, EPSILON / size)
    r = iterative_fgsm(loss, embeddings, mask, EPSILON, norm, 0.2, 4, decay=decay)
    torch.testing.assert_close(r, expected, rtol=1e-12, atol=1e-14)
    assert not torch.allclose(r, iterative_fgsm(loss, embeddings, mask, EPSILON, norm, 0.2, 4))


@each_norm
def test_random_fgsm_without_a_random_step_is_fgsm(
    norm: Norm, make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor
) -> None:
    loss = _loss(make_classifier(2))
    without = random_fgsm(loss, embeddings, mask, EPSILON, norm, 0.0)
    assert torch.allclose(without, fgsm(loss, embeddings, mask, EPSILON, norm), rtol=1e-14, atol=0)


@each_norm
def test_random_fgsm_with_nothing_but_the_random_step_is_noise(
    norm: Norm, make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor
) -> None:
    r = random_fgsm(_loss(make_classifier(2)), embeddings, mask, EPSILON, norm, EPSILON, generator=_generator())
    assert torch.allclose(r, random_noise(embeddings, mask, EPSILON, norm, _generator()), rtol=1e-14, atol=0)


@each_norm
@each_side
def test_random_fgsm_takes_its_gradient_behind_the_random_step(
    norm: Norm, targeted: bool, make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor
) -> None:
    loss = _aimed(_loss(make_classifier(2)), targeted)
    r = random_fgsm(loss, embeddings, mask, EPSILON, norm, 0.2, _generator())
    noise = random_noise(embeddings, mask, 0.2, norm, _generator())
    step = fgsm(loss, embeddings + noise, mask, EPSILON - 0.2, norm)
    assert torch.allclose(r, noise + step, rtol=0, atol=1e-14)


@pytest.mark.parametrize("alpha", [-0.1, 0.6])
def test_random_fgsm_refuses_a_random_step_that_leaves_the_ball(alpha: float, embeddings: Tensor, mask: Tensor) -> None:
    with pytest.raises(ValueError, match=r"alpha .*0\.5"):
        random_fgsm(lambda x: x.sum((1, 2)), embeddings, mask, EPSILON, "l2", alpha)


@each_norm
@each_side
def test_pgd_keeps_the_worst_restart_of_each_example(
    norm: Norm, targeted: bool, make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor
) -> None:
    loss = _aimed(_loss(make_classifier(2)), targeted)

    def run(num_restarts: int, generator: torch.Generator) -> Tensor:
        return pgd(loss, embeddings, mask, 3.0, norm, 0.5, 2, num_restarts, generator)

    generator = _generator()
    singles = torch.stack([run(1, generator) for _ in range(6)])  # the same draws as those of six restarts
    losses = torch.stack([loss(embeddings + single) for single in singles]).detach()
    chosen = losses.argmax(0)
    assert len(set(chosen.tolist())) > 1  # else a choice for the whole batch would do
    assert torch.equal(run(6, _generator()), singles[chosen, torch.arange(3)])
    first, best = losses[0], loss(embeddings + run(6, _generator()))
    assert (best >= first).all()


def test_pgd_builds_a_graph_for_its_steps_only(
    make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor
) -> None:
    losses: list[Tensor] = []
    loss = _loss(make_classifier(2))

    def record(perturbed: Tensor) -> Tensor:
        losses.append(loss(perturbed))
        return losses[-1]

    pgd(record, embeddings, mask, EPSILON, "l2", 0.2, 3, 2)
    assert [value.requires_grad for value in losses] == [True, True, True, False] * 2


@each_norm
def test_pgd_starts_at_random_in_the_ball(norm: Norm) -> None:
    def loss(x: Tensor) -> Tensor:
        return 0 * x.sum((1, 2))

    words = torch.ones(20_000, 1, dtype=torch.bool)
    starts = pgd(loss, torch.zeros(20_000, 1, 3), words, 2.0, norm, 0.1, 0, 1, generator=_generator())[:, 0]
    radii = norm_of(starts, norm)
    second_moment = 4 / 3 if norm == "linf" else 4 / 3 / 3  # of one entry: uniform, or radius² / 3
    assert radii.max() <= 2 * (1 + 1e-6)
    assert starts.mean(0).abs().max() < 0.03
    assert (starts.T @ starts / len(starts) - second_moment * torch.eye(3)).abs().max() < 0.03
    if norm == "l2":
        shares = (radii[:, None] < torch.tensor([0.5, 1.0, 1.5])).float().mean(0)
        assert (shares - torch.tensor([0.25, 0.5, 0.75])).abs().max() < 0.02


@each_norm
def test_pgd_leaves_an_example_alone_whose_loss_is_not_a_number(norm: Norm, embeddings: Tensor, mask: Tensor) -> None:
    broken = torch.tensor([torch.nan, 0.0, 0.0], dtype=torch.float64)
    r = pgd(lambda x: x.sum((1, 2)) + broken, embeddings, mask, EPSILON, norm, 0.2, 2, 2)
    assert (r[0] == 0).all()
    assert (norm_of(r[1:], norm) > 0).all()


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
    assert torch.equal(draw(embeddings, mask, norm, _generator(1)), draw(embeddings, mask, norm, _generator(1)))
    assert not torch.equal(draw(embeddings, mask, norm, _generator(1)), draw(embeddings, mask, norm, _generator(2)))
    assert torch.equal(torch.get_rng_state(), state)


def test_random_noise_in_linf_has_random_signs() -> None:
    mask = torch.ones(100, 20, dtype=torch.bool)
    mask[:, 15:] = False
    noise = random_noise(torch.zeros(100, 20, 4), mask, EPSILON, "linf", _generator())
    assert (noise[mask].abs() == EPSILON).all()
    assert (noise[~mask] == 0).all()
    assert abs((noise[mask] > 0).float().mean().item() - 0.5) < 0.03
    assert noise[mask].mean(0).abs().max() < 0.05


def test_least_likely_class_is_found_where_probabilities_round_to_zero() -> None:
    logits = torch.tensor([[1e4, -1e4, -2e4], [0.0, -300.0, -200.0], [0.1, 0.2, 0.3]])
    assert least_likely_class(logits).tolist() == [2, 1, 0]


def _attack_of(kind: str) -> Callable[..., Tensor]:
    """The function that an attack of a kind is, for the closure that it raises."""
    step_size, generator = EPSILON / 2, _generator(2)  # 2.5 / 5 of epsilon
    found: dict[str, Callable[..., Tensor]] = {
        "fgsm": fgsm,
        "rfgsm": partial(random_fgsm, alpha=EPSILON / 2, generator=generator),
        "ifgsm": partial(iterative_fgsm, step_size=step_size, num_steps=5),
        "mifgsm": partial(iterative_fgsm, step_size=step_size, num_steps=5, decay=1.0),
        "pgd": partial(pgd, step_size=step_size, num_steps=5, num_restarts=2, generator=generator),
    }
    return found[kind]


@each_norm
@pytest.mark.parametrize("kind", ["fgsm", "rfgsm", "ifgsm", "mifgsm", "pgd"])
@pytest.mark.parametrize("target", [None, 2, "least_likely"])
def test_perturb_is_the_attack_of_a_kind(
    kind: str,
    norm: Norm,
    target: int | str | None,
    make_classifier: MakeClassifier,
    embeddings: Tensor,
    mask: Tensor,
) -> None:
    """Away from the label, or towards a class, but for examples of that class."""
    classifier = make_classifier(4)
    logits = classifier(embeddings).detach()
    wanted = {None: LABELS, 2: torch.tensor([2, 2, 2]), "least_likely": logits.argmin(1)}[target]
    labels = LABELS if target is None else torch.where(torch.arange(3) == 1, wanted, LABELS)
    moved = torch.ones(3, dtype=torch.bool) if target is None else wanted != labels
    assert moved.any()

    def loss(x: Tensor) -> Tensor:
        return cross_entropy(classifier(x), labels if target is None else wanted)

    attack = Attack(kind, norm, target, num_steps=5, num_restarts=2)  # type: ignore[arg-type]
    r = perturb(attack, classifier, embeddings, labels, mask, EPSILON, generator=_generator(2))
    own = mask & moved[:, None]
    expected = _attack_of(kind)(_aimed(loss, target is not None), embeddings, own, EPSILON, norm)
    assert torch.equal(r, expected)
    assert not r[~moved].any()
    change = (loss(embeddings + r) - loss(embeddings))[moved]
    assert ((change > 0) if target is None else (change < 0)).all()


def test_perturb_takes_what_is_known_already(make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor) -> None:
    """The gradient, of any size, saves the pass at the unperturbed embeddings, the logits that of a targeted attack."""
    classifier = make_classifier(2)
    calls = []

    def classify(x: Tensor) -> Tensor:
        calls.append(1)
        return classifier(x)

    x = embeddings.clone().requires_grad_()
    logits = classifier(x)
    (gradient,) = torch.autograd.grad(cross_entropy(logits, LABELS).sum(), x)
    for attack in (Attack("fgsm"), Attack("ifgsm", "linf", step_size=0.1, num_steps=1)):
        expected = perturb(attack, classify, embeddings, LABELS, mask, EPSILON)
        assert calls.pop()
        r = perturb(attack, classify, embeddings, LABELS, mask, EPSILON, gradient=7 * gradient)
        torch.testing.assert_close(r, expected)
        assert not calls
    perturb(Attack("fgsm", target="least_likely"), classify, embeddings, LABELS, mask, EPSILON, logits)
    assert len(calls) == 1
    with pytest.raises(ValueError, match="directions"):
        perturb(Attack("interpretable"), classify, embeddings, LABELS, mask, EPSILON)
