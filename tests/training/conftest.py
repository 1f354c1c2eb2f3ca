"""Several processes that train together, and a module to step by hand."""

import multiprocessing
import runpy
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from stepping import Make

from textadv.corpus.store import TokenStore
from textadv.models.factory import build_classifier, build_encoder
from textadv.settings import Experiment
from textadv.training.finetuning import FinetuningModule

PROGRAM = str(Path(__file__).with_name("rank_program.py"))
SECONDS = 240  # on a busy machine


class Job(NamedTuple):
    """One training."""

    name: str
    kind: str  # pretrain or finetune
    experiment: Experiment
    store: TokenStore
    folder: Path
    resume: Path | None


class Outcome(NamedTuple):
    """What a rank says about one job."""

    name: str
    logged: list[dict[str, float]]
    end: str | None  # the exception

    def losses(self) -> list[float]:
        return [row["loss"] for row in self.logged if "loss" in row]


class Rank(NamedTuple):
    """How a rank has ended."""

    code: int
    outcomes: list[Outcome]


TrainTogether = Callable[..., list[Rank]]


@pytest.fixture(scope="session")
def train_together() -> TrainTogether:
    """Train in so many processes, forked from one that has everything imported; tells how each has ended."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["textadv.training.runs"])

    def train(ranks: int, *jobs: tuple[Any, ...], **fault: Any) -> list[Rank]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        several = []
        for job in map(Job._make, jobs):
            trainer = replace(job.experiment.trainer, devices=ranks)
            several.append(tuple(job._replace(experiment=replace(job.experiment, trainer=trainer))))
        processes = []
        for rank in range(ranks):
            receiver, sender = context.Pipe(duplex=False)
            told = {"rank": rank, "ranks": ranks, "port": port, "jobs": several, "report": sender}
            process = context.Process(target=runpy.run_path, args=(PROGRAM, told | {"fault": fault}), daemon=True)
            process.start()
            sender.close()
            processes.append((process, receiver))
        ended = []
        for process, receiver in processes:
            outcomes = []
            if receiver.poll(SECONDS):
                with suppress(EOFError):  # it was killed
                    outcomes = [Outcome(*outcome) for outcome in receiver.recv()]
            process.join(SECONDS)
            assert process.exitcode is not None
            ended.append(Rank(process.exitcode, outcomes))
        return ended

    return train


@pytest.fixture
def make(store: TokenStore, with_finetuning: Callable[..., Experiment]) -> Make:
    def make_module(**settings: Any) -> FinetuningModule:
        experiment = with_finetuning(**settings)
        torch.manual_seed(0)
        s, frequencies = experiment.finetuning, torch.from_numpy(store.frequencies)
        encoder = build_encoder(experiment.model, frequencies, s.dropout, s.window)
        classifier = build_classifier(experiment.model, encoder, 2).double()
        module = FinetuningModule(classifier, experiment.finetuning, 0, {"classes": list(store.classes)})
        module.log = lambda *a, **k: None  # type: ignore[method-assign]
        module.log_dict = lambda *a, **k: None  # type: ignore[method-assign]
        return module.train()

    return make_module
