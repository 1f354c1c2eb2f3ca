"""The page, as `page.html.jinja` has it; what it shows of a text, `page.js` puts in."""

from pathlib import Path

from textadv.checkpoints import LoadedClassifier
from textadv.evaluation.report.page import page_environment
from textadv.evaluation.report.subjects import Subject


def render(subject: Subject, loaded: LoadedClassifier) -> str:
    """The page without any text.

    Args:
        subject: The checkpoint.
        loaded: Its classifier.
    """
    environment = page_environment(Path(__file__).parent)
    settings = loaded.card["settings"]
    return environment.get_template("page.html.jinja").render(
        name=subject.name,
        epsilon=subject.epsilon,
        method=settings["finetuning"]["method"],
        encoder=settings["model"]["encoder"],
        temperature=loaded.card.get("temperature"),
    )
