from collections.abc import Callable
from dataclasses import fields, make_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from textadv.checkpoints import (
    CARD,
    FORMAT,
    changed_settings,
    load_classifier,
    load_encoder,
    model_card,
    network_weights,
    read_checkpoint,
    resolve_checkpoint,
    resuming,
    write_checkpoint,
)
from textadv.corpus.preparation import _identity
from textadv.corpus.sources import FILE_FLAGS
from textadv.corpus.store import TokenStore
from textadv.errors import InputError
from textadv.models.classifier import Classifier
from textadv.models.factory import build_classifier, build_encoder
from textadv.models.language_model import LanguageModel
from textadv.settings import DataSettings, Experiment, FinetuningSettings, ModelSettings, TokenizerSettings
from textadv.system.ranges import FREE

TOKENS = torch.tensor([[5, 9, 14, 3, 2], [7, 2, 0, 0, 0]])
LENGTHS = torch.tensor([5, 2])


def experiment(bidirectional: bool = False, **changes: Any) -> Experiment:
    sizes: dict[str, Any] = {"embedding_size": 4, "hidden_size": 5, "head_size": 3, "bidirectional": bidirectional}
    return Experiment(model=ModelSettings(**(sizes | changes)), finetuning=FinetuningSettings(window=3))


def frequencies(store: TokenStore) -> torch.Tensor:
    return torch.from_numpy(store.frequencies)


def save(path: Path, kind: str, network: torch.nn.Module, settings: Experiment, store: TokenStore) -> Path:
    """Write a checkpoint as the Lightning modules do, the network under `model`."""
    weights = {f"model.{name}": value for name, value in network.state_dict().items()}
    write_checkpoint(
        path, {"state_dict": weights, "epoch": 0, "global_step": 7, CARD: model_card(kind, settings, store)}
    )
    return path


@pytest.fixture
def store(make_store: Callable[..., TokenStore]) -> TokenStore:
    return make_store()


def make_classifier(store: TokenStore, settings: Experiment) -> Classifier:
    torch.manual_seed(0)
    encoder = build_encoder(settings.model, frequencies(store), settings.finetuning.dropout, settings.finetuning.window)
    return build_classifier(settings.model, encoder, len(store.classes))


@pytest.fixture
def saved(tmp_path: Path, store: TokenStore) -> Path:
    return save(tmp_path / "c.ckpt", "classifier", make_classifier(store, experiment()), experiment(), store)


@pytest.mark.parametrize(
    "settings", [experiment(), experiment(bidirectional=True, pooling="last_mean_max"), experiment(encoder="gru")]
)
def test_a_classifier_comes_back_bitwise(tmp_path: Path, store: TokenStore, settings: Experiment) -> None:
    classifier = make_classifier(store, settings)
    loaded = load_classifier(save(tmp_path / "c.ckpt", "classifier", classifier, settings, store))
    assert not loaded.classifier.training
    assert torch.equal(loaded.classifier(TOKENS, LENGTHS), classifier.eval()(TOKENS, LENGTHS))
    assert classifier.encoder.window == 3
    assert (loaded.classifier.encoder.window, loaded.classifier.encoder.dropout) == (None, settings.finetuning.dropout)
    assert loaded.classes == ("neg", "pos")
    assert loaded.tokenizer_json == store.tokenizer_json
    assert loaded.card["store_fingerprint"] == store.fingerprint


def make_language_model(store: TokenStore, settings: Experiment) -> LanguageModel:
    torch.manual_seed(1)
    return LanguageModel(build_encoder(settings.model, frequencies(store)))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_encoder_of_a_language_model_comes_back(tmp_path: Path, store: TokenStore, bidirectional: bool) -> None:
    settings = experiment(bidirectional)
    model = make_language_model(store, settings)
    path = save(tmp_path / "lm.ckpt", "language_model", model, settings, store)
    encoder = build_encoder(settings.model, torch.ones(store.vocabulary_size))
    load_encoder(encoder, path, store.tokenizer_fingerprint)
    expected = model.encoder.state_dict()
    assert set(expected) == set(encoder.state_dict())
    assert all(torch.equal(value, expected[name]) for name, value in encoder.state_dict().items())


def test_another_tokenizer_is_refused(tmp_path: Path, store: TokenStore) -> None:
    settings = experiment()
    path = save(tmp_path / "lm.ckpt", "language_model", make_language_model(store, settings), settings, store)
    with pytest.raises(InputError, match=r"lm\.ckpt: .*another tokenizer"):
        load_encoder(build_encoder(settings.model, frequencies(store)), path, "something else")


