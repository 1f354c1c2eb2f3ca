"""The folder of safetensors, JSON and a model card: what is in it, who reads it, and what is refused."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tokenizers import Tokenizer

import textadv
from textadv.checkpoints import (
    LoadedClassifier,
    load_classifier,
    load_encoder,
    model_card,
    save_classifier,
)
from textadv.checkpoints.hugging_face import pretrained_folder
from textadv.checkpoints.readme import readme
from textadv.corpus.fitting import fit
from textadv.corpus.store import TokenStore
from textadv.corpus.tokenization import TextTokenizer
from textadv.errors import InputError
from textadv.models.factory import build_classifier, build_encoder
from textadv.settings import Experiment, TokenizerSettings
from textadv.system import summed
from textadv.system.durable import replace_file

FILES = ["README.md", "SHA256SUMS", "config.json", "model.safetensors", "tokenizer.json"]
READ = ["config.json", "model.safetensors", "tokenizer.json"]


def tokenizer_json(**settings: Any) -> str:
    texts = {"train": ["a good film", "an awful film"]}
    return fit(texts, ["train"], TokenizerSettings(min_documents=1, **settings))[0].to_json()


@pytest.fixture
def loaded(make_store: Callable[..., TokenStore], experiment: Experiment) -> LoadedClassifier:
    store = make_store()
    encoder = build_encoder(experiment.model, torch.from_numpy(store.frequencies), 0.3)
    classifier = build_classifier(experiment.model, encoder, 2).eval()
    tokenizer = tokenizer_json(unknown="drop")
    card = model_card("classifier", experiment, store) | {"tokenizer": tokenizer, "step": 5}
    return LoadedClassifier(classifier, store.classes, tokenizer, card)


@pytest.fixture
def folder(loaded: LoadedClassifier, tmp_path: Path) -> Path:
    save_classifier(tmp_path / "model", loaded)
    return tmp_path / "model"


def message(folder: Path) -> str:
    with pytest.raises(InputError) as error:
        load_classifier(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_classifier_comes_back_bitwise(folder: Path, loaded: LoadedClassifier) -> None:
    assert sorted(path.name for path in folder.iterdir()) == FILES
    again = load_classifier(folder)
    weights = loaded.classifier.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in again.classifier.state_dict().items())
    assert again[1:] == loaded[1:]  # classes, tokenizer, card


@pytest.mark.parametrize("settings", [{}, {"unknown": "drop"}, {"kind": "bpe", "max_vocabulary": 300}], ids=str)
def test_the_tokenizer_is_the_librarys_own(loaded: LoadedClassifier, tmp_path: Path, settings: dict[str, Any]) -> None:
    tokenizer = tokenizer_json(**settings)
    save_classifier(tmp_path, loaded._replace(card=loaded.card | {"tokenizer": tokenizer}))
    assert load_classifier(tmp_path).tokenizer_json == tokenizer
    plain = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    text = "a good film"
    expected = TextTokenizer.from_json(tokenizer).encode([text])[0][:-1]  # without <eos>
    assert plain.encode(text, add_special_tokens=False).ids == expected.tolist()


def test_others_can_read_it(folder: Path, loaded: LoadedClassifier) -> None:
    assert load_file(folder / "model.safetensors").keys() == loaded.classifier.state_dict().keys()
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    assert sorted(line.partition("  ")[2] for line in lines) == READ
    for line in lines:
        digest, _, name = line.partition("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("name", READ)
def test_a_flipped_byte_is_found(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    assert message(folder) == f"{folder / name}: damaged: its sha256 is not that in SHA256SUMS"


@pytest.mark.parametrize("name", [*READ, "SHA256SUMS"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert name in message(folder)


def test_a_folder_that_is_half_new_is_refused(
    folder: Path, loaded: LoadedClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever file the kill comes before."""
    for kept in FILES[1:4]:
        with torch.no_grad():
            next(loaded.classifier.parameters()).add_(1)

        def replaced(path: Path, content: bytes, kept: str = kept) -> None:
            if path.name != kept:
                replace_file(path, content)

        monkeypatch.setattr(summed, "replace_file", replaced)
        save_classifier(folder, loaded._replace(card=loaded.card | {"step": len(kept)}))
        assert "damaged" in message(folder)


@pytest.mark.parametrize(
    "change", [{"model_type": "bert"}, {"format": 1}, {"classes": ["a", "b", "c"]}, {"step": None}]
)
def test_what_is_no_such_classifier_is_refused(folder: Path, change: dict[str, Any]) -> None:
    """Though its sums are right."""
    config = json.loads((folder / "config.json").read_text()) | change
    config = {name: value for name, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))
    sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}" for name in READ]
    (folder / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    assert str(folder) in message(folder)


def test_it_is_no_language_model(folder: Path, loaded: LoadedClassifier) -> None:
    with pytest.raises(InputError, match="this is a classifier checkpoint, a language_model is needed"):
        load_encoder(loaded.classifier.encoder, folder, "tokenizer")


def test_links_of_the_hubs_cache_are_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "snapshot").mkdir()
    for path in folder.iterdir():
        (tmp_path / "snapshot" / path.name).symlink_to(path)
    assert load_classifier(tmp_path / "snapshot").card == load_classifier(folder).card


