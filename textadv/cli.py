"""The command line: parses flags and YAML into typed settings, then hands over to `textadv.commands`.

Nothing heavy is imported here, so that `--help` and a wrong flag answer at once.
"""

import argparse
import sys
import traceback
from collections.abc import Sequence
from dataclasses import is_dataclass
from importlib import import_module
from itertools import pairwise
from os import PathLike
from pathlib import Path

import yaml
from jsonargparse import ArgumentParser, Namespace, set_loader

from textadv.errors import InputError, ProcessLostError, is_out_of_memory, one_line
from textadv.settings import Experiment, Options
from textadv.system import openmp, processes
from textadv.system.ranges import check, check_nulls

QUICKSTART_CONFIG = Path(__file__).parent.parent / "configs" / "quickstart.yaml"
COMMANDS = {
    "quickstart": "prepare, pretrain, fine-tune three ways, evaluate, print one table (what no arguments at all do)",
    "prepare": "turn a corpus into a token store",
    "pretrain": "train the language model on all training and unlabeled text",
    "finetune": "train the classifier (prepares and pretrains what is missing)",
    "evaluate": "measure a checkpoint on a split",
    "predict": "classify raw text, JSON lines out",
    "attack": "accuracy of a checkpoint under perturbations and word substitutions, and signs of gradient masking",
    "report": "all that is known about a checkpoint on one page, beside others",
    "benchmark": "measure the speed of everything beside a textbook implementation",
}


FLAGS = {
    "output": "folder for everything the command writes; by default a new one under runs/",
    "pretrained": "checkpoint of a language model to start from; `none` for random weights; with --resume not read",
    "resume": "go on from the last checkpoint in --output",
    "checkpoint": "checkpoint of a classifier, or the folder of its run",
    "compare": "further checkpoints, or folders, to set beside it",
    "source_checkpoint": "another classifier, to find perturbations on that are applied to this one as well",
    "split": "train, validation or test",
    "text": "one text to classify",
    "input": "file of texts (txt, CSV, JSONL), `-` for stdin",
    "quick": "fewer methods and rounds",
}
TAKES = {
    "quickstart": ("output",),
    "prepare": ("output",),
    "pretrain": ("output", "resume"),
    "finetune": ("output", "pretrained", "resume"),
    "evaluate": ("output", "checkpoint", "split"),
    "predict": ("checkpoint", "text", "input", "output"),
    "attack": ("checkpoint", "source_checkpoint", "split", "attack", "output"),
    "report": ("checkpoint", "compare", "source_checkpoint", "split", "attack", "output"),
    "benchmark": ("output", "quick"),
}
TRAINING = ("quickstart", "pretrain", "finetune")  # run in as many processes as there are devices


class _TextLoader(yaml.SafeLoader):
    """Reads every plain scalar but null as the text that stands there, as the value of a flag is read.

    The type of a setting says what the text means: `target: 1` and `target: no` name classes, `steps: 1` is a number.
    """


_TextLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag == "tag:yaml.org,2002:null"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
PARSER_MODE = "text"
set_loader(PARSER_MODE, lambda stream: yaml.load(stream, Loader=_TextLoader), (yaml.YAMLError,))


def build_parser() -> ArgumentParser:
    """The parser with one subcommand per command."""
    parser = ArgumentParser(
        prog="textadv",
        description="Adversarial and virtual adversarial text classification. Without a command: quickstart, "
        "or finetune where flags are given.",
        allow_abbrev=False,
        exit_on_error=False,
        parser_mode=PARSER_MODE,
    )
    subcommands = parser.add_subcommands(dest="command", required=True)
    for name, description in COMMANDS.items():
        files: list[str | PathLike[str]] = [QUICKSTART_CONFIG] if name == "quickstart" else []
        command = ArgumentParser(
            description=description, default_config_files=files, allow_abbrev=False, exit_on_error=False
        )
        command.add_argument("--config", action="config", help="YAML file with any of the settings below")
        for flag in TAKES[name]:
            default = getattr(Options(), flag)
            names = sorted({f"--{flag}", f"--{flag.replace('_', '-')}"}, reverse=True)
            if is_dataclass(default):
                command.add_class_arguments(type(default), flag)
            elif isinstance(default, list):
                command.add_argument(*names, nargs="+", type=str, default=default, help=FLAGS[flag])
            elif isinstance(default, bool):
                command.add_argument(*names, type=bool, nargs="?", const=True, default=default, help=FLAGS[flag])
            else:
                command.add_argument(*names, type=str, default=default, help=FLAGS[flag])
        command.add_class_arguments(Experiment)
        subcommands.add_subcommand(name, command, help=description)
    return parser


