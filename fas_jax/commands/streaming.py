"""Shows what waiting is worth: error against seconds of video and milliseconds of compute."""

from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from fas_jax.runtime import cli


def main(
    run: Annotated[Path, tyro.conf.Positional],
    far: float = 0.02,
    frr: float = 0.02,
    seconds: float = 5.0,
    cache: Path | None = None,
) -> None:
    """Judges the target's test videos after some seconds, and as soon as a sequential rule decides.

    Needs a run with a causal rendition (docs/streaming.md). Thresholds and rules come from the sources' validation
    videos. The table is printed; the next fas-jax evaluate RUN shows it with figures in the report. RUN/streaming gets
    the rules, which fas-jax predict --stream --rule reads.

    Args:
        run: Folder of a trained run.
        far: Share of the sources' attacks that the sequential rule may accept.
        frr: Share of the sources' bona fide videos that it may reject.
        seconds: Of video, after which the sequential rule is uncertain.
        cache: Where the cache with the run's inputs is now, if it was moved.
    """
    from fas_jax.reporting.grid import markdown
    from fas_jax.runtime import devices
    from fas_jax.studies.streaming.study import study

    devices.check()
    table, rules = study(run, cache, far, frr, seconds)
    print(f"{table.text}\n\n{markdown(table.grid)}")
    for path in rules:
        print(path)


command = partial(cli.main, main)
