"""What the `config.yaml` in the folder of a run says is what was used."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Run, metrics, refused

from textadv.checkpoints import load_classifier, trained_with
from textadv.commands.folder import run_folder
from textadv.errors import InputError

SHORT = ["--attack.attacks", "[fgsm-l2]", "--attack.documents", "3", "--attack.check_documents", "2"]


def config_of(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((folder / "config.yaml").read_text())
    return loaded


@pytest.fixture
def trained(run: Run, corpus: list[str], config: str, tmp_path: Path) -> Path:
    flags = ["--pretrained", "none", "--output", tmp_path / "f", "--seed", 3, "--data.seed", 4]
    run("finetune", "--config", config, *corpus, *flags, "--finetuning.epsilon", 0.25)
    return tmp_path / "f"


@pytest.mark.parametrize("command", [["evaluate"], ["attack", *SHORT], ["report", *SHORT]], ids=lambda c: c[0])
def test_a_checkpoint_is_measured_with_its_own_settings(
    run: Run, trained: Path, tmp_path: Path, command: list[str]
) -> None:
    run(*command, "--checkpoint", trained, "--output", tmp_path / "o")
    expected = config_of(trained)
    assert (expected["finetuning"]["epsilon"], expected["finetuning"]["steps"], expected["seed"]) == (0.25, 4, 3)
    expected["trainer"]["accelerator"] = "auto"
    assert config_of(tmp_path / "o") == expected


def test_the_config_of_an_evaluation_repeats_it(run: Run, trained: Path, corpus: list[str], tmp_path: Path) -> None:
    """Also on another corpus, which stands in the place of that of the training."""
    named = [*corpus, "--data.seed", 4, "--data.labels_per_class", 5]
    run("evaluate", "--checkpoint", trained, *named, "--output", tmp_path / "e")
    used = config_of(tmp_path / "e")
    assert used["data"]["labels_per_class"] == 5
    assert {name for name, value in config_of(trained).items() if value != used[name]} == {"data", "trainer"}
    again = ["--config", tmp_path / "e" / "config.yaml", "--output", tmp_path / "e2"]
    run("evaluate", "--checkpoint", trained, *again)
    assert config_of(tmp_path / "e2") == used
    first, second = metrics(tmp_path / "e"), metrics(tmp_path / "e2")
    assert first == second


def test_runs_that_start_in_the_same_second_have_folders_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda _: "then")
    for name in ("export-then", "export-then-2", "export-then-3"):
        with run_folder("export", None, {}) as (folder, _):
            assert folder == Path("runs") / name
    for _ in range(2):  # a folder that is named may be there
        with run_folder("export", "named", {}) as (folder, _):
            assert folder == Path("named")


def test_a_store_that_is_given_says_how_it_was_tokenized(
    run: Run, config: str, corpus: list[str], tmp_path: Path
) -> None:
    run("prepare", "--config", config, *corpus, "--output", tmp_path / "p")
    store = metrics(tmp_path / "p")["store"]
    flags = ["--config", config, "--data.source", store, "--data.cache", tmp_path / "cache"]
    flags += ["--tokenizer.min_documents", 3, "--tokenizer.lowercase", "true"]  # not used
    run("finetune", *flags, "--pretrained", "none", "--output", tmp_path / "f")
    run("evaluate", "--checkpoint", tmp_path / "f", *flags, "--output", tmp_path / "e")
    run("quickstart", *flags, "--output", tmp_path / "q")
    for folder in ("f", "e", "q"):
        found = config_of(tmp_path / folder)["tokenizer"]
        assert (found["min_documents"], found["lowercase"]) == (1, False)


def test_the_config_of_a_run_holds_what_it_has_read(run: Run, config: str, corpus: list[str], tmp_path: Path) -> None:
    run("prepare", "--config", config, *corpus, "--output", tmp_path / "p")
    assert list(config_of(tmp_path / "p")) == ["data", "tokenizer"]
    run("pretrain", "--config", config, "--config", tmp_path / "p" / "config.yaml", "--output", tmp_path / "l")
    used = config_of(tmp_path / "l")
    assert list(used) == ["data", "tokenizer", "model", "pretraining", "trainer", "seed"]
    assert used["data"] == config_of(tmp_path / "p")["data"]


def test_a_file_without_a_training_file_is_not_passed_over(
    run: Run, trained: Path, corpus: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    test = corpus[corpus.index("--data.test") + 1]
    assert "--data.train" in refused(run, capsys, "evaluate", "--checkpoint", trained, "--data.test", test)


@pytest.mark.parametrize("command", [["evaluate"], ["attack", *SHORT], ["report", *SHORT]], ids=lambda c: c[0])
def test_settings_of_the_data_are_used_where_no_corpus_is_named(
    run: Run, trained: Path, tmp_path: Path, command: list[str]
) -> None:
    run(*command, "--checkpoint", trained, "--data.cache", tmp_path / "other", "--output", tmp_path / "o")
    assert list((tmp_path / "other" / "stores").iterdir())
    used, own = config_of(tmp_path / "o")["data"], config_of(trained)["data"]
    assert used == own | {"cache": str(tmp_path / "other")}


def test_another_tokenizer_is_refused_where_no_corpus_is_named(
    run: Run, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--checkpoint", trained, "--tokenizer.max_vocabulary", 20]
    assert "different tokenizers" in refused(run, capsys, "evaluate", *flags)


def test_settings_that_a_checkpoint_has_or_has_not(trained: Path) -> None:
    card = load_classifier(trained).card
    settings = card["settings"]
    assert asdict(trained_with(card)) == settings
    shorter = {name: value for name, value in settings["finetuning"].items() if name != "patience"}
    assert trained_with({"settings": settings | {"finetuning": shorter}}).finetuning.patience == 10
    for odd in ({"magic": 1}, {"seed": -1}, None):
        with pytest.raises(InputError, match="another version of textadv"):
            trained_with({"settings": settings | {"data": odd}})
