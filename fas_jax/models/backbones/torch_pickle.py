"""The few pickle instructions that PyTorch writes for a dictionary of tensors, and no others.

A pickle is a program, and Python's machine for it calls what the program names. This one knows no names but
those in `_CALLABLES`, none of which does more than note what it was given; it builds tuples, lists,
dictionaries, strings and numbers, and refuses the rest. Nothing is imported.
"""

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from fas_jax.base.errors import UserError

STORAGE_TYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "|b1",
}


@dataclass(frozen=True)
class StorageType:
    """The element type of a storage, as NumPy writes it."""

    dtype: str


@dataclass(frozen=True)
class PersistentId:
    """What the pickle says of data that lie outside it."""

    value: Any


@dataclass(frozen=True)
class TensorRecord:
    """A tensor before its data are known; nothing in it is checked yet."""

    storage: Any
    offset: Any
    size: Any
    stride: Any


class Mapping(dict[str, Any]):
    """A dictionary whose attributes (PyTorch's `_metadata`) are dropped."""

    def fill(self, keys: Iterable[Any], values: Iterable[Any]) -> None:
        """Sets items; only strings are keys, since hashing a deeply nested tuple would overrun the stack."""
        for key, value in zip(keys, values, strict=True):
            if not isinstance(key, str):
                raise _RefusedError("its dictionary has a key that is no name")
            self[key] = value


class _Parameter:
    """A `Parameter`; the earliest files give the tensor only when the state is set."""

    def __init__(self, data: Any = None, *_: Any) -> None:
        self.data = data


@dataclass(frozen=True)
class _Callable:
    """A name that the pickle may call; an object of its own, so that no pickle gets hold of a class."""

    call: Callable[..., Any]


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> TensorRecord:
    return TensorRecord(storage, offset, size, stride)


_CALLABLES: dict[str, Any] = {
    "collections OrderedDict": _Callable(lambda *items: _mapping(items)),
    "torch._utils _rebuild_tensor": _Callable(_rebuild_tensor),
    "torch._utils _rebuild_tensor_v2": _Callable(_rebuild_tensor),
    "torch._utils _rebuild_parameter": _Callable(_Parameter),
    "torch.nn.parameter Parameter": _Callable(_Parameter),
    **{f"torch {name}": StorageType(dtype) for name, dtype in STORAGE_TYPES.items()},
}


class _RefusedError(Exception):
    """The pickle is not one of ours."""


def load(data: memoryview, where: str) -> tuple[Any, int]:
    """Runs one pickle from the start of `data`.

    Returns:
      The object, and the number of bytes that the pickle took.

    Raises:
      UserError: an instruction or a name that no dictionary of tensors needs, or an end that comes too early.
    """
    machine = _Machine(data)
    try:
        return machine.run(), machine.position
    except _RefusedError as error:
        raise UserError(f"{where} is not a plain PyTorch weights file: {error}") from None
    except (IndexError, KeyError, struct.error, UnicodeDecodeError, TypeError, ValueError, OverflowError):
        # What a malformed program does to a stack machine; none of it is worth telling apart.
        raise UserError(f"{where} is damaged: its pickle is malformed near byte {machine.position}") from None


def parameters(value: Any) -> Any:
    """The tensor record of a parameter; anything else as it is."""
    return value.data if isinstance(value, _Parameter) else value


def _mapping(items: tuple[Any, ...]) -> Mapping:
    # OrderedDict() or, from Python 2, OrderedDict([[key, value], ...]).
    mapping = Mapping()
    for key, value in items[0] if items else ():
        mapping.fill([key], [value])
    return mapping


_MARK = object()


