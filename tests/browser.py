"""A page in a real browser, spoken to through a pipe: Chromium's own protocol, and nothing that would be installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["CHROMIUM", "Page"]

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page:
    """An HTML file in a headless browser.

    Args:
        file: The file.
        width: Width of the window, in pixels.
        dark: Whether the reader prefers dark pages.

    Attributes:
        requests: The addresses that were asked for, the file's own apart.
        errors: What went wrong in scripts, and what the console was told.
    """

    def __init__(self, file: Path, width: int = 1280, dark: bool = False):
        self.file, self.width, self.dark = file, width, dark
        self.requests: list[str] = []
        self.errors: list[str] = []
        self._count, self._session = 0, ""

    def __enter__(self) -> Page:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        read, self._write = os.pipe()
        self._read, write = os.pipe()
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += ["--remote-debugging-pipe", "--no-first-run", f"--user-data-dir={self._profile.name}"]
        # The browser reads what it is told at descriptor 3, and answers at 4.
        words = 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", words, "-", str(read), str(write), *map(str, command)],
            pass_fds=(read, write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(read)
        os.close(write)
        self._answers = os.fdopen(self._read, "rb")
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.ask(f"{domain}.enable")
        shape = {"width": self.width, "height": 900, "deviceScaleFactor": 1, "mobile": self.width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", **shape)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if self.dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Page.navigate", url=self.file.resolve().as_uri())
        self.value(
            "new Promise((done) => document.readyState == 'complete' ? done(1) : addEventListener('load', done))"
        )
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._write)
        self._answers.close()
        self._profile.cleanup()

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A method of the protocol and its result."""
        self._count += 1
        order: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            order["sessionId"] = self._session
        os.write(self._write, json.dumps(order).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(answer["error"])
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        """The next message, which is noted if it is an event."""
        text = bytearray()
        while (letter := self._answers.read(1)) != b"\0":
            if not letter:
                raise RuntimeError("the browser has ended")
            text += letter
        message = json.loads(text)
        parameters = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            address = parameters["request"]["url"]
            if address != self.file.resolve().as_uri() and not address.startswith("data:"):
                self.requests.append(address)
        elif message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(parameters["exceptionDetails"]))
        elif message.get("method") in ("Runtime.consoleAPICalled", "Log.entryAdded"):
            self.errors.append(str(parameters))
        return message

    def value(self, script: str) -> Any:
        """The value of an expression of JavaScript in the page."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"])
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Presses a key, such as `Enter` or `Tab`."""
        code = {"Enter": 13, "Tab": 9}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            known = {"key": key, "code": key, "windowsVirtualKeyCode": code, "nativeVirtualKeyCode": code}
            self.ask("Input.dispatchKeyEvent", type=kind, **known, **(text if kind == "keyDown" else {}))

    def picture(self) -> bytes:
        """The whole page as a PNG file."""
        import base64

        found = self.ask("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        return base64.b64decode(found["data"])
