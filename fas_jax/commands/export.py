"""Exports a bundle as programs that run without this project."""

from functools import partial
from pathlib import Path

from fas_jax.runtime import cli


def main(bundle: Path, out: Path, detector: str = "") -> None:
    """Writes the feature stage and the function from frames and mask to score as programs for any batch size.

    They run where jax, flatbuffers, numpy and safetensors are installed; run.py beside them shows how.

    Args:
        bundle: Folder of a bundle, which fas-jax run writes into its run's folder.
        out: Folder for the programs.
        detector: The detector to export, by its name in the run's [methods.NAME] tables; without it, the bundle's
            default.
    """
    from fas_jax.deployment.bundle_folder import load_bundle
    from fas_jax.deployment.export import write_serving

    about = write_serving(load_bundle(bundle), out, detector)
    for name, size in about["bytes"].items():
        print(f"{out / name}: {size / 2**20:.2f} MiB")
    print(f"threshold of {about['detector']}: {about['threshold']}")


command = partial(cli.main, main)
