"""What one session of the tests compiled serves the next, and no damaged program does."""

import os
import zlib

import pytest

from tests import kept_programs
from tests.kept_programs import close_session, open_session


def write(folder, name, content):
    (folder / f"jit_{name}-cache").write_bytes(content)


def names(folder):
    return sorted(path.name for path in folder.glob("*-cache"))


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "kept"


def test_whole_programs_stay_and_those_cut_off_do_not(kept):
    whole = zlib.compress(b"program" * 100)
    first = open_session(kept)
    write(first, "whole", whole)
    write(first, "cut", whole[:-3])
    write(first, "empty", b"")
    other = open_session(kept)
    close_session(first, kept)
    assert names(kept) == ["jit_whole-cache"]
    # A session that ran at the same time leaves what is there.
    write(other, "whole", whole)
    write(other, "second", whole)
    close_session(other, kept)
    second = open_session(kept)
    assert names(second) == ["jit_second-cache", "jit_whole-cache"]
    assert (second / "jit_whole-cache").read_bytes() == whole
    close_session(second, kept)
    assert not list((kept / "sessions").iterdir())


def test_the_oldest_make_room(kept, monkeypatch):
    session = open_session(kept)
    for number in range(4):
        write(session, number, zlib.compress(bytes([number]) * 50))
        os.utime(session / f"jit_{number}-cache", (number, number))
    size = (session / "jit_0-cache").stat().st_size
    monkeypatch.setattr(kept_programs, "_MOST_BYTES", 2 * size)
    close_session(session, kept)
    assert names(kept) == ["jit_2-cache", "jit_3-cache"]
