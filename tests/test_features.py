"""The feature stage and its store."""

import dataclasses
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from fas_jax.base.declarations import Declared, declared
from fas_jax.base.errors import UserError
from fas_jax.base.record import ClipInfo, Failure, RenditionInfo, Video
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Features, Preparation
from fas_jax.datasets.loading import FrameBatch
from fas_jax.datasets.prepared import Prepared, Shard
from fas_jax.features import extraction, shifted
from fas_jax.features import store as store_module
from fas_jax.features.extraction import (
    FeatureStore,
    compile_stage,
    extract,
    frame_features,
    load_backbone,
    store_identity,
)
from fas_jax.features.shifted import extract_shifted
from fas_jax.models import backbones
from fas_jax.models.backbones import Backbone, densenet, densenet_weights
from fas_jax.pixels.renditions import colour, rendition_key
from fas_jax.pixels.shifts import shift_frames
from tests.backbone_cases import TINY, densenet_tensors, frames, uniform
from tests.stores import clip_info

BACKBONE = Backbone(
    name="tiny",
    dimension=TINY.dimension(),
    version=1,
    preprocessing="test",
    init=partial(densenet.init, TINY),
    apply=partial(densenet.apply, TINY),
    import_weights=partial(densenet_weights.import_weights, TINY, "tiny"),
)
SETTINGS = Features(backbone="tiny", weights="random", batch_size=4, store_dtype="float32")
# Frames of each clip, by shard; a shard may hold less than a batch, or nothing.
LENGTHS = {"a": (3, 1, 7, 2), "b": (2,), "c": (), "d": (5, 4)}
SPLITS = {"a": "train", "b": "dev", "c": "dev", "d": "test"}


def video(shard: str, i: int) -> Video:
    return Video(f"{shard}/{i}.mov", "synth-M", str(i), SPLITS[shard], i % 2, "print", "fine ü", "phone", "")


def info(length: int) -> ClipInfo:
    return clip_info(length, frame_count=300, fps=29.97)


def clip_frames(shard: str, i: int) -> np.ndarray:
    return uniform(f"{shard}{i}", (LENGTHS[shard][i], 40, 32, 3), 0, 256).astype(np.uint8)


NO_FACE = "no face in frame 29"


class InMemory(Prepared):
    """A prepared dataset whose clips are drawn, not read; every second one lacks the rendition `face`."""

    def clips(self, shard):
        found = []
        for i, length in enumerate(LENGTHS[shard.name]):
            whole = info(length).renditions["whole"]
            face = RenditionInfo(no_face=1, reason=NO_FACE) if i % 2 else whole
            made = {"whole": whole, "face": face}
            found.append((video(shard.name, i), dataclasses.replace(info(length), renditions=made)))
        return found


def shard_frames(prepared, shard, batch_size, rendition):
    made = [each.renditions[rendition] for _, each in prepared.clips(shard)]
    clips = [clip_frames(shard.name, i) for i, each in enumerate(made) if not each.reason]
    if not clips:
        return
    stream = np.concatenate(clips)
    for start in range(0, len(stream), batch_size):
        part = stream[start : start + batch_size]
        padding = np.zeros((batch_size - len(part), *part.shape[1:]), np.uint8)
        yield FrameBatch(np.concatenate([part, padding]), len(part))


@pytest.fixture
def prepared(monkeypatch):
    monkeypatch.setitem(backbones.BACKBONES, "tiny", BACKBONE)
    monkeypatch.setattr(extraction, "shard_frames", shard_frames)
    return InMemory(
        directory=Path("nowhere"),
        dataset="synth-M",
        layout="msu_mfsd",
        synthetic=True,
        complete=False,
        settings=Preparation(),
        renditions={"whole": rendition_key(Rendition()), "face": rendition_key(Rendition(crop="annotation"))},
        fingerprint="f" * 64,
        failures=(Failure(video("d", 9), "no frame"),),
        splits={"train": 4, "dev": 1, "test": 2},
        shards=tuple(Shard(SPLITS[name], name, len(LENGTHS[name]), 0, "", "") for name in LENGTHS),
        versions={"opencv": "4"},
    )


