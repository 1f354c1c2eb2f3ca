"""What the documents show in Python, and the walk of an embedding tensor in CONTRIBUTING.md."""

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest
import torch
import yaml
from command_line import SMALL

from textadv import cli
from textadv.corpus.datamodules import FinetuningData
from textadv.corpus.store import TokenStore
from textadv.models.factory import build_classifier, build_encoder
from textadv.settings import Experiment
from textadv.training.finetuning import FinetuningModule

ROOT = Path(__file__).parents[1]
BLOCKS = [
    pytest.param(block, id=f"{document.name}-{number}")
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
    if ".zh" not in document.name  # their blocks are those of the English documents
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL))
]
TINY = ["--model.embedding_size", "4", "--model.hidden_size", "5", "--finetuning.steps", "1"]
TINY += ["--finetuning.method", "none", "--finetuning.batch_size", "4", "--tokenizer.min_documents", "1"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the documents read, and the classifier that they load, trained for one step."""
    folder = tmp_path_factory.mktemp("documents")
    rows = [
        f"a {word} film of number {i},{label}" for i in range(6) for word, label in (("dull", "neg"), ("fine", "pos"))
    ]
    (folder / "train.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    (folder / "labeled.csv").write_text((folder / "train.csv").read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "raw.txt").write_text("a dull plot\na fine plot\n" * 4, encoding="utf-8")
    sizes = {key: SMALL[key] | {"steps": 1} for key in ("pretraining", "finetuning")}
    small = yaml.safe_dump(SMALL | sizes)
    (folder / "quickstart").write_text(small, encoding="utf-8")  # comes before the config of that name
    files = ["--data.train", str(folder / "train.csv"), "--data.cache", str(folder / "cache")]
    output = str(folder / "runs" / "first" / "adversarial+vat")
    cli.run(["finetune", *TINY, *files, "--trainer.accelerator", "cpu", "--pretrained", "none", "--output", output])
    shutil.copytree(output, folder / "runs" / "mine")  # the tutorial's
    shutil.copy(folder / "train.csv", folder / "test.csv")
    return folder


@pytest.mark.parametrize("block", BLOCKS)
def test_a_python_block_runs(
    block: str, trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(trained)
    exec(compile(block, "document", "exec"), {"__name__": "__main__"})
    assert bool(capsys.readouterr().out) == ("print(" in block)


def test_prose_has_at_most_120_columns() -> None:
    """Tables and code are not wrapped, nor is Chinese, where a line break would show as a space."""
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "data/README.md", ROOT / "website/api.md"]
    for document in (path for path in documents if ".zh" not in path.name):
        text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
        prose = [line for line in text.splitlines() if not line.lstrip().startswith(("|", "!["))]
        assert [line for line in prose if len(line) > 120] == [], document


def test_the_readme_shows_the_losses_the_estimator_and_the_predictor() -> None:
    shown = " ".join(re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL))
    assert set(re.findall(r"textadv\.(\w+)", shown)) == {"Predictor", "adversarial_loss", "virtual_adversarial_loss"}
    assert "from textadv import TextClassifier\n" in shown


def test_the_walk_of_an_embedding_is_that_of_a_step(
    store: TokenStore, with_finetuning: Callable[..., Experiment]
) -> None:
    experiment = with_finetuning()
    encoder = build_encoder(experiment.model, torch.from_numpy(store.frequencies), experiment.finetuning.dropout)
    classifier = build_classifier(experiment.model, encoder, 2)
    module = FinetuningModule(classifier, experiment.finetuning, 0, {"classes": list(store.classes)}).train()
    module.log = module.log_dict = lambda *arguments, **options: None  # type: ignore[method-assign,assignment]
    batch = next(iter(FinetuningData(store, experiment.data, experiment.finetuning, 0).train_dataloader()))
    section = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## The walk")[2].partition("\n## ")[0]
    walk = re.findall(r"^\| `([\w.]+)` \| `([\w./]+)`", section, re.MULTILINE)
    entered: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event == "call":
            entered.extend(
                step for step in set(walk) if step[0] == code.co_qualname and code.co_filename.endswith(step[1])
            )

    sys.setprofile(note)
    try:
        module.training_step(batch, 0)
    finally:
        sys.setprofile(None)
    assert entered == walk
    assert len(walk) > 20