@pytest.mark.parametrize(
    "changes", [{"embedding_size": 6}, {"hidden_size": 4}, {"bidirectional": True}, {"encoder": "gru"}]
)
def test_other_sizes_are_refused(tmp_path: Path, store: TokenStore, changes: dict[str, Any]) -> None:
    settings = experiment()
    path = save(tmp_path / "lm.ckpt", "language_model", make_language_model(store, settings), settings, store)
    encoder = build_encoder(experiment(**changes).model, frequencies(store))
    with pytest.raises(InputError, match=r"lm\.ckpt: its sizes"):
        load_encoder(encoder, path, store.tokenizer_fingerprint)


def test_fewer_directions_than_pretrained_are_refused(tmp_path: Path, store: TokenStore) -> None:
    settings = experiment(bidirectional=True)
    path = save(tmp_path / "lm.ckpt", "language_model", make_language_model(store, settings), settings, store)
    encoder = build_encoder(experiment().model, frequencies(store))
    with pytest.raises(InputError, match=r"lm\.ckpt: its sizes"):
        load_encoder(encoder, path, store.tokenizer_fingerprint)


def test_a_checkpoint_of_the_other_kind_is_refused(tmp_path: Path, store: TokenStore, saved: Path) -> None:
    settings = experiment()
    path = save(tmp_path / "lm.ckpt", "language_model", make_language_model(store, settings), settings, store)
    with pytest.raises(InputError, match=r"lm\.ckpt: this is a language_model checkpoint, a classifier is needed"):
        load_classifier(path)
    encoder = build_encoder(settings.model, frequencies(store))
    with pytest.raises(InputError, match=r"c\.ckpt: this is a classifier checkpoint, a language_model is needed"):
        load_encoder(encoder, saved, store.tokenizer_fingerprint)


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        "text",
        torch.zeros(3),
        {"state_dict": {}},
        {CARD: None},
        {CARD: [1]},
        {CARD: {}},
        {CARD: {"format": FORMAT, "kind": "classifier"}},
        {CARD: {"format": FORMAT, "kind": "classifier"}, "state_dict": None},
    ],
)
def test_files_of_torch_that_are_no_checkpoints_of_ours_are_refused(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "x.ckpt"
    write_checkpoint(path, content)
    with pytest.raises(InputError, match=r"x\.ckpt: "):
        load_classifier(path)


def test_another_format_is_refused(saved: Path) -> None:
    checkpoint = torch.load(saved, weights_only=True)
    checkpoint[CARD]["format"] += 1
    write_checkpoint(saved, checkpoint)
    with pytest.raises(InputError, match=r"c\.ckpt: .*format 3"):
        load_classifier(saved)


def test_missing_weights_are_refused(saved: Path) -> None:
    checkpoint = torch.load(saved, weights_only=True)
    del checkpoint["state_dict"]["model.head.0.bias"]
    write_checkpoint(saved, checkpoint)
    with pytest.raises(InputError, match=r"c\.ckpt: its card and its weights"):
        load_classifier(saved)


def test_missing_paths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing: no such checkpoint"):
        read_checkpoint(tmp_path / "nothing", "classifier")
    with pytest.raises(InputError, match=r"no checkpoint \(best.ckpt, last.ckpt or model.safetensors\) in this folder"):
        read_checkpoint(tmp_path, "classifier")


def test_a_folder_means_its_best_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").touch()
    assert resolve_checkpoint(tmp_path).name == "last.ckpt"
    (tmp_path / "best.ckpt").touch()
    assert resolve_checkpoint(tmp_path).name == "best.ckpt"
    assert resolve_checkpoint(tmp_path / "last.ckpt").name == "last.ckpt"


def test_the_temperature_of_a_classifier(saved: Path) -> None:
    checkpoint = torch.load(saved, weights_only=True)
    assert load_classifier(saved).temperature == 1.0
    checkpoint[CARD]["temperature"] = 2.5
    write_checkpoint(saved, checkpoint)
    assert load_classifier(saved).temperature == 2.5
    for wrong in (0.0, -1.0, float("nan"), float("inf"), "2", None):
        checkpoint[CARD]["temperature"] = wrong
        write_checkpoint(saved, checkpoint)
        with pytest.raises(InputError, match=r"c\.ckpt: its card and its weights do not describe a classifier"):
            load_classifier(saved)


def test_the_card_says_what_is_needed_with_primitives_only(store: TokenStore) -> None:
    def is_plain(value: Any) -> bool:
        if isinstance(value, dict):
            return all(type(key) is str and is_plain(item) for key, item in value.items())
        if isinstance(value, list):
            return all(map(is_plain, value))
        return value is None or type(value) in (str, int, float, bool)

    card = model_card("classifier", experiment(), store)
    assert is_plain(card)
    assert card["settings"]["model"]["hidden_size"] == 5


def test_weights_of_a_part_of_the_network() -> None:
    weights = {"model.encoder.a": torch.ones(1), "model.head.b": torch.zeros(1), "other.c": torch.zeros(1)}
    assert set(network_weights({"state_dict": weights})) == {"encoder.a", "head.b"}
    assert set(network_weights({"state_dict": weights}, "encoder.")) == {"a"}


@pytest.mark.parametrize(
    ("section", "setting", "value"),
    [
        ("model", "hidden_size", 6),
        ("model", "encoder", "gru"),
        ("model", "pooling", "last_mean_max"),
        ("finetuning", "learning_rate", 1.0),
        ("data", "labels_per_class", 3),
        ("data", "validation_labels", 0),
    ],
)
def test_what_makes_another_run_of_a_classifier(store: TokenStore, section: str, setting: str, value: Any) -> None:
    before, now = (model_card("classifier", experiment(), store) for _ in range(2))
    assert changed_settings(before, now) == []
    now["settings"][section][setting] = value
    assert changed_settings(before, now) == [f"{section}.{setting}"]


def test_what_does_not_make_another_run(store: TokenStore) -> None:
    for kind, free in (
        ("classifier", {"finetuning": {"steps": 1, "patience": 1, "validate_every": 1}, "pretraining": {"steps": 1}}),
        ("language_model", {"pretraining": {"steps": 1}, "finetuning": {"epsilon": 9.0}, "model": {"head_size": 1}}),
    ):
        before, now = (model_card(kind, experiment(), store) for _ in range(2))
        now["settings"]["data"]["cache"] = "elsewhere"
        for section, changes in free.items():
            now["settings"][section] |= changes
        assert changed_settings(before, now) == []


def test_a_setting_that_there_was_not_yet_had_its_default(store: TokenStore) -> None:
    before, now = (model_card("classifier", experiment(), store) for _ in range(2))
    del before["settings"]["finetuning"]["num_restarts"]
    assert changed_settings(before, now) == []
    now["settings"]["finetuning"]["num_restarts"] = 3
    assert changed_settings(before, now) == ["finetuning.num_restarts"]


def test_a_classifier_is_read_whatever_trained_it(tmp_path: Path, store: TokenStore) -> None:
    """A setting of the training may have been renamed since."""
    classifier = make_classifier(store, experiment())
    save(tmp_path / "c.ckpt", "classifier", classifier, experiment(), store)
    content = read_checkpoint(tmp_path / "c.ckpt", "classifier")
    content[CARD]["settings"]["finetuning"]["a_former_name"] = True
    write_checkpoint(tmp_path / "c.ckpt", content)
    loaded = load_classifier(tmp_path / "c.ckpt")
    assert torch.equal(loaded.classifier(TOKENS, LENGTHS), classifier.eval()(TOKENS, LENGTHS))


def test_another_corpus_seed_or_kind_is_another_run(store: TokenStore) -> None:
    before = model_card("language_model", experiment(), store)
    other = model_card("language_model", experiment(), replace(store, fingerprint="other"))
    assert changed_settings(before, other) == ["store_fingerprint"]
    other = model_card("language_model", replace(experiment(), seed=1), store)
    assert changed_settings(before, other) == ["seed"]
    assert changed_settings(before, model_card("classifier", experiment(), store)) == ["kind"]


def test_a_new_setting_of_the_data_makes_another_run(store: TokenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless it is marked: nobody has to remember to name it."""
    novel = make_dataclass("Novel", [("novel", int, 0)], bases=(DataSettings,))
    monkeypatch.setattr(resuming, "Experiment", lambda: replace(Experiment(), data=novel()))
    for kind in ("classifier", "language_model"):
        before, now = (model_card(kind, experiment(), store) for _ in range(2))
        now["settings"]["data"]["novel"] = 1
        assert changed_settings(before, now) == ["data.novel"]


def test_the_store_stands_for_the_settings_of_the_data_that_may_change() -> None:
    """Where one changes what is prepared, the fingerprint of the store changes."""
    data, others = DataSettings(source="builtin"), {"text_column": "a", "label_column": "b"}
    others |= {"validation_fraction": 0.5, "validation_cut": "last", "keep_duplicates": True}
    free = {one.name for one in fields(data) if FREE.keys() <= one.metadata.keys()}
    assert free == {"cache", "source", *FILE_FLAGS, *others}  # the content of the files is in the fingerprint, too
    for name, value in others.items():
        changed = replace(data, **{name: value})
        assert _identity(changed, TokenizerSettings(), None) != _identity(data, TokenizerSettings(), None), name
