"""The folder of an exported classifier: written beside torch, read without it."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from textadv.corpus.pretrained_tokenizer import PretrainedTokenizer
from textadv.corpus.store import Split
from textadv.corpus.tokenization import EOS, PAD, SPECIAL_TOKENS, UNKNOWN, TextTokenizer
from textadv.errors import InputError
from textadv.evaluation.predictor import MAX_TOKENS, TextPredictor
from textadv.export.session import class_probabilities, new_session
from textadv.system.summed import SUMS, read_summed, write_summed

MODEL, CONFIG, TOKENIZER, README = "model.onnx", "config.json", "tokenizer.json", "README.md"
KIND, FORMAT = "onnx_classifier", 1


def require_free(folder: Path, own: Collection[str]) -> None:
    """Refuse a folder that holds anything but an earlier export, such as that of the run that is exported.

    Args:
        folder: Where the export goes.
        own: Names of other files that an export has.

    Raises:
        InputError: It holds another file.
    """
    expected = {MODEL, CONFIG, TOKENIZER, README, SUMS, *own}
    others = sorted(file.name for file in folder.iterdir() if file.name not in expected) if folder.is_dir() else []
    if others:
        raise InputError(f"--output {folder}: holds {others[0]}, which is no part of an export; give a new folder")


def write_export(folder: Path, model: bytes, card: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
    """Write an exported classifier. The sums come last, so that a folder that is half new is refused.

    Args:
        folder: An existing folder.
        model: The ONNX graph.
        card: The card of the checkpoint.
        figures: What the model card shows.

    Raises:
        InputError: A file cannot be written.
    """
    rules = json.loads(card["tokenizer"])
    content = rules.pop("tokenizer")
    tokenizer = _with_eos(content) if "unknown" in rules else json.dumps(content, indent=2) + "\n"
    config = {
        "kind": KIND,
        "format": FORMAT,
        "classes": card["classes"],
        "temperature": card.get("temperature", 1.0),
        "tokenizer": rules,
        "max_tokens": rules.get("max_tokens", MAX_TOKENS),
        "model": card["settings"]["model"],
        "versions": card["versions"],
    }
    files = {
        MODEL: model,
        TOKENIZER: tokenizer.encode(),
        CONFIG: (json.dumps(config, indent=2) + "\n").encode(),
    }
    readme = _readme(config, figures, TextTokenizer.from_json(card["tokenizer"]))
    write_summed(folder, files, {README: readme.encode("utf-8", "replace")})


def _with_eos(content: Mapping[str, Any]) -> str:
    """The tokenizer of the library in JSON, which now ends each text with `<eos>` itself."""
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing

    tokenizer = Tokenizer.from_str(json.dumps(content))
    eos = SPECIAL_TOKENS[EOS]
    tokenizer.post_processor = TemplateProcessing(single=f"$A {eos}", special_tokens=[(eos, EOS)])
    text: str = tokenizer.to_str(pretty=True)
    return text + "\n"


def _readme(config: Mapping[str, Any], figures: Mapping[str, Any], tokenizer: TextTokenizer) -> str:
    """The model card, with a program that uses the folder."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
    template = environment.get_template("README.md.jinja")
    unknown = UNKNOWN if config["tokenizer"].get("unknown") == "drop" else None
    kept = tokenizer.kept if isinstance(tokenizer, PretrainedTokenizer) else (0, MAX_TOKENS)
    return template.render(config, figures=figures, pad=PAD, unknown=unknown, kept=kept) + "\n"


class OnnxPredictor(TextPredictor):
    """Classifies raw texts with an exported classifier. See `TextPredictor`.

    Args:
        classes: Names of the classes.
        tokenizer_json: The tokenizer, as `TextTokenizer.to_json` writes it.
        temperature: What the logits are divided by.
        session: What `new_session` has given.
    """

    def __init__(self, classes: Sequence[str], tokenizer_json: str, temperature: float, session: Any) -> None:
        super().__init__(classes, tokenizer_json)
        self._temperature = temperature
        self._session = session

    @classmethod
    def load(cls, folder: str | Path) -> "OnnxPredictor":
        """Read a folder that `export` has written.

        Raises:
            InputError: A file is missing or damaged, or the extra is missing.
        """
        folder = Path(folder)
        if not (folder / MODEL).is_file():
            raise InputError(f"--onnx {folder}: is no folder with {MODEL}; `textadv export` writes one")
        files = read_summed(folder, (MODEL, TOKENIZER, CONFIG))
        try:
            config = json.loads(files[CONFIG])
            if (config["kind"], config["format"]) != (KIND, FORMAT):
                raise InputError(f"--onnx {folder}: was exported by another version of textadv")
            tokenizer = config["tokenizer"] | {"tokenizer": json.loads(files[TOKENIZER])}
            session = new_session(files[MODEL])
            classes, temperature = config["classes"], config["temperature"]
            outputs = session.get_outputs()[0].shape[-1]  # their number, or the name of a size that varies
            if len({str(name) for name in classes}) != outputs or not 0 < temperature < math.inf:
                raise ValueError("not the graph's classes, or a temperature that divides nothing")
            return cls(classes, json.dumps(tokenizer), temperature, session)
        except InputError:
            raise
        except Exception:  # KeyError, TypeError, RecursionError, and those of onnxruntime
            raise InputError(f"--onnx {folder}: is no classifier that textadv has exported") from None

    def probabilities(self, documents: Split) -> NDArray[np.float64]:
        """See `TextPredictor.probabilities`."""
        return class_probabilities(self._session, documents, self._temperature)
