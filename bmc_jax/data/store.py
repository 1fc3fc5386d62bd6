"""Built datasets on disk: `DIRECTORY/NAME/VERSION/` with array_record shards in TFDS's layout and `summary.json`.

The summary is written last, and the folder is then renamed, so a folder with that name and a summary is complete.
"""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SUMMARY = "summary.json"
VERSION = re.compile(r"\d+\.\d+\.\d+")
BUILDING = ".building"
"""Suffix of a version's folder while it is being built."""


class Records(Sequence):
    """The records of a split by number: dicts of `record.features`, with the image as JPEG bytes."""

    def __init__(self, folder: Path, split: str):
        import tensorflow_datasets as tfds

        self.folder, self.split = folder, split
        builder: Any = tfds.builder_from_directory(folder)
        self._source = builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: Any) -> Any:
        record = self._source[range(len(self))[index]]
        return record | {name: record[name].decode() for name in ("source", "id")}


def find(name: str | os.PathLike, root: str | os.PathLike = ".") -> Path:
    """Returns the folder of a built dataset: `name` if it is one, or the newest version in `name` or `root/name`.

    Raises:
      ValueError: with the remedy, if there is none or its build is not complete.
    """
    for place in (Path(name), Path(root) / name):
        if (place / SUMMARY).is_file():
            return place
        versions = [file.parent for file in place.glob(f"*.*.*/{SUMMARY}") if VERSION.fullmatch(file.parent.name)]
        if versions:
            return max(versions, key=lambda folder: tuple(map(int, folder.name.split("."))))
        if any(place.glob(f"*{BUILDING}")):
            raise ValueError(
                f"{place}: expected a complete build, got an interrupted one; run its `bmc data build` again"
            )
    raise ValueError(
        f"expected a built dataset {os.fspath(name)!r}, at that path or in {os.fspath(root)!r}, got none; build it by "
        "`bmc data build`"
    )


def summary(folder: Path) -> dict[str, Any]:
    """Returns the counts and statistics of a build, see `publish.finish`.

    Raises:
      ValueError: naming the file, if it cannot be read.
    """
    file = folder / SUMMARY
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{file}: expected a summary, got an unreadable file ({error}); build the dataset again"
        ) from error


def records(folder: Path, split: str) -> Records:
    """Returns a split's records.

    Raises:
      ValueError: naming the available splits, if the split is not one of them.
    """
    known = summary(folder)["splits"]
    if split not in known:
        raise ValueError(f"{folder}: expected one of the splits {', '.join(known)}, got {split!r}; choose one")
    return Records(folder, split)
