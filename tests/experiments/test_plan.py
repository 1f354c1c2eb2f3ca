from pathlib import Path

import pytest

from textadv.errors import InputError
from textadv.experiments.plan import read_plan

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "experiments").glob("*.yaml"))
GRID = """
base: {data: {source: builtin, seed: 7}, seed: 5, finetuning: {steps: 3}}
settings:
  none: {finetuning.method: none}
  large: {finetuning: {epsilon: 9}, pretrained: none}
baseline: none
labels: [{data.labels_per_class: 10}, {data.labels_per_class: 50, finetuning.steps: 4}]
seeds: [{seed: 0}, {seed: 1, data.seed: 2, pretrained: lm.ckpt}]
"""


def write(folder: Path, content: str) -> Path:
    path = folder / "grid.yaml"
    path.write_text(content, encoding="utf-8")
    return path


def test_the_grid_is_settings_times_labels_times_seeds(tmp_path: Path) -> None:
    plan = read_plan(write(tmp_path, GRID))
    assert plan.settings == ["none", "large"]
    assert plan.baseline == "none"
    found = [
        (
            run.setting,
            run.experiment.data.labels_per_class,
            run.experiment.finetuning.steps,
            run.experiment.seed,
            run.experiment.data.seed,
            run.pretrained,
        )
        for run in plan.runs
    ]
    assert found == [
        ("none", 10, 3, 0, 7, None),
        ("none", 10, 3, 1, 2, "lm.ckpt"),
        ("none", 50, 4, 0, 7, None),
        ("none", 50, 4, 1, 2, "lm.ckpt"),
        ("large", 10, 3, 0, 7, "none"),
        ("large", 10, 3, 1, 2, "lm.ckpt"),
        ("large", 50, 4, 0, 7, "none"),
        ("large", 50, 4, 1, 2, "lm.ckpt"),
    ]
    assert {run.experiment.finetuning.method for run in plan.runs if run.setting == "none"} == {"none"}
    assert {run.experiment.finetuning.epsilon for run in plan.runs if run.setting == "large"} == {9.0}
    assert {(run.shared.seed, run.shared.data.seed) for run in plan.runs} == {(5, 7)}  # whatever `seeds` says
    assert len({run.name for run in plan.runs}) == 8
    swapped = "data.seed: 2, pretrained: lm.ckpt, seed: 1"
    reordered = GRID.replace("seed: 1, data.seed: 2, pretrained: lm.ckpt", swapped)
    again = read_plan(write(tmp_path, reordered)).runs
    assert [(run.name, str(run.seeds)) for run in again] == [(run.name, str(run.seeds)) for run in plan.runs]
    assert plan.runs[1].seeds == {"seed": 1, "data.seed": 2, "pretrained": "lm.ckpt"}  # numbers, not their text
    assert plan.runs[2].budget == {"data.labels_per_class": 50, "finetuning.steps": 4}


def test_many_overrides_make_names_that_a_file_system_takes(tmp_path: Path) -> None:
    many = "finetuning.steps: 4, finetuning.batch_size: 8, finetuning.validate_every: 4, finetuning.balance_weight: 0.5"
    many += ", finetuning.pseudo_label_weight: 0.5, finetuning.learning_rate: 0.001, data.validation_labels: 4"
    content = f"base: {{}}\nsettings: {{none: {{}}}}\nlabels:\n  - {{{many}, pretrained: {'ü' * 60}1}}\n"
    content += f"  - {{{many}, pretrained: {'ü' * 60}2}}\n"
    names = [run.name for run in read_plan(write(tmp_path, content)).runs]
    assert len(set(names)) == 2
    for name in names:
        (tmp_path / name).mkdir()
        assert name.startswith("none,data.validation_labels=4,finetuning.balance_weight=0.5,")


