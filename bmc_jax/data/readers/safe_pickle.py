"""Safe reading of untrusted pickles: arrays, numbers, strings and plain containers only. No code in the file is run.

A pickle is a program that may call any function by name. This module replaces each permitted name by one of its
functions, which converts the arguments to plain data. This includes numpy's names, because numpy trusts the pickled
state of a dtype: a dtype with a false "no objects" flag would read addresses from the file's bytes.
"""

import io
import math
import os
import pickle
import pickletools
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np

#: Maximum bytes of data made by the calls of a pickle: a constant, plus a multiple of its size.
LEAST_MEMORY, MEMORY_RATIO = 1 << 20, 64

#: Bytes of the argument of each opcode, or the kind of its length, from `pickletools`.
_ARGUMENTS = {ord(one.code): 0 if one.arg is None else one.arg.n for one in pickletools.opcodes}
_WIDTHS = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_STOP, _LONG_PUT, _TWO_LINES = ord(pickle.STOP), ord(pickle.LONG_BINPUT), {ord(pickle.GLOBAL), ord(pickle.INST)}
_PUTS = {ord(pickle.PUT), _LONG_PUT}
_DTYPE = re.compile(r"[biufcSUO]\d{1,9}")
"""Names of dtypes without fields: booleans, integers, floats, complex numbers, byte strings, strings and objects."""


class State:
    """Instance of a class that is not imported: the name of the class, `module.name`, and the pickled state."""

    __slots__ = ("content",)
    __hash__ = None  # pyright: ignore[reportAssignmentType]
    kind = ""

    def __setstate__(self, state: Any) -> None:
        self.content = state


def load(path: str | os.PathLike, classes: Collection[tuple[str, str]] = ()) -> Any:
    """Reads a pickle of Python 2 or 3 and any numpy.

    It may contain dicts (an OrderedDict becomes a dict), lists, tuples, sets, numbers, strings, bytes, None, and numpy
    arrays and scalars, including arrays of objects. Byte strings of Python 2 become str, decoded as latin1.

    Args:
      path: the pickle.
      classes: (module, name) of further classes, whose instances become `State`.

    Raises:
      FileNotFoundError: if the file does not exist.
      ValueError: naming the file, if it contains anything else (it may be malicious), is truncated or not a pickle.
    """
    return loads(Path(path).read_bytes(), os.fspath(path), classes)


def loads(content: bytes, where: str, classes: Collection[tuple[str, str]] = ()) -> Any:
    """Reads a pickle from bytes (see `load`). Memory is bounded by a multiple of their number.

    Raises:
      ValueError: naming `where`, as `load`.
    """
    try:
        _require_stated_sizes(content)
        return _plain(_Unpickler(content, classes).load(), {})
    except _Refused as refused:
        if str(refused).startswith("torch"):
            raise ValueError(
                f"{where}: expected arrays, got PyTorch's tensors; save them as numpy arrays, tensor.cpu().numpy()"
            ) from None
        raise ValueError(
            f"{where}: expected a pickle of plain data, got a call of {refused}, which may be malicious and was not "
            "run; do not open the file with other programs, and fetch it again from the dataset's page"
        ) from None
    except Exception as error:  # a damaged pickle may raise any exception
        raise ValueError(
            f"{where}: expected a pickle, got a damaged or other file ({type(error).__name__}: {error}); fetch it again"
        ) from error


class _Refused(Exception):
    """Raised with the name of a value that is not permitted."""


class _Memory:
    """Remaining bytes of the values made by calls, since calls may copy the same data of a pickle many times."""

    def __init__(self, content: bytes):
        self.left = LEAST_MEMORY + MEMORY_RATIO * len(content)

    def take(self, made: Any) -> Any:
        """Counts the bytes of `made` and returns it."""
        if isinstance(made, np.ndarray | np.generic):
            self.left -= made.nbytes
        elif isinstance(made, dict | set | frozenset | bytes):
            self.left -= len(made) * (1 if isinstance(made, bytes) else 64)
        if self.left < 0:
            raise ValueError("expected data of about the pickle's size, got far more")
        return made


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes, classes: Collection[tuple[str, str]]):
        super().__init__(io.BytesIO(content), encoding="latin1")
        self.memory, self.classes = _Memory(content), classes

    def find_class(self, module: str, name: str) -> Callable:
        if (module, name) in self.classes:
            return type("State", (State,), {"__slots__": (), "kind": f"{module}.{name}"})
        if self.classes and (module, name) in _OBJECTS:
            return lambda cls, *_: _new(cls)
        admitted = _ADMITTED.get((module, name))
        if admitted is None:
            raise _Refused(f"{module}.{name}")
        # A new function for each call, because a pickle can set attributes of the function.
        if admitted is _Array:
            return lambda *_: _Array(self.memory)
        return lambda *arguments: self.memory.take(admitted(*arguments))

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused(f"the persistent object {pid!r}")


