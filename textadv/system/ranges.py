"""Which numbers the settings may take."""

from dataclasses import asdict, is_dataclass
from typing import Any

from textadv.errors import InputError
from textadv.settings import Experiment

AT_LEAST_ONE = {
    "model": ("embedding_size", "hidden_size", "head_size"),
    "pretraining": ("steps", "batch_size", "window", "validate_every"),
    "finetuning": (
        "num_steps",
        "num_restarts",
        "num_neighbours",
        "steps",
        "batch_size",
        "unlabeled_batch_size",
        "window",
        "validate_every",
        "patience",
    ),
    "trainer": ("devices", "num_nodes"),
}
LIMIT = 2**63  # torch takes no larger seed, and nothing else can be that large
SHARES = {"pretraining": ("dropout",), "finetuning": ("dropout", "ema_decay")}  # 0 <= value < 1


def check_nulls(settings: Any, prefix: str = "--") -> None:
    """Refuse a null, which the parser lets through in YAML, where the default is something.

    Args:
        settings: A dataclass of settings, or of dataclasses of settings.
        prefix: What the names of its flags begin with.

    Raises:
        InputError: Names the flag.
    """
    defaults = type(settings)()
    for name, value in vars(settings).items():
        default = getattr(defaults, name)
        if is_dataclass(default):
            check_nulls(value, f"{prefix}{name}.")
        elif value is None and default is not None:
            raise InputError(f"{prefix}{name}: must not be null")


def check(experiment: Experiment) -> None:
    """Refuse what cannot be meant: nulls, negative or not finite numbers, zeros where there must be something.

    Raises:
        InputError: Names the flag.
    """
    check_nulls(experiment)
    for section, settings in asdict(experiment).items():
        if not isinstance(settings, dict):
            settings, names = {section: settings}, {section: f"--{section}"}
        else:
            names = {name: f"--{section}.{name}" for name in settings}
        for name, value in settings.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            lowest = 1 if name in AT_LEAST_ONE.get(section, ()) else 0
            if not lowest <= value < LIMIT:
                raise InputError(f"{names[name]} {value}: must be a number of at least {lowest}, below 2^63")
            if name in SHARES.get(section, ()) and value >= 1:
                raise InputError(f"{names[name]} {value}: must be below 1")
    finetuning = experiment.finetuning
    both = finetuning.perturbs_labeled and finetuning.uses_vat
    if both and not finetuning.adversary_is_in_l2 and finetuning.vat_epsilon is None:
        flag = f"--finetuning.adversary {finetuning.adversary}"
        raise InputError(f"--finetuning.vat_epsilon: is needed beside {flag}, as vat is measured in l2")
    if finetuning.alpha is not None and finetuning.alpha > finetuning.epsilon:
        raise InputError(f"--finetuning.alpha {finetuning.alpha}: must be at most --finetuning.epsilon")
