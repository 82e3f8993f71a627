"""A headless Chromium for tests, driven over WebDriver; needs no package."""

import base64
import json
import shutil
import subprocess
import time
from pathlib import Path
from urllib.request import Request, urlopen

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --force-color-profile=srgb"
)
MISSING = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
KEYS = {"left": "\ue012", "up": "\ue013", "right": "\ue014", "down": "\ue015"}
KEYS |= {"enter": "\ue007", "escape": "\ue00c", "f1": "\ue031", "shift": "\ue008"}


class Browser:
    """One browser with one tab at first; used as a context manager.

    Args:
        folder: Empty folder for its profile.
        size: `(width, height)` of the page, in CSS pixels.
        phone: Whether to pass for a phone with a touch screen.
    """

    def __init__(self, folder: Path, size=(1280, 800), phone=False) -> None:
        words = ["chromedriver", "--port=0"]
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for line in self.process.stdout:
            if "started successfully on port" in line:
                self.address = f"http://127.0.0.1:{int(line.split()[-1].rstrip('.'))}/session"
                break
        arguments = [*FLAGS.split(), f"--user-data-dir={folder}"]
        arguments.append("--window-size={},{}".format(*size))
        options = {"args": arguments, "binary": shutil.which("chromium")}
        if phone:
            metrics = {"width": size[0], "height": size[1], "pixelRatio": 2, "touch": True}
            options["mobileEmulation"] = {"deviceMetrics": metrics}
        wanted = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}
        try:
            self.address += "/" + self._ask("", {"capabilities": wanted})["sessionId"]
        except BaseException:
            self.process.terminate()
            raise
        if not phone:
            inner = self.run("return [outerWidth - innerWidth, outerHeight - innerHeight]")
            rect = {"width": size[0] + inner[0], "height": size[1] + inner[1]}
            self._ask("/window/rect", rect)

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_) -> None:
        try:
            self._ask("", method="DELETE")
        finally:
            self.process.terminate()
            self.process.wait(10)

    def open(self, url: str, new_tab: bool = False) -> str:
        """Go to an address and return the handle of the tab."""
        if new_tab:
            self.turn_to(self._ask("/window/new", {"type": "tab"})["handle"])
        self._ask("/url", {"url": url})
        return self._ask("/window")

    def turn_to(self, tab: str) -> None:
        """Go on in another tab."""
        self._ask("/window", {"handle": tab})

    def close_tab(self) -> None:
        """Close this tab."""
        self._ask("/window", method="DELETE")

    def tabs(self) -> list[str]:
        """Return the handles of all tabs."""
        return self._ask("/window/handles")

    def run(self, script: str):
        """Run JavaScript and return its result."""
        return self._ask("/execute/sync", {"script": script, "args": []})

    def text(self, id: str) -> str:
        """Return what an element says, whether it is visible or not."""
        return self.run(f"return document.getElementById('{id}').textContent")

    def until(self, script: str, seconds: float = 60) -> None:
        """Wait until an expression is true."""
        end = time.perf_counter() + seconds
        while not self.run(f"return Boolean({script})"):
            assert time.perf_counter() < end, f"it never came about: {script}"
            time.sleep(0.05)

    def keys(self, *names: str, down: bool = True, up: bool = True) -> None:
        """Press keys one after the other, and then let go of them."""
        codes = [KEYS.get(name, name) for name in names]
        actions = [{"type": "keyDown", "value": code} for code in codes] if down else []
        actions += [{"type": "keyUp", "value": code} for code in codes[::-1]] if up else []
        self._ask("/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def touch(self, selector: str, seconds: float) -> None:
        """Put a finger on the first such element, and lift it after a while."""
        x, y = self.run(
            f"const r = document.querySelector('{selector}').getBoundingClientRect();"
            "return [Math.round(r.x + r.width / 2), Math.round(r.y + r.height / 2)]"
        )
        actions = [
            {"type": "pointerMove", "duration": 0, "x": x, "y": y},
            {"type": "pointerDown", "button": 0},
            {"type": "pause", "duration": round(1000 * seconds)},
            {"type": "pointerUp", "button": 0},
        ]
        finger = {"type": "pointer", "id": "finger", "parameters": {"pointerType": "touch"}}
        self._ask("/actions", {"actions": [finger | {"actions": actions}]})

    def type(self, text: str) -> None:
        """Type letters."""
        for letter in text:
            self.keys(letter)

    def screenshot(self, path: Path) -> None:
        """Save what the page shows."""
        Path(path).write_bytes(base64.b64decode(self._ask("/screenshot")))

    def _ask(self, path: str, data: dict | None = None, method: str | None = None):
        body = None if data is None else json.dumps(data).encode()
        method = method or ("GET" if body is None else "POST")
        with urlopen(Request(self.address + path, body, method=method), timeout=120) as answer:
            return json.load(answer)["value"]
