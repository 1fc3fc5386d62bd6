"""One shard of a dataset: rows converted to records, written to one file, and counted.

A shard is the unit of parallel work and of resuming. Its tally is written after its file has been closed, read again
and renamed, so a shard with a tally is whole.
"""

import hashlib
import importlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bmc_jax.core import validation
from bmc_jax.data import record
from bmc_jax.data.readers.annotation import Skip
from bmc_jax.runtime import files

#: Rows of a shard: some twenty megabytes, written by one core in some ten seconds.
ROWS = 1024
#: What can be done with a row that is at fault.
FAULTS = ("stop", "skip")
#: Rows of each reason that a tally names.
NAMED = 5


@dataclass
class Tally:
    """What became of a shard's rows. Lists are per example, in order."""

    rows: int = 0
    examples: int = 0
    skipped: dict[str, list[str]] = field(default_factory=dict)
    """By reason: entries of which the dataset itself says nothing."""
    faults: list[str] = field(default_factory=list)
    """Messages of rows that were at fault, if those are skipped."""
    complete_3d: int = 0
    partial_3d: int = 0
    left_hands: int = 0
    left_by_thumb: int = 0
    """Complete 3D hands, mirrored where said to be left, whose thumb still lies behind the palm as a left hand's."""
    reprojection_px: list[float] = field(default_factory=list)
    """Of the examples with both 2D and 3D labels."""
    scale_m: list[float] = field(default_factory=list)
    """Of the examples with a scale."""
    content: str = ""
    """SHA-256 of the records, in order. Their file's differs between versions of its libraries."""
    bytes: int = 0
    sha256: str = ""
    """Of the file."""

    def count(self, example: dict[str, Any]) -> None:
        self.examples += 1
        digest = hashlib.sha256(self.content.encode())
        for name, value in sorted(example.items()):
            digest.update(name.encode() + (value if isinstance(value, bytes) else np.asarray(value).tobytes()))
        self.content = digest.hexdigest()
        known = example["joints_3d_valid"]
        self.left_hands += example["hand"] == "left"
        self.partial_3d += bool(known.any() and not known.all())
        if known.all():
            self.complete_3d += 1
            self.left_by_thumb += bool(validation.thumb_side(example["joints_3d"][None])[0] < -validation.UNDECIDED)
        error = record.reprojection_error(example)
        if not math.isnan(error):
            self.reprojection_px.append(round(error, 5))
        if example["scale"] > 0:
            self.scale_m.append(round(float(example["scale"]), 5))


@dataclass(frozen=True)
class Shard:
    """The rows of one shard, and how to convert them. Called, it yields (key, record) and then leaves its tally."""

    reader: str
    """Module of `bmc_jax.data.readers` whose `annotation` reads a row."""
    rows: Sequence[Any]
    tally_file: str
    faults: str = "stop"

    def __call__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        tally = Tally()
        yield from self.examples(tally)
        files.write_json(self.tally_file, asdict(tally), indent=1)

    def examples(self, tally: Tally) -> Iterator[tuple[str, dict[str, Any]]]:
        """The rows' records under their ids.

        Raises ValueError or OSError at the first row at fault, unless faults are skipped and counted.
        """
        annotation = importlib.import_module(f"bmc_jax.data.readers.{self.reader}").annotation
        for row in self.rows:
            tally.rows += 1
            try:
                example = record.record(annotation(row))
            except Skip as reason:
                tally.skipped.setdefault(str(reason), []).append(_name(row))
                continue
            except (ValueError, OSError) as error:
                if self.faults != "skip":
                    raise
                tally.faults.append(str(error))
                continue
            tally.count(example)
            yield example["id"], example


def write(shard: Shard, file: str) -> int:
    """Write a shard's file and its tally, each whole or not at all; the number of its rows.

    Raises:
      ValueError, FileNotFoundError: of a row at fault.
      OSError: if the file cannot be written, or does not hold what was written to it: the disk is full.
    """
    from array_record.python.array_record_module import ArrayRecordReader
    from tensorflow_datasets.core import example_serializer, writer
    from tensorflow_datasets.core.file_adapters import FileFormat

    features, tally = record.features(), Tally()
    shard_writer = writer.ShardWriter(
        features=features,
        serializer=example_serializer.ExampleSerializer(features.get_serialized_info()),
        example_writer=writer.ExampleWriter(FileFormat.ARRAY_RECORD),
    )
    with files.replacing(file) as partial:
        try:
            shard_writer.write(shard.examples(tally), partial)  # pyright: ignore[reportArgumentType], any path will do
        except RuntimeError as error:  # array_record's for a failed write
            raise OSError(str(error)) from error
        reader = ArrayRecordReader(os.fspath(partial))
        if reader.num_records() != tally.examples:
            raise OSError(f"{file} holds {reader.num_records()} of {tally.examples} records: is the disk full?")
        reader.close()
        content = partial.read_bytes()
        tally.bytes, tally.sha256 = len(content), hashlib.sha256(content).hexdigest()
    files.write_json(shard.tally_file, asdict(tally), indent=1)
    return len(shard.rows)


def read_tally(file: str | os.PathLike) -> Tally | None:
    """A whole shard's tally; None if it has none."""
    try:
        return Tally(**json.loads(Path(file).read_text()))
    except FileNotFoundError:
        return None


def merge(tallies: Sequence[Tally]) -> dict[str, Any]:
    """What a split's shards counted, for the summary: counts, reasons with the first rows of each, and statistics."""
    skipped: dict[str, list[str]] = {}
    for tally in tallies:
        for reason, rows in tally.skipped.items():
            skipped.setdefault(reason, []).extend(rows)
    faults = [message for tally in tallies for message in tally.faults]
    totals = ("rows", "examples", "complete_3d", "partial_3d", "left_hands", "left_by_thumb")
    return {
        **{name: sum(getattr(tally, name) for tally in tallies) for name in totals},
        "skipped": {reason: {"count": len(rows), "first": rows[:NAMED]} for reason, rows in skipped.items()},
        "faults": {"count": len(faults), "first": faults[:NAMED]},
        "reprojection_px": _statistics([error for tally in tallies for error in tally.reprojection_px]),
        "scale_m": _statistics([scale for tally in tallies for scale in tally.scale_m]),
    }


def _statistics(values: list[float]) -> dict[str, Any] | None:
    if not values:
        return None
    low, median, high, top = np.percentile(values, [0, 50, 99, 100])
    return {
        "count": len(values),
        "mean": round(float(np.mean(values)), 5),
        "min": round(float(low), 5),
        "median": round(float(median), 5),
        "p99": round(float(high), 5),
        "max": round(float(top), 5),
    }


def _name(row: Any) -> str:
    """A row in few words: its `id` if it has one."""
    return str(getattr(row, "id", row))[:80]