def files(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_the_store_holds_every_clips_features(prepared, tmp_path):
    store = extract(prepared, "whole", tmp_path, SETTINGS)
    table = FeatureStore.open(store.path).load()
    assert store.path.parent == tmp_path
    assert store.path.name.startswith("synth-M-")
    expected = [(shard, i) for shard in LENGTHS for i in range(len(LENGTHS[shard]))]
    assert list(table.videos) == [video(shard, i) for shard, i in expected]
    assert list(table.clips) == [row for shard in prepared.shards for _, row in prepared.clips(shard)]
    assert table.features.shape == (7, 7, TINY.dimension())
    assert table.features.dtype == np.float32
    # Directly, without batches of four and without shards.
    params = BACKBONE.init(0)
    for row, (shard, i) in enumerate(expected):
        length = LENGTHS[shard][i]
        wanted = np.asarray(jax.jit(BACKBONE.apply)(params, clip_frames(shard, i)))
        np.testing.assert_allclose(table.features[row, :length], wanted, rtol=1e-5, atol=1e-5)
        assert not table.features[row, length:].any()
        assert table.mask[row].tolist() == [True] * length + [False] * (7 - length)


def test_stores_of_all_renditions_hold_the_same_clips_row_by_row(prepared, tmp_path):
    whole, face = (extract(prepared, name, tmp_path, SETTINGS).load() for name in ("whole", "face"))
    assert list(face.videos) == list(whole.videos)
    assert face.clips == whole.clips
    lacking = np.array([clip.renditions["face"].reason == NO_FACE for clip in face.clips])
    assert lacking.tolist() == [False, True, False, True, False, False, True]
    assert face.mask.any(1).tolist() == (~lacking).tolist()
    assert not face.features[lacking].any()
    # The same frames, which lie elsewhere in their batches and may be rounded otherwise there.
    np.testing.assert_allclose(face.features[~lacking], whole.features[~lacking], atol=1e-6)
    store = FeatureStore.open(extract(prepared, "face", tmp_path, SETTINGS).path)
    assert store.provenance["rendition"] == "face"
    with pytest.raises(UserError, match="unknown rendition 'fase'; did you mean 'face'"):
        extract(prepared, "fase", tmp_path, SETTINGS)


# Another value of every setting: one that has none here fails the test below.
OTHER = {
    "backbone": "efficientnet_lite0",
    "weights": "package",
    "weights_seed": 1,
    "batch_size": 8,
    "precision": "bfloat16",
    "store_dtype": "float16",
}


@pytest.mark.parametrize("field", dataclasses.fields(Features), ids=lambda field: field.name)
def test_every_setting_that_may_move_a_feature_is_in_the_stores_identity(field, prepared):
    def identity(settings):
        # The weights count by their hash, which `load_backbone` takes.
        origin = {"weights_sha256": f"{settings.weights} {settings.weights_seed}"}
        return store_identity(prepared, "whole", settings, BACKBONE, origin)

    other = dataclasses.replace(SETTINGS, **{field.name: OTHER[field.name]})
    same = declared(field) in (Declared.HOW, Declared.FAILURE_POLICY)
    assert (identity(SETTINGS) == identity(other)) == same


def test_another_platform_or_rendition_has_a_store_of_its_own(prepared, monkeypatch):
    origin = {"weights_sha256": "0"}
    first, face = (store_identity(prepared, name, SETTINGS, BACKBONE, origin) for name in ("whole", "face"))
    assert first["platform"] == jax.default_backend()
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    other = store_identity(prepared, "whole", SETTINGS, BACKBONE, origin)
    assert {name for name in first if first[name] != other[name]} == {"platform"}
    assert {name for name in first if first[name] != face[name]} == {"rendition"}


def test_versions_are_those_of_whoever_made_the_units(prepared, tmp_path, monkeypatch):
    installed = store_module.installed
    monkeypatch.setattr(store_module, "installed", lambda *names: installed(*names) | {"jax": "1"})
    store = extract(prepared, "whole", tmp_path, SETTINGS)
    assert store.provenance["versions"].keys() == {"fas-jax", "jax", "jaxlib", "numpy", "opencv-python-headless"}
    monkeypatch.setattr(store_module, "installed", lambda *names: installed(*names) | {"jax": "2"})
    assert extract(prepared, "whole", tmp_path, SETTINGS).provenance["versions"]["jax"] == "1"
    (store.path / "00001.safetensors").unlink()
    mended = extract(prepared, "whole", tmp_path, SETTINGS)
    assert mended.provenance["versions"]["jax"] == "1, 2"
    assert mended.provenance["prepared_versions"] == {"opencv": "4"}


def test_splits_and_failures_and_provenance(prepared, tmp_path):
    store = extract(prepared, "whole", tmp_path, SETTINGS)
    everything, train, rest = store.load(), store.load({"train"}), store.load(["dev", "test"])
    assert [video.split for video in train.videos] == ["train"] * 4
    assert len(rest.videos) == 3
    assert rest.features.shape[1] == 5
    assert train.failures == ()
    assert rest.failures == everything.failures == prepared.failures
    provenance = everything.provenance
    assert provenance["weights"] == "random (seed 0)"
    assert (provenance["dataset"], provenance["synthetic"], provenance["complete"]) == ("synth-M", True, False)
    assert provenance["prepared"] == prepared.fingerprint
    assert store.load({"nothing"}).features.shape == (0, 0, TINY.dimension())


def test_a_single_video_gets_the_stores_bits(prepared, tmp_path):
    table = extract(prepared, "whole", tmp_path, SETTINGS).load()
    backbone, params, _ = load_backbone(SETTINGS)
    for row, (shard, i) in enumerate([("a", 0), ("a", 1), ("a", 2)]):
        found = frame_features(backbone, params, clip_frames(shard, i), SETTINGS.batch_size, store_dtype="float32")
        assert np.array_equal(found, table.features[row, : len(found)])


def test_a_second_run_computes_nothing(prepared, tmp_path, monkeypatch):
    store = extract(prepared, "whole", tmp_path, SETTINGS)
    before = files(store.path)
    monkeypatch.setattr(extraction, "shard_frames", None)
    assert extract(prepared, "whole", tmp_path, SETTINGS) == store
    assert files(store.path) == before


def test_two_at_once_write_every_unit_once(prepared, tmp_path, monkeypatch):
    """One computes while the other waits, and no unit changes under a reader."""
    written = []
    write = extraction.write_unit
    noted = lambda path, name, *rest: written.append(name) or write(path, name, *rest)  # noqa: E731
    monkeypatch.setattr(extraction, "write_unit", noted)
    with ThreadPoolExecutor(2) as threads:
        one, two = threads.map(lambda _: extract(prepared, "whole", tmp_path, SETTINGS), range(2))
    assert one == two
    assert sorted(written) == [unit.name for unit in one.units]
    assert not [name for name in files(one.path) if name.startswith(".")]


@pytest.mark.parametrize("batches", range(1, 8))
def test_killed_and_restarted_it_ends_with_the_same_bits(batches, prepared, tmp_path, monkeypatch):
    wanted = extract(prepared, "whole", tmp_path / "whole", SETTINGS)
    computed = []

    def dying(prepared, shard, batch_size, rendition):
        for batch in shard_frames(prepared, shard, batch_size, rendition):
            if len(computed) == batches:
                raise KeyboardInterrupt
            computed.append(shard.name)
            yield batch

    monkeypatch.setattr(extraction, "shard_frames", dying)
    with pytest.raises(KeyboardInterrupt):
        extract(prepared, "whole", tmp_path / "killed", SETTINGS)
    path = tmp_path / "killed" / wanted.path.name
    with pytest.raises(UserError, match="no finished feature store"):
        FeatureStore.open(path)
    finished = {file.stem for file in path.glob("*.safetensors")} if path.exists() else set()
    computed.clear()
    batches = 1000
    store = extract(prepared, "whole", tmp_path / "killed", SETTINGS)
    assert not {f"{'abcd'.index(name):05d}" for name in computed} & finished
    assert files(store.path) == files(wanted.path)


def test_a_changed_setting_never_meets_old_features(prepared, tmp_path):
    changed = [
        (prepared, dataclasses.replace(SETTINGS, weights_seed=1)),
        (prepared, dataclasses.replace(SETTINGS, batch_size=8)),
        (dataclasses.replace(prepared, fingerprint="e" * 64), SETTINGS),
    ]
    stores = [extract(dataset, "whole", tmp_path, settings) for dataset, settings in changed]
    paths = {extract(prepared, "whole", tmp_path, SETTINGS).path, *(store.path for store in stores)}
    assert len(paths) == 4
    with pytest.raises(UserError, match="batch_size is 8, not 4"):
        FeatureStore.open(stores[1].path, extract(prepared, "whole", tmp_path, SETTINGS).identity)


def test_a_raised_version_of_the_backbone_changes_the_key(prepared, tmp_path, monkeypatch):
    first = extract(prepared, "whole", tmp_path, SETTINGS).path
    monkeypatch.setitem(backbones.BACKBONES, "tiny", dataclasses.replace(BACKBONE, version=2))
    assert extract(prepared, "whole", tmp_path, SETTINGS).path != first


def test_any_flipped_bit_is_noticed_and_a_rerun_mends_it(prepared, tmp_path):
    store = extract(prepared, "whole", tmp_path, SETTINGS)
    wanted = files(store.path)
    for name, content in wanted.items():
        for place in (0, len(content) // 3, len(content) // 2, len(content) - 2):
            damaged = bytearray(content)
            damaged[place] ^= 4
            (store.path / name).write_bytes(damaged)
            with pytest.raises(UserError, match=store.path.name):
                FeatureStore.open(store.path).load()
        if name != "store.json":
            extract(prepared, "whole", tmp_path, SETTINGS)
            assert files(store.path) == wanted
        (store.path / name).write_bytes(content)


def test_a_missing_unit_and_a_renamed_folder_are_noticed(prepared, tmp_path):
    store = extract(prepared, "whole", tmp_path, SETTINGS)
    moved = store.path.rename(tmp_path / "synth-M-0123456789abcdef")
    with pytest.raises(UserError, match="changed"):
        FeatureStore.open(moved)
    moved.rename(store.path)
    (store.path / "00000.safetensors").unlink()
    with pytest.raises(UserError, match="00000"):
        store.load()


def test_a_manifest_cannot_lead_out_of_the_store(prepared, tmp_path):
    store = extract(prepared, "whole", tmp_path, SETTINGS)
    unit = dataclasses.replace(store.units[0], name="../elsewhere.safetensors")
    with pytest.raises(UserError, match="leads out"):
        dataclasses.replace(store, units=(unit,)).load()


def test_weights_from_a_file(prepared, tmp_path):
    save_file(densenet_tensors(TINY), tmp_path / "own.safetensors")
    settings = dataclasses.replace(SETTINGS, weights=str(tmp_path / "own.safetensors"))
    store = extract(prepared, "whole", tmp_path, settings)
    assert store.provenance["weights"] == "own.safetensors"
    assert str(tmp_path) not in json.dumps(store.provenance)
    # The same file elsewhere gives the same store.
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "own.safetensors").rename(tmp_path / "elsewhere" / "own.safetensors")
    moved = dataclasses.replace(SETTINGS, weights=str(tmp_path / "elsewhere" / "own.safetensors"))
    assert extract(prepared, "whole", tmp_path, moved) == store


@pytest.mark.usefixtures("prepared")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": ""}, "features.weights.*'random'"),
        ({"weights": "package"}, "no weights for tiny"),
        ({"weights": "nowhere.pth"}, "nowhere.pth do not exist"),
        ({"backbone": "tyni"}, "did you mean 'tiny'"),
    ],
)
def test_weights_have_to_be_named(change, message):
    with pytest.raises(UserError, match=message):
        load_backbone(dataclasses.replace(SETTINGS, **change))


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((2, 40, 40, 3), np.float32),
        np.zeros((2, 40, 40, 1), np.uint8),
        np.zeros((2, 3, 40, 40), np.uint8),
        np.zeros((40, 40, 3), np.uint8),
        np.zeros((2, 16, 40, 3), np.uint8),
    ],
)
def test_frames_of_another_kind_are_refused(bad):
    with pytest.raises(UserError, match="frames"):
        frame_features(BACKBONE, BACKBONE.init(0), bad, 4)


