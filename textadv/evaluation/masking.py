"""Signs of gradient masking: a robustness that only hides the gradient from the attack (Athalye et al. 2018)."""

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray

from textadv.adversarial.attacks import Attack
from textadv.adversarial.norms import Norm
from textadv.corpus.batching import Batch
from textadv.evaluation.attacks import Right, SizedAttacks, clean_pass, joined, right_under_attacks
from textadv.models.classifier import Classifier

HUGE = 100.0  # times the largest size asked for
MANY_STEPS = 50
NEAR_ZERO = 0.05
Curves = Mapping[str, NDArray[np.float64]]  # accuracy at each size by the name of the attack


@dataclass(frozen=True)
class Check:
    """One check of an evaluation."""

    name: str  # what should hold
    passed: bool  # whether it does
    detail: str  # the figures behind it

    def line(self) -> str:
        """For people."""
        return f"{'pass' if self.passed else 'warn'}  {self.name}: {self.detail}"


def right_in_batches(
    attacks: SizedAttacks, classifier: Classifier, batches: Sequence[Batch], generator: torch.Generator
) -> list[Right]:
    """Which documents of all batches are right under white-box attacks; see `right_under_attacks`."""
    passes = ((clean_pass(classifier, batch), batch.labels) for batch in batches)
    return joined(right_under_attacks(attacks, clean, clean, labels, generator) for clean, labels in passes)


def check_repeatability(classifier: Classifier, batches: Sequence[Batch]) -> Check:
    """Two passes over the same documents, from the words to the end, give the same logits."""
    pairs = ([clean_pass(classifier, batch).logits for _ in range(2)] for batch in batches)
    largest = max(float((first - second).abs().max()) for first, second in pairs)
    return Check("logits repeat", largest == 0.0, f"largest difference {largest:.3g}")


def check_gradients(share: float) -> Check:
    """There is no document, of which this is the share, whose loss has a gradient of exactly zero at the embeddings."""
    return Check("gradients are not zero", share == 0.0, f"zero for {share:.1%} of the documents")


def check_huge_perturbation(
    classifier: Classifier, batches: Sequence[Batch], epsilon: float, generator: torch.Generator
) -> Check:
    """Accuracy reaches about zero when the perturbation may be huge; smaller ones count, as the ball holds them."""
    sizes = [factor * epsilon for factor in (1.0, 3.0, 10.0, 30.0, HUGE)]
    (right,) = right_in_batches([(Attack("ifgsm", "l2"), sizes)], classifier, batches, generator)
    accuracy = float(right.all(0).mean())
    return Check("accuracy vanishes at a huge epsilon", accuracy <= NEAR_ZERO, f"{accuracy:.1%} at {sizes[-1]:g}")


def check_many_steps(
    classifier: Classifier, batches: Sequence[Batch], epsilon: float, generator: torch.Generator
) -> Check:
    """Many steps are at least as strong as one."""
    attacks = [Attack("fgsm", "l2"), Attack("pgd", "l2", num_steps=MANY_STEPS)]
    right = right_in_batches([(attack, [epsilon]) for attack in attacks], classifier, batches, generator)
    one, many = (float(array.mean()) for array in right)
    detail = f"accuracy {many:.1%} with {MANY_STEPS} steps, {one:.1%} with one, at {epsilon:g}"
    return Check("many steps are as strong as one", many <= one, detail)


def through_window(classifier: Classifier, window: int | None) -> Classifier:
    """The same classifier, its weights shared, whose gradients reach so many tokens of each document; None for all."""
    shared = {id(part): part for part in (*classifier.parameters(), *classifier.buffers())}
    view = deepcopy(classifier, shared)
    view.encoder.window = window
    return view


def check_whole_documents(
    classifier: Classifier, batches: Sequence[Batch], sizes: Sequence[float], window: int, generator: torch.Generator
) -> Check:
    """The attacks are as strong as those through whole documents, which are as strong as those through a window.

    A classifier reads words that its training did not differentiate. An attack that stops where training did leaves
    them alone, and overstates the robustness of long documents.

    Args:
        classifier: As it is attacked.
        batches: Documents longer than the window; there may be none.
        sizes: Sizes of the single step in L2 at which accuracy is taken, their mean.
        window: Tokens of each document that gradients reached in training.
        generator: Source of randomness.
    """
    name = "attacks reach whole documents"
    if not batches:
        return Check(name, True, f"none is longer than the {window} tokens that training differentiates")
    views = [classifier, through_window(classifier, None), through_window(classifier, window)]
    step = [(Attack("fgsm", "l2"), sizes)]
    attacked, whole, part = (float(right_in_batches(step, view, batches, generator)[0].mean()) for view in views)
    detail = (
        f"accuracy {attacked:.1%} as attacked, {whole:.1%} with the gradient of the whole, {part:.1%} with that of "
        f"{window} tokens, mean over the sizes, {sum(len(batch.labels) for batch in batches)} longer documents"
    )
    return Check(name, attacked <= min(whole, part), detail)


def check_monotony(curves: Curves) -> Check:
    """Accuracy under the single step from x, of which at least one is among the attacks, falls with the size."""
    rises = {name: float(np.diff(curve).max(initial=0.0)) for name, curve in curves.items() if name.startswith("fgsm")}
    worst = max(rises, key=rises.__getitem__)
    return Check("accuracy falls with epsilon", rises[worst] <= 0, f"largest rise {rises[worst]:.1%} ({worst})")


def noise_pairs(names: Collection[str]) -> list[tuple[str, str]]:
    """The single steps and the noise of the same norm that are among the attacks of these names."""
    pairs = [(f"fgsm-{norm}", f"noise-{norm}") for norm in get_args(Norm)]
    return [pair for pair in pairs if set(pair) <= set(names)]


def check_noise(curves: Curves) -> Check:
    """Random directions never beat the gradient; at least one of the `noise_pairs` is among the attacks."""
    gap = max(float((curves[step] - curves[noise]).max()) for step, noise in noise_pairs(curves.keys()))
    return Check("noise is weaker than the gradient", gap <= 0, f"noise ahead by at most {max(gap, 0.0):.1%}")


def check_transfer(white_box: Curves, transferred: Curves) -> Check:
    """Perturbations found on another classifier never beat those found on this one."""
    names = [name for name in white_box if not name.startswith("noise-")]
    lead = max(float((white_box[name] - transferred[name]).max()) for name in names)
    return Check("transfer is weaker than white-box", lead <= 0, f"transfer ahead by at most {max(lead, 0.0):.1%}")
