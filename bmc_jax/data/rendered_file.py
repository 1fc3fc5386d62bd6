"""Rendered images on disk, for the next run that asks for the same: the arms of an experiment, a run that goes on.

A file is named by all that its images are a function of, the renderer's own source code among it, so one that is there
is right. It may be deleted at any time.
"""

import dataclasses
import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bmc_jax import synthesis
from bmc_jax.core.types import Batch
from bmc_jax.runtime import files
from bmc_jax.synthesis.domains import Domain

FOLDER = "rendered"
"""In `data.directory`."""


def kept(
    directory: str | os.PathLike,
    make: Callable[[], Batch],
    *,
    seed: int,
    domain: Domain,
    split: str,
    count: int,
    size: int,
) -> Batch:
    """The first `count` images of a domain's split as they were written in that directory; made and written if there is
    no whole file of them. The file appears whole or not at all.

    Raises OSError, naming folder and remedy, if it cannot be written.
    """
    content = [seed, dataclasses.asdict(domain), split, count, size, _renderer()]
    name = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
    file = Path(directory) / FOLDER / f"{domain.name}-{split}-{count}-{size}px-{name}.npz"
    found = _read(file)
    if found is None:
        found = make()
        _write(file, found)
    return found


def _renderer() -> str:
    """Of what the renderer is written in."""
    folder = Path(synthesis.__file__).parent
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(folder.glob("*.py")))).hexdigest()


def _read(file: Path) -> Batch | None:
    try:
        with open(file, "rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            return Batch(**arrays)
    except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile):
        # A damaged file is one that is not there: it is made anew.
        return None


def _write(file: Path, examples: Batch) -> None:
    try:
        with files.replacing(file) as partial:
            np.savez(partial, **vars(examples))
    except OSError as error:
        raise OSError(
            f"rendered images cannot be kept in {file.parent} ({error.strerror}): make room there, give another "
            "data.directory, or leave data.keep_rendered False"
        ) from error
