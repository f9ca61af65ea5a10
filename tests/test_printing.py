"""Names of files that are no text do not end a script when it prints or records them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation
from fas_jax.datasets.manifest import read_manifest
from fas_jax.datasets.preparation import prepare_dataset, prepare_listing
from tests.trees import casia_fasd, moving_frames

SETTINGS = Preparation(workers=1, allow_partial=True, allow_failures=1)
RENDITIONS = {"whole": Rendition(size=32)}

PRINT = """
import os, sys
from fas_jax.base.errors import UserError
from fas_jax.runtime import cli

def work():
    print(os.fsdecode(b"caf\\xe9"), "caf\\u00e9")
    raise UserError(os.fsdecode(b"caf\\xe9") + " is wrong")

cli.exit_with(work)
"""


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_names_that_cannot_be_shown_are_printed_all_the_same(encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRINT], capture_output=True, env={"PYTHONIOENCODING": encoding}, check=False
    )
    assert done.returncode == 2
    assert done.stdout.startswith(rb"caf\udce9 caf")
    assert done.stderr == b"error: caf\\udce9 is wrong\n"


def test_a_file_that_is_not_used_may_have_any_name(tmp_path: Path) -> None:
    root = casia_fasd(tmp_path / "casia", frames=3)
    videos = root / "train_release/1"
    shutil.copy(videos / "1.avi", videos / os.fsdecode(b"caf\xe9.avi"))
    assert prepare_dataset(root, tmp_path / "out", SETTINGS, RENDITIONS).splits == {"train": 8, "test": 8}


def test_frames_whose_names_are_no_text_are_a_recorded_failure(tmp_path: Path) -> None:
    for clip, name in (("good", b"%d.png"), ("bad", b"caf\xe9%d.png")):
        (tmp_path / clip).mkdir()
        cv2.imwrite(str(tmp_path / "0.png"), moving_frames(1)[0])
        for number in range(2):
            shutil.copy(tmp_path / "0.png", tmp_path / clip / os.fsdecode(name % number))
    (tmp_path / "mine.csv").write_text("video,label,subject,split\ngood,bonafide,a,train\nbad,bonafide,b,train\n")
    (listing,) = read_manifest(tmp_path / "mine.csv")
    prepared = prepare_listing(listing, tmp_path / "out", SETTINGS, RENDITIONS)
    assert prepared.splits == {"train": 1}
    assert [(each.video.path, each.reason) for each in prepared.failures] == [
        ("bad", "cannot be read: its path is not UTF-8; rename it")
    ]
