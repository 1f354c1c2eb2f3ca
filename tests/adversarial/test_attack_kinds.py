from itertools import pairwise

import pytest
import torch
from attack_cases import EPSILON, MakeClassifier, aimed, each_norm, each_side, generator_of, loss_of
from norm_of import norm_of
from torch import Tensor

from textadv.adversarial.attacks import fgsm, iterative_fgsm, pgd, random_fgsm
from textadv.adversarial.norms import Norm, random_noise, steepest_step


@each_norm
def test_fgsm_is_the_steepest_step_at_the_clean_embeddings(
    norm: Norm, make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor
) -> None:
    loss = loss_of(make_classifier(2))
    x = embeddings.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(x).sum(), x)
    r = fgsm(loss, embeddings, mask, EPSILON, norm)
    assert torch.equal(r, steepest_step(gradient, mask, EPSILON, norm))


@each_norm
def test_iterative_fgsm_takes_small_steps_and_stays_in_the_ball(
    norm: Norm, make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor
) -> None:
    path: list[Tensor] = []
    loss = loss_of(make_classifier(2))

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
    loss = loss_of(make_classifier(2))
    epsilon = 3.0 if norm == "l2" else 1.0
    height = aimed(loss, targeted)
    once = height(embeddings + fgsm(height, embeddings, mask, epsilon, norm))
    often = height(embeddings + iterative_fgsm(height, embeddings, mask, epsilon, norm, epsilon / 5, 20))
    assert often.mean() > once.mean()


@each_norm
def test_iterative_fgsm_goes_on_from_where_it_is_started(
    norm: Norm, make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor
) -> None:
    def run(num_steps: int, start: Tensor | None = None) -> Tensor:
        return iterative_fgsm(loss, embeddings, mask, EPSILON, norm, 0.2, num_steps, start=start)

    loss = loss_of(make_classifier(2))
    assert torch.equal(run(2, run(3)), run(5))
    assert (run(0) == 0).all()


@each_norm
@pytest.mark.parametrize("decay", [0.5, 1.0])
def test_momentum_sums_gradients_of_norm_1(
    norm: Norm, decay: float, make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor
) -> None:
    """Dong et al. 2018, algorithm 1, written out for each example by itself."""
    loss = loss_of(make_classifier(2))
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
    loss = loss_of(make_classifier(2))
    without = random_fgsm(loss, embeddings, mask, EPSILON, norm, 0.0)
    assert torch.allclose(without, fgsm(loss, embeddings, mask, EPSILON, norm), rtol=1e-14, atol=0)


@each_norm
def test_random_fgsm_with_nothing_but_the_random_step_is_noise(
    norm: Norm, make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor
) -> None:
    r = random_fgsm(loss_of(make_classifier(2)), embeddings, mask, EPSILON, norm, EPSILON, generator=generator_of())
    assert torch.allclose(r, random_noise(embeddings, mask, EPSILON, norm, generator_of()), rtol=1e-14, atol=0)


@each_norm
@each_side
def test_random_fgsm_takes_its_gradient_behind_the_random_step(
    norm: Norm, targeted: bool, make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor
) -> None:
    loss = aimed(loss_of(make_classifier(2)), targeted)
    r = random_fgsm(loss, embeddings, mask, EPSILON, norm, 0.2, generator_of())
    noise = random_noise(embeddings, mask, 0.2, norm, generator_of())
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
    loss = aimed(loss_of(make_classifier(2)), targeted)

    def run(num_restarts: int, generator: torch.Generator) -> Tensor:
        return pgd(loss, embeddings, mask, 3.0, norm, 0.5, 2, num_restarts, generator)

    generator = generator_of()
    singles = torch.stack([run(1, generator) for _ in range(6)])  # the same draws as those of six restarts
    losses = torch.stack([loss(embeddings + single) for single in singles]).detach()
    chosen = losses.argmax(0)
    assert len(set(chosen.tolist())) > 1  # else a choice for the whole batch would do
    assert torch.equal(run(6, generator_of()), singles[chosen, torch.arange(3)])
    first, best = losses[0], loss(embeddings + run(6, generator_of()))
    assert (best >= first).all()


def test_pgd_builds_a_graph_for_its_steps_only(
    make_classifier: MakeClassifier, embeddings: Tensor, mask: Tensor
) -> None:
    losses: list[Tensor] = []
    loss = loss_of(make_classifier(2))

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
    starts = pgd(loss, torch.zeros(20_000, 1, 3), words, 2.0, norm, 0.1, 0, 1, generator=generator_of())[:, 0]
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
