"""A real browser, driven through the pipe of its debugging protocol: no client library is needed."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((path for name in BROWSERS if (path := shutil.which(name))), None)
MISSING = f"no browser is installed: none of {', '.join(BROWSERS)}"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
SECONDS = 60.0  # until a page must be as expected


class Page:
    """A page in a browser, to be typed into and looked at."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers  # both ends of the pipe
        self._number, self._session, self._rest = 0, "", b""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the protocol, and wait for its result."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        message = json.dumps(command).encode() + b"\0"
        while message:
            message = message[os.write(self._commands, message) :]
        while True:
            answer = json.loads(self._next_message())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _next_message(self) -> bytes:
        while b"\0" not in self._rest:
            more = os.read(self._answers, 2**16)
            assert more, "the browser has ended"
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        return message

    def value(self, expression: str) -> Any:
        """What JavaScript makes of an expression."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """Wait until an expression is true, and return it."""
        end = time.monotonic() + SECONDS
        while not (found := self.value(expression)):
            assert time.monotonic() < end, (
                f"{expression}: not within {SECONDS} s; {self.value('document.body.innerText')}"
            )
            time.sleep(0.05)
        return found

    def open(self, url: str) -> None:
        """Go to an address."""
        self.send("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete'")

    def type(self, text: str) -> None:
        """Type a text where the cursor is."""
        self.send("Input.insertText", text=text)

    def press(self, key: str, times: int = 1) -> None:
        """Press a key that types nothing, such as `ArrowRight`."""
        code = {"ArrowLeft": 37, "ArrowRight": 39, "Tab": 9, "Home": 36, "End": 35, "Enter": 13}[key]
        extra = {"text": "\r"} if key == "Enter" else {}
        for _ in range(times):
            for kind in ("keyDown", "keyUp"):
                self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **extra)

    def resize(self, width: int, height: int, dark: bool = False) -> None:
        """Change the size of the window, and the colour scheme that its user prefers."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])


@contextmanager
def browser_page(folder: Path) -> Iterator[Page]:
    """Start a browser with a fresh profile in a folder, and end it afterwards."""
    (from_us, commands), (answers, to_us) = os.pipe(), os.pipe()
    flags = [*FLAGS, "--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}", "about:blank"]
    start = f'exec "$0" "$@" 3<&{from_us} 4>&{to_us}'  # the protocol's own numbers
    process = subprocess.Popen(
        ["bash", "-c", start, str(BROWSER), *flags], pass_fds=(from_us, to_us), stderr=subprocess.DEVNULL
    )
    os.close(from_us)
    os.close(to_us)
    try:
        page = Page(commands, answers)
        yield page
        page.send("Browser.close")
    finally:
        process.terminate()
        process.wait()
        os.close(commands)
        os.close(answers)
