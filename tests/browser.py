"""A headless browser that a test drives by the DevTools protocol; tests skip where Chromium is not installed."""

import asyncio
import base64
import json
import re
import shutil
import subprocess
import tempfile
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy
import pytest
import websockets

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"]
FLAGS += [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
]
SOFTWARE = ("--enable-unsafe-swiftshader",)
NONE = ("--disable-software-rasterizer",)  # no WebGL at all
SECONDS = 240  # that anything may take


class Browser:
    """One page in one browser."""

    def __init__(self, loop, socket):
        self._loop = loop
        self._socket = socket
        self._number = 0
        self.requests = []  # addresses that the page asked for, itself and data not counted
        self.errors = []  # of its console

    def call(self, method, **parameters):
        """Returns what the browser answers."""
        return self._loop.run_until_complete(asyncio.wait_for(self._call(method, parameters), SECONDS))

    async def _call(self, method, parameters):
        self._number += 1
        number = self._number
        await self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(await self._socket.recv())
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self._noted(answer)

    def _noted(self, event):
        name, facts = event.get("method"), event.get("params", {})
        if name == "Network.requestWillBeSent":
            self.requests.append(facts["request"]["url"])
        elif name == "Runtime.exceptionThrown":
            self.errors.append(facts["exceptionDetails"].get("exception", {}).get("description", str(facts)))
        elif name == "Log.entryAdded" and facts["entry"]["level"] == "error":
            self.errors.append(facts["entry"]["text"])

    def open(self, address, width, height):
        """Opens a page in a window of so many pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        for domain in ("Network", "Runtime", "Log", "Page"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=address)
        self.value("new Promise(done => document.readyState === 'complete' ? done() : addEventListener('load', done))")
        self.value("ready")

    def value(self, expression):
        """Returns the value of a JavaScript expression, awaited."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def picture(self, pose, lens, width, height, what=0):
        """Returns what the page draws, (H, W, 4) uint8; pose: right, down, ahead, place."""
        words = ", ".join(json.dumps(part) for part in (pose, lens, width, height, what))
        text = self.value(
            f"(() => {{ const b = picture({words}); let s = ''; for (let i = 0; i < b.length; i += 8192) "
            "s += String.fromCharCode(...b.subarray(i, i + 8192)); return btoa(s); })()"
        )
        return numpy.frombuffer(base64.b64decode(text), numpy.uint8).reshape(height, width, 4)

    def mouse(self, kind, x, y, **more):
        """Sends a mouse event: mousePressed, mouseMoved, mouseReleased or mouseWheel."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)


@contextmanager
def browser(address, flags=SOFTWARE, size=(320, 240)):
    """Gives a browser that has opened an address."""
    profile = tempfile.mkdtemp()
    words = [CHROMIUM, *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    loop = asyncio.new_event_loop()
    try:
        listening = next(line for line in process.stderr if "DevTools listening" in line)
        port = re.search(r":(\d+)/", listening)[1]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            page = next(each for each in json.load(answer) if each["type"] == "page")
        connected = websockets.connect(page["webSocketDebuggerUrl"], max_size=2**28, ping_interval=None)
        socket = loop.run_until_complete(asyncio.wait_for(connected, SECONDS))
        driven = Browser(loop, socket)
        driven.open(address, *size)
        try:
            yield driven
        finally:
            loop.run_until_complete(socket.close())
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
        loop.close()
        shutil.rmtree(Path(profile), ignore_errors=True)
