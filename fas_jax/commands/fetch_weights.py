"""Gets published ImageNet weights."""

from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from fas_jax.models.fetching import default_cache, fetch
from fas_jax.runtime import cli


def main(
    backbone: Annotated[str, tyro.conf.Positional] = "densenet201", folder: Path | None = None, source: str = ""
) -> None:
    """Downloads weights from their publisher, checks their hash, and prints their path for --weights.

    A file that exists is only checked, and an interrupted download continues.

    Args:
        backbone: densenet121, densenet169 or densenet201. EfficientNet-Lite0 needs no download: its weights come as
            a package.
        folder: Folder for the file; the user's cache folder if not given.
        source: Another address of the same file, such as a mirror.
    """
    found = fetch(backbone, folder or default_cache(), source)
    print(f"{found.path}\nsha256 {found.sha256}, {'existed' if found.was_there else 'fetched'}")


command = partial(cli.main, main)
