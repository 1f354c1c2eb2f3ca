"""The estimator: the same training as on the command line, labels of any type, one line for wrong input."""

import copy
import json
import pickle
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import CSVLogger
from tiny_classifier import BOTH, LABELS, RAW, TEXTS, TINY

import textadv
from textadv import cli
from textadv.checkpoints import trained_with
from textadv.errors import InputError, Stopped
from textadv.keywords import KEYWORDS, WATCHERS, experiment_of, names_of
from textadv.presets import sized
from textadv.settings import Experiment
from textadv.system.estimators import NotFittedError


@pytest.fixture(scope="module", autouse=True)
def _leave_the_machine_alone() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("textadv.system.machine.prepare_machine", lambda: None)
        yield


@pytest.fixture
def tiny(tmp_path: Path) -> dict[str, Any]:
    """Settings for a classifier that trains in a moment, without a language model."""
    return TINY | {"pretrained": "none", "method": "none", "data_cache": str(tmp_path / "cache")}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("classifier")


@pytest.fixture(scope="module")
def fitted(place: Path) -> textadv.TextClassifier:
    """The whole way: language model, adversarial and virtual adversarial training, and a folder of the run."""
    classifier = textadv.TextClassifier(**TINY, data_cache=str(place / "cache"))
    return classifier.fit(TEXTS, LABELS, unlabeled=RAW, output=place / "run")


def refusal(settings: dict[str, Any], *arguments: Any, **named: Any) -> str:
    """The one line with which `fit` refuses something."""
    with pytest.raises(textadv.ArgumentError) as refused:
        textadv.TextClassifier(**settings).fit(*arguments, **named)
    assert isinstance(refused.value, InputError)
    assert isinstance(refused.value, ValueError)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_it_is_what_the_command_line_trains(fitted: textadv.TextClassifier, place: Path) -> None:
    """The same texts in files, the same settings in flags: the same weights, from the same encoder in the cache."""
    rows = [{"text": text, "label": str(label)} for text, label in BOTH]
    (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "raw.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in RAW))
    given = [[f"--{KEYWORDS[name]}", str(value)] for name, value in TINY.items()]
    flags = ["finetune", *(word for flag in given for word in flag), "--data.cache", str(place / "cache")]
    flags += ["--data.train", str(place / "rows.jsonl"), "--data.unlabeled", str(place / "raw.jsonl")]
    cli.run([*flags, "--output", str(place / "command")])
    other = textadv.TextClassifier.from_pretrained(place / "command")
    assert len(list((place / "cache" / "pretrained").iterdir())) == 1
    ours, theirs = fitted.loaded_.classifier.state_dict(), other.loaded_.classifier.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert other.classes_.tolist() == ["False", "True"]  # the command line has strings only
    assert np.array_equal(other.predict_proba(TEXTS), fitted.predict_proba(TEXTS))


def test_labels_and_probabilities_agree(fitted: textadv.TextClassifier) -> None:
    probabilities = fitted.predict_proba(TEXTS)
    assert probabilities.shape == (40, 2)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(40))
    assert fitted.classes_.tolist() == [False, True]
    assert np.array_equal(fitted.predict(TEXTS), fitted.classes_[probabilities.argmax(axis=1)])
    assert fitted.score(TEXTS, LABELS) == (fitted.predict(TEXTS) == LABELS).mean()
    assert fitted.predict_proba([]).shape == (0, 2)
    assert fitted.predict([]).shape == (0,)


def test_figures_are_those_of_the_run(fitted: textadv.TextClassifier, place: Path) -> None:
    written = json.loads((place / "run" / "metrics.json").read_text())
    assert fitted.metrics_.items() <= written.items()
    assert {"validation_error", "labels", "steps"} <= fitted.metrics_.keys()


@pytest.mark.parametrize("source", ["run", "saved"])
def test_it_comes_back_with_types_and_settings(fitted: textadv.TextClassifier, place: Path, source: str) -> None:
    """From the folder of the run, or from the one that is saved."""
    fitted.save_pretrained(place / "saved")
    loaded = textadv.TextClassifier.from_pretrained(place / source, trainer_accelerator="cpu")
    assert loaded.classes_.dtype == bool
    assert np.array_equal(loaded.predict_proba(TEXTS), fitted.predict_proba(TEXTS))
    given = {name: value for name, value in fitted.get_params().items() if value is not None and name != "data_cache"}
    settings = loaded.get_params()
    assert {name: settings[name] for name in given} == given
    assert settings["ema_decay"] == fitted.loaded_.card["settings"]["finetuning"]["ema_decay"] == 0.99  # of the preset
    assert (settings["data_cache"], settings["preset"], settings["config"]) == (None, None, None)
    assert loaded.metrics_ == fitted.metrics_