def test_reduced_types_have_stores_of_their_own_and_stay_close(prepared, tmp_path):
    settings = {
        "exact": SETTINGS,
        "half": dataclasses.replace(SETTINGS, store_dtype="float16"),
        "reduced": dataclasses.replace(SETTINGS, precision="bfloat16"),
    }
    stores = {name: extract(prepared, "whole", tmp_path, each) for name, each in settings.items()}
    assert len({store.path for store in stores.values()}) == len({s.fingerprint for s in stores.values()}) == 3
    tables = {name: store.load() for name, store in stores.items()}
    exact, half, reduced = (tables[name].features for name in settings)
    assert half.dtype == np.float32
    assert np.array_equal(half, exact.astype(np.float16).astype(np.float32))
    sizes = [sum(file.stat().st_size for file in stores[n].path.glob("*.safetensors")) for n in ("exact", "half")]
    # Two bytes a number, but for the headers' padding.
    assert abs(sizes[0] - sizes[1] - 2 * tables["exact"].mask.sum() * TINY.dimension()) < 100
    assert not np.array_equal(reduced, exact)
    mask = tables["exact"].mask
    lengths = np.linalg.norm(reduced, axis=-1) * np.linalg.norm(exact, axis=-1)
    assert ((reduced * exact).sum(-1)[mask] / lengths[mask]).min() > 0.999
    # A bundle gets the very bits of the store.
    for name in ("half", "reduced"):
        backbone, params, _ = load_backbone(settings[name])
        params = backbones.cast_kernels(params, settings[name].precision)
        found = frame_features(
            backbone, params, clip_frames("a", 2), 4, settings[name].precision, settings[name].store_dtype
        )
        assert np.array_equal(found, tables[name].features[2, :7])


