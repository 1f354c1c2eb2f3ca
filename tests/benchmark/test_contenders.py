import os
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from textadv.benchmark import contenders
from textadv.benchmark.contenders import LANGUAGE_MODEL, Contender, Gate, Timing
from textadv.corpus.store import TokenStore
from textadv.settings import Experiment
from textadv.system.openmp import SPINS


class Line:
    """A connection that asks for some steps."""

    def __init__(self, steps: int) -> None:
        self.questions = [True] * steps + [False]
        self.answers: list[Timing] = []

    def recv(self) -> bool:
        return self.questions.pop(0)

    def send(self, timing: Timing) -> None:
        self.answers.append(timing)


@pytest.mark.parametrize("task", [LANGUAGE_MODEL, "none", "adversarial", "vat", "adversarial+vat"])
def test_each_contender_trains_as_many_steps_as_asked_for(
    with_finetuning: Callable[..., Experiment], store: TokenStore, task: str
) -> None:
    experiment = with_finetuning(**({} if task == LANGUAGE_MODEL else {"method": task}))
    ours, textbook = Line(3), Line(2)
    contenders._run_ours(Gate(ours, experiment, 5.0, "cpu"), task, experiment, store)  # type: ignore[arg-type]
    plain: tuple[Any, ...] = contenders._textbook(task, experiment, store, "cpu")
    contenders._run_textbook(Gate(textbook, experiment, 5.0, "cpu"), *plain)  # type: ignore[arg-type]
    assert (len(ours.answers), len(textbook.answers)) == (3, 2)
    for timing in ours.answers + textbook.answers:
        assert timing.seconds > 0
        assert 0 < timing.tokens < 100
        assert timing.operations >= timing.tokens
        assert timing.peak_memory > 2**20
    if task == LANGUAGE_MODEL:  # the same stream
        assert [t.tokens for t in ours.answers[:2]] == [t.tokens for t in textbook.answers]


@pytest.mark.parametrize(
    ("tuned", "chosen", "expected"), [(True, SPINS, SPINS), (False, SPINS, None), (False, "7", "7")]
)
def test_the_textbook_has_the_defaults_of_openmp_unless_the_user_has_not(
    monkeypatch: pytest.MonkeyPatch,
    experiment: Experiment,
    store: TokenStore,
    tuned: bool,
    chosen: str,
    expected: str | None,
) -> None:
    started: list[str | None] = []
    child = SimpleNamespace(start=lambda: started.append(os.environ.get("GOMP_SPINCOUNT")), join=lambda: None)
    pipe = SimpleNamespace(send=lambda ask: None, close=lambda: None)
    context = SimpleNamespace(Pipe=lambda: (pipe, pipe), Process=lambda **arguments: child)
    monkeypatch.setattr(contenders.multiprocessing, "get_context", lambda method: context)
    monkeypatch.setenv("GOMP_SPINCOUNT", chosen)
    with contenders.process(Contender("vat", textbook=True, tuned=tuned), experiment, store, "cpu"):
        assert started == [expected]
    assert os.environ["GOMP_SPINCOUNT"] == chosen


def test_textbook_trains(experiment: Experiment, store: TokenStore) -> None:
    faster = replace(experiment, pretraining=replace(experiment.pretraining, learning_rate=0.05, dropout=0.0))
    network, loss, batches, rate = contenders._textbook(LANGUAGE_MODEL, faster, store, "cpu")
    seen = []

    def noted(batch: Any) -> Any:
        value = loss(batch)
        seen.append(value.item())
        return value

    line = Line(60)
    contenders._run_textbook(Gate(line, faster, 5.0, "cpu"), network, noted, batches, rate)  # type: ignore[arg-type]
    assert sum(seen[-10:]) < 0.8 * sum(seen[:10])
