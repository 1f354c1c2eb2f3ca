import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from textadv.system import openmp

ROOT = Path(__file__).parents[2]
# Runs the command line until it asks for torch, and prints what the environment holds then.
WATCH = """
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("GOMP_SPINCOUNT"), os.environ.get("OMP_WAIT_POLICY"), flush=True)
            os._exit(0)
sys.meta_path.insert(0, Watch())
from textadv import cli
cli.run(["predict", "--checkpoint", "none.ckpt", "--text", "a"])
"""


def _environment(**chosen: str) -> dict[str, str]:
    """That of the tests, with nothing chosen but what is given."""
    return {name: value for name, value in os.environ.items() if name not in openmp.CHOICES} | chosen


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"GOMP_SPINCOUNT": openmp.SPINS}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
        ({"KMP_BLOCKTIME": "0"}, {"KMP_BLOCKTIME": "0"}),
    ],
)
def test_spinning_is_bounded_unless_the_user_has_chosen(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], expected: dict[str, str]
) -> None:
    monkeypatch.setattr(openmp, "sys", SimpleNamespace(modules={}))
    monkeypatch.setattr(openmp.os, "environ", given)
    openmp.bound_spinning()
    assert given == expected


def test_nothing_is_set_once_torch_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    environment: dict[str, str] = {}
    monkeypatch.setattr(openmp, "sys", SimpleNamespace(modules={"torch": None}))
    monkeypatch.setattr(openmp.os, "environ", environment)
    openmp.bound_spinning()
    assert environment == {}


@pytest.mark.parametrize(
    ("given", "inside"),
    [
        ({"GOMP_SPINCOUNT": openmp.SPINS}, {}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
    ],
)
def test_the_default_is_back_inside_and_ours_after(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], inside: dict[str, str]
) -> None:
    environment = dict(given)
    monkeypatch.setattr(openmp.os, "environ", environment)
    with openmp.default_spinning():
        assert environment == inside
    assert environment == given


@pytest.mark.parametrize(
    ("chosen", "seen"),
    [
        ({}, f"{openmp.SPINS} None"),
        ({"GOMP_SPINCOUNT": "7"}, "7 None"),
        ({"OMP_WAIT_POLICY": "passive"}, "None passive"),
    ],
)
def test_the_command_line_bounds_it_before_it_loads_torch(chosen: dict[str, str], seen: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WATCH], cwd=ROOT, env=_environment(**chosen), capture_output=True, text=True
    )
    assert ended.stdout.strip() == seen, ended.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="torch has another OpenMP library there")
def test_the_openmp_library_of_torch_has_read_it(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "predict", "--checkpoint", "none.ckpt", "--text", "a"],
        cwd=tmp_path,
        env=_environment(OMP_DISPLAY_ENV="verbose"),
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2, ended.stderr
    assert re.findall(r"GOMP_SPINCOUNT = '(\d+)'", ended.stderr) == [openmp.SPINS]
