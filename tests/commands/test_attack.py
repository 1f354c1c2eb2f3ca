from pathlib import Path

import pytest
from command_line import Run, metrics, refused

from textadv.settings import AttackSettings


def test_attack(run: Run, corpus: list[str], config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("f", "g"):
        run(
            "finetune",
            "--config",
            config,
            "--pretrained",
            "none",
            "--output",
            tmp_path / name,
            "--seed",
            len(name),
            *corpus,
        )
    capsys.readouterr()
    flags = ["--checkpoint", tmp_path / "f", "--output", tmp_path / "a", "--attack.l2_epsilons", "[0.5, 50]"]
    flags += [
        "--attack.attacks",
        "[noise-l2, fgsm-l2, pgd-linf-least_likely, interpretable-l2-sad]",
        "--attack.documents",
        "7",
    ]
    run("attack", *flags, "--source-checkpoint", tmp_path / "g")
    result = metrics(tmp_path / "a")
    assert result["documents"] == 7
    for rows in (result["attacks"], result["transfer"]):
        assert [row["attack"] for row in rows] == [
            "noise-l2",
            "fgsm-l2",
            "pgd-linf-least_likely",
            "interpretable-l2-sad",
        ]  # type: ignore[attr-defined]
        sizes = [2, 2, len(AttackSettings().linf_epsilons), 2]
        assert [len(row["accuracy"]) for row in rows] == sizes  # type: ignore[attr-defined]
        assert all(0 <= accuracy <= 1 for row in rows for accuracy in row["accuracy"])  # type: ignore[attr-defined]
    assert len(result["words"]["accuracy"]) == 3  # type: ignore[index]
    share = result["words"]["exchangeable"]  # type: ignore[index]
    assert 0 < share < 1
    assert f"{100 * share:.1f} % of the words can be" in (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    for example in result["words"]["examples"]:  # type: ignore[index]
        assert len(example["before"]) == len(example["after"])
        assert example["label"] in ("happy", "sad")
    page = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert "Accuracy of f, transferred attacks" in page
    assert sorted(file.name for file in (tmp_path / "a" / "figures").glob("accuracy*.json")) == [
        "accuracy_l2.json",
        "accuracy_linf.json",
    ]
    printed = capsys.readouterr().out.splitlines()
    assert [line[:4] for line in printed].count("pass") + [line[:4] for line in printed].count("warn") == 8

    run(
        "attack",
        "--checkpoint",
        tmp_path / "f",
        "--output",
        tmp_path / "b",
        "--attack.documents",
        "7",
        "--split",
        "validation",
    )
    assert metrics(tmp_path / "b")["transfer"] == []


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("attacks", "[magic-l2]"),
        ("l2_epsilons", "[2, 1]"),
        ("linf_epsilons", "[0]"),
        ("word_budgets", "[0.1, 1.5]"),
        ("word_budgets", "[]"),
        ("documents", "0"),
        ("num_steps", "-1"),
        ("l2_epsilons", "[-1, 2]"),
        ("l2_epsilons", "[1, .inf]"),
        ("linf_epsilons", "[.nan]"),
        ("minimum_similarity", ".nan"),
        ("seed", "-1"),
        ("attacks", "[fgsm-l2-angry]"),
    ],
)
def test_attack_refuses(
    run: Run, corpus: list[str], config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str, value: str
) -> None:
    short = ["--finetuning.steps", "1", "--finetuning.method", "none"]
    run("finetune", "--config", config, "--pretrained", "none", "--output", tmp_path / "f", *short, *corpus)
    line = refused(run, capsys, "attack", "--checkpoint", tmp_path / "f", f"--attack.{flag}", value)
    assert f"--attack.{flag}" in line
