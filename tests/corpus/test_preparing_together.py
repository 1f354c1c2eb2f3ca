"""Several that prepare the same corpus at once."""

import errno
import fcntl
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from preparing import WORDS, Source, stores

from textadv.corpus import preparation
from textadv.corpus.preparation import prepare
from textadv.corpus.rows import Corpus
from textadv.corpus.store import TokenStore
from textadv.settings import DataSettings, TokenizerSettings


def at_once(work: Callable[[], TokenStore]) -> list[TokenStore]:
    results: list[TokenStore] = []
    threads = [threading.Thread(target=lambda: results.append(work())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


@pytest.mark.parametrize("damaged", [False, True])
def test_of_two_at_once_one_prepares(
    source: Source,
    data: DataSettings,
    monkeypatch: pytest.MonkeyPatch,
    damaged: bool,
) -> None:
    if damaged:
        (prepare(data, WORDS).path / "manifest.json").write_text("{}")
    waits = threading.Event()

    def write(text: str) -> int:
        if "waiting for another process" in text:
            waits.set()
        return len(text)

    def load_when_the_other_one_waits(settings: DataSettings, folder: Path) -> Corpus:
        assert waits.wait(60)
        return source.load(settings, folder)

    # pytest's capture loses what one thread writes while another one reads it.
    monkeypatch.setattr(sys, "stderr", Mock(write=write))

    monkeypatch.setattr(preparation, "stream_corpus", load_when_the_other_one_waits)
    first, second = at_once(lambda: prepare(data, WORDS))
    assert source.reads == 1 + damaged
    assert first.fingerprint == second.fingerprint
    assert first.splits["train"].tokens.tolist() == second.splits["train"].tokens.tolist()
    assert stores(data) == [first.path.name]


def test_two_at_once_where_files_cannot_be_locked(
    source: Source, data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_build = threading.Barrier(2, timeout=60)

    def wait_and_load(settings: DataSettings, folder: Path) -> Corpus:
        both_build.wait()
        return source.load(settings, folder)

    monkeypatch.setattr(fcntl, "flock", Mock(side_effect=OSError(errno.ENOLCK, "cannot be locked")))
    monkeypatch.setattr(preparation, "stream_corpus", wait_and_load)
    first, second = at_once(lambda: prepare(data, WORDS))
    assert source.reads == 2
    assert first.splits["train"].tokens.tolist() == second.splits["train"].tokens.tolist()
    assert stores(data) == [first.path.name]


PREPARE = """
import sys, time
from pathlib import Path
from textadv.corpus import preparation
from textadv.settings import DataSettings, TokenizerSettings
build, folder = preparation._build, Path(sys.argv[1])
def slowly(*arguments):
    (folder / "building").write_text(str(__import__("os").getpid()))
    build(*arguments)
    while not (folder / "go").exists():
        time.sleep(0.01)
preparation._build = slowly
preparation.prepare(DataSettings(train=str(folder / "train.csv"), cache=str(folder / "cache")), TokenizerSettings())
"""


def test_four_processes_share_a_cold_cache_and_one_is_killed(tmp_path: Path) -> None:
    """The one that prepares dies with a store that is all but finished; another one takes over, the others wait."""
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"a b c {i},{i % 2}\n" for i in range(40)))
    command = [sys.executable, "-c", PREPARE, str(tmp_path)]
    said = [tmp_path / f"said{i}" for i in range(4)]
    runs = []
    for path in said:
        with path.open("w") as stderr:
            runs.append(subprocess.Popen(command, stderr=stderr))
    building = tmp_path / "building"
    unfinished: list[Path] = []
    waiting = 0
    deadline = time.monotonic() + 120
    while not unfinished or waiting < 3:  # until the manifest, which is written last, and until all others wait
        unfinished = list((tmp_path / "cache" / "stores").glob(".*/manifest.json"))
        waiting = sum("waiting for another process" in path.read_text() for path in said)
        assert [run.poll() for run in runs] == [None] * 4, [path.read_text() for path in said]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    victim = next(run for run in runs if run.pid == int(building.read_text()))
    victim.kill()
    (tmp_path / "go").touch()
    returncodes = sorted(run.wait(timeout=120) for run in runs)
    assert returncodes == [-9, 0, 0, 0], [path.read_text() for path in said]
    (store,) = (tmp_path / "cache" / "stores").iterdir()
    data = DataSettings(train=str(tmp_path / "train.csv"), cache=str(tmp_path / "cache"))
    assert prepare(data, TokenizerSettings()).path == store
    alone = prepare(replace(data, cache=str(tmp_path / "other")), TokenizerSettings()).path
    assert {f.name: f.read_bytes() for f in store.iterdir()} == {f.name: f.read_bytes() for f in alone.iterdir()}


def test_from_files_in_two_processes(tmp_path: Path) -> None:
    rows = [{"text": f"review {i} is {'good' if i % 2 else 'bad'}", "label": i % 2} for i in range(40)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    script = f"""
from textadv.corpus.preparation import prepare
from textadv.settings import DataSettings, TokenizerSettings
data = DataSettings(train={str(tmp_path / "train.jsonl")!r}, cache={str(tmp_path / "cache")!r})
store = prepare(data, TokenizerSettings(max_vocabulary=300))
print(store.fingerprint, *store.splits["train"].tokens.tolist())
"""
    command = [sys.executable, "-W", "error", "-c", script]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0] == outputs[1] != ""
    (path,) = (tmp_path / "cache" / "stores").iterdir()
    store = TokenStore.open(path)
    assert len(store.splits["train"]) + len(store.splits["validation"]) == 40
    assert np.bincount(store.splits["train"].labels).tolist() == [17, 17]
