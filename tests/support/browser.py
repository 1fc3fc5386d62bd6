"""A headless Chromium, driven over the DevTools protocol through two pipes: nothing but the browser is needed."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

EXECUTABLE = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --force-color-profile=srgb"
)


class Page:
    """One tab. Keeps what it asked of the network and what went wrong in it."""

    def __init__(self, to, back):
        self._to, self._back, self._buffer, self._number, self._session = to, back, b"", 0, None
        self.requests, self.errors = [], []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            got = self._read()
            if got.get("id") == message["id"]:
                assert "error" not in got, got
                return got["result"]
            self._note(got)

    def _read(self):
        end = time.monotonic() + 60
        while b"\0" not in self._buffer:
            assert select.select([self._back], [], [], max(0, end - time.monotonic()))[0], "the browser says nothing"
            part = os.read(self._back, 1 << 16)
            assert part, "the browser is gone"
            self._buffer += part
        line, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(line)

    def _note(self, event):
        about = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(about["exceptionDetails"])
        elif event.get("method") == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning"):
            self.errors.append(about["args"])
        elif event.get("method") == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.errors.append(about["entry"])

    def open(self, file, *, width=1200, height=1000, dark=False, touch=False):
        phone = {"deviceScaleFactor": 2 if touch else 1, "mobile": touch}
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, **phone)
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=file.resolve().as_uri())
        while self.evaluate("document.readyState") != "complete":
            time.sleep(0.02)
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def evaluate(self, script):
        """The value of an expression in the page; a promise is waited for."""
        got = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in got, got
        return got["result"].get("value")

    def middle(self, selector):
        """Where the middle of an element is."""
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        return self.evaluate(f"[{box}.x + {box}.width / 2, {box}.y + {box}.height / 2]")

    def mouse(self, kind, x, y, **more):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **{"button": "left", "buttons": 1} | more)

    def drag(self, selector, dx, dy, **more):
        x, y = self.middle(selector)
        self.mouse("mousePressed", x, y, clickCount=1, **more)
        for part in (0.5, 1.0):
            self.mouse("mouseMoved", x + part * dx, y + part * dy, **more)
        self.mouse("mouseReleased", x + dx, y + dy, clickCount=1, **more)

    def touch(self, kind, *points):
        self.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y} for x, y in points])

    def press(self, key, code=0, **more):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more)

    def screenshot(self, file, *, whole=True):
        got = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(got["data"]))


@contextlib.contextmanager
def page():
    """A tab of a new browser, which is ended afterwards."""
    (theirs_in, to), (back, theirs_out) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # The browser reads from descriptor 3 and writes to 4.
        command = f'exec "$0" {FLAGS} --remote-debugging-pipe --user-data-dir="$1" 3<&{theirs_in} 4>&{theirs_out}'
        process = subprocess.Popen(
            ["bash", "-c", command, EXECUTABLE, profile],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            yield Page(to, back)
        finally:
            process.terminate()
            process.wait(30)
            os.close(to)
            os.close(back)
