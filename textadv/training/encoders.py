"""The encoders that training starts from."""

from pathlib import Path
from typing import Any

import torch

from textadv.checkpoints import load_encoder, model_card
from textadv.checkpoints.fresh import fresh_encoder
from textadv.checkpoints.hugging_face import load_body, load_masked_language_model
from textadv.corpus.pretrained_tokenizer import PretrainedTokenizer
from textadv.corpus.pretraining_documents import MaskedPretrainingData
from textadv.corpus.store import TokenStore
from textadv.corpus.tokenization import TextTokenizer
from textadv.errors import InputError
from textadv.models.encoders import Encoder
from textadv.models.factory import build_transformer
from textadv.models.masked_lm import MaskedLanguageModel, continues_word
from textadv.models.transformer import TransformerEncoder
from textadv.settings import Experiment, ModelSettings
from textadv.training.masked_pretraining import MaskedPretrainingModule


def initial_encoder(experiment: Experiment, store: TokenStore, pretrained: Path | None) -> Encoder:
    """The encoder that fine-tuning starts from.

    Args:
        experiment: The settings.
        store: The prepared corpus.
        pretrained: Checkpoint of a language model; None for the weights of `model.pretrained`, or else random ones.
    """
    model, settings = experiment.model, experiment.finetuning
    if model.pretrained is None:
        encoder = fresh_encoder(model, torch.from_numpy(store.frequencies), settings.dropout, settings.window)
    else:
        encoder = _transformer(model, load_body(model.pretrained), store)
    if pretrained is not None:
        load_encoder(encoder, pretrained, store.tokenizer_fingerprint)
    return encoder


def masked_language_model(
    experiment: Experiment, store: TokenStore
) -> tuple[MaskedPretrainingModule, MaskedPretrainingData]:
    """The pretrained Transformer with its head, or a new one where it has none, and what trains both.

    Args:
        experiment: The settings; all layers are trained.
        store: The prepared corpus.

    Raises:
        InputError: The tokenizer has no mask.
    """
    name, settings, seed = str(experiment.model.pretrained), experiment.pretraining, experiment.seed
    tokenizer = TextTokenizer.from_json(store.tokenizer_json)
    assert isinstance(tokenizer, PretrainedTokenizer)
    mask_token = tokenizer.mask_token
    head, has_head = load_masked_language_model(name)
    encoder = _transformer(experiment.model, head.base_model, store)
    encoder.freeze(0)  # --model.frozen_layers is of fine-tuning
    continues = torch.zeros(len(encoder.is_special), dtype=torch.bool)
    continues[: tokenizer.vocabulary_size] = torch.tensor(continues_word(tokenizer.vocabulary))
    card = model_card("language_model", experiment, store, head="pretrained" if has_head else "new")
    model = MaskedLanguageModel(encoder, head)
    module = MaskedPretrainingModule(model, settings, seed, card, mask_token, continues)
    return module, MaskedPretrainingData(store, settings, seed)


def _transformer(model: ModelSettings, body: Any, store: TokenStore) -> TransformerEncoder:
    """A body as an encoder for the tokens of a store."""
    frequencies = torch.from_numpy(store.frequencies)
    if len(body.get_input_embeddings().weight) < len(frequencies):
        raise InputError(f"--model.pretrained {model.pretrained}: its tokenizer has more entries than its word table")
    tokenizer = TextTokenizer.from_json(store.tokenizer_json)
    if model.windows and (len(tokenizer.prefix), len(tokenizer.suffix)) != (1, 1):
        raise InputError(f"--model.windows: {model.pretrained} does not put one special token at each end of a text")
    return build_transformer(model, body, frequencies, tokenizer.special_tokens)
