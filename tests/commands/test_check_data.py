"""`check-data`: every defect is found and counted, a clean corpus has none, and the screen is enough."""

import csv
import json
import random
import shlex
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import Run, refused

from textadv.commands.check_data import WIDTH, check_corpus
from textadv.corpus.store import MANIFEST, SPLITS, TOKENIZER
from textadv.settings import DataSettings, TokenizerSettings, TrainerSettings
from textadv.training import estimates
from textadv.training.runs import build_trainer

WORDS = [f"{first}{second}" for first in "bcdfghklmnprst" for second in ("ad", "el", "im", "on", "ur")]


def text(seed: int, length: int = 30) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def changed(seed: int) -> str:
    """A text but for its last word."""
    return f"{text(seed).rpartition(' ')[0]} {WORDS[0]}"


CLEAN = [(text(seed), ("a", "b", "c")[seed % 3]) for seed in range(300)]
HELD_OUT = [(text(1000 + seed), ("a", "b", "c")[seed % 3]) for seed in range(60)]


def write(path: Path, rows: list[tuple[str, ...]], tail: bytes = b"") -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("text", "label"), *rows])
    path.write_bytes(path.read_bytes() + tail)
    return str(path)


def checked(data: DataSettings, **tokenizer: Any) -> dict[str, Any]:
    return {check.name: check for check in check_corpus(data, TokenizerSettings(**tokenizer))}


@pytest.fixture
def clean(tmp_path: Path) -> DataSettings:
    return DataSettings(
        train=write(tmp_path / "train.csv", CLEAN),
        unlabeled=write(tmp_path / "raw.csv", [(text(seed), "") for seed in range(2000, 2100)]),
        test=write(tmp_path / "test.csv", HELD_OUT),
    )


@pytest.fixture
def broken(tmp_path: Path) -> DataSettings:
    """One instance of every defect; the lines of train.csv that follow the clean ones are 302 and so on."""
    train = [
        ("  ", "a"),  # 302: empty
        (text(0), "a"),  # 303: repeats line 2
        (changed(3), "a"),  # 304: nearly repeats line 5
        (text(1), "c"),  # 305: contradicts and repeats line 3
        ("the caf\u00c3\u00a9 is open on mondays and all other days", "a"),  # 306
        ("xylophone quarrels", "b"),  # 307: no known word
        (text(7), "y" * 201),  # 308: no name of a class; repeats line 9
        (text(8), "c", "more"),  # 309: three fields
    ]
    test = [
        (text(4), "b"),  # 62: stands in line 6 of train
        (changed(5), "c"),  # 63: nearly stands in line 7 of train
        (text(3000), "d"),  # 64
        (text(3001), ""),  # 65
    ]
    return DataSettings(
        train=write(tmp_path / "train.csv", CLEAN + train, b"\xff" + text(3002).encode() + b",a\n"),
        test=write(tmp_path / "test.csv", HELD_OUT + test),
    )


def test_a_clean_corpus_has_nothing_to_look_at(clean: DataSettings) -> None:
    found = checked(clean)
    assert {name: check.verdict for name, check in found.items()} == dict.fromkeys(found, "ok")
    assert found["rows"].figures == {
        "texts": {"train": 300, "unlabeled": 100, "validation": 0, "test": 60},
        "train_labels": 300,
        "unreadable": 0,
    }
    assert found["classes"].figures == {"labels": {"a": 100, "b": 100, "c": 100}}
    assert found["balance"].figures == {"ratio": 1}
    assert set(found["lengths"].figures) == set(SPLITS)
    assert set(found["lengths"].figures["test"].values()) == {30.0}
    assert found["unknown"].figures == {"rates": dict.fromkeys(SPLITS, 0.0), "texts_without_known_word": 0}


def test_every_defect_is_found_and_counted(broken: DataSettings) -> None:
    found = checked(broken)
    figures = {name: check.figures for name, check in found.items()}
    places = {
        name: (check.example or "").replace(str(Path(str(broken.train)).parent) + "/", "")
        for name, check in found.items()
    }
    assert figures["rows"]["unreadable"] == 1
    assert places["rows"] == "train.csv, line 309: 3 fields, but the header has 2"
    assert figures["empty"] == {"texts": 1}
    assert places["empty"] == "train.csv, line 302: column 'text' is empty"
    assert figures["encoding"]["invalid"] == 1
    assert places["encoding"].startswith("train.csv, line 310: not valid UTF-8")
    assert figures["encoding"]["suspicious"] == {
        "replacement characters": 0,
        "UTF-8 read as Latin-1": 1,
        "control characters": 0,
    }
    assert figures["repeats"] == {"train": 3}
    assert places["repeats"] == "train.csv, line 303 and train.csv, line 2"
    assert figures["near repeats"] == {"train": 1}
    assert places["near repeats"] == "train.csv, line 304 and train.csv, line 5"
    assert figures["leaks"] == {"test in train": 1}
    assert places["leaks"] == "left out of training: test.csv, line 62 and train.csv, line 6"
    assert figures["near leaks"] == {"test in train": 1}
    assert places["near leaks"] == "kept in training: test.csv, line 63 and train.csv, line 7"
    assert figures["conflicts"] == {"texts": 1}
    assert places["conflicts"] == "train.csv, line 3: b; train.csv, line 305: c"
    assert figures["labels"] == {"invalid": 1, "held_out_without_class": 2}
    assert places["labels"] == "train.csv, line 308: column 'label' holds a label of more than 200 characters"
    assert figures["unknown"]["texts_without_known_word"] == 2  # those in lines 306 and 307
    wrong = {name for name, check in found.items() if check.verdict == "wrong"}
    assert wrong == {"rows", "empty", "encoding", "labels"}
    assert {name for name, check in found.items() if check.verdict == "look"} == {"leaks", "near leaks", "conflicts"}


