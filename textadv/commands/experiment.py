"""`experiment`: a grid of settings, label budgets and seeds."""

import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from textadv.errors import InputError, Stopped

if TYPE_CHECKING:
    from textadv.corpus.datamodules import FinetuningData
    from textadv.corpus.store import TokenStore
    from textadv.experiments.measure import Predictor
    from textadv.experiments.plan import Plan, PlannedRun
    from textadv.experiments.results import Row


def experiment(config: str, output: str | None = None, resume: bool = False, final: bool = False) -> None:
    """Train a grid of settings, label budgets and seeds, and write means, differences and figures.

    Args:
        config: YAML file of the grid: base, settings, labels, seeds, pretrained, baseline.
        output: Folder for everything the command writes; by default a new one under runs/.
        resume: Go on with the run that was broken off in --output; finished ones are never repeated.
        final: Measure the finished runs on the test split too, which is not read otherwise.
    """
    from textadv.experiments.plan import read_plan
    from textadv.system import machine
    from textadv.system.locks import lock

    if resume and output is None:
        raise InputError("--resume: --output must name the folder of the experiment to go on with")
    plan = read_plan(Path(config))
    machine.prepare_machine()
    if output is None:
        _experiment(plan, None, resume, final)
        return
    with lock(Path(output) / ".lock", f"runs the experiment in {output}", wait=False) or nullcontext():
        _experiment(plan, output, resume, final)


def _experiment(plan: "Plan", output: str | None, resume: bool, final: bool) -> None:
    from textadv.commands.folder import run_folder
    from textadv.experiments.results import planned_rows, read_rows, require_unchanged
    from textadv.experiments.table import write_table

    rows: dict[str, Row] = {}
    if output is not None:
        rows = read_rows(Path(output))
        require_unchanged(plan, rows, Path(output))
        if not resume:
            _require_none_broken_off(plan, rows, Path(output))
    due = [run for run in plan.runs if run.name not in rows or (final and not rows[run.name]["test"])]
    stores = _checked(plan.file, due, rows, final)
    failed: dict[str, str] = {}
    settings = {"config": str(plan.file), "runs": {run.name: asdict(run.experiment) for run in plan.runs}}
    with run_folder("experiment", output, settings) as (folder, metrics):
        command = f"textadv experiment --config {plan.file} --output {folder}"
        for number, (run, store) in enumerate(zip(due, stores, strict=True), 1):
            print(f"run {number} of {len(due)}: {run.name}", file=sys.stderr)
            try:
                _finish(run, store, folder, rows, f"{command} --final" if final else None)
            except InputError as error:
                failed[run.name] = str(error)
                print(f"textadv: {run.name} has failed: {error}", file=sys.stderr)
            except Stopped as stop:
                print(f"textadv: {'' if stop.told else f'{stop}; '}`{command} --resume` goes on", file=sys.stderr)
                stop.told = True
                raise
        done = planned_rows(plan, rows)
        print(write_table(plan, done, failed, folder), end="")
        metrics |= {"runs": len(plan.runs), "finished": len(done), "failed": failed}
    if failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise InputError(f"{len(failed)} of {len(plan.runs)} runs have failed: {reasons}")


def _require_none_broken_off(plan: "Plan", rows: dict[str, "Row"], folder: Path) -> None:
    """See to it that no checkpoint is overwritten by a run that starts anew.

    Raises:
        InputError: A run was broken off.
    """
    from textadv.checkpoints import newest_intact

    for run in plan.runs:
        own = folder / "runs" / run.name
        if run.name not in rows and newest_intact(own)[0] is not None:
            raise InputError(f"{own}: was broken off: --resume goes on with it")


def _checked(file: Path, due: "list[PlannedRun]", rows: dict[str, "Row"], final: bool) -> "list[TokenStore]":
    """The corpus of each run, which is prepared here; all that can be known to stop a run later is refused.

    Raises:
        InputError: A setting does not fit the corpus or this machine.
    """
    from textadv.checkpoints import resolve_checkpoint
    from textadv.commands.pretrained import CONTINUED
    from textadv.commands.shared import prepared
    from textadv.experiments.tfidf import require_library
    from textadv.system import machine
    from textadv.training import checks
    from textadv.training.loggers import require_loggers

    opened: dict[str, TokenStore] = {}
    stores: list[TokenStore] = []
    for run in due:
        try:
            machine.device(run.experiment.trainer)
            if run.contender == "tfidf":
                require_library()
            require_loggers(run.experiment.trainer)
            checks.check_encoder(run.experiment, None if run.pretrained is None else str(run.pretrained))
            shared = run.shared
            data = replace(shared.data, labels_per_class=None, validation_labels=None)
            key = repr((data, shared.tokenizer, shared.model.pretrained))
            if key not in opened:
                _, opened[key] = prepared(run.shared)
            store = opened[key]
            if final and not len(store.splits["test"]):
                raise InputError("the corpus has no test split")
            checks.check_finetuning(run.experiment, store)
            if run.name not in rows and run.pretrained not in (None, "none", CONTINUED):
                resolve_checkpoint(Path(str(run.pretrained)))
        except InputError as error:
            raise InputError(f"{file}: {run.name}: {error}") from None
        stores.append(store)
    return stores