def test_features_too_large_for_the_store_are_told(prepared, tmp_path, monkeypatch):
    def apply(params, frames, precision):
        return 1e5 * BACKBONE.apply(params, frames, precision)

    monkeypatch.setitem(backbones.BACKBONES, "tiny", dataclasses.replace(BACKBONE, apply=apply))
    with pytest.raises(UserError, match=r"exceed float16.*store_dtype"):
        extract(prepared, "whole", tmp_path, dataclasses.replace(SETTINGS, store_dtype="float16"))
    assert extract(prepared, "whole", tmp_path, SETTINGS).load().features.max() > 65504


def test_out_of_memory_it_tries_half_the_batch_and_says_so(prepared, tmp_path, monkeypatch, capsys):
    wanted = extract(prepared, "whole", tmp_path / "wanted", dataclasses.replace(SETTINGS, batch_size=2))
    compile_stage = extraction.compile_stage

    def small_device(backbone, precision):
        stage = compile_stage(backbone, precision)

        def run(params, batch):
            if len(batch) > 2:
                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes")
            return stage(params, batch)

        return run

    monkeypatch.setattr(extraction, "compile_stage", small_device)
    store = extract(prepared, "whole", tmp_path, dataclasses.replace(SETTINGS, batch_size=8))
    assert files(store.path) == files(wanted.path)
    told = capsys.readouterr().err.splitlines()
    assert [line.rsplit("; ", 1)[1] for line in told] == ["trying 4", "trying 2"]
    assert "not enough memory for features.batch_size 8: set it to 4" in told[0]

    def broken(backbone, precision):
        def run(params, batch):
            raise jax.errors.JaxRuntimeError("INTERNAL: device is gone\nstack")

        return run

    monkeypatch.setattr(extraction, "compile_stage", broken)
    with pytest.raises(UserError, match=r"INTERNAL: device is gone.*run the same command again"):
        extract(prepared, "whole", tmp_path, dataclasses.replace(SETTINGS, batch_size=3))


