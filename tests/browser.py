"""A real browser for tests: Chromium without a window, driven by its DevTools protocol over Tornado's web sockets."""

import asyncio
import base64
import itertools
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tornado import httpclient, websocket

from tests import background


def chromium() -> str:
    """Its path; the test is skipped where there is none."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("there is no Chromium on this machine")
    return found


def write_camera(path: Path, frames: np.ndarray, rate: int = 10) -> Path:
    """Frames, uint8 RGB [t h w 3] with even sides, as the Y4M file that Chromium shows as its camera, in a loop."""
    height, width = frames.shape[1:3]
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{rate}:1 Ip A1:1 C420jpeg\n".encode())
        for frame in frames:
            file.write(b"FRAME\n" + cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420).tobytes())
    return path


class Tab:
    """One page that is open."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._numbers = socket, itertools.count(1)
        self.faults: list[str] = []
        """What the page's console has complained about."""

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.write_message(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(await asyncio.wait_for(self._socket.read_message(), 60))
            if message.get("method") == "Runtime.exceptionThrown":
                self.faults.append(str(message["params"]["exceptionDetails"]))
            elif message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
                self.faults.append(message["params"]["entry"]["text"])
            elif message.get("id") == number:
                assert "error" not in message, message
                found: dict[str, Any] = message["result"]
                return found

    async def value(self, expression: str) -> Any:
        """What JavaScript says."""
        found = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, expression: str, limit: float = 120) -> Any:
        """Waits until JavaScript gives something that is true."""
        for _ in range(round(limit / 0.1)):
            if found := await self.value(expression):
                return found
            await asyncio.sleep(0.1)
        raise AssertionError(f"{expression} stays false; the page: {await self.value('document.body.innerText')}")

    async def press(self, key: str) -> None:
        """A key of the keyboard: Tab, Enter."""
        text = {"Enter": {"text": "\r"}}.get(key, {})
        code = {"Tab": 9, "Enter": 13}[key]
        for kind in ("keyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    async def resize(self, width: int, height: int = 900) -> None:
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )

    async def screenshot(self, path: Path) -> None:
        found = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))


def browse(url: str, camera: Path, visit: Callable[[Tab], Any]) -> None:
    """Opens a page in a browser whose camera shows a file, and visits it."""
    with tempfile.TemporaryDirectory() as profile:
        process = background.start(
            "-c",
            "import os, sys; os.execv(sys.argv[1], sys.argv[1:])",
            chromium(),
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
            f"--use-file-for-fake-video-capture={camera}",
            f"--user-data-dir={profile}",
            "--remote-debugging-port=0",
            "about:blank",
        )
        try:
            asyncio.run(_visit(process, Path(profile), url, visit))
        finally:
            background.kill(process)
            process.communicate()


async def _visit(process: Any, profile: Path, url: str, visit: Callable[[Tab], Any]) -> None:
    port = profile / "DevToolsActivePort"
    background.wait_until(lambda: port.exists() and bool(port.read_text()), process, limit=60)
    client = httpclient.AsyncHTTPClient()
    listed = await client.fetch(f"http://127.0.0.1:{port.read_text().split()[0]}/json/list")
    (page,) = [each for each in json.loads(listed.body) if each["type"] == "page"]
    socket = await websocket.websocket_connect(page["webSocketDebuggerUrl"], max_message_size=1 << 26)
    tab = Tab(socket)
    for domain in ("Page", "Runtime", "Log", "DOM"):
        await tab.call(f"{domain}.enable")
    await tab.resize(1280)
    await tab.call("Page.navigate", url=url)
    await tab.until("document.readyState === 'complete' && !!document.getElementById('camera')")
    await visit(tab)
    socket.close()
