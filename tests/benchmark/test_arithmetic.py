import numpy as np
import pytest
import torch

from textadv.benchmark.arithmetic import (
    distinct_candidates,
    encoder_operations,
    useful_finetuning_operations,
    useful_pretraining_operations,
)
from textadv.settings import FinetuningSettings, ModelSettings

MODEL = ModelSettings(embedding_size=3, hidden_size=5)


def test_operations_of_the_encoder_are_those_of_its_two_matrix_products() -> None:
    assert encoder_operations(MODEL) == 2 * (3 * 20 + 5 * 20)
    assert encoder_operations(ModelSettings(embedding_size=3, hidden_size=5, bidirectional=True)) == 640


@pytest.mark.parametrize(
    ("method", "labeled_passes"), [("none", 3), ("random", 6), ("adversarial", 6), ("vat", 6), ("adversarial+vat", 6)]
)
def test_finetuning_counts_real_tokens_and_the_prefix_once(method: str, labeled_passes: int) -> None:
    settings = FinetuningSettings(method=method, window=4)  # type: ignore[arg-type]
    labeled, unlabeled = torch.tensor([2, 7]), torch.tensor([5])
    operations = useful_finetuning_operations(labeled, unlabeled if settings.uses_vat else None, MODEL, settings)
    expected = (2 + 4) * labeled_passes + 3 + ((4 * 5 + 1) if settings.uses_vat else 0)
    assert operations == expected * 320


def test_pretraining_counts_lstm_and_softmax() -> None:
    assert useful_pretraining_operations(10, MODEL, 9.0, tied=False) == 3 * 10 * (320 + 2 * 5 * 10)
    assert useful_pretraining_operations(10, MODEL, 9.0, tied=True) == 3 * 10 * (320 + 2 * 5 * 3 + 2 * 3 * 10)


def test_candidates_that_are_drawn_twice_count_once() -> None:
    frequencies = np.array([0.0, 6.0, 3.0, 1.0])
    drawn = np.random.default_rng(0).choice(4, (20_000, 5), p=frequencies / 10)
    mean = np.mean([len(set(row)) for row in drawn.tolist()])
    assert distinct_candidates(frequencies, 5) == pytest.approx(mean, rel=0.01)
    assert distinct_candidates(frequencies, 0) == 4
