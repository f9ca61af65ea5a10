"""Judging a video while it runs: a session takes frames with times as they come, and has a decision at any time.

What a session has decided after its frames is what `Bundle.judge` says of a file that ends with them. A stream with a
fault gets no decision, with the reason, and never one again. The gate takes decisions away, and gives none.
"""

import collections
import dataclasses
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from fas_jax.base.record import Source
from fas_jax.base.rendition import Rendition
from fas_jax.deployment.bundle import Bundle
from fas_jax.deployment.functions import Stepper, serving_weights, stepper
from fas_jax.deployment.sequential import Sequential
from fas_jax.deployment.verdict import Verdict
from fas_jax.deployment.vetoes import gated
from fas_jax.pixels.gate.checks import Latest
from fas_jax.pixels.gate.settings import Gate
from fas_jax.pixels.renditions import rendition_makers
from fas_jax.pixels.selection import segment_at

MAX_GAP = 5.0
"""Seconds without a frame after which a stream counts as broken."""
_LATEST = 64
"""Numbers of kept frames that a verdict names at most."""


class Program:
    """A detector of a bundle, ready for any number of sessions, which share its weights and its compiled step."""

    def __init__(self, bundle: Bundle, name: str = "") -> None:
        """Compiles nothing yet.

        Args:
            bundle: With renditions that need no future, see `Rendition.needs_future`.
            name: The detector; the bundle's default if empty.

        Raises:
            UserError: As `functions.stepper`; the message says which setting to change.
        """
        self.bundle, self.name = bundle, name or bundle.default
        self.steps: Stepper = stepper(bundle, self.name)
        self.rendition: Rendition = bundle.renditions[self.steps.rendition]

    @cached_property
    def weights(self) -> Any:
        """In the device's memory."""
        return jax.device_put(serving_weights(self.bundle, self.name))

    @cached_property
    def step(self) -> Any:
        """`Stepper.step`, compiled when it is first called."""
        return jax.jit(self.steps.step)

    @cached_property
    def start(self) -> Any:
        """What is remembered before the first frame."""
        return jax.device_put(self.steps.start)


def program_of(bundle: Bundle, name: str = "") -> Program:
    """The bundle's own program of a detector, made when it is first asked for. Raises `UserError` as `Program`."""
    name = name or bundle.default
    if name not in bundle.programs:
        bundle.programs[name] = Program(bundle, name)
    found: Program = bundle.programs[name]
    return found


