"""The command line with a pretrained Transformer: a tiny random one of an architecture, and a tokenizer of its kind."""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import yaml
from command_line import Run, metrics, refused
from readers import curves

pytest.importorskip("transformers", reason="the extra textadv[transformers] is not installed")

from tiny_transformers import LIMIT, WORDS, tiny, tiny_config
from transformers import AutoModel, PreTrainedTokenizerFast, T5Config, ViTConfig

from textadv import Predictor
from textadv.checkpoints import load_classifier
from textadv.commands.shared import prepared
from textadv.corpus.tokenization import TextTokenizer
from textadv.settings import DataSettings, Experiment, ModelSettings, TokenizerSettings
from textadv.training import runs

ARCHITECTURES = ["bert", "roberta", "modernbert"]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.parametrize("pretrained", ARCHITECTURES, indirect=True)
def test_from_nothing_to_predictions(
    run: Run, flags: list[str], pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("finetune", *flags, "--output", "run")
    captured = capsys.readouterr()
    assert f"longer than --tokenizer.max_tokens {LIMIT}: " in captured.err
    assert metrics(tmp_path / "run")["pretrained"] == str(pretrained)
    shutil.rmtree(pretrained)  # the checkpoint has all that is needed from now on
    run("evaluate", "--checkpoint", "run", "--output", "evaluated")
    assert "error" in json.dumps(metrics(tmp_path / "evaluated"))
    run("attack", "--checkpoint", "run", "--attack.check_documents", "2", "--output", "attacked")
    words = json.loads((tmp_path / "attacked" / "metrics.json").read_text())["words"]
    assert words["exchangeable"] > 0.2
    capsys.readouterr()
    run("predict", "--checkpoint", "run", "--text", "the film was good " * LIMIT)
    predicted = json.loads(capsys.readouterr().out)
    assert predicted["truncated"]
    (again,) = Predictor.load(tmp_path / "run").predict(["the film was good " * LIMIT])
    assert again.label == predicted["label"]


@pytest.mark.parametrize("more", [[], ["--model.frozen_layers", "1", "--model.checkpointing", "true"]])
def test_a_resumed_run_is_an_undisturbed_one_to_the_bit(
    run: Run, flags: list[str], tmp_path: Path, more: list[str]
) -> None:
    options = ["--finetuning.layer_decay", "0.9", "--finetuning.warmup_steps", "2", *more]
    run("finetune", *flags, *options, "--output", "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "broken")
    (tmp_path / "broken" / "last.ckpt").unlink()  # as if killed half-way
    step = torch.load(tmp_path / "broken" / "previous.ckpt", weights_only=True)["global_step"]
    run("finetune", *flags, *options, "--output", "broken", "--resume")
    assert 0 < step < 4
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_more_steps_than_a_complete_run_had_change_the_rates(
    run: Run, flags: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They fall linearly to 0 at the last step, unlike those of the other encoders; docs/RELIABILITY.md says so."""
    monkeypatch.setattr(runs, "LOG_EVERY", 1)

    def rates(*options: object) -> list[float]:
        run("finetune", *flags, "--finetuning.learning_rate", 2**-10, *options)
        rows = curves(tmp_path / "run")
        return [2**13 * float(row["learning_rate"]) for row in rows if row["learning_rate"]]

    assert rates("--finetuning.steps", 4, "--output", "run") == [8, 6, 4, 2]
    assert rates("--finetuning.steps", 8, "--output", "run", "--resume") == [8, 6, 4, 2, 0, 3, 2, 1]


def test_a_report_shows_the_words_without_the_special_tokens(run: Run, flags: list[str], tmp_path: Path) -> None:
    run("finetune", *flags, "--finetuning.steps", "1", "--output", "run")
    sizes = ["--attack.documents", "4", "--attack.check_documents", "2", "--attack.attacks", '["fgsm-l2"]']
    run("report", "--checkpoint", "run", *sizes, "--output", "report")
    page = (tmp_path / "report" / "report.html").read_text()
    assert "film" in page
    assert "[CLS]" not in page


def test_evaluate_computes_in_the_precision_that_is_named(run: Run, flags: list[str], tmp_path: Path) -> None:
    run("finetune", *flags, "--finetuning.steps", "1", "--output", "run")
    errors = {}
    for precision in ("32-true", "bf16-mixed"):
        run("evaluate", "--checkpoint", "run", "--trainer.precision", precision, "--output", precision)
        errors[precision] = metrics(tmp_path / precision)["expected_calibration_error"]
    assert errors["bf16-mixed"] != errors["32-true"]
    assert errors["bf16-mixed"] == pytest.approx(errors["32-true"], abs=0.01)  # bfloat16 keeps eight bits


def test_frozen_layers_stay_as_they_are(run: Run, flags: list[str], tmp_path: Path) -> None:
    run("finetune", *flags, "--model.frozen_layers", "1", "--finetuning.ema_decay", "0", "--output", "run")
    body, trained = tiny("bert").state_dict(), load_classifier(tmp_path / "run").classifier.encoder.body.state_dict()
    unchanged = {name for name, value in trained.items() if torch.equal(value, body[name])}
    assert {name for name in trained if "layer.0." in name or name.startswith("embeddings.")} == unchanged


def test_a_classifier_cuts_texts_as_it_was_trained(
    run: Run, flags: list[str], corpus: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run("finetune", *flags, "--finetuning.steps", "1", "--output", "run")
    for command in ("evaluate", "attack", "report"):
        for data in ([], corpus):
            line = refused(run, capsys, command, "--checkpoint", "run", *data, "--tokenizer.max_tokens", "9")
            assert line.endswith("--tokenizer.max_tokens 9: the classifier was trained with 12 and keeps to it")
        line = refused(run, capsys, command, "--checkpoint", "run", "--tokenizer.truncation", "tail")
        assert "--tokenizer.truncation tail: the classifier was trained with head" in line
    run("evaluate", "--checkpoint", "run", *corpus, "--tokenizer.max_tokens", LIMIT, "--output", "evaluated")


def test_prepare_takes_the_tokenizer_and_keeps_only_the_name_of_the_encoder(
    run: Run, flags: list[str], pretrained: Path, tmp_path: Path
) -> None:
    run("prepare", *flags[: flags.index("--model.pooling")], "--tokenizer.max_tokens", str(LIMIT), "--output", "p")
    assert yaml.safe_load((tmp_path / "p" / "config.yaml").read_text())["model"] == {
        "encoder": "transformer",
        "pretrained": str(pretrained),
    }
    run("finetune", *flags, "--finetuning.steps", "1", "--output", "run")
    (store,) = (tmp_path / "cache" / "stores").iterdir()
    assert metrics(tmp_path / "p")["store"] == str(store)


def test_documents_beyond_the_positions_are_read_in_windows(
    run: Run, flags: list[str], pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    AutoModel.from_config(tiny_config("bert", max_position_embeddings=8)).save_pretrained(pretrained)
    line = refused(run, capsys, "finetune", *flags)
    assert line.endswith("has positions for 8 tokens at most; with --model.windows it reads more")
    flags = [*flags, "--model.windows", "true"]
    run("pretrain", *flags[:-4], *flags[-2:], "--output", "lm")
    tokenizer = json.loads((pretrained / "tokenizer.json").read_text())
    tokenizer["post_processor"]["single"].pop()
    (tmp_path / "other").mkdir()
    for file in pretrained.iterdir():
        shutil.copy(file, tmp_path / "other")
    (tmp_path / "other" / "tokenizer.json").write_text(json.dumps(tokenizer))
    line = refused(run, capsys, "finetune", *flags, "--model.pretrained", "other")
    assert line.endswith("--model.windows: other does not put one special token at each end of a text")
    run("finetune", *flags, "--pretrained", "lm", "--output", "run")
    run("evaluate", "--checkpoint", "run", "--output", "evaluated")
    run("attack", "--checkpoint", "run", "--attack.check_documents", "2", "--output", "attacked")
    assert json.loads((tmp_path / "attacked" / "metrics.json").read_text())["words"]["exchangeable"] > 0.2
    words = ["film"] * (LIMIT - 2)
    short, long, same = Predictor.load(tmp_path / "run").predict(
        [" ".join(text) for text in ([*words[:-1], "good"], words, [*words, "good"])]
    )
    assert short.probabilities != long.probabilities
    assert same.probabilities == long.probabilities
    assert (long.truncated, same.truncated) == (False, True)


@pytest.fixture
def texts() -> list[str]:
    return ["the film was good", "Number7 and 12 unknownword [SEP]", "", "bad " * 30]


def test_the_store_has_the_ids_of_the_encoders_own_tokenizer(
    pretrained: Path, texts: list[str], tmp_path: Path
) -> None:
    lines = [f"{text},{name}" for text, name in zip(texts, "aabb", strict=True)]
    (tmp_path / "train.csv").write_text("text,label\n" + "\n".join([*lines[:2], *lines[3:]]) + "\ngood film,b\n")
    data = DataSettings(train=str(tmp_path / "train.csv"), validation_fraction=0.01, cache=str(tmp_path / "cache"))
    model = ModelSettings("transformer", str(pretrained))
    _, store = prepared(Experiment(data, TokenizerSettings(max_tokens=LIMIT), model))
    own = TextTokenizer.from_json(store.tokenizer_json)
    reference = PreTrainedTokenizerFast(tokenizer_file=str(pretrained / "tokenizer.json"))
    reference.backend_tokenizer.no_padding()
    expected = reference(texts, truncation=True, max_length=LIMIT, padding=False)["input_ids"]
    assert [document.tolist() for document in own.encode(texts)] == expected
    stored = [split.document(i).tolist() for split in store.splits.values() for i in range(len(split))]
    assert sorted(stored) == sorted([expected[0], expected[1], expected[3], own.encode(["good film"])[0].tolist()])
    assert own.special_tokens == [0, 1, 2, 3, 47]


@pytest.mark.parametrize(
    ("truncation", "kept"),
    [("head", range(6)), ("tail", range(14, 20)), ("head+tail", [0, 1, 16, 17, 18, 19])],
)
def test_what_is_kept_of_a_long_document(pretrained: Path, truncation: str, kept: Sequence[int]) -> None:
    from textadv.corpus.pretrained_tokenizer import read_tokenizer

    words = (WORDS * 2)[:20]
    tokenizer = read_tokenizer(pretrained, 8, truncation)  # type: ignore[arg-type]
    documents = tokenizer.documents([" ".join(words[:6]), " ".join(words), " ".join(words[:7])])
    assert documents.truncated == {1, 2}
    texts = [tokenizer.decode(tokenizer.text_ids(document.tolist())) for document in documents]
    assert texts[:2] == [" ".join(words[:6]), " ".join(words[i] for i in kept)]
    again = TextTokenizer.from_json(tokenizer.to_json())
    assert again.documents([" ".join(words)]).tokens.tolist() == documents.tokens[8:16].tolist()


def test_pieces_know_where_a_word_begins(pretrained: Path) -> None:
    from textadv.corpus.pretrained_tokenizer import read_tokenizer

    tokenizer = read_tokenizer(pretrained, 20, "head")
    ids = tokenizer.text_ids(tokenizer.encode(["film number12"])[0].tolist())
    assert tokenizer.pieces(ids) == [" film", " number", "1", "2"]


def test_a_store_of_longer_documents_than_the_encoder_reads_is_refused(
    run: Run, flags: list[str], corpus: list[str], pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model.encoder", "transformer", "--model.pretrained", str(pretrained)]
    run("prepare", *corpus, *model, "--tokenizer.max_tokens", "80", "--output", "prepared")
    store = str(metrics(tmp_path / "prepared")["store"])
    given = [*flags[:2], *model, "--data.source", store, "--tokenizer.max_tokens", "40", "--model.pooling", "mean"]
    assert "--tokenizer.max_tokens 80: " in refused(run, capsys, "finetune", *given)


def test_wrong_input_is_one_line(
    run: Run, flags: list[str], pretrained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def line(*arguments: str) -> str:
        return refused(run, capsys, "finetune", *flags, *arguments)

    assert "--tokenizer.max_tokens 41: " in line("--tokenizer.max_tokens", "41")
    assert "has positions for 40 tokens" in line("--tokenizer.max_tokens", "41")
    assert "leaves no room" in line("--tokenizer.max_tokens", "2")
    assert "has 2 layers" in line("--model.frozen_layers", "3")
    assert "--model.pooling last" in line("--model.pooling", "last")
    assert "other: no such checkpoint" in line("--pretrained", "other")
    assert "--pretrained none: " in line("--pretrained", "none")
    assert "--model.pretrained: needs" in line("--model.encoder", "lstm")
    assert "needs --model.pretrained" in line("--model.pretrained", "null")
    pretrains = [*flags[:2], *flags[2:-2]]
    assert "positions for 40 tokens" in refused(run, capsys, "pretrain", *pretrains, "--tokenizer.max_tokens", "41")
    (pretrained / "tokenizer.json").rename(pretrained / "other.json")
    assert "tokenizer.json: cannot be read: No such file" in line()
    (pretrained / "tokenizer.json").write_text("{}")
    assert "tokenizer.json: is no tokenizer" in line()
    config = json.loads((pretrained / "config.json").read_text())
    (pretrained / "config.json").write_text(json.dumps(config | {"model_type": "unheard_of"}))
    assert "unheard_of" in line()
    for other, words in ((ViTConfig, "vit takes no embeddings (inputs_embeds)"), (T5Config, "t5 is no encoder")):
        other().save_pretrained(pretrained)
        assert words in line()
    with monkeypatch.context() as offline:
        offline.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(pretrained))
        offline.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        unreachable = line("--model.pretrained", "nobody/nothing")
        assert "nobody/nothing: no such folder, and the Hub cannot be reached; give the folder" in unreachable
    (pretrained / "model.safetensors").rename(pretrained / "pytorch_model.bin")
    assert "pickled" in line()
    (pretrained / "pytorch_model.bin").unlink()
    assert "has no model.safetensors" in line()
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert 'pip install -e ".[transformers]"' in line()
