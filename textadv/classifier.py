"""The estimator: what the command line does, for texts and labels that a Python program has."""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from textadv import precision
from textadv.checkpoints import WEIGHTS, LoadedClassifier, load_classifier, save_classifier
from textadv.checkpoints.hugging_face import pretrained_folder, push_folder
from textadv.commands.finetune import train_classifier
from textadv.corpus.arguments import checked_labels, checked_texts, class_names, written
from textadv.errors import InputError, Stopped
from textadv.evaluation.predictor import Predictor
from textadv.keywords import KEYWORDS, SIGNATURE, WATCHERS, experiment_of, in_words_of_python, keywords_of, names_of
from textadv.settings import DeviceSettings, TrainerSettings
from textadv.system import machine
from textadv.system.estimators import BaseEstimator, ClassifierMixin, NotFittedError


class TextClassifier(ClassifierMixin, BaseEstimator):
    """A text classifier with scikit-learn's interface, trained as `textadv finetune` trains it.

    Every setting of `textadv finetune` is a keyword. Those of `--finetuning` and `--model`, and those without a
    section, keep their names: `--finetuning.epsilon` is `epsilon`, and `--seed` is `seed`. All others begin with their
    section: `--pretraining.steps` is `pretraining_steps`. A keyword that is None is not given: the setting has the
    value of `config`, or else that of a preset, as on the command line. `fit` checks the values.

    Args:
        settings: The settings that are given. `config` names a YAML file of settings, or one that comes with textadv.
            `callbacks`, a list, and `logger`, one or a list, are no settings but objects of pytorch_lightning, which
            watch the fine-tuning beside those that textadv has. `fit` uses them as they are, a clone has copies, and
            what is saved does not hold them.

    Attributes:
        classes_: `(C,)` the labels, sorted, of the type that `fit` was given.
        metrics_: Figures of the training, as in `metrics.json`.
        loaded_: The classifier with its tokenizer and what it says about itself.
    """

    config: str | None
    preset: str | None
    pretrained: str | None
    callbacks: Any
    logger: Any

    def __init__(self, **settings: Any) -> None:
        for name in (*KEYWORDS, *WATCHERS):
            setattr(self, name, settings.pop(name, None))
        if settings:
            raise TypeError(f"TextClassifier: there is no setting {next(iter(settings))!r}")

    def fit(self, X: Any, y: Any, unlabeled: Iterable[str] | None = None, output: str | Path | None = None) -> Self:
        """Prepare the texts, pretrain the encoder, train the classifier.

        What has been prepared or pretrained before is found again in `data_cache`, by default `data/cache`.

        Args:
            X: Texts.
            y: Their labels: strings, integers, booleans or whole numbers, all of one type.
            unlabeled: Texts without labels. The methods `vat` and `adversarial+vat`, the default, need some.
            output: Folder for texts, checkpoints, curves and the classifier; by default a temporary one.

        Raises:
            ArgumentError: A text, a label or a setting is wrong; the message names it.
        """
        from textadv.training.loggers import watchers_of

        with TemporaryDirectory(prefix="textadv-") if output is None else nullcontext(str(output)) as place:
            folder = Path(place)
            with in_words_of_python(folder), torch.random.fork_rng(_started_gpus()):  # the caller's random numbers stay
                labels = checked_labels(y)
                classes = np.unique(labels)
                if len(classes) < 2:
                    raise InputError(f"y: holds only one class, '{classes[0]}'; two are needed at least")
                settings, watchers = self.get_params(), watchers_of(self.callbacks, self.logger)
                experiment = experiment_of(settings)
                data = written(folder, experiment.data, checked_texts(X, "X"), class_names(labels), unlabeled)
                _prepare_machine(experiment.trainer)
                pretrained = None if self.pretrained is None else str(self.pretrained)
                with _interruptible():
                    experiment = replace(experiment, data=data)
                    given = names_of(settings)
                    train_classifier(experiment, self.preset, pretrained, False, place, given, False, watchers)
                loaded = load_classifier(folder / WEIGHTS)
                typed = {"label_values": classes.tolist(), "label_type": labels.dtype.str}
                self._use(loaded._replace(card=loaded.card | typed))
                if output is not None:
                    save_classifier(folder, self.loaded_)  # once more, with the types of the labels
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable label of each text, `(n,)`, of the type that `fit` was given.

        Raises:
            ArgumentError: X is no list of texts.
            NotFittedError: There is no classifier yet.
        """
        probabilities = self.predict_proba(X)
        labels: NDArray[Any] = self.classes_[probabilities.argmax(axis=1)]
        return labels

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """The probability of each label, `(n, C)` in the order of `classes_`.

        Raises:
            ArgumentError: X is no list of texts.
            NotFittedError: There is no classifier yet.
        """
        self._require_fitted()
        names = class_names(self.classes_)
        with in_words_of_python():
            predictions = self._predictor.predict(checked_texts(X, "X"))
            rows = [[prediction.probabilities[name] for name in names] for prediction in predictions]
        return np.array(rows).reshape(-1, len(names))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the classifier: `model.safetensors`, `config.json`, `tokenizer.json`, `README.md` and their sums.

        Raises:
            ArgumentError: The folder cannot be written.
            NotFittedError: There is no classifier yet.
        """
        self._require_fitted()
        with in_words_of_python():
            save_classifier(Path(folder), self.loaded_)

    @classmethod
    def from_pretrained(cls, name: str | Path, **settings: Any) -> Self:
        """Read a classifier that `save_pretrained` or `textadv finetune` has written.

        Args:
            name: Its folder, or its name on the Hugging Face Hub.
            settings: Settings that differ from those it was trained with, such as `trainer_accelerator`.

        Raises:
            ArgumentError: There is no such classifier, or it is damaged.
        """
        with in_words_of_python(), torch.random.fork_rng(devices=[]):
            path = Path(name) if Path(name).is_file() else pretrained_folder(str(name), "from_pretrained")
            loaded = load_classifier(path / WEIGHTS if (path / WEIGHTS).is_file() else path)
            classifier = cls(**keywords_of(loaded.card) | settings)
            classifier._use(loaded)
        return classifier

    def push_to_hub(self, name: str, private: bool = False) -> str:
        """Upload what `save_pretrained` writes to the Hugging Face Hub, with the token that is stored there.

        huggingface_hub's `ModelHubMixin` does not serve: it keeps a copy of the parameters, which `set_params` would
        leave behind.

        Args:
            name: Name on the Hub, made where there is none.
            private: Whether a new one is for its owner only.

        Returns:
            Where it is.

        Raises:
            ArgumentError: The Hub refuses it, or cannot be reached.
            NotFittedError: There is no classifier yet.
        """
        with TemporaryDirectory(prefix="textadv-") as folder, in_words_of_python():
            self.save_pretrained(folder)
            return push_folder(Path(folder), name, private)

    def _use(self, loaded: LoadedClassifier) -> None:
        """Predict with a classifier."""
        self.classes_ = _labels_of(loaded)
        self.metrics_ = loaded.card.get("figures", {})
        self.loaded_ = loaded
        accelerator = getattr(self, "trainer_accelerator", None) or DeviceSettings.accelerator
        self._predictor = Predictor(loaded, machine.device(DeviceSettings(accelerator)))

    def _require_fitted(self) -> None:
        if not hasattr(self, "loaded_"):
            raise NotFittedError("this TextClassifier is not fitted yet: call fit or from_pretrained first")

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn is told: X is a list of texts."""
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.string = tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags


TextClassifier.__init__.__signature__ = SIGNATURE  # type: ignore[attr-defined]  # in which scikit-learn looks


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C be what it is elsewhere in Python."""
    try:
        yield
    except Stopped as stop:
        if stop.signum == signal.SIGINT:
            raise KeyboardInterrupt(str(stop)) from None
        raise


def _started_gpus() -> list[int]:
    """The GPUs that may have given random numbers already."""
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return list(range(torch.cuda.device_count())) if started else []


def _prepare_machine(trainer: TrainerSettings) -> None:
    """As on the command line.

    Raises:
        InputError: This machine has no such device, or the settings want several processes.
    """
    if trainer.devices * trainer.num_nodes > 1:
        raise InputError("--trainer.devices: TextClassifier trains in one process; `textadv finetune` in several")
    machine.prepare_machine()
    precision.allow_tf32(trainer.tf32)
    machine.device(trainer)


def _labels_of(loaded: LoadedClassifier) -> NDArray[Any]:
    """The labels, sorted; strings where the classifier comes from the command line.

    Raises:
        InputError: They are not those of its classes.
    """
    try:
        labels = np.array(loaded.card.get("label_values", sorted(loaded.classes)), loaded.card.get("label_type"))
    except (TypeError, ValueError):
        labels = np.array([])
    if sorted(class_names(labels)) != sorted(loaded.classes):
        raise InputError("from_pretrained: the labels of the classifier are not those of its classes")
    return labels