def _finish(run: "PlannedRun", store: "TokenStore", folder: Path, rows: dict[str, "Row"], reader: str | None) -> None:
    """Train a run that is not finished; read the test split if that is asked for. Its row is on the disk afterwards.

    Args:
        run: The run.
        store: Its corpus.
        folder: Of the experiment.
        rows: Of all finished runs, to which its own is added.
        reader: The command that reads the test split; None for none.
    """
    from textadv.checkpoints import BEST, LAST, PREVIOUS
    from textadv.corpus.datamodules import FinetuningData
    from textadv.experiments.measure import machine_name, quality
    from textadv.experiments.results import settings_of, write_rows
    from textadv.system.durable import remove_file
    from textadv.system.machine import device
    from textadv.system.versions import versions

    own = folder / "runs" / run.name
    experiment = run.experiment
    data = FinetuningData(store, experiment.data, experiment.finetuning, experiment.seed)
    if run.name not in rows:
        figures = _train(run, store, own)
        if data.num_validation and run.contender != "tfidf" and not (own / BEST).is_file():
            raise InputError(f"{own / BEST}: is gone, and no steps are left: remove {own} to train it anew")
        # The whole split, also where only some labels select: the others are then held out.
        validation = quality(_predictor(run, data, own), store.splits["validation"], "evaluating on validation")
        selecting = data.num_validation
        rows[run.name] = {
            "run": run.name,
            "setting": run.setting,
            "budget": run.budget,
            "seeds": run.seeds,
            "labels": {"train": data.num_labeled, "validation": selecting, "total": data.num_labeled + selecting},
            "validation": validation,
            "test": None,
            **figures,
            "finished": time.strftime("%Y-%m-%d %H:%M:%S"),
            "machine": machine_name(device(experiment.trainer)),
            "versions": versions(),
            "settings": settings_of(run),
        }
        write_rows(folder, rows)
        if (own / BEST).is_file():  # of a finished run, no other checkpoint is read again
            remove_file(own / LAST)
            remove_file(own / PREVIOUS)
    if reader is not None:
        test = quality(_predictor(run, data, own), store.splits["test"], "evaluating on test")
        assert test is not None  # a test split without labels is refused when it is prepared
        rows[run.name]["test"] = test | {"read_on": time.strftime("%Y-%m-%d"), "read_by": reader}
        write_rows(folder, rows)


def _train(run: "PlannedRun", store: "TokenStore", own: Path) -> dict[str, float | bool | None]:
    """Train, or go on where the run was broken off; steps, seconds and speed for the row."""
    from textadv import precision
    from textadv.checkpoints import model_card, newest_intact, require_same_run
    from textadv.commands.folder import CONFIG
    from textadv.commands.pretrained import pretrained_encoder
    from textadv.commands.shared import prepared, resume_point
    from textadv.system.durable import replace_text, writing
    from textadv.training import runs

    # The corpus is that of all seeds: with the store as its source, `data.seed` chooses the labels only.
    data = replace(run.experiment.data, source=str(store.path), train=None, unlabeled=None, validation=None, test=None)
    experiment, store = prepared(replace(run.experiment, data=data))
    last, card = resume_point(own, newest_intact(own)[0] is not None)
    if last is not None:
        require_same_run(card, model_card("classifier", experiment, store))
    with writing(own):
        own.mkdir(parents=True, exist_ok=True)
        replace_text(own / CONFIG, yaml.safe_dump(asdict(experiment), sort_keys=False))
    if run.contender == "tfidf":
        return {"steps": 0, "seconds": None, "tokens_per_second": None}
    precision.allow_tf32(experiment.trainer.tf32)
    encoder = None
    if last is None:
        shared = replace(run.shared, tokenizer=experiment.tokenizer)
        encoder = pretrained_encoder(shared, store, None if run.pretrained is None else str(run.pretrained))
    figures = runs.finetune(experiment, store, own, encoder, last)
    # Of a run that went on, only the time since then is known.
    seconds = figures["seconds"] if last is None else None
    speed = figures["tokens_per_second"] or None  # where no step was left
    return {"steps": figures["steps"], "seconds": seconds, "tokens_per_second": speed}


def _predictor(run: "PlannedRun", data: "FinetuningData", own: Path) -> "Predictor":
    """What classifies: the checkpoint of the run, or a contender, which is fitted anew each time."""
    from textadv.checkpoints import load_classifier
    from textadv.evaluation.evaluate import class_probabilities
    from textadv.experiments.tfidf import tfidf_predictor
    from textadv.system.machine import device

    if run.contender == "tfidf":
        return tfidf_predictor(data.labeled)
    loaded, place = load_classifier(own), device(run.experiment.trainer)
    return lambda split, description: class_probabilities(
        loaded.classifier, split, place, description, loaded.temperature
    )
