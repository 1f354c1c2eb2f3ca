"""`check-data`: what is to be known about a corpus before anything is trained on it."""

import re
import sys
from collections.abc import Set
from dataclasses import asdict, replace
from json import dumps
from pathlib import Path
from shlex import quote
from textwrap import wrap
from typing import TYPE_CHECKING

from textadv.errors import InputError, one_line
from textadv.presets import beside_preset, sized_tokenizer
from textadv.settings import DataSettings, Experiment, TokenizerSettings

if TYPE_CHECKING:
    from textadv.corpus.checks import Check

WIDTH = 80
SAMPLE_ROWS = 1000
MOST_BYTES = 50_000_000  # of files that are looked over before a training: half a minute
PLACE = re.compile(r"(?:[^\s,]*/)+(?=[^/]+, (?:line|row) \d)")  # the folders of a file


def check_data(
    experiment: Experiment,
    preset: str | None = None,
    json: bool = False,
    output: str | None = None,
    given: Set[str] | None = None,
) -> None:
    """Look at a corpus before training: classes, lengths, unknown words, encoding, repeats, leaks, labels, time.

    Nothing is kept or trained. The exit code is 2 where something is wrong: `prepare` would refuse it.

    Args:
        experiment: The corpus, and the settings whose time is measured.
        preset: Sizes and steps (small, base or paper) where no config is given; by default by corpus and device. A
            pretrained Transformer has one of its own.
        json: Print JSON.
        output: File for the JSON, which is then written beside what is printed.
        given: Names of the settings that a preset leaves as they are; None: all of them, so that none is used.
    """
    from textadv.commands.sizing import measured_time
    from textadv.system.durable import replace_text, writing

    preset, given = beside_preset(experiment.model, preset, given)
    if given is not None:
        experiment = replace(experiment, tokenizer=sized_tokenizer(experiment.tokenizer, preset, given))
    checks = _asked(experiment)
    wrong = [check.name for check in checks if check.verdict == "wrong"]
    if not wrong:
        checks.append(measured_time(experiment, preset, given))
    verdict = "wrong" if wrong else "look" if any(check.verdict == "look" for check in checks) else "ok"
    document = dumps({"verdict": verdict, "checks": [asdict(check) for check in checks]}, indent=2)
    if output is not None:
        with writing(Path(output)):
            Path(output).parent.mkdir(parents=True, exist_ok=True)
            replace_text(Path(output), document + "\n")
    print(document if json else screen(checks))
    sys.stdout.flush()
    if wrong:
        raise InputError(f"{len(wrong)} of {len(checks)} checks found something wrong: {', '.join(wrong)}")


def look_over(experiment: Experiment) -> None:
    """Say, before files of one's own are prepared for the first time, what is wrong with them or worth a look.

    What is wrong `prepare` then refuses, with the row. Large files are not looked over: that reads all into memory.

    Args:
        experiment: For the corpus, of which nothing is said unless it is files, and for what makes tokens of it.

    Raises:
        InputError: A file cannot be read at all.
    """
    from textadv.commands.shared import is_prepared
    from textadv.corpus.sources import FILE_FLAGS, files_of
    from textadv.system.processes import is_main

    data = experiment.data
    if data.source is not None or not is_main() or is_prepared(experiment):
        return
    files = [file for flag in FILE_FLAGS if getattr(data, flag) is not None for file in files_of(flag, data)]
    if sum(file.stat().st_size for file in files) > MOST_BYTES:
        print("textadv: the files are large; `textadv check-data` looks for what is wrong with them", file=sys.stderr)
        return
    found = [check for check in _asked(experiment) if check.verdict != "ok"]
    if found:
        print(screen(found), file=sys.stderr)


def _asked(experiment: Experiment) -> list["Check"]:
    """The answers that concern an encoder: words are unknown only to a tokenizer that is trained on the corpus."""
    checks = check_corpus(experiment.data, experiment.tokenizer)
    return [check for check in checks if check.name != "unknown" or not experiment.model.is_transformer]


