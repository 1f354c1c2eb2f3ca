"""Which module of the package may import which, read from the syntax trees: nothing is imported to find out."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

SHARED = {"settings", "errors", "system"}
LAYER_0 = {"adversarial", "models", "draws", "precision"}
LAYER_1 = LAYER_0 | SHARED | {"corpus"}
LAYERS_BELOW_2 = LAYER_1 | {"attack_names", "checkpoints", "scoring"}
LAYER_2 = LAYERS_BELOW_2 | {"training", "evaluation"}
LAYER_3 = LAYER_2 | {"benchmark", "demo", "experiments", "export", "presets"}
# Module of textadv at the top level -> those that it may import. Nobody imports `cli`: that is for train.py.
ALLOWED: dict[str, set[str]] = {
    "__init__": {"adversarial", "evaluation", "classifier", "errors", "system"},
    **dict.fromkeys(SHARED, SHARED),
    "draws": set(),
    "precision": set(),
    "adversarial": {"adversarial", "draws", "precision"},
    "models": {"models", "draws", "precision"},
    "corpus": LAYER_1,
    "attack_names": LAYER_0 | SHARED,
    "scoring": set(),
    "checkpoints": LAYERS_BELOW_2,
    "training": LAYERS_BELOW_2 | {"training"},
    "evaluation": LAYERS_BELOW_2 | {"evaluation"},
    "benchmark": LAYER_2 | {"benchmark"},
    "demo": LAYER_2 | {"demo"},
    "experiments": LAYER_2 | {"experiments"},
    "export": LAYER_2 | {"export"},
    "presets": SHARED,
    "commands": LAYER_3 | {"commands"},
    "keywords": LAYER_3,
    "classifier": LAYER_3 | {"commands", "keywords"},
    "cli": LAYER_3 | {"commands"},
}
# No file, no configuration, no other framework: all that layer 0 may import besides its own package.
LAYER_0_LIBRARIES = {"torch", "abc", "math", "collections", "typing", "dataclasses", "functools", "itertools"}
LAYER_0_LIBRARIES |= {"contextlib"}
SLOW_TO_IMPORT = {"torch", "lightning", "pytorch_lightning", "numpy", "pyarrow", "datasets", "tokenizers", "matplotlib"}
SLOW_TO_IMPORT |= {"onnx", "onnxruntime", "onnxscript", "sklearn", "transformers"}


def _modules() -> dict[str, str]:
    """Source of every module of the package by dotted name, packages as `textadv.package.__init__`."""
    files = sorted((ROOT / "textadv").rglob("*.py"))
    return {".".join(file.relative_to(ROOT).with_suffix("").parts): file.read_text(encoding="utf-8") for file in files}


def _imports(module: str, nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Dotted names that the import statements among the nodes name, relative ones resolved."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*package, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _all_imports(module: str, source: str) -> set[str]:
    return set(_imports(module, ast.walk(ast.parse(source))))


def _executed_on_import(node: ast.AST) -> Iterator[ast.AST]:
    """The node's descendants outside of functions and of `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            continue
        yield child
        yield from _executed_on_import(child)


