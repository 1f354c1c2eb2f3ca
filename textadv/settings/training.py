"""How the language model and the classifier are trained."""

from dataclasses import dataclass, field
from typing import Literal

from textadv.errors import InputError
from textadv.system.ranges import FREE, OpenShare, Positive, Settings, Share, WholeShare

Method = Literal["none", "random", "adversarial", "vat", "adversarial+vat"]
# Where none is given: of a language model, of a classifier, and of a Transformer as either.
PRETRAINING_LEARNING_RATE, LEARNING_RATE, TRANSFORMER_LEARNING_RATE = 1e-3, 5e-4, 5e-5


@dataclass
class PretrainingSettings(Settings, section="pretraining"):
    """Training of the language model. The defaults are the paper's.

    A Transformer's is a masked one, which reads neither window nor candidates, dropouts, tied_softmax and
    learning_rate_decay.

    Attributes:
        steps: Optimizer steps.
        batch_size: Parallel lanes of the token stream; of a Transformer, documents per step.
        window: Tokens per lane and step (backpropagation through time); the state is carried on.
        candidates: Candidates of the sampled softmax; 0 for the full softmax.
        dropout: Dropout of the embeddings, one mask over all time steps.
        output_dropout: Dropout of the outputs that predict the next words, one mask over all time steps.
        tied_softmax: Predict words by the table of their embeddings, behind a projection, instead of vectors of the
            softmax's own: fewer parameters, and less to compute where hidden_size is above embedding_size.
        learning_rate: Adam's step size; null for 1e-3, for a Transformer 5e-5.
        learning_rate_decay: Factor on the learning rate after each step; a Transformer's falls linearly to 0 instead.
        warmup_steps: Steps of linear warm-up of the learning rate.
        gradient_clip: Bound on the gradient's norm, embeddings excluded.
        validate_every: Steps between two validations; the last step is followed by one in any case.
    """

    steps: Positive = field(default=100_000, metadata=FREE)
    batch_size: Positive = 256
    window: Positive = 400
    candidates: int = 1024
    dropout: Share = 0.5
    output_dropout: Share = 0.0
    tied_softmax: bool = False
    learning_rate: float | None = None
    learning_rate_decay: WholeShare = 0.9999
    warmup_steps: int = 0
    gradient_clip: float = 1.0
    validate_every: Positive = field(default=1000, metadata=FREE)


