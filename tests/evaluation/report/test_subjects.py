from pathlib import Path

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


@pytest.mark.parametrize(("content", "run"), [(None, {}), ('{"labels": 3}', {"labels": 3}), ("[1]", {}), ("{", {})])
def test_a_subject_knows_its_run(tmp_path: Path, content: str | None, run: dict[str, int]) -> None:
    (tmp_path / "last.ckpt").touch()
    if content is not None:
        (tmp_path / "metrics.json").write_text(content)
    card = {"settings": {"finetuning": {"epsilon": 5}}}
    subject = Subject.of(tmp_path, card)
    assert (subject.name, subject.checkpoint) == (tmp_path.name, str(tmp_path / "last.ckpt"))
    assert (subject.run, subject.epsilon) == (run, 5.0)
