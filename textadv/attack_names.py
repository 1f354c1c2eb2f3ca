"""Names of attacks, as users write them: `fgsm-l2`, `pgd-linf-least_likely`, `ifgsm-l2-neg`."""

from collections.abc import Sequence
from typing import Any, cast, get_args

from textadv.adversarial.attacks import LEAST_LIKELY, Attack, Kind, Target
from textadv.adversarial.norms import Norm
from textadv.errors import InputError


def parse_attack(name: str, classes: Sequence[str], flag: str, **options: Any) -> Attack:
    """Read the name of an attack.

    Args:
        name: Kind, norm and, where the attack has one, its target, joined by hyphens.
        classes: Names of the classes.
        flag: What gave the name.
        options: Further attributes of the attack.

    Returns:
        The attack.

    Raises:
        InputError: There is no such attack.
    """
    flag = f"{flag} {name}"
    kind, _, rest = name.partition("-")
    norm, _, wanted = rest.partition("-")
    if kind not in get_args(Kind) or norm not in get_args(Norm):
        kinds, norms = ", ".join(get_args(Kind)), ", ".join(get_args(Norm))
        raise InputError(
            f"{flag}: an attack is one of {kinds}, a norm ({norms}) and perhaps a target ({LEAST_LIKELY} or a class), "
            f"such as fgsm-l2 or pgd-linf-{LEAST_LIKELY}"
        )
    if wanted and kind == "noise":
        raise InputError(f"{flag}: noise has no target")
    if kind == "interpretable" and norm != "l2":
        raise InputError(f"{flag}: interpretable perturbations are measured in l2")
    if wanted and wanted not in (LEAST_LIKELY, *classes):
        raise InputError(f"{flag}: no class '{wanted}'; a target is {LEAST_LIKELY} or one of {', '.join(classes)}")
    target: Target | None = None
    if wanted:
        target = LEAST_LIKELY if wanted == LEAST_LIKELY else classes.index(wanted)
    return Attack(cast(Kind, kind), cast(Norm, norm), target, **options)
