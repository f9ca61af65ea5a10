"""The protocols that an experiment can ask for, by name. Imports no JAX.

Across datasets: `leave-one-out` (all targets), `limited-source` (M&I to C, M&I to O), `single-source` (every ordered
pair), or a single one, such as `OCI_to_M`; names of more than one letter are joined by `+`, as in `A+B_to_C`. The
preset says which videos of each dataset are used. `deploy` trains on all videos of all datasets at hand and tests none.

Within a dataset NAME, of whatever kind:
- `intra-NAME`: its own train, dev and test videos; without dev videos a validation part is cut out by subject.
- `kfold-NAME-5`: all its videos in five folds by subject (any number from 2), each of which is tested once; their mean
  and standard deviation are reported. For sets too small to be split.
- `loso-NAME`: leave one PAI species out. For each coarse species of the test videos, training and validation are
  without it, and its attacks are tested with the bona fide test videos; `loso-NAME-print` is one of these alone.

Within the official datasets `intra-` is as their authors defined it: `intra-O-1` to `intra-O-4` (3 and 4 with six folds
each, `intra-O-3_1` and so on, whose mean and standard deviation are reported), `intra-I` (grandtest) and its subsets by
instrument (without smalltest, 24 videos to try software with), `intra-M`, `intra-C` and its subsets by quality and
instrument. `intra-O`, `intra-I-all` and `intra-C-all` stand for all of them.

Rendered datasets are named `synth-O` and so on. Where all datasets at hand are rendered, `synth-` may be left out.
Where real ones are at hand as well, every name is exact, and at least one protocol names a rendered dataset, as
`synth-O+synth-C_to_mine` does: rendered and real videos are never put together unless they are asked for.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.record import Video
from fas_jax.base.settings import Evaluation
from fas_jax.base.video_table import VideoTable
from fas_jax.protocols import within
from fas_jax.protocols.official import FOLDS, WITHIN
from fas_jax.protocols.presets import (
    DEPLOY,
    OFFICIAL,
    SYNTHETIC,
    Protocol,
    base_name,
    deploy,
    is_synthetic,
    leave_one_out,
    make_protocol,
)
from fas_jax.protocols.subjects import check_shared

LIMITED_SOURCE = ((("M", "I"), "C"), (("M", "I"), "O"))
_FOLD = re.compile(r"(.+)_\d+")
_WITHIN_KINDS = ("intra-", "kfold-", "loso-")


def fold_group(protocol: str) -> str | None:
    """`intra-O-3` for `intra-O-3_2`, `kfold-A-5` for `kfold-A-5_1`; None for a protocol that is no fold of another."""
    match = _FOLD.fullmatch(protocol)
    return match[1] if match and protocol in fold_names(match[1]) else None


def fold_names(group: str) -> tuple[str, ...]:
    """The names of all protocols that are folds of this one; empty where it has none."""
    official = tuple(f"{group}_{fold}" for fold in FOLDS)
    return official if official[0] in WITHIN else within.fold_names(group)


def choose_protocols(settings: Evaluation, videos: Sequence[Video]) -> tuple[Protocol, ...]:
    """The protocols that an experiment asks for: by name, or one for each of its targets.

    Args:
        settings: All of them are checked.
        videos: Of all datasets at hand, as they are listed before they are prepared or afterwards, in any order.

    Raises:
        UserError: A setting out of range, an unknown name, a dataset that is not at hand or too small, a protocol named
            twice, rendered and real datasets at hand without a protocol that names rendered ones, or protocols within
            and across datasets together, which need a table each.
    """
    table = VideoTable.of(videos)
    at_hand = sorted(table.dataset.present())
    _check(settings, at_hand)
    if not settings.protocols:
        _refuse_unasked(settings, at_hand, ())
        return leave_one_out(settings.preset, settings.targets, at_hand)
    protocols = [each for name in settings.protocols for each in named(name, settings.preset, table)]
    names = [protocol.name for protocol in protocols]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"evaluation.protocols names {', '.join(twice)} twice")
    if len({protocol.preset == OFFICIAL for protocol in protocols if protocol.target}) > 1:
        raise UserError(
            "evaluation.protocols names protocols within a dataset and across datasets; run them apart, for each needs "
            "a table of its own"
        )
    _refuse_unasked(settings, at_hand, protocols)
    return tuple(protocols)


def used_preset(settings: Evaluation) -> str:
    """The preset that a run's reports have to name: protocols within a dataset and `deploy` have their own."""
    if any(name.startswith(_WITHIN_KINDS) for name in settings.protocols):
        return OFFICIAL
    return DEPLOY if {*settings.protocols} == {DEPLOY} else settings.preset


