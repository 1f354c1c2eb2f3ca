"""`quickstart`: the whole method in minutes."""

import time
from dataclasses import asdict, replace
from typing import Any

from textadv.errors import InputError
from textadv.settings import Experiment, Method


def quickstart(experiment: Experiment, output: str | None = None) -> None:
    """Prepare, pretrain, fine-tune three ways, evaluate on test and print one table.

    Args:
        experiment: The settings; the method of fine-tuning is each of the three.
        output: Folder for everything the command writes; by default a new one under runs/.
    """
    from textadv.checkpoints import LAST, load_classifier
    from textadv.commands.folder import run_folder
    from textadv.commands.shared import prepared, require_language_model
    from textadv.evaluation.evaluate import evaluate_split
    from textadv.system.machine import device
    from textadv.system.processes import is_main
    from textadv.training import checks, runs
    from textadv.training.loggers import require_loggers

    require_language_model(experiment.model, "quickstart")
    require_loggers(experiment.trainer)
    rows: list[dict[str, Any]] = []
    plan: list[tuple[Method, bool]] = [("none", False), ("none", True), ("adversarial+vat", True)]
    experiment, store = prepared(experiment)
    if not len(store.splits["test"]):
        raise InputError("the corpus has no test split")
    checks.check_finetuning(replace(experiment, finetuning=replace(experiment.finetuning, method=plan[-1][0])), store)
    with run_folder("quickstart", output, asdict(experiment)) as (folder, metrics):
        metrics["pretraining"] = runs.pretrain(experiment, store, folder / "pretraining")
        for method, pretrained in plan:
            started = time.perf_counter()
            settings = replace(experiment, finetuning=replace(experiment.finetuning, method=method))
            own = folder / (method if pretrained else f"{method}-not-pretrained")
            encoder = folder / "pretraining" / LAST if pretrained else None
            figures = runs.finetune(settings, store, own, encoder)
            seconds = time.perf_counter() - started
            if not is_main():
                continue
            test = evaluate_split(load_classifier(own), store, "test", device(experiment.trainer))
            row = {"method": method, "pretrained": pretrained, "error": test.error, "seconds": seconds}
            rows.append(row | {name: figures[name] for name in ("labels", "labels_seen", "validation_error")})
        metrics["rows"] = rows
    if is_main():
        print(_table(rows))


def _table(rows: list[dict[str, Any]]) -> str:
    """The quickstart's table."""
    lines = [f"{'method':<16} {'pretrained':<10} {'labels':>6} {'test error':>10} {'seconds':>8}"]
    for row in rows:
        pretrained = "yes" if row["pretrained"] else "no"
        error = f"{row['error']:.2f} %"
        lines.append(f"{row['method']:<16} {pretrained:<10} {row['labels']:>6} {error:>10} {row['seconds']:>8.1f}")
    return "\n".join(lines)
