"""The audit in words and tables. Says what was seen, and no more."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fas_jax.base.files import write_json, write_text
from fas_jax.base.outputs import output_folder
from fas_jax.evaluation.results import Results
from fas_jax.reporting.extra_tables import ExtraTable
from fas_jax.reporting.grid import Grid
from fas_jax.reporting.page import simple_page
from fas_jax.studies.audit import controls
from fas_jax.studies.audit.sequence import Outcome
from fas_jax.studies.audit.shortcuts import Shortcut
from fas_jax.studies.one_method import baselines

SEQUENCE_TEXT = (
    "The released code of Muhammad et al. (2023) joins all videos of a split into one sequence sorted by label and "
    "scores frames; the state runs across the borders of videos. Here the same network is trained in that way and, "
    "for comparison, on single videos, on the same data. What a score gains from sorting alone is not information of "
    "the videos. Table I of the paper is consistent with such a gain, and also with a shifted threshold, which AUC "
    "does not see; the original run was not reproduced. Mean ± standard deviation over seeds."
)
SHORTCUT_TEXT = (
    "One quantity at a time: its AUC as a score. Flagged: further from 0.5 than chance would have it (bootstrap over "
    "subjects, corrected for the number of quantities; at most 1 % of clean datasets get any flag). A flag says that "
    "the quantity tells the label, not that a model uses it. The order in the list matters only to a model that sees "
    "other videos, such as the published variant."
)
CONTROL_TEXT = (
    "Trained, stopped and given their thresholds from the sources alone; AUC and HTER on the target with 95 % "
    "intervals by bootstrap over its subjects, means over seeds."
)


def shortcut_table(found: Sequence[Shortcut]) -> ExtraTable:
    """Every quantity, flagged ones first."""
    rows = [
        [each.dataset, each.quantity, f"{each.auc:.3f}", f"{each.z:+.1f}", "FLAGGED" if each.flagged else "no flag"]
        for each in sorted(found, key=lambda one: (not one.flagged, -abs(one.z)))
    ]
    return ExtraTable("Shortcuts in the data", SHORTCUT_TEXT, Grid(["dataset", "quantity", "AUC", "z", "flag"], rows))


def control_table(results: Results, rendition: str) -> ExtraTable:
    """The method and its controls, and the baselines on this rendition."""
    rows = []
    for each in results.summaries:
        auc, hter = (
            f"{100 * each.mean[name]:.1f}{interval}"
            for name, interval in (("auc", each.auc_interval), ("hter", each.hter_interval))
        )
        rows.append([each.model, auc, hter, controls.explain(each.model, rendition)])
    return ExtraTable("Controls", CONTROL_TEXT, Grid(["control", "AUC %", "HTER %", "what it is"], rows))


def sequence_table(title: str, found: Mapping[str, Sequence[Outcome]], truth: Mapping[str, str]) -> ExtraTable:
    """Outcomes by condition (what the data truly hold), variant and unit, over seeds."""
    rows = []
    for condition, outcomes in found.items():
        for variant, unit in dict.fromkeys((each.variant, each.unit) for each in outcomes):
            own = [each for each in outcomes if (each.variant, each.unit) == (variant, unit)]
            aucs, hters = (np.array([getattr(each, name) for each in own]) for name in ("auc", "hter"))
            hter = "—" if np.isnan(hters).any() else _spread(100 * hters, 1)
            cells = [_spread(aucs, 3), f"{aucs.min():.3f} to {aucs.max():.3f}", hter, str(len(own))]
            rows.append([condition, truth.get(condition, "not known"), variant, unit, *cells])
    header = ["data", "information truly there (AUC)", "variant", "unit", "AUC", "range", "HTER %", "seeds"]
    return ExtraTable(title, SEQUENCE_TEXT, Grid(header, rows))


def statements(results: Results, rendition: str) -> list[str]:
    """What the controls and the baselines allow to be said; intervals that hold 0.5, or 0, are no evidence."""
    found = []
    summary = {each.model: each for each in results.summaries}
    known = baselines(rendition)
    facts = [name for name, method in known.items() if controls.reads_facts_alone(method)]
    for name, says in (
        (controls.NOISE, "the lengths of clips give the label away"),
        *((name, f"{name} separates the classes of the target without a look at the face") for name in facts),
        (controls.BACKGROUND, "frames without their middle separate the classes of the target"),
    ):
        if each := summary.get(name):
            sure = f"AUC {100 * each.mean['auc']:.1f} %{each.auc_interval}"
            said = says[0].upper() + says[1:] if each.auc_interval.low > 0.5 else f"No evidence that {says}"
            found.append(f"{said} ({name}: {sure}).")
    for name, says in (
        (controls.SHUFFLED, "the order of frames matters"),
        (controls.ONE_FRAME, "more than one frame helps"),
        *((name, f"the method beats the baseline {name}") for name in known if name not in facts),
    ):
        pair = next((c for c in results.comparisons if (c.model, c.other) == (name, controls.METHOD)), None)
        if pair is not None and not np.isnan(pair.difference):
            sure = f"HTER {100 * pair.difference:+.1f} points{pair.interval.format('+.1f')} without it"
            if pair.interval.low > 0:
                found.append(f"Here {says} ({sure}).")
            else:
                worse = "; it is better without" if pair.interval.high < 0 else ""
                found.append(f"No evidence that {says} ({sure}){worse}.")
    return found


def write_audit(
    out: Path,
    title: str,
    said: Sequence[str],
    tables: Sequence[ExtraTable],
    about: Mapping[str, Any],
    caveats: Sequence[str] = (),
) -> None:
    """Writes `audit.json` and `audit.html`; `caveats` are those of the features' `Materials`.

    Raises:
        UserError: As `output_folder`.
    """
    content = [{"title": t.title, "text": t.text, "header": t.grid.header, "rows": t.grid.rows} for t in tables]
    found = {"title": title, "caveats": caveats, "statements": said, "tables": content}
    with output_folder(Path(out)) as place:
        write_json(place / "audit.json", {**found, **about})
        write_text(place / "audit.html", simple_page(title, said, tables, caveats=caveats))


def _spread(values: np.ndarray, digits: int) -> str:
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"
