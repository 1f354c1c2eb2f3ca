"""Every setting of an experiment, typed, with its range: the schema of the YAML files and of the flags."""

from dataclasses import dataclass, field
from typing import Literal

from textadv.errors import InputError
from textadv.system.ranges import CLASSIFIER_ONLY, FREE, Cosine, OpenShare, Positive, Settings, Share, Shares, Sizes

Method = Literal["none", "random", "adversarial", "vat", "adversarial+vat"]


@dataclass
class ColumnSettings(Settings, section="data"):
    """Where the text stands in a file of texts.

    Attributes:
        text_column: Name of the text column in the files.
    """

    text_column: str = field(default="text", metadata=FREE)


@dataclass
class DataSettings(ColumnSettings):
    """Where the text comes from and how it is split.

    Attributes:
        source: `builtin`, a Hub name, a folder (parquet as on the Hub, aclImdb, or a prepared store), or a tar.gz.
        train: Labeled training rows: CSV, JSONL (both also .gz) or parquet, or a pattern of files; without `source`.
        unlabeled: File or pattern of rows without labels.
        validation: File of validation rows; without one, validation is cut from train.
        test: File of test rows.
        label_column: Name of the label column in the files.
        labels_per_class: Keep this many training labels per class, the rest of train becomes unlabeled text.
        validation_labels: This many of the training labels select the checkpoint, instead of the validation split, and
            do not train; 0: none do, and the last checkpoint is the result, without early stopping.
        validation_fraction: Share of train cut off for validation, stratified by class.
        keep_duplicates: Keep training and unlabeled texts that stand in test, or in given validation rows, as well.
        seed: Seed of the validation cut and of the choice of labels.
        cache: Folder of the prepared stores and the pretrained encoders.
    """

    source: str | None = field(default=None, metadata=FREE)
    train: str | None = field(default=None, metadata=FREE)
    unlabeled: str | None = field(default=None, metadata=FREE)
    validation: str | None = field(default=None, metadata=FREE)
    test: str | None = field(default=None, metadata=FREE)
    label_column: str = field(default="label", metadata=FREE)
    labels_per_class: Positive | None = field(default=None, metadata=CLASSIFIER_ONLY)
    validation_labels: int | None = field(default=None, metadata=CLASSIFIER_ONLY)
    validation_fraction: OpenShare = field(default=0.15, metadata=FREE)
    keep_duplicates: bool = field(default=False, metadata=FREE)
    seed: int = field(default=0, metadata=CLASSIFIER_ONLY)
    cache: str = field(default="data/cache", metadata=FREE)


@dataclass
class TokenizerSettings(Settings, section="tokenizer"):
    """How text becomes tokens.

    Attributes:
        kind: `word` (Miyato et al. 2017: any punctuation is a space) or `bpe` (byte-level).
        lowercase: Fold case.
        max_vocabulary: Upper bound on the vocabulary, special tokens included.
        min_documents: `word` only: drop words found in fewer documents than this.
        unknown: `word` only: replace words out of the vocabulary by `<unk>`, or drop them.
    """

    kind: Literal["word", "bpe"] = "word"
    lowercase: bool = False
    max_vocabulary: int = 100_000
    min_documents: Positive = 2
    unknown: Literal["replace", "drop"] = "replace"


@dataclass
class ModelSettings(Settings, section="model"):
    """Sizes of the encoder and the classifier. The defaults are the paper's, but for `head_activation`.

    Attributes:
        encoder: What reads the documents.
        embedding_size: Dimensions of a word embedding.
        hidden_size: Width of the encoder (of each direction when bidirectional).
        bidirectional: A forward and a backward language model over a shared embedding, features concatenated.
        pooling: What the classifier reads: the last output (paper), the mean of all outputs, or last + mean + max.
        head_size: Width of the hidden layer between encoder and logits.
        head_activation: Of that layer. The paper's `relu` can die for whole documents, which the smoothness rewards.
    """

    encoder: Literal["lstm", "gru"] = "lstm"
    embedding_size: Positive = 256
    hidden_size: Positive = 1024
    bidirectional: bool = False
    pooling: Literal["last", "mean", "last_mean_max"] = field(default="last", metadata=CLASSIFIER_ONLY)
    head_size: Positive = field(default=30, metadata=CLASSIFIER_ONLY)
    head_activation: Literal["gelu", "relu"] = field(default="gelu", metadata=CLASSIFIER_ONLY)


