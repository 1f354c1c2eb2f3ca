"""The page in a real browser, from the command line on: type, see the class change, move epsilon."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from browser import BROWSER, MISSING, Page, browser_page
from untrained import untrained_classifier

from textadv.checkpoints import CARD, load_classifier, write_checkpoint
from textadv.demo.explain import Explainer, Explanation
from textadv.evaluation.report.subjects import Subject

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason=MISSING)]
ROOT = Path(__file__).parents[2]
TEXTS = ("A film with plot, and many words!", "one two three")  # of different classes
DONE = "document.getElementById('status').textContent === '' && !document.getElementById('found').hidden"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder, with a name that is wider than a phone."""
    loaded = untrained_classifier()
    weights = {f"model.{name}": value for name, value in loaded.classifier.state_dict().items()}
    folder = tmp_path_factory.mktemp("run") / ("a-name-that-is-much-longer-than-any-line-of-a-phone-is-wide" * 2)
    folder.mkdir()
    write_checkpoint(folder / "best.ckpt", {CARD: loaded.card, "global_step": 3, "state_dict": weights})
    return folder


@pytest.fixture(scope="module")
def url(checkpoint: Path) -> Iterator[str]:
    """The address that the command says; at the end it is stopped by Ctrl-C."""
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # not so in the background
    program = f"{heard}; from textadv.cli import main; main()"
    command = [sys.executable, "-c", program, "demo", "--checkpoint", str(checkpoint), "--port", "0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert f"demo of {checkpoint}: http://127.0.0.1:" in line
        yield line.split()[-4]
        process.send_signal(signal.SIGINT)
        try:
            rest = process.communicate(timeout=60)
        finally:
            process.kill()  # a program that goes on would be waited for without end
    assert (process.returncode, *rest) == (0, "", "")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser_page(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture(scope="module")
def explanations(checkpoint: Path) -> list[Explanation]:
    loaded = load_classifier(checkpoint)
    explainer = Explainer(loaded, Subject.of(checkpoint, loaded.card).epsilon)
    found = [explainer.explain(text) for text in TEXTS]
    assert found[0].predictions[0].label != found[1].predictions[0].label
    return found


def text_of(page: Page, id: str) -> str:
    return str(page.value(f"document.getElementById('{id}').innerText"))


def percent(found: Explanation, step: int, label: str) -> str:
    return f"{100 * found.predictions[step].probabilities[label]:.1f}\u00a0%"


def test_type_and_move_epsilon(page: Page, url: str, explanations: list[Explanation]) -> None:
    """With the keyboard alone."""
    page.resize(1280, 900)
    page.open(url)
    for text, found in zip(TEXTS, explanations, strict=True):
        page.value("document.activeElement.select()")  # the cursor is in the text from the start
        page.type(text)
        label = found.predictions[0].label
        page.wait_for(f"{DONE} && document.getElementById('label').textContent === '{label}'")
        assert text_of(page, "probability") == percent(found, 0, label)
        assert text_of(page, "words").split() == [word.text.strip() for word in found.words]
        shades = page.value("[...document.querySelectorAll('#words mark')].map(mark => mark.className)")
        assert shades == [f"p{word.shade}{'' if word.known else ' unknown'}" for word in found.words]

    found = explanations[1]
    label = found.predictions[0].label
    rows = "[...document.querySelectorAll('#classes tr')].map(row => row.innerText.split(/\\s*\\t\\s*/))"
    for step, keys in ((1, 1), (9, 8)):
        if step == 1:
            page.press("Tab")
        page.press("ArrowRight", keys)
        page.wait_for(f"document.getElementById('epsilon').value === '{step}'")
        perturbed = found.predictions[step]
        assert text_of(page, "size") == f"{found.epsilons[step]:.3g}"
        assert (text_of(page, "perturbed"), text_of(page, "remaining")) == (
            perturbed.label,
            percent(found, step, perturbed.label),
        )
        expected = [[name, percent(found, 0, name), percent(found, step, name)] for name in perturbed.probabilities]
        assert sorted(page.value(rows)) == sorted(expected)
        assert page.value("document.getElementById('epsilon').getAttribute('aria-valuetext')").startswith(
            f"{found.epsilons[step]:.3g}, {perturbed.label}"
        )
    assert percent(found, 9, label) != percent(found, 0, label)

    linked = page.value("location.href")
    page.open("about:blank")
    page.open(linked)
    page.wait_for(f"{DONE} && document.getElementById('epsilon').value === '9'")
    assert page.value("document.getElementById('text').value") == TEXTS[1]
    assert text_of(page, "remaining") == percent(found, 9, found.predictions[9].label)


def test_take_the_text_with_words_replaced(page: Page, url: str, explanations: list[Explanation]) -> None:
    change = explanations[0].change
    assert change is not None
    page.open("about:blank")
    page.open(f"{url}#{urlencode({'text': TEXTS[0]})}")
    page.wait_for(DONE)
    replaced = [new.strip() for old, new in zip(change.before, change.after, strict=True) if old != new]
    assert page.value("[...document.querySelectorAll('#after ins')].map(one => one.innerText)") == replaced
    page.value("document.getElementById('take').focus()")
    page.press("Enter")
    label = change.prediction.label
    page.wait_for(f"{DONE} && document.getElementById('label').textContent === '{label}'")
    assert page.value("document.getElementById('text').value") == "".join(change.after)
    assert text_of(page, "probability") == f"{100 * change.prediction.probabilities[label]:.1f}\u00a0%"


def test_what_is_wrong_is_one_line_on_the_page(page: Page, url: str) -> None:
    page.resize(1280, 900)
    page.open("about:blank")
    page.open(url)
    wrong = "document.getElementById('status').classList.contains('wrong')"
    for text, message in (
        ("zorp", "the classifier knows none of the words in this text"),
        ("two " * 2001, "the text is too long: it has 2,002 tokens, and 2,000 are read here"),
        ("two " * 100_000, "the text is too long"),
        (" ", "there is no text yet"),
    ):
        page.value("document.activeElement.select()")
        page.type(text)
        page.wait_for(f"{wrong} && document.getElementById('status').textContent === '{message}'")
        assert page.value("document.getElementById('found').hidden")


def test_it_fits_a_phone_and_is_no_markup(page: Page, url: str) -> None:
    text = "film <img src=x onerror=\"document.title='evil'\"> <script>plot</script> " + "long" * 60
    for width, height, dark in ((375, 800, False), (375, 800, True), (1280, 900, True)):
        page.resize(width, height, dark)
        page.open("about:blank")
        page.open(f"{url}#{urlencode({'text': text, 'epsilon': 5})}")
        page.wait_for(DONE)
        room, content = page.value("[document.documentElement.clientWidth, document.documentElement.scrollWidth]")
        assert content <= room <= width
        assert page.value("document.querySelectorAll('main img, main script').length") == 0
        assert page.value("document.title") != "evil"
        back = page.value("getComputedStyle(document.body).backgroundColor")
        assert back == ("rgb(21, 25, 30)" if dark else "rgb(255, 255, 255)")
        assert page.value("getComputedStyle(document.querySelector('mark.p5')).backgroundColor") != "rgba(0, 0, 0, 0)"
    loaded = page.value("performance.getEntriesByType('resource').map(one => one.name)")
    assert loaded
    assert all(name.startswith(url) for name in loaded)  # nothing comes from elsewhere