@dataclass
class FinetuningSettings(Settings, section="finetuning"):
    """Training of the classifier. The defaults are the paper's.

    Attributes:
        method: Which perturbations train the classifier.
        epsilon: Size of a perturbation: L2 norm over the whole sequence, in normalized-embedding units.
        vat_epsilon: That of the virtual adversarial perturbation, always in L2; null for epsilon.
        adversary: A name as in `attack.attacks`; examples of its target are not perturbed; `random` takes its norm.
        num_steps: Steps of `ifgsm`, `mifgsm` and `pgd`.
        step_size: Length of such a step; null for 2.5 epsilon / num_steps.
        num_restarts: Random starts of `pgd`, of which the worst end counts.
        alpha: Length of the random step of `rfgsm`; null for epsilon / 2.
        num_neighbours: Words in whose directions an `interpretable` perturbation moves each word.
        class_weights: `balanced` weights each labeled loss by n / (C n_c), for n labels in C classes, n_c in its own.
        supervised_weight: Weight of the unperturbed labeled loss; 0.5, like adv_weight, in Goodfellow et al. 2015.
        adv_weight: Weight of the adversarial (or random) loss.
        vat_weight: Weight of the virtual adversarial loss.
        entropy_weight: Weight of the entropy of the unlabeled predictions.
        balance_weight: Weight of minus the entropy of the mean unlabeled prediction, which keeps all classes in use.
        pseudo_label_weight: Weight of the cross entropy of sure unlabeled predictions, aligned with the shares of the
            labels, at the virtually perturbed text (unperturbed for methods without it).
        pseudo_label_threshold: Least probability of a sure prediction, as a share of the mean on labeled texts.
        teacher_share: With a share above 0, pseudo-labels come from a teacher, a linear probe of the pretrained
            encoder: so much of the unlabeled texts, the surest, has one, the others have none.
            `pseudo_label_threshold` is then not read.
        head_start: First weights of a linear head (`head_size` 0): random, or those of a linear probe of the pretrained
            encoder, a logistic regression on the labels (Kumar et al. 2022, arXiv 2202.10054).
        vat_target: Mean divergence in nats for which each step chooses the size of the virtual adversarial
            perturbation; `vat_epsilon` is then its bound.
        vat_direction: Top eigenvector of the KL's Hessian; `auto`: in closed form for two or three classes.
        num_power_iterations: Power iterations; 0 leaves the random direction it starts from.
        xi: Step of the power iteration's finite difference.
        ramp_steps: Steps over which the weights of all terms but the unperturbed labeled loss rise linearly from 0.
        steps: Optimizer steps at most.
        batch_size: Labeled documents per step.
        unlabeled_batch_size: Unlabeled documents per step.
        micro_batches: Parts that a step reads its documents in, one after the other, to need less memory: the gradients
            add up to those of the whole. A process that has fewer documents of a kind makes fewer parts.
        window: Tokens at the end of a document that gradients reach; the state before them is carried.
        dropout: Dropout of the embeddings, one mask over all time steps.
        learning_rate: Adam's step size; null for 5e-4, for a Transformer 5e-5.
        learning_rate_decay: Factor on the learning rate after each step; a Transformer's falls linearly to 0 instead.
        layer_decay: Factor on the learning rate for each layer below the head; the embeddings are the lowest.
        weight_decay: Of a Transformer: AdamW's decay of the matrices.
        warmup_steps: Steps of linear warm-up of the learning rate.
        gradient_clip: Bound on the gradient's norm, embeddings excluded.
        ema_decay: Decay of the weight average used in evaluation; 0 for none.
        validate_every: Steps between two validations; the last step is followed by one in any case.
        patience: Validations without improvement before training stops.
        selection: What an improvement is, and the best checkpoint; `auto`: macro-F1 where the classes of the labels
            that select are uneven, else error.
        temperature_scaling: Fit the temperature of the predicted probabilities on the labels that select.
    """

    method: Method = "adversarial+vat"
    epsilon: float = 5.0
    vat_epsilon: float | None = None
    adversary: str = "fgsm-l2"
    num_steps: Positive = 3
    step_size: float | None = None
    num_restarts: Positive = 1
    alpha: float | None = None
    num_neighbours: Positive = 10
    class_weights: Literal["none", "balanced"] = "none"
    supervised_weight: float = 1.0
    adv_weight: float = 1.0
    vat_weight: float = 1.0
    entropy_weight: float = 0.0
    balance_weight: float = 0.0
    pseudo_label_weight: float = 0.0
    pseudo_label_threshold: Share = 0.9
    teacher_share: WholeShare = 0.0
    head_start: Literal["random", "probe"] = "random"
    vat_target: OpenShare | None = None
    vat_direction: Literal["auto", "closed_form", "power_iteration"] = "auto"
    num_power_iterations: int = 1
    xi: float = 0.1
    ramp_steps: int = 0
    steps: Positive = field(default=15_000, metadata=FREE)
    batch_size: Positive = 64
    unlabeled_batch_size: Positive = 64
    micro_batches: Positive = field(default=1, metadata=FREE)
    window: Positive = 400
    dropout: Share = 0.5
    learning_rate: float | None = None
    learning_rate_decay: WholeShare = 0.9998
    layer_decay: WholeShare = 1.0
    weight_decay: float = 0.01
    warmup_steps: int = 0
    gradient_clip: float = 1.0
    ema_decay: Share = 0.999
    validate_every: Positive = field(default=500, metadata=FREE)
    patience: Positive = field(default=10, metadata=FREE)
    selection: Literal["auto", "error", "macro_f1"] = "auto"
    temperature_scaling: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.perturbs_labeled and self.uses_vat and not self.adversary_is_in_l2 and self.vat_epsilon is None:
            raise InputError(f"--finetuning.vat_epsilon: is needed with {self.adversary}, as vat is measured in l2")
        if self.vat_target is not None and self.vat_direction == "power_iteration":
            raise InputError(
                "--finetuning.vat_target: needs the closed form, not --finetuning.vat_direction power_iteration"
            )
        if self.teacher_share and not self.pseudo_label_weight:
            raise InputError("--finetuning.teacher_share: needs a --finetuning.pseudo_label_weight above 0")
        self._check_micro_batches()
        if self.alpha is not None and self.alpha > self.epsilon:
            raise InputError(f"--finetuning.alpha {self.alpha}: must be at most --finetuning.epsilon")

    def _check_micro_batches(self) -> None:
        flag = f"--finetuning.micro_batches {self.micro_batches}: must be"
        if self.micro_batches > 1 and self.whole_batch_setting is not None:
            name = self.whole_batch_setting
            raise InputError(f"{flag} 1 beside --finetuning.{name}, which needs a mean over the whole batch")
        for name in ("batch_size", *["unlabeled_batch_size"] * self.uses_unlabeled):
            if self.micro_batches > getattr(self, name):
                raise InputError(f"{flag} at most --finetuning.{name} {getattr(self, name)}")

    @property
    def perturbs_labeled(self) -> bool:
        """Whether the loss of perturbed labeled examples is part of the objective."""
        return self.method in ("random", "adversarial", "adversarial+vat") and self.adv_weight > 0

    @property
    def adversary_is_in_l2(self) -> bool:
        """Whether the adversarial perturbation has its size over the whole sequence, as the virtual one has."""
        return "linf" not in self.adversary.split("-")[1:2]

    @property
    def virtual_epsilon(self) -> float:
        """L2 norm of the virtual adversarial perturbation."""
        return self.epsilon if self.vat_epsilon is None else self.vat_epsilon

    @property
    def virtual_is_adversarial(self) -> bool:
        """Whether the virtual adversarial perturbation has the size of the adversarial one in every step."""
        return self.vat_target is None and self.virtual_epsilon == self.epsilon

    @property
    def whole_batch_setting(self) -> str | None:
        """The setting by which a loss depends on a mean over all documents of a batch, if there is one."""
        if self.uses_vat and self.vat_target is not None:
            return "vat_target"
        if self.balance_weight:
            return "balance_weight"
        return "pseudo_label_weight" if self.pseudo_label_weight and not self.teacher_share else None

    @property
    def needs_pretrained(self) -> str | None:
        """The setting that makes a probe of a pretrained encoder, if one does."""
        if self.head_start == "probe":
            return "head_start"
        return "teacher_share" if self.teacher_share else None

    @property
    def uses_vat(self) -> bool:
        """Whether the virtual adversarial loss is part of the objective."""
        return self.method in ("vat", "adversarial+vat") and self.vat_weight > 0

    @property
    def uses_unlabeled(self) -> bool:
        """Whether a step has an unlabeled batch."""
        return self.uses_vat or max(self.entropy_weight, self.balance_weight, self.pseudo_label_weight) > 0
