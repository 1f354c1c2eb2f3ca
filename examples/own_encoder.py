"""An encoder of one's own, from texts to a measured classifier: convolutions over the words."""

import torch
from torch import nn

import textadv
from textadv.commands.evaluate import evaluate
from textadv.commands.finetune import finetune
from textadv.draws import Generator
from textadv.models.embedding import NormalizedEmbedding
from textadv.models.encoders import NUM_SPECIAL, Encoder, positions_before
from textadv.models.factory import ModelSizes
from textadv.settings import (
    DataSettings,
    EvaluationSettings,
    Experiment,
    FinetuningSettings,
    ModelSettings,
    TokenizerSettings,
    TrainerSettings,
)


class Convolutions(Encoder):
    """The largest outputs of convolutions over three words (Kim 2014)."""

    def __init__(self, sizes: ModelSizes, frequencies: torch.Tensor, dropout: float) -> None:
        super().__init__(embedding_size=sizes.embedding_size, num_features=sizes.hidden_size)
        self.embedding = NormalizedEmbedding(frequencies, sizes.embedding_size)
        self.layer = nn.Conv1d(sizes.embedding_size, sizes.hidden_size, kernel_size=3, padding=1)
        self.register_buffer("is_special", torch.arange(len(frequencies)) < NUM_SPECIAL)

    def embed(self, tokens: torch.Tensor, generator: Generator = None) -> torch.Tensor:
        """Normalized embeddings (B, T, D): perturbations are added to them."""
        return self.embedding(tokens)

    @torch.no_grad()
    def word_table(self) -> torch.Tensor:
        """Those of the vocabulary (V, D)."""
        return self.embedding(torch.arange(len(self.is_special), device=self.is_special.device))

    def embedding_parameters(self) -> list[nn.Parameter]:
        """The parameters of `embed`."""
        return list(self.embedding.parameters())

    def features(self, embeddings: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """From perturbed embeddings to features (B, F); what stands behind a document is ignored."""
        inside = positions_before(lengths, embeddings)[:, :, None]
        outputs = self.layer(embeddings.masked_fill(~inside, 0.0).mT).mT
        return outputs.relu().masked_fill(~inside, 0.0).amax(1)


if __name__ == "__main__":
    textadv.register_encoder("convolutions", Convolutions)
    machine = TrainerSettings(accelerator="cpu")
    experiment = Experiment(
        data=DataSettings(source="builtin"),
        model=ModelSettings(encoder="convolutions", embedding_size=32, hidden_size=64),
        finetuning=FinetuningSettings(epsilon=2.0, steps=60, batch_size=32, validate_every=30, learning_rate=0.005),
        trainer=machine,
    )
    finetune(experiment, output="runs/convolutions")
    evaluate("runs/convolutions", DataSettings(), TokenizerSettings(), EvaluationSettings(accelerator="cpu"))
