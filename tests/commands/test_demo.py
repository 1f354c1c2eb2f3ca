"""`demo` on the command line."""

import json
import re
import socket
from pathlib import Path
from threading import Thread
from urllib.request import Request, urlopen

import pytest
from command_line import Run, refused
from untrained import untrained_classifier

from textadv.checkpoints import CARD, save_classifier, write_checkpoint
from textadv.demo.server import DemoServer

TEXT = "a film with plot"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A classifier as safetensors."""
    loaded = untrained_classifier()
    loaded = loaded._replace(card=loaded.card | {"temperature": 2.0, "step": 3, "versions": {}, "labels": 1})
    loaded.card["settings"]["seed"] = 0
    save_classifier(tmp_path / "model", loaded)
    return tmp_path / "model"


def visited(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], checkpoint: Path
) -> tuple[str, dict[str, object]]:
    """The page of a checkpoint, and what it is told about a text; then Ctrl-C is pressed."""
    found: list[bytes] = []
    serve = DemoServer.serve_forever

    def visit(server: DemoServer) -> None:
        thread = Thread(target=serve, args=(server, 0.01))
        thread.start()
        body = json.dumps({"text": TEXT}).encode()
        for request in (server.url, Request(f"{server.url}explain", body, {"Content-Type": "application/json"})):
            with urlopen(request, timeout=60) as answer:
                found.append(answer.read())
        server.shutdown()
        thread.join()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(DemoServer, "serve_forever", visit)
        run("demo", "--checkpoint", checkpoint, "--port", "0", "--trainer.accelerator", "cpu")
    said = capsys.readouterr()
    assert re.fullmatch(
        rf"demo of {re.escape(str(checkpoint))}: http://127\.0\.0\.1:\d+/ \(Ctrl-C ends it\)\n", said.out
    )
    page, answer = found
    return page.decode("utf-8"), json.loads(answer)


def test_a_page_for_every_kind_of_checkpoint(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page, answer = visited(run, monkeypatch, capsys, folder)
    assert "Try model" in page
    assert "calibrated, with the temperature 2" in page
    capsys.readouterr()
    run("predict", "--checkpoint", folder, "--text", TEXT, "--trainer.accelerator", "cpu")
    assert answer["predictions"][0] == json.loads(capsys.readouterr().out)  # type: ignore[index]

    loaded = untrained_classifier()
    weights = {f"model.{name}": value for name, value in loaded.classifier.state_dict().items()}
    run_folder = tmp_path / "a <b> run"
    run_folder.mkdir()
    content = {CARD: loaded.card, "global_step": 3, "state_dict": weights}
    write_checkpoint(run_folder / "best.ckpt", content)
    page, _ = visited(run, monkeypatch, capsys, run_folder)
    assert "Try a &lt;b&gt; run" in page
    assert "<b>" not in page
    assert "are not calibrated" in page


def test_what_is_wrong_is_one_line(
    run: Run, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    own = ("--checkpoint", folder, "--trainer.accelerator", "cpu")
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        cases = {
            (): "--checkpoint is needed",
            ("--checkpoint", "gone"): "gone: no such checkpoint",
            ("--checkpoint", tmp_path / "empty"): "empty",
            (*own, "--port", port): f"--port {port}: Address already in use",
            (*own, "--port", 70_000): "--port 70000: must be from 0 to 65535",
            (*own, "--port", -1): "--port -1: must be from 0 to 65535",
            (*own, "--port", "http"): '"port"',
            (*own, "--text", "a film"): "--text",
        }
        for arguments, message in cases.items():
            assert message in refused(run, capsys, "demo", *arguments)