def test_no_frames_give_no_features():
    assert frame_features(BACKBONE, BACKBONE.init(0), frames((3, 32, 32))[:0], 4).shape == (0, TINY.dimension())


def test_the_stage_compiles_once_and_does_not_hold_the_weights(monkeypatch):
    stage = compile_stage(BACKBONE)
    assert stage is compile_stage(BACKBONE)
    params = BACKBONE.init(0)
    text = stage.lower(params, frames((4, 40, 32))).as_text()
    # Weights that were captured instead of passed would be constants in the program.
    assert len(text) < 4 * sum(leaf.size for leaf in jax.tree.leaves(params))


DEVICES = """
import sys
import numpy as np, jax
from fas_jax.features.extraction import frame_features
from tests.test_features import BACKBONE
from fas_jax.pixels.renditions import colour, rendition_key
from fas_jax.pixels.shifts import shift_frames
from tests.backbone_cases import frames
assert jax.local_device_count() == int(sys.argv[2])
images = frames((21, 40, 32))
np.save(sys.argv[1], frame_features(BACKBONE, BACKBONE.init(0), images, 4, store_dtype="float32"))
"""


@pytest.mark.slow
def test_four_devices_give_the_features_of_one(tmp_path):
    found = {}
    for count in (1, 4):
        path = tmp_path / f"{count}.npy"
        environment = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={count}",
            "PYTHONPATH": str(Path(__file__).parent.parent),
        }
        subprocess.run([sys.executable, "-c", DEVICES, str(path), str(count)], check=True, env=environment)
        found[count] = np.load(path)
    assert np.array_equal(found[1], found[4])


