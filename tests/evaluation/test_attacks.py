from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from norm_of import norm_of
from torch import Tensor

from textadv.adversarial.attacks import Attack
from textadv.adversarial.divergences import cross_entropy
from textadv.adversarial.interpretable import word_directions
from textadv.attack_names import parse_attack
from textadv.checkpoints import LoadedClassifier
from textadv.corpus.batching import Batch
from textadv.errors import InputError
from textadv.evaluation.attacks import clean_pass, loss_gradient, neighbours_of, perturb, right_under_attacks
from textadv.evaluation.substitution import NUM_NEIGHBOURS
from textadv.models.classifier import Classifier
from textadv.models.clean_pass import CleanPass
from textadv.models.encoders import positions_before

CLASSES = ("bad", "so-so", "good")
NAMES = [
    "noise-l2",
    "fgsm-l2",
    "rfgsm-l2",
    "ifgsm-l2",
    "mifgsm-l2",
    "pgd-l2",
    "noise-linf",
    "fgsm-linf",
    "rfgsm-linf",
    "pgd-linf",
]


@pytest.fixture
def batch() -> Batch:
    lengths = torch.tensor([6, 3, 5, 1])
    tokens = torch.randint(3, 12, (4, 6), generator=torch.Generator().manual_seed(0))
    tokens[torch.arange(4), lengths - 1] = 2
    return Batch(tokens.masked_fill(torch.arange(6) >= lengths[:, None], 0), lengths, torch.tensor([0, 1, 2, 0]))


@pytest.fixture
def victim(loaded: LoadedClassifier, batch: Batch) -> CleanPass:
    return clean_pass(loaded.classifier, batch, interpretable=True)


def generator(device: str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(1)


@torch.no_grad()
def logits_at(victim: CleanPass, r: Tensor) -> Tensor:
    return victim.logits_at(r)


def loss(victim: CleanPass, labels: Tensor, r: Tensor) -> Tensor:
    return cross_entropy(logits_at(victim, r), labels)


def parse(name: str, num_steps: int = 3, num_restarts: int = 1) -> Attack:
    return parse_attack(name, CLASSES, "--attack.attacks", num_steps=num_steps, num_restarts=num_restarts)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        *((name, None) for name in NAMES),
        ("interpretable-l2", None),
        ("fgsm-l2-least_likely", "least_likely"),
        ("pgd-linf-bad", 0),
        ("interpretable-l2-so-so", 1),
    ],
)
def test_names_say_what_an_attack_does(name: str, target: int | str | None) -> None:
    attack = parse(name, 7, 2)
    assert name.startswith(f"{attack.kind}-{attack.norm}")
    assert attack.target == target
    assert (attack.num_steps, attack.num_restarts) == (7, 2)


@pytest.mark.parametrize(
    "name",
    ["", "fgsm", "fgsm-l1", "cw-l2", "fgsm-l2-great", "noise-l2-least_likely", "noise-l2-bad", "interpretable-linf"],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"--attack\.attacks"):
        parse(name)


@pytest.mark.parametrize("name", NAMES)
def test_every_attack_stays_in_its_ball_and_off_eos(victim: CleanPass, batch: Batch, name: str) -> None:
    attack = parse(name, 3, 2)
    r = perturb(attack, victim, batch.labels, 0.3, generator())
    assert (norm_of(r, attack.norm) <= 0.3 * (1 + 1e-6)).all()
    assert norm_of(r, attack.norm)[:3].gt(0).all()
    assert not r[~positions_before(batch.lengths - 1, batch.tokens)].any()


@pytest.mark.parametrize("name", [*(name for name in NAMES if "noise" not in name), "interpretable-l2"])
@pytest.mark.parametrize("target", ["least_likely", "so-so"])
def test_gradient_attacks_raise_the_loss_and_targeted_ones_lower_that_of_their_class(
    victim: CleanPass, batch: Batch, name: str, target: str
) -> None:
    words = batch.lengths > 1
    r = perturb(parse(name, 5), victim, batch.labels, 0.05, generator())
    assert (loss(victim, batch.labels, r) > loss(victim, batch.labels, torch.zeros_like(r)))[words].all()
    wanted = victim.logits.argmin(1) if target == "least_likely" else torch.ones(4, dtype=torch.int64)
    r = perturb(parse(f"{name}-{target}", 5), victim, batch.labels, 0.05, generator())
    moved = words & (wanted != batch.labels)
    assert moved.any()
    assert (loss(victim, wanted, r) < loss(victim, wanted, torch.zeros_like(r)))[moved].all()
    assert not r[~moved].any()


