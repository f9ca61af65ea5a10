"""Scores videos and images with a trained bundle, or with the one that comes with the package."""

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from fas_jax.base.declarations import check_ranges
from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.files import read_json
from fas_jax.base.outputs import output_folder
from fas_jax.deployment.attribution import Way
from fas_jax.deployment.bundle import Bundle
from fas_jax.deployment.bundle_folder import SHIPPED, find_bundles, load_bundle
from fas_jax.deployment.live import watch
from fas_jax.deployment.sequential import Sequential
from fas_jax.deployment.verdict import NO_DECISION
from fas_jax.pixels.decoding import start_workers
from fas_jax.pixels.gate.settings import Gate
from fas_jax.runtime import cli
from fas_jax.runtime.programs import keep_programs

if TYPE_CHECKING:
    from fas_jax.studies.overlays import Explainer


def main(
    paths: Annotated[tuple[Path, ...], tyro.conf.Positional],
    bundle: Path | None = None,
    detector: str = "",
    words: bool = False,
    uncertain: bool = False,
    gate: bool = False,
    limits: Gate = Gate(),  # noqa: B008 - frozen
    explain: Path | None = None,
    explain_by: Way = "gradient",
    stream: bool = False,
    camera: int | None = None,
    rule: Path | None = None,
) -> int:
    """Prints one line of JSON for each video or image: score, decision, threshold, frames used, seconds.

    For a verdict over experts, the line also has each expert's score, or why there is none, and the path to the verdict
    in words. The exit code is 1 if any file got no decision.

    Args:
        paths: Video or image files.
        bundle: Folder of a bundle, which fas-jax run writes into its run's folder. If none is given, the only bundle
            under runs/ decides. If there is none, the model that comes with the package decides; it was trained on
            rendered faces alone and has seen no real attack.
        detector: Name of the deciding method in the run's [methods.NAME] tables. If empty, the first method that reads
            other methods' scores decides, or else the first method.
        words: Whether to print sentences instead of JSON.
        explain: Folder for a picture of each file: its kept frames, coloured by how much each pixel matters for the
            decision. For detectors that read frames, or features of frames.
        explain_by: How pixels are weighed. gradient: by how much the logit changes with them. guided: by guided
            back-propagation, for networks with rectifiers. occlusion: by how much the logit loses where a square is
            covered, which takes some fifty times as long as the verdict.
        uncertain: Whether to give three answers: bona fide, attack, or uncertain where the score excludes neither
            class, or both, at the error rate of the run (evaluation.alpha). Uncertain files are not accepted.
        gate: Whether to check first that a file shows one face, and shows it well. A file that fails gets no decision;
            its reason says what the person in front of the camera should do. Of a stream, the latest frames are checked
            for every decision.
        limits: Limits of these checks, for --gate.
        stream: Whether to judge videos while they run, with a line for each decision until the last, which is `final`.
            The bundle's renditions must be causal (docs/streaming.md).
        camera: Number of a camera that is judged while it runs, in place of files.
        rule: A sequential rule, as fas-jax streaming writes it, with which a stream is decided before its end.
    """
    if bool(paths) == (camera is not None):
        raise UserError("name at least one video or image file, or a camera by --camera, and not both")
    if rule and not stream and camera is None:
        raise UserError("--rule decides streams; add --stream")
    if explain and (stream or camera is not None):
        raise UserError("--explain draws over the frames of a whole file; leave out --stream and --camera")
    if limits != Gate() and not gate:
        raise UserError("--limits are those of the gate, which was not asked for; add --gate")
    check_ranges(limits, "limits")
    keep_programs()
    if bundle is None:
        bundle = only_bundle(Path("runs")) or SHIPPED
        print(f"using {bundle}", file=sys.stderr)
    live = stream or camera is not None
    if not live:
        # They import what they need while the bundle is read here.
        start_workers(len(paths))
    loaded = load_bundle(bundle)
    shipped = bundle.resolve() == SHIPPED
    if shipped:
        print("nothing was trained here: the model that comes with the package decides", file=sys.stderr)
    wanted = detector or loaded.default
    shortage = loaded.decision(wanted).three(wanted).shortage if uncertain else ""
    for caveat in [*loaded.caveats(detector), *([shortage] if shortage else [])]:
        print(caveat, file=sys.stderr)

    def tell(verdict: dict[str, Any]) -> None:
        told = verdict | ({"model": "shipped: trained on rendered faces alone"} if shipped else {})
        if words:
            print(in_words(told), flush=True)
        else:
            cli.print_json(told)

    if live:
        band, asked = loaded.decision(wanted).three(wanted) if uncertain else None, limits if gate else None
        return 1 if watch(loaded, wanted, tell, paths, camera, read_rule(rule, wanted), band=band, gate=asked) else 0
    undecided = 0
    folder: AbstractContextManager[Path | None] = output_folder(explain) if explain else nullcontext()
    with folder as place:
        seen = explainer(loaded, detector, explain_by, place) if place else None
        for verdict in loaded.judge(paths, wanted, seen, uncertain=uncertain, gate=limits if gate else None):
            undecided += verdict.decision == NO_DECISION
            drawn = seen and seen.written.get(verdict.source)
            tell(verdict.to_json() | ({"overlay": str(explain / drawn)} if explain and drawn else {}))
    return 1 if undecided else 0


def explainer(bundle: Bundle, detector: str, way: Way, folder: Path) -> "Explainer":
    """What writes the overlays; drawing is imported for those who ask for it."""
    from fas_jax.studies.overlays import Explainer

    return Explainer.of(bundle, detector, way, folder)


def in_words(verdict: Mapping[str, Any]) -> str:
    """What `Bundle.judge` gives for a file, as lines of text."""
    score = f" (score {verdict['score']:.4g}, threshold {verdict['threshold']:.4g})" if "score" in verdict else ""
    reason = f": {verdict['reason']}" if "reason" in verdict else ""
    lines = [f"{verdict['path']}: {verdict['decision']} by {verdict['detector']}{score}{reason}"]
    for name, told in verdict.get("experts", {}).items():
        said = f"{told['score']:.4g}" if "score" in told else f"no score: {told['reason']}"
        lines.append(f"  {name}: {said}" + (f" (left out: {told['left_out']})" if "left_out" in told else ""))
    lines += [f"  {sentence}" for sentence in verdict.get("because", ())]
    return "\n".join(lines)


def read_rule(path: Path | None, detector: str) -> Sequential | None:
    """A detector's rule from a file that `fas-jax streaming` wrote.

    Raises:
        UserError: The file holds no rule of the detector.
    """
    if path is None:
        return None
    rules = read_json(path)
    if detector not in rules:
        raise unknown_name("detector with a rule", detector, rules)
    return Sequential.of(rules[detector], f"{path}: {detector}")


def only_bundle(runs: Path) -> Path | None:
    """The one bundle of the runs in a folder; None where there is none.

    Raises:
        UserError: There are several, which the message lists.
    """
    found = find_bundles(runs)
    if not found:
        return None
    if len(found) > 1:
        raise UserError("several bundles could be meant; name one of them by --bundle:\n" + "\n".join(map(str, found)))
    return found[0]


command = partial(cli.main, main)
