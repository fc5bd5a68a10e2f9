"""Chromium without a window, driven over its debugging pipe (JSON, each message ended by NUL)."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")


class Browser:
    """One page of one browser."""

    def __init__(self, to_fd: int, from_fd: int) -> None:
        self._to = os.fdopen(to_fd, "wb", buffering=0)
        self._from = os.fdopen(from_fd, "rb")
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self._rest = b""
        self.complaints: list[str] = []  # exceptions of scripts, breaches of the policy, dialogs
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def close(self) -> None:
        self._session = None
        self.ask("Browser.close")
        self._to.close()
        self._from.close()

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._note(answer)

    def open(self, url: str) -> None:
        """Returns once it is loaded; what its scripts do then is for ``wait_for``."""
        self.ask("Page.navigate", url=url)
        here = f"location.href === {json.dumps(url)}"
        self.wait_for(f"{here} && document.readyState === 'complete'")

    def size(self, width: int, height: int, scheme: str = "light") -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1}
        self.ask("Emulation.setDeviceMetricsOverride", mobile=width < 600, **metrics)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.ask("Emulation.setEmulatedMedia", features=[feature])

    def value(self, expression: str) -> Any:
        """What an expression of the page gives, as JSON; a promise is awaited."""
        answer = self.ask(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression: str, limit_s: float = 20.0) -> Any:
        """The first value of the expression that is true."""
        until = time.monotonic() + limit_s
        while not (found := self.value(expression)):
            shown = self.value("document.body?.innerText")
            assert time.monotonic() < until, f"{expression}: not within {limit_s:g} s: {shown}"
            time.sleep(0.05)
        return found

    def text(self, selector: str) -> str:
        return self.value(f"document.querySelector({json.dumps(selector)}).innerText")

    def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        content = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": content["width"], "height": content["height"], "scale": 1}
        shot = self.ask("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = self._from.read1(1 << 16)
            assert piece, "the browser has ended"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif method == "Page.javascriptDialogOpening":
            self.complaints.append(f"dialog: {params['message']}")
        elif method == "Log.entryAdded" and params["entry"]["source"] in ("security", "violation"):
            self.complaints.append(params["entry"]["text"])


@contextmanager
def browser(folder: Path, *more: str) -> Iterator[Browser]:
    """A browser of its own that is ended; skips the test where there is no Chromium.

    ``more``: options of Chromium, such as those of its fake microphone.
    """
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(_NAMES)} is on the PATH")
    child_in, to_fd = os.pipe()
    from_fd, child_out = os.pipe()
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
               "--no-first-run", "--disable-dev-shm-usage", "--hide-scrollbars",
               f"--user-data-dir={folder}", *more]  # fmt: skip
    # the browser reads from descriptor 3 and writes to 4, whatever numbers ours have
    far = 64 + max(child_in, child_out)  # neither of them
    shell = f"exec {far}<&{child_in} {far + 1}>&{child_out}; exec 3<&{far} 4>&{far + 1}"
    shell += f' {far}<&- {far + 1}>&-; exec "$0" "$@"'
    process = subprocess.Popen(
        ["bash", "-c", shell, program, *options, "about:blank"],
        pass_fds=(child_in, child_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(child_in)
    os.close(child_out)
    try:
        found = Browser(to_fd, from_fd)
        yield found
        found.close()
        process.wait(20)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
