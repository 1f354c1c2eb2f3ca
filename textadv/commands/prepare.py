"""`prepare`: text becomes a token store."""

import json
import time
from collections.abc import Set
from dataclasses import asdict

from textadv.presets import beside_preset, sized_tokenizer
from textadv.settings import DataSettings, EncoderSettings, TokenizerSettings


def prepare(
    data: DataSettings,
    tokenizer: TokenizerSettings,
    model: EncoderSettings,
    preset: str | None = None,
    output: str | None = None,
    given: Set[str] | None = None,
) -> None:
    """Turn a corpus into a token store, or find the store that there is.

    Args:
        data: The corpus.
        tokenizer: How text becomes tokens.
        model: Which encoder it is for: a pretrained one brings its tokenizer along.
        preset: The tokenizer is that of this preset (small, base or paper) where no config is given.
        output: Folder for everything the command writes; by default a new one under runs/.
        given: Names of the settings that a preset leaves as they are; None: all of them, so that none is used.
    """
    from textadv.commands.folder import run_folder
    from textadv.corpus import preparation

    preset, given = beside_preset(model, preset, given)
    if given is not None:
        tokenizer = sized_tokenizer(tokenizer, preset, given)
    settings = {"data": asdict(data), "tokenizer": asdict(tokenizer)}
    pretrained = None
    if model.is_transformer:
        from textadv.commands.shared import encoder_tokenizer  # imports torch, which takes seconds

        settings["model"] = asdict(model)
        pretrained = encoder_tokenizer(model, tokenizer)
    with run_folder("prepare", output, settings) as (_, metrics):
        started = time.perf_counter()
        store = preparation.prepare(data, tokenizer, pretrained)
        metrics |= {
            "store": str(store.path),
            "vocabulary_size": store.vocabulary_size,
            "classes": list(store.classes),
            "splits": {
                name: {"documents": len(split), "tokens": len(split.tokens)} for name, split in store.splits.items()
            },
            "report": store.report,
            "seconds": time.perf_counter() - started,
        }
        print(json.dumps(metrics, indent=2))
