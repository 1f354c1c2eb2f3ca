"""The corpus that stands in for a source."""

from pathlib import Path

import pytest
from preparing import Source

from textadv.corpus import preparation
from textadv.settings import DataSettings


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    source = Source()
    monkeypatch.setattr(preparation, "stream_corpus", source.load)
    monkeypatch.setattr(preparation, "source_identity", source.identity)
    return source


@pytest.fixture
def data(tmp_path: Path) -> DataSettings:
    return DataSettings(source="s", cache=str(tmp_path / "cache"))
