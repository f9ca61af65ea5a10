"""The processes that decode: as many as there is work, kept for the next files, without the caller's script."""

import multiprocessing
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation
from fas_jax.pixels import decoding
from fas_jax.pixels.decoding import Decoded, decode_files, decode_videos

RENDITIONS = {"whole": Rendition(size=16)}


@pytest.fixture(autouse=True)
def no_pools(monkeypatch):
    monkeypatch.setattr(decoding, "_kept", {})
    monkeypatch.setattr(decoding, "worker_count", lambda asked: asked or 3)
    yield
    for pool in decoding._kept.values():
        pool.stop()
        pool.join()


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((20, 30, 3), 40 * i, np.uint8))
    return paths


def mine() -> set[int]:
    return {each.pid for each in multiprocessing.active_children()}


def test_one_picture_takes_one_process_which_waits_for_the_next(pictures):
    before = mine()
    for path in pictures[:3]:
        (found,) = decode_files([path], Preparation(), RENDITIONS)
        assert isinstance(found, Decoded)
        assert len(mine() - before) == 1
        started = mine()
    assert list(decode_files([], Preparation(), RENDITIONS)) == []
    assert mine() == started
    assert all(isinstance(each, Decoded) for each in decode_files(pictures, Preparation(), RENDITIONS))
    # No more than cores, beside the one that waits.
    assert len(mine() - before) == 4


@pytest.mark.parametrize("settings", [Preparation(), Preparation(workers=1)])
def test_a_generator_that_is_held_open_hides_nothing_and_may_be_dropped(pictures, settings):
    main = sys.modules["__main__"]
    for outcomes in (
        decode_files(pictures, settings, RENDITIONS),
        decode_videos(pictures[0].parent, [path.name for path in pictures], settings, RENDITIONS),
    ):
        next(outcomes)
        assert sys.modules["__main__"] is main
        outcomes.close()
    assert len(list(decode_files(pictures, settings, RENDITIONS))) == 5


def test_processes_do_not_import_the_script(tmp_path, pictures, monkeypatch):
    """Which would start the whole program again."""
    script = tmp_path / "script.py"
    script.write_text(f"open({str(tmp_path / 'imported')!r}, 'w')")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(script), raising=False)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None, raising=False)
    (found,) = decode_files(pictures[:1], Preparation(), RENDITIONS)
    assert isinstance(found, Decoded)
    assert not (tmp_path / "imported").exists()
