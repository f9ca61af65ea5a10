"""Bundles from Python: verdicts on files and on arrays of frames."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fas_jax.base.declarations import check_ranges
from fas_jax.deployment import bundle as deployed
from fas_jax.deployment.bundle_folder import SHIPPED
from fas_jax.deployment.bundle_folder import load_bundle as load
from fas_jax.deployment.given_frames import Frames
from fas_jax.deployment.streaming import MAX_GAP, Session
from fas_jax.deployment.verdict import NO_DECISION, Verdict, bounds
from fas_jax.library.shown import Printed, Shown
from fas_jax.pixels.gate.settings import Gate
from fas_jax.reporting.grid import Grid

SHIPPED_CAVEAT = "the model that comes with the package, trained on rendered faces alone: it has seen no real attack"


def load_bundle(folder: str | os.PathLike[str] | None = None) -> "Bundle":
    """Loads trained detectors with their thresholds, which judge videos and frames.

    Args:
        folder: Folder of a bundle, such as one that `Run.evaluate` or `fas-jax evaluate` wrote into a run's folder. If
            none is given, the model that comes with the package is loaded: it was trained on rendered faces alone and
            has seen no real attack.

    Raises:
        UserError: The folder holds no bundle, a damaged one, or one that this version cannot read.
    """
    place = SHIPPED if folder is None else Path(folder)
    return Bundle(load(place), place)


@dataclass(frozen=True, repr=False)
class Bundle(Printed):
    """Detectors of one plan with their thresholds. Made by `load_bundle`."""

    loaded: deployed.Bundle
    """The bundle of `fas_jax.deployment`: inputs, parameters, lineage."""
    folder: Path

    @property
    def detectors(self) -> tuple[str, ...]:
        """The names of the detectors that give verdicts."""
        return tuple(self.loaded.decisions)

    @property
    def default(self) -> str:
        """The detector that decides if none is named: the first that reads others' scores, else the first."""
        return self.loaded.default

    def judge_file(
        self,
        path: str | os.PathLike[str],
        detector: str = "",
        *,
        uncertain: bool = False,
        gate: Gate | bool = False,
    ) -> Verdict:
        """The verdict on a video or an image file.

        A worker process decodes the file. It stays ready for the next file until Python ends.

        Args:
            path: The file. One that cannot be read or scored gets `no decision`, with the reason.
            detector: Its name; `default` if empty.
            uncertain: Whether there are three answers: bona fide, attack, and uncertain where the score excludes
                neither class, or both, at the error rate of the bundle's run (`evaluation.alpha`).
            gate: Whether to check first that the file shows one face, and shows it well; or the limits of these checks.
                A file that fails gets `no decision`, and its reason says what the person should do.

        Raises:
            UserError: The bundle has no such detector, or, for three answers, no band of it.
        """
        (verdict,) = self.judge_files([path], detector, uncertain=uncertain, gate=gate)
        return verdict

    def judge_files(
        self,
        paths: Iterable[str | os.PathLike[str]],
        detector: str = "",
        *,
        uncertain: bool = False,
        gate: Gate | bool = False,
    ) -> "Verdicts":
        """The verdicts on videos and image files, in their order; see `judge_file`."""
        files, limits = [Path(path) for path in paths], _limits(gate)
        found = tuple(self.loaded.judge(files, detector, uncertain=uncertain, gate=limits))
        wanted = detector or self.default
        shortage = self.loaded.decision(wanted).three(wanted).shortage if uncertain else ""
        return Verdicts(found, (*self._caveats(detector), *([shortage] if shortage else [])))

    def judge_frames(
        self,
        frames: Frames,
        *,
        channels: Literal["RGB", "BGR"],
        detector: str = "",
        fps: float = 0.0,
        chosen: bool = False,
        uncertain: bool = False,
        gate: Gate | bool = False,
    ) -> Verdict:
        """The verdict on a video whose frames are in memory; they are chosen and cropped as those of a file are.

        Args:
            frames: uint8 [t h w 3], or a list of [h w 3]; all frames of the video in order, upright.
            channels: The order of their colours: `RGB`, or `BGR` as OpenCV reads them.
            detector: Its name; `default` if empty.
            fps: Frames per second; needed where a rendition skips by time.
            chosen: Whether the frames have already been chosen from a longer video. If so, all of them are kept, up
                to the number that the bundle's rendition keeps.
            uncertain: Whether there are three answers, see `judge_file`.
            gate: Whether there are checks before the verdict, or their limits; see `judge_file`.

        Raises:
            UserError: Frames of another type or shape, another order of colours, an unknown detector, or a detector
                that reads facts of a file, which an array does not have.
        """
        return self.loaded.judge_frames(
            frames,
            channels=channels,
            name=detector,
            fps=fps,
            chosen=chosen,
            uncertain=uncertain,
            gate=_limits(gate),
        )

    def session(self, detector: str = "", *, gate: Gate | bool = False, max_gap: float = MAX_GAP) -> Session:
        """Begins to judge a video while it runs; see docs/streaming.md.

        Args:
            detector: Its name; `default` if empty.
            gate: Whether the latest frames are checked for every decision, or the limits of the checks; see
                `judge_file`.
            max_gap: Seconds without a frame after which the stream counts as broken, and gets no decision.

        Raises:
            UserError: An unknown detector, or one that cannot judge a video that still runs; the message says which
                setting of its rendition to change.
        """
        return Session(self.loaded, detector, gate=_limits(gate), max_gap=max_gap)

    def _caveats(self, detector: str = "") -> tuple[str, ...]:
        shipped = (SHIPPED_CAVEAT,) if self.folder.resolve() == SHIPPED else ()
        return (*shipped, *self.loaded.caveats(detector))

    def _shown(self) -> Shown:
        loaded, rows = self.loaded, []
        for name, decision in loaded.decisions.items():
            method = loaded.detectors[name].method
            reads = ", ".join(f"{item.kind} of {item.name}" for item in method.inputs())
            rows.append(
                [name, method.kind, reads, f"{decision.threshold:.4g}", "yes" if name == self.default else "no"]
            )
        about = f"{loaded.about['protocol']}, trained on {', '.join(loaded.about['sources'])}"
        grid = Grid(["detector", "kind", "reads", "threshold", "default"], rows)
        return Shown(f"Bundle {self.folder.name}: {about}", grid, caveats=self._caveats())


