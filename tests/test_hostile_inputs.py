"""Every odd text, file and flag on the whole command line: a documented result, or one line and exit code 2."""

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from textadv import cli
from textadv.errors import InputError, is_out_of_memory, one_line
from textadv.evaluation.predictor import CHUNK_TEXTS

PARSER = cache(cli.build_parser)
Call = Callable[..., tuple[int, str, str]]
SMALL = ["--tokenizer.min_documents", "1", "--model.embedding_size", "4", "--model.hidden_size", "5"]
SMALL += ["--model.head_size", "3", "--finetuning.steps", "1", "--finetuning.batch_size", "4"]
SMALL += ["--finetuning.method", "adversarial", "--trainer.accelerator", "cpu", "--pretrained", "none"]
HEBREW = "שלום"
ROWS = [f"{word} film number {i},{label}" for i in range(6) for word, label in (("good", "a"), ("bad", "b"))]


def csv_of(*rows: str, head: str = "text,label") -> bytes:
    return "".join(f"{row}\n" for row in (head, *ROWS, *rows)).encode("utf-8", "surrogatepass")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """Run a command; its exit code, stdout, and the one line of a refusal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("textadv.system.machine.prepare_machine", lambda: None)
    monkeypatch.setattr(cli, "build_parser", PARSER)

    def command(*arguments: object, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["textadv", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        try:
            cli.main()
        except SystemExit as stop:
            captured = capsys.readouterr()
            line = captured.err.splitlines()[-1]
            assert captured.err.endswith(f"{line}\n")
            assert line.isprintable()
            return int(str(stop.code)), captured.out, line
        return 0, capsys.readouterr().out, ""

    return command


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier trained for one step, and its corpus beside it."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "train.csv").write_bytes(csv_of())
    files = ["--data.train", str(folder / "train.csv"), "--data.cache", str(folder / "cache")]
    cli.run(["finetune", *SMALL, *files, "--output", str(folder / "run")])
    return folder / "run"


REFUSED: dict[str, tuple[bytes, str]] = {
    "empty text": (csv_of(",a"), "train.csv, line 14: column 'text' is empty"),
    "white space": (csv_of('" \t",a'), "train.csv, line 14: column 'text' is empty"),
    "NUL": (csv_of("x\0,a"), "train.csv, line 14: holds a NUL byte"),
    "invalid UTF-8": (csv_of() + b"\xff,a\n", "train.csv, line 14: not valid UTF-8"),
    "lone surrogate": (csv_of("\ud800,a"), "train.csv, line 14: not valid UTF-8"),
    "UTF-16": (csv_of().decode().encode("utf-16"), "train.csv, line 1: holds a NUL byte"),
    "missing column": (csv_of(head="text,mood"), "train.csv: no column 'label'; it has 'text', 'mood'"),
    "thousands of columns": (csv_of(head=",".join(f"c{i}" for i in range(5000))), "'c19', ..."),
    "one float label": (csv_of("x,1.5"), "train.csv, line 14: class '1.5' has 1 training texts"),
    "one NA label": (csv_of("x,NA"), "train.csv, line 14: class 'NA' has 1 training texts"),
    "a text as label": (csv_of(f"x,{'y' * 201}"), "line 14: column 'label' holds a label of more than 200 characters"),
    "a huge number as label": (csv_of(f"x,{'9' * 5000}"), "line 14: column 'label' holds a label of more than 200"),
    "one class": (b"text,label\nx,a\ny,a\n", "train.csv: the training split has only the class 'a'"),
    "no labels": (b"text,label\nx,\ny,\n", "train.csv: the training split has no labels"),
    "header only": (b"text,label\n", "train.csv: holds no rows"),
    "nothing": (b"", "train.csv: no column 'text'; it has none"),
    "unclosed quote": (csv_of('"x,a'), "train.csv, line 14: not valid CSV (unclosed quote)"),
    "only punctuation": (b"text,label\n!,a\n?,a\n;,b\n:,b\n", "no document with a known word"),
    "control characters": (csv_of('x,"\x1b[2J\na"'), r"class '\x1b[2J\na' has 1"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_training_files(call: Call, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "train.csv").write_bytes(content)
    code, out, line = call("prepare", "--data.train", "train.csv", "--data.cache", "cache", "--output", "out")
    assert (code, out) == (2, "")
    assert message in line
    assert not list(tmp_path.glob("cache/stores/*"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"text,label\nx,c\n", "test.csv, line 2: label 'c', which no training row has"),
        (b"text,label\nx,1.0\n", "test.csv, line 2: label '1.0', which no training row has"),
        (b"text,label\nx,\n", "test.csv, line 2: no label"),
        (b"text,label\n", "test.csv: holds no rows"),
        (csv_of(), "train.csv, line 2: class 'a' has 0 training texts that do not stand in the test split"),
    ],
)
def test_refused_test_files(call: Call, checkpoint: Path, tmp_path: Path, content: bytes, message: str) -> None:
    """By every command that reads a corpus."""
    (tmp_path / "train.csv").write_bytes(csv_of())
    (tmp_path / "test.csv").write_bytes(content)
    files = ["--data.train", "train.csv", "--data.test", "test.csv", "--data.cache", "cache", "--output", "out"]
    for command in ("prepare", "finetune"), ("evaluate", "--checkpoint", checkpoint):
        for name in command[:1] if command[0] == "evaluate" else command:
            code, _, line = call(name, *(command[1:] if name == "evaluate" else ()), *files)
            assert code == 2
            assert message in line


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "x", "label": 1.0}, "line 2: column 'label' holds 1.0; a label is a string or an integer"),
        ({"text": "x", "label": True}, "line 2: column 'label' holds True"),
        ({"text": "x", "label": 10**250}, "line 2: column 'label' holds a label of more than 200 characters"),
        ({"text": "\ud800", "label": "a"}, "line 2: column 'text' holds a lone surrogate"),
        ({"text": None, "label": "a"}, "line 2: column 'text' is empty"),
        ({"text": float("nan"), "label": "a"}, "line 2: column 'text' holds nan"),
        ({"label": "a"}, "line 2: no column 'text'; it has 'label'"),
        ([1], "line 2: not a JSON object"),
    ],
)
def test_refused_json_lines(call: Call, tmp_path: Path, row: Any, message: str) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "x", "label": "a"}\n' + json.dumps(row) + "\n")
    code, _, line = call("prepare", "--data.train", "train.jsonl", "--data.cache", "cache", "--output", "out")
    assert code == 2
    assert f"train.jsonl, {message}" in line


def test_what_is_read(call: Call, tmp_path: Path) -> None:
    """Odd, but meant: a byte order mark, `NA` and `null` as words and classes, markup, emoji, other scripts, copies."""
    odd = [f"{text} {label},{label}" for text in ("NA", "null", "😀", HEBREW, "a<br />b") for label in ("NA", "1.5")]
    long = "word " * 200_000  # a million characters
    (tmp_path / "train.csv").write_bytes(b"\xef\xbb\xbf" + csv_of(*odd, f"{long},a"))
    (tmp_path / "test.csv").write_bytes(b"text,label\ngood film number 1,a\n!!!,b\nunheard-of,b\n")
    files = ["--data.train", "train.csv", "--data.test", "test.csv", "--data.cache", "cache", "--output", "out"]
    code, out, _ = call("prepare", *files, "--tokenizer.min_documents", "1", "--tokenizer.lowercase", "false")
    assert code == 0
    result = json.loads(out)
    assert result["classes"] == ["1.5", "NA", "a", "b"]
    assert result["splits"]["test"] == {"documents": 3, "tokens": 4 + 1 + 1 + 2 + 1}
    assert result["report"]["test_duplicates_in_train"] == result["report"]["train_rows_removed"] == 1
    tokenizer = next(tmp_path.glob("cache/stores/*/tokenizer.json")).read_text(encoding="utf-8")
    vocabulary = json.loads(tokenizer)["tokenizer"]["model"]["vocab"]
    assert {"NA", "null", HEBREW, "a", "b", "word"} <= set(vocabulary)
    assert not {"br", "😀"} & set(vocabulary)


TEXTS = [
    "",
    " ",
    "zzz qqq",
    "null",
    "~",
    "1.5",
    "[a]",
    "a\0b",
    "a\ud800b",
    "\ufeffgood",
    "<br />",
    "😀👨‍👩‍👧",
    "مرحبا \u202egood\u202c",
    "x" * 1_000_000,
]


def test_predictions_of_odd_texts(call: Call, checkpoint: Path) -> None:
    for text in TEXTS:
        code, out, _ = call("predict", "--checkpoint", checkpoint, "--text", text)
        assert code == 0
        prediction = json.loads(out)
        assert sum(prediction["probabilities"].values()) == pytest.approx(1)
        assert prediction["truncated"] is False


@pytest.mark.slow
def test_a_million_characters_of_words_are_read_from_the_end(call: Call, checkpoint: Path) -> None:
    code, out, _ = call("predict", "--checkpoint", checkpoint, "--text", "good film " * 100_000)
    assert code == 0
    assert json.loads(out)["truncated"] is True


def test_a_bad_line_leaves_earlier_predictions_alone(call: Call, checkpoint: Path, tmp_path: Path) -> None:
    arguments = ["predict", "--checkpoint", checkpoint, "--output", "p", "--input"]
    (tmp_path / "good.txt").write_bytes("\ufeffone\n\n😀".encode())
    assert call(*arguments, "good.txt")[0] == 0
    before = (tmp_path / "p" / "predictions.jsonl").read_bytes()
    assert before.count(b"\n") == 3
    (tmp_path / "bad.txt").write_bytes(b"x\n" * 600 + b"\xff\n")
    code, _, line = call(*arguments, "bad.txt")
    assert code == 2
    assert line == "textadv: error: bad.txt, line 601: not valid UTF-8 (invalid start byte)"
    assert [file.name for file in (tmp_path / "p").iterdir()] == ["predictions.jsonl"]
    assert (tmp_path / "p" / "predictions.jsonl").read_bytes() == before
    (tmp_path / "file").touch()
    code, _, line = call("predict", "--checkpoint", checkpoint, "--text", "x", "--output", "file")
    assert code == 2
    assert "file/predictions.jsonl: cannot be written" in line


@pytest.mark.parametrize(
    "flags",
    [
        ["prepare", "--data.train", "x" * 5000],
        ["prepare", "--data.train", "x" * 5000 + ".csv"],
        ["evaluate", "--checkpoint", "x" * 5000],
        ["prepare", "--data.train", "train.csv", "--data.cache", "x" * 300],
    ],
)
def test_names_that_the_system_refuses(call: Call, tmp_path: Path, flags: list[str]) -> None:
    (tmp_path / "train.csv").write_bytes(csv_of())
    code, _, line = call(*flags)
    assert code == 2
    assert "File name too long" in line


def test_impossible_seeds(call: Call) -> None:
    for flag in ("--seed", "--data.seed"):
        code, _, line = call("finetune", flag, 2**64)
        assert code == 2
        assert flag in line


@pytest.mark.parametrize("size", [2**62, 2**63 - 1])
@pytest.mark.parametrize("name", ["head_size", "hidden_size", "embedding_size"])
def test_sizes_that_no_memory_has(call: Call, tmp_path: Path, name: str, size: int) -> None:
    (tmp_path / "train.csv").write_bytes(csv_of())
    files = ["--data.train", "train.csv", "--data.cache", "cache", "--output", "out"]
    code, _, line = call("finetune", *SMALL, *files, f"--model.{name}", size)
    assert code == 2
    assert line.startswith("textadv: error: out of memory (")


LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in pairwise("abcdefghi")
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LAUGHS.encode(), "c.yaml, line 2: aliases (*a) are not read"),
        (b"&a {data: *a}\n", "c.yaml, line 1: aliases (*a) are not read"),
        (b"seed: 1\n# \xff\n", "c.yaml: not valid UTF-8 (invalid start byte at byte 10)"),
        (b'data:\n  cache: "a\\0b"\n', "c.yaml, line 2: holds a NUL character"),
        (b"data: !!python/object/apply:os.mkdir [sentinel]\n", "could not determine a constructor"),
        (b"!!python/object/new:os.mkdir [sentinel]\n", "could not determine a constructor"),
        (b"data: {class_path: os.mkdir, init_args: {path: sentinel}}\n", "is not accepted as class_path"),
        (b"class_path: os.mkdir\ninit_args: {path: sentinel}\n", "does not accept option"),
        (b"{a: [", "c.yaml: "),
        (b"seed: " + b"[" * 3000 + b"]" * 3000, "c.yaml: Problems parsing config: nested more than 50 levels deep"),
        (b"model: " + b"{a: " * 49 + b"}" * 49, "does not accept option"),
        (b"data: {seed: }\n", "--data.seed: must not be null"),
        (b"seed: null\n", "--seed: must not be null"),
    ],
)
def test_hostile_configs(call: Call, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "c.yaml").write_bytes(content)
    for flags in (["--config", "c.yaml"], ["--config=c.yaml"]):
        code, _, line = call("finetune", *flags)
        assert code == 2
        assert message in line
    assert not (tmp_path / "sentinel").exists()


@pytest.mark.parametrize(("flag", "bracket"), [("--attack.attacks", "[]"), ("--attack", ["{a: ", "}"])])
def test_flags_with_deeply_nested_values(call: Call, flag: str, bracket: Sequence[str]) -> None:
    code, _, line = call("attack", "--checkpoint", "x", flag, bracket[0] * 2000 + bracket[1] * 2000)
    assert code == 2
    assert f'Parser key "{flag[2:]}"' in line


def test_lines_hold_no_control_characters() -> None:
    assert one_line("a\n\x1b[2J\r\u202e\ud800é😀") == "a\\n\\x1b[2J\\r\\u202e\\ud800é😀"


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (KeyboardInterrupt(), 130, "textadv: interrupted"),
        (OSError(28, "No space left on device", "there/x"), 2, "textadv: error: there/x: No space left on device"),
        (OSError(28, "No space left on device"), 2, "textadv: error: [Errno 28] No space left on device"),
        (InputError("a\nb"), 2, "textadv: error: a\\nb"),
        (MemoryError("Unable to allocate"), 2, "textadv: error: out of memory (Unable to allocate)"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, "textadv: error: out of memory (DefaultCPU"),
    ],
)
def test_what_ends_a_command(
    call: Call, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, expected: str
) -> None:
    monkeypatch.setattr(cli, "run", lambda arguments: (_ for _ in ()).throw(error))
    found, _, line = call("prepare")
    assert found == code
    assert line.startswith(expected)


def test_a_defect_keeps_its_traceback(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    monkeypatch.setattr(cli, "run", lambda arguments: [][0])
    with pytest.raises(IndexError):
        call("prepare")


def test_interrupting_a_command_that_does_not_train(checkpoint: Path) -> None:
    """SIGINT while `predict` waits for standard input, of which it has read one line."""
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # not so in the background
    main = f"{heard}; from textadv.cli import main; main()"
    command = [sys.executable, "-c", main, "predict", "--checkpoint", str(checkpoint)]
    process = subprocess.Popen(
        [*command, "--input", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(b"good film\n" * CHUNK_TEXTS)
    process.stdin.flush()
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b'{"label"')
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, b"textadv: interrupted\n")
