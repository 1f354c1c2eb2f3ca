"""Semi-supervised text classification by adversarial and virtual adversarial training.

What stands in `__all__` is the public API. It is imported when it is first asked for: `import textadv` loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:  # the same names, for editors and type checkers
    from textadv.adversarial.attacks import Attack, fgsm, iterative_fgsm, perturb, pgd, random_fgsm
    from textadv.adversarial.divergences import cross_entropy, kl_divergence, local_distributional_smoothness
    from textadv.adversarial.interpretable import interpretable_perturbation, nearest_words, word_directions
    from textadv.adversarial.losses import adversarial_loss, virtual_adversarial_loss
    from textadv.adversarial.norms import random_noise, steepest_step
    from textadv.adversarial.virtual import closed_form_direction, logit_gradients, power_iteration, virtual_direction
    from textadv.classifier import TextClassifier
    from textadv.errors import ArgumentError, InputError
    from textadv.evaluation.predictor import Prediction, Predictor
    from textadv.evaluation.text_attack import TextAttackModel
    from textadv.system.own_encoders import register_encoder

_MODULES = {
    "adversarial.attacks": ("Attack", "fgsm", "iterative_fgsm", "perturb", "pgd", "random_fgsm"),
    "adversarial.divergences": ("cross_entropy", "kl_divergence", "local_distributional_smoothness"),
    "adversarial.interpretable": ("interpretable_perturbation", "nearest_words", "word_directions"),
    "adversarial.losses": ("adversarial_loss", "virtual_adversarial_loss"),
    "adversarial.norms": ("random_noise", "steepest_step"),
    "adversarial.virtual": ("closed_form_direction", "logit_gradients", "power_iteration", "virtual_direction"),
    "classifier": ("TextClassifier",),
    "errors": ("ArgumentError", "InputError"),
    "evaluation.predictor": ("Prediction", "Predictor"),
    "evaluation.text_attack": ("TextAttackModel",),
    "system.own_encoders": ("register_encoder",),
}
_HOME = {name: f"textadv.{module}" for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name not in _HOME:
        raise AttributeError(f"module 'textadv' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """All public names."""
    return sorted([*globals(), *_HOME])
