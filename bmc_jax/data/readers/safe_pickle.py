"""Pickles from the internet: arrays, numbers, texts and plain containers are read, and nothing in the file is run.

A pickle is a program that may call whatever it names. Here it gets none of what it names: each admitted name stands for
a function of this file that takes the arguments and makes plain data of them. That goes for numpy's names too, since
numpy believes what a pickle says of a dtype: one that is said to hold no objects reads addresses from the file's bytes.
"""

import io
import math
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

#: Booleans, integers, floats, complex numbers, byte strings, texts and objects: dtypes that their name tells whole.
_DTYPE = re.compile(r"[biufcSUO]\d{1,9}")


def load(path: str | os.PathLike) -> Any:
    """What was pickled, by Python 2 or 3 and any numpy: dicts (an OrderedDict becomes one), lists, tuples, sets,
    numbers, texts, bytes, None, and numpy arrays and scalars, arrays of objects among them. Python 2's byte strings
    become str, by latin1.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: naming the file, if it asks for anything else (it may be malicious), and if it is no pickle or cut.
    """
    content = Path(path).read_bytes()
    try:
        return _plain(_Unpickler(io.BytesIO(content), encoding="latin1").load(), {})
    except _Refused as refused:
        raise ValueError(
            f"{os.fspath(path)}: this pickle asks for {refused}, which is no part of annotations; the file may be "
            "malicious. Nothing in it was run. Fetch it again from the dataset's own page, and do not open it otherwise"
        ) from None
    except Exception as error:  # a damaged pickle raises anything, says the standard library
        raise ValueError(
            f"{os.fspath(path)} is damaged, cut or no pickle ({type(error).__name__}: {error}); fetch it again"
        ) from error


class _Refused(Exception):
    """The name of what is not admitted."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable:
        admitted = _ADMITTED.get((module, name))
        if admitted is None:
            raise _Refused(f"{module}.{name}")
        # A file can set attributes of whatever it is given, so each time it is given another function to spoil.
        return lambda *arguments: admitted(*arguments)

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused(f"the persistent object {pid!r}")


class _Dtype:
    """Stands for a dtype. Of what the file says of it, the byte order alone is believed."""

    __slots__ = ("dtype",)
    # No key of a dict and in no set, so that no stand-in is left where `_plain` does not look.
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
    """Stands for an array while the file is read: numpy makes it empty and tells it afterwards what it holds."""

    __slots__ = ("array",)
    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, content = state
        if dtype.dtype == object:
            if math.prod(shape) != len(content):
                raise ValueError(f"an array of shape {shape} with {len(content)} objects")
            self.array = np.empty(len(content), object)
            for index, item in enumerate(content):
                self.array[index] = item
            self.array = self.array.reshape(shape)
        else:
            self.array = _from_buffer(content, dtype, shape, "F" if fortran else "C")


def _from_buffer(
    content: str | bytes | bytearray, dtype: _Dtype, shape: Any, order: Any, axes: Any = None
) -> np.ndarray:
    array = np.frombuffer(_bytes(content), dtype.dtype)
    if order == "K":  # numpy 2.4 and newer: the axes were put in the order of memory
        return array.reshape(shape).transpose(axes).copy()
    return array.reshape(shape, order=order).copy()


def _scalar(dtype: _Dtype, content: str | bytes | bytearray) -> Any:
    return _from_buffer(content, dtype, (), "C")[()]


def _bytes(content: str | bytes | bytearray = b"", encoding: str = "latin1") -> bytes:
    """Bytes as Python 2 and protocols 0 to 2 write them: as text. Any other codec may unpack or run things."""
    if encoding not in ("latin1", "latin-1"):
        raise _Refused(f"the codec {encoding!r}")
    return content.encode("latin1") if isinstance(content, str) else bytes(memoryview(content))


def _only_named(*_: Any) -> None:
    raise _Refused("an array of numpy made by hand")


#: Exact (module, name) as files have them, and what stands for it here. `numpy.core` is numpy 1's and `numpy._core`
#: numpy 2's; `__builtin__` is Python 2's, and Python 3's in protocols 0 to 2.
_ADMITTED: dict[tuple[str, str], Callable] = {
    ("numpy", "ndarray"): _only_named,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
    ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Array(),
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


def _plain(value: Any, seen: dict[int, tuple[Any, Any]]) -> Any:
    """The value with arrays for their stand-ins, containers changed in place; `seen` is what each became, by identity.

    Raises `_Refused` for what is no data: a class or a function that the file named and did not call.
    """
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | bytearray | np.generic):
        return value
    if isinstance(value, np.ndarray):
        return value
    if id(value) in seen:
        return seen[id(value)][1]
    result = value.array if isinstance(value, _Array) else value
    seen[id(value)] = value, result  # before its items, which may be itself; kept, so that no other gets its identity
    if isinstance(result, np.ndarray):
        if result.dtype == object:
            flat = result.reshape(-1)
            for index, item in enumerate(flat):
                flat[index] = _plain(item, seen)
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