@dataclass
class PretrainingSettings(Settings, section="pretraining"):
    """Training of the language model. The defaults are the paper's.

    Attributes:
        steps: Optimizer steps.
        batch_size: Parallel lanes of the token stream.
        window: Tokens per lane and step (backpropagation through time); the state is carried on.
        candidates: Candidates of the sampled softmax; 0 for the full softmax.
        dropout: Dropout of the embeddings, one mask over all time steps.
        learning_rate: Adam's step size.
        learning_rate_decay: Factor on the learning rate after each step.
        warmup_steps: Steps of linear warm-up of the learning rate.
        gradient_clip: Bound on the gradient's norm, embeddings excluded.
        validate_every: Steps between two validations; the last step is followed by one in any case.
    """

    steps: Positive = field(default=100_000, metadata=FREE)
    batch_size: Positive = 256
    window: Positive = 400
    candidates: int = 1024
    dropout: Share = 0.5
    learning_rate: float = 1e-3
    learning_rate_decay: float = 0.9999
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
        supervised_weight: Weight of the unperturbed labeled loss; 0.5, like adv_weight, in Goodfellow et al. 2015.
        adv_weight: Weight of the adversarial (or random) loss.
        vat_weight: Weight of the virtual adversarial loss.
        entropy_weight: Weight of the entropy of the unlabeled predictions.
        balance_weight: Weight of minus the entropy of the mean unlabeled prediction, which keeps all classes in use.
        pseudo_label_weight: Weight of the cross entropy of sure unlabeled predictions, aligned with the shares of the
            labels, at the virtually perturbed text (unperturbed for methods without it).
        pseudo_label_threshold: Least probability of a sure prediction, as a share of the mean on labeled texts.
        vat_target: Mean divergence in nats for which each step chooses the size of the virtual adversarial
            perturbation; `vat_epsilon` is then its bound.
        vat_direction: Top eigenvector of the KL's Hessian; `auto`: in closed form for two or three classes.
        num_power_iterations: Power iterations; 0 leaves the random direction it starts from.
        xi: Step of the power iteration's finite difference.
        ramp_steps: Steps over which the weights of all terms but the unperturbed labeled loss rise linearly from 0.
        steps: Optimizer steps at most.
        batch_size: Labeled documents per step.
        unlabeled_batch_size: Unlabeled documents per step.
        window: Tokens at the end of a document that gradients reach; the state before them is carried.
        dropout: Dropout of the embeddings, one mask over all time steps.
        learning_rate: Adam's step size.
        learning_rate_decay: Factor on the learning rate after each step.
        warmup_steps: Steps of linear warm-up of the learning rate.
        gradient_clip: Bound on the gradient's norm, embeddings excluded.
        ema_decay: Decay of the weight average used in evaluation; 0 for none.
        validate_every: Steps between two validations; the last step is followed by one in any case.
        patience: Validations without improvement before training stops.
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
    supervised_weight: float = 1.0
    adv_weight: float = 1.0
    vat_weight: float = 1.0
    entropy_weight: float = 0.0
    balance_weight: float = 0.0
    pseudo_label_weight: float = 0.0
    pseudo_label_threshold: Share = 0.9
    vat_target: OpenShare | None = None
    vat_direction: Literal["auto", "closed_form", "power_iteration"] = "auto"
    num_power_iterations: int = 1
    xi: float = 0.1
    ramp_steps: int = 0
    steps: Positive = field(default=15_000, metadata=FREE)
    batch_size: Positive = 64
    unlabeled_batch_size: Positive = 64
    window: Positive = 400
    dropout: Share = 0.5
    learning_rate: float = 5e-4
    learning_rate_decay: float = 0.9998
    warmup_steps: int = 0
    gradient_clip: float = 1.0
    ema_decay: Share = 0.999
    validate_every: Positive = field(default=500, metadata=FREE)
    patience: Positive = field(default=10, metadata=FREE)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.perturbs_labeled and self.uses_vat and not self.adversary_is_in_l2 and self.vat_epsilon is None:
            raise InputError(f"--finetuning.vat_epsilon: is needed with {self.adversary}, as vat is measured in l2")
        if self.vat_target is not None and self.vat_direction == "power_iteration":
            raise InputError(
                "--finetuning.vat_target: needs the closed form, not --finetuning.vat_direction power_iteration"
            )
        if self.alpha is not None and self.alpha > self.epsilon:
            raise InputError(f"--finetuning.alpha {self.alpha}: must be at most --finetuning.epsilon")

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
    def uses_vat(self) -> bool:
        """Whether the virtual adversarial loss is part of the objective."""
        return self.method in ("vat", "adversarial+vat") and self.vat_weight > 0

    @property
    def uses_unlabeled(self) -> bool:
        """Whether a step has an unlabeled batch."""
        return self.uses_vat or max(self.entropy_weight, self.balance_weight, self.pseudo_label_weight) > 0


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


@dataclass
class DeviceSettings(Settings, section="trainer"):
    """The device that is computed on.

    Attributes:
        accelerator: Kind of device. `auto`: CUDA or else the CPU; `gpu`: CUDA; `mps`: Apple's, which is untested.
        tf32: On NVIDIA GPUs, multiply float32 matrices in TensorFloat-32, but never in power iterations.
    """

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    tf32: bool = True


@dataclass
class TrainerSettings(DeviceSettings):
    """The machine: passed on to Lightning's Trainer.

    Attributes:
        devices: Number of devices.
        num_nodes: Number of machines.
        precision: Lightning's name of the number format. In `bf16-mixed` only output layers compute in bfloat16.
    """

    devices: Positive = 1
    num_nodes: Positive = 1
    precision: Literal["32-true", "bf16-mixed", "64-true"] = "32-true"


@dataclass
class Experiment(Settings):
    """One experiment: what every YAML file under `configs/` holds.

    Attributes:
        seed: Seed of initial weights, data order and dropout.
    """

    data: DataSettings = field(default_factory=DataSettings)
    tokenizer: TokenizerSettings = field(default_factory=TokenizerSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    pretraining: PretrainingSettings = field(default_factory=PretrainingSettings)
    finetuning: FinetuningSettings = field(default_factory=FinetuningSettings)
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    seed: int = 0
