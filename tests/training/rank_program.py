"""What one rank of a test does: trains as it is told and reports. Run by its path in a process of its own.

Its globals are set by whoever runs it: `rank`, `ranks`, `port`, `jobs`, `report` and `fault`.
"""

import os
import signal
import warnings

if ranks > 1:  # noqa: F821
    os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}  # noqa: F821
warnings.simplefilter("error")

import torch  # noqa: E402

from textadv.errors import InputError, ProcessLostError, Stopped  # noqa: E402
from textadv.training import runs  # noqa: E402
from textadv.training.base import TrainingModule  # noqa: E402
from textadv.training.finetuning import FinetuningModule  # noqa: E402
from textadv.training.masked_pretraining import MaskedPretrainingModule  # noqa: E402
from textadv.training.pretraining import PretrainingModule  # noqa: E402

runs.LOG_EVERY = 1
logged: list[dict[str, float]] = []
log, log_dict = TrainingModule.log, TrainingModule.log_dict


def recording_log(module, name, value, **options):
    if name.startswith(("validation", "temperature")):
        logged.append({"step": module.global_step, name: float(value)})
    log(module, name, value, **options)


def recording_log_dict(module, values, **options):
    logged.append({"step": module.global_step} | {name: float(value) for name, value in values.items()})
    log_dict(module, values, **options)


def faulty(kind, place):
    """Let the fault happen in the given step of the given rank, or in the validation after it."""
    original = getattr(kind, place)

    def wrapped(module, batch, index):
        loss = original(module, batch, index)
        if (fault["rank"], fault["place"], fault["step"]) == (rank, place, module.global_step):  # noqa: F821
            act = fault["act"]  # noqa: F821
            if act == "nan":
                return loss * float("nan")
            if act == "input":
                raise InputError("no such thing")
            if not fault.pop("done", False):  # noqa: F821
                fault["done"] = True  # noqa: F821
                os.kill(os.getpid(), getattr(signal, act))
        return loss

    setattr(kind, place, wrapped)


TrainingModule.log, TrainingModule.log_dict = recording_log, recording_log_dict
if fault:  # noqa: F821
    for kind in (PretrainingModule, MaskedPretrainingModule, FinetuningModule):
        for place in ("training_step", "validation_step"):
            faulty(kind, place)

outcomes = []
code = 0
for name, kind, experiment, store, folder, resume in jobs:  # noqa: F821
    logged.clear()
    end = None
    try:
        arguments = [None] if kind == "finetune" else []
        getattr(runs, kind)(experiment, store, folder, *arguments, resume)
    except (InputError, ProcessLostError, Stopped) as error:
        end, code = f"{type(error).__name__}: {error}", getattr(error, "code", 1)
    outcomes.append((name, list(logged), end))
    if end:
        break
report.send(outcomes)  # noqa: F821
torch.set_default_dtype(torch.float32)
raise SystemExit(code)
