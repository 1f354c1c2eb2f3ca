"""What a classifier is attacked with."""

from dataclasses import dataclass, field

from textadv.system.ranges import Cosine, Positive, Settings, Shares, Sizes


@dataclass
class AttackSettings(Settings, section="attack"):
    """What `attack` tries on a classifier.

    Attributes:
        attacks: Kind (noise, fgsm, rfgsm, ifgsm, mifgsm, pgd, interpretable), norm, target: `pgd-linf-least_likely`.
        l2_epsilons: Sizes of attacks in L2, over the whole sequence, in normalized-embedding units, rising.
        linf_epsilons: Sizes of attacks in L-infinity, of each number of an embedding, rising.
        num_steps: Steps of ifgsm, mifgsm and pgd.
        num_restarts: Random starts of pgd.
        word_budgets: Shares of the words that the substitution attack may change, rising.
        minimum_similarity: Least cosine similarity of a word and what replaces it.
        documents: Documents attacked.
        check_documents: Documents on which the costly checks for masked gradients are made.
        seed: Seed of the choice of documents and of random perturbations.
    """

    attacks: list[str] = field(default_factory=lambda: ["noise-l2", "fgsm-l2", "rfgsm-l2", "ifgsm-l2", "fgsm-linf"])
    l2_epsilons: Sizes = field(default_factory=lambda: [1.0, 3.0, 10.0])
    linf_epsilons: Sizes = field(default_factory=lambda: [0.005, 0.02, 0.05])
    num_steps: Positive = 3
    num_restarts: Positive = 1
    word_budgets: Shares = field(default_factory=lambda: [0.05, 0.1, 0.2])
    minimum_similarity: Cosine = 0.3
    documents: Positive = 1000
    check_documents: Positive = 25
    seed: int = 0

    def sizes(self, norm: str) -> list[float]:
        """The sizes of a norm."""
        return self.l2_epsilons if norm == "l2" else self.linf_epsilons