class _Dtype:
    """Placeholder of a dtype. Only the byte order of its pickled state is used."""

    __slots__ = ("dtype",)
    # Unhashable, so that a placeholder cannot be a key or in a set, where `_plain` would not replace it.
    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __init__(self, name: str, *_: Any):
        if not _DTYPE.fullmatch(name):
            raise _Refused(f"the numpy dtype {name!r}")
        self.dtype = np.dtype(object if name[0] == "O" else name)

    def __setstate__(self, state: tuple) -> None:
        _, order, subarray, names, fields, *_ = state
        if not subarray is names is fields is None:
            raise _Refused("a numpy dtype of several fields")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Placeholder of an array. A pickle creates it empty and sets its state afterwards."""

    __slots__ = ("_memory", "array")
    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __init__(self, memory: _Memory):
        self._memory = memory

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, content = state
        if dtype.dtype == object:
            if math.prod(shape) != len(content):
                raise ValueError(f"expected the objects of an array of shape {shape}, got {len(content)} objects")
            self.array = self._memory.take(np.empty(len(content), object))
            for index, item in enumerate(content):
                self.array[index] = item
            self.array = self.array.reshape(shape)
        else:
            self.array = self._memory.take(_from_buffer(content, dtype, shape, "F" if fortran else "C"))


def _from_buffer(
    content: str | bytes | bytearray, dtype: _Dtype, shape: Any, order: Any, axes: Any = None
) -> np.ndarray:
    array = np.frombuffer(_bytes(content), dtype.dtype)
    if order == "K":  # numpy 2.4 and newer: the axes are in the order of memory
        return array.reshape(shape).transpose(axes).copy()
    return array.reshape(shape, order=order).copy()


def _scalar(dtype: _Dtype, content: str | bytes | bytearray) -> Any:
    return _from_buffer(content, dtype, (), "C")[()]


def _bytes(content: str | bytes | bytearray = b"", encoding: str = "latin1") -> bytes:
    """Returns bytes, which Python 2 and protocols 0 to 2 write as text. Other codecs may decompress or run code."""
    if encoding not in ("latin1", "latin-1"):
        raise _Refused(f"the codec {encoding!r}")
    return content.encode("latin1") if isinstance(content, str) else bytes(memoryview(content))


def _new(cls: Any) -> State:
    """Returns an instance without a state, which `copyreg` creates in protocols 0 and 1."""
    if not (isinstance(cls, type) and issubclass(cls, State)):
        raise _Refused(f"an object of {cls!r}")
    return cls()


def _only_named(*_: Any) -> None:
    raise _Refused("an array of numpy made by hand")


# The function that creates objects in protocols 0 and 1, and its argument, the name of their base class.
_OBJECTS = (
    *(("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor")),
    *(("__builtin__", "object"), ("builtins", "object")),
)
# `numpy.core` is numpy 1's, `numpy._core` numpy 2's; `__builtin__` is Python 2's, and Python 3's in protocols 0 to 2.
_ADMITTED: dict[tuple[str, str], Callable] = {
    ("numpy", "ndarray"): _only_named,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("_codecs", "encode"): _bytes,
    ("__builtin__", "bytes"): _bytes,
    ("builtins", "bytes"): _bytes,
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
    ("__builtin__", "frozenset"): frozenset,
    ("builtins", "frozenset"): frozenset,
    ("collections", "OrderedDict"): dict,
}


def _require_stated_sizes(content: bytes) -> None:
    """Raises ValueError for an opcode that would reserve more memory than the pickle contains data: a size beyond its
    end, or a place of the memo beyond its number of opcodes. Python's unpickler reserves both before reading on."""
    at, count, end = 0, 0, len(content)
    while at < end:
        code = content[at]
        number = _ARGUMENTS.get(code)
        if number is None:  # not an opcode; the unpickler raises the error
            return
        at, count = at + 1, count + 1
        if code in _PUTS:
            place = int.from_bytes(content[at : at + 4], "little") if code == _LONG_PUT else _decimal(content, at)
            if place > count:
                raise ValueError(f"expected a place of the memo up to {count:,}, the number of opcodes, got {place:,}")
        if number >= 0:
            at += number
        elif number == pickletools.UP_TO_NEWLINE:
            for _ in range(1 + (code in _TWO_LINES)):
                at = content.find(b"\n", at) + 1 or end
        else:
            width = _WIDTHS[number]
            size = int.from_bytes(content[at : at + width], "little")
            at += width + size
            if at > end:
                raise ValueError(f"expected {size:,} bytes, got {max(end - at + size, 0):,}")
        if code == _STOP:
            return


def _decimal(content: bytes, at: int) -> int:
    """Returns the number on the line at a place, or 0 if the line is not a number."""
    line = content[at : content.find(b"\n", at)]
    return int(line) if len(line) < 20 and line.isdigit() else 0


def _plain(value: Any, seen: dict[int, tuple[Any, Any]]) -> Any:
    """Replaces the placeholders in a value by their arrays, in place in containers. `seen` maps the identity of each
    value to (value, result). Raises `_Refused` for a class or a function that the file names but does not call."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | bytearray | np.generic):
        return value
    if isinstance(value, np.ndarray):
        return value
    if id(value) in seen:
        return seen[id(value)][1]
    result = value.array if isinstance(value, _Array) else value
    # Stored before its items, which may contain it, and kept alive, so that its identity remains unique.
    seen[id(value)] = value, result
    if isinstance(result, np.ndarray):
        if result.dtype == object:
            flat = result.reshape(-1)
            for index, item in enumerate(flat):
                flat[index] = _plain(item, seen)
    elif isinstance(value, State):
        if not hasattr(value, "content"):
            raise _Refused(f"a {value.kind} without a state")
        value.content = _plain(value.content, seen)
    elif isinstance(value, dict):
        for key, item in value.items():
            _plain(key, seen)
            value[key] = _plain(item, seen)
    elif isinstance(value, list):
        value[:] = [_plain(item, seen) for item in value]
    elif isinstance(value, tuple):
        result = tuple(_plain(item, seen) for item in value)
        seen[id(value)] = value, result
    elif isinstance(value, set | frozenset):
        for item in value:
            _plain(item, seen)
    else:
        raise _Refused("a class or function as a value")
    return result
