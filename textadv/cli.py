"""The command line: flags and YAML become the parameters of the functions in `textadv.commands`.

Nothing heavy is imported here, nor by those functions' modules, so that `--help` and a wrong flag answer at once.
"""

import argparse
import glob
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from inspect import getdoc, signature
from os import PathLike
from types import NoneType
from typing import Any, get_args

import yaml
from jsonargparse import ArgumentParser, Namespace

from textadv.commands.attack import attack
from textadv.commands.benchmark import benchmark
from textadv.commands.check_data import check_data
from textadv.commands.demo import demo
from textadv.commands.evaluate import evaluate
from textadv.commands.experiment import experiment
from textadv.commands.export import export
from textadv.commands.finetune import finetune
from textadv.commands.predict import predict
from textadv.commands.prepare import prepare
from textadv.commands.pretrain import pretrain
from textadv.commands.quickstart import quickstart
from textadv.commands.report import report
from textadv.errors import InputError, ProcessLostError, one_line, refusal
from textadv.settings import Experiment
from textadv.system import configs, openmp, processes, versions, yaml_text

QUICKSTART_CONFIG = configs.FOLDER / "quickstart.yaml"
TRAINING = (quickstart, pretrain, finetune)  # run in as many processes as there are devices
COMMANDS: dict[str, Callable[..., None]] = {
    command.__name__.replace("_", "-"): command
    for command in (
        quickstart,
        check_data,
        prepare,
        pretrain,
        finetune,
        evaluate,
        predict,
        attack,
        report,
        export,
        demo,
        benchmark,
        experiment,
    )
}


def _types(command: Callable[..., None]) -> dict[str, Any]:
    """Types of the sections and single settings that a command takes, by name; those of an experiment are its own."""
    types = {one.name: one.annotation for one in signature(command).parameters.values()}
    types.pop("given", None)  # which is no setting: the names of those that were given
    if types.pop("experiment", None):
        types |= {one.name: one.type for one in fields(Experiment)}
    return types


def keys(command: Callable[..., None]) -> set[str]:
    """Dotted names of all settings that a command takes."""
    types = _types(command)
    nested = {f"{name}.{one.name}" for name, kind in types.items() if is_dataclass(kind) for one in fields(kind)}
    return nested | {name for name, kind in types.items() if not is_dataclass(kind)}


ALL_KEYS = set[str]().union(*map(keys, COMMANDS.values())) - {"config"}  # of `experiment`, and a flag of all others


class _CommandParser(ArgumentParser):
    """The parser of one command: of a config file, it reads what the command takes.

    A switch needs no value. Outside of sections text is taken as it is, a list is given as words, and dashes may stand
    for underscores.
    """

    takes: frozenset[str] = frozenset()

    def add_argument(self, *names: str, **options: Any) -> Any:
        if options.get("type") is bool:
            options |= {"nargs": "?", "const": True}
        if "." in names[0]:
            return super().add_argument(*names, **options)
        if options.get("default", "") is None:  # text, of which `null` is one, or a list of them (jsonargparse's `+`)
            words = {"nargs": "+"} if names[-1].endswith("+") else {}
            names, options = names[:1], {"type": str, "default": None, "help": options["help"]} | words
        aliases = [name.replace("_", "-") for name in names]
        return super().add_argument(*dict.fromkeys([*names, *aliases]), **options)

    def parse_string(self, content: str, *arguments: Any, **options: Any) -> Namespace:
        with suppress(yaml.YAMLError):  # for which jsonargparse has a message
            loaded = yaml.load(content, Loader=yaml_text.TextLoader)
            if isinstance(loaded, dict):
                content = yaml.safe_dump(_without(loaded, ALL_KEYS - self.takes))
        parsed: Namespace = super().parse_string(content, *arguments, **options)
        return parsed


def _without(content: dict[Any, Any], others: set[str], prefix: str = "") -> dict[Any, Any]:
    """A config without the settings that only other commands take; what no command takes is left to be refused."""
    kept = {}
    for key, value in content.items():
        name = f"{prefix}{key}"
        rest = _without(value, others, f"{name}.") if isinstance(value, dict) else value
        if name not in others and (rest or not isinstance(value, dict)):
            kept[key] = rest
    return kept