def _top_level(name: str) -> str | None:
    """The module at the top level that a dotted name is in; None for textadv itself and what its `__init__` defines."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ALLOWED and parts[1] != "__init__" else None


def _violations(module: str, source: str) -> list[str]:
    top = module.split(".")[1]
    if top not in ALLOWED:
        return [f"{module}: {top} has no layer"]
    found = []
    for name in sorted(_all_imports(module, source)):
        library = name.split(".")[0]
        if library == "textadv":
            target = _top_level(name)
            if target is not None and target not in ALLOWED[top]:
                found.append(f"{module} imports {name}")
        elif top in LAYER_0 and library not in LAYER_0_LIBRARIES:
            found.append(f"{module} imports {name}")
    return found


def _slow_imports(start: str, modules: dict[str, str]) -> list[str]:
    """Chains from the module to a slow library through imports that run when it is imported."""
    found, pending, seen = [], [(start, start)], {start}
    while pending:
        module, chain = pending.pop()
        for name in _imports(module, _executed_on_import(ast.parse(modules[module]))):
            if name.split(".")[0] in SLOW_TO_IMPORT:
                found.append(f"{chain} > {name}")
            parts = name.split(".")
            prefixes = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
            for candidate in (c for prefix in prefixes for c in (prefix, f"{prefix}.__init__")):
                if candidate in modules and candidate not in seen:
                    seen.add(candidate)
                    pending.append((candidate, f"{chain} > {candidate}"))
    return found


MODULES = _modules()


def test_the_whole_package_is_read() -> None:
    assert {module.split(".")[1] for module in MODULES} == set(ALLOWED)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_its_layer_and_below(module: str) -> None:
    assert _violations(module, MODULES[module]) == []


def test_the_command_line_starts_without_slow_libraries() -> None:
    assert _slow_imports("textadv.cli", MODULES) == []


def test_train_py_only_starts_the_command_line() -> None:
    imported = _all_imports("train", (ROOT / "train.py").read_text(encoding="utf-8"))
    assert {name for name in imported if name.startswith("textadv")} == {"textadv.cli.main"}
    assert not {name.split(".")[0] for name in imported} & SLOW_TO_IMPORT


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("textadv.adversarial.norms", "import numpy"),
        ("textadv.adversarial.norms", "from pathlib import Path"),
        ("textadv.adversarial.norms", "from textadv.settings import FinetuningSettings"),
        ("textadv.adversarial.norms", "from textadv.models.classifier import Classifier"),
        ("textadv.adversarial.norms", "from ..models import classifier"),
        ("textadv.models.encoders", "def f():\n    from textadv.adversarial import norms"),
        ("textadv.models.encoders", "import torch, pytorch_lightning"),
        ("textadv.corpus.store", "from textadv import training"),
        ("textadv.corpus.__init__", "from ..evaluation import report"),
        ("textadv.settings", "import textadv.corpus.store"),
        ("textadv.checkpoints", "from textadv.training.finetuning import Finetuning"),
        ("textadv.training.finetuning", "from textadv.evaluation.report import report"),
        ("textadv.evaluation.report", "from textadv.training import callbacks"),
        ("textadv.evaluation.report", "if True:\n    from textadv.cli import main"),
        ("textadv.commands.predict", "from textadv.cli import main"),
        ("textadv.newcomer", ""),
    ],
)
def test_a_violation_is_found(module: str, source: str) -> None:
    assert _violations(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("textadv.adversarial.norms", "import torch.nn.functional as F\nfrom collections.abc import Callable"),
        ("textadv.adversarial.virtual", "from textadv.adversarial.norms import l2_norm\nfrom . import norms"),
        ("textadv.corpus.store", "import numpy\nfrom textadv import __version__, errors"),
        ("textadv.commands.finetune", "from textadv.training import finetuning"),
        ("textadv.cli", "def run():\n    from textadv import commands"),
    ],
)
def test_what_is_allowed_is_not_called_a_violation(module: str, source: str) -> None:
    assert _violations(module, source) == []


@pytest.mark.parametrize(
    ("source", "slow"),
    [
        ("import numpy as np", True),
        ("try:\n    from torch import nn\nexcept ImportError:\n    pass", True),
        ("class A:\n    import pyarrow", True),
        ("from textadv.corpus import store", True),
        ("from textadv.corpus.rows import Rows", True),
        ("from textadv import errors", False),
        ("def f():\n    import torch", False),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch", False),
    ],
)
def test_a_slow_import_of_the_command_line_is_found(source: str, slow: bool) -> None:
    modules = {
        "textadv.cli": source,
        "textadv.__init__": "",
        "textadv.errors": "",
        "textadv.corpus.__init__": "",
        "textadv.corpus.store": "import numpy",
        "textadv.corpus.rows": "from .store import Split",
    }
    assert bool(_slow_imports("textadv.cli", modules)) is slow