def test_what_is_wrong_is_what_prepare_refuses(run: Run, broken: DataSettings, capsys: Any) -> None:
    """Until it is mended: without these rows it takes the corpus."""
    flags = ["--data.train", broken.train, "--data.test", broken.test, "--data.cache", "cache"]
    assert "train.csv, line 302" in refused(run, capsys, "prepare", *flags)
    line = refused(run, capsys, "check-data", *flags)
    assert line.endswith("4 of 15 checks found something wrong: rows, encoding, empty, labels")
    rows = list(csv.reader(Path(str(broken.train)).read_text(errors="ignore").splitlines()))
    mended = [tuple(row) for row in rows[1:] if len(row) == 2 and row[0].strip() and len(row[1]) < 200]
    write(Path(str(broken.train)), mended)
    write(Path(str(broken.test)), HELD_OUT)
    run("check-data", *flags)
    run("prepare", *flags)


@pytest.mark.parametrize(
    ("rows", "name", "verdict", "message"),
    [
        ([*CLEAN, *((text(seed), "a") for seed in range(4000, 4401))], "balance", "look", "5.0 times"),
        ([*CLEAN, *((text(seed), "d") for seed in range(4000, 4009))], "classes", "look", "d 9"),
        ([(content, "a") for content, _ in CLEAN], "classes", "wrong", "1: a 300"),
        ([*CLEAN, (text(5000), "d")], "prepare", "wrong", "refuses what can be read"),
        ([*CLEAN, (text(5000, 1501), "a")], "lengths", "look", "1,501 (longest)"),
        ([(f"{content}\x85", label) for content, label in CLEAN[:3]] + CLEAN[3:], "encoding", "look", "characters: 3"),
        ([("!", label) for _, label in CLEAN], "unknown", "wrong", "100.0 % train"),
        ([(f"x{i} y{i}", "ab"[i % 2]) for i in range(40)], "unknown", "wrong", "100.0 % train"),
        (CLEAN + CLEAN[:4], "repeats", "look", "4 of train"),
        (CLEAN + CLEAN[:3], "repeats", "ok", "3 of train"),
        (CLEAN + [(changed(seed), CLEAN[seed][1]) for seed in range(4)], "near repeats", "look", "4 of train"),
    ],
)
def test_one_defect(tmp_path: Path, rows: list[tuple[str, ...]], name: str, verdict: str, message: str) -> None:
    check = checked(DataSettings(train=write(tmp_path / "train.csv", rows)))[name]
    assert check.verdict == verdict
    assert message in check.message


def test_validation_and_unlabeled_text_leak_too(tmp_path: Path, clean: DataSettings) -> None:
    clean.validation = write(
        tmp_path / "validation.csv", [CLEAN[0], HELD_OUT[0], *((text(s), "a") for s in (70, 2000))]
    )
    clean.keep_duplicates = True
    leaks = checked(clean)["leaks"]
    assert leaks.figures == {"test in validation": 1, "validation in train": 2, "validation in unlabeled": 1}
    assert leaks.verdict == "look"
    assert str(leaks.example).startswith("kept in training: ")


def test_what_test_and_validation_share_is_no_matter_of_training(tmp_path: Path, clean: DataSettings) -> None:
    clean.validation = write(tmp_path / "validation.csv", HELD_OUT[:1])
    leaks = checked(clean)["leaks"]
    assert leaks.figures == {"test in validation": 1}
    assert str(leaks.example).endswith("test.csv, line 2 and " + f"{clean.validation}, line 2")
    assert "training" not in str(leaks.example)


