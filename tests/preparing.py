"""A small corpus that stands in for a source, and the stores made of it."""

from pathlib import Path

from textadv.corpus.rows import Corpus, Rows
from textadv.settings import DataSettings, TokenizerSettings

WORDS = TokenizerSettings(min_documents=1)


def corpus() -> Corpus:
    splits = {
        "train": Rows(["good film", "bad film !", "", "good good plot"], [1, 0, 0, 1]),
        "unlabeled": Rows(["the film"], [-1]),
        "validation": Rows(["a bad plot"], [0]),
        "test": Rows([], []),
    }
    return Corpus(("neg", "pos"), splits, {"test_duplicates_in_train": 2})


class Source:
    """Stands in for the reading of files: counts how often it is read."""

    def __init__(self) -> None:
        self.content = corpus()
        self.reads = 0

    def load(self, settings: DataSettings, folder: Path) -> Corpus:
        self.reads += 1
        return self.content

    def identity(self, settings: DataSettings) -> dict[str, str]:
        return {"source": str(settings.source)}


def stores(data: DataSettings) -> list[str]:
    return sorted(store.name for store in (Path(data.cache) / "stores").iterdir())
