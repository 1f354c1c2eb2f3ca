"""`pretrain` of a Transformer, and what takes its checkpoint."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from command_line import Run, metrics, refused

pytest.importorskip("transformers", reason="the extra textadv[transformers] is not installed")

from tiny_transformers import tiny, tiny_config
from transformers import AutoModel

from textadv.checkpoints import load_file

WORDS = "embeddings.word_embeddings.weight"


def words(folder: Path, prefix: str) -> torch.Tensor:
    """The word table of a checkpoint."""
    table: torch.Tensor = load_file(folder / "last.ckpt")["state_dict"][f"{prefix}.words.weight"]
    return table


def test_fine_tuning_starts_from_the_checkpoint(
    run: Run, flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("pretrain", *flags[:-2], "--output", "lm")
    assert "a new one is trained" in capsys.readouterr().err
    assert metrics(tmp_path / "lm")["validation_perplexity"]
    learned = words(tmp_path / "lm", "model.encoder")
    assert not torch.equal(learned, tiny("bert").state_dict()[WORDS])
    frozen = ["--model.frozen_layers", "1", "--finetuning.ema_decay", "0", "--finetuning.steps", "1"]
    run("finetune", *flags, *frozen, "--pretrained", "lm", "--output", "run")
    assert metrics(tmp_path / "run")["pretrained"] == "lm"
    assert torch.equal(words(tmp_path / "run", "model.encoder"), learned)
    run("predict", "--checkpoint", "run", "--text", "the film was good")


def test_the_shared_encoder_is_taken_only_where_it_is_asked_for(
    run: Run, flags: list[str], pretrained: Path, tmp_path: Path
) -> None:
    run("pretrain", *flags[:-2])
    (shared,) = (tmp_path / "cache" / "pretrained").iterdir()
    written = (shared / "last.ckpt").stat().st_mtime_ns
    once = ["--finetuning.steps", "1"]
    run("finetune", *flags, *once, "--output", "given")
    assert metrics(tmp_path / "given")["pretrained"] == str(pretrained)
    run("finetune", *flags, *once, "--pretrained", "continued", "--output", "continued")
    assert metrics(tmp_path / "continued")["pretrained"] == str(shared / "last.ckpt")
    assert (shared / "last.ckpt").stat().st_mtime_ns == written
    tiny("bert").half().save_pretrained(pretrained)  # other weights under the same name
    run("finetune", *flags, *once, "--pretrained", "continued", "--output", "other")
    assert len(list((tmp_path / "cache" / "pretrained").iterdir())) == 2


def test_wrong_input_is_one_line(
    run: Run, flags: list[str], corpus: list[str], config: str, pretrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("pretrain", *flags[:-2], "--output", "lm")
    assert "--resume: " in refused(run, capsys, "pretrain", *flags[:-2], "--output", "lm", "--resume", "--seed", "1")
    run("pretrain", "--config", config, *corpus, "--output", "lstm")
    assert "another tokenizer" in refused(run, capsys, "finetune", *flags, "--pretrained", "lstm")
    other = shutil.copytree(pretrained, pretrained.with_name("other"))
    renamed = ["--model.pretrained", str(other), "--output", "lm", "--resume"]
    assert "model.pretrained" in refused(run, capsys, "pretrain", *flags[:-2], *renamed)
    AutoModel.from_config(tiny_config("bert", intermediate_size=8)).save_pretrained(other)
    sizes = refused(run, capsys, "finetune", *flags, *renamed[:2], "--pretrained", "lm")
    assert "its sizes are not those of --model" in sizes
    tokenizer = json.loads((pretrained / "tokenizer.json").read_text().replace("[MASK]", "[HIDE]"))
    (pretrained / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert "no token for a hidden word" in refused(run, capsys, "pretrain", *flags[:-2])
