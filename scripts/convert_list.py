"""Converts frame lists of other projects to a manifest; see --help."""

from pathlib import Path

from fas_jax.datasets.frame_lists import convert_lists
from fas_jax.runtime import cli


def main(
    out: Path,
    subject: str,
    train: tuple[Path, ...] = (),
    dev: tuple[Path, ...] = (),
    test: tuple[Path, ...] = (),
    prefix: str = "",
) -> None:
    """Converts frame or crop lists of the SSDG kind (JSON with photo_path and photo_label) and of the FLIP kind (text,
    casia_real_train.txt and so on) to a manifest that scripts/prepare.py reads.

    Args:
        out: The manifest (CSV) to write; it has to lie above the frames.
        subject: Regular expression that finds the subject in a video's path; its first group counts.
        train: Lists of training videos.
        dev: Lists of development videos.
        test: Lists of test videos.
        prefix: Folder put before every path of the lists. A leading slash and '..' in them are taken away.
    """
    count = convert_lists({"train": train, "dev": dev, "test": test}, out, subject, prefix)
    print(f"{out}: {count} videos")


if __name__ == "__main__":
    cli.main(main)