def test_it_can_be_copied_and_pickled(fitted: textadv.TextClassifier) -> None:
    for other in (copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))):
        assert np.array_equal(other.predict(TEXTS), fitted.predict(TEXTS))


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        ([10, 9], int),  # by number here, whose names a corpus sorts by number as well
        (["10", "9"], str),  # by letters here, by number in a corpus
        ([2.0, 1.0], float),
        (np.array(["b", "a"], object), str),
    ],
    ids=str,
)
def test_labels_keep_their_types_and_are_sorted(tiny: dict[str, Any], labels: Any, kind: type, tmp_path: Path) -> None:
    y: NDArray[Any] = np.asarray(labels)[[0, 1] * 20]
    classifier = textadv.TextClassifier(**tiny | {"steps": 60, "learning_rate": 0.05, "ema_decay": 0.0}).fit(TEXTS, y)
    classifier.save_pretrained(tmp_path / "saved")
    for one in (classifier, textadv.TextClassifier.from_pretrained(tmp_path / "saved")):
        assert one.classes_.tolist() == sorted(np.asarray(labels).tolist())
        assert one.classes_.dtype == one.predict(TEXTS).dtype == y.dtype
        assert {type(label) for label in one.predict(TEXTS).tolist()} == {kind}
        assert one.score(TEXTS, y) > 0.9  # no column is exchanged with another


def test_a_column_of_labels_is_a_list_of_them(tiny: dict[str, Any]) -> None:
    with pytest.warns(Warning, match="column-vector y"):
        classifier = textadv.TextClassifier(**tiny).fit(TEXTS, np.array(LABELS)[:, None])
    assert classifier.predict(TEXTS).shape == (40,)


def test_every_setting_has_one_keyword() -> None:
    assert KEYWORDS["epsilon"] == "finetuning.epsilon"
    assert KEYWORDS["encoder"] == "model.encoder"
    assert KEYWORDS["pretraining_steps"] == "pretraining.steps"
    assert KEYWORDS["seed"] == "seed"
    assert KEYWORDS["data_seed"] == "data.seed"
    names = set(KEYWORDS.values())
    assert len(names) == len(KEYWORDS)
    texts = {"data.source", "data.train"}
    assert names == cli.keys(cli.finetune) - texts - {"resume", "output"} | {"config"}
    assert set(textadv.TextClassifier().get_params()) == {*KEYWORDS, *WATCHERS}


def test_parameters_can_be_read_and_changed() -> None:
    classifier = textadv.TextClassifier(epsilon=1.0)
    assert classifier.set_params(epsilon=2.0, pretraining_steps=7) is classifier
    given = {name: value for name, value in classifier.get_params().items() if value is not None}
    assert given == {"epsilon": 2.0, "pretraining_steps": 7}
    with pytest.raises(ValueError, match="Invalid parameter 'epsilonn'"):
        classifier.set_params(epsilonn=3.0)
    with pytest.raises(TypeError, match="no setting 'epsilonn'"):
        textadv.TextClassifier(epsilonn=3.0)


