"""The server over real HTTP."""

import json
import re
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from threading import Thread
from typing import Any

import pytest

from textadv.demo.explain import Explanation, Word
from textadv.demo.server import FILES, MOST_BYTES, DemoServer
from textadv.errors import InputError
from textadv.evaluation.predictor import Prediction

PAGE = '<script src="/page.js"></script> \u00e9'
ANSWER = Explanation([Word("a <b>", 1.0, 5, True)], [0.0], [Prediction("\u00e9", {"\u00e9": 1.0}, False)], None)
JSON = {"Content-Type": "application/json"}


def explain(text: str) -> Explanation:
    if text == "wrong":
        raise InputError("the text is wrong")
    if text == "infinite":
        return Explanation([], [float("inf")], [], None)
    return ANSWER


@pytest.fixture(scope="module")
def server() -> Iterator[DemoServer]:
    with DemoServer(0, PAGE, explain) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(
    server: DemoServer, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and content of an answer."""
    connection = HTTPConnection(*server.server_address[:2], timeout=10)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, named)
    answer = connection.getresponse()
    found = answer.status, dict(answer.headers), answer.read()
    connection.close()
    return found


def explanation(server: DemoServer, body: bytes, **headers: str) -> tuple[int, Any]:
    status, _, content = ask(server, "POST", "/explain", body, **{"Content_Type": "application/json"} | headers)
    return status, json.loads(content)


def test_the_page_and_all_that_it_loads(server: DemoServer) -> None:
    status, headers, content = ask(server, "GET", "/")
    assert (status, content.decode("utf-8")) == (200, PAGE)
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    for directive in ("default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"):
        assert directive in headers["Content-Security-Policy"]
    for path in FILES:
        status, headers, content = ask(server, "GET", path)
        assert (status, headers["X-Content-Type-Options"]) == (200, "nosniff")
        assert content
        assert not re.search(rb"https?://", content)  # nothing from elsewhere
    assert ask(server, "GET", "/?a=b")[0] == 200


@pytest.mark.parametrize("path", ["/explain", "/server.py", "/../server.py", "/page.css/..", "/page.css%00"])
def test_there_are_no_other_files(server: DemoServer, path: str) -> None:
    status, _, content = ask(server, "GET", path)
    assert (status, json.loads(content)) == (404, {"error": "there is no such page"})
    assert ask(server, "POST", path + "x", b"{}", **JSON)[0] == 404


def test_a_text_is_explained(server: DemoServer) -> None:
    status, found = explanation(server, '{"text": "\u00e9"}'.encode())
    assert status == 200
    assert found["words"] == [{"text": "a <b>", "share": 1.0, "shade": 5, "known": True}]
    assert found["predictions"] == [{"label": "\u00e9", "probabilities": {"\u00e9": 1.0}, "truncated": False}]
    assert found["change"] is None
    assert explanation(server, rb'{"text": "\ud800"}')[0] == 200  # which UTF-8 cannot spell


def test_what_is_wrong_with_a_text_is_said(server: DemoServer) -> None:
    assert explanation(server, b'{"text": "wrong"}') == (400, {"error": "the text is wrong"})


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"1", b"null", b"{}", b'{"text": 1}', b'{"text": null}', b'"text"', b"\xff", b"[" * 100_000],
)
def test_what_is_no_text_is_refused(server: DemoServer, body: bytes) -> None:
    status, found = explanation(server, body)
    assert status == 400
    assert list(found) == ["error"]


def test_a_request_is_bounded(server: DemoServer) -> None:
    body = json.dumps({"text": "a" * 16 * MOST_BYTES}).encode()
    assert explanation(server, body) == (413, {"error": "the text is too long"})
    fitting = json.dumps({"text": "a" * (MOST_BYTES - 100)}).encode()
    assert explanation(server, fitting)[0] == 200
    for length in ("-1", "1e3", "", "9" * 5000):
        assert ask(server, "POST", "/explain", None, Content_Length=length, **JSON)[0] == 411


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_what_a_foreign_form_could_send_is_refused(server: DemoServer, kind: str) -> None:
    assert explanation(server, b'{"text": "a"}', Content_Type=kind)[0] == 415


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("localhost:9", 200),  # through a tunnel
        ("127.0.0.1", 200),
        ("evil.example:{port}", 403),
        ("localhost.evil.example:{port}", 403),
        ("evil.example", 403),
        ("[::1]:{port}", 403),
        ("", 403),
    ],
)
def test_other_names_of_this_machine_are_refused(server: DemoServer, host: str, status: int) -> None:
    host = host.format(port=server.server_address[1])
    assert ask(server, "GET", "/", Host=host)[0] == status
    assert ask(server, "GET", "/page.js", Host=host)[0] == status
    assert explanation(server, b'{"text": "a"}', Host=host)[0] == status
    assert explanation(server, b'{"text": "a"}', Host=host, Origin=f"http://{host}")[0] == status


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://{own}", ""])
def test_other_pages_are_refused(server: DemoServer, origin: str) -> None:
    own = "{}:{}".format(*server.server_address)
    assert explanation(server, b'{"text": "a"}', Origin=f"http://{own}")[0] == 200
    assert explanation(server, b'{"text": "a"}', Origin=origin.format(own=own))[0] == 403


def test_it_listens_on_this_machine_only(server: DemoServer) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.server_address[1]}/"


def test_a_browser_that_goes_away_leaves_no_trace(server: DemoServer, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        with socket.create_connection(server.server_address[:2]) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # closes it with a reset
            connection.sendall(b"POST /explain HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n")
            connection.sendall(b"Content-Length: 13\r\n\r\n")
    assert explanation(server, b'{"text": "a"}')[0] == 200
    assert capfd.readouterr() == ("", "")


def test_an_address_that_is_none_is_answered(server: DemoServer, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_connection(server.server_address[:2]) as connection:
        host = "{}:{}".format(*server.server_address).encode()
        connection.sendall(b"GET http://[ HTTP/1.0\r\nHost: " + host + b"\r\n\r\n")
        assert b" 404 " in connection.recv(100)
    assert capfd.readouterr() == ("", "")


def test_a_mistake_of_ours_is_not_silent(server: DemoServer, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConnectionError):
        explanation(server, b'{"text": "infinite"}')
    assert "ValueError" in capfd.readouterr().err


def test_a_port_in_use_is_one_line(server: DemoServer) -> None:
    port = server.server_address[1]
    with pytest.raises(InputError, match=f"--port {port}: .*in use"):
        DemoServer(port, PAGE, explain)
