"""Scores videos and images with a trained bundle."""

import json
import sys
from pathlib import Path
from typing import Annotated

import tyro

from fas_jax.base.errors import UserError
from fas_jax.deployment.bundle import NO_DECISION, load_bundle
from fas_jax.methods.stacking import META
from fas_jax.protocols.presets import is_synthetic
from fas_jax.runtime import cli


def main(
    paths: Annotated[tuple[Path, ...], tyro.conf.Positional],
    bundle: Path | None = None,
    model: str = META,
) -> int:
    """Prints one line of JSON for each video or image: score, decision, threshold, frames used, seconds.

    The exit code is 1 if any file got no decision.

    Args:
        paths: Video or image files.
        bundle: Folder of a bundle, which scripts/run.py writes into its run's folder; if not given, the newest
            under runs/.
        model: Whose score decides: meta, lstm, bilstm or gru.
    """
    if not paths:
        raise UserError("name at least one video or image file")
    if bundle is None:
        bundle = newest_bundle(Path("runs"))
        print(f"using {bundle}", file=sys.stderr)
    loaded = load_bundle(bundle)
    if any(is_synthetic(source) for source in loaded.about["sources"]):
        print("trained on rendered videos: the decisions say nothing about real faces", file=sys.stderr)
    if loaded.about["weights"].startswith("random"):
        print(f"the backbone's weights are {loaded.about['weights']}", file=sys.stderr)
    loaded.threshold(model)  # an unknown model is told before the first file is read
    undecided = 0
    for verdict in loaded.judge(paths, model):
        undecided += verdict["decision"] == NO_DECISION
        print(json.dumps(verdict, ensure_ascii=False), flush=True)
    return 1 if undecided else 0


def newest_bundle(runs: Path) -> Path:
    """The bundle that was written last."""
    found = sorted(runs.glob("*/bundles/*/bundle.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UserError(f"there is no bundle under {runs}/; run scripts/run.py first, or name one by --bundle")
    return found[-1].parent


if __name__ == "__main__":
    cli.main(main)
