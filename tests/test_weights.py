"""Weights files: the formats, and what is done with files that are broken, malicious or not what they say."""

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from functools import partial
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest
import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from fas_jax.base.errors import UserError
from fas_jax.models.backbones import densenet
from fas_jax.models.backbones.densenet_weights import import_weights
from fas_jax.models.backbones.torch_files import read_torch
from fas_jax.models.backbones.weights import PUBLISHED, read_weights
from tests.backbone_cases import (
    KERAS_FRAMES,
    KERAS_SHAPE,
    TINY,
    densenet_tensors,
    frames,
    keras_value,
    relative_error,
)

GOLDEN = Path(__file__).parent / "golden"
FORMATS = ("legacy", "zip")
SHARED = np.arange(24, dtype=np.float32)
STATE = {
    "matrix": np.arange(6, dtype=np.float32).reshape(2, 3) / np.float32(7),
    "transposed": SHARED.reshape(4, 6).T,
    "view": SHARED[5:9],
    "half": np.array([0.5, -2.0], np.float16),
    "double": np.array([[1e-300]]),
    "count": np.array(3),
    "empty": np.zeros((0, 4), np.float32),
    "flags": np.array([True, False]),
    "parameter": np.ones(2, np.float32),
}


def equal(found, wanted):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype, name
        assert found[name].shape == value.shape, name
        assert np.array_equal(found[name], value), name


@pytest.mark.parametrize("kind", FORMATS)
def test_files_that_torch_wrote(kind):
    tensors, sha256 = read_weights(GOLDEN / f"state.{kind}.pth")
    equal(tensors, STATE)
    assert len(sha256) == 64


@pytest.mark.peer
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("wrapped", [False, True])
def test_files_that_torch_writes_now(kind, wrapped, tmp_path):
    torch = pytest.importorskip("torch")
    from tests.torch_densenet import DenseNet

    state = DenseNet(TINY.layers, TINY.growth, TINY.stem, TINY.bottleneck).state_dict()
    path = tmp_path / "weights.pth"
    torch.save(
        {"epoch": 3, "state_dict": state} if wrapped else state,
        path,
        _use_new_zipfile_serialization=kind == "zip",
    )
    tensors, _ = read_weights(path)
    equal(tensors, {name: value.numpy() for name, value in state.items()})
    import_weights(TINY, "tiny", tensors)


@pytest.mark.parametrize("kind", FORMATS)
def test_truncation_anywhere_is_an_error(kind):
    data = (GOLDEN / f"state.{kind}.pth").read_bytes()
    for length in range(0, len(data), 7):
        with pytest.raises(UserError, match="the file"):
            read_torch(data[:length], "the file")


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(FORMATS), place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_any_changed_byte_gives_tensors_or_a_clear_error(kind, place, value):
    data = bytearray((GOLDEN / f"state.{kind}.pth").read_bytes())
    data[int(place * len(data))] = value
    try:
        tensors = read_torch(bytes(data), "the file")
    except UserError:
        return
    assert all(isinstance(tensor, np.ndarray) for tensor in tensors.values())


def legacy(pickled: bytes, rest: bytes = b"") -> bytes:
    system = {"little_endian": True, "protocol_version": 1001}
    head = [0x1950A86A20F9469CFC6C, 1001, system]
    return b"".join(pickle.dumps(value, 2) for value in head) + pickled + rest


def zipped(pickled: bytes, **members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, content in members.items():
            archive.writestr(f"archive/data/{name}", content)
    return stream.getvalue()


class Evil:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


class Opener:
    def __reduce__(self):
        return open, ("pwned", "w")


@pytest.mark.parametrize("wrap", [legacy, zipped])
@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("payload", [Evil(), {"weights": Opener()}, eval, np.zeros(3)])
def test_pickles_that_call_something_else_are_refused(wrap, protocol, payload, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="the file"):
        read_torch(wrap(pickle.dumps(payload, protocol)), "the file")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02cbuiltins\neval\n.",
        b"\x80\x02ccollections\nOrderedDict\n}X\x05\x00\x00\x00call_NsbN.",
        b"\x80\x02ctorch\nFloatStorage\n)R.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
        b"\x80\x02(((((.",
        b"\x80\x02}K\x01K\x02s.",
        b"\x80\x02j\xff\xff\xff\xff.",
        b"\x80\x02X\xff\xff\xff\x7fabc.",
        b"\x80\x02T\xff\xff\xff\xffabc.",
        b"\x80\x02" + b")" + b"\x85" * 200_000 + b"N" + b"s" + b".",
        b"",
        b".",
    ],
)
def test_malformed_programs_are_refused(program):
    for wrap in (legacy, zipped):
        with pytest.raises(UserError, match="the file"):
            read_torch(wrap(program), "the file")


class Storage:
    """Pickles as PyTorch's persistent ids do."""

    def __init__(self, *identity):
        self.identity = identity


def tensor_program(identity, offset, size, stride):
    """The pickle of {'w': tensor}, with numbers of our choice."""

    def number(n):
        return b"\x8a\x08" + n.to_bytes(8, "little", signed=True)

    def text(s):
        return b"X" + struct.pack("<I", len(s)) + s.encode()

    kind, key, elements = identity
    persistent = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + number(elements)
    shape = b"(" + b"".join(map(number, size)) + b"t" + b"(" + b"".join(map(number, stride)) + b"t"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + persistent + b"tQ" + number(offset) + shape + b"\x89Nt" + b"R"
    return b"\x80\x02}" + text("w") + tensor + b"s."


