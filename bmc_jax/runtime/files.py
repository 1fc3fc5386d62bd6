"""Files and folders that are written whole or not at all."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a path to write a file to, in the folder of `path` and with its suffix.

    When the block ends, the file takes the name `path`, replacing what was there; when the block raises, it is deleted
    and `path` stays as it was. Folders above `path` are created.

    Raises:
      OSError: if the file cannot be written, with the name `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        # Where the disk is full the error names no file, and otherwise the partial one.
        if error.errno is not None and error.filename in (None, os.fspath(partial), partial):
            raise type(error)(error.errno, error.strerror, os.fspath(path)) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def require_local(path: str | os.PathLike) -> None:
    """Raises ValueError for a URL such as gs://bucket/run, from which a path would make the local folder `gs:`."""
    if "://" in os.fspath(path):
        raise ValueError(
            f"expected a path on this machine, got the URL {os.fspath(path)!r}; copy what it names here, or mount the "
            "object store (gcsfuse, mountpoint-s3) and give the path below the mount"
        )


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes text as UTF-8, see `replacing`."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, content: Any, *, indent: int = 2) -> None:
    """Writes JSON without NaN and infinity, which JSON does not have, see `replacing`.

    Raises:
      ValueError: if `content` holds NaN or infinity.
    """
    write_text(path, json.dumps(content, indent=indent, allow_nan=False) + "\n")


def replace_folder(new: Path, path: Path) -> None:
    """Gives the folder `new` the name `path`. A folder of that name stays until then, and is deleted afterwards."""
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
