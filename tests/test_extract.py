"""From video files to the feature store through the script, killed on the way."""

import dataclasses
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Features, Preparation
from fas_jax.commands import extract as command
from fas_jax.datasets.loading import FrameClips
from fas_jax.datasets.preparation import prepare_dataset
from fas_jax.datasets.prepared import Prepared
from fas_jax.features.extraction import FeatureStore, extract, frame_features, load_backbone
from fas_jax.runtime import cli
from tests import background
from tests.background import ROOT, ended
from tests.trees import msu_mfsd

SETTINGS = Features(backbone="efficientnet_lite0", weights="random", batch_size=4)
OPTIONS = ["--backbone", "efficientnet_lite0", "--weights", "random", "--batch-size", "4"]


PREPARATION = Preparation(videos_per_shard=3, workers=2, allow_partial=True)
RENDITIONS = {"whole": Rendition(size=64)}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 videos, 32 frames."""
    return msu_mfsd(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def prepared(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """In shards of three videos."""
    return prepare_dataset(root, tmp_path_factory.mktemp("prepared"), PREPARATION, RENDITIONS)


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return background.start(ROOT / "scripts" / "extract.py", *arguments, JAX_PLATFORMS="cpu")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}


@pytest.mark.slow
def test_the_script_killed_and_restarted_makes_the_same_store(prepared: Prepared, tmp_path: Path) -> None:
    killed = start(prepared.directory, "--out", tmp_path / "killed", *OPTIONS)
    while killed.poll() is None and not list(tmp_path.glob("killed/*/00001.json")):
        time.sleep(0.001)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    runs = [start(prepared.directory, "--out", tmp_path / name, *OPTIONS) for name in ("killed", "whole")]
    for run in runs:
        output, _ = ended(run)
        assert "32 frames (whole), weights random (seed 0)" in output
    found, wanted = contents(tmp_path / "killed"), contents(tmp_path / "whole")
    # The kill may leave a temporary file, which nobody reads.
    assert {name: found[name] for name in found if ".tmp-" not in name} == wanted

    (path,) = (tmp_path / "whole").iterdir()
    table = FeatureStore.open(path).load({"test"})
    backbone, params, _ = load_backbone(SETTINGS)
    source = FrameClips(prepared, [shard for shard in prepared.shards if shard.split == "test"], "whole")
    assert len(source) == len(table.videos) == 8
    for i in range(len(source)):
        features = frame_features(backbone, params, source[i]["sequence"], SETTINGS.batch_size)
        assert np.array_equal(features, table.features[i, : len(features)])


def test_raw_records_give_the_same_features(root: Path, prepared: Prepared, tmp_path: Path) -> None:
    raw = prepare_dataset(root, tmp_path / "raw", dataclasses.replace(PREPARATION, records="raw"), RENDITIONS)
    mine, other = (extract(each, "whole", tmp_path, SETTINGS) for each in (raw, prepared))
    assert mine.path != other.path
    for unit in (f"{index:05d}.safetensors" for index in range(len(raw.shards))):
        assert (mine.path / unit).read_bytes() == (other.path / unit).read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backbone", "efficientnet_lite0"], "features.weights"),
        (["--backbone", "efficientnet_lite", "--weights", "random"], "did you mean 'efficientnet_lite0'"),
        (["--weights", "random", "--batch-size", "0"], "batch_size is 0"),
    ],
)
def test_mistakes_end_in_one_line(
    prepared: Prepared,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    """In this process, which has JAX already: that the script is the command is what the slow tests show."""
    arguments = ["extract.py", str(prepared.directory), "--out", str(tmp_path / "out"), *options]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as left:
        cli.main(command.main)
    assert left.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()
