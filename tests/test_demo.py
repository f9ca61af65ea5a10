"""The page to try a bundle: who may ask, what is taken, and that whatever is refused is never an acceptance."""

import asyncio
import contextlib
import http.client
import json
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.errors import UserError
from fas_jax.base.rendition import Rendition
from fas_jax.commands import demo as command
from fas_jax.deployment.decision import Decision
from fas_jax.deployment.demo import sessions as demo_sessions
from fas_jax.deployment.demo.address import loopback
from fas_jax.deployment.demo.server import PAGE, serve
from fas_jax.deployment.demo.sessions import Judge, Limits, RefusedError, Session, Sessions, frame_of
from fas_jax.deployment.verdict import Verdict
from fas_jax.evaluation.conformal import Band
from fas_jax.pixels.gate import checks
from fas_jax.pixels.gate.checks import ADVICE, Check, CheckedClip
from fas_jax.pixels.gate.settings import Gate
from tests.made_up import METHODS, make_bundle

LIMITS = Limits(bytes=20_000, pixels=100 * 100, frames=8, sessions=2, idle=1000)
JPEG = {"Content-Type": "image/jpeg"}


class Accepting(Judge):
    """Accepts whatever it is given."""

    def __init__(self) -> None:
        self.window, self.interval, self.name, self.decision = 3, 0.25, "yes", Decision(0.5)
        self.bundle = SimpleNamespace(caveats=lambda name: ["a caveat"])  # type: ignore[assignment]
        self.drawn, self.gate = (lambda verdict, read: b"\x89PNG"), None

    def __call__(
        self, frames: Sequence[np.ndarray], found: CheckedClip | None = None
    ) -> tuple[Verdict, dict[str, Any]]:
        return Verdict("array", "yes", 0.5, "bona fide", 0.9), {"whole": np.stack(frames)}

    def zones(self) -> tuple[float, float]:
        return 0.5, 0.5


class Running:
    """A server in a thread."""

    def __init__(self, judge: Any, limits: Limits) -> None:
        self._ready, self._judge, self._limits = threading.Event(), judge, limits
        self.thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.thread.start()
        assert self._ready.wait(30)
        self.address, self.root = re.fullmatch(r"http://([\d.:]+)(/[\w-]+/)", self.url).groups()  # type: ignore[union-attr]

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        await serve(self._judge, "127.0.0.1", 0, self._told, self._limits, self._stop)

    def _told(self, url: str) -> None:
        self.url = url
        self._ready.set()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self.thread.join(30)
        assert not self.thread.is_alive()


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    running = Running(Accepting(), LIMITS)
    yield running
    running.stop()


def ask(server: Running, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
    """A request as the page's own, but for what is given otherwise; a header of "" is left out."""
    full = {"Origin": f"http://{server.address}"} | {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection(server.address, timeout=30)
    where = path if path.startswith("/") else server.root + path
    connection.request(method, where, body, {name: value for name, value in full.items() if value})
    found = connection.getresponse()
    answer = Answer(found.status, dict(found.getheaders()), found.read())
    connection.close()
    return answer


@pytest.fixture
def session(server: Running) -> Iterator[str]:
    name = ask(server, "POST", "sessions").json["session"]
    yield f"sessions/{name}"
    ask(server, "DELETE", f"sessions/{name}")


def picture(width: int = 64, height: int = 48, seed: int = 0) -> bytes:
    drawn = cv2.GaussianBlur(np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8), (5, 5), 0)
    return bytes(cv2.imencode(".jpg", drawn)[1])


def send(server: Running, session: str, content: bytes, seconds: object = 0, **headers: str) -> Answer:
    kind = {"Content_Type": "image/jpeg"} | headers
    return ask(server, "POST", f"{session}/frames?seconds={seconds}", content, **kind)


def test_the_page_needs_nothing_from_elsewhere_and_runs_no_script_of_its_text(server: Running) -> None:
    for name in PAGE:
        found = ask(server, "GET", name)
        assert found.status == 200
        assert found.headers["X-Content-Type-Options"] == "nosniff"
        policy = found.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "*" not in policy
        assert "Server" not in found.headers
        text = found.body.decode()
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|//cdn|@import|\bimport\(", text)
        if name == "":
            assert not re.search(r"<script(?![^>]*src=)|\sstyle=|\son\w+=|<style", text)
            assert set(re.findall(r'(?:src|href)="([^"]+)"', text)) == set(PAGE) - {""}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1:1"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
    ],
)
def test_requests_of_other_pages_and_names_are_refused(server: Running, headers: dict, status: int) -> None:
    found = ask(server, "POST", "sessions", **headers)
    assert (found.status, "session" in found.json) == (status, False)


