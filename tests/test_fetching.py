"""Fetching weights, from a server of the tests' own."""

import hashlib
import resource
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from fas_jax.base.errors import UserError
from fas_jax.models import fetching
from fas_jax.models.fetching import fetch

CONTENT = bytes(range(256)) * 9000
NAME = "densenet201-c1103571.pth"


class Handler(BaseHTTPRequestHandler):
    content, limit, ranges = CONTENT, 10**9, True
    asked: list[str | None] = []  # noqa: RUF012

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        Handler.asked.append(wanted)
        first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        if first >= len(self.content):
            self.send_error(416)
            return
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(self.content) - first))
        self.end_headers()
        self.wfile.write(self.content[first : first + self.limit])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setitem(fetching.PUBLISHED, NAME, ("sha256", hashlib.sha256(CONTENT).hexdigest()[:8]))
    monkeypatch.setattr(Handler, "asked", [])
    running = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}/{NAME}"
    running.shutdown()
    thread.join()
    running.server_close()


def test_fetched_once_and_kept(server: str, tmp_path: Path) -> None:
    found = fetch("densenet201", tmp_path / "cache", server)
    assert found.path == tmp_path / "cache" / NAME
    assert found.path.read_bytes() == CONTENT
    assert found.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert fetch("densenet201", tmp_path / "cache", server).was_there
    assert Handler.asked == [None]
    assert [path.name for path in found.path.parent.iterdir()] == [NAME]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranges: bool) -> None:
    monkeypatch.setattr(Handler, "ranges", ranges)
    monkeypatch.setattr(Handler, "limit", 1_000_000)
    with pytest.raises(UserError, match=r"broke after 1000000 of 2304000 bytes.*run this again"):
        fetch("densenet201", tmp_path, server)
    assert not (tmp_path / NAME).exists()
    monkeypatch.setattr(Handler, "limit", 10**9)
    assert fetch("densenet201", tmp_path, server).path.read_bytes() == CONTENT
    assert Handler.asked == [None, "bytes=1000000-"]


def test_a_whole_part_is_only_checked(server: str, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT)
    assert fetch("densenet201", tmp_path, server).path.read_bytes() == CONTENT


def test_what_was_not_published_is_refused(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "content", CONTENT[:-1] + b"x")
    with pytest.raises(UserError, match=r"not densenet201-c1103571\.pth as published"):
        fetch("densenet201", tmp_path, server)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / NAME).write_bytes(b"own")
    with pytest.raises(UserError, match="delete it"):
        fetch("densenet201", tmp_path, server)
    assert (tmp_path / NAME).read_bytes() == b"own"


def test_of_several_at_once_one_fetches(server: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: fetch("densenet201", tmp_path, server), range(4)))
    assert Handler.asked == [None]
    assert sorted(each.was_there for each in found) == [False, True, True, True]
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_full_disk_is_told_and_the_rest_comes_later(server: str, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handled = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"cannot write .*densenet201-c1103571\.pth: File too large"):
            fetch("densenet201", tmp_path, server)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handled)
    assert not (tmp_path / NAME).exists()
    assert fetch("densenet201", tmp_path, server).path.read_bytes() == CONTENT
    assert Handler.asked == [None, "bytes=1000000-"]


def test_without_a_network_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot get http://127.0.0.1:9/x.*copy the file.*efficientnet_lite0"):
        fetch("densenet201", tmp_path, "http://127.0.0.1:9/x")
    with pytest.raises(UserError, match="did you mean 'densenet201'"):
        fetch("densenet20", tmp_path)
    with pytest.raises(UserError, match="--source"):
        fetch("densenet201", tmp_path, "file:///etc/passwd")


def test_every_source_has_a_published_hash() -> None:
    assert {source.rsplit("/", 1)[1] for source in fetching.SOURCES.values()} <= set(fetching.PUBLISHED)
