"""Compares threshold rules on random rendered domains, against the size of their shift."""

from functools import partial
from pathlib import Path

from fas_jax.base.errors import UserError
from fas_jax.base.outputs import check_output
from fas_jax.base.settings import to_dict
from fas_jax.evaluation.conformal import ALPHA
from fas_jax.evaluation.scores import ROLES
from fas_jax.experiment.ledger import record_study
from fas_jax.protocols.presets import SYNTHETIC
from fas_jax.runtime import cli
from fas_jax.studies.domain_shift.page import Study, read_study, write_study
from fas_jax.studies.domain_shift.rendered import DomainShift, make_stores, score_targets
from fas_jax.studies.domain_shift.rules import RULES, TODAY, StudyRule
from fas_jax.studies.one_method import QUICK, method_of, open_stores


def main(
    settings: DomainShift = DomainShift(),  # noqa: B008 - frozen
    out: Path = Path("domain-shift"),
    cache: Path = Path("cache"),
    rules: tuple[str, ...] = RULES,
    heads: tuple[str, ...] = ("mean-feature", "gru"),
    scores: Path | None = None,
    alpha: float = ALPHA,
) -> None:
    """Draws random domains, renders them, trains heads on the sources and asks what each threshold rule costs.

    A domain is a camera, a light and a set of instruments at a drawn distance from one reference. Targets shift the
    camera, the light, the instruments or all three, in turns; the size of the shift is drawn uniformly. Every domain
    follows from the seed and its number; fas_jax/synthetic/shifts.py states the distribution. Started again after an
    interruption, the study continues.

    Writes shift.html and shift.md, the tables as CSV, and scores.csv with domains.json, from which --scores judges
    other rules later without rendering.

    Args:
        settings: Domains, videos and features.
        out: Folder for tables and pages.
        cache: Folder for videos, kept frames and features.
        rules: Threshold rules as in evaluation.threshold, each from validation or, as in pooled@leave-one-source-out,
            from the scores of that role. Today's default (pooled) is always among them.
        heads: Kinds of the methods that are fitted on the stored features.
        scores: scores.csv of an earlier study; nothing is rendered or fitted then, and settings and heads do not count.
        alpha: Error rate of three answers (bona fide, attack, uncertain), whose coverage on the targets is tabulated.
    """
    check_output(out)
    if not 0 < alpha < 1:
        raise UserError(f"--alpha must lie between 0 and 1, not {alpha:g}")
    rules = tuple(dict.fromkeys((TODAY, *rules)))
    if scores is not None:
        table, study = read_study(scores)
    else:
        for rule in rules:
            StudyRule.parse(rule, ROLES)
        if not heads:
            raise UserError("--heads names no method; give one, such as mean-feature")
        methods = {kind: method_of(kind, QUICK if kind == "gru" else (), "whole") for kind in heads}
        targets = settings.domains()[1]
        stores = make_stores(settings, cache)
        names = [f"{SYNTHETIC}{each.name}" for each in targets]
        record_study("domain_shift", [store.path for store in stores.ordinary], names, ())
        clips, shifted = (open_stores(each)[0] for each in stores)
        table = score_targets(clips, shifted, settings, methods)
        study = Study(to_dict(settings), stores.ordinary[0].provenance["weights"], tuple(targets))
    print(write_study(out, table, study, rules, alpha))


command = partial(cli.main, main)
