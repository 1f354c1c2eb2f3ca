"""Write docs/SETTINGS.md, every command and setting, from the parser of the command line."""

from argparse import Action
from pathlib import Path
from textwrap import fill
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from textadv import cli

TARGET = Path(__file__).with_name("SETTINGS.md")
HEAD = """# Every command and setting

`python docs/reference.py` writes this page from the code. [COMMANDS.md](COMMANDS.md) explains the commands and gives
examples.

Every command but `experiment` also takes `--config`, a YAML file of settings or the name of one in `configs/`, and
`--print_config`, which prints the settings and ends. A flag with a dot is a setting of a section: `--data.seed 1` is
`seed: 1` under `data:` in a file.
"""


def _type_words(hint: Any) -> str:
    """What may stand behind a flag."""
    arguments = get_args(hint)
    if get_origin(hint) is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if hasattr(hint, "__metadata__"):  # a number or a list with its range
        return f"{_type_words(arguments[0])}, {hint.__metadata__[0].words.removesuffix(', below 2^63')}"
    if NoneType in arguments:
        return f"{', '.join(_type_words(one) for one in arguments if one is not NoneType)}, or `null`"
    if get_origin(hint) is list:
        return f"list of {_type_words(arguments[0])}"
    return {bool: "`true`, `false`", str: "text", int: "integer", float: "number"}[hint]


def _row(action: Action) -> str:
    hint = getattr(action, "_typehint", action.type)
    value = str(action.default).lower() if isinstance(action.default, bool) else action.default
    default = "required" if action.required else "" if value is None else f"`{value}`"
    cells = [f"`{action.option_strings[0]}`", _type_words(hint), default, " ".join(str(action.help).split())]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _table(actions: list[Action]) -> str:
    return "\n".join(["| flag | value | default | meaning |", "|---|---|---|---|", *map(_row, actions)])


def page() -> str:
    """The whole page, Markdown."""
    commands = {name: _settings(parser) for name, parser in _commands(cli.build_parser()).items()}
    sections: dict[str, dict[str, Action]] = {}
    for actions in commands.values():
        for name, action in actions.items():
            if "." in name:
                sections.setdefault(name.partition(".")[0], {})[name] = action
    parts = [HEAD]
    for command, actions in commands.items():
        own = [action for name, action in actions.items() if "." not in name]
        others = [
            f"`--{section}`" if known.keys() <= actions.keys() else ", ".join(f"`--{name}`" for name in taken)
            for section, known in sections.items()
            if (taken := [name for name in known if name in actions])
        ]
        text = str(cli.COMMANDS[command].__doc__).partition("\n\n    Args:")[0]
        parts.append(f"## {command}\n\n" + "\n".join(line.removeprefix("    ") for line in text.splitlines()) + "\n")
        parts.append(_table(own) + "\n")
        if others:
            line = f"Settings that it takes as well: {', '.join(others)}."
            parts.append(fill(line, 120, break_on_hyphens=False) + "\n")
    for section, known in sections.items():
        parts.append(f"## Settings of {section}\n\n{_table(list(known.values()))}\n")
    return "\n".join(parts)


def _commands(parser: Any) -> dict[str, Any]:
    return next(action.choices for action in parser._actions if action.dest == "command")


def _settings(parser: Any) -> dict[str, Action]:
    """The flags of a command that are settings, by name."""
    return {action.dest: action for action in parser._actions if hasattr(action, "_typehint")}


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
