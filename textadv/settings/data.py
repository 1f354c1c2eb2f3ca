"""Where the text comes from, and how it becomes tokens."""

from dataclasses import dataclass, field
from typing import Literal

from textadv.system.ranges import CLASSIFIER_ONLY, FREE, OpenShare, Positive, Settings

Cut = Literal["random", "last"]
Truncation = Literal["head", "tail", "head+tail"]


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
        validation_cut: Which texts of a class these are: drawn at `random`, or the `last` in the order of the source,
            where neighbours belong together, as IMDB's reviews of one film do.
        keep_duplicates: Keep training and unlabeled texts that stand in test, or in given validation rows, as well.
        seed: Seed of the validation cut, of the choice of labels, and of the texts of the built-in corpus.
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
    validation_cut: Cut = field(default="random", metadata=FREE)
    keep_duplicates: bool = field(default=False, metadata=FREE)
    seed: int = field(default=0, metadata=CLASSIFIER_ONLY)
    cache: str = field(default="data/cache", metadata=FREE)


@dataclass
class TokenizerSettings(Settings, section="tokenizer"):
    """How text becomes tokens. With `model.pretrained` the encoder's own tokenizer does that, and is only told to cut.

    Attributes:
        kind: `word` (Miyato et al. 2017: any punctuation is a space) or `bpe` (byte-level).
        lowercase: Fold case.
        max_vocabulary: Upper bound on the vocabulary, special tokens included.
        min_documents: `word` only: drop words found in fewer documents than this.
        unknown: `word` only: replace words out of the vocabulary by `<unk>`, or drop them.
        max_tokens: Of a pretrained encoder only: tokens of a document at most, special ones included.
        truncation: What is kept of longer ones; `head+tail` keeps a quarter from the head (Sun et al. 2019).
    """

    kind: Literal["word", "bpe"] = "word"
    lowercase: bool = False
    max_vocabulary: int = 100_000
    min_documents: Positive = 2
    unknown: Literal["replace", "drop"] = "replace"
    max_tokens: Positive = 512
    truncation: Truncation = "head"