@pytest.mark.parametrize(
    "path", ["/", "/page.js", "/sessions", "/x/sessions", "/favicon.ico", "//", "/%2e%2e/etc/passwd"]
)
def test_who_does_not_know_the_secret_finds_nothing(server: Running, path: str) -> None:
    for method in ("GET", "POST"):
        found = ask(server, method, path)
        assert found.status == 404
        assert found.json["reason"]
        assert "default-src 'none'" in found.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "../server.py", 404),
        ("GET", "page.jsx", 404),
        ("POST", "", 405),
        ("PUT", "sessions", 405),
        ("GET", "sessions/none/overlay.png", 404),
        ("POST", "sessions/none/frames?seconds=0", 404),
    ],
)
def test_other_paths_and_methods_are_refused_with_a_reason(
    server: Running, method: str, path: str, status: int
) -> None:
    found = ask(server, method, path)
    assert found.status == status
    assert found.json["reason"]


def test_frames_get_a_verdict_and_it_can_be_explained(server: Running, session: str) -> None:
    assert ask(server, "GET", f"{session}/overlay.png").status == 404
    for number in range(5):
        found = send(server, session, picture(seed=number), number)
        assert found.status == 200
        assert found.json["decision"] == "bona fide"
        assert found.json["frames"] == min(3, number + 1)
    drawn = ask(server, "GET", f"{session}/overlay.png")
    assert (drawn.status, drawn.headers["Content-Type"], drawn.body) == (200, "image/png", b"\x89PNG")


def bomb() -> bytes:
    """A header that promises 65,500 x 65,500 pixels."""
    content = bytearray(picture())
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = (65500).to_bytes(2, "big") * 2
    return bytes(content)


PROGRESSIVE = bytes(cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1])
FAULTS = {
    "empty": (b"", 0, {}, 400),
    "text": (b"no picture", 0, {}, 400),
    "png": (bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1]), 0, {}, 400),
    "truncated": (picture()[:-40], 0, {}, 400),
    "header alone": (picture()[:200], 0, {}, 400),
    "progressive": (PROGRESSIVE, 0, {}, 400),
    "bomb": (bomb(), 0, {}, 413),
    "pixels": (picture(101, 100), 0, {}, 413),
    "bytes": (picture() + bytes(20_000), 0, {}, 413),
    "other size": (picture(48, 64), 0, {}, 400),
    "type": (picture(), 0, {"Content_Type": "image/png"}, 415),
    "no type": (picture(), 0, {"Content_Type": ""}, 415),
    "no time": (picture(), "", {}, 400),
    "time is no number": (picture(), "nan", {}, 400),
    "time runs back": (picture(), -1, {}, 400),
    "gap": (picture(), 11, {}, 400),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_frame_gets_a_reason_and_ends_what_was_accepted(
    server: Running, session: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert send(server, session, picture()).json["decision"] == "bona fide"
    content, seconds, headers, status = FAULTS[fault]
    if status == 413:
        monkeypatch.setattr(demo_sessions, "decode_picture", lambda *_: pytest.fail("it was decoded"))
    found = send(server, session, content, seconds, **headers)
    assert found.status == status
    assert found.json.keys() == {"reason"}
    monkeypatch.undo()
    if status != 415:
        # What was accepted before cannot be explained any more, and does not count.
        assert ask(server, "GET", f"{session}/overlay.png").status == 404
        assert send(server, session, picture(), 20).json["frames"] == 1


def test_what_is_far_too_large_is_not_read(server: Running, session: str) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the server may hang up
        assert send(server, session, bytes(4 * LIMITS.bytes + 1)).status in (400, 413)


def test_sessions_and_their_frames_are_bounded(server: Running, session: str) -> None:
    second = ask(server, "POST", "sessions")
    assert second.status == 200
    assert "2 sessions are open" in ask(server, "POST", "sessions").json["reason"]
    ask(server, "DELETE", f"sessions/{second.json['session']}")
    third = ask(server, "POST", "sessions")
    assert third.status == 200
    assert third.json["session"] != second.json["session"]
    ask(server, "DELETE", f"sessions/{third.json['session']}")
    statuses = [send(server, session, picture(), number).status for number in range(10)]
    assert statuses == [200] * 8 + [429] * 2


def test_idle_sessions_expire_but_not_busy_ones() -> None:
    now = [0.0]
    found = Sessions(Accepting(), replace(LIMITS, idle=30), lambda: now[0])
    idle, busy = found.open(), found.open()
    found.find(busy).busy = True
    now[0] = 31
    assert len(found) == 1
    with pytest.raises(RefusedError, match="no such session"):
        found.find(idle)
    with pytest.raises(RefusedError, match="busy"):
        found.find(busy)
    session = found._sessions[busy]
    found.done(session)
    now[0] = 60
    assert found.find(busy) is session
    now[0] = 91
    assert len(found) == 0


@given(st.integers(0, 2**32), st.sampled_from(["cut", "filled", "flipped", "spliced"]))
def test_mutated_pictures_are_refused_or_are_other_pictures(seed: int, way: str) -> None:
    """No fault but `RefusedError`; what has lost its end is always refused."""
    rng, content = np.random.default_rng(seed), picture()
    place = int(rng.integers(2, len(content) - 2))
    if way == "cut":
        changed = content[:place]
    elif way == "filled":
        changed = content[:place] + bytes(len(content) - place)
    elif way == "flipped":
        changed = bytearray(content)
        for at in rng.integers(0, len(content), 5):
            changed[at] ^= int(rng.integers(1, 256))
        changed = bytes(changed)
    else:
        changed = content[:place] + rng.bytes(20) + content[place:]
    session = Session(Accepting(), LIMITS)
    with contextlib.suppress(RefusedError):
        assert session.take(changed, 0.0)["frames"] == 1
        assert way in ("flipped", "spliced")
        assert frame_of(changed, LIMITS).size <= 3 * LIMITS.pixels


def test_a_fault_while_judging_is_no_acceptance() -> None:
    class Failing(Accepting):
        def __call__(self, frames: Sequence[np.ndarray], found: Any = None) -> tuple[Verdict, dict[str, Any]]:
            if len(frames) == 2:
                raise RuntimeError("a fault")
            return super().__call__(frames)

    session = Session(Failing(), LIMITS)
    session.take(picture(), 0)
    with pytest.raises(RuntimeError):
        session.take(picture(), 1)
    with pytest.raises(RefusedError, match="no decision"):
        session.overlay()
    assert session.take(picture(), 2)["frames"] == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.2", "::", "example.org", "", "127.0.0.1.example.org"])
def test_only_loopback_addresses_are_served(host: str) -> None:
    with pytest.raises(UserError, match="this machine alone"):
        loopback(host)


def test_loopback_addresses_have_several_names() -> None:
    assert [loopback(each) for each in ("127.0.0.1", "localhost", "::1", "[::1]", "127.0.0.2")] == [
        *("127.0.0.1", "127.0.0.1", "::1", "::1", "127.0.0.2")
    ]


def test_a_port_that_is_taken_is_named(server: Running) -> None:
    port = int(server.address.rpartition(":")[2])
    with pytest.raises(UserError, match="--port"):
        asyncio.run(serve(Accepting(), "127.0.0.1", port, print))


def test_the_command_refuses_what_it_cannot_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="is no bundle"):
        command.main(tmp_path)
    with pytest.raises(UserError, match="this machine alone"):
        command.main(tmp_path, host="0.0.0.0")
    monkeypatch.setitem(sys.modules, "tornado", None)
    with pytest.raises(UserError, match=r"fas-jax\[demo\]"):
        command.main(tmp_path)


