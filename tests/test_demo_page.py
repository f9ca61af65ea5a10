"""The page of `fas-jax demo` in a real browser, whose camera shows rendered videos.

FAS_JAX_SCREENSHOTS names a folder for pictures of the page.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fas_jax.base.settings import Synthesis
from fas_jax.commands.demo import overlays
from fas_jax.deployment.bundle_folder import SHIPPED, load_bundle
from fas_jax.deployment.demo.sessions import Judge, Limits
from fas_jax.pixels.gate.settings import Gate
from fas_jax.synthetic.plan import official_videos
from fas_jax.synthetic.recording import record
from tests.browser import Tab, browse, chromium, write_camera
from tests.test_demo import Running

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    chromium()
    bundle = load_bundle(SHIPPED)
    running = Running(Judge(bundle, "", overlays(bundle, bundle.default), Gate(frames=1)), Limits(idle=300))
    yield running
    running.stop()


def camera(path: Path, bona_fide: bool) -> Path:
    """A rendered video, as a file for the browser's camera."""
    video = next(each for each in official_videos("msu_mfsd") if each.bona_fide == bona_fide)
    frames = np.stack(list(record(video, Synthesis(frames=12, scale=0.5), None).frames))
    even = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]
    return write_camera(path, np.ascontiguousarray(even))


@pytest.mark.parametrize("bona_fide", [True, False])
def test_the_page_judges_a_camera_and_works_by_keyboard(server: Running, tmp_path: Path, bona_fide: bool) -> None:
    name = "bona-fide" if bona_fide else "attack"
    shots = Path(os.environ.get("FAS_JAX_SCREENSHOTS", tmp_path))

    async def visit(tab: Tab) -> None:
        await tab.screenshot(shots / f"{name}-start.png")
        await tab.press("Tab")
        assert await tab.value("document.activeElement.id") == "camera"
        await tab.press("Enter")
        await tab.until("document.getElementById('score').textContent.includes(' 4 frames')")
        decision = await tab.value("document.getElementById('verdict').dataset.decision")
        assert decision in ("bona fide", "attack")
        if not bona_fide:
            assert decision == "attack"
        assert "say nothing about real faces" in await tab.value("document.body.innerText")
        await tab.screenshot(shots / f"{name}-1280.png")
        await tab.value("document.getElementById('explain').focus()")
        await tab.press("Enter")
        await tab.until("!document.getElementById('overlay').hidden && document.getElementById('picture').naturalWidth")
        await tab.resize(390, 844)
        await asyncio.sleep(0.3)
        await tab.screenshot(shots / f"{name}-390.png")
        assert await tab.value("document.documentElement.scrollWidth") <= 390
        await tab.value("document.getElementById('stop').focus()")
        await tab.press("Enter")
        await tab.until("document.getElementById('verdict').textContent === 'Stopped'")
        assert not tab.faults

    browse(server.url, camera(tmp_path / f"{name}.y4m", bona_fide), visit)
