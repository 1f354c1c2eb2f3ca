"""What the network is."""

from dataclasses import dataclass, field
from typing import Literal

from textadv.system.ranges import CLASSIFIER_ONLY, Positive, Settings


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
