"""A real Chromium, driven by Debian's chromedriver over its own protocol."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
WHY_NOT = "needs a browser and its driver: apt-get install chromium chromium-driver"
HAS_BROWSER = CHROMIUM is not None and DRIVER is not None

_ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")


class Browser:
    """One tab."""

    def __init__(self, session_url: str) -> None:
        self._url = session_url

    def open(self, page: Path) -> None:
        call("POST", f"{self._url}/url", {"url": page.as_uri()})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script's body in the page; gives what it returns."""
        return call("POST", f"{self._url}/execute/sync", {"script": script, "args": list(arguments)})

    def later(self, script: str) -> Any:
        """Run a script whose last argument is called with the result, when it is there."""
        return call("POST", f"{self._url}/execute/async", {"script": script, "args": []})

    def command(self, name: str, **parameters: Any) -> Any:
        """A command of the DevTools protocol."""
        return call("POST", f"{self._url}/goog/cdp/execute", {"cmd": name, "params": parameters})

    def complaints(self) -> list[str]:
        """What the page wrote to the console, errors of scripts and refused loads among it."""
        return [entry["message"] for entry in call("POST", f"{self._url}/se/log", {"type": "browser"})]

    def picture(self, out: Path, width: int = 1120, height: int = 0) -> None:
        """The page, or its upper part, as a PNG file."""
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        whole = height or self.run("return document.documentElement.scrollHeight")
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=whole, deviceScaleFactor=1, mobile=False)
        self.later("setTimeout(arguments[0], 400)")
        out.write_bytes(base64.b64decode(call("GET", f"{self._url}/screenshot")))


def call(method: str, url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())["value"]


@contextlib.contextmanager
def started() -> Iterator[Browser]:
    """A browser, and its end."""
    assert DRIVER is not None
    driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert driver.stdout is not None
    try:
        port = next(line.rpartition(" ")[2].strip(". \n") for line in driver.stdout if "successfully on port" in line)
        options = {"binary": CHROMIUM, "args": list(_ARGUMENTS)}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        made = call("POST", f"http://127.0.0.1:{port}/session", {"capabilities": {"alwaysMatch": wanted}})
        session_url = f"http://127.0.0.1:{port}/session/{made['sessionId']}"
        yield Browser(session_url)
        call("DELETE", session_url)
    finally:
        driver.terminate()
        driver.wait()
        driver.stdout.close()
