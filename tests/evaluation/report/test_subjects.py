from pathlib import Path
from typing import Any

import pytest

from textadv.evaluation.report.subjects import Subject, distinct_names, training_curves


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["runs/a", "runs/b/best.ckpt", "runs/b/last.ckpt"], ["a", "b", "b/last"]),
        (["one/a", "two/a"], ["one/a", "two/a"]),
        (["runs/v1.5"], ["v1.5"]),
        (["runs/a", "runs/a"], ["runs/a (1)", "runs/a (2)"]),
    ],
)
def test_names_are_short_and_all_different(paths: list[str], names: list[str]) -> None:
    assert distinct_names([Path(path) for path in paths]) == names


def test_curves_hold_the_numbers_that_are_there(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    file.write_text("epoch,loss,lds,step,validation_error\n0,0.75,,19,\n0,nan,,39,\n0,,,40,12.5\n0,0.5,x,59,\n")
    assert training_curves(file) == {"loss": ([19, 59], [0.75, 0.5]), "validation_error": ([40], [12.5])}


@pytest.mark.parametrize("content", [None, b"", b"loss\n1\n", b"\xff\xfe\x00"])
def test_what_is_no_file_of_curves_has_none(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "metrics.csv"
    if content is not None:
        file.write_bytes(content)
    assert training_curves(file) == {}


@pytest.mark.parametrize(
    ("tuning", "epsilon"),
    [
        ({"method": "adversarial+vat", "epsilon": 3, "adversary": "fgsm-l2"}, 3.0),
        ({"method": "adversarial+vat", "epsilon": 3, "adversary": "fgsm-l2", "vat_epsilon": None}, 3.0),
        ({"method": "adversarial+vat", "epsilon": 3, "adversary": "fgsm-l2", "vat_epsilon": 2.0}, 2.0),
        ({"method": "adversarial+vat", "epsilon": 0.02, "adversary": "pgd-linf", "vat_epsilon": 2.0}, 2.0),
        ({"method": "adversarial", "epsilon": 3, "adversary": "fgsm-l2", "vat_epsilon": 2.0}, 3.0),
        ({"method": "adversarial", "epsilon": 0.02, "adversary": "pgd-linf", "vat_epsilon": 2.0}, 5.0),
        ({"method": "vat", "epsilon": 3, "adversary": "pgd-linf", "vat_epsilon": None}, 3.0),
    ],
)
def test_a_subject_has_a_name_and_a_size_in_l2(tmp_path: Path, tuning: dict[str, Any], epsilon: float) -> None:
    (tmp_path / "last.ckpt").touch()
    subject = Subject.of(tmp_path, {"settings": {"finetuning": tuning}})
    assert (subject.name, subject.checkpoint) == (tmp_path.name, str(tmp_path / "last.ckpt"))
    assert subject.epsilon == epsilon
