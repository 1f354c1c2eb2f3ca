from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from norm_of import norm_of
from stepping import Make, gradients, record_passes, step
from torch import Tensor

from textadv.adversarial import virtual
from textadv.adversarial.divergences import cross_entropy, kl_divergence
from textadv.adversarial.norms import Norm, l2_norm
from textadv.benchmark.textbook import TextbookStep
from textadv.corpus.batching import Batch
from textadv.corpus.datamodules import FinetuningData
from textadv.corpus.store import TokenStore
from textadv.errors import InputError
from textadv.models.classifier import Classifier
from textadv.models.encoders import positions_before
from textadv.settings import Experiment

EPSILON = 0.5


@pytest.mark.parametrize("method", ["random", "adversarial", "vat", "adversarial+vat"])
def test_zero_weights_give_bitwise_the_supervised_step(make: Make, store: TokenStore, method: str) -> None:
    plain = make(method="none")
    expected_loss = step(plain, store)
    expected = gradients(plain, expected_loss)
    module = make(method=method, adv_weight=0.0, vat_weight=0.0)
    loss = step(module, store)
    assert torch.equal(loss, expected_loss)
    for ours, theirs in zip(gradients(module, loss), expected, strict=True):
        assert ours is not None
        assert theirs is not None
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("method", ["random", "adversarial", "vat", "adversarial+vat"])
@pytest.mark.parametrize("direction", ["closed_form", "power_iteration"])
def test_every_perturbation_has_norm_epsilon_on_words_only(
    make: Make, store: TokenStore, monkeypatch: pytest.MonkeyPatch, method: str, direction: str
) -> None:
    module = make(method=method, vat_direction=direction, window=100)
    calls = record_passes(module, monkeypatch)
    step(module, store)
    clean: dict[int, Tensor] = {}
    norms = []
    for embeddings, lengths, _ in calls:
        base = clean.setdefault(id(lengths), embeddings)
        difference = (embeddings - base).detach()
        mask = positions_before(lengths - 1, embeddings)
        assert not difference[~mask].any()
        has_words = lengths > 1
        norms += l2_norm(difference)[has_words].tolist()
        assert not difference[~has_words].any()
    sizes = {round(norm, 6) for norm in norms}
    expected = {0.0, EPSILON} | ({0.1} if direction == "power_iteration" and "vat" in method else set())
    assert sizes == expected


@pytest.mark.parametrize("direction", ["closed_form", "power_iteration"])
def test_loss_is_the_sum_of_its_parts(
    make: Make, store: TokenStore, monkeypatch: pytest.MonkeyPatch, direction: str
) -> None:
    module = make(method="adversarial+vat", vat_direction=direction, adv_weight=0.7, vat_weight=1.3)
    calls = record_passes(module, monkeypatch)
    data = FinetuningData(store, Experiment().data, module.settings, 0)
    labels = data.labeled.batch(0).labels
    loss = step(module, store)
    passes = [logits for _, _, logits in calls]
    if direction == "closed_form":  # one pass at x + r_adv = x + r_vadv
        clean, clean_u, adversarial, virtual_u = passes
        virtual = adversarial
    else:
        clean, clean_u, _, _, adversarial, virtual, virtual_u = passes
    lds = torch.cat([kl_divergence(clean, virtual), kl_divergence(clean_u, virtual_u)])
    expected = cross_entropy(clean, labels).mean() + 0.7 * cross_entropy(adversarial, labels).mean() + 1.3 * lds.mean()
    torch.testing.assert_close(loss, expected)
    assert (cross_entropy(adversarial, labels) >= cross_entropy(clean, labels)).double().mean() > 0.7


class GivenDirections(TextbookStep):
    """The textbook step at perturbations found elsewhere."""

    perturbations: list[Tensor]

    def virtual(self, clean: Tensor, embeddings: Tensor, batch: Batch) -> Tensor:
        return self.perturbations.pop(0)


