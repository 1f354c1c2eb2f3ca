"""`pretrain`: the language model."""

from collections.abc import Set

from textadv.settings import (
    DataSettings,
    Experiment,
    ModelSettings,
    PretrainingSettings,
    TokenizerSettings,
    TrainerSettings,
)


def pretrain(
    data: DataSettings,
    tokenizer: TokenizerSettings,
    model: ModelSettings,
    pretraining: PretrainingSettings,
    trainer: TrainerSettings,
    seed: int = 0,
    preset: str | None = None,
    resume: bool = False,
    output: str | None = None,
    given: Set[str] | None = None,
) -> None:
    """Train the language model on all training and unlabeled text; of a Transformer, go on with its masked one.

    Args:
        data: The corpus.
        tokenizer: How text becomes tokens.
        model: Sizes of the model.
        pretraining: Training of the language model.
        trainer: The machine.
        seed: Seed of initial weights, data order and dropout.
        preset: Sizes and steps (small, base or paper) where no config is given; by default by corpus and device. A
            pretrained Transformer has one of its own.
        resume: Go on from the last checkpoint in --output.
        output: Folder for everything the command writes; by default the one in which `finetune` looks for it.
        given: Names of the settings that a preset leaves as they are; None: all of them, so that none is used.
    """
    from textadv.commands.pretrained import pretrain_encoder
    from textadv.commands.shared import require_language_model
    from textadv.commands.sizing import prepared_and_sized, with_tokenizer
    from textadv.training import checks
    from textadv.training.loggers import require_loggers

    experiment = Experiment(data, tokenizer, model, pretraining, trainer=trainer, seed=seed)
    if model.is_transformer:
        checks.check_encoder(with_tokenizer(experiment, preset, given), None)
    else:
        require_language_model(model, "pretrain")
    require_loggers(trainer)
    pretrain_encoder(*prepared_and_sized(experiment, preset, given), output, resume)
