"""Encoders that others have written: of installed packages, by their entry points, and registered by a program."""

import importlib
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command_line import Run, metrics, refused
from encoders import EXAMPLE
from readers import equal

from textadv import register_encoder
from textadv.checkpoints import load_classifier, load_file
from textadv.checkpoints.fresh import fresh_encoder
from textadv.errors import InputError
from textadv.settings import ModelSettings
from textadv.system import own_encoders

DOCUMENT = Path(__file__).parents[2] / "docs" / "ENCODERS.md"


def test_from_nothing_to_predictions(
    run: Run,
    install: Callable[..., None],
    corpus: list[str],
    config: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install()
    flags = ["--config", config, *corpus, "--model.encoder", "convolutions"]
    run("finetune", *flags, "--output", "run")
    shutil.copytree(tmp_path / "run", tmp_path / "broken")
    (tmp_path / "broken" / "last.ckpt").unlink()  # as if killed half-way
    run("finetune", *flags, "--output", "broken", "--resume")
    whole, resumed = (load_file(tmp_path / name / "last.ckpt")["state_dict"] for name in ("run", "broken"))
    assert equal(whole, resumed)
    assert type(load_classifier(tmp_path / "run").classifier.encoder).__name__ == "Convolutions"
    run("evaluate", "--checkpoint", "run", "--output", "evaluated")
    assert metrics(tmp_path / "evaluated")["count"] == 10
    sizes = ["--attack.documents", "4", "--attack.check_documents", "2", "--attack.attacks", '["fgsm-l2"]']
    run("attack", "--checkpoint", "run", *sizes, "--output", "attacked")
    capsys.readouterr()
    run("predict", "--checkpoint", "run", "--text", "the film was good")
    assert capsys.readouterr().out.startswith('{"label": ')


def test_wrong_input_is_one_line(
    run: Run,
    install: Callable[..., None],
    corpus: list[str],
    config: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install(
        "missing = no_such_module:Encoder\n"
        "nameless = somebodys:NoSuchClass\n"
        "abstract = textadv.models.encoders:Encoder\n"
        "number = builtins:max\n"
    )

    def line(name: str, command: str = "finetune", *more: str) -> str:
        return refused(run, capsys, command, "--config", config, *corpus, "--model.encoder", name, *more)

    listed = "abstract, convolutions, missing, nameless, number"
    assert "newcomer: there is no such encoder, but lstm, gru, transformer; installed (" in line("newcomer")
    assert line("newcomer").endswith(listed)
    assert "somebodys:Convolutions: there is no such encoder" in line("somebodys:Convolutions")
    assert "no_such_module:Encoder cannot be imported: ModuleNotFoundError" in line("missing")
    assert "cannot be imported: AttributeError" in line("nameless")
    assert "cannot be built: TypeError: Can't instantiate abstract class" in line("abstract")
    assert "cannot be built: TypeError" in line("number")
    assert "convolutions: pretrain trains a language model of lstm or gru" in line("convolutions", "pretrain")
    assert "--pretrained other: no language model" in line("convolutions", "finetune", "--pretrained", "other")
    run("finetune", "--config", config, *corpus, "--model.encoder", "convolutions", "--output", "run")
    shutil.rmtree(tmp_path / "site")
    importlib.invalidate_caches()
    message = refused(run, capsys, "evaluate", "--checkpoint", "run")
    assert "convolutions: there is no such encoder" in message
    assert "of your own needs its package" in message


class WithoutWords(torch.nn.Module):
    def __init__(self, *_: object) -> None:
        super().__init__()


def test_an_encoder_is_checked_when_it_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_encoders, "_registered", {})
    with pytest.raises(InputError, match="lstm is an encoder of textadv"):
        register_encoder("lstm", WithoutWords)
    register_encoder("mine", WithoutWords)
    with pytest.raises(InputError, match=r"mine: is a WithoutWords, not a textadv\.models\.encoders"):
        fresh_encoder(ModelSettings("mine"), torch.ones(10), 0.0)
    convolutions = runpy.run_path(str(EXAMPLE))["Convolutions"]
    register_encoder("mine", lambda sizes, frequencies, dropout: convolutions(sizes, frequencies[1:], dropout))
    with pytest.raises(InputError, match="its is_special must be a bool for each of 10 ids"):
        fresh_encoder(ModelSettings("mine"), torch.ones(10), 0.0)
    register_encoder("mine", convolutions)
    assert isinstance(fresh_encoder(ModelSettings("mine"), torch.ones(10), 0.0), convolutions)


def test_the_document_shows_the_example() -> None:
    shown = DOCUMENT.read_text().partition("class Convolutions")[2].partition("```")[0].strip()
    assert len(shown.splitlines()) <= 35
    assert shown in EXAMPLE.read_text()