def test_the_handmade_tensor_is_read():
    program = tensor_program(("FloatStorage", "0", 4), 1, (2,), (2,))
    data = np.arange(4, dtype=np.float32).tobytes()
    assert read_torch(zipped(program, **{"0": data}), "the file")["w"].tolist() == [1, 3]


@pytest.mark.parametrize(
    ("identity", "offset", "size", "stride"),
    [
        (("FloatStorage", "0", 4), 1, (4,), (1,)),
        (("FloatStorage", "0", 4), -1, (2,), (1,)),
        (("FloatStorage", "0", 4), 0, (2,), (-1,)),
        (("FloatStorage", "0", 4), 0, (2, 2), (1,)),
        (("FloatStorage", "0", 4), 0, (2**35,), (0,)),
        (("FloatStorage", "0", 4), 0, (2**62, 4), (1, 1)),
        (("FloatStorage", "0", 5), 0, (2,), (1,)),
        (("DoubleStorage", "0", 4), 0, (2,), (1,)),
        (("FloatStorage", "0", -4), 0, (2,), (1,)),
        (("QuantStorage", "0", 4), 0, (2,), (1,)),
    ],
)
def test_tensors_that_lead_out_of_their_storage_are_refused(identity, offset, size, stride):
    program = tensor_program(identity, offset, size, stride)
    data = np.arange(4, dtype=np.float32).tobytes()
    with pytest.raises(UserError, match="the file"):
        read_torch(zipped(program, **{"0": data}), "the file")
    listed = pickle.dumps([identity[1]], 2) + struct.pack("<q", 4) + data
    with pytest.raises(UserError, match="the file"):
        read_torch(legacy(program, listed), "the file")


def test_compressed_members_are_refused():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}." + b" " * 1_000_000)
    with pytest.raises(UserError, match="compressed"):
        read_torch(stream.getvalue(), "the file")


def test_safetensors_give_the_same_parameters(tmp_path):
    tensors = densenet_tensors(TINY)
    save_file(tensors, tmp_path / "model.safetensors")
    found, _ = read_weights(tmp_path / "model.safetensors")
    equal(found, tensors)
    (tmp_path / "short.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:-5])
    with pytest.raises(UserError, match="short"):
        read_weights(tmp_path / "short.safetensors")


def keras_golden():
    with safetensors.safe_open(GOLDEN / "densenet_keras.safetensors", "numpy") as file:
        return json.loads(file.metadata()["sizes"]), file.get_tensor("features")


def write_keras(path, rename=lambda name: name, top=True):
    sizes, _ = keras_golden()
    with h5py.File(path, "w") as file:
        for name, size in sizes.items():
            *_, layer, variable = name.split("/")
            if top or layer != "predictions":
                file.create_dataset(rename(name), data=keras_value(f"{layer}/{variable}", tuple(size)))


def early(name):
    """As the published files name things: no model_weights, `:0` at the end, a slash in conv1's layers."""
    name = name.removeprefix("model_weights/") + ":0"
    return name.replace("conv1_conv", "conv1/conv").replace("conv1_bn", "conv1/bn")


@pytest.mark.parametrize("rename", [lambda name: name, early], ids=["keras3", "published"])
@pytest.mark.parametrize("top", [True, False], ids=["top", "notop"])
def test_keras_files_give_keras_features(rename, top, tmp_path):
    path = tmp_path / "model.h5"
    write_keras(path, rename, top)
    params = import_weights(KERAS_SHAPE, "tiny", read_weights(path)[0])
    found = jax.jit(partial(densenet.apply, KERAS_SHAPE))(params, frames(KERAS_FRAMES))
    assert relative_error(np.asarray(found), keras_golden()[1]) < 1e-4


def test_broken_keras_files_are_refused(tmp_path):
    path = tmp_path / "model.h5"
    write_keras(path)
    whole = path.read_bytes()
    for length in (0, 100, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match="model"):
            read_weights(path)


def test_keras_files_cannot_read_other_files_or_unpack_to_any_size(tmp_path):
    write_keras(tmp_path / "secret.h5")
    path = tmp_path / "model.h5"
    write_keras(path)
    with h5py.File(path, "a") as file:
        file["bn/bn/extra"] = h5py.ExternalLink("secret.h5", "model_weights/bn/bn/gamma")
    assert "bn/extra" not in read_weights(path)[0]
    (tmp_path / "secret.bin").write_bytes(b"1234" * 100)
    with h5py.File(tmp_path / "external.h5", "w") as file:
        outside = [(str(tmp_path / "secret.bin"), 0, 400)]
        file.create_dataset("bn/bn/gamma", (100,), np.float32, external=outside)
    with pytest.raises(UserError, match="gamma"):
        read_weights(tmp_path / "external.h5")
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        file.create_dataset("bn/bn/gamma", (10**12,), np.float32, chunks=(10**6,), compression="gzip")
    with pytest.raises(UserError, match="gamma"):
        read_weights(tmp_path / "bomb.h5")


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_name_with_other_content_is_refused(name, tmp_path):
    shutil.copy(GOLDEN / "state.zip.pth", tmp_path / name)
    with pytest.raises(UserError, match="not what was published"):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("name", ["missing.pth", "weights.pkl", "folder.pth"])
def test_paths_that_are_no_weights(name, tmp_path):
    (tmp_path / "weights.pkl").write_bytes(b"x")
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(UserError, match=name):
        read_weights(tmp_path / name)
