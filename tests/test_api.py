"""What `import textadv` gives, and the programs that show it."""

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import textadv

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", textadv.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(textadv, name).__doc__
    assert name in dir(textadv)


def test_type_checkers_see_the_public_names() -> None:
    statements = ast.walk(ast.parse(Path(textadv.__file__).read_text(encoding="utf-8")))
    imports = {
        alias.name: one.module
        for one in statements
        if isinstance(one, ast.ImportFrom) and one.module and one.module.startswith("textadv.")
        for alias in one.names
    }
    assert imports == textadv._HOME


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = textadv.nothing


def test_the_import_loads_nothing_slow() -> None:
    code = "import sys, textadv; print(sorted({'torch', 'numpy', 'pytorch_lightning'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout == "[]\n"


def test_the_import_takes_no_time() -> None:
    """The quickest of three, as the machine may be busy: some milliseconds on an idle one."""
    microseconds = []
    for _ in range(3):
        command = [sys.executable, "-X", "importtime", "-c", "import textadv"]
        told = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stderr
        microseconds.append(int(told.splitlines()[-1].split("|")[1]))  # cumulative, of the last import: ours
    assert told.endswith("| textadv\n")
    assert min(microseconds) < 200_000


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_an_example_runs(example: Path, tmp_path: Path) -> None:
    stand_ins = [] if find_spec("textattack") else [ROOT / "tests" / "stand_ins"]
    environment = {"PYTHONPATH": ":".join(map(str, [ROOT, *stand_ins])), "PATH": "", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-W", "error", example], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout
