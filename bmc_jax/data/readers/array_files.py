"""Safe reading of arrays from .npy, .npz and .mat files of any origin, with memory bounded by the size of the file."""

import io
import math
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bmc_jax.data.readers import safe_pickle

#: Maximum unpacked bytes of a file of any size, and maximum ratio of unpacked bytes to the size of a larger file.
SMALL, RATIO = 1 << 29, 100
#: Bytes of a .mat file before its first element.
MATLAB_HEADER = 128
#: Kinds of elements of a .mat file: arrays, and compressed elements.
MATLAB_ARRAY, MATLAB_COMPRESSED = 14, 15
#: Types of the numbers in an element, by its kind, and of an array, by its class.
MATLAB_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
MATLAB_CLASSES = dict(enumerate(("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"), start=6))


def require_bounded(unpacked: int, path: str | os.PathLike) -> None:
    """Raises ValueError for a file that unpacks to more than `SMALL` bytes and more than `RATIO` times its size."""
    size = Path(path).stat().st_size
    if unpacked > max(SMALL, RATIO * size):
        raise ValueError(
            f"{path}: expected up to {max(SMALL, RATIO * size) / 1e6:,.0f} MB after unpacking, got more from a file of "
            f"{size / 1e6:.1f} MB, which may be malicious; fetch it again, or write it without compression"
        )


def member(archive: zipfile.ZipFile, name: str | zipfile.ZipInfo) -> bytes:
    """Returns the bytes of a file in a zip file, at most the number in the zip file's directory.

    Raises:
      ValueError: for a compression other than deflate, whose unpacked size Python does not bound.
    """
    found = name if isinstance(name, zipfile.ZipInfo) else archive.getinfo(name)
    if found.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(
            f"{archive.filename}: {found.filename}: expected deflate compression, got method {found.compress_type}; "
            "write it with deflate"
        )
    with archive.open(found) as file:
        return file.read(found.file_size)


def archive(path: str | os.PathLike) -> dict[str, Any]:
    """Returns the arrays in an .npz file by name (see `array`).

    Raises:
      ValueError: naming the file, if it is damaged, not an .npz file, or larger than `require_bounded` permits.
    """
    try:
        with zipfile.ZipFile(path) as found:
            members = [info for info in found.infolist() if info.filename.endswith(".npy")]
            require_bounded(sum(info.file_size for info in members), path)
            names = [info.filename.removesuffix(".npy") for info in members]
            contents = [array(member(found, info), f"{path}: {info.filename}") for info in members]
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path}: expected an .npz file, got a damaged or other file ({error}); write it again"
        ) from error
    return dict(zip(names, contents, strict=True))


def array(content: bytes, where: str) -> Any:
    """Returns the array in the bytes of an .npy file. Arrays of objects are read by `safe_pickle`.

    Raises:
      ValueError: naming `where`, if the bytes are not an .npy file, or fewer or more than the header states.
    """
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = read(file)
    except Exception as error:  # a damaged header may raise any exception
        raise ValueError(
            f"{where}: expected an array saved by numpy.save, got other content ({error}); save it again"
        ) from error
    if dtype.hasobject:
        found = safe_pickle.loads(content[file.tell() :], where)
        return found.item() if isinstance(found, np.ndarray) and found.shape == () else found
    needed, there = math.prod(shape) * dtype.itemsize, len(content) - file.tell()
    if needed != there:
        raise ValueError(
            f"{where}: expected an array saved by numpy.save, of {needed:,} bytes by its header, got {there:,} bytes; "
            "save it again"
        )
    found = np.frombuffer(content, dtype, offset=file.tell()) if needed else np.empty(shape, dtype)
    return found.reshape(shape, order="F" if by_columns else "C")


def matlab(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Returns the arrays of real numbers in a .mat file of MATLAB 5 to 7 by name.

    SciPy's reader is not used, because some damaged files make it end the process.

    Raises:
      ValueError: naming the file, if it is damaged, of another version, or larger than `require_bounded` permits.
    """
    content = Path(path).read_bytes()
    mark = content[126:128]
    if content.startswith((b"MATLAB 7.3", b"\x89HDF")) or mark not in (b"IM", b"MI"):
        raise ValueError(
            f"{path}: expected a .mat file of MATLAB 5 to 7, got another file; save it by save(file, 'joints', '-v7')"
        )
    order, found, unpacked = "<" if mark == b"IM" else ">", {}, 0
    try:
        for kind, data in _elements(content[MATLAB_HEADER:], order):
            if kind == MATLAB_COMPRESSED:
                most = max(SMALL, RATIO * len(content))
                inner = zlib.decompressobj().decompress(data, most + 1 - unpacked)
                unpacked += len(inner)
                require_bounded(unpacked, path)
                kind, data = next(_elements(inner, order))
            name, values = _matlab_array(data, order) if kind == MATLAB_ARRAY else ("", None)
            found |= {} if values is None else {name: values}
    except (ValueError, zlib.error, StopIteration) as error:
        if "after unpacking" in str(error):
            raise
        raise ValueError(
            f"{path}: expected a .mat file, got a damaged or other file ({error}); write it again"
        ) from error
    return found


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Yields kind and bytes of each element of a .mat file."""
    at = 0
    while at + 8 <= len(content):
        kind, size = np.frombuffer(content, f"{order}u4", 2, at).tolist()
        start = at + 8
        if kind >> 16:  # both in four bytes, and the data in the next four
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
        if start + size > len(content):
            raise ValueError(f"expected an element of {size:,} bytes, got {len(content) - start:,}")
        yield kind, content[start : start + size]
        at = start + size
        at += 0 if kind == MATLAB_COMPRESSED else -at % 8


def _matlab_array(content: bytes, order: str) -> tuple[str, np.ndarray | None]:
    """Returns name and values of an array element; None for arrays of other values than real numbers."""
    flags, axes, name, *values = _elements(content, order)
    word = int(np.frombuffer(flags[1], f"{order}u4", 1)[0])
    array_class, is_complex, is_logical = word & 0xFF, word & 0x0800, word & 0x0200
    if array_class not in MATLAB_CLASSES or is_complex or not values:
        return "", None
    kind, data = values[0]
    if kind not in MATLAB_STORED:
        raise ValueError(f"expected a known kind of numbers, got {kind}")
    shape = np.frombuffer(axes[1], f"{order}i4").tolist()
    array = np.frombuffer(data, order + MATLAB_STORED[kind])
    if len(array) != math.prod(shape) or min(shape, default=0) < 0:
        raise ValueError(f"expected the numbers of an array {shape}, got {len(array):,}")
    array = array.astype(bool if is_logical else MATLAB_CLASSES[array_class])
    return name[1].decode("latin1"), array.reshape(shape, order="F")