class _Machine:
    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.position = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def take(self, count: int) -> bytes:
        if count < 0 or self.position + count > len(self.data):
            raise _RefusedError("it ends too early")
        self.position += count
        return bytes(self.data[self.position - count : self.position])

    def number(self, code: str) -> Any:
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def line(self) -> str:
        # Names that PyTorch writes are short; without a bound a missing newline would copy the whole file.
        window = bytes(self.data[self.position : self.position + 200])
        end = window.index(b"\n")
        self.position += end + 1
        return window[:end].decode("ascii")

    def above_mark(self) -> list[Any]:
        start = len(self.stack) - 1 - self.stack[::-1].index(_MARK)
        items = self.stack[start + 1 :]
        del self.stack[start:]
        return items

    def pop(self, count: int) -> list[Any]:
        if len(self.stack) < count or any(item is _MARK for item in self.stack[len(self.stack) - count :]):
            raise _RefusedError("its stack is broken")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return items

    def run(self) -> Any:
        push = self.stack.append
        while True:
            op = self.take(1)
            if op == b".":
                (result,) = self.pop(1)
                return result
            elif op == b"\x80":
                if self.number("<B") > 4:
                    raise _RefusedError("its pickle protocol is newer than PyTorch's")
            elif op == b"(":
                push(_MARK)
            elif op in _CONSTANTS:
                push(_CONSTANTS[op])
            elif op in _NUMBERS:
                push(self.number(_NUMBERS[op]))
            elif op == b"\x8a":
                push(int.from_bytes(self.take(self.number("<B")), "little", signed=True))
            elif op in _STRINGS:
                push(self.take(self.number(_STRINGS[op])).decode("utf-8"))
            elif op == b"}":
                push(Mapping())
            elif op == b"]":
                push([])
            elif op == b"t":
                push(tuple(self.above_mark()))
            elif op in b"\x85\x86\x87":
                push(tuple(self.pop(op[0] - 0x84)))
            elif op in b"qr":
                self.memo[self.number("<B" if op == b"q" else "<I")] = self.stack[-1]
            elif op in b"hj":
                push(self.memo[self.number("<B" if op == b"h" else "<I")])
            elif op == b"c":
                push(_named(f"{self.line()} {self.line()}"))
            elif op in b"R\x81":
                function, arguments = self.pop(2)
                if not isinstance(function, _Callable) or not isinstance(arguments, tuple):
                    raise _RefusedError("it calls what is no function")
                push(function.call(*arguments))
            elif op == b"b":
                (state,) = self.pop(1)
                _set_state(self.stack[-1], state)
            elif op == b"Q":
                push(PersistentId(*self.pop(1)))
            elif op in b"su":
                items = self.pop(2) if op == b"s" else self.above_mark()
                if not isinstance(self.stack[-1], Mapping) or len(items) % 2:
                    raise _RefusedError("it sets items of what is no dictionary")
                self.stack[-1].fill(items[::2], items[1::2])
            elif op in b"ae":
                items = self.pop(1) if op == b"a" else self.above_mark()
                if not isinstance(self.stack[-1], list):
                    raise _RefusedError("it appends to what is no list")
                self.stack[-1].extend(items)
            else:
                raise _RefusedError(f"it uses pickle instruction {op!r}, which weights do not need")


_CONSTANTS: dict[bytes, Any] = {b"N": None, b"\x88": True, b"\x89": False, b")": ()}
_NUMBERS = {b"J": "<i", b"K": "<B", b"M": "<H", b"G": ">d"}
# Text, and the byte strings in which Python 2 wrote names.
_STRINGS = {b"X": "<I", b"\x8c": "<B", b"U": "<B", b"T": "<i"}


def _named(name: str) -> Any:
    if name not in _CALLABLES:
        raise _RefusedError(f"it asks for {name.replace(' ', '.')!r}, which weights do not need")
    return _CALLABLES[name]


def _set_state(target: Any, state: Any) -> None:
    if isinstance(target, _Parameter):
        # (data, gradient, hooks, requires_grad, volatile), as the first releases wrote it.
        if isinstance(state, tuple) and len(state) == 5:
            target.data = state[0]
    elif not isinstance(target, Mapping):
        raise _RefusedError("it sets the state of what has none")
