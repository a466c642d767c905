"""Drive Chromium by its DevTools protocol over a pipe: pages of a real server, with what they load and complain of."""

import base64
import json
import os
import shutil
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DESKTOP, PHONE = (1280, 900), (390, 844)
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # the browser itself calls its vendor
    "--remote-debugging-pipe",
)
_ANSWERS_WITHIN_S = 60.0


class BrowserError(AssertionError):
    """The browser refused a command, or did not answer."""


class Browser:
    """A browser that answers commands of the protocol. `events`: what it told since, oldest first."""

    def __init__(self, folder: Path) -> None:
        assert PROGRAM is not None
        to_browser, self._to = os.pipe()
        self._from, from_browser = os.pipe()
        # The protocol is spoken on the descriptors 3 (to the browser) and 4 (from it).
        redirect = f'exec 3<&{to_browser} 4>&{from_browser}; exec "$0" "$@"'
        argv = ["bash", "-c", redirect, PROGRAM, *_FLAGS, f"--user-data-dir={folder}", "about:blank"]
        self._process = subprocess.Popen(
            argv, pass_fds=(to_browser, from_browser), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_browser)
        os.close(from_browser)
        self._number = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self._heard = threading.Condition()
        self.events: deque[dict[str, Any]] = deque()
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, method: str, *, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command, and wait for its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        with self._heard:
            if not self._heard.wait_for(lambda: message["id"] in self._answers, _ANSWERS_WITHIN_S):
                raise BrowserError(f"no answer to {method}")
            answer = self._answers.pop(message["id"])  # type: ignore[arg-type]
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _listen(self) -> None:
        rest = b""
        with suppress(OSError):
            while data := os.read(self._from, 1 << 20):
                *messages, rest = (rest + data).split(b"\0")
                with self._heard:
                    for message in map(json.loads, messages):
                        if "id" in message:
                            self._answers[message["id"]] = message
                        else:
                            self.events.append(message)
                    self._heard.notify_all()

    def close(self) -> None:
        """End the browser."""
        with suppress(OSError, BrowserError):
            self.send("Browser.close")
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._from)


class Tab:
    """A page of a browser, with a cookie jar of its own. `console`: complaints; `requests`: addresses it asked for."""

    def __init__(self, browser: Browser, *, scripts: bool = True) -> None:
        self._browser = browser
        self._context = browser.send("Target.createBrowserContext")["browserContextId"]
        target = browser.send("Target.createTarget", url="about:blank", browserContextId=self._context)["targetId"]
        self._session = browser.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.console: list[str] = []
        self.requests: list[str] = []
        self.received: dict[str, int] = {}
        self._finished: dict[str, str] = {}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.show()
        if not scripts:
            self.send("Emulation.setScriptExecutionDisabled", value=True)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command to this page."""
        return self._browser.send(method, session=self._session, **parameters)

    def show(self, size: tuple[int, int] = DESKTOP, *, scheme: str = "light", media: str = "") -> None:
        """Choose the size of the window, and how it is shown: light or dark, `print`."""
        width, height = size
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", media=media, features=features)

    def open(self, url: str) -> None:
        """Open an address, and wait until it is loaded and its scripts have had their turn."""
        self._take_events()
        self.console.clear()
        self.requests.clear()
        self.received.clear()
        told = self.send("Page.navigate", url=url)
        if "errorText" in told:
            raise BrowserError(f"{url}: {told['errorText']}")
        self.wait_for_load()

    def wait_for_load(self) -> None:
        """Wait until the page is loaded."""
        self.wait_until("document.readyState === 'complete'")
        time.sleep(0.05)
        self._take_events()

    def evaluate(self, expression: str) -> Any:
        """Evaluate an expression, also a promise, in the page; AssertionError where it throws."""
        done = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in done:
            raise BrowserError(json.dumps(done["exceptionDetails"])[:2000])
        return done["result"].get("value")

    def wait_until(self, expression: str, *, within_s: float = 20.0) -> None:
        """Wait until an expression is true in the page."""
        give_up_at = time.monotonic() + within_s
        while True:
            with suppress(BrowserError):  # the page may be on its way to another one
                if self.evaluate(f"Boolean({expression})"):
                    return
            assert time.monotonic() < give_up_at, f"not within {within_s} s: {expression}"
            time.sleep(0.02)

    def click(self, selector: str) -> None:
        """Click the middle of an element, as a mouse does, once the page shows it there.

        A page that scrolls smoothly is still on its way when it has been asked to scroll: the scroll is instant here.
        """
        find = (
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center', behavior: 'instant'});"
            " const b = e.getBoundingClientRect(), x = b.x + b.width / 2, y = b.y + b.height / 2;"
            " return e.contains(document.elementFromPoint(x, y)) ? [x, y] : null })()"
        )
        self.wait_until(find)
        place = self.evaluate(find)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def follow(self, selector: str) -> None:
        """Click what leads to another page, and wait until that is loaded."""
        self.evaluate("window.left_behind = true")
        self.click(selector)
        self.wait_until("window.left_behind === undefined")
        self.wait_for_load()

    def type(self, selector: str, text: str) -> None:
        """Put text into a field."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")
        self.send("Input.insertText", text=text)

    def press(self, key: str, *, code: int, modifiers: int = 0) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, modifiers=modifiers
            )

    def text(self, selector: str = "main") -> str:
        """Return the text of an element as it is shown."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    def screenshot(self, file: Path, *, whole: bool = True) -> None:
        """Take a picture of the page."""
        options: dict[str, Any] = {"format": "png"}
        if whole:
            size = self.send("Page.getLayoutMetrics")["cssContentSize"]
            options |= {
                "captureBeyondViewport": True,
                "clip": {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 6000), "scale": 1},
            }
        file.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", **options)["data"]))

    def print_to(self, file: Path) -> None:
        """Print the page to a PDF file."""
        data = self.send("Page.printToPDF", printBackground=False, preferCSSPageSize=True)["data"]
        file.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        """Forget the page and its cookies."""
        self._browser.send("Target.disposeBrowserContext", browserContextId=self._context)

    @property
    def bytes_received(self) -> int:
        """How much the page's requests transferred so far, headers included."""
        self._take_events()
        return sum(self.received.values())

    def _take_events(self) -> None:
        with suppress(IndexError):
            while True:
                event = self._browser.events.popleft()
                if event.get("sessionId") == self._session:
                    self._take(event["method"], event["params"])

    def _take(self, method: str, told: Mapping[str, Any]) -> None:
        match method:
            case "Log.entryAdded":
                entry = told["entry"]
                self.console.append(f"{entry['level']}: {entry['text']} {entry.get('url', '')}")
            case "Runtime.consoleAPICalled":
                self.console.append(f"{told['type']}: {[each.get('value') for each in told['args']]}")
            case "Runtime.exceptionThrown":
                self.console.append(json.dumps(told["exceptionDetails"])[:1000])
            case "Network.requestWillBeSent":
                if not told["request"]["url"].startswith("data:"):
                    self.requests.append(told["request"]["url"])
            case "Network.loadingFinished":
                self.received[told["requestId"]] = int(told["encodedDataLength"])


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Run a browser with a profile in this folder until the block ends."""
    running = Browser(folder)
    try:
        yield running
    finally:
        running.close()
