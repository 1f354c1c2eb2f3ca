"""Classifiers without a training, as tests use them."""

import torch

from textadv.models.classifier import Classifier


def random_weights(classifier: Classifier) -> Classifier:
    """Weights that give logits far from each other, so that mistakes show; the classifier, in evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator) - 0.5)
        classifier.head[0].weight.mul_(8)
    return classifier.eval()
