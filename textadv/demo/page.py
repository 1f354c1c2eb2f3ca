"""The page, as `page.html.jinja` has it; what it shows of a text, `page.js` puts in."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from textadv.checkpoints import LoadedClassifier
from textadv.evaluation.report.subjects import Subject


def render(subject: Subject, loaded: LoadedClassifier) -> str:
    """The page without any text.

    Args:
        subject: The checkpoint.
        loaded: Its classifier.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    settings = loaded.card["settings"]
    return environment.get_template("page.html.jinja").render(
        name=subject.name,
        epsilon=subject.epsilon,
        method=settings["finetuning"]["method"],
        encoder=settings["model"]["encoder"],
        temperature=loaded.card.get("temperature"),
    )