def test_keywords_win_over_a_config(tmp_path: Path) -> None:
    from textadv.keywords import experiment_of

    config = tmp_path / "own.yaml"
    config.write_text("finetuning: {epsilon: 3.0, steps: 7}\n")
    classifier = textadv.TextClassifier(config=config, epsilon=np.float64(0.5), encoder="gru")
    experiment = experiment_of(classifier.get_params())
    assert (experiment.finetuning.epsilon, experiment.finetuning.steps) == (0.5, 7)
    assert experiment.model.encoder == "gru"
    assert experiment_of(textadv.TextClassifier().get_params()) == Experiment()
    assert experiment_of(textadv.TextClassifier(config="quickstart").get_params()).finetuning.steps == 300


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"epsilon": -1.0}, "epsilon -1.0: must be at least 0"),
        ({"epsilon": "large"}, "epsilon: Expected a <class 'float'>"),
        ({"epsilon": [1.0]}, r"epsilon \[1.0\]: must be a string, a number or a boolean"),
        ({"pretraining_steps": 0}, "pretraining_steps 0: must be at least 1"),
        ({"method": "vatt"}, "method: Expected"),
        ({"method": "vat"}, "method vat: needs unlabeled text"),
        ({"config": "none/such"}, "config none/such: no such file"),
        ({"trainer_devices": 2}, "trainer_devices: TextClassifier trains in one process"),
        ({"pretrained": "none/such"}, "none/such: no such checkpoint"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_one_line_with_its_keyword(
    tiny: dict[str, Any], settings: dict[str, Any], line: str
) -> None:
    with pytest.raises(textadv.ArgumentError, match=f"^{line}"):
        textadv.TextClassifier(**tiny | settings).fit(TEXTS, LABELS)


@pytest.mark.parametrize(
    ("texts", "labels", "line"),
    [
        ("a text", LABELS, "X: must be a list of texts"),
        (None, LABELS, "X: must be a list of texts"),
        (np.array([TEXTS]), LABELS, "X: must be a list of texts"),
        ([*TEXTS[:39], 5], LABELS, "X[39]: holds 5, which is not a string"),
        (["", *TEXTS[1:]], LABELS, "X[0]: is empty"),
        ([*TEXTS[:39], "a\0b"], LABELS, "X[39]: holds a NUL character"),
        (TEXTS[:39], LABELS, "X and y: 39 texts, but 40 labels"),
        (TEXTS, None, "y: TextClassifier requires y to be passed, but the target y is None"),
        (TEXTS, "happy", "y: must be a list of labels, but its shape is ()"),
        (TEXTS, [[1, 2]] * 40, "y: must be a list of labels, but its shape is (40, 2)"),
        (TEXTS, [[1]] * 39 + [[1, 2]], "y: must be a list of labels, but holds lists of several lengths"),
        (TEXTS, [1] * 40, "y: holds only one class, '1'; two are needed at least"),
        (TEXTS, [1, "a"] * 20, "y: has labels of several types: int, str"),
        (TEXTS, [0.5, 1.0] * 20, "Unknown label type: y[0] is 0.5; a label is a string, integer or boolean"),
        (TEXTS, [None, 1] * 20, "Unknown label type: y[0] is None; a label is a string, integer or boolean"),
        (TEXTS, ["a", " "] * 20, "y[1]: is empty; give texts without a label as `unlabeled`"),
        (TEXTS, ["rare", *["a", "b"] * 19, "a"], "X[0]: class 'rare' has 1 training texts that do not stand in the"),
    ],
    ids=lambda value: "" if isinstance(value, list) else str(value)[:30],
)
def test_wrong_texts_and_labels_are_one_line(tiny: dict[str, Any], texts: Any, labels: Any, line: str) -> None:
    assert refusal(tiny, texts, labels).startswith(line)


def test_wrong_unlabeled_texts_are_one_line(tiny: dict[str, Any]) -> None:
    assert refusal(tiny, TEXTS, LABELS, unlabeled=["a", " "]) == "unlabeled[1]: is empty"
    assert refusal(tiny, TEXTS, LABELS, unlabeled=["a", b"b"]) == "unlabeled[1]: holds b'b', which is not a string"
    assert refusal(tiny, TEXTS, LABELS, unlabeled=[]) == "unlabeled: holds no rows"


def test_a_folder_that_cannot_be_written_is_one_line(tiny: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "run"
    assert refusal(tiny, TEXTS, LABELS, output=folder) == f"output {folder}: cannot be written (Not a directory)"


def test_what_is_not_fitted_says_so() -> None:
    classifier = textadv.TextClassifier()
    for call in (classifier.predict, classifier.predict_proba, classifier.save_pretrained, classifier.push_to_hub):
        with pytest.raises(NotFittedError, match="not fitted yet: call fit or from_pretrained first"):
            call("folder")


def test_one_text_is_no_list_of_texts(fitted: textadv.TextClassifier) -> None:
    with pytest.raises(textadv.ArgumentError, match=r"^X: must be a list of texts"):
        fitted.predict("a text")


def test_fit_leaves_random_numbers_and_no_files(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    textadv.TextClassifier(**tiny).fit(TEXTS, LABELS)
    assert torch.equal(torch.rand(3), expected)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "everything is in" not in captured.err  # a folder that is gone


def test_interrupting_is_an_interrupt(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(signum: signal.Signals) -> Any:
        def train(*_: Any, **__: Any) -> None:
            raise Stopped(signum, 3, None)

        return train

    for signum, error in ((signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Stopped)):
        monkeypatch.setattr("textadv.classifier.train_classifier", stopped(signum))
        with pytest.raises(error, match="after step 3"):
            textadv.TextClassifier(**tiny).fit(TEXTS, LABELS)


def test_it_works_without_scikit_learn(fitted: textadv.TextClassifier, place: Path) -> None:
    """Parameters and score are then its own."""
    fitted.save_pretrained(place / "without")
    program = f"""
import importlib.util, sys
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "sklearn" else find_spec(name, package)
sys.modules["sklearn"] = None
import textadv
classifier = textadv.TextClassifier.from_pretrained({str(place / "without")!r})
assert classifier.get_params()["epsilon"] == 0.5
assert classifier.set_params(epsilon=1.0).get_params()["epsilon"] == 1.0
try:
    classifier.set_params(epsilonn=1.0)
except ValueError as error:
    print(error)
print(classifier.score({TEXTS!r}, {LABELS!r}))
try:
    textadv.TextClassifier().predict([])
except ValueError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert run.stdout.splitlines() == [
        "Invalid parameter 'epsilonn' for estimator TextClassifier",
        str(fitted.score(TEXTS, LABELS)),
        "this TextClassifier is not fitted yet: call fit or from_pretrained first",
    ], run.stderr


class Steps(Callback):
    """Notes the steps of a training, and the losses that its logger is given."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def state_dict(self) -> dict[str, Any]:
        return {"what no checkpoint may hold": Path()}

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.steps.append(trainer.global_step)


def test_no_preset_changes_what_comes_back(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Settings that were the defaults, of a training with a config, which has no preset, and the cut of validation."""
    (tmp_path / "plain.yaml").write_text("data: {validation_fraction: 0.3, validation_cut: last}")
    chosen_if_null = {"pooling": "last", "learning_rate": 0.5, "pretraining_learning_rate": 0.5}
    classifier = textadv.TextClassifier(**tiny | chosen_if_null, config=str(tmp_path / "plain.yaml"))
    classifier.fit(TEXTS, LABELS, output=tmp_path / "run")
    params = textadv.TextClassifier.from_pretrained(tmp_path / "run").get_params()
    again, before = experiment_of(params), trained_with(classifier.loaded_.card)
    again = sized(again, "small", names_of(params) or set(), tokens=1000, labels=20)
    assert (again.data.validation_fraction, again.data.validation_cut) == (0.3, "last")
    for section in ("tokenizer", "model", "pretraining", "finetuning"):
        assert getattr(again, section) == getattr(before, section)


def test_callbacks_and_loggers_watch_the_fine_tuning(tmp_path: Path) -> None:
    """Of a training that also pretrains; they change nothing, and are not saved."""
    settings = TINY | {"method": "none", "data_cache": str(tmp_path / "cache")}
    watched = textadv.TextClassifier(**settings, callbacks=[Steps()], logger=CSVLogger(tmp_path / "own", "logs"))
    watched.fit(TEXTS, LABELS, output=tmp_path / "run")
    assert watched.callbacks[0].steps == list(range(1, watched.steps + 1))
    assert "loss" in (tmp_path / "own/logs/version_0/metrics.csv").read_text().splitlines()[0]
    plain = textadv.TextClassifier(**settings).fit(TEXTS, LABELS)
    np.testing.assert_array_equal(watched.predict_proba(TEXTS), plain.predict_proba(TEXTS))
    again = textadv.TextClassifier.from_pretrained(tmp_path / "run")
    assert again.callbacks is None
    assert again.logger is None


def test_random_numbers_of_a_gpu_stay_the_callers(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: nullcontext(kept.append(devices)))
    refusal(tiny, [], [])
    assert kept == [[0, 1]]


def test_a_copy_has_callbacks_of_its_own(tiny: dict[str, Any]) -> None:
    classifier = textadv.TextClassifier(**tiny, callbacks=[Steps()])
    other = textadv.TextClassifier(**copy.deepcopy(classifier.get_params())).fit(TEXTS, LABELS)
    assert other.callbacks[0].steps
    assert not classifier.callbacks[0].steps


def test_what_is_no_callback_is_refused_before_anything_is_prepared(tiny: dict[str, Any], tmp_path: Path) -> None:
    message = refusal(tiny | {"callbacks": [print]}, TEXTS, LABELS)
    assert message == "callbacks <built-in function print>: must be Callbacks of pytorch_lightning, in a list"
    assert not (tmp_path / "cache").exists()
