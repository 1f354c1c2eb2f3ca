"""The folder of an exported classifier, read by textadv and by the program of its model card."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from untrained import random_weights

from textadv.checkpoints import FORMAT, LoadedClassifier
from textadv.corpus.fitting import fit
from textadv.corpus.pretrained_tokenizer import PretrainedTokenizer
from textadv.errors import InputError
from textadv.evaluation import predictor
from textadv.evaluation.predictor import Prediction, Predictor
from textadv.export.folder import MODEL, SUMS, OnnxPredictor, require_free, write_export
from textadv.export.graph import to_onnx
from textadv.models.classifier import Classifier
from textadv.models.factory import build_classifier, build_encoder
from textadv.settings import FinetuningSettings, ModelSettings, TokenizerSettings, Truncation

pytest.importorskip("onnxruntime", reason="the extra textadv[export] is not installed")
pytest.importorskip("onnxscript", reason="the extra textadv[export] is not installed")

CLASSES = ("bad", "fine", "gréat <b>")
WORDS = "a film with plot and many words one two three four five six seven"
TEXTS = ["two", "", "one two, three <br /> four FIVE unseen seven many words", "a film", " \n...", "six é five four"]
FIGURES = {"parity": {"largest_difference": 1e-6, "largest_logit": 2.5, "documents": 3, "longest": 7}, "int8": False}
TOKENIZERS = {
    "words": TokenizerSettings(min_documents=1, lowercase=True),
    "words, unknown ones dropped": TokenizerSettings(min_documents=1, unknown="drop"),
    "bpe": TokenizerSettings("bpe", max_vocabulary=300),
}
# Runs a program in the folder it is in, where neither torch nor textadv can be imported.
ALONE = "import runpy, sys; sys.modules.update(torch=None, textadv=None); runpy.run_path(sys.argv[1])"
SIZES = ModelSettings(embedding_size=5, hidden_size=6, bidirectional=True, pooling="last_mean_max")
Export = Callable[..., tuple[LoadedClassifier, Path]]


@cache
def untrained(kind: str, max_vocabulary: int, lowercase: bool, unknown: str) -> tuple[Classifier, str, bytes]:
    """A classifier for a tokenizer, the tokenizer, and the graph, which takes seconds to make."""
    settings = TokenizerSettings(kind, lowercase, max_vocabulary, 1, unknown)  # type: ignore[arg-type]
    tokenizer, _ = fit({"train": [WORDS]}, ["train"], settings)
    encoder = build_encoder(SIZES, torch.ones(tokenizer.vocabulary_size))
    classifier = random_weights(build_classifier(SIZES, encoder, len(CLASSES)))
    return classifier, tokenizer.to_json(), to_onnx(classifier)


@pytest.fixture
def export(tmp_path: Path) -> Export:
    """A classifier with a tokenizer, and its export."""

    def make(settings: TokenizerSettings = TOKENIZERS["words"], **card: Any) -> tuple[LoadedClassifier, Path]:
        chosen = (settings.kind, settings.max_vocabulary, settings.lowercase, settings.unknown)
        classifier, tokenizer_json, graph = untrained(*chosen)
        card |= {
            "format": FORMAT,
            "kind": "classifier",
            "settings": {"model": vars(SIZES), "finetuning": vars(FinetuningSettings())},
            "classes": list(CLASSES),
            "tokenizer": tokenizer_json,
            "vocabulary_size": classifier.encoder.embedding.frequencies.numel(),
            "versions": {"textadv": "0"},
        }
        write_export(tmp_path, graph, card, FIGURES)
        return LoadedClassifier(classifier, CLASSES, tokenizer_json, card), tmp_path

    return make


def program(folder: Path) -> str:
    (found,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    return str(found)


def said_by_program(folder: Path, texts: list[str]) -> list[tuple[str, dict[str, float]]]:
    """What the model card's program prints for some texts, run without torch and textadv."""
    source, count = re.subn(r"^texts = .*$", lambda _: f"texts = {texts!r}", program(folder), flags=re.MULTILINE)
    assert count == 1
    (folder / "program.py").write_text(source, encoding="utf-8")
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-c", ALONE, "program.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=True, env=environment)
    lines = done.stdout.decode("utf-8").splitlines()
    return [(line[: line.index(" {")], eval(line[line.index(" {") :])) for line in lines]


