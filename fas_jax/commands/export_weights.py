"""Writes a trained network's weights."""

from functools import partial
from pathlib import Path

from fas_jax.runtime import cli


def main(bundle: Path, out: Path, detector: str = "") -> None:
    """Writes the network of a detector that was trained on frames under the names of published files.

    PyTorch reads it by `load_state_dict(..., strict=False)`, which misses the classifier alone; the setting `weights`
    reads it, too.

    Args:
        bundle: Folder of a bundle, which fas-jax run writes into its run's folder.
        out: The file to write; its name ends in .safetensors.
        detector: The detector, by its name in the run's [methods.NAME] tables; without it, the bundle's default.
    """
    from fas_jax.deployment.bundle_folder import load_bundle
    from fas_jax.deployment.published import write_published

    count = write_published(load_bundle(bundle), out, detector)
    print(f"{out}: {count} tensors, {out.stat().st_size / 2**20:.2f} MiB")


command = partial(cli.main, main)
