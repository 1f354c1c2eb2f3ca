"""What a larger corpus and longer documents cost: measured, so these are slow and want an idle machine."""

import multiprocessing
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from textadv.benchmark.contenders import LANGUAGE_MODEL, Contender, Timing, process
from textadv.corpus.store import Split, TokenStore, write_store
from textadv.settings import Experiment, FinetuningSettings, ModelSettings, PretrainingSettings, TrainerSettings

pytestmark = pytest.mark.slow

IMDB_TOKENS = 17_000_000  # of its labeled and unlabeled training reviews
VOCABULARY = 5_000
EXPERIMENT = Experiment(
    model=ModelSettings(embedding_size=64, hidden_size=128, pooling="last_mean_max"),
    pretraining=PretrainingSettings(steps=1000, batch_size=16, window=100),
    finetuning=FinetuningSettings(steps=1000, batch_size=16, unlabeled_batch_size=16, window=1000),
    trainer=TrainerSettings(accelerator="cpu"),
)
STEPS = 40

WriteStore = Callable[[str, Sequence[int]], TokenStore]


@pytest.fixture
def random_store(tmp_path: Path) -> WriteStore:
    """Write a corpus of random words: documents of these lengths, without and, the first 1,000, with labels."""

    def split(lengths: Sequence[int], labeled: bool) -> Split:
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        tokens = np.random.default_rng(0).integers(3, VOCABULARY, offsets[-1], dtype=np.uint16)
        tokens[offsets[1:] - 1] = 2
        return Split(tokens, offsets, np.arange(len(lengths)) % 2 if labeled else np.full(len(lengths), -1))

    def write(name: str, lengths: Sequence[int]) -> TokenStore:
        folder = tmp_path / name
        folder.mkdir()
        labeled = split(lengths[:1000], True)
        splits = {"train": labeled, "unlabeled": split(lengths, False), "validation": labeled, "test": labeled}
        manifest = {"fingerprint": name, "source": {}, "settings": {}, "classes": ["neg", "pos"], "report": {}}
        write_store(folder, splits, tokenizer_json="{}", frequencies=np.ones(VOCABULARY), manifest=manifest)
        return TokenStore.open(folder)

    return write


def own_memory(pid: int) -> float:
    """Resident memory of a process without the pages of mapped files, which the system takes back when it likes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(float(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")) * 1024


def race(task: str, stores: Sequence[TokenStore]) -> list[tuple[float, float]]:
    """Seconds per token (median over steps made in turns) and memory of a process for each store."""
    timings: list[list[Timing]] = [[] for _ in stores]
    with ExitStack() as stack:
        contender = Contender(task, textbook=False, tuned=True)
        steps = [stack.enter_context(process(contender, EXPERIMENT, store, "cpu")) for store in stores]
        for _ in range(STEPS):
            for step, rows in zip(steps, timings, strict=True):
                rows.append(step())
        # The allocator keeps what it once had, so that what is there now is the most there was.
        memory = [own_memory(pid) for pid in sorted(child.pid or 0 for child in multiprocessing.active_children())]
    seconds = [float(np.median([t.seconds / t.tokens for t in rows])) for rows in timings]
    return list(zip(seconds, memory, strict=True))


@pytest.mark.parametrize("task", [LANGUAGE_MODEL, "adversarial+vat"])
def test_a_corpus_ten_times_imdb_costs_no_more_per_step(random_store: WriteStore, task: str) -> None:
    mean = 230
    lengths = np.random.default_rng(1).gamma(2.0, mean / 2, 10 * IMDB_TOKENS // mean).astype(np.int64) + 2
    small, large = random_store("small", lengths[:1500].tolist()), random_store("large", lengths.tolist())
    assert len(large.splits["unlabeled"].tokens) > 9.5 * IMDB_TOKENS
    (seconds, memory), (more_seconds, more_memory) = race(task, [small, large])
    print(f"{task}: {more_seconds / seconds:.2f} times the time per token, {more_memory / memory:.2f} times the memory")
    assert more_seconds < 1.2 * seconds
    assert more_memory < 1.2 * memory


def test_a_document_costs_in_proportion_to_its_length(random_store: WriteStore) -> None:
    stores = [random_store(str(length), [length] * 1500) for length in (100, 200, 400, 800)]
    figures = race("adversarial+vat", stores)
    print("microseconds per token: " + ", ".join(f"{1e6 * seconds:.1f}" for seconds, _ in figures))
    assert max(seconds for seconds, _ in figures[1:]) < 1.25 * figures[0][0]
