"""Measures what decoding, copying and writing leave of the feature stage's speed.

python -m scripts.benchmarks.pipeline PREPARED
"""

import collections
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Features
from fas_jax.runtime import cli


def main(
    prepared: Annotated[Path, tyro.conf.Positional],
    features: Features,
    rendition: str = "whole",
    rounds: int = 5,
    steps: int = 10,
) -> None:
    """Prints frames a second of the bare stage, of decoding alone, and of extraction into a store, in turns.

    The bare stage computes one batch in the host's memory over and over, with as many steps in flight as extraction
    has, since they fill each other's gaps. Extraction is `extract` as a whole, from
    files to files, less the reading of the weights, which a store needs once.

    Args:
        prepared: Folder that scripts/prepare.py wrote; the more frames, the less the last batch of a shard counts.
        features: The feature stage.
        rendition: Which of the prepared renditions.
        rounds: Rounds in which each of the three has its turn.
        steps: Batches of the bare stage in a turn.
    """
    import numpy as np

    from fas_jax.datasets.loading import shard_frames
    from fas_jax.datasets.prepared import Prepared
    from fas_jax.features.extraction import IN_FLIGHT, compile_stage, extract, load_backbone
    from fas_jax.features.stage import over_devices, send
    from fas_jax.models.backbones import cast_kernels
    from fas_jax.runtime import devices

    if rounds < 1 or steps < IN_FLIGHT:
        raise UserError(f"--rounds must be at least 1, and --steps at least {IN_FLIGHT}")
    devices.use_cores()
    dataset = Prepared.open(prepared)
    backbone, params, _ = load_backbone(features)
    params = cast_kernels(params, features.precision)
    stage, size = compile_stage(backbone, features.precision), over_devices(features.batch_size)
    batch = next(iter(shard_frames(dataset, dataset.shards[0], size, rendition))).frames
    counts = [
        sum(len(info.renditions[rendition].frame_indices) for _, info in dataset.clips(shard))
        for shard in dataset.shards
    ]
    frames, padded = sum(counts), sum(-(-count // size) * size for count in counts)
    stage(params, send(batch)).block_until_ready()

    def bare() -> None:
        waiting = collections.deque([stage(params, send(batch)) for _ in range(IN_FLIGHT)])
        for _ in range(steps - IN_FLIGHT):
            waiting.append(stage(params, send(batch)))
            np.asarray(waiting.popleft())
        for result in waiting:
            np.asarray(result)

    def decode() -> int:
        return sum(each.valid for shard in dataset.shards for each in shard_frames(dataset, shard, size, rendition))

    def end_to_end() -> int:
        with tempfile.TemporaryDirectory() as folder:
            extract(dataset, rendition, Path(folder), features)
        return frames

    def seconds(work: Callable[[], object]) -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    speeds: dict[str, list[float]] = {"bare stage": [], "decoding alone": [], "end to end": []}
    for _ in range(rounds):
        weights = seconds(lambda: load_backbone(features))
        speeds["bare stage"].append(size * steps / seconds(bare))
        speeds["decoding alone"].append(frames / seconds(decode))
        speeds["end to end"].append(frames / (seconds(end_to_end) - weights))
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    for name, values in speeds.items():
        print(f"{name}: {medians[name]:.1f} frames/s (median of {rounds}; {min(values):.1f} to {max(values):.1f})")
    share = medians["end to end"] / medians["bare stage"]
    print(f"share end to end / bare: {share:.1%}; {frames / padded:.1%} is possible with {size} frames a step, because")
    print(f"the last batch of each of the {len(dataset.shards)} shards is padded ({frames} frames, {padded} computed)")
    print(f"most memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    cli.main(main)
