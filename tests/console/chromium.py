"""A headless Chromium, spoken to over a pipe: a page as a person has it, without another library.

The DevTools protocol is JSON between zero bytes on file descriptors 3 and 4; see
`--remote-debugging-pipe`.
"""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
ANSWER_S: Final = 30.0


def found() -> str | None:
    """Where a Chromium is on this machine, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Screen(NamedTuple):
    """A screen in CSS pixels."""

    wide: int
    tall: int


class Chromium:
    """One browser with one page. `with Chromium(path, folder) as browser: browser.open(url)`."""

    def __init__(self, path: str, folder: Path) -> None:
        ours, theirs = os.pipe(), os.pipe()
        # Children find what they read at 3, and what they write to at 4.
        self._to, self._from = ours[1], theirs[0]
        command = (
            f'exec 3<&{ours[0]} 4>&{theirs[1]}; exec "$0" --headless=new --no-sandbox '
            f"--remote-debugging-pipe --disable-gpu --disable-dev-shm-usage --no-first-run "
            f'--hide-scrollbars --user-data-dir="$1" about:blank'
        )
        self._process = subprocess.Popen(
            ["bash", "-c", command, path, str(folder / "profile")],
            pass_fds=(ours[0], theirs[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(ours[0])
        os.close(theirs[1])
        os.set_blocking(self._from, False)
        self._read, self._number = b"", 0
        self.events: list[dict[str, Any]] = []
        self._session = ""

    def __enter__(self) -> Self:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, 15)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, 9)
            self._process.wait(10)
        os.close(self._to)
        os.close(self._from)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One call and its answer; events that come between are kept."""
        self._number += 1
        said: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            said["sessionId"] = self._session
        os.write(self._to, json.dumps(said).encode() + b"\0")
        give_up_s = time.monotonic() + ANSWER_S
        while time.monotonic() < give_up_s:
            for message in self._messages():
                if message.get("id") == self._number:
                    assert "error" not in message, message
                    result: dict[str, Any] = message["result"]
                    return result
                self.events.append(message)
            time.sleep(0.01)
        raise TimeoutError(f"{method}: no answer in {ANSWER_S:.0f} s")

    def _messages(self) -> list[dict[str, Any]]:
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self._from, 1 << 16):
                self._read += part
        *whole, self._read = self._read.split(b"\0")
        return [json.loads(one) for one in whole]

    def look(self, screen: Screen, *, dark: bool = False) -> None:
        """Be a screen of that size, and somebody who prefers light or dark."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=screen.wide,
            height=screen.tall,
            deviceScaleFactor=1,
            mobile=screen.wide < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url: str) -> None:
        """Go there."""
        self.call("Page.navigate", url=url)

    def js(self, text: str) -> Any:
        """What an expression of the page is; a promise is awaited."""
        told = self.call("Runtime.evaluate", expression=text, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def until(self, text: str, within_s: float = 20.0) -> None:
        """Wait until an expression of the page is true; one that fails is not true yet."""
        give_up_s = time.monotonic() + within_s
        guarded = f"(() => {{ try {{ return !!({text}); }} catch {{ return false; }} }})()"
        while not self.js(guarded):
            assert time.monotonic() < give_up_s, f"not within {within_s:.0f} s: {text}"
            time.sleep(0.1)

    def press(self, key: str) -> None:
        """A key, pressed and let go."""
        code = {"Tab": 9, "Enter": 13}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                **(text if kind == "keyDown" else {}),
            )

    def shoot(self, to: Path) -> None:
        """The whole page as a PNG."""
        told = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        to.write_bytes(base64.b64decode(told["data"]))

    def complaints(self) -> list[str]:
        """What the browser has found wrong: exceptions, refused by the policy, logged as errors."""
        self.js("0")  # whatever has been said by now has come
        wanted: dict[str, Callable[[dict[str, Any]], str]] = {
            "Runtime.exceptionThrown": str,
            "Log.entryAdded": lambda told: (
                f"{told['entry']['text']} {told['entry'].get('url', '')}"
                if told["entry"]["level"] == "error"
                else ""
            ),
        }
        said = [
            wanted[event["method"]](event["params"])
            for event in self.events
            if event.get("method") in wanted
        ]
        return [one for one in said if one]