def test_the_base_may_be_a_config_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "base.yaml").write_text("data: {source: builtin}\nfinetuning: {epsilon: 2}", encoding="utf-8")
    path = write(tmp_path / "configs", "base: ../base.yaml\nsettings: {a: {finetuning.steps: 3}}")
    (run,) = read_plan(path).runs
    assert (run.experiment.finetuning.epsilon, run.experiment.finetuning.steps) == (2, 3)
    assert (run.experiment.data.source, run.name) == ("builtin", "a")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_configs_are_plans(path: Path) -> None:
    plan = read_plan(path)
    assert plan.baseline in {run.setting for run in plan.runs}
    assert len(path.read_text(encoding="utf-8").splitlines()) < 50
    data = plan.runs[0].experiment.data
    assert data.source or data.train


def test_tfidf_needs_no_unlabeled_text(tmp_path: Path) -> None:
    (run,) = read_plan(write(tmp_path, "base: {}\nsettings: {tfidf: {contender: tfidf}}")).runs
    assert run.contender == "tfidf"
    assert not run.experiment.finetuning.uses_unlabeled


BASE = "base: {data: {source: builtin}}\n"
ONE = BASE + "settings: {a: {}}\n"


@pytest.mark.parametrize(
    ("content", "culprit"),
    [
        ("", "must hold keys"),
        ("[1]", "must hold keys"),
        ("base: {", "not valid YAML"),
        ("bass: {}\nsettings: {a: {}}", "bass"),
        ("settings: {a: {}}", "base"),
        ("base: missing.yaml\nsettings: {a: {}}", "missing.yaml"),
        ("base: {finetuning: {epsilom: 3}}\nsettings: {a: {}}", "base: finetuning.epsilom"),
        ("base: {finetuning: {steps: 3}, finetuning.steps: 4}\nsettings: {a: {}}", "base: finetuning.steps: is given"),
        (BASE, "settings"),
        (BASE + "settings: []", "settings"),
        (BASE + "settings: {a: }", "settings.a"),
        (BASE + "settings: {a: {epsilon: 3}}", "settings.a: epsilon"),
        (BASE + "settings: {a: {finetuning: 3}}", "settings.a: finetuning"),
        (BASE + "settings: {../a: {}}", "'../a'"),
        (BASE + "settings: {null: {}}", "'None'"),
        (BASE + "settings: {a: {finetuning.steps: 0}}", "finetuning.steps 0: must be at least 1"),
        (BASE + "settings: {a: {finetuning.steps: many}}", '"finetuning.steps"'),
        (BASE + "settings: {a: {finetuning.method: magic}}", '"finetuning.method"'),
        (BASE + "settings: {a: {contender: bert}}", "contender"),
        (BASE + "settings: {a: {trainer.devices: 2}}", "trainer.devices"),
        (ONE + "baseline: b", "baseline: 'b'"),
        (ONE + "baseline: [a]", "baseline: '['a']' is none of the settings a"),
        (ONE + "baseline: {a: 1}", "baseline: "),
        (ONE + "labels: 10", "labels"),
        (ONE + "labels: []", "labels"),
        (ONE + "labels: [10]", "labels"),
        (ONE + "labels: [{data.label_per_class: 10}]", "labels: data.label_per_class"),
        (ONE + "labels: [{contender: tfidf}]", "labels: contender"),
        (ONE + "seeds: [{seed: -1}]", "seed -1"),
        (ONE + "seeds: [{seed: 1}, {seed: 1}]", "two runs are the same: a,seed=1"),
        (ONE + "seeds: [&one {seed: 1}, *one]", "aliases"),
        (f"base: {'[' * 50}1{']' * 50}\nsettings: {{a: {{}}}}", "not valid YAML: nested more than 50 levels deep"),
        (f"base: {'[' * 49}1{']' * 49}\nsettings: {{a: {{}}}}", "base: must hold settings by their names"),
        (BASE + f"settings: {'{a: ' * 2000}1{'}' * 2000}", "not valid YAML: nested more than 50 levels deep"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_file_and_key(tmp_path: Path, content: str, culprit: str) -> None:
    with pytest.raises(InputError) as refused:
        read_plan(write(tmp_path, content))
    line = str(refused.value)
    assert line.startswith((str(tmp_path / "grid.yaml"), str(tmp_path / "missing.yaml")))
    assert culprit in line
    assert "\n" not in line


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_plan(tmp_path / "grid.yaml")