class Session:
    """One video while it runs."""

    def __init__(
        self,
        bundle: Bundle,
        name: str = "",
        *,
        rule: Sequential | None = None,
        gate: Gate | None = None,
        source: str = "stream",
        max_gap: float = MAX_GAP,
    ) -> None:
        """Before the first frame, there is no decision.

        Args:
            bundle: Who judges; its sessions share what is compiled.
            name: The detector; the bundle's default if empty.
            rule: Decides before the end, or says that it is uncertain; without one, every kept frame moves the decision
                by the detector's threshold.
            gate: Limits of the checks that the latest frames must pass, of those from which the detector's are taken;
                none are made without it. While they fail there is no decision, with the checks' sentences as its
                reason.
            source: What verdicts call the stream.
            max_gap: Seconds without a frame after which the stream counts as broken.

        Raises:
            UserError: As `Program`.
        """
        self._program = program_of(bundle, name)
        self._rule, self._source, self._max_gap = rule, source, max_gap
        self._gate = None if gate is None else Latest(gate)
        self._carry: Any = None
        self._shape: tuple[int, ...] = ()
        self._first = self._last = math.nan
        self._segment, self._offered = -1, 0
        self._indices: collections.deque[int] = collections.deque(maxlen=_LATEST)
        self._score = math.nan
        self.index = -1
        """Number of the latest frame."""
        self.kept = 0
        """Frames that the detector has read."""
        self.done = False
        """Whether no further frame can change the decision."""
        self.failed = ""
        """Why there will be no decision, if the stream has a fault."""
        self.verdict: Verdict = self._without_decision("no frame has been kept yet")
        """The decision now, with the gate's advice if it was asked for."""

    @property
    def seconds(self) -> float:
        """Seconds of video until now."""
        return 0.0 if math.isnan(self._first) else self._last - self._first

    def wants(self, seconds: float) -> bool:
        """Whether a frame of this time would be kept; if not, `push` may be given None in its place."""
        return not self.done and math.isfinite(seconds) and self._place(seconds) != self._segment

    def push(self, frame: UInt8[np.ndarray, "h w 3"] | None, seconds: float) -> Verdict | None:
        """Takes the next frame.

        Args:
            frame: RGB and upright; None where `wants` has declined it.
            seconds: Its time; only differences between times count.

        Returns:
            The decision, if this frame was kept, was checked by the gate, or has ended the session; else None.
        """
        if self.done:
            return None
        with self.guarded("frame {} cannot be judged"):
            return self._pushed(frame, seconds)

    def _pushed(self, frame: UInt8[np.ndarray, "h w 3"] | None, seconds: float) -> Verdict | None:
        start = time.monotonic()
        if fault := self._fault(frame, seconds):
            return self.fail(fault)
        place = self._place(seconds)
        self._first = seconds if math.isnan(self._first) else self._first
        self._last, self.index = seconds, self.index + 1
        if frame is not None:
            self._shape = frame.shape
        if self._rule and self.seconds > self._rule.seconds:
            return self._finish()
        if place == self._segment:
            return None
        self._segment = place
        if frame is None:
            return self.fail(f"frame {self.index} is missing")
        if not self._look(frame):
            return None
        self.verdict = dataclasses.replace(self.verdict, seconds=round(time.monotonic() - start, 4))
        return self.verdict

    def _look(self, frame: UInt8[np.ndarray, "h w 3"]) -> bool:
        """Whether a frame of a new segment may have changed the decision."""
        if self._gate:
            self._gate.add(frame)
        if (pixels := self._rendered(frame)) is not None:
            self._read(pixels)
        elif not self.done and not self._gate:
            return False
        if not self.done:
            self._decide()
        return True

    @contextmanager
    def guarded(self, what: str) -> Iterator[None]:
        """Ends the session without a decision where an error leaves the block, so that no earlier one stands.

        Args:
            what: Begins the reason, with a place for the number of the latest frame; the error follows.
        """
        try:
            yield
        except BaseException as error:
            self.fail(f"{what.format(self.index)}: {error or type(error).__name__}")
            raise

    def fail(self, reason: str) -> Verdict:
        """Ends the session without a decision, whatever it has decided before."""
        self.failed, self.done, self._carry = reason, True, None
        self.verdict = self._without_decision(reason)
        return self.verdict

    def end(self) -> Verdict:
        """To be called where the stream ends; gives the last decision."""
        if self.done:
            return self.verdict
        if self.index < 0:
            return self.fail("the stream ended before a frame")
        if not self.kept:
            return self._no_frame(f"no face in any of its {self._offered} frames")
        return self._finish()

    def _finish(self) -> Verdict:
        """The decision stays as it is from now on; a rule that has not decided is uncertain."""
        self.done, self._carry = True, None
        if self._rule and self.kept and self._rule.answer(self._score) == "uncertain":
            self._set(self._undecided(f"uncertain after {self.seconds:.1f} s of video: {self._between()}"))
        elif not self.kept:
            self._set(self._undecided(f"uncertain after {self.seconds:.1f} s of video: no frame was kept"))
        return self.verdict

    def _without_decision(self, reason: str) -> Verdict:
        """A verdict without a decision, for this reason, whatever the gate says."""
        return dataclasses.replace(self._undecided(reason), gate=self._gate.found if self._gate else None)

    def _set(self, verdict: Verdict) -> None:
        """The decision now, as far as the gate lets it stand."""
        self.verdict = gated(verdict, self._gate.found if self._gate else None)

    def _no_frame(self, reason: str) -> Verdict:
        """Ends the session because the detector has no frame; as for a file, the gate's reason comes first."""
        self._set(self.fail(reason))
        return self.verdict

    def _fault(self, frame: Any, seconds: float) -> str:
        number = self.index + 1
        if not math.isfinite(seconds):
            return f"the time of frame {number} is not a number"
        if seconds < self._last:
            return f"time runs backwards at frame {number}: {seconds:.3f} s after {self._last:.3f} s"
        if seconds - self._last > self._max_gap:
            return f"no frame for {seconds - self._last:.1f} s before frame {number}"
        if frame is None:
            return ""
        kind, shape = getattr(frame, "dtype", type(frame).__name__), tuple(getattr(frame, "shape", ()))
        if not isinstance(frame, np.ndarray) or kind != np.uint8 or len(shape) != 3 or shape[2] != 3 or not frame.size:
            return f"frame {number} is not uint8 [h w 3], but {kind} {list(shape)}"
        if self._shape and shape != self._shape:
            (height, width, _), (h, w, _) = self._shape, shape
            return f"the size of frames changes at frame {number}, from {width}x{height} to {w}x{h}"
        return ""

    def _place(self, seconds: float) -> int:
        """The segment of the next frame, whose first one is kept."""
        settings = self._program.rendition
        if not settings.seconds:
            return (self.index + 1) // settings.segment
        return segment_at(seconds, seconds if math.isnan(self._first) else self._first, settings.seconds)

    def _rendered(self, frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "s s 3"] | None:
        """What the detector reads of a frame; None where it shows no face."""
        settings, name = self._program.rendition, self._program.steps.rendition
        # One that holds nothing of the frames before.
        maker = rendition_makers(Path(), Source(), {name: settings})[name]
        maker.add(self.index, np.ascontiguousarray(frame[..., ::-1]))
        self._offered += 1
        if maker.reason:
            self._no_frame(maker.reason)
            return None
        info, frames = maker.made()
        return frames[0] if info.frame_indices else None

    def _read(self, pixels: UInt8[np.ndarray, "s s 3"]) -> None:
        """The detector's next step."""
        program = self._program
        carry = program.start if self._carry is None else self._carry
        self._carry, score = program.step(program.weights, carry, pixels)
        self._score = float(score)
        self.kept += 1
        self._indices.append(self.index)

    def _decide(self) -> None:
        """The decision by the score and the gate now; the last one where the detector reads no further frame."""
        full = self.kept > 0 and self.kept == self._program.rendition.max_frames
        if not self.kept:
            self._set(self._undecided("no frame has been kept yet"))
        elif math.isfinite(self._score):
            self._set(self._by_score())
            if full and not self.done:
                self._finish()
        elif full:
            self._no_frame(f"no score after {self.kept} kept frames")
        else:
            self._set(self._undecided(f"no score after {self.kept} kept frames"))

    def _by_score(self) -> Verdict:
        bundle, name, rule = self._program.bundle, self._program.name, self._rule
        if rule is None:
            return self._with_frames(bundle.verdict(self._source, name, self._score))
        answer = rule.answer(self._score)
        if answer == "uncertain":
            return self._undecided(f"waiting: {self._between()}")
        found = bundle.verdict(self._source, name, self._score)
        if found.decision not in ("bona fide", "attack"):
            return self._with_frames(found)  # a rule decides nothing that the bundle leaves open
        # The gate may let it stand later on. An attack is the last word also where the gate takes it away: a later
        # acceptance would be one that there is none of without the gate.
        if answer == "attack" or self._gate is None or self._gate.found.passed:
            self.done, self._carry = True, None
        threshold = rule.accept if answer == "bona fide" else rule.reject
        return self._with_frames(dataclasses.replace(found, decision=answer, threshold=threshold))

    def _between(self) -> str:
        assert self._rule is not None
        return f"the score {self._score:.4g} lies between {self._rule.reject:.4g} and {self._rule.accept:.4g}"

    def _undecided(self, reason: str) -> Verdict:
        program = self._program
        return self._with_frames(program.bundle.verdict(self._source, program.name, math.nan, reason))

    def _with_frames(self, verdict: Verdict) -> Verdict:
        kept: Mapping[str, tuple[int, ...]] = {self._program.steps.rendition: tuple(self._indices)}
        return dataclasses.replace(verdict, frames=kept if self._indices else {})
