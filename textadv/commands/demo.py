"""`demo`: a page to try a classifier on."""

from contextlib import suppress
from pathlib import Path

from textadv.errors import InputError
from textadv.settings import DeviceSettings

LAST_PORT = 2**16 - 1


def demo(checkpoint: str, trainer: DeviceSettings, port: int = 8000) -> None:
    """Serve a page on this machine that shows what a classifier makes of a text that you type.

    It shows the probabilities of the classes, what perturbations of the embeddings do to them, the words on which these
    fall, and the strongest replacement of words. Ctrl-C ends it.

    Args:
        checkpoint: Checkpoint of a classifier, or the folder of its run.
        trainer: The device.
        port: Where the page is, on 127.0.0.1; 0 for any free port.
    """
    from textadv.checkpoints import load_classifier
    from textadv.demo.explain import Explainer
    from textadv.demo.page import render
    from textadv.demo.server import DemoServer
    from textadv.evaluation.report.subjects import Subject
    from textadv.system.machine import device

    if not 0 <= port <= LAST_PORT:
        raise InputError(f"--port {port}: must be from 0 to {LAST_PORT}")
    loaded = load_classifier(Path(checkpoint))
    subject = Subject.of(Path(checkpoint), loaded.card)
    explainer = Explainer(loaded, subject.epsilon, device(trainer))
    with DemoServer(port, render(subject, loaded), explainer.explain) as server, suppress(KeyboardInterrupt):
        print(f"demo of {checkpoint}: {server.url} (Ctrl-C ends it)", flush=True)
        server.serve_forever()
