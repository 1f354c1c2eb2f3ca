from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from textadv.training.callbacks import WeightEMA, collapse_warning
from textadv.training.finetuning import FinetuningModule


def test_the_weight_average_is_that_of_its_formula() -> None:
    """It starts at the weights after the first step; its decay is (1 + t) / (10 + t), up to the bound."""
    module: Any = pl.LightningModule()
    module.weight = nn.Parameter(torch.zeros(2))
    ema, trainer = WeightEMA(0.3), SimpleNamespace(global_step=0)
    ema.setup(trainer, module, "fit")  # type: ignore[arg-type]
    mean = 0.0
    for t in range(8):
        module.weight.data.fill_(weight := (t - 3.0) ** 2)
        trainer.global_step = t + 1
        ema.on_train_batch_end(trainer, module, None, None, t)  # type: ignore[arg-type]
        decay = min(0.3, (1 + t) / (10 + t)) if t else 0.0
        mean = decay * mean + (1 - decay) * weight
        assert ema._average_model is not None
        assert ema._average_model.module.weight.tolist() == pytest.approx([mean, mean])  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("predicted", "labeled", "collapsed"),
    [
        ([0.5, 0.5], [0.5, 0.5], False),
        ([0.06, 0.94], [0.5, 0.5], False),
        ([0.04, 0.96], [0.5, 0.5], True),
        ([0.03, 0.97], [0.03, 0.97], False),  # the classes are that uneven
        ([0.002, 0.998], [0.03, 0.97], True),
        ([0.97, 0.03], [0.03, 0.97], True),
        ([0.95] + 9 * [0.05 / 9], 10 * [0.1], True),
        ([], [0.5, 0.5], False),  # no step since the last validation
    ],
)
def test_a_collapse_is_measured_by_the_labeled_texts(
    predicted: list[float], labeled: list[float], collapsed: bool
) -> None:
    classes = [str(k) for k in range(len(labeled))]
    said = collapse_warning(predicted, labeled, classes)
    assert (said is not None) == collapsed
    assert said is None or "--finetuning.balance_weight" in said  # which is there to prevent it


def test_the_mean_prediction_is_that_of_all_ranks() -> None:
    """And of the steps since it was last asked for."""
    others = torch.tensor([5.0, 1.0])
    trainer = SimpleNamespace(strategy=SimpleNamespace(reduce=lambda sums, reduce_op: sums + others))
    module: Any = SimpleNamespace(class_sums=torch.tensor([1.0, 3.0]), trainer=trainer)
    assert FinetuningModule.take_class_shares(module) == pytest.approx([0.6, 0.4])
    assert FinetuningModule.take_class_shares(module) == []
