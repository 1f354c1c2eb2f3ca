"""How a classifier stands up to attacks: accuracy by size of the perturbation, words replaced, signs of masking."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textadv.adversarial.attacks import Attack
from textadv.adversarial.norms import perturbation_mask, zero_rows
from textadv.attack_names import parse_attack
from textadv.checkpoints import LoadedClassifier
from textadv.corpus.batching import Batch, Documents, sequential_batches
from textadv.corpus.store import Split, TokenStore
from textadv.corpus.tokenization import TextTokenizer
from textadv.corpus.words import split_words
from textadv.errors import InputError
from textadv.evaluation import masking
from textadv.evaluation.attacks import Victim, right_under_attacks
from textadv.evaluation.evaluate import check_match
from textadv.evaluation.lexicon import Lexicon
from textadv.evaluation.substitution import (
    ChangedDocument,
    Substitution,
    changed_documents,
    substitute_words,
)
from textadv.models.classifier import Classifier
from textadv.settings import AttackSettings
from textadv.system.progress import progress

BATCH_TOKENS = 16_384  # padded; gradients are kept
NUM_EXAMPLES = 5
Curves = dict[str, NDArray[np.float64]]


def choose_documents(split: Split, count: int, seed: int) -> NDArray[np.int64]:
    """Draw documents of a split; of two draws with one seed the larger one holds the smaller.

    Args:
        split: Where from.
        count: How many at most.
        seed: Seed of the choice.

    Returns:
        Their numbers, rising.
    """
    return np.sort(np.random.default_rng(seed).permutation(len(split))[:count])


def robustness(
    loaded: LoadedClassifier,
    store: TokenStore,
    split: str,
    settings: AttackSettings,
    source: LoadedClassifier | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Attack a classifier on documents of a split.

    Args:
        loaded: The classifier under attack.
        store: The prepared corpus.
        split: Name of the split.
        settings: Attacks, sizes and number of documents.
        source: Another classifier, on which perturbations are found too, to be applied to the first.
        device: Where to compute, such as `cuda`.

    Returns:
        Plain figures: `clean_accuracy`; `zero_gradients`, the share of documents whose loss has a gradient of exactly
        zero at the embeddings; `attacks` and `transfer`, rows of name, sizes and accuracies; `words`, shares of words
        changed, accuracies, the share `exchangeable` that can be, and a few `examples`; `checks`.

    Raises:
        InputError: Classifier, corpus and settings do not belong together.
    """
    attacks = chosen_attacks(settings, loaded.classes)
    documents = check_match(loaded, store, split)
    if source is not None:
        check_source(source, loaded, store, split)
    rows = choose_documents(documents, settings.documents, settings.seed)
    reader = Documents(documents)
    batches = [rows[part] for part in sequential_batches(reader.lengths[rows], BATCH_TOKENS)]
    victim = loaded.classifier.to(device).eval()
    attacker = source.classifier.to(device).eval() if source is not None else None
    generator = torch.Generator(device).manual_seed(settings.seed)
    tokenizer = TextTokenizer.from_json(loaded.tokenizer_json)
    lexicon = Lexicon.of(tokenizer, [one.tokens for one in store.splits.values()], device)
    parts, changed, counts = [], [], np.zeros(2)
    for part in progress(batches, len(batches), f"attacking on {split}"):
        batch = reader.batch(part).to(device)
        outcome, substitution = _attack_batch(victim, attacker, batch, attacks, settings, lexicon, generator)
        parts.append(outcome)
        counts += [int(substitution.exchangeable.sum()), int(substitution.words.sum())]
        changed += changed_documents(victim, batch, substitution, settings.word_budgets, part, NUM_EXAMPLES)
    curves = {kind: _curves([part[kind] for part in parts]) for kind in parts[0]}
    few = choose_documents(documents, min(settings.check_documents, len(rows)), settings.seed)
    window = loaded.card["settings"]["finetuning"]["window"]
    longest = rows[np.argsort(-reader.lengths[rows], kind="stable")[: settings.check_documents]]
    checked = [
        [reader.batch(chosen[part]).to(device) for part in sequential_batches(reader.lengths[chosen], BATCH_TOKENS)]
        for chosen in (few, longest[reader.lengths[longest] > window])
    ]
    checks = _checks(victim, checked[0], checked[1], window, attacks, curves, settings, generator)
    return {
        "split": split,
        "documents": len(rows),
        "clean_accuracy": float(curves["unperturbed"]["right"][0]),
        "zero_gradients": float(curves["unperturbed"]["zero"][0]),
        "attacks": _rows(attacks, curves["attacks"], settings),
        "transfer": _rows(attacks, curves["transfer"], settings) if "transfer" in curves else [],
        "words": {
            "budgets": settings.word_budgets,
            "accuracy": curves["words"]["words"].tolist(),
            "exchangeable": float(counts[0] / max(counts[1], 1)),
            "examples": _examples(changed, tokenizer, loaded.classes),
        },
        "checks": [check._asdict() for check in checks],
    }


def check_source(source: LoadedClassifier, loaded: LoadedClassifier, store: TokenStore, split: str) -> None:
    """See to it that perturbations found on one classifier can be applied to another one.

    Args:
        source: Where they are found.
        loaded: Where they are applied.
        store: The prepared corpus.
        split: Name of the split.

    Raises:
        InputError: They cannot.
    """
    check_match(source, store, split, "--source-checkpoint")
    sizes = [one.classifier.encoder.embedding_size for one in (source, loaded)]
    if sizes[0] != sizes[1]:
        raise InputError(f"--source-checkpoint: its embeddings have {sizes[0]} dimensions, those attacked {sizes[1]}")


