"""Compares source thresholds on targets that they have not seen."""

from functools import partial
from pathlib import Path
from typing import Any

from fas_jax.base.errors import UserError
from fas_jax.base.files import write_json
from fas_jax.experiment.corpus import CorpusClips
from fas_jax.experiment.ledger import record_study
from fas_jax.features.store import FeatureStore
from fas_jax.reporting.grid import markdown
from fas_jax.reporting.materials import materials_of
from fas_jax.runtime import cli
from fas_jax.runtime.progress import progress_bar
from fas_jax.studies import thresholds
from fas_jax.studies.one_method import method_of, open_stores


def main(
    stores: tuple[Path, ...] = (),
    seeds: int = 40,
    shift: tuple[float, ...] = (0.0, 0.3, 0.6),
    fraction: float = 0.2,
    kind: str = "mean-feature",
    settings: tuple[str, ...] = (),
    out: Path | None = None,
    open_sealed: tuple[str, ...] = (),
) -> None:
    """Compares pooled and domain-balanced thresholds on held-out and cross-fitted source scores.

    Each dataset is left out in turn, as the target; the method is a logistic regression on clips' mean features.

    Args:
        stores: Folders of feature stores, at least two; none: made-up features with a known shift between datasets.
        seeds: Cuts of the sources by subject (and sets of made-up features).
        shift: Of the made-up datasets, in standard deviations of a feature.
        fraction: Share of the sources' subjects that is held out.
        kind: Kind of the method; one that needs no validation videos.
        settings: Of the method, as NAME=VALUE.
        out: JSON file for the figures; none: they are only printed.
        open_sealed: Sealed datasets that may be read as targets.
    """
    figures: dict[str, Any] = {}
    if stores:
        opened = [FeatureStore.open(path) for path in stores]
        record_study("compare_thresholds", stores, [store.provenance["dataset"] for store in opened], open_sealed)
        clips, rendition = open_stores(opened)
        figures["caveats"] = materials_of(opened).caveats()
        print("\n".join(figures["caveats"]))
        _check(clips)
        sets = {"the given stores": [clips] * seeds}
    else:
        rendition = "whole"
        sets = {
            f"made-up features, shift {size:g}": [thresholds.made_up(size, seed) for seed in range(seeds)]
            for size in shift
        }
    method = method_of(kind, settings, rendition)
    for name, drawn in sets.items():
        trials = []
        with progress_bar(total=len(drawn), desc=name, unit="cut") as bar:
            for seed, clips in enumerate(drawn):
                trials += [
                    thresholds.compare(method, clips, target, fraction, seed)
                    for target in sorted(clips.videos.dataset.present())
                ]
                bar.update()
        grid = thresholds.table(trials)
        print(f"\n{name}: {seeds} seeds, every dataset left out in turn; figures in %\n\n{markdown(grid)}")
        figures[name] = {"header": list(grid.header), "rows": [list(row) for row in grid.rows]}
    if out:
        write_json(out, figures)


def _check(clips: CorpusClips) -> None:
    datasets = clips.videos.dataset.present()
    if len(datasets) < 2:
        raise UserError("give the stores of at least two datasets: each is left out in turn")
    for dataset in datasets:
        if set(clips.labels[clips.videos.dataset == dataset].tolist()) != {0, 1}:
            raise UserError(f"{dataset} lacks a class; give stores with bona fide videos and attacks")


command = partial(cli.main, main)
