"""A headless Chromium that a test drives over its debugging pipe: no driver, no port, no library.

with Chromium(folder) as browser:
    browser.open(page, width=360)
    browser.run("document.title")
    assert not browser.complaints and not browser.requests
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--remote-debugging-pipe", "--hide-scrollbars"),
)


def installed() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


class Chromium:
    """One browser with one tab. ``complaints``: errors of the console, exceptions and violations of the page's policy; ``requests``: every
    address that was asked for, data URLs and the page itself apart, and what the policy stopped too."""

    def __init__(self, folder: Path, timeout_s: float = 90) -> None:
        self.timeout_s = timeout_s
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._number, self._answers, self._buffer = 0, {}, b""
        self._page = ""
        self._session: str | None = None
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        program = installed()
        assert program, "no Chromium here"
        flags = [*_FLAGS, f"--user-data-dir={folder}/profile"]
        # Chromium reads commands from descriptor 3 and writes to 4
        command = ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "chromium", program, *flags]
        self._process = subprocess.Popen(
            command,
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_: object) -> None:
        self._session = None
        try:
            self.send("Browser.close")
            self._process.wait(20)
        except (OSError, AssertionError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the DevTools protocol, and its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + self.timeout_s
        while self._number not in self._answers:
            self._read(until, method)
        answer = self._answers.pop(self._number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        found: dict[str, Any] = answer["result"]
        return found

    def _read(self, until: float, what: str) -> None:
        assert select.select([self._in], [], [], max(0, until - time.monotonic()))[0], f"{what}: Chromium said nothing"
        block = os.read(self._in, 1 << 20)
        assert block, f"{what}: Chromium ended"
        *messages, self._buffer = (self._buffer + block).split(b"\0")
        for text in messages:
            message = json.loads(text)
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self._heard(message["method"], message["params"])

    def _heard(self, event: str, told: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            url = told["request"]["url"]
            self.requests += [url] if not url.startswith(("data:", self._page)) else []
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(told["exceptionDetails"])[:500])
        elif event == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning"):
            self.complaints.append(json.dumps(told["args"])[:500])
        elif event == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.complaints.append(told["entry"]["text"])

    def open(self, page: Path, width: int = 1280, height: int = 900, fragment: str = "") -> None:
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.send("Page.navigate", url="about:blank")  # else another fragment of the same page would not load it anew
        self._page = page.as_uri()
        self.complaints.clear()
        self.requests.clear()
        self.send("Page.navigate", url=f"{self._page}{fragment}")
        until = time.monotonic() + self.timeout_s
        while self.run("`${document.readyState} ${location.href.split('#')[0]}`") != f"complete {self._page}":
            assert time.monotonic() < until, f"{page} does not load"
            time.sleep(0.02)

    def run(self, code: str) -> Any:
        """The value of an expression (a promise is awaited). Raises AssertionError where it throws."""
        answer = self.send("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def expect(self, code: str, wanted: Any) -> None:
        """Waits until an expression has a value."""
        until = time.monotonic() + self.timeout_s
        while (found := self.run(code)) != wanted:
            assert time.monotonic() < until, f"{code} is {found!r}, not {wanted!r}"
            time.sleep(0.02)

    def press(self, key: str) -> None:
        """A key, as a person presses it, wherever the focus is."""
        told = {"key": key, "text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {"key": key}
        self.send("Input.dispatchKeyEvent", type="keyDown", **told)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key)

    def click(self, selector: str) -> None:
        """The mouse on the middle of an element, scrolled to first."""
        found = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}}); "
            "const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=found[0], y=found[1], button="left", clickCount=1)

    def media(self, kind: str) -> None:
        """print, or "" for the screen again."""
        self.send("Emulation.setEmulatedMedia", media=kind)

    def picture(self, path: Path, whole: bool = False) -> None:
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]))

    def pdf(self, path: Path) -> None:
        told = {"printBackground": True, "preferCSSPageSize": True}
        path.write_bytes(base64.b64decode(self.send("Page.printToPDF", **told)["data"]))
