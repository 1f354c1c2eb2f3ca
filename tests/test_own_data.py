"""One command without a config, from files to a classifier that beats TF-IDF with logistic regression."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from generated_texts import TEAMS, TOPICS, Kind, corpus
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline

Rows = list[tuple[str, str]]
ROOT = Path(__file__).parents[1]


def textadv(folder: Path, *arguments: str) -> None:
    command = [sys.executable, str(ROOT / "train.py"), *arguments]
    subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)


def tfidf(train: Rows, test: Rows) -> tuple[float, float]:
    """Least error in percent and largest macro-F1, of single words or with pairs of neighbours."""
    errors, scores = [], []
    for longest in (1, 2):
        model = make_pipeline(
            TfidfVectorizer(ngram_range=(1, longest), sublinear_tf=True), LogisticRegression(C=10, max_iter=1000)
        )
        model.fit(*zip(*train, strict=True))
        texts, names = zip(*test, strict=True)
        predicted = model.predict(texts)
        errors.append(100 * float((predicted != names).mean()))
        scores.append(f1_score(names, predicted, average="macro"))
    return min(errors), max(scores)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "labels", "ending"), [(TOPICS, 400, "csv"), (TEAMS, 600, "jsonl")])
def test_it_beats_tfidf_without_a_config(tmp_path: Path, kind: Kind, labels: int, ending: str) -> None:
    texts = corpus(kind, labels)
    texts.write(tmp_path, ending)
    files = ["--data.train", f"train.{ending}", "--data.unlabeled", "raw.jsonl", "--data.test", f"test.{ending}"]
    columns = ["--data.text_column", "body", "--data.label_column", "team"]
    textadv(tmp_path, "finetune", *files, *columns, "--trainer.accelerator", "cpu", "--output", "run")
    textadv(tmp_path, "evaluate", "--checkpoint", "run", "--output", "test")
    run, measured = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("run", "test"))
    error, score = tfidf(texts.train, texts.test)
    print(f"{measured['error']:.2f} % against {error:.2f} %, macro-F1 {measured['macro_f1']:.3f} against {score:.3f}")
    print(f"fine-tuning took {run['seconds']:.0f} s, {run['estimated_seconds']['fine-tuning']:.0f} s were said")
    assert measured["error"] < error
    assert measured["macro_f1"] > score
