"""Adversarial and virtual adversarial training of a model of your own, in plain torch."""

import torch
from torch import nn

import textadv

torch.manual_seed(0)
table = nn.Embedding(1000, 32)
head = nn.Sequential(
    nn.Conv1d(32, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(64, 2)
)
optimizer = torch.optim.Adam([*table.parameters(), *head.parameters()], lr=1e-2)


def classify(embeddings: torch.Tensor) -> torch.Tensor:
    """From embeddings (B, T, D) to logits (B, C)."""
    return head(embeddings.mT)


for step in range(20):
    tokens = torch.randint(1, 1000, (8, 12))
    labels = (tokens < 500).sum(1).gt(6).long()  # whatever you know of the first half of them
    mask = tokens != 0  # where words may move
    x = table(tokens)
    supervised = nn.functional.cross_entropy(classify(x[:4]), labels[:4])
    adversarial = textadv.adversarial_loss(classify, x[:4], labels[:4], mask[:4], epsilon=1.0)
    smoothness = textadv.virtual_adversarial_loss(classify, x, mask, epsilon=1.0)  # needs no labels
    loss = supervised + adversarial.mean() + smoothness.mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"step {step}: {loss:.3f}")