def chosen_attacks(settings: AttackSettings, classes: Sequence[str]) -> dict[str, Attack]:
    """The attacks that are asked for.

    Args:
        settings: Attacks, sizes and number of documents.
        classes: Names of the classes.

    Returns:
        The attacks by their names.

    Raises:
        InputError: There is no such attack.
    """
    options = {"num_steps": settings.num_steps, "num_restarts": settings.num_restarts}
    return {name: parse_attack(name, classes, "--attack.attacks", **options) for name in settings.attacks}


def _attack_batch(
    victim: Classifier,
    attacker: Classifier | None,
    batch: Batch,
    attacks: Mapping[str, Attack],
    settings: AttackSettings,
    lexicon: Lexicon,
    generator: torch.Generator,
) -> tuple[dict[str, dict[str, NDArray[np.bool_]]], Substitution]:
    """Which documents keep their label under what, each array of shape (sizes, B), and the changed documents.

    Beside them, under `unperturbed`, which are right and which have a gradient of zero.
    """
    sized = [(attack, settings.sizes(attack.norm)) for attack in attacks.values()]
    target = Victim.of(victim, batch)
    gradient = target.gradient(batch.labels)

    def right_at(origin: Victim, gradient: Tensor | None) -> dict[str, NDArray[np.bool_]]:
        right = right_under_attacks(sized, origin, target, batch.labels, generator, gradient)
        return dict(zip(attacks, right, strict=True))

    outcome = {"attacks": right_at(target, gradient)}
    if attacker is not None:
        outcome["transfer"] = right_at(Victim.of(attacker, batch), None)
    words = perturbation_mask(batch.lengths, batch.tokens)
    unperturbed = {"right": target.logits().argmax(1) == batch.labels, "zero": zero_rows(gradient, words)}
    outcome["unperturbed"] = {name: which[None].cpu().numpy() for name, which in unperturbed.items()}
    changed = substitute_words(victim, batch, lexicon, settings.word_budgets, settings.minimum_similarity)
    outcome["words"] = {"words": (~changed.fooled).cpu().numpy()}
    return outcome, changed


def _curves(parts: Sequence[dict[str, NDArray[np.bool_]]]) -> Curves:
    """Accuracy at each size by name, over all batches."""
    return {name: np.concatenate([part[name] for part in parts], axis=1).mean(axis=1) for name in parts[0]}


def _examples(
    changed: Sequence[ChangedDocument], tokenizer: TextTokenizer, classes: Sequence[str]
) -> list[dict[str, Any]]:
    """A few changed documents, their texts cut into words."""
    return [
        {
            "document": example.document,
            "label": classes[example.label],
            "predicted": classes[example.predicted],
            "budget": example.budget,
            "before": split_words(tokenizer.decode(example.before)),
            "after": split_words(tokenizer.decode(example.after)),
        }
        for example in sorted(changed, key=lambda example: example.rank)[:NUM_EXAMPLES]
    ]


def _rows(attacks: Mapping[str, Attack], curves: Curves, settings: AttackSettings) -> list[dict[str, Any]]:
    return [
        {"attack": name, "norm": a.norm, "epsilons": settings.sizes(a.norm), "accuracy": curves[name].tolist()}
        for name, a in attacks.items()
    ]


def _checks(
    classifier: Classifier,
    few: Sequence[Batch],
    long: Sequence[Batch],
    window: int,
    attacks: Mapping[str, Attack],
    curves: dict[str, Curves],
    settings: AttackSettings,
    generator: torch.Generator,
) -> list[masking.Check]:
    """All checks; what was not measured on all documents is measured on few, or on the few that are longest."""
    sizes, own = settings.l2_epsilons, curves["attacks"]
    basic = [(Attack("fgsm", "l2"), sizes), (Attack("noise", "l2"), sizes)]
    step, noise = masking.right_in_batches(basic, classifier, few, generator)
    some = {"fgsm-l2": step.mean(1), "noise-l2": noise.mean(1)}
    falling = own if any(attack.kind == "fgsm" for attack in attacks.values()) else some
    compared = own if masking.noise_pairs(own.keys()) else some
    checks = [
        partial(masking.check_repeatability, classifier, few),
        partial(masking.check_gradients, float(curves["unperturbed"]["zero"][0])),
        partial(masking.check_whole_documents, classifier, long, sizes, window, generator),
        partial(masking.check_huge_perturbation, classifier, few, sizes[-1], generator),
        partial(masking.check_many_steps, classifier, few, sizes[len(sizes) // 2], generator),
        partial(masking.check_monotony, falling),
        partial(masking.check_noise, compared),
    ]
    if "transfer" in curves and any(attack.kind != "noise" for attack in attacks.values()):
        checks.append(partial(masking.check_transfer, curves["attacks"], curves["transfer"]))
    return [check() for check in progress(checks, len(checks), "checking for masked gradients")]


def table(result: dict[str, Any]) -> str:
    """The figures as text."""
    lines = [
        f"{result['documents']} documents of {result['split']}, accuracy {result['clean_accuracy']:.1%} unperturbed"
    ]
    for title, rows in (("white-box", result["attacks"]), ("transferred", result["transfer"])):
        for row in rows:
            cells = "  ".join(
                f"{epsilon:g}: {accuracy:.1%}"
                for epsilon, accuracy in zip(row["epsilons"], row["accuracy"], strict=True)
            )
            lines.append(f"{title:<11} {row['attack']:<26} {cells}")
    words = result["words"]
    cells = "  ".join(
        f"{budget:.0%}: {accuracy:.1%}" for budget, accuracy in zip(words["budgets"], words["accuracy"], strict=True)
    )
    lines.append(f"{'words':<11} {'substituted':<26} {cells}  ({words['exchangeable']:.0%} exchangeable)")
    return "\n".join([*lines, *(masking.Check(**check).line() for check in result["checks"])])
