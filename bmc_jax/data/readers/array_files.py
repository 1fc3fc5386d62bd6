"""Arrays in .npy, .npz and .mat files of any origin, read with no more memory than the file's size accounts for."""

import io
import math
import os
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from bmc_jax.data.readers import safe_pickle

#: Bytes that a file of any size may unpack to, and how many times its size a larger one may.
SMALL, RATIO = 1 << 29, 100
#: Bytes of a .mat file before its first element, and the type of an element that is compressed.
MATLAB_HEADER, MATLAB_COMPRESSED = 128, 15
#: Classes of MATLAB variables that are arrays of numbers.
MATLAB_NUMBERS = (
    "double",
    "single",
    "logical",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
)


def require_bounded(unpacked: int, path: str | os.PathLike) -> None:
    """Raises ValueError for a file that unpacks to more than data does: at most `SMALL` bytes, or `RATIO` times its
    size."""
    size = Path(path).stat().st_size
    if unpacked > max(SMALL, RATIO * size):
        raise ValueError(
            f"{path} unpacks from {size / 1e6:.1f} MB to more than {max(SMALL, RATIO * size) / 1e6:,.0f} MB, as no "
            "file of data does; it may be malicious. Fetch it again or write it without compression"
        )


def member(archive: zipfile.ZipFile, name: str | zipfile.ZipInfo) -> bytes:
    """Returns the bytes of a file in a zip file, no more than the zip file's directory states.

    Raises:
      ValueError: for a compression other than deflate, whose unpacked size Python does not bound.
    """
    found = name if isinstance(name, zipfile.ZipInfo) else archive.getinfo(name)
    if found.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{found.filename} is compressed by method {found.compress_type}; write it with deflate")
    with archive.open(found) as file:
        return file.read(found.file_size)


def archive(path: str | os.PathLike) -> dict[str, Any]:
    """Returns the arrays in an .npz file by name, see `array`.

    Raises:
      ValueError: naming the file, if it is damaged, is no .npz file, or unpacks to more than `require_bounded` admits.
    """
    try:
        with zipfile.ZipFile(path) as found:
            members = [one for one in found.infolist() if one.filename.endswith(".npy")]
            require_bounded(sum(one.file_size for one in members), path)
            names = [one.filename.removesuffix(".npy") for one in members]
            contents = [array(member(found, one), f"{path}: {one.filename}") for one in members]
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged or no file of arrays ({error}); write it again") from error
    return dict(zip(names, contents, strict=True))


def array(content: bytes, where: str) -> Any:
    """Returns the array in the bytes of an .npy file; of an array of objects what `safe_pickle` admits.

    Raises:
      ValueError: naming `where`, if the bytes are no such file, are cut short, or are more than the header states.
    """
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = read(file)
    except (ValueError, EOFError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"{where} is not an array saved by numpy.save: {error}") from error
    if dtype.hasobject:
        found = safe_pickle.loads(content[file.tell() :], where)
        return found.item() if isinstance(found, np.ndarray) and found.shape == () else found
    needed, there = math.prod(shape) * dtype.itemsize, len(content) - file.tell()
    if needed != there:
        raise ValueError(f"{where} is not an array saved by numpy.save: {there:,} bytes where {needed:,} are stated")
    found = np.frombuffer(content, dtype, offset=file.tell()) if needed else np.empty(shape, dtype)
    return found.reshape(shape, order="F" if by_columns else "C")


def matlab(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Returns the arrays of numbers in a .mat file by name.

    Raises:
      ValueError: naming the file, if it is damaged, of MATLAB's version 7.3, or unpacks to more than `require_bounded`
        admits.
    """
    import scipy.io

    content = Path(path).read_bytes()
    if content.startswith((b"MATLAB 7.3", b"\x89HDF")):
        raise ValueError(f"{path} is of MATLAB's version 7.3; save it with save(file, 'joints', '-v7')")
    require_bounded(_unpacked(content, path), path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            listed = scipy.io.whosmat(io.BytesIO(content))
            require_bounded(sum(8 * math.prod(shape) for _, shape, _ in listed), path)
            names = [name for name, _, kind in listed if kind in MATLAB_NUMBERS]
            found = scipy.io.loadmat(io.BytesIO(content), variable_names=names)
    except Exception as error:  # a damaged file may raise any exception
        raise ValueError(
            f"{path} is damaged or no .mat file ({type(error).__name__}: {error}); write it again"
        ) from error
    return {name: found[name] for name in names if name in found}


def _unpacked(content: bytes, path: str | os.PathLike) -> int:
    """Returns the bytes that the compressed elements of a .mat file unpack to, at most those that are admitted."""
    total, start = 0, MATLAB_HEADER
    order = "big" if content[126:128] == b"MI" else "little"
    while start + 8 <= len(content):
        kind, size = (int.from_bytes(content[at : at + 4], order) for at in (start, start + 4))
        if kind == MATLAB_COMPRESSED:
            unpacking, rest = zlib.decompressobj(), content[start + 8 : start + 8 + size]
            while rest and not unpacking.eof:
                try:
                    total += len(unpacking.decompress(rest, 1 << 20))
                except zlib.error:
                    break
                rest = unpacking.unconsumed_tail
                require_bounded(total, path)
        start += 8 + size
    return total
