"""Reads the tensors of a PyTorch weights file without PyTorch.

Both formats of `torch.save` are read: the zip archive, and the older stream of pickles in which torchvision's
DenseNets are still published. Pickles run on the restricted machine of `torch_pickle`, and every size that
the file states is checked against the bytes that are there before anything is built from it.
"""

import io
import math
import struct
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np

from fas_jax.base.errors import UserError
from fas_jax.models.backbones.base import Tensors
from fas_jax.models.backbones.torch_pickle import Mapping, PersistentId, StorageType, TensorRecord, load, parameters

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


@dataclass(frozen=True)
class _Storage:
    """Where a tensor's elements lie: a view of `count` elements, `first` elements into storage `key`."""

    key: str
    dtype: np.dtype[Any]
    total: int
    first: int
    count: int


def read_torch(data: bytes, where: str) -> Tensors:
    """The tensors of a state dictionary, by name, as contiguous arrays.

    A dictionary that holds the state dictionary under `state_dict` is looked into.

    Args:
      data: the whole file.
      where: what to call it in errors.

    Raises:
      UserError: not such a file, truncated, damaged, or a pickle that does more than hold tensors.
    """
    read = _read_zip if zipfile.is_zipfile(io.BytesIO(data)) else _read_legacy
    return read(data, where)


def _read_zip(data: bytes, where: str) -> Tensors:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {info.filename: info for info in archive.infolist()}
            pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise UserError(f"{where} is a zip archive but not one that torch.save wrote")
            prefix = pickles[0].removesuffix("data.pkl")

            def content(name: str) -> bytes:
                info = members.get(prefix + name)
                if info is None:
                    raise UserError(f"{where} is incomplete: it has no {prefix + name}")
                # torch.save stores without compression; anything else could unpack to any size.
                if info.compress_type != zipfile.ZIP_STORED or info.file_size > len(data):
                    raise UserError(f"{where}: {prefix + name} is compressed; torch.save does not do that")
                return archive.read(info)

            if prefix + "byteorder" in members and content("byteorder") != b"little":
                raise UserError(f"{where} was written in big-endian order, which is not supported")
            state, _ = load(memoryview(content("data.pkl")), where)
            records = _records(state, where)
            storages = {key: content(f"data/{key}") for key in {storage.key for storage, _ in records.values()}}
    # All that Python's zip reader raises on damaged archives; BadZipFile is but one.
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError, struct.error) as error:
        raise UserError(f"{where} is damaged: {error}") from error
    return _tensors(records, {key: memoryview(content) for key, content in storages.items()}, where)


def _read_legacy(data: bytes, where: str) -> Tensors:
    rest = memoryview(data)

    def following() -> Any:
        nonlocal rest
        value, taken = load(rest, where)
        rest = rest[taken:]
        return value

    if following() != _LEGACY_MAGIC or following() != _LEGACY_PROTOCOL:
        raise UserError(f"{where} is not a PyTorch weights file")
    system = following()
    if not isinstance(system, Mapping) or system.get("little_endian") is not True:
        raise UserError(f"{where} was written in big-endian order, which is not supported")
    records = _records(following(), where)
    keys = following()
    sizes = {storage.key: storage for storage, _ in records.values()}
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise UserError(f"{where} is damaged: its list of storages is malformed")
    storages = {}
    for key in keys:
        if key not in sizes:
            raise UserError(f"{where} holds storage {key!r}, which no tensor uses")
        if len(rest) < 8:
            raise UserError(f"{where} is truncated before storage {key!r}")
        (count,) = struct.unpack("<q", rest[:8])
        length = sizes[key].total * sizes[key].dtype.itemsize
        if count != sizes[key].total:
            raise UserError(f"{where} is damaged: storage {key!r} has {count} elements, not {sizes[key].total}")
        if len(rest) < 8 + length:
            raise UserError(f"{where} is truncated in storage {key!r}")
        storages[key] = rest[8 : 8 + length]
        rest = rest[8 + length :]
    return _tensors(records, storages, where)


def _records(state: Any, where: str) -> dict[str, tuple[_Storage, TensorRecord]]:
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping):
        raise UserError(f"{where} holds no dictionary of tensors; save the model's state_dict()")
    found = {}
    for name, value in state.items():
        record = parameters(value)
        if not isinstance(name, str) or not isinstance(record, TensorRecord):
            raise UserError(f"{where}: {name!r} is not a tensor; save the model's state_dict()")
        found[name] = (_storage(record.storage, f"{where}: {name}"), record)
    return found


def _storage(persistent: Any, where: str) -> _Storage:
    """Reads ('storage', type, key, location, elements[, view]), with view = (key, first, elements)."""
    identity = persistent.value if isinstance(persistent, PersistentId) else None
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        raise UserError(f"{where}: damaged, its storage is malformed")
    kind, key, _, total, *rest = identity[1:]
    if not isinstance(kind, StorageType) or not isinstance(key, str) or not _natural(total):
        raise UserError(f"{where}: damaged, its storage is malformed")
    first, count = 0, total
    if rest and rest[0] is not None:
        view = rest[0]
        if not isinstance(view, tuple) or len(view) != 3 or not _natural(view[1]) or not _natural(view[2]):
            raise UserError(f"{where}: damaged, its storage is malformed")
        _, first, count = view
        if first + count > total:
            raise UserError(f"{where}: damaged, its storage's view leads out of it")
    return _Storage(key, np.dtype(kind.dtype), total, first, count)


def _tensors(records: dict[str, tuple[_Storage, TensorRecord]], storages: dict[str, memoryview], where: str) -> Tensors:
    tensors = {}
    for name, (storage, record) in records.items():
        size, stride, offset = record.size, record.stride, record.offset
        lists = isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride) <= 8
        if not lists or not all(map(_natural, (*size, *stride, offset))):
            raise UserError(f"{where}: {name}: damaged, its shape is malformed")
        elements = math.prod(size)
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        # More elements than the storage has could only come from a stride that repeats them.
        if elements and (last >= storage.count or elements > storage.count):
            raise UserError(f"{where}: {name}: damaged, it leads out of its storage")
        raw = storages.get(storage.key)
        if raw is None or len(raw) != storage.total * storage.dtype.itemsize:
            raise UserError(f"{where}: {name}: damaged, its storage is missing or of the wrong length")
        flat = np.frombuffer(raw, storage.dtype)[storage.first + offset if elements else 0 :]
        steps = tuple(step * storage.dtype.itemsize for step in stride)
        view = np.lib.stride_tricks.as_strided(flat, size, steps, writeable=False) if elements else np.empty(size)
        tensors[name] = np.array(view, storage.dtype, order="C")
    return tensors


def _natural(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**40