def test_a_bundle_judges_the_latest_frames_as_it_judges_a_clip_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {name: METHODS[name] for name in ("gru", "metadata")}
    band = Band(0.05, 0.3, 0.6, 50, 50)
    bundle = make_bundle(tmp_path / "bundle", names, bands={"gru": band})
    judge = Judge(bundle, "gru")
    assert (judge.window, judge.interval, judge.zones()) == (3, 1.0, (0.3, 0.6))
    session = Session(judge, LIMITS)
    frames = [picture(seed=number) for number in range(4)]
    told = [session.take(each, number) for number, each in enumerate(frames)][-1]
    clip = np.stack([frame_of(each, LIMITS) for each in frames[1:]])
    wanted = bundle.judge_frames(clip, channels="RGB", name="gru", chosen=True, uncertain=True)
    assert (told["score"], told["decision"], told["frames"]) == (wanted.score, wanted.decision, 3)
    gated = Session(Judge(bundle, "gru", gate=Gate()), LIMITS)
    told = gated.take(frames[0], 0)
    assert (told["decision"], told["score"]) == ("no decision", None)
    assert told["advice"]
    assert all(each.endswith(".") for each in told["advice"])
    # It is that of the latest frames, and does not outlive a fault.
    limits, levels = Gate(frames=2), iter((200, 10, 10))
    monkeypatch.setattr(checks, "check_frame", lambda frame, _: (Check("darkness", 0.0, 1.0, next(levels) > 100),))
    shown = Session(Judge(replace(bundle, decisions={"gru": Decision(0.0)}), "gru", gate=limits), LIMITS)
    told = [shown.take(each, number) for number, each in enumerate(frames[:3])]
    assert [each["decision"] for each in told] == ["bona fide", "bona fide", "no decision"]
    assert [each["advice"] for each in told] == [[], [], [ADVICE["darkness"]]]
    with pytest.raises(RefusedError):
        shown.take(frames[0][:-40], 3)
    levels = iter((200,))
    assert shown.take(frames[0], 4)["decision"] == "bona fide"
    with pytest.raises(UserError, match="reads facts"):
        Judge(bundle, "metadata")
    with pytest.raises(UserError, match="reads bursts"):
        Judge(replace(bundle, renditions={"whole": Rendition(burst=8)}), "gru")