def named(name: str, preset: str, videos: Sequence[Video]) -> tuple[Protocol, ...]:
    """The protocols of one name; see the module's text."""
    table = VideoTable.of(videos)
    at_hand = sorted(table.dataset.present())
    meant = _meanings(at_hand)
    if name == DEPLOY:
        return (deploy(at_hand),)
    if name == "leave-one-out":
        return leave_one_out(preset, map(base_name, at_hand), at_hand)
    if name == "single-source":
        bases = sorted({base_name(each) for each in at_hand})
        pairs = [((source,), target) for source in bases for target in bases if source != target]
        return _across(preset, pairs, meant, name)
    if name == "limited-source":
        return _across(preset, LIMITED_SOURCE, meant, name)
    if "_to_" in name:
        sources, _, target = name.partition("_to_")
        alone = sources in meant or sources.startswith(SYNTHETIC)
        parts = sources.split("+") if "+" in sources else [sources] if alone else list(sources)
        return _across(preset, [(tuple(parts), target)], meant, name)
    official = _official(name)
    found = [*([official] if official else ()), *within.made_within(name, meant, table)]
    if len(found) > 1:
        raise UserError(f"protocol {name!r} can mean several: {', '.join(_titles(found))}; rename a dataset")
    if not found:
        families = {"leave-one-out", "limited-source", "single-source", DEPLOY, "intra-O", "intra-O-3", "intra-O-4"}
        plain = {each for each in WITHIN if SYNTHETIC not in each}
        made = within.suggested_names(meant)
        raise unknown_name("protocol", name, {*plain, *families, "intra-I-all", "intra-C-all", "OCI_to_M", *made})
    if official:
        _need(official[0].sources, meant, name)
    return found[0]


def _check(settings: Evaluation, at_hand: Collection[str]) -> None:
    if not 0 < settings.validation_fraction < 1:
        raise UserError(
            f"evaluation.validation_fraction must lie between 0 and 1, not {settings.validation_fraction:g}"
        )
    for setting in ("targets", "protocols"):
        if not all(getattr(settings, setting)):
            raise UserError(f"evaluation.{setting} has an empty name; take it out")
    if not settings.protocols and not settings.targets:
        raise UserError("evaluation.targets is empty; name at least one dataset, or protocols in evaluation.protocols")
    if not at_hand:
        raise UserError("no dataset is at hand; give a folder or a manifest in [data]")
    check_shared(settings.shared_subjects, at_hand)


def _meanings(at_hand: Collection[str]) -> dict[str, str]:
    """The dataset at hand that each name means."""
    exact = {name: name for name in at_hand}
    only_rendered = all(map(is_synthetic, at_hand))
    return {**({base_name(name): name for name in at_hand} if only_rendered else {}), **exact}


def _refuse_unasked(settings: Evaluation, at_hand: Collection[str], protocols: Iterable[Protocol]) -> None:
    """Raises `UserError` where rendered and real datasets are at hand and no protocol says that it means rendered."""
    rendered = list(filter(is_synthetic, at_hand))
    if rendered and len(rendered) < len(at_hand) and not any(protocol.rendered for protocol in protocols):
        names = settings.protocols or tuple(f"all_to_{target}" for target in settings.targets)
        raise UserError(
            f"rendered datasets ({', '.join(rendered)}) are at hand beside real ones "
            f"({', '.join(name for name in at_hand if name not in rendered)}), and evaluation.protocols names none of "
            f"them, so that they would be mixed or unused; {_offer(names[0], at_hand)}, or leave one kind out of [data]"
        )


def _offer(name: str, at_hand: Collection[str]) -> str:
    """A sentence with an exact name: rendered sources, and a real target where there is one."""
    sources, _, target = name.partition("_to_")
    parts = sources.split("+") if "+" in sources else list(sources)
    target = target if target in at_hand else min((each for each in at_hand if not is_synthetic(each)), default=target)
    asked = [SYNTHETIC + base_name(part) if SYNTHETIC + base_name(part) in at_hand else part for part in parts]
    if not set(asked) <= set(at_hand) or target in asked:
        asked = [each for each in at_hand if is_synthetic(each)]
    return f"name them exactly, as in {'+'.join(asked)}_to_{target}"


def _official(name: str) -> tuple[Protocol, ...]:
    if name in WITHIN:
        return (WITHIN[name],)
    if base := re.fullmatch(rf"(intra-(?:{SYNTHETIC})?)(O|I-all|C-all)", name):
        stem = f"{base[1]}{base[2][0]}"
        return tuple(each for own, each in WITHIN.items() if own == stem or own.startswith(f"{stem}-"))
    return tuple(WITHIN[fold] for fold in fold_names(name) if fold in WITHIN)


def _titles(found: Iterable[Sequence[Protocol]]) -> list[str]:
    return [protocols[0].display for protocols in found]


def _across(
    preset: str, pairs: Iterable[tuple[Sequence[str], str]], meant: Mapping[str, str], name: str
) -> tuple[Protocol, ...]:
    found = []
    for sources, target in pairs:
        _need((*sources, target), meant, name)
        found.append(make_protocol(preset, sources, target))
    if not found:
        raise UserError(f"protocol {name!r} needs at least two datasets; at hand: {', '.join(meant) or 'none'}")
    return tuple(found)


def _need(datasets: Iterable[str], meant: Mapping[str, str], name: str) -> None:
    for dataset in datasets:
        if dataset not in meant:
            at_hand = sorted({*meant.values()})
            rendered = f"; {_offer(name, at_hand)}" if SYNTHETIC + dataset in at_hand else ""
            raise UserError(
                f"protocol {name!r} needs dataset {dataset!r}, which is not at hand ({', '.join(at_hand) or 'none'}); "
                f"give its folder or its manifest in [data]{rendered}"
            )
