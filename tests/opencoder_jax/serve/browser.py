"""A headless Chromium that a test drives, by its DevTools protocol over two pipes."""

import base64
import itertools
import json
import os
import queue
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, _NAMES)), None)
_SECONDS = 60.0


class Browser:
    """A browser with one page; a context manager that ends it.

    Attributes:
      problems: what the page wrote as an error, and exceptions that nobody caught.
      requested: addresses that the page asked for.
    """

    def __init__(self, profile: Path) -> None:
        assert BROWSER is not None
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        flags = [
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--disable-extensions", "--disable-dev-shm-usage", f"--user-data-dir={profile}"),
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            "--remote-debugging-pipe",
        ]
        # The browser reads descriptor 3 and writes descriptor 4.
        command = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", command, BROWSER, *flags, "about:blank"],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._numbers = itertools.count(1)
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self.problems: list[str] = []
        self.requested: list[str] = []
        self._session: str | None = None
        threading.Thread(target=self._listen, daemon=True).start()
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        attached = self._send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._send(f"{domain}.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._write)

    def open(self, url: str) -> None:
        """Goes to a page and waits until it is loaded."""
        self._send("Page.navigate", url=url)
        self.wait(
            f"location.href.startsWith({json.dumps(url)}) && document.readyState === 'complete'"
        )

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        done = self._send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, condition: str, seconds: float = _SECONDS) -> None:
        """Returns when an expression is true in the page."""
        deadline = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < deadline, f"never: {condition}; {self.problems}"
            time.sleep(0.02)

    def key(self, name: str, *, control: bool = False) -> None:
        """Presses and releases a key."""
        codes = {"Enter": 13, "Escape": 27, "End": 35, "Home": 36, "ArrowRight": 39, "Tab": 9}
        values = {
            "key": name,
            "code": name,
            "windowsVirtualKeyCode": codes[name],
            "modifiers": 2 if control else 0,
        }
        if name == "Enter":
            # With the character, or it presses no button.
            self._send("Input.dispatchKeyEvent", type="keyDown", text="\r", **values)
        else:
            self._send("Input.dispatchKeyEvent", type="rawKeyDown", **values)
        self._send("Input.dispatchKeyEvent", type="keyUp", **values)

    def write(self, text: str) -> None:
        """As if it were typed where the focus is."""
        self._send("Input.insertText", text=text)

    def window(self, width: int, height: int = 900) -> None:
        self._send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def prefer(self, scheme: str) -> None:
        """As if the reader's system were `dark` or `light`."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._send("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._send("Page.captureScreenshot")["data"]))

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._answers.get(timeout=_SECONDS)
            if answer["id"] == number:
                assert "error" not in answer, answer
                return answer["result"]

    def _listen(self) -> None:
        with os.fdopen(self._read, "rb") as stream:
            held = b""
            while piece := stream.read1(1 << 16):
                *messages, held = (held + piece).split(b"\0")
                for message in map(json.loads, messages):
                    self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._answers.put(message)
            return
        method, values = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(str(values["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning"):
            self.problems.append(str(values["args"]))
        elif method == "Log.entryAdded" and values["entry"]["level"] == "error":
            self.problems.append(str(values["entry"]))
        elif method == "Network.requestWillBeSent":
            self.requested.append(values["request"]["url"])
