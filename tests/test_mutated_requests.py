"""The part of the 2,000 mutations of `test_mutations` that are requests to the page's server: none is accepted.

The judge reads pixels, and accepts frames that show the pattern of bona fide videos. A damaged JPEG of such a frame may
still be one, so that only what leaves no whole one is sent of it, and any damage of an attack's.
"""

import contextlib
import socket
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from fas_jax.deployment.decision import Decision
from fas_jax.deployment.demo.sessions import Judge, Limits
from fas_jax.deployment.verdict import Verdict
from tests.mutations import DAMAGING, DESTROYING, REQUESTS, film, pattern, resemblance
from tests.test_demo import Answer, Running, ask

pytestmark = pytest.mark.slow


class Telling(Judge):
    """Accepts frames that all show the pattern of bona fide videos."""

    def __init__(self) -> None:
        self.window, self.interval, self.name, self.decision = 3, 0.25, "telling", Decision(0.9)
        self.bundle = SimpleNamespace(caveats=lambda name: [])  # type: ignore[assignment]
        self.drawn, self.gate = None, None

    def __call__(self, frames: Sequence[np.ndarray], found: Any = None) -> tuple[Verdict, dict[str, Any]]:
        score = min(map(resemblance, frames))
        return Verdict("array", "telling", 0.9, "bona fide" if score >= 0.9 else "attack", score), {}

    def zones(self) -> tuple[float, float]:
        return 0.9, 0.9


LIMITS = Limits(bytes=20_000, pixels=100 * 100, frames=10_000, sessions=3, idle=1000)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    running = Running(Telling(), LIMITS)
    yield running
    running.stop()


def jpeg(shows: bool, seed: int = 0, width: int = 64, height: int = 48) -> bytes:
    shown = film(shows, 1, seed)[0] if (width, height) == (64, 48) else pattern(shows, height, width)
    return bytes(cv2.imencode(".jpg", shown[..., ::-1])[1])


@pytest.fixture
def session(server: Running) -> Iterator[str]:
    name = ask(server, "POST", "sessions").json["session"]
    yield f"sessions/{name}"
    ask(server, "DELETE", f"sessions/{name}")


def show(server: Running, session: str, content: bytes, seconds: object, kind: str = "image/jpeg") -> Answer:
    return ask(server, "POST", f"{session}/frames?seconds={seconds}", content, Content_Type=kind)


def check(answer: Answer, what: str) -> None:
    """Refused with a reason and nothing else, or judged and not accepted."""
    if answer.status == 200:
        assert answer.json["decision"] != "bona fide", what
        return
    assert 400 <= answer.status < 500, f"{what}: {answer.status} {answer.body!r}"
    assert answer.json.keys() == {"reason"}, what
    assert answer.json["reason"], what


def frame_fault(rng: np.random.Generator) -> tuple[str, bytes, object, str]:
    """A frame with one fault: what it is, its bytes, seconds after the frame before it, and its content type."""
    fine, later, kind = jpeg(True, int(rng.integers(99))), 0.5, "image/jpeg"
    attack = jpeg(False, int(rng.integers(99)))
    way = int(rng.integers(8))
    if way == 0:
        name = str(rng.choice(list(DESTROYING)))
        return name, DESTROYING[name](rng, fine), later, kind
    if way in (1, 2):
        name = str(rng.choice(list(DAMAGING)))
        return f"attack, {name}", DAMAGING[name](rng, attack), later, kind
    if way == 3:
        wrong = ["", "image/png", "application/json", "text/plain", "image", "video/mp4", "multipart/form-data", "*/*"]
        return "content type", fine, later, wrong[int(rng.integers(len(wrong)))]
    if way == 4:
        times = [
            "nan",
            "inf",
            "-inf",
            "1e999",
            "",
            "x",
            "0x1",
            "%00",
            "[]",
            "-1",
            "-1e308",
            "1e308",
            "99",
            "%F0%9F",
            "1;2",
        ]
        return "time", fine, times[int(rng.integers(len(times)))], kind
    if way == 5:
        return "too many bytes", fine + rng.bytes(20_000), later, kind
    if way == 6:
        return "too many pixels", jpeg(True, 0, 4 * int(rng.integers(30, 60)), 104), later, kind
    other = b'{"seconds": 0, "frame": [' + rng.bytes(30) if rng.integers(2) else b"[" * 10_000
    return "garbage JSON", other, later, str(rng.choice(["application/json", "image/jpeg"]))


def test_faulty_frames_are_never_accepted_behind_good_ones(server: Running, session: str) -> None:
    time, kinds = 0.0, set()
    for number in range(REQUESTS["frames"]):
        what, content, later, kind = frame_fault(np.random.default_rng([8, number]))
        kinds.add(what)
        fine = show(server, session, jpeg(True, number), time)
        # An attack or a refusal may be among the frames that are judged together: three fine ones are without it.
        while fine.json.get("decision") != "bona fide":
            time += 0.25
            fine = show(server, session, jpeg(True, number), time)
            assert fine.status == 200 or "after that of the frame before" in fine.json["reason"], number
        seconds = time + later if isinstance(later, float) else later
        check(show(server, session, content, seconds, kind), f"{number}: {what}")
        time += 0.25
    assert len(kinds) > 12