@pytest.mark.parametrize("method", ["none", "adversarial", "vat", "adversarial+vat"])
@pytest.mark.parametrize("direction", ["closed_form", "power_iteration"])
def test_equals_the_textbook_step(
    make: Make, store: TokenStore, monkeypatch: pytest.MonkeyPatch, method: str, direction: str
) -> None:
    """Loss and gradients, for the same dropout and virtual perturbations; r_adv is found by each on its own."""
    dropout = 0.3 if method == "adversarial" else 0.0
    module = make(method=method, vat_direction=direction, dropout=dropout, supervised_weight=0.7)
    calls = record_passes(module, monkeypatch)
    loss = step(module, store)
    ours = gradients(module, loss)
    points = {id(lengths): [e.detach() for e, other, _ in calls if other is lengths] for _, lengths, _ in calls}
    monkeypatch.undo()
    batch = next(iter(FinetuningData(store, Experiment().data, module.settings, 0).train_dataloader()))
    textbook = GivenDirections(module.model, module.settings, module.generator("labeled"))
    textbook.perturbations = [passes[-1] - passes[0] for passes in points.values()]
    expected = textbook.loss(batch["labeled"], batch.get("unlabeled"))
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
    for a, b in zip(ours, gradients(module, expected), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("adversary", ["fgsm", "rfgsm", "ifgsm", "mifgsm", "pgd"])
@pytest.mark.parametrize("target", [None, "least_likely", "neg"])
def test_every_adversary_of_the_family_trains(
    make: Make, store: TokenStore, monkeypatch: pytest.MonkeyPatch, adversary: str, norm: Norm, target: str | None
) -> None:
    epsilon = 0.05  # small enough for the loss to be all but linear
    module = make(
        method="adversarial",
        epsilon=epsilon,
        adversary="-".join([adversary, norm] + ([target] if target else [])),
        num_restarts=2,
        dropout=0.0,
        window=100,
    )
    calls = record_passes(module, monkeypatch)
    batch = FinetuningData(store, Experiment().data, module.settings, 0).labeled.batch(0)
    loss = step(module, store)
    (clean, lengths, logits), (moved, _, perturbed) = calls[0], calls[-1]
    r = (moved - clean).detach()
    wanted = logits.argmin(1) if target == "least_likely" else torch.zeros_like(batch.labels)
    wanted = batch.labels if target is None else wanted
    words = (lengths > 1) & ((wanted != batch.labels) | (target is None))
    assert words.any()
    assert not r[~words].any()
    assert (norm_of(r, norm) <= epsilon * (1 + 1e-9)).all()
    assert (norm_of(r, norm)[words] > epsilon / 2).all()
    assert not r[~positions_before(lengths - 1, r)].any()
    change = cross_entropy(perturbed, wanted) - cross_entropy(logits, wanted)
    assert ((change > 0) if target is None else (change < 0))[words].all()
    expected = cross_entropy(logits, batch.labels).mean() + cross_entropy(perturbed, batch.labels).mean()
    torch.testing.assert_close(loss, expected)
    assert all(p.grad is None for p in module.parameters())


def test_interpretable_perturbations_lie_between_words(
    make: Make, store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = make(method="adversarial+vat", adversary="interpretable-l2", num_neighbours=2, dropout=0.3, window=100)
    batch = FinetuningData(store, Experiment().data, module.settings, 0).labeled.batch(0)
    calls = record_passes(module, monkeypatch)
    loss = step(module, store)
    assert len(calls) == 5  # r_adv and r_vadv are no longer on one line
    (clean, lengths, logits), (moved, _, perturbed) = calls[0], calls[2]
    r = (moved - clean).detach()
    assert not r[~positions_before(lengths - 1, r)].any()
    assert (cross_entropy(perturbed, batch.labels) > cross_entropy(logits, batch.labels))[lengths > 1].all()
    kept = (clean != 0).any(1)  # (B, D): dropout takes the same dimensions from a word and its neighbours
    assert not r.masked_select(~kept[:, None]).any()
    assert module.neighbours is not None
    words_and_others = torch.cat([batch.tokens, module.neighbours[batch.tokens].flatten(1)], 1)
    near = module.model.embed(words_and_others, module.generator("labeled"))
    near = near[:, batch.tokens.shape[1] :].unflatten(1, (-1, 2)) - clean[:, :, None]  # (B, T, 2, D)
    row = int((lengths > 1).nonzero()[0])
    coefficients = torch.linalg.lstsq(near[row, 0].T, r[row, 0][:, None]).solution
    torch.testing.assert_close((near[row, 0].T @ coefficients).squeeze(1).detach(), r[row, 0])
    assert torch.isfinite(loss)


def test_the_direction_is_in_closed_form_for_few_classes(
    make: Make, store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = {
        name: step(make(method="vat", vat_direction=name), store).item() for name in ("closed_form", "power_iteration")
    }
    assert losses["closed_form"] != losses["power_iteration"]
    assert step(make(method="vat"), store).item() == losses["closed_form"]
    monkeypatch.setattr(virtual, "CLOSED_FORM_CLASSES", 1)
    assert step(make(method="vat"), store).item() == losses["power_iteration"]


def test_an_interpretable_perturbation_goes_towards_a_target(
    make: Make, store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"adversary": "interpretable-l2-neg", "num_neighbours": 2, "epsilon": 0.05, "window": 100}
    module = make(method="adversarial", dropout=0.0, **settings)
    batch = FinetuningData(store, Experiment().data, module.settings, 0).labeled.batch(0)
    calls = record_passes(module, monkeypatch)
    step(module, store)
    (clean, lengths, logits), (moved, _, perturbed) = calls[0], calls[-1]
    words = (lengths > 1) & (batch.labels != 0)
    wanted = torch.zeros_like(batch.labels)
    assert words.any()
    assert (cross_entropy(perturbed, wanted) < cross_entropy(logits, wanted))[words].all()
    assert not (moved - clean)[~words].any()


def test_the_virtual_perturbation_has_a_size_of_its_own(
    make: Make, store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = make(method="adversarial+vat", epsilon=0.3, vat_epsilon=2.0, dropout=0.0, window=100)
    calls = record_passes(module, monkeypatch)
    step(module, store)
    sizes = []
    for clean, perturbed in ((0, 2), (0, 3), (1, 4)):  # labeled: r_adv, r_vadv; unlabeled: r_vadv
        r, words = calls[perturbed][0] - calls[clean][0], calls[clean][1] > 1
        sizes += [l2_norm(r.detach())[words]]
    for size, expected in zip(sizes, (0.3, 2.0, 2.0), strict=True):
        torch.testing.assert_close(size, torch.full_like(size, expected))


def test_a_target_that_is_no_class_is_refused(make: Make) -> None:
    with pytest.raises(
        InputError, match=r"--finetuning\.adversary fgsm-l2-great: no class 'great'; .* one of neg, pos"
    ):
        make(method="adversarial", adversary="fgsm-l2-great")


def test_more_neighbours_than_words_are_refused(make: Make) -> None:
    with pytest.raises(InputError, match=r"--finetuning\.num_neighbours 1000: a word has only"):
        make(method="adversarial", adversary="interpretable-l2", num_neighbours=1000)


def test_supervised_weight_mixes_the_losses(make: Make, store: TokenStore) -> None:
    """Goodfellow et al. 2015: a J(x) + (1 - a) J(x + r)."""
    plain, both = (step(make(method=m, adv_weight=1.0), store).item() for m in ("none", "adversarial"))
    mixed = step(make(method="adversarial", adv_weight=0.4, supervised_weight=0.6), store).item()
    assert mixed == pytest.approx(0.6 * plain + 0.4 * (both - plain))


@pytest.mark.parametrize("method", ["vat", "adversarial+vat"])
def test_side_of_the_labeled_virtual_perturbation(
    make: Make, store: TokenStore, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Both sides of x alone, the adversary's beside r_adv."""
    module = make(method=method, dropout=0.0)
    calls = record_passes(module, monkeypatch)
    labels = FinetuningData(store, Experiment().data, module.settings, 0).labeled.batch(0).labels
    step(module, store)
    (_, _, clean), (_, _, perturbed) = calls[0], calls[2]
    lost = cross_entropy(perturbed, labels) > cross_entropy(clean, labels)
    assert lost.any()
    assert lost.all() == (method == "adversarial+vat")


def test_no_gradient_through_the_clean_side_of_the_smoothness(make: Make, store: TokenStore) -> None:
    """With constant perturbations and a constant clean side, the loss's gradient is that of a hand-built loss."""
    module = make(method="vat", dropout=0.0, window=100)
    model = module.model
    data = FinetuningData(store, Experiment().data, module.settings, 0)
    labeled, unlabeled = data.labeled.batch(0), data.unlabeled.batch(0)  # type: ignore[union-attr]
    captured = []
    classify = Classifier.classify

    def capture(self: Classifier, embeddings: Tensor, lengths: Tensor) -> Tensor:
        captured.append(embeddings.detach())
        return classify(self, embeddings, lengths)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classifier, "classify", capture)
        ours = gradients(module, module.training_step({"labeled": labeled, "unlabeled": unlabeled}, 0))
    clean_l, clean_u, moved_l, moved_u = captured
    ce = cross_entropy(model(labeled.tokens, labeled.lengths), labeled.labels).mean()
    lds = []
    for batch, r in ((labeled, moved_l - clean_l), (unlabeled, moved_u - clean_u)):
        embeddings = model.embed(batch.tokens)
        fixed = model.classify(embeddings, batch.lengths).detach()
        lds.append(kl_divergence(fixed, model.classify(embeddings + r, batch.lengths)))
    expected = gradients(module, ce + torch.cat(lds).mean())
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_a_search_leaves_parameter_gradients_alone(make: Make, store: TokenStore) -> None:
    for direction in ("closed_form", "power_iteration"):
        module = make(method="adversarial+vat", vat_direction=direction)
        step(module, store)
        assert all(p.grad is None for p in module.parameters())


def test_ramp_scales_the_perturbed_losses(make: Make, store: TokenStore) -> None:
    plain, ramped, full = (
        step(make(method=m, ramp_steps=n), store).item()
        for m, n in (("none", 0), ("adversarial+vat", 4), ("adversarial+vat", 0))
    )
    assert ramped - plain == pytest.approx((full - plain) / 4)


def test_a_power_iteration_is_made_in_full_precision(
    make: Make, store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorFloat-32 would lose its small step, as bfloat16 does."""
    inside: list[bool] = []
    original = virtual.power_iteration

    @contextmanager
    def noted(device: torch.device) -> Iterator[None]:
        inside.append(True)
        yield
        inside.pop()

    def observed(*arguments: Any) -> Tensor:
        assert inside
        return original(*arguments)

    monkeypatch.setattr(virtual, "full_precision", noted)
    monkeypatch.setattr(virtual, "power_iteration", observed)
    step(make(method="vat", vat_direction="power_iteration"), store)
    assert not inside


@pytest.mark.parametrize("unread", [{"num_steps": 7}, {"step_size": 0.1}, {"num_restarts": 3}, {"alpha": 0.1}])
def test_settings_that_the_adversary_does_not_read_change_nothing(
    make: Make, store: TokenStore, unread: dict[str, Any]
) -> None:
    assert torch.equal(step(make(**unread), store), step(make(), store))


@pytest.mark.parametrize("method", ["adversarial", "vat", "adversarial+vat"])
@pytest.mark.parametrize("dead", [0, 1])
def test_the_share_of_zero_gradients_is_logged(make: Make, store: TokenStore, method: str, dead: int) -> None:
    module = make(method=method, batch_size=12)
    logged: dict[str, Tensor] = {}
    module.log_dict = logged.update  # type: ignore[method-assign]
    if dead:
        torch.nn.init.zeros_(module.model.head[2].weight)
    step(module, store)
    batch = next(iter(FinetuningData(store, Experiment().data, module.settings, 0).train_dataloader()))
    words = torch.cat([part.lengths > 1 for part in batch.values()]).float().mean()  # what has none cannot be perturbed
    assert float(logged["zero_gradients"]) == pytest.approx(dead * float(words))
    assert module.gradient_count == sum(len(part.lengths) for part in batch.values())
    module.trainer = SimpleNamespace(strategy=SimpleNamespace(reduce=lambda counts, reduce_op: counts))  # type: ignore
    assert module.take_zero_share() == pytest.approx(dead * float(words))
    assert module.take_zero_share() == 0


def test_no_share_where_no_gradient_is_taken(make: Make, store: TokenStore) -> None:
    module = make(method="none")
    logged: dict[str, Tensor] = {}
    module.log_dict = logged.update  # type: ignore[method-assign]
    step(module, store)
    assert "zero_gradients" not in logged