def build_parser() -> ArgumentParser:
    """The parser with one subcommand per command."""
    parser = ArgumentParser(
        prog="textadv",
        description="Adversarial and virtual adversarial text classification. Without a command: quickstart, "
        "or finetune where flags are given.",
        allow_abbrev=False,
        exit_on_error=False,
        parser_mode=yaml_text.PARSER_MODE,
        version="{textadv}, torch {torch}, Python {python}".format(**versions.versions()),
    )
    subcommands = parser.add_subcommands(dest="command", required=True)
    for name, command in COMMANDS.items():
        files: list[str | PathLike[str]] = [glob.escape(str(QUICKSTART_CONFIG))] if command is quickstart else []
        description = str(getdoc(command)).partition("\n\nArgs:")[0]
        one = _CommandParser(
            description=description, default_config_files=files, allow_abbrev=False, exit_on_error=False
        )
        one.takes = frozenset(keys(command))
        if "config" not in signature(command).parameters:  # which `experiment` reads itself: a grid of experiments
            one.add_argument(
                "--config", action="config", help="YAML file of an experiment, or a name such as imdb/small"
            )
        one.add_function_arguments(command, as_group=False, skip={"experiment", "given"})
        if "experiment" in signature(command).parameters:
            one.add_class_arguments(Experiment, as_group=False)
        subcommands.add_subcommand(name, one, help=description.partition("\n")[0])
    return parser


def complete(arguments: Sequence[str]) -> list[str]:
    """Put in the command where none is named: `quickstart` without arguments, `finetune` with some."""
    if not arguments:
        return ["quickstart"]
    if arguments[0].startswith("-") and arguments[0] not in ("-h", "--help", "--version"):
        return ["finetune", *arguments]
    return list(arguments)


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The YAML files that are given, found by their names, and all other arguments.

    Raises:
        InputError: There is no such config.
    """
    files: list[str] = []
    others: list[str] = []
    values = iter(arguments)
    for value in values:
        flag, equals, name = value.partition("=")
        if flag == "--config" and (name := name if equals else next(values, "")):
            files.append(str(configs.find_config(name)))
        else:
            others.append(value)
    return files, others


def _message(error: argparse.ArgumentError, files: Sequence[str]) -> str:
    """The error in one line; where a YAML file cannot be read as one, with the file's name."""
    message = " ".join(str(error).split())
    if message.startswith("the following arguments are required"):
        return f"--{message.rpartition('.')[2]} is needed"  # of `evaluate.checkpoint`
    return f"{', '.join(files)}: {message}" if files and "config:" in message else message


def parse(arguments: Sequence[str]) -> tuple[Callable[..., None], dict[str, Any]]:
    """The command that is meant, and its arguments.

    Raises:
        InputError: There is no such command, or it takes no such argument.
    """
    parser = build_parser()
    files, (command_name, *others) = _split(complete(arguments))
    for file in files:
        yaml_text.check_file(file)
    try:  # of two values the later one wins: a flag's over a file's
        parsed = parser.parse_args([command_name, *(f"--config={file}" for file in files), *others])
    except argparse.ArgumentError as error:
        raise InputError(_message(error, files)) from None
    command = COMMANDS[parsed.command]
    types = _types(command)
    for name, kind in types.items():
        value = parsed[parsed.command][name]
        if is_dataclass(kind) and not isinstance(value, Namespace):
            raise InputError(f'Parser key "{name}": holds settings by their names, not a single value')
        if value is None and NoneType not in get_args(kind):
            raise InputError(f"--{name}: must not be null")
    objects = parser.instantiate(parsed)[parsed.command]
    settings = {name: objects[name] for name in types}
    parameters = signature(command).parameters
    if "experiment" in parameters:
        settings["experiment"] = Experiment(**{one.name: settings[one.name] for one in fields(Experiment)})
    if "given" in parameters:
        settings["given"] = None if files else _given(parser, [command_name, *others])
    return command, {name: settings[name] for name in parameters}


def _given(parser: ArgumentParser, arguments: Sequence[str]) -> frozenset[str]:
    """Dotted names of the settings that arguments give."""
    parsed = parser.parse_args(arguments, defaults=False)
    return frozenset(parsed[parsed.command].as_flat().__dict__)


def run(arguments: Sequence[str]) -> None:
    """Parse the arguments and carry the command out.

    Raises:
        InputError: The input is wrong.
    """
    openmp.bound_spinning()
    command, settings = parse(arguments)
    trainer: Any = settings["experiment"].trainer if "experiment" in settings else settings.get("trainer")
    if command in TRAINING and processes.are_to_be_started(trainer):
        sys.exit(processes.run_all(run, arguments, trainer))
    # `prepare` has none, and computes nothing; `predict --onnx` computes without torch.
    if trainer is not None and settings.get("onnx") is None:
        from textadv import precision
        from textadv.system import machine

        machine.prepare_machine()
        precision.allow_tf32(trainer.tf32)
        machine.device(trainer)  # one that is not there is refused before hours of work, not after them
    command(**settings)


def main() -> None:
    """Entry point: wrong input, and what the system refuses, is one line on stderr and exit code 2."""
    try:
        run(sys.argv[1:])
    except ProcessLostError as error:
        print(f"textadv: error: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(141)
    except KeyboardInterrupt:
        print("textadv: interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        message = refusal(error)
        if message is None:
            raise
        traceback.clear_frames(error.__traceback__)  # closes the bar of a loop that it came from
        print(f"textadv: error: {one_line(message)}", file=sys.stderr)
        sys.exit(2)
