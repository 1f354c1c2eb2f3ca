"""Pseudo-labels and the balance of predictions."""

import pytest
import torch

from textadv.adversarial.pseudo_labels import aligned_prediction, imbalance, pseudo_labels


def test_alignment_moves_the_mean_towards_the_shares_of_the_classes():
    logits = torch.tensor([[3.0, 0.0], [2.0, 0.0], [1.0, 0.0], [0.1, 0.0]])
    mean = logits.softmax(1).mean(0)
    aligned = aligned_prediction(logits, mean, torch.tensor([0.5, 0.5])).exp()
    assert torch.allclose(aligned.sum(1), torch.ones(4))
    assert abs(aligned.mean(0)[0] - 0.5) < abs(mean[0] - 0.5) / 3
    assert aligned.argmax(1).tolist() == [0, 0, 1, 1]  # all four were of class 0 before


def test_alignment_by_hand():
    logits = torch.tensor([[0.8, 0.2]]).log()
    aligned = aligned_prediction(logits, torch.tensor([0.8, 0.2]), torch.tensor([0.5, 0.5])).exp()
    assert aligned.tolist() == [pytest.approx([0.5, 0.5])]


def test_alignment_survives_a_class_that_is_never_predicted():
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]])
    aligned = aligned_prediction(logits, torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5]))
    assert aligned.isfinite().all()


def test_a_pseudo_label_counts_only_where_it_is_sure():
    labels, sure = pseudo_labels(torch.tensor([[0.95, 0.05], [0.4, 0.6]]).log(), 0.9)
    assert labels.tolist() == [0, 1]
    assert sure.tolist() == [True, False]


def test_no_gradient_flows_to_the_pseudo_label():
    logits = torch.tensor([[2.0, 0.0]], requires_grad=True)
    assert not aligned_prediction(logits, torch.tensor([0.5, 0.5]), torch.tensor([0.5, 0.5])).requires_grad


def test_the_imbalance_has_the_value_and_the_gradient_of_the_mean_predictions_entropy():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    mean = logits.softmax(1).mean(0)
    entropy = -(mean * mean.log()).sum()
    terms = imbalance(logits, mean)
    assert torch.allclose(terms.mean(), -entropy)
    (expected,) = torch.autograd.grad(-entropy, logits, retain_graph=True)
    (found,) = torch.autograd.grad(terms.mean(), logits)
    assert torch.allclose(found, expected)