def complete(arguments: Sequence[str]) -> list[str]:
    """Put in the command where none is named: `quickstart` without arguments, `finetune` with some."""
    if not arguments:
        return ["quickstart"]
    if arguments[0].startswith("-") and arguments[0] not in ("-h", "--help"):
        return ["finetune", *arguments]
    return list(arguments)


def _configs(arguments: Sequence[str]) -> list[str]:
    """The YAML files that are given."""
    files = [value for flag, value in pairwise(arguments) if flag == "--config"]
    return files + [argument.removeprefix("--config=") for argument in arguments if argument.startswith("--config=")]


def _check_config(file: str) -> None:
    """Refuse what the parser does not, or only after it has filled the memory: aliases of aliases double each time.

    Raises:
        InputError: The file is not UTF-8, or has an alias or a NUL character.
    """
    try:
        for event in yaml.parse(Path(file).read_text(encoding="utf-8"), Loader=yaml.SafeLoader):
            place = file if event.start_mark is None else f"{file}, line {event.start_mark.line + 1}"
            if isinstance(event, yaml.AliasEvent):
                raise InputError(f"{place}: aliases (*{event.anchor}) are not read: write the value itself")
            if isinstance(event, yaml.ScalarEvent) and "\0" in event.value:
                raise InputError(f"{place}: holds a NUL character")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not valid UTF-8 ({error.reason} at byte {error.start})") from None
    except (OSError, yaml.YAMLError):
        return  # the parser has a message of its own


def _message(error: argparse.ArgumentError, arguments: Sequence[str]) -> str:
    """The error in one line; where a YAML file cannot be read as one, with the file's name."""
    message, files = " ".join(str(error).split()), _configs(arguments)
    return f"{', '.join(files)}: {message}" if files and "config:" in message else message


def run(arguments: Sequence[str]) -> None:
    """Parse the arguments and carry the command out.

    Raises:
        InputError: The input is wrong.
    """
    openmp.bound_spinning()
    parser = build_parser()
    for file in _configs(arguments):
        _check_config(file)
    try:
        parsed = parser.parse_args(complete(arguments))
    except argparse.ArgumentError as error:
        raise InputError(_message(error, arguments)) from None
    for name, default in vars(Experiment()).items():
        if is_dataclass(default) and not isinstance(parsed[parsed.command][name], Namespace):
            raise InputError(f'Parser key "{name}": holds settings by their names, not a single value')
    objects = parser.instantiate(parsed)[parsed.command]
    experiment = Experiment(**{name: objects[name] for name in Experiment.__dataclass_fields__})
    check(experiment)
    if parsed.command in TRAINING and processes.are_to_be_started(experiment.trainer):
        sys.exit(processes.run_all(run, arguments, experiment.trainer))
    options = Options(**{name: objects[name] for name in TAKES[parsed.command]})
    check_nulls(options)
    if parsed.command != "prepare":  # which computes nothing
        from textadv import precision
        from textadv.system import machine

        machine.prepare_machine()
        precision.allow_tf32(experiment.trainer.tf32)
        machine.device(experiment.trainer)  # one that is not there is refused before hours of work, not after them
    import_module(f"textadv.commands.{parsed.command}").run(experiment, options)


def main() -> None:
    """Entry point: wrong input, and what the system refuses, is one line on stderr and exit code 2."""
    try:
        run(sys.argv[1:])
    except InputError as error:
        traceback.clear_frames(error.__traceback__)  # closes the bar of a loop that it came from
        _refuse(str(error))
    except ProcessLostError as error:
        print(f"textadv: error: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(141)
    except OSError as error:
        _refuse(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        print("textadv: interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        _refuse(f"out of memory ({' '.join(str(error).split())[:200]})")


def _refuse(message: str) -> None:
    print(f"textadv: error: {one_line(message)}", file=sys.stderr)
    sys.exit(2)
