"""The page and what stands behind it, served to this machine alone."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from threading import Lock
from typing import Any

from textadv.demo.explain import Explanation
from textadv.errors import InputError
from textadv.evaluation import report

ADDRESS = "127.0.0.1"
NAMES = (ADDRESS, "localhost")  # by which the page may be asked for: any other name leads here by a trick
MOST_BYTES = 2**18  # of a request
MOST_DISCARDED = 2**24
SECONDS = 30  # that a browser may be silent within a request
OWN, REPORT = Path(__file__).parent, Path(str(report.__file__)).parent
FILES = {  # what the page loads
    "/page.css": (OWN, "text/css"),
    "/page.js": (OWN, "text/javascript"),
    "/report.css": (REPORT, "text/css"),  # the look of both
}
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'; img-src data:; script-src 'self'; "
    "style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class DemoServer(ThreadingTCPServer):
    """Serves a page and explains the texts that it sends, one at a time.

    Args:
        port: Where to listen on this machine; 0 for any free port.
        page: The page, HTML.
        explain: What it asks for; its `InputError` is shown on the page.

    Raises:
        InputError: The port is in use, or is not for this user.
    """

    allow_reuse_address = True  # a server that has just ended leaves its port behind for a minute
    daemon_threads = True

    def __init__(self, port: int, page: str, explain: Callable[[str], Explanation]) -> None:
        self.page, self._explain, self._lock = page, explain, Lock()
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            raise InputError(f"--port {port}: {error.strerror}") from None

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{ADDRESS}:{self.server_address[1]}/"

    def explain(self, text: str) -> Explanation:
        """Explain a text when all others are done: a classifier takes all cores by itself."""
        with self._lock:
            return self._explain(text)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that does not wait for its answer: the next letter has been typed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: DemoServer
    timeout = SECONDS

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if not self._is_own():
            self._refuse(HTTPStatus.FORBIDDEN, "this page is for this machine only")
        elif path == "/":
            self._answer(HTTPStatus.OK, "text/html", self.server.page)
        elif path in FILES:
            folder, kind = FILES[path]
            self._answer(HTTPStatus.OK, kind, (folder / path[1:]).read_text(encoding="utf-8"))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")

    def do_POST(self) -> None:
        if not self._is_own():
            self._refuse(HTTPStatus.FORBIDDEN, "this page is for this machine only")
        elif self.path != "/explain":
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")
        elif self.headers.get_content_type() != "application/json":  # which no foreign form can send
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a text is sent as application/json")
        elif not re.fullmatch(r"[0-9]{1,9}", length := self.headers.get("Content-Length", "")):
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "the length of the text is not given")
        elif int(length) > MOST_BYTES:
            self.rfile.read(min(int(length), MOST_DISCARDED))  # else the browser may miss the answer
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the text is too long")
        else:
            self._explain(self.rfile.read(int(length)))

    def _explain(self, body: bytes) -> None:
        try:
            text = json.loads(body)["text"]
            if not isinstance(text, str):
                raise TypeError
        except (ValueError, TypeError, KeyError, RecursionError):
            self._refuse(HTTPStatus.BAD_REQUEST, 'a text is sent as {"text": "..."}')
            return
        try:
            found = self.server.explain(text)
        except InputError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        else:
            self._answer(HTTPStatus.OK, "application/json", json.dumps(asdict(found), allow_nan=False))

    def _is_own(self) -> bool:
        """Whether the request is for this machine by its name, and from this page if it is from any.

        A foreign page could else have its own name lead here, and read what is answered (DNS rebinding).
        """
        host = self.headers.get("Host", "")
        return host.partition(":")[0] in NAMES and self.headers.get("Origin", f"http://{host}") == f"http://{host}"

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        self._answer(status, "application/json", json.dumps({"error": message}))

    def _answer(self, status: HTTPStatus, kind: str, content: str) -> None:
        body = content.encode("utf-8", "replace")
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        return "textadv"

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: texts are nobody's business, and the terminal is the user's."""