def test_the_model_card_has_metadata_labels_data_figures_and_limits(loaded: LoadedClassifier) -> None:
    corpus = {"splits": {"train": [1200, 34000]}, "labels": {"neg": 700, "pos": 500}}
    figures = {"validation_error": 12.5, "validation_macro_f1": 0.8125, "temperature": 1.5, "validation_labels": 0}
    text = readme(loaded.card | {"corpus": corpus, "figures": figures})
    _, metadata, body = text.split("---\n", 2)
    assert yaml.safe_load(metadata)["pipeline_tag"] == "text-classification"
    assert [line for line in body.splitlines() if line.startswith("## ")] == [
        f"## {name}" for name in ("Use", "Labels", "Data", "Training", "Figures", "Limits")
    ]
    for row in ("| neg | 700 |", "| train | 1,200 | 34,000 |", "| epsilon | 0.5 |", "| validation\\_error | 12.5 % |"):
        assert row in body.splitlines()
    for row in ("| validation\\_macro\\_f1 | 0.8125 |", "| temperature | 1.5 |"):
        assert row in body.splitlines()


def test_names_of_classes_stay_in_their_cells(loaded: LoadedClassifier) -> None:
    text = readme(loaded.card | {"classes": ["a|b\n\n# c", "[x](http://y)"]})
    assert "| a\\|b\\\\n\\\\n\\# c |" in text.splitlines()
    assert "| \\[x\\](http://y) |" in text.splitlines()


@pytest.mark.parametrize(
    ("content", "is_kept"),
    [("# My project\n", True), ("", True), ("---\nlibrary_name: other\n---\n", True), ("\xff", True),
     ("---\nlibrary_name: textadv\n---\nold\n", False)],
)  # fmt: skip
def test_a_readme_of_somebody_else_is_kept(
    loaded: LoadedClassifier, tmp_path: Path, content: str, is_kept: bool
) -> None:
    (tmp_path / "README.md").write_text(content, encoding="latin-1")
    save_classifier(tmp_path, loaded)
    assert ((tmp_path / "README.md").read_text(encoding="latin-1") == content) is is_kept


class Hub:
    """As much of the Hub as is used."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.calls: list[tuple[str, bool]] = []

    def create_repo(self, name: str, private: bool, exist_ok: bool) -> Any:
        assert exist_ok
        self.calls.append((name, private))

        class Url(str):
            repo_id = f"me/{name}"

        return Url(f"https://huggingface.co/me/{name}")

    def upload_folder(self, repo_id: str, folder_path: Path) -> None:
        shutil.copytree(folder_path, self.place / repo_id)


@pytest.fixture
def fitted(folder: Path) -> textadv.TextClassifier:
    return textadv.TextClassifier.from_pretrained(folder, trainer_accelerator="cpu")


def test_it_goes_to_the_hub_and_comes_back(
    fitted: textadv.TextClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(tmp_path / "hub")
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: hub)
    assert fitted.push_to_hub("mine", private=True) == "https://huggingface.co/me/mine"
    assert hub.calls == [("mine", True)]
    assert sorted(path.name for path in (hub.place / "me" / "mine").iterdir()) == FILES
    asked = []

    def snapshot_download(name: str, local_files_only: bool = False, **patterns: Any) -> str:
        asked.append(patterns["allow_patterns"])
        return str(hub.place / name)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    again = textadv.TextClassifier.from_pretrained("me/mine", trainer_accelerator="cpu")
    assert "SHA256SUMS" in asked[0]
    assert (again.predict_proba(["a film"]) == fitted.predict_proba(["a film"])).all()


def test_a_hub_that_refuses_is_one_line(fitted: textadv.TextClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: Any, **__: Any) -> None:
        raise OSError("401 Client Error\nInvalid token")

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", refuses)
    with pytest.raises(textadv.ArgumentError, match=r"^push_to_hub mine: 401 Client Error Invalid token$"):
        fitted.push_to_hub("mine")


@pytest.mark.parametrize("name", ["no/such/folder", "nothing here"])
def test_a_name_that_is_none_is_one_line(name: str) -> None:
    with pytest.raises(textadv.ArgumentError, match=f"^from_pretrained {name}: no such folder, and no name on the Hub"):
        textadv.TextClassifier.from_pretrained(name)
    with pytest.raises(InputError, match=f"^--model.pretrained {name}: "):
        pretrained_folder(name)