def test_a_targeted_attack_never_makes_a_mistake_right(victim: CleanPass) -> None:
    predicted = victim.logits.argmax(1)
    labels = (predicted + torch.tensor([0, 1, 2, 1])) % 3
    assert (victim.logits.argmin(1) == labels).any()  # where the least likely class is the right one
    for name in ("fgsm-l2-least_likely", "ifgsm-l2-bad", "pgd-linf-good", "interpretable-l2-so-so"):
        (right,) = right_under_attacks([(parse(name), [0.01, 1.0, 30.0])], victim, victim, labels, generator())
        assert not right[:, 1:].any()


@pytest.mark.parametrize("name", [*NAMES, "interpretable-l2", "rfgsm-linf-least_likely"])
def test_a_perturbation_of_size_0_leaves_the_accuracy_as_it_is(victim: CleanPass, batch: Batch, name: str) -> None:
    predicted = victim.logits.argmax(1)
    labels = torch.where(torch.arange(4) == 1, (predicted + 1) % 3, predicted)
    (right,) = right_under_attacks([(parse(name), [0.0])], victim, victim, labels, generator())
    assert right.tolist() == [(predicted == labels).tolist()]


def test_an_interpretable_attack_is_a_sum_of_weighted_directions(victim: CleanPass, batch: Batch) -> None:
    r = perturb(parse("interpretable-l2"), victim, batch.labels, 0.3, generator())
    neighbours = neighbours_of(victim.classifier, batch.tokens)
    table = victim.classifier.encoder.word_table()
    directions = word_directions(table[batch.tokens], table[neighbours])
    assert (neighbours != batch.tokens[:, :, None]).all()
    assert (neighbours >= 3).all()
    gradient = loss_gradient(victim, batch.labels)
    mask = positions_before(batch.lengths - 1, batch.tokens)
    slopes = torch.einsum("btkd,btd->btk", directions, gradient) * mask[:, :, None]
    weights = 0.3 * slopes / slopes.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None]
    torch.testing.assert_close(r, torch.einsum("btk,btkd->btd", weights, directions))


@pytest.mark.parametrize("name", ["noise-l2", "fgsm-linf", "rfgsm-l2"])
def test_right_under_attack_counts_the_predictions(victim: CleanPass, batch: Batch, name: str) -> None:
    attack, sizes = parse(name), [0.1, 5.0]
    labels = victim.logits.argmax(1)
    (right,) = right_under_attacks([(attack, sizes)], victim, victim, labels, generator())
    draws = generator()
    expected = []
    for epsilon in sizes:
        if attack.keeps_direction:
            r = epsilon * perturb(attack, victim, labels, 1.0, generator())
        else:
            r = perturb(attack, victim, labels, epsilon, draws)
        expected.append((logits_at(victim, r).argmax(1) == labels).numpy())
    assert (right == np.stack(expected)).all()
    assert right.any()


