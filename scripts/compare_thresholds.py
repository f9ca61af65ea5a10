"""Which source threshold errs least on a target that it has not seen."""

from pathlib import Path

import numpy as np
from fas_jax.methods.baselines import mean_feature

from fas_jax.base.errors import UserError
from fas_jax.base.files import write_json
from fas_jax.features.store import FeatureStore
from fas_jax.reporting.grid import markdown
from fas_jax.runtime import cli
from fas_jax.runtime.progress import progress_bar
from fas_jax.studies import thresholds
from fas_jax.studies.thresholds import Domains


def main(
    stores: tuple[Path, ...] = (),
    seeds: int = 40,
    shift: tuple[float, ...] = (0.0, 0.3, 0.6),
    fraction: float = 0.2,
    out: Path | None = None,
) -> None:
    """Compares pooled and domain-balanced thresholds on held-out and cross-fitted source scores.

    Each domain is left out in turn, as the target; the model is a logistic regression on clips' mean features.

    Args:
        stores: Folders of feature stores, at least two; none: made-up features with a known shift between domains.
        seeds: Cuts of the sources by subject (and sets of made-up features).
        shift: Of the made-up domains, in standard deviations of a feature.
        fraction: Share of the sources' subjects that is held out.
        out: JSON file for the figures; none: they are only printed.
    """
    figures = {}
    if stores:
        domains = [_read(FeatureStore.open(path)) for path in stores]
        sets = {"the given stores": [domains] * seeds}
    else:
        sets = {
            f"made-up features, shift {size:g}": [thresholds.made_up(size, seed) for seed in range(seeds)]
            for size in shift
        }
    for name, drawn in sets.items():
        trials = []
        with progress_bar(total=len(drawn), desc=name, unit="cut") as bar:
            for seed, domains in enumerate(drawn):
                for target in range(len(domains)):
                    sources = thresholds.join([each for place, each in enumerate(domains) if place != target])
                    trials.append(thresholds.compare(sources, domains[target], fraction, seed))
                bar.update()
        grid = thresholds.table(trials)
        print(f"\n{name}: {seeds} seeds, every domain left out in turn; figures in %\n\n{markdown(grid)}")
        figures[name] = {"header": list(grid.header), "rows": [list(row) for row in grid.rows]}
    if out:
        write_json(out, figures)


def _read(store: FeatureStore) -> Domains:
    table = store.load()
    labels = table.videos.label
    if set(labels.tolist()) != {0, 1}:
        raise UserError(f"{store.path} lacks a class; give stores with bona fide videos and attacks")
    return Domains(
        inputs=mean_feature(table.features, table.mask, table.clips),
        labels=labels,
        domains=np.asarray(table.videos.dataset),
        subjects=np.array([f"{video.dataset}/{video.subject}" for video in table.videos]),
    )


if __name__ == "__main__":
    cli.main(main)