def test_a_batch_without_frames_is_refused():
    with pytest.raises(UserError, match="batch_size is 0"):
        frame_features(BACKBONE, BACKBONE.init(0), frames((2, 40, 32)), 0)


@pytest.fixture
def shiftable(prepared, monkeypatch):
    class Drawn:
        def __init__(self, prepared, shards, rendition):
            (self.shard,) = shards

        def __getitem__(self, index):
            return {"sequence": clip_frames(self.shard.name, index)}

    monkeypatch.setattr(shifted, "FrameClips", Drawn)
    return prepared


def test_shifted_videos_have_a_store_of_their_own(shiftable, tmp_path):
    """Of the videos that are named and no others, with the features and colours of the shifted frames."""
    plain = extract(shiftable, "whole", tmp_path, SETTINGS)
    before = files(plain.path)
    shards = list(LENGTHS)
    wanted = [(shards[0], 0), (shards[0], 2), (shards[-1], 0)]
    paths = [video(*each).path for each in wanted]
    store = extract_shifted(shiftable, "whole", paths, tmp_path, SETTINGS, seed=3)
    assert store.path != plain.path
    assert files(plain.path) == before
    table = store.load()
    assert list(table.videos) == [video(*each) for each in wanted]
    backbone, params, _ = load_backbone(SETTINGS)
    for row, each in enumerate(wanted):
        frames = shift_frames(clip_frames(*each), f"{video(*each).dataset}\0{video(*each).path}", 3)
        own = frame_features(backbone, params, frames, SETTINGS.batch_size, store_dtype="float32")
        # At other places of a batch, sums are rounded otherwise.
        np.testing.assert_allclose(table.features[row][table.mask[row]], own, rtol=0, atol=1e-5)
        assert table.clips[row].renditions["whole"].colour == colour(frames)
        assert not np.array_equal(frames, clip_frames(*each))


def test_shifted_features_are_computed_once_and_keyed_by_videos_and_seed(shiftable, tmp_path, monkeypatch):
    paths = [video(next(iter(LENGTHS)), 0).path]
    store = extract_shifted(shiftable, "whole", paths, tmp_path, SETTINGS)
    others = [
        extract_shifted(shiftable, "whole", [*paths, video(next(iter(LENGTHS)), 1).path], tmp_path, SETTINGS),
        extract_shifted(shiftable, "whole", paths, tmp_path, SETTINGS, seed=1),
    ]
    assert len({each.path for each in (store, *others)}) == 3
    monkeypatch.setattr(shifted, "frame_features", lambda *_: pytest.fail("computed"))
    assert extract_shifted(shiftable, "whole", paths, tmp_path, SETTINGS).fingerprint == store.fingerprint
    monkeypatch.undo()