def check_corpus(data: DataSettings, tokenizer: TokenizerSettings) -> list["Check"]:
    """Ask everything about a corpus.

    Args:
        data: The corpus.
        tokenizer: How text becomes tokens.

    Returns:
        The answers, in the order in which a person reads them.

    Raises:
        InputError: The corpus cannot be read at all.
    """
    from textadv.corpus import checks, repeat_checks
    from textadv.corpus.fitting import fit
    from textadv.corpus.rows import passing_over
    from textadv.corpus.sources import read_parts
    from textadv.corpus.splits import TRAINING
    from textadv.corpus.store import is_store
    from textadv.corpus.tokenization import EncodedDocuments

    if data.source is not None and is_store(Path(data.source)):
        raise InputError(f"--data.source {data.source}: is a prepared store, which holds no texts to check")
    columns, data = _columns(data)
    with passing_over() as passed_over:
        parts = read_parts(data)
    parts = {split: [checks.usable(part) for part in files] for split, files in parts.items()}
    preparation, corpus = checks.check_preparation(parts, data)
    splits = checks.texts_by_split(parts) if corpus is None else {n: rows.texts for n, rows in corpus.splits.items()}
    documents: dict[str, EncodedDocuments] = {}
    if any(splits[name] for name in TRAINING):
        _, documents = fit(splits, TRAINING, replace(tokenizer, unknown="replace"))
    texts = repeat_checks.Texts.of(parts)
    return [
        checks.check_rows(parts, passed_over),
        columns,
        checks.check_classes(parts),
        checks.check_balance(parts),
        checks.check_lengths(documents),
        checks.check_unknown(documents),
        checks.check_encoding(parts, passed_over),
        checks.check_empty(passed_over),
        repeat_checks.check_repeats(texts),
        repeat_checks.check_near_repeats(texts),
        repeat_checks.check_leaks(texts, data.keep_duplicates),
        repeat_checks.check_near_leaks(texts),
        repeat_checks.check_contradictions(texts),
        checks.check_labels(parts, passed_over),
        preparation,
    ]


def _columns(data: DataSettings) -> tuple["Check", DataSettings]:
    """Whether the training file has the columns, and the settings with those that it seems to have instead."""
    from textadv.corpus.checks import Check
    from textadv.corpus.columns import guess_columns
    from textadv.corpus.files import sample_columns
    from textadv.corpus.sources import files_of

    names = (data.text_column, data.label_column)
    message, figures = "text {!r}, label {!r}", {"text": names[0], "label": names[1]}
    sample = {}
    if data.train is not None and data.source is None:
        sample = sample_columns(files_of("train", data)[0], SAMPLE_ROWS)
    guess = guess_columns(sample, *names)
    if data.train is None or guess is None or guess == names:
        said = message.format(*names) if data.train is not None else "as the source has them"
        return Check("columns", "ok", said, figures), data
    given = zip(("text", "label"), names, guess, strict=True)
    flags = " ".join(f"--data.{what}_column {quote(name)}" for what, wanted, name in given if name != wanted)
    missing = " and ".join(repr(name) for name in names if name not in sample)
    check = Check(
        "columns",
        "wrong",
        f"no {missing}; guessed: {message.format(*guess)}",
        {"text": guess[0], "label": guess[1], "guessed": True},
        f"give {flags}",
    )
    return check, replace(data, text_column=guess[0], label_column=guess[1])


def screen(checks: list["Check"]) -> str:
    """All checks in lines of at most `WIDTH` columns: the verdict, the answer, and where to look first."""
    indent = max(len(check.name) for check in checks) + 8
    lines = []
    for check in checks:
        lines.append(f"{f'{check.verdict:<5} {check.name}':<{indent}}{check.message}")
        if check.example is not None and check.verdict != "ok":
            example = one_line(PLACE.sub("", check.example))
            lines += [" " * indent + line for line in wrap(example, WIDTH - indent, max_lines=2, placeholder="...")]
    return "\n".join(_cut(one_line(line)) for line in lines)


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."