def _limits(gate: Gate | bool) -> Gate | None:
    limits = Gate() if gate is True else gate or None
    if limits is not None:
        check_ranges(limits, "gate")
    return limits


@dataclass(frozen=True, repr=False)
class Verdicts(Printed, Sequence[Verdict]):
    """Verdicts on several files; a sequence of `Verdict` that prints itself as a table."""

    verdicts: tuple[Verdict, ...]
    caveats: tuple[str, ...] = ()
    """Caveats about the detector."""

    def __getitem__(self, index: Any) -> Any:
        return self.verdicts[index]

    def __len__(self) -> int:
        return len(self.verdicts)

    def __iter__(self) -> Iterator[Verdict]:
        return iter(self.verdicts)

    def rows(self) -> list[dict[str, Any]]:
        """A dictionary for each verdict, JSON-able, as `fas-jax predict` prints it; `pandas.DataFrame` takes them."""
        return [each.to_json() for each in self.verdicts]

    def _shown(self) -> Shown:
        rows = []
        for each in self.verdicts:
            decided = each.decision != NO_DECISION
            score = f"{each.score:.3f}{bounds(each.interval)}" if decided else "—"
            why = each.reason
            rows.append([Path(each.source).name, each.decision, score, f"{each.threshold:.3f}", each.detector, why])
        # One line for each kind of interval, whatever the numbers of frames.
        notes = tuple(dict.fromkeys(each.interval_note for each in self.verdicts if each.interval_note))
        header = ["file", "decision", "score [interval]", "threshold", "detector", "reason"]
        title = f"{len(rows)} verdict{'' if len(rows) == 1 else 's'}"
        return Shown(title, Grid(header, rows), notes, self.caveats)
