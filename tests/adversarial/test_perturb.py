from collections.abc import Callable
from functools import partial

import pytest
import torch
from attack_cases import EPSILON, LABELS, MakeClassifier, aimed, each_norm, generator_of
from torch import Tensor

from textadv.adversarial.attacks import (
    Attack,
    fgsm,
    iterative_fgsm,
    perturb,
    pgd,
    random_fgsm,
)
from textadv.adversarial.divergences import cross_entropy
from textadv.adversarial.norms import Norm


def _attack_of(kind: str) -> Callable[..., Tensor]:
    """The function that an attack of a kind is, for the closure that it raises."""
    step_size, generator = EPSILON / 2, generator_of(2)  # 2.5 / 5 of epsilon
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
    r = perturb(attack, classifier, embeddings, labels, mask, EPSILON, generator=generator_of(2))
    own = mask & moved[:, None]
    expected = _attack_of(kind)(aimed(loss, target is not None), embeddings, own, EPSILON, norm)
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
