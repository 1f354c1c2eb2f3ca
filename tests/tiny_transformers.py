"""Tiny random Transformers of every architecture that is supported, to be imported where `transformers` is there."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from command_line import BAD, GOOD
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel

VOCABULARY, WIDTH, POSITIONS = 50, 16, 40
WORDS = ["the", "was", "and", "number", "film", "plot", "cast", "score", "scene", *GOOD, *BAD, *"abcdef"]
LIMIT = 12  # tokens of a document, where a command is tested
PAD, CLS, SEP = 1, 2, 3  # 1 is the padding of RoBERTa's family, of MPNet whatever its configuration says
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": POSITIONS,
    "initializer_range": 0.3,  # far from linear, so that mistakes show
    "pad_token_id": PAD,
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "bert": {},
    "distilbert": {},
    "roberta": {},
    "electra": {"embedding_size": 10},
    "deberta-v2": {
        "relative_attention": True,
        "position_biased_input": False,
        "pos_att_type": ["p2c", "c2p"],
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "position_buckets": 8,
        "type_vocab_size": 0,
    },
    "modernbert": {
        "cls_token_id": CLS,
        "sep_token_id": SEP,
        "bos_token_id": CLS,
        "eos_token_id": SEP,
        "local_attention": 4,
        "attention_dropout": 0.1,
        "mlp_dropout": 0.1,
    },
    "xlm-roberta": {},
    "mpnet": {},
    "albert": {"embedding_size": 10, "num_hidden_groups": 1, "hidden_dropout_prob": 0.1},
}


def tiny_config(architecture: str, **changes: Any) -> Any:
    options = COMMON | ARCHITECTURES[architecture] | changes
    if architecture == "distilbert":
        names = {
            "hidden_size": "dim",
            "num_hidden_layers": "n_layers",
            "num_attention_heads": "n_heads",
            "intermediate_size": "hidden_dim",
        }
        options = {names.get(name, name): value for name, value in options.items()}
    return AutoConfig.for_model(architecture, **options)


@cache
def _weights(architecture: str, vocab_size: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    state: dict[str, torch.Tensor] = AutoModel.from_config(
        tiny_config(architecture, vocab_size=vocab_size)
    ).state_dict()
    return state


def tiny(architecture: str, vocab_size: int = VOCABULARY, **changes: Any) -> Any:
    """A model in evaluation mode; two of the same architecture and vocabulary have the same weights."""
    model = AutoModel.from_config(tiny_config(architecture, vocab_size=vocab_size, **changes))
    model.load_state_dict(_weights(architecture, vocab_size))
    return model.eval()


def write_tokenizer(folder: Path) -> None:
    """WordPiece as BERT has it, with the ids of the tiny models, and a truncation that is not to be followed."""
    digits = "0123456789"
    pieces = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", *WORDS, *(f"##{digit}" for digit in digits), *digits, "[MASK]"]
    vocabulary = {piece: id for id, piece in enumerate(pieces)}
    assert len(vocabulary) <= VOCABULARY
    assert [vocabulary[name] for name in ("[PAD]", "[CLS]", "[SEP]")] == [PAD, CLS, SEP]
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    tokenizer.add_special_tokens(["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=20)
    tokenizer.save(str(folder / "tokenizer.json"))


def write_pretrained(folder: Path, architecture: str = "bert", **changes: Any) -> Path:
    """A tiny model with its tokenizer in Hugging Face's layout."""
    tiny(architecture, **changes).save_pretrained(folder)
    write_tokenizer(folder)
    return folder
