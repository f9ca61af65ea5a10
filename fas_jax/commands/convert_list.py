"""Converts frame lists of other projects to a manifest."""

from functools import partial
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
    strip: str = "",
    video: str = "",
) -> None:
    """Converts lists of frames or crops to a manifest, which --data.manifests and fas-jax prepare read.

    It reads lists in the manner of SSDG (JSON with photo_path and photo_label) and of FLIP (text, casia_real_train.txt
    and so on, also those of WMCA, CASIA-CeFA, CASIA-SURF and CelebA-Spoof). The frames count as chosen: no rendition
    skips any of them again.

    Args:
        out: The manifest (CSV) to write; the frames must lie in its folder or below.
        subject: Regular expression that finds the subject in a video's path; its first group is taken.
        train: Lists of training videos.
        dev: Lists of development videos.
        test: Lists of test videos.
        prefix: Folder put before every path of the lists. A leading slash and '..' in them are removed.
        strip: Leading folder taken off every path of the lists before that, such as /data/ssdg where they name
            /data/ssdg/crops/a/0.png and the manifest lies beside crops.
        video: Regular expression that finds the video in a frame's path, for lists that name their frames otherwise:
            the video's path ends where the first group ends.
    """
    count = convert_lists({"train": train, "dev": dev, "test": test}, out, subject, prefix, strip, video)
    print(f"{out}: {count} videos")


command = partial(cli.main, main)
