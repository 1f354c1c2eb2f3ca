"""The neighbours of interpretable perturbations: those of the embeddings that a run has started from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from textadv.checkpoints import LAST, load_file
from textadv.corpus.store import TokenStore
from textadv.errors import InputError
from textadv.models.encoders import NUM_SPECIAL
from textadv.settings import Experiment
from textadv.training import checks, runs


def test_a_run_that_goes_on_has_the_same_neighbours(
    with_finetuning: Callable[..., Experiment], store: TokenStore, tmp_path: Path
) -> None:
    """The pretrained embeddings are not read any more then, and the random ones have others."""
    settings = {"adversary": "interpretable-l2", "num_neighbours": 2, "validate_every": 4}
    experiment = with_finetuning(method="adversarial", steps=8, **settings)
    runs.pretrain(replace(experiment, seed=7), store, tmp_path / "lm")
    lm = tmp_path / "lm" / LAST
    runs.finetune(experiment, store, tmp_path / "whole", lm)
    runs.finetune(with_finetuning(method="adversarial", steps=4, **settings), store, tmp_path / "parts", lm)
    runs.finetune(experiment, store, tmp_path / "parts", None, tmp_path / "parts" / LAST)
    whole, parts = (load_file(tmp_path / name / LAST)["state_dict"] for name in ("whole", "parts"))
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())


def test_too_few_words_are_refused_before_a_language_model_is_trained(
    with_finetuning: Callable[..., Experiment], store: TokenStore
) -> None:
    words = store.vocabulary_size - NUM_SPECIAL
    settings = {"method": "adversarial", "adversary": "interpretable-l2"}
    checks.check_finetuning(with_finetuning(**settings, num_neighbours=words - 1), store)
    checks.check_finetuning(with_finetuning(num_neighbours=words), store)
    with pytest.raises(InputError, match=rf"^--finetuning.num_neighbours {words}: a word has only {words - 1} others"):
        checks.check_finetuning(with_finetuning(**settings, num_neighbours=words), store)