def test_what_is_wrong_unperturbed_is_not_attacked(
    victim: CleanPass, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def counting(attack: Attack, source: CleanPass, labels: Tensor, *arguments: Any) -> Tensor:
        tried.append(len(labels))
        return perturb(attack, source, labels, *arguments)

    monkeypatch.setattr("textadv.evaluation.attacks.perturb", counting)
    labels = victim.logits.argmax(1)
    labels[1] = (labels[1] + 1) % 3  # wrong from the start
    sizes = [0.01, 1.0, 100.0]
    (right,) = right_under_attacks([(Attack("ifgsm", "l2"), sizes)], victim, victim, labels, generator())
    assert tried == [3, 3, 3]
    assert not right[:, 1].any()
    assert right[0].any()


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that are classified."""
    sizes: list[int] = []
    classify = Classifier.classify

    def counting(self: Classifier, embeddings: Tensor, lengths: Tensor) -> Tensor:
        sizes.append(len(lengths))
        return classify(self, embeddings, lengths)

    monkeypatch.setattr(Classifier, "classify", counting)
    return sizes


@pytest.mark.parametrize("name", [*NAMES, "interpretable-l2", "ifgsm-l2-bad", "interpretable-l2-good"])
def test_a_known_gradient_saves_a_pass_and_changes_nothing(
    victim: CleanPass, batch: Batch, name: str, passes: list[int]
) -> None:
    gradient = loss_gradient(victim, batch.labels)
    passes.clear()
    expected = perturb(parse(name), victim, batch.labels, 0.3, generator())
    count = len(passes)
    r = perturb(parse(name), victim, batch.labels, 0.3, generator(), gradient)
    torch.testing.assert_close(r, expected)
    starts_there = parse(name).kind in ("fgsm", "ifgsm", "mifgsm", "interpretable") and parse(name).target is None
    assert len(passes) - count == count - starts_there


def test_attacks_share_the_unperturbed_pass_and_its_gradient(victim: CleanPass, passes: list[int]) -> None:
    labels = victim.logits.argmax(1)
    attacks = [(parse(name), [0.1, 5.0]) for name in ("noise-l2", "fgsm-l2", "fgsm-linf", "interpretable-l2")]
    passes.clear()
    together = right_under_attacks(attacks, victim, victim, labels, generator())
    assert len(passes) == 1 + 4 * 2
    draws = generator()
    for attack, right in zip(attacks, together, strict=True):
        (alone,) = right_under_attacks([attack], victim, victim, labels, draws)
        assert (right == alone).all()


def test_a_known_gradient_of_all_examples_serves_those_that_are_right(victim: CleanPass, passes: list[int]) -> None:
    labels = victim.logits.argmax(1)
    labels[0] = (labels[0] + 1) % 3
    attacks = [(parse(name), [0.1, 5.0]) for name in ("fgsm-l2", "ifgsm-linf", "interpretable-l2")]
    gradient = loss_gradient(victim, labels)
    passes.clear()
    expected = right_under_attacks(attacks, victim, victim, labels, generator())
    count = len(passes)
    passes.clear()
    found = right_under_attacks(attacks, victim, victim, labels, generator(), gradient)
    assert [right.tolist() for right in found] == [right.tolist() for right in expected]
    assert len(passes) == count - 1


def test_transfer_applies_what_was_found_elsewhere(make_loaded: Callable[..., LoadedClassifier], batch: Batch) -> None:
    target, source = make_loaded().classifier, make_loaded().classifier
    with torch.no_grad():
        for parameter in source.head.parameters():
            parameter.neg_()  # its gradient points the other way
    victim, attacker = clean_pass(target, batch), clean_pass(source, batch)
    labels = victim.logits.argmax(1)
    (right,) = right_under_attacks([(Attack("fgsm", "l2"), [20.0])], attacker, victim, labels, generator())
    (own,) = right_under_attacks([(Attack("fgsm", "l2"), [20.0])], victim, victim, labels, generator())
    r = 20 * perturb(Attack("fgsm", "l2"), attacker, labels, 1.0, generator())
    assert (right[0] == (logits_at(victim, r).argmax(1) == labels).numpy()).all()
    assert own.sum() < right.sum()


@pytest.mark.gpu
@pytest.mark.parametrize("name", [*NAMES, "ifgsm-l2-bad", "fgsm-linf-least_likely", "interpretable-l2-bad"])
def test_attacks_work_in_evaluation_with_cudnn(loaded: LoadedClassifier, batch: Batch, name: str) -> None:
    classifier, on_device = loaded.classifier.cuda().eval(), batch.to("cuda")
    victim = clean_pass(classifier, on_device, interpretable=True)
    r = perturb(parse(name, 3, 2), victim, on_device.labels, 0.5, generator("cuda"))
    assert torch.isfinite(logits_at(victim, r)).all()
    largest = 0.5 if "interpretable" not in name else 0.5 * NUM_NEIGHBOURS**0.5
    assert (norm_of(r, "l2" if "l2" in name else "linf") <= largest + 1e-6).all()
    predicted = victim.logits.argmax(1)
    (right,) = right_under_attacks([(parse(name), [0.0])], victim, victim, predicted, generator("cuda"))
    assert right.all()