def request_fault(rng: np.random.Generator, server: Running, session: str) -> tuple[str, str, dict[str, str]]:
    """A request that the page would not make: method, path and headers."""
    secret = server.root.strip("/")
    at = int(rng.integers(len(secret)))
    wrong = [secret[:at], secret[:at] + "~" + secret[at + 1 :], secret + "A", secret.swapcase(), "%00", ".." * at, ""]
    way = int(rng.integers(5))
    if way == 0:
        return "POST", f"/{wrong[int(rng.integers(len(wrong)))]}/{session}/frames?seconds=1", {}
    if way == 1:
        odd = ["PUT", "GET", "DELETE", "PATCH", "OPTIONS", "BREW", "post", "CONNECT"]
        return odd[int(rng.integers(len(odd)))], f"{session}/frames?seconds=1", {}
    if way == 2:
        origins = [
            "",
            "null",
            "http://evil.example",
            f"https://{server.address}",
            f"http://{server.address}.evil.example",
        ]
        return "POST", f"{session}/frames?seconds=1", {"Origin": origins[int(rng.integers(len(origins)))]}
    if way == 3:
        hosts = ["evil.example", "127.0.0.1:1", f"{server.address}.", f"x@{server.address}", "[::1", "localhost"]
        return "POST", f"{session}/frames?seconds=1", {"Host": hosts[int(rng.integers(len(hosts)))]}
    names = ["none", session[9:-1], session[9:] + "A", "%2e%2e", "a" * 3000, "-", "..", "sessions"]
    return "POST", f"sessions/{names[int(rng.integers(len(names)))]}/frames?seconds=1", {}


def test_requests_of_strangers_are_never_accepted(server: Running, session: str) -> None:
    for number in range(REQUESTS["requests"]):
        method, path, headers = request_fault(np.random.default_rng([9, number]), server, session)
        answer = ask(server, method, path, jpeg(True), **{"Content_Type": "image/jpeg"} | headers)
        what = f"{number}: {method} {path} {headers}"
        assert answer.status != 200, what
        # What is no HTTP request at all does not reach what gives reasons.
        if answer.body or answer.status != 400:
            check(answer, what)
    assert show(server, session, jpeg(True), 0).json["decision"] == "bona fide"


def bytes_fault(rng: np.random.Generator, server: Running, session: str) -> bytes:
    """What is no request, or one that does not end, or asks for another protocol."""
    body, line = jpeg(True), f"POST {server.root}{session}/frames?seconds=1 HTTP/1.1\r\n".encode()
    head = f"Host: {server.address}\r\nOrigin: http://{server.address}\r\nContent-Type: image/jpeg\r\n".encode()
    length = f"Content-Length: {len(body)}\r\n\r\n".encode()
    socket_head = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
    wrong = [
        line + head + b"Content-Length: -1\r\n\r\n" + body,
        line + head + b"Content-Length: 1e3\r\n\r\n" + body,
        line + head + b"Content-Length: 99999999999999999999\r\n\r\n" + body,
        line + head + f"Content-Length: {len(body)}\r\nContent-Length: 1\r\n\r\n".encode() + body,
        line + head + length + body[: int(rng.integers(len(body) - 1))],
        line + head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + body,
        line + head + b"Transfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n" + body,
        line + head + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + body,
        line + b"Host\r\n" + head + length + body,
        line + head + b"X: " + b"a" * 20_000 + b"\r\n" + length + body,
        line.replace(b"HTTP/1.1", b"HTTP/9.9") + head + length + body,
        line.replace(b" /", b" ", 1) + head + length + body,
        line + head + b"Content-Encoding: gzip\r\n" + length + body,
        b"GET " + line[5:] + head + socket_head + b"AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n\x81\x85" + rng.bytes(40),
        b"\x16\x03\x01\x02\x00" + rng.bytes(300),
        rng.bytes(int(rng.integers(1, 3000))),
        b"\0" * 2000 + b"\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]
    return wrong[int(rng.integers(len(wrong)))]


def raw(server: Running, content: bytes) -> bytes:
    """The answer to some bytes, until the server closes the connection."""
    host, _, port = server.address.rpartition(":")
    found, waited = b"", False
    with contextlib.suppress(ConnectionError), socket.create_connection((host, int(port)), timeout=0.3) as connection:
        connection.sendall(content)
        while True:
            try:
                part = connection.recv(1 << 16)
            except TimeoutError:
                assert not waited, f"no answer to {content[:300]!r}"
                # The server waits for what is lacking, or for the next request.
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(30)
                waited = True
                continue
            if not part:
                break
            found += part
    return found


def test_bytes_that_are_no_requests_are_never_accepted(server: Running, session: str) -> None:
    for number in range(REQUESTS["bytes"]):
        content = bytes_fault(np.random.default_rng([10, number]), server, session)
        found = raw(server, content)
        assert b'"bona fide"' not in found, (number, content[:300])
        assert not found or found.startswith(b"HTTP/1.1 4"), (number, content[:300], found[:300])
    assert show(server, session, jpeg(True), 0).json["decision"] == "bona fide"