def test_columns_are_guessed_and_the_flags_are_said(run: Run, capsys: Any, tmp_path: Path) -> None:
    records = [{"id": i, "body": content, "team": label} for i, (content, label) in enumerate(CLEAN)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    line = refused(run, capsys, "check-data", "--data.train", "a.jsonl")
    assert line.endswith("1 of 15 checks found something wrong: columns")
    found = checked(DataSettings(train=str(tmp_path / "a.jsonl")))
    assert found["columns"].example == "give --data.text_column body --data.label_column team"
    assert found["classes"].figures == {"labels": {"a": 100, "b": 100, "c": 100}}
    run("check-data", "--data.train", "a.jsonl", "--data.text_column", "body", "--data.label_column", "team")


def test_the_flags_for_guessed_columns_can_be_given_to_a_shell(tmp_path: Path) -> None:
    records = [{"id": i, "Message Body": content, "Queue (final)": label} for i, (content, label) in enumerate(CLEAN)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    columns = checked(DataSettings(train=str(tmp_path / "a.jsonl")))["columns"]
    assert columns.message.startswith("no 'text' and 'label'; guessed: ")  # first, since the line is cut on the screen
    flags = ["--data.text_column", "Message Body", "--data.label_column", "Queue (final)"]
    assert shlex.split(str(columns.example).removeprefix("give ")) == flags


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data.train", "none.csv"], "none.csv: no such file"),
        (["--data.train", "a.csv"], "a.csv: no column 'text'; it has 'x'"),
        ([], "no corpus given: set --data.source, or --data.train to a CSV, JSONL or parquet file"),
        (["--data.source", "store"], "--data.source store: is a prepared store, which holds no texts to check"),
        (["--data.source", "builtin", "--output", "a.csv/b"], "a.csv/b: cannot be written"),
    ],
)
def test_what_cannot_be_read_is_one_line(run: Run, capsys: Any, tmp_path: Path, flags: list[str], message: str) -> None:
    (tmp_path / "a.csv").write_text("x\ny\n")
    (tmp_path / "store").mkdir()
    for name in (MANIFEST, TOKENIZER):
        (tmp_path / "store" / name).touch()
    assert message in refused(run, capsys, "check-data", *flags)


def test_the_time_is_that_of_one_process(
    run: Run, corpus: list[str], config: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many a config asks for: Lightning would start the others, each with the whole command."""

    def build(machine: TrainerSettings, *arguments: Any, **options: Any) -> Any:
        assert (machine.devices, machine.num_nodes) == (1, 1)
        return build_trainer(machine, *arguments, **options)

    monkeypatch.setattr(estimates, "build_trainer", build)
    run("check-data", "--config", config, *corpus, "--trainer.devices", 2, "--trainer.num_nodes", 3)
    assert capsys.readouterr().out.endswith(" s (the config)\n")


def test_the_screen_is_small_and_the_json_whole(
    run: Run, broken: DataSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [
        "check-data",
        "--data.train",
        broken.train,
        "--data.test",
        broken.test,
        "--output",
        tmp_path / "o" / "c.json",
    ]
    with pytest.raises(SystemExit) as stop:
        run(*flags)
    assert stop.value.code == 2
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) <= 40
    assert "kept in training: test.csv, line 63 and train.csv, line 7" in " ".join(" ".join(shown).split())
    assert max(map(len, shown)) <= WIDTH == 80
    with pytest.raises(SystemExit):
        run(*flags, "--json")
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "o" / "c.json").read_text()
    document = json.loads(printed)
    assert document["verdict"] == "wrong"
    assert [check["name"] for check in document["checks"]] == list(checked(broken))
    assert all(f"{check['verdict']:<5} {check['name']}" in "\n".join(shown) for check in document["checks"])


def test_many_classes_and_long_names_stay_on_the_screen(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / ("deep" * 20)
    folder.mkdir()
    rows = (
        [(text(i), f"\x1b[31m class {i // 2} {'long' * 20}") for i in range(200)] + [(text(300), "")] * 5 + [("", "")]
    )
    with pytest.raises(SystemExit):
        run("check-data", "--data.train", write(folder / "train.csv", rows))
    shown = capsys.readouterr().out
    assert all(len(line) <= WIDTH for line in shown.splitlines())
    assert len(shown.splitlines()) <= 40
    assert "\x1b" not in shown
    assert "train.csv, line 207: column 'text' is empty" in shown


def test_a_folder_of_parquet_and_the_built_in_corpus(tmp_path: Path) -> None:
    for split, rows in (("train", CLEAN), ("test", HELD_OUT)):
        columns = {"text": [content for content, _ in rows], "label": [label for _, label in rows]}
        pq.write_table(pa.table(columns), tmp_path / f"{split}.parquet")
    found = checked(DataSettings(source=str(tmp_path)))
    assert {check.verdict for check in found.values()} == {"ok"}
    builtin = checked(DataSettings(source="builtin"), lowercase=True)
    assert builtin["rows"].figures["texts"] == {"train": 200, "unlabeled": 20_000, "validation": 500, "test": 2000}
    assert "wrong" not in {check.verdict for check in builtin.values()}
