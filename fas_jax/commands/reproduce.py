"""Trains a published method by its release's own settings, beside its published figures."""

import dataclasses
from functools import partial
from typing import Annotated

import tyro

from fas_jax.base.settings import Data
from fas_jax.runtime import cli


def main(
    method: Annotated[str, tyro.conf.Positional],
    target: tuple[str, ...] = ("M", "C", "I", "O"),
    oulu_npu: str = "",
    casia_fasd: str = "",
    replay_attack: str = "",
    msu_mfsd: str = "",
    weights: str = "",
    cache: str = "cache",
    runs: str = "runs",
    smoke: bool = False,
) -> None:
    """Trains and tests by configs/reproduce/METHOD-TARGET.toml with five seeds and prints published and own figures.

    The release chose the epoch and the threshold on the target, and so does this: the figures are no estimate of an
    unknown target's. "Reproduced" is said only of all real datasets, the published initial weights and five seeds, if
    the mean HTER is within 2 points of the published one. An interrupted call continues.

    Args:
        method: ssdg or safas.
        target: Datasets to test on; each is a run of its own, runs/reproduce-METHOD-TARGET.
        oulu_npu: Folder of OULU-NPU (O).
        casia_fasd: Folder of CASIA-FASD (C).
        replay_attack: Folder of Idiap Replay-Attack (I).
        msu_mfsd: Folder of MSU-MFSD (M).
        weights: Where the configuration's weights are, resnet18-5c106cde.pth of torchvision; 'random' tries the run
            without them.
        cache: Folder for prepared datasets, which runs share.
        runs: Folder in which the runs' own folders are made.
        smoke: Tries everything on a few tiny rendered videos, with random weights, two steps and one seed.
    """
    from fas_jax.reporting.grid import markdown
    from fas_jax.reporting.published import RELEASES
    from fas_jax.runtime import devices
    from fas_jax.studies import reproduction

    found, said = {}, []
    for each in target:
        experiment = reproduction.configuration(method, each)
        data = Data(oulu_npu=oulu_npu, casia_fasd=casia_fasd, replay_attack=replay_attack, msu_mfsd=msu_mfsd)
        experiment = dataclasses.replace(experiment, data=data, cache=cache, runs=runs)
        experiment = reproduction.with_weights(experiment, weights) if weights else experiment
        experiment = reproduction.smoke(experiment) if smoke else experiment
        reproduction.check_data(experiment)
        found[each] = reproduction.reproduce(experiment, method)
        said.append(reproduction.verdict(RELEASES[method], each, found[each]))
    if devices.is_first():
        print(f"\n{RELEASES[method].source}\n\n{markdown(reproduction.table(RELEASES[method], found))}\n")
        print("\n".join(said))
        print("Where these settings differ from the release's, the comments in configs/reproduce/ say so.")


command = partial(cli.main, main, several=True)
