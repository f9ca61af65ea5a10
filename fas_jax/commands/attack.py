"""Attacks a detector by adversarial frames, and detects these by the entropy of its response."""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.runtime import cli


def main(
    path: Annotated[Path, tyro.conf.Positional],
    method: str = "",
    protocol: str = "",
    strengths: tuple[int, ...] = (1, 2, 4, 8),
    kinds: tuple[str, ...] = ("fgsm", "pgd", "adaptive"),
    clips: int = 16,
    frames: int = 0,
    reverse: bool = False,
    videos: Path | None = None,
    out: Path | None = None,
    cache: Path | None = None,
) -> None:
    """Perturbs frames by FGSM, by PGD, and by PGD that knows the defence; measures success and detection.

    Table and figure join the next report of a run (fas-jax evaluate RUN). For a bundle they go to --out.

    Args:
        path: Folder of a run with scores, or of a bundle.
        method: The detector; of a run, the first one that reads pixels if empty; of a bundle, its default.
        protocol: Of a run: the protocol that gives the test videos; the first one if empty.
        strengths: Most grey levels of 255 by which a pixel changes.
        kinds: Of attacks.
        clips: Clips that the detector decides rightly, half of them attacks.
        frames: Kept frames of a clip that the detector reads, spread evenly; 0 for all. Fewer take less time.
        reverse: Whether bona fide clips are perturbed as well, to be rejected.
        videos: For bundles: a manifest, or a dataset's folder in its official layout.
        out: For bundles: the folder for table and figure.
        cache: Where the cache with the run's inputs is now, if it was moved.
    """
    from fas_jax.deployment.attribution import has_rectifiers
    from fas_jax.deployment.bundle_folder import ABOUT, load_bundle
    from fas_jax.deployment.chain import Chain, chain_of
    from fas_jax.studies.attack.bench import Clip, Measured, measure, rightly_decided
    from fas_jax.studies.attack.clips import clips_of_run, clips_of_videos, thinned
    from fas_jax.studies.attack.page import join_report, write_page
    from fas_jax.studies.attack.perturbing import KINDS, Attacker
    from fas_jax.studies.run_pixels import open_pixels

    if wrong := [each for each in strengths if not 0 <= each <= 255] or not strengths:
        raise UserError(f"strengths are whole grey levels from 0 to 255, not {wrong or 'none'}")
    if clips < 2:
        raise UserError(f"clips must be at least 2, one of each class, not {clips}")
    if frames < 0:
        raise UserError(f"frames must be at least 1, or 0 for all, not {frames}")
    wanted = tuple(each for each in KINDS if each in kinds)
    for each in kinds:
        if each not in KINDS:
            raise unknown_name("attack", each, KINDS)
    if not wanted:
        raise UserError(f"name at least one attack: {', '.join(KINDS)}")
    bundle = (path / ABOUT).exists()
    if bundle and (videos is None or out is None):
        raise UserError(f"{path} is a bundle, which has no videos of its own; name some by --videos, and --out")
    if not bundle and (videos or out):
        raise UserError(f"{path} is a run, whose own test videos are attacked; --videos and --out are for bundles")

    def progress(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def measured(chain: Chain, candidates: Iterator[Clip]) -> tuple[list[Measured], bool]:
        attacker = Attacker.of(chain, has_rectifiers(chain))
        chosen = rightly_decided(attacker, thinned(candidates, chain, frames), clips)
        return measure(attacker, chosen, sorted({*strengths}), wanted, reverse, progress), attacker.guided

    if bundle and videos and out:
        loaded = load_bundle(path)
        chain = chain_of(loaded, method)
        found = measured(chain, clips_of_videos(loaded, chain, videos))
        print(write_page(out, chain.name, *found, loaded.caveats(chain.name)))
    else:
        opened = open_pixels(path, method, protocol, cache)
        found = measured(opened.chain, clips_of_run(opened))
        print(join_report(path, opened.chain.name, opened.protocol, *found))


command = partial(cli.main, main)
