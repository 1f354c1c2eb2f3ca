"""What a training would refuse, refused before its corpus is prepared or its language model is trained."""

from textadv.checkpoints.hugging_face import check_pretrained
from textadv.corpus.datamodules import FinetuningData
from textadv.corpus.store import TokenStore
from textadv.errors import InputError
from textadv.models.encoders import NUM_SPECIAL
from textadv.settings import Experiment
from textadv.system.own_encoders import find_encoder
from textadv.training.finetuning import require_neighbours, training_attack


def check_encoder(experiment: Experiment, pretrained: str | None) -> None:
    """Refuse before the corpus is prepared what a pretrained Transformer, or an encoder of others, cannot do.

    Args:
        experiment: The settings.
        pretrained: Checkpoint of a language model that is given, if any.

    Raises:
        InputError: It cannot be read, or has fewer layers or positions than asked for.
    """
    model = experiment.model
    if not model.is_recurrent and not model.is_transformer:
        if pretrained not in (None, "none"):
            raise InputError(f"--pretrained {pretrained}: no language model pretrains --model.encoder {model.encoder}")
        find_encoder(model.encoder)
    needed = experiment.finetuning.needs_pretrained
    if model.is_recurrent and needed is not None and pretrained == "none":
        raise InputError(f"--finetuning.{needed}: needs a pretrained encoder, but --pretrained is none")
    if model.pretrained is None:
        return
    if pretrained == "none":
        raise InputError("--pretrained none: --model.encoder transformer has the weights of --model.pretrained")
    check_pretrained(model.pretrained, experiment.tokenizer.max_tokens, model.windows, model.frozen_layers)


def check_finetuning(experiment: Experiment, store: TokenStore) -> None:
    """Refuse at once what fine-tuning would refuse after hours of pretraining.

    Args:
        experiment: The settings.
        store: The prepared corpus.

    Raises:
        InputError: The method needs unlabeled text and there is none, a class that there is not is the target, words
            have too few neighbours, processes too few documents, or documents too many tokens.
    """
    model, trainer = experiment.model, experiment.trainer
    data = FinetuningData(store, experiment.data, experiment.finetuning, experiment.seed)
    data.require_work_for(trainer.devices * trainer.num_nodes)
    attack = training_attack(experiment.finetuning, store.classes)
    if model.is_recurrent:
        require_neighbours(experiment.finetuning, attack, store.vocabulary_size - NUM_SPECIAL)
    if model.pretrained is not None:  # a store that was given may have longer documents than asked for
        check_pretrained(model.pretrained, experiment.tokenizer.max_tokens, model.windows, model.frozen_layers)
