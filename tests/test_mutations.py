"""2,000 damaged files, bundles, streams and requests: each is refused with a reason or judged, and none is accepted.

The requests are in `test_mutated_requests`.

A damaged film may still be one, and then it is judged as what it shows. So acceptance is asked for where it must not
be: of bona fide sources that are damaged so that no whole film is left, and of attacks with any damage at all. The
detectors here read pixels, and accept the undamaged bona fide sources; only the damage stands against the first kind.
Refused means: no decision with a reason, an error for users, a status of 400 to 499, or a closed connection.
A decoding process that dies or hangs, another exception, a status of 500, or a server that stops answering is a fault.
"""

import dataclasses
import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Synthesis
from fas_jax.deployment import live
from fas_jax.deployment.bundle import Bundle
from fas_jax.deployment.bundle_folder import ABOUT, CARD, SHIPPED, load_bundle
from fas_jax.deployment.streaming import Session
from fas_jax.deployment.verdict import NO_DECISION, Verdict
from fas_jax.synthetic.plan import official_videos
from fas_jax.synthetic.recording import record
from tests.mutations import COUNTS, DAMAGING, DESTROYING, film, sources, telling_bundle
from tests.trees import write_video

pytestmark = pytest.mark.slow

SUFFIXES = ("mp4", "mov", "avi", "mkv", "webm", "png", "jpg", "txt", "jpeg", "ts")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutations")


@pytest.fixture(scope="module")
def bundle(place: Path) -> Bundle:
    return telling_bundle(place / "bundle")


@pytest.fixture(scope="module")
def bona_fide(place: Path) -> dict[str, Path]:
    return sources(place / "bona-fide", True)


@pytest.fixture(scope="module")
def attacks(place: Path) -> dict[str, Path]:
    return sources(place / "attack", False)


def mutated(
    folder: Path, found: dict[str, Path], ways: dict[str, Any], count: int, seed: int
) -> Iterator[tuple[str, Path]]:
    """Files, with what was done to them; each way with each source in turn, and mostly under the right suffix."""
    folder.mkdir()
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        way = list(ways)[number % len(ways)]
        source = list(found.values())[number // len(ways) % len(found)]
        wrong = way == "unchanged" or rng.integers(4) == 0
        suffix = SUFFIXES[int(rng.integers(len(SUFFIXES)))] if wrong else source.suffix[1:]
        path = folder / f"{number}.{suffix}"
        path.write_bytes(ways[way](rng, source.read_bytes()))
        yield f"{number}: {way} of {source.name} as {suffix}", path


def refused(verdict: Verdict, what: str) -> bool:
    """Whether there is no decision, which has to have a reason that is no crash."""
    assert (verdict.decision == NO_DECISION) == bool(verdict.reason), what
    assert "process died" not in verdict.reason, f"{what}: {verdict.reason}"
    assert "did not end" not in verdict.reason, f"{what}: {verdict.reason}"
    return verdict.decision == NO_DECISION


def test_the_sources_are_told_apart(bundle: Bundle, bona_fide: dict[str, Path], attacks: dict[str, Path]) -> None:
    for found, decision in ((bona_fide, "bona fide"), (attacks, "attack")):
        for path, verdict in zip(found.values(), bundle.judge(list(found.values())), strict=True):
            assert verdict.decision == decision, path
        session = Session(bundle)
        assert live.show_file(session, found["h264.mp4"], lambda verdict: None).decision == decision


def test_bona_fide_files_of_which_nothing_whole_is_left_are_refused(
    bundle: Bundle, bona_fide: dict[str, Path], place: Path
) -> None:
    told = list(mutated(place / "destroyed", bona_fide, dict(DESTROYING), COUNTS["destroyed"], 1))
    accepted = [
        what
        for (what, path), verdict in zip(told, bundle.judge([path for _, path in told]), strict=True)
        if not refused(verdict, what)
    ]
    assert accepted == []


def test_damaged_files_of_attacks_are_never_accepted(bundle: Bundle, attacks: dict[str, Path], place: Path) -> None:
    ways = DAMAGING | DESTROYING
    told = list(mutated(place / "attacks", attacks, ways, COUNTS["attacks"], 2))
    verdicts = list(bundle.judge([path for _, path in told]))
    found = [refused(verdict, what) for (what, _), verdict in zip(told, verdicts, strict=True)]
    assert [what for (what, _), each in zip(told, verdicts, strict=True) if each.decision == "bona fide"] == []
    # Both happen, or the damage was of one kind.
    assert 0.3 < np.mean(found) < 0.9


def test_damaged_files_of_an_attack_on_a_face_are_never_accepted(place: Path) -> None:
    """The model that comes with the package, with its face search."""
    video = next(each for each in official_videos("msu_mfsd") if not each.bona_fide)
    frames = np.stack(list(record(video, Synthesis(frames=4, scale=0.4), None).frames))
    even = np.ascontiguousarray(frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2])
    source = {"face.mp4": write_video(place / "face.mp4", even, crf="12")}
    shipped = load_bundle(SHIPPED)
    (whole,) = shipped.judge(list(source.values()))
    assert whole.decision == "attack"
    told = list(mutated(place / "faces", source, dict(DAMAGING), COUNTS["faces"], 3))
    for (what, _), verdict in zip(told, shipped.judge([path for _, path in told]), strict=True):
        assert refused(verdict, what) or verdict.decision == "attack", what


