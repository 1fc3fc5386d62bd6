"""Atomic writing of files and folders."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a path for a temporary file, in the folder of `path` and with its suffix.

    At the end of the block the file replaces `path`. If the block raises, the file is deleted and `path` is unchanged.
    Folders above `path` are created.

    Raises:
      OSError: if the file cannot be written. Its file name is `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        # The error names no file if the disk is full, and the partial file otherwise.
        if error.errno is not None and error.filename in (None, os.fspath(partial), partial):
            raise type(error)(error.errno, error.strerror, os.fspath(path)) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def require_local(path: str | os.PathLike) -> None:
    """Raises ValueError for a URL such as gs://bucket/run, which as a path would be the local folder `gs:`."""
    if "://" in os.fspath(path):
        raise ValueError(
            f"expected a path on this machine, got the URL {os.fspath(path)!r}; copy its content here, or mount the "
            "object store (gcsfuse, mountpoint-s3) and give the path below the mount"
        )


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes text as UTF-8, see `replacing`."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, content: Any, *, indent: int = 2) -> None:
    """Writes JSON, see `replacing`.

    Raises:
      ValueError: if `content` has NaN or infinity, which JSON cannot represent.
    """
    write_text(path, json.dumps(content, indent=indent, allow_nan=False) + "\n")


def replace_folder(new: Path, path: Path) -> None:
    """Renames the folder `new` to `path`. An existing folder `path` is renamed first, and deleted afterwards."""
    if not path.exists():
        os.replace(new, path)
        return
    old = new.with_name(f"{new.name}.before")
    os.replace(path, old)
    try:
        os.replace(new, path)
    except OSError:
        os.replace(old, path)
        raise
    shutil.rmtree(old)