def assert_alike(found: list[Prediction], expected: list[Prediction]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one.label, one.truncated) == (other.label, other.truncated)
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)
        assert list(one.probabilities) == list(other.probabilities)
    assert len({round(one.probabilities["bad"], 4) for one in expected}) >= 4


@pytest.mark.parametrize("settings", TOKENIZERS.values(), ids=TOKENIZERS)
def test_predictions_are_those_of_the_checkpoint(
    export: Export, monkeypatch: pytest.MonkeyPatch, settings: TokenizerSettings
) -> None:
    monkeypatch.setattr(predictor, "MAX_TOKENS", 5)
    loaded, folder = export(settings)
    expected = list(Predictor(loaded).predict(TEXTS))
    assert any(one.truncated for one in expected)
    assert_alike(list(OnnxPredictor.load(folder).predict(TEXTS)), expected)


@pytest.mark.parametrize("settings", TOKENIZERS.values(), ids=TOKENIZERS)
def test_the_program_of_the_model_card_needs_no_textadv(export: Export, settings: TokenizerSettings) -> None:
    loaded, folder = export(settings)
    assert 10 < len(program(folder).splitlines()) <= 20
    expected = list(Predictor(loaded).predict(TEXTS))
    found = [Prediction(label, probabilities, False) for label, probabilities in said_by_program(folder, TEXTS)]
    assert_alike(found, expected)


@pytest.mark.parametrize("truncation", ["head", "tail", "head+tail"])
def test_a_pretrained_tokenizer_keeps_its_special_tokens_and_its_cut(tmp_path: Path, truncation: Truncation) -> None:
    """By textadv and by the program; the network does not matter here, so it is a recurrent one."""
    library = Tokenizer(
        WordLevel({word: id for id, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS.split()])}, "[UNK]")
    )
    library.pre_tokenizer = Whitespace()
    library.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer = PretrainedTokenizer(library, 5, truncation)
    sizes = ModelSettings(embedding_size=5, hidden_size=6, pooling="last_mean_max")
    classifier = random_weights(
        build_classifier(sizes, build_encoder(sizes, torch.ones(tokenizer.vocabulary_size)), len(CLASSES))
    )
    card = {
        "settings": {"model": vars(sizes)},
        "classes": list(CLASSES),
        "tokenizer": tokenizer.to_json(),
        "versions": {"textadv": "0"},
    }
    write_export(tmp_path, to_onnx(classifier), card, FIGURES)
    texts = [
        "a",
        "film with plot",
        "one two three four",
        "one two three four five six seven",
        "many seven words a b c d e",
    ]
    expected = list(Predictor(LoadedClassifier(classifier, CLASSES, tokenizer.to_json(), card)).predict(texts))
    assert [one.truncated for one in expected] == [False, False, True, True, True]
    assert_alike(list(OnnxPredictor.load(tmp_path).predict(texts)), expected)
    found = said_by_program(tmp_path, texts)
    assert_alike([Prediction(*said, one.truncated) for said, one in zip(found, expected, strict=True)], expected)


def test_logits_are_divided_by_the_temperature(export: Export) -> None:
    """Of the card; by textadv and by the program."""
    loaded, folder = export(temperature=2.5)
    tokens, lengths = torch.tensor([[4, 5, 2]]), torch.tensor([3])
    with torch.inference_mode():
        expected = (loaded.classifier(tokens, lengths).double() / 2.5).softmax(1)[0].tolist()
    vocabulary = {id: word for word, id in json.loads(loaded.tokenizer_json)["tokenizer"]["model"]["vocab"].items()}
    text = f"{vocabulary[4]} {vocabulary[5]}"
    (prediction,) = OnnxPredictor.load(folder).predict([text])
    assert list(prediction.probabilities.values()) == pytest.approx(expected, abs=1e-6)
    ((_, probabilities),) = said_by_program(folder, [text])
    assert list(probabilities.values()) == pytest.approx(expected, abs=1e-6)