def test_damaged_files_that_are_streamed_are_never_accepted(
    bundle: Bundle, bona_fide: dict[str, Path], attacks: dict[str, Path], place: Path
) -> None:
    half = COUNTS["streamed"] // 2
    destroyed = list(mutated(place / "streamed", bona_fide, dict(DESTROYING), half, 4))
    damaged = list(mutated(place / "streamed-attacks", attacks, dict(DAMAGING), half, 5))
    accepted = []
    for what, path in [*destroyed, *damaged]:
        shown: list[Verdict] = []
        last = live.show_file(Session(bundle), path, shown.append)
        refused(last, what)
        accepted += [what] if "bona fide" in {each.decision for each in (*shown, last)} else []
    assert accepted == []


def faulty(rng: np.random.Generator, frames: list[Any], times: list[float]) -> str:
    """Puts one fault into a stream; says which."""
    at, kind = int(rng.integers(1, len(frames))), int(rng.integers(9))
    frame = frames[at]
    changes: list[tuple[str, Any]] = [
        ("size", frame[: int(rng.integers(1, 48))]),
        ("turned", np.ascontiguousarray(frame.transpose(1, 0, 2))),
        ("type", frame.astype(rng.choice(["float32", "int64", "uint16", "bool"]))),
        ("channels", np.zeros((48, 64, int(rng.choice([1, 2, 4]))), np.uint8)),
        ("grey", frame[..., 0]),
        ("no array", [b"", "frame", 7, [[1, 2, 3]], {}][int(rng.integers(5))]),
    ]
    if kind < len(changes):
        name, frames[at] = changes[kind]
        return name
    name, seconds = [
        ("no number", float(rng.choice([math.nan, math.inf, -math.inf]))),
        ("backwards", times[at - 1] - float(rng.uniform(1e-3, 100))),
        ("gap", times[at] + float(rng.uniform(6, 1e6))),
    ][kind - len(changes)]
    times[at] = seconds
    return name


@pytest.mark.usefixtures("unchecked_types")
def test_streams_with_a_fault_are_never_accepted(bundle: Bundle) -> None:
    endless = dataclasses.replace(
        bundle, renditions={"whole": dataclasses.replace(bundle.renditions["whole"], max_frames=0)}
    )
    kinds = set()
    for number in range(COUNTS["streams"]):
        rng = np.random.default_rng([6, number])
        frames: list[Any] = film(True, 12, number)
        times = list(100 * rng.random() + np.arange(12) * 0.1)
        session, kind = Session(endless), ""
        if number % 2:
            kind = faulty(rng, frames, times)
            kinds.add(kind)
        for frame, seconds in zip(frames, times, strict=True):
            session.push(frame, seconds)
        last = session.end()
        # Every second one has no fault: what is refused is the fault.
        assert refused(last, f"{number}: {kind}") == bool(kind)
    assert len(kinds) == 9


def damage(rng: np.random.Generator, path: Path, others: Sequence[Path]) -> str:
    """Damages a file of a bundle; says how."""
    content, kind = path.read_bytes(), int(rng.integers(8))
    path.unlink()  # backbones are links
    if kind < 4:
        way = (flipped_bit, DESTROYING["cut"], DESTROYING["blank"], DESTROYING["garbage"])[kind]
        path.write_bytes(way(rng, content))
        return "changed"
    if kind == 4:
        return "missing"
    if kind == 5:
        path.mkdir()
        return "a folder"
    if kind == 6:
        path.symlink_to(path.with_name("nowhere"))
        return "a link to nothing"
    shutil.copyfile(others[int(rng.integers(len(others)))], path)
    return "another one's"


def flipped_bit(rng: np.random.Generator, content: bytes) -> bytes:
    changed = bytearray(content)
    changed[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def test_damaged_bundles_are_refused_or_say_what_they_said(bundle: Bundle, place: Path) -> None:
    """A bundle whose JSON has another blank says the same; all else must be refused."""
    whole = place / "bundle"
    names = sorted(each.relative_to(whole) for each in whole.rglob("*") if each.is_file() and each.name != CARD)
    assert {ABOUT, "backbone.safetensors"} < set(map(str, names))
    loaded = 0
    for number in range(COUNTS["bundles"]):
        rng = np.random.default_rng([7, number])
        folder = shutil.copytree(whole, place / "damaged" / str(number))
        name = names[number % len(names)]
        how = damage(rng, folder / name, [whole / other for other in names if other != name])
        try:
            found = load_bundle(folder)
        except UserError:
            pass
        else:
            assert (str(name), how, found.about) == (ABOUT, "changed", bundle.about), number
            loaded += 1
        shutil.rmtree(folder)
    assert loaded < 0.1 * COUNTS["bundles"]
