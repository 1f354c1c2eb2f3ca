"""YAML files of settings: plain scalars are read as the text that stands there, as the value of a flag is read."""

from pathlib import Path
from typing import Any

import yaml
from jsonargparse import set_loader

from textadv.errors import InputError

MOST_LEVELS = 50  # of nesting: settings need five, and at a few hundred Python's stack is full


class TextLoader(yaml.SafeLoader):
    """Reads every plain scalar but null as the text that stands there.

    The type of a setting says what the text means: `target: 1` and `target: no` name classes, `steps: 1` is a number.
    """

    levels = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Refuse what is nested so deeply that Python's stack would be full, here or where it is read later."""
        if self.levels > MOST_LEVELS:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem=f"nested more than {MOST_LEVELS} levels deep", problem_mark=mark)
        self.levels += 1
        node = super().compose_node(parent, index)
        self.levels -= 1
        return node


TextLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag == "tag:yaml.org,2002:null"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
PARSER_MODE = "text"
set_loader(PARSER_MODE, lambda stream: yaml.load(stream, Loader=TextLoader), (yaml.YAMLError,))


def check_file(file: str) -> None:
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
