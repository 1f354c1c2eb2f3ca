"""What the network is."""

from dataclasses import dataclass, field
from typing import Literal

from textadv.errors import InputError
from textadv.system.own_encoders import require_encoder
from textadv.system.ranges import CLASSIFIER_ONLY, Positive, Settings

TRANSFORMER, RECURRENT = ("mean", "first"), ("last", "mean", "last_mean_max")  # poolings


@dataclass
class EncoderSettings(Settings, section="model"):
    """Which encoder reads the documents.

    Attributes:
        encoder: What reads the documents: `lstm`, `gru`, a pretrained `transformer`, or an encoder of an installed
            package (entry points `textadv.encoders`).
        pretrained: Of a Transformer: name on the Hub, or folder in Hugging Face's layout (safetensors only).
    """

    encoder: str = "lstm"
    pretrained: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_encoder(self.encoder)
        if self.is_transformer and self.pretrained is None:
            raise InputError("--model.encoder transformer: needs --model.pretrained, a folder or a name on the Hub")
        if self.pretrained is not None and not self.is_transformer:
            raise InputError("--model.pretrained: needs --model.encoder transformer")

    @property
    def is_transformer(self) -> bool:
        """Whether the encoder is a pretrained Transformer."""
        return self.encoder == "transformer"

    @property
    def is_recurrent(self) -> bool:
        """Whether the encoder is one that a language model of this project pretrains."""
        return self.encoder in ("lstm", "gru")


@dataclass
class ModelSettings(EncoderSettings):
    """Sizes of the encoder and the classifier. The defaults are the paper's, but for `head_activation`.

    Attributes:
        embedding_size: Dimensions of a word embedding.
        hidden_size: Width of the encoder (of each direction when bidirectional).
        bidirectional: A forward and a backward language model over a shared embedding, features concatenated.
        pooling: What the classifier reads: the last output (null for LSTM and GRU; paper), the mean of all outputs
            (null for a Transformer), last + mean + max, or a Transformer's output at the first token.
        frozen_layers: Of a Transformer: so many layers from below, and the embeddings, are not trained.
        checkpointing: Of a Transformer: compute activations twice instead of keeping them in memory.
        windows: Of a Transformer: read documents of more tokens than it has positions in windows, and average features.
        head_size: Width of the hidden layer between encoder and logits; 0 for none, a linear head.
        head_activation: Of that layer. The paper's `relu` can die for whole documents, which the smoothness rewards.
    """

    embedding_size: Positive = 256
    hidden_size: Positive = 1024
    bidirectional: bool = False
    pooling: Literal["last", "mean", "last_mean_max", "first"] | None = field(default=None, metadata=CLASSIFIER_ONLY)
    frozen_layers: int = field(default=0, metadata=CLASSIFIER_ONLY)
    checkpointing: bool = field(default=False, metadata=CLASSIFIER_ONLY)
    windows: bool = field(default=False, metadata=CLASSIFIER_ONLY)
    head_size: int = field(default=30, metadata=CLASSIFIER_ONLY)
    head_activation: Literal["gelu", "relu"] = field(default="gelu", metadata=CLASSIFIER_ONLY)

    def __post_init__(self) -> None:
        super().__post_init__()
        for flag in ("frozen_layers", "checkpointing", "windows"):
            if getattr(self, flag) and not self.is_transformer:
                raise InputError(f"--model.{flag}: needs --model.encoder transformer")
        allowed = TRANSFORMER if self.is_transformer else RECURRENT
        if (self.is_transformer or self.is_recurrent) and self.pooling not in (None, *allowed):
            raise InputError(f"--model.pooling {self.pooling}: {self.encoder} has {', '.join(allowed)}")
