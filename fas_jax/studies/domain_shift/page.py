"""The study's folder: scores and domains, from which rules are judged again, and the tables and page made of them."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fas_jax.base.errors import UserError
from fas_jax.base.files import read_json, write_json, write_text
from fas_jax.base.outputs import output_folder
from fas_jax.evaluation.conformal import ALPHA
from fas_jax.evaluation.scores import ScoreTable
from fas_jax.reporting.grid import bullets, markdown, quoted, to_csv
from fas_jax.reporting.page import ExtraTable, simple_page
from fas_jax.studies.domain_shift import rules as judging
from fas_jax.studies.domain_shift.coverage import coverage_figure, coverage_table
from fas_jax.studies.domain_shift.rules import Verdict
from fas_jax.synthetic.shifts import RandomDomain

SCORES, DOMAINS = "scores.csv", "domains.json"
_TITLE = "Threshold rules on random rendered domains"
_CAVEAT = "Rendered videos: they prove mechanisms, and say nothing about levels of error on real attacks."
_EXCESS = (
    "HTER on the target minus the HTER at the target's own equal error rate (oracle), in percentage points; means over "
    "targets and seeds. AUC, oracle and HTER are in %."
)
_VERDICT = (
    "The target is the unit. A rule may become the default if it errs less than today's (pooled, from validation) on "
    "at least as many targets as a fair coin reaches in 1 % of cases (22 of 30), and is worse by at most 2 points in "
    "the mean over all targets and over those of each kind of shift. Bold: it passes."
)


@dataclasses.dataclass(frozen=True)
class Study:
    """What was drawn and how it was scored."""

    settings: Mapping[str, Any]
    """Of `rendered.DomainShift`, JSON-able."""
    weights: str
    """Of the backbone, in words."""
    targets: tuple[RandomDomain, ...]

    def to_json(self) -> dict[str, Any]:
        """What `read_study` reads back; each target with its size."""
        targets = [{**dataclasses.asdict(each), "size": each.size} for each in self.targets]
        return {"settings": dict(self.settings), "weights": self.weights, "targets": targets}


def read_study(scores: Path) -> tuple[ScoreTable, Study]:
    """The scores of an earlier study, and what lies beside them.

    Raises:
        UserError: There are no scores, or no domains.json beside them.
    """
    table, path = ScoreTable.read_csv(scores), Path(scores).parent / DOMAINS
    if not path.exists():
        raise UserError(f"{path} does not exist; --scores takes the {SCORES} that this study wrote, in its folder")
    known = read_json(path)
    try:
        targets = tuple(RandomDomain(each["name"], each["kind"], each["values"]) for each in known["targets"])
        return table, Study(known["settings"], known["weights"], targets)
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is not what this study wrote; run the study again") from error


def write_study(folder: Path, scores: ScoreTable, study: Study, rules: Sequence[str], alpha: float = ALPHA) -> str:
    """Judges the rules and writes scores, tables and the page; gives the tables as Markdown.

    Args:
        folder: Made if needed; what an earlier study wrote there is replaced.
        scores: Of `rendered.score_targets`.
        study: Whose scores they are.
        rules: As `rules.StudyRule.parse` reads them.
        alpha: Error rate of three answers, above 0 and below 1.

    Raises:
        UserError: As `rules.judge`, or the folder holds something else.
    """
    outcomes = judging.judge(scores, study.targets, rules)
    found = judging.verdicts(outcomes)
    tables = {
        "excess": ExtraTable("What each rule costs", _EXCESS, judging.excess_table(outcomes)),
        "verdicts": ExtraTable("Each rule beside today's", _VERDICT, judging.verdict_table(found)),
        "answers": coverage_table(scores, study.targets, alpha),
        "targets": ExtraTable("Targets", "HTER of every rule, AUC and oracle, in %.", judging.domain_table(outcomes)),
    }
    said = [_drawn(study), _concluded(found)]
    drawn = {model: judging.figure(outcomes, model) for model in scores.distinct("model")}
    drawn |= {
        f"Three answers, {model}": coverage_figure(scores, study.targets, model, alpha)
        for model in scores.distinct("model")
    }
    with output_folder(folder) as place:
        scores.write_csv(place / SCORES)
        write_json(place / DOMAINS, study.to_json())
        for name, each in tables.items():
            write_text(place / f"{name}.csv", to_csv(each.grid))
        write_text(place / "shift.html", simple_page(_TITLE, said, list(tables.values()), drawn, [_CAVEAT]))
        parts = [f"# {_TITLE}", quoted([_CAVEAT]), bullets(said)]
        for each in tables.values():
            parts += [f"## {each.title}", each.text, markdown(each.grid)]
        text = "\n\n".join(parts)
        write_text(place / "shift.md", text + "\n")
    return text


def _drawn(study: Study) -> str:
    known = study.settings
    return (
        f"Seed {known['seed']}: {known['sources']} sources at a size of {known['source_size']:g}, "
        f"{len(study.targets)} targets with sizes drawn uniformly from {known['smallest']:g} to {known['largest']:g}; "
        "camera, light, instruments and all of them are shifted in turns (FACTORS in fas_jax/synthetic/shifts.py "
        f"states parameters and units). Videos of a domain: {known['videos_per_subject']} of each of "
        f"{known['subjects']} subjects. Features: {known['backbone']}, weights {study.weights}. Figures are means over "
        f"cuts of the sources ({known['seeds']})."
    )


def _concluded(found: Sequence[Verdict]) -> str:
    models = list(dict.fromkeys(each.model for each in found))
    passing: dict[str, list[str]] = {}
    for each in found:
        if each.passes:
            passing.setdefault(each.rule, []).append(each.model)
    everywhere = [rule for rule, own in passing.items() if own == models]
    if everywhere:
        return f"These rules pass for every model: {', '.join(everywhere)}."
    some = "; ".join(f"{rule} passes for {', '.join(own)}" for rule, own in passing.items())
    return f"No rule passes for every model{f' ({some})' if some else ''}: today's rule, pooled, stays the default."
