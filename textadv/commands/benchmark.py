"""`benchmark`: the speed of everything."""

from dataclasses import asdict

from textadv.settings import (
    DataSettings,
    Experiment,
    FinetuningSettings,
    ModelSettings,
    PretrainingSettings,
    TokenizerSettings,
    TrainerSettings,
)


def benchmark(
    data: DataSettings,
    tokenizer: TokenizerSettings,
    model: ModelSettings,
    pretraining: PretrainingSettings,
    finetuning: FinetuningSettings,
    trainer: TrainerSettings,
    seed: int = 0,
    quick: bool = False,
    output: str | None = None,
) -> None:
    """Measure the speed of everything beside a textbook implementation.

    Args:
        data: The corpus.
        tokenizer: How text becomes tokens.
        model: Sizes of the model.
        pretraining: Sizes of the batches of pretraining.
        finetuning: Sizes of the batches of fine-tuning.
        trainer: The device and its number format.
        seed: Seed of initial weights, data order and dropout.
        quick: Fewer methods and rounds.
        output: Folder for everything the command writes; by default a new one under runs/.
    """
    from textadv.benchmark import suite
    from textadv.commands.folder import run_folder
    from textadv.commands.shared import prepared
    from textadv.system.machine import device

    experiment, store = prepared(Experiment(data, tokenizer, model, pretraining, finetuning, trainer, seed))
    with run_folder("benchmark", output, asdict(experiment)) as (_, metrics):
        metrics |= suite.benchmark(experiment, store, device(trainer), quick)
        print(suite.table(metrics))