def test_the_model_card_has_metadata_and_classes(export: Export) -> None:
    _, folder = export()
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith("---\nlibrary_name: onnx\npipeline_tag: text-classification\n")
    (classes,) = re.findall(r"```json\n(.*?)\n```", text, re.DOTALL)
    assert tuple(json.loads(classes)) == CLASSES
    assert "gréat" in classes
    assert "8 bits" not in text


def test_the_sums_are_those_of_the_files(export: Export) -> None:
    _, folder = export()
    lines = (folder / SUMS).read_text().splitlines()
    assert sorted(line.split("  ")[1] for line in lines) == ["config.json", "model.onnx", "tokenizer.json"]
    for line in lines:
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "config.json"])
def test_a_changed_byte_or_a_missing_file_is_named(export: Export, name: str) -> None:
    _, folder = export()
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: damaged: its sha256 is not that in SHA256SUMS"):
        OnnxPredictor.load(folder)
    (folder / name).unlink()
    with pytest.raises(InputError, match=rf"{name}: cannot be read|is no folder with {name}"):
        OnnxPredictor.load(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.onnx", b"\x08\x0a", "no classifier that textadv has exported"),
        ("config.json", b"[]", "no classifier that textadv has exported"),
        ("config.json", b'{"kind": "onnx_classifier", "format": 0}', "by another version of textadv"),
        ("tokenizer.json", b"{}", "not a tokenizer of textadv"),
        ("tokenizer.json", b"{", "no classifier that textadv has exported"),
    ],
)
def test_files_that_are_something_else_are_refused(export: Export, name: str, content: bytes, message: str) -> None:
    """Although their sums are right."""
    _, folder = export()
    before = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / name).write_bytes(content)
    sums = (folder / SUMS).read_text().replace(before, hashlib.sha256(content).hexdigest())
    (folder / SUMS).write_text(sums)
    with pytest.raises(InputError, match=message) as refusal:
        OnnxPredictor.load(folder)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "changed",
    [
        {"temperature": -1.0},
        {"temperature": 0},
        {"temperature": "x"},
        {"classes": ["a", "a"]},
        {"classes": ["a"]},
        {"classes": ["a", "b", "c", "d"]},
    ],
)
def test_a_description_that_does_not_fit_the_graph_is_refused(export: Export, changed: dict[str, Any]) -> None:
    """Although its sum is right: it would turn predictions around."""
    _, folder = export()
    before = (folder / "config.json").read_bytes()
    after = json.dumps(json.loads(before) | changed).encode()
    (folder / "config.json").write_bytes(after)
    old, new = (hashlib.sha256(content).hexdigest() for content in (before, after))
    (folder / SUMS).write_text((folder / SUMS).read_text().replace(old, new))
    with pytest.raises(InputError, match="is no classifier that textadv has exported"):
        OnnxPredictor.load(folder)


def test_a_folder_without_sums_or_model_is_refused(export: Export, tmp_path: Path) -> None:
    _, folder = export()
    (folder / SUMS).unlink()
    with pytest.raises(InputError, match="damaged, or not written to its end"):
        OnnxPredictor.load(folder)
    (folder / MODEL).unlink()
    with pytest.raises(InputError, match=r"is no folder with model\.onnx; `textadv export` writes one"):
        OnnxPredictor.load(folder)
    with pytest.raises(InputError, match=r"is no folder with model\.onnx"):
        OnnxPredictor.load(tmp_path / "gone")


def test_logits_that_are_not_finite_are_refused(export: Export) -> None:
    loaded, folder = export()
    broken = deepcopy(loaded.classifier)
    with torch.no_grad():
        broken.head[2].bias[0] = np.nan
    write_export(folder, to_onnx(broken), loaded.card, FIGURES)
    with pytest.raises(InputError, match="not finite"):
        list(OnnxPredictor.load(folder).predict(["two"]))


def test_only_an_earlier_export_is_written_over(tmp_path: Path) -> None:
    require_free(tmp_path / "new", ())
    require_free(tmp_path, ())
    (tmp_path / MODEL).touch()
    (tmp_path / "metrics.json").touch()
    require_free(tmp_path, ("metrics.json",))
    (tmp_path / "best.ckpt").touch()
    with pytest.raises(InputError, match=r"holds best\.ckpt, which is no part of an export"):
        require_free(tmp_path, ("metrics.json",))
