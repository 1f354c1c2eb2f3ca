"""Versions of what a run was made with, found without importing any of it."""

import platform
from importlib.metadata import version

import textadv


def versions() -> dict[str, str]:
    """Version numbers by name."""
    return {
        "textadv": textadv.__version__,
        "torch": version("torch"),
        "pytorch-lightning": version("pytorch-lightning"),
        "python": platform.python_version(),
    }
