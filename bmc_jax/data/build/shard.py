"""Shards of a dataset: their plan, the conversion of their rows to records, their files and their tallies.

A shard is the unit of parallel work and of resuming. Its tally is written after its file has been closed, read again
and renamed, so a shard with a tally is complete.
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
from bmc_jax.data.readers.annotation import UNLABELLED, SkipRow
from bmc_jax.runtime import files

ROWS = 1024
"""Number of rows of a shard: about twenty megabytes, which one core writes in about ten seconds."""
EXAMPLE_ROWS = 5
"""Number of rows that the summary names for each reason to leave rows out."""
SHUFFLE_SEED = 0
"""Seed of the order of training rows. Other splits keep the order of the dataset, which prediction files follow."""
PLAN_FILE = "plan.json"
"""Name of the file of a plan during the build."""


@dataclass(frozen=True)
class Plan:
    """Settings that determine, with the source's files, the result of a build. Its fields are part of the summary."""

    reader: str
    name: str
    version: str
    source: str
    options: dict[str, Any]
    faults: str
    rows: dict[str, int]
    """Number of rows of each split."""
    rows_a_shard: int
    shuffled: bool
    """Whether training rows are shuffled; False if the dataset has them in random order."""
    window: tuple[float, int, int] = (record.WINDOW, record.LARGEST, record.QUALITY)

    def shards(self, split: str, rows: Sequence[Any], building: Path) -> list["Shard"]:
        """Returns a split's rows in shards of equal size, training rows shuffled."""
        order = np.arange(len(rows))
        if split == "train" and self.shuffled:
            np.random.default_rng(SHUFFLE_SEED).shuffle(order)
        parts = np.array_split(order, -(-len(rows) // self.rows_a_shard))
        return [
            Shard(self.reader, [rows[i] for i in part], os.fspath(building / f"{split}-{i:05d}.json"), self.faults)
            for i, part in enumerate(parts)
        ]

    def shard_files(self, split: str, count: int, folder: Path) -> list[Path]:
        """Returns the files of a split's shards, named as in TFDS."""
        template = self.file_template(split, folder)
        return [Path(template.sharded_filepath(shard_index=i, num_shards=count)) for i in range(count)]

    def file_template(self, split: str, folder: Path) -> Any:
        """Returns TFDS's template of the names of shard files."""
        import tensorflow_datasets as tfds

        return tfds.core.ShardedFileTemplate(
            data_dir=tfds.core.Path(folder), dataset_name=self.name, split=split, filetype_suffix="array_record"
        )


@dataclass
class Tally:
    """Counts and statistics of a shard's rows. Lists are per example, in order."""

    rows: int = 0
    examples: int = 0
    skipped: dict[str, list[str]] = field(default_factory=dict)
    """Rows without a usable hand, by the reason."""
    faults: list[str] = field(default_factory=list)
    """Error messages of damaged rows, if these are skipped."""
    complete_3d: int = 0
    partial_3d: int = 0
    labelled_joints: int = 0
    """Number of labelled 2D joints of all examples."""
    labels_left_out: dict[str, list[str]] = field(default_factory=dict)
    """Examples without some labels of the dataset, by the reason."""
    left_hands: int = 0
    left_by_thumb: int = 0
    """Number of complete 3D hands whose thumb is that of a left hand, after mirroring of left hands."""
    reprojection_px: list[float] = field(default_factory=list)
    """Reprojection errors of the examples with both 2D and 3D labels, pixels."""
    scale_m: list[float] = field(default_factory=list)
    """Scales of the examples with a scale, metres."""
    content: str = ""
    """SHA-256 of the records, in order. Unlike `sha256`, it does not depend on the versions of libraries."""
    bytes: int = 0
    """Size of the file."""
    sha256: str = ""
    """SHA-256 of the file."""

    def count(self, example: dict[str, Any], left_out: Sequence[str] = ()) -> None:
        """Adds a record, and the reasons for which labels of the dataset are left out of it."""
        for reason in left_out:
            self.labels_left_out.setdefault(reason, []).append(example["id"][:80])
        self.examples += 1
        digest = hashlib.sha256(self.content.encode())
        for name, value in sorted(example.items()):
            digest.update(name.encode() + (value if isinstance(value, bytes) else np.asarray(value).tobytes()))
        self.content = digest.hexdigest()
        known = example["joints_3d_valid"]
        self.labelled_joints += int((example["visibility"] > UNLABELLED).sum())
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
    """The rows of one shard. When called, which TFDS does on Beam, it yields (key, record) and writes its tally."""

    reader: str
    """Module of `bmc_jax.data.readers` that reads the rows."""
    rows: Sequence[Any]
    tally_file: str
    faults: str = "stop"
    """"stop" or "skip", see `builder.build`."""

    def __call__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        tally = Tally()
        yield from self.examples(tally)
        files.write_json(self.tally_file, asdict(tally), indent=1)

    def examples(self, tally: Tally) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields (id, record) of each row, and counts it in `tally`.

        Raises:
          ValueError, OSError: at the first damaged row, unless damaged rows are skipped.
        """
        annotation = importlib.import_module(f"bmc_jax.data.readers.{self.reader}").annotation
        for row in self.rows:
            tally.rows += 1
            try:
                found = annotation(row)
                example = record.record(found)
            except SkipRow as reason:
                tally.skipped.setdefault(str(reason), []).append(str(getattr(row, "id", row))[:80])
                continue
            except (ValueError, OSError) as error:
                if self.faults != "skip":
                    raise
                tally.faults.append(str(error))
                continue
            tally.count(example, found.left_out)
            yield example["id"], example


def write(shard: Shard, file: str) -> int:
    """Writes the file of a shard and its tally, both atomically, and returns the number of its rows.

    Raises:
      ValueError, FileNotFoundError: for a damaged row.
      OSError: if the file cannot be written, or does not contain all records because the disk is full.
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
        except RuntimeError as error:  # raised by array_record for a failed write
            raise OSError(str(error)) from error
        reader = ArrayRecordReader(os.fspath(partial))
        if reader.num_records() != tally.examples:
            raise OSError(
                f"{file}: expected {tally.examples} records, got {reader.num_records()}; free space on the disk"
            )
        reader.close()
        content = partial.read_bytes()
        tally.bytes, tally.sha256 = len(content), hashlib.sha256(content).hexdigest()
    files.write_json(shard.tally_file, asdict(tally), indent=1)
    return len(shard.rows)


def read_tally(file: str | os.PathLike) -> Tally | None:
    """Reads the tally of a shard; None if it does not exist, so the shard has to be written."""
    try:
        return Tally(**json.loads(Path(file).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def merge(tallies: Sequence[Tally]) -> dict[str, Any]:
    """Returns the summary of a split: counts, reasons with the first rows of each, and statistics."""
    reasons: dict[str, dict[str, list[str]]] = {"skipped": {}, "labels_left_out": {}}
    for tally in tallies:
        for name, found in reasons.items():
            for reason, rows in getattr(tally, name).items():
                found.setdefault(reason, []).extend(rows)
    faults = [message for tally in tallies for message in tally.faults]
    totals = ("rows", "examples", "complete_3d", "partial_3d", "labelled_joints", "left_hands", "left_by_thumb")
    return {
        **{name: sum(getattr(tally, name) for tally in tallies) for name in totals},
        **{
            name: {reason: {"count": len(rows), "first": rows[:EXAMPLE_ROWS]} for reason, rows in found.items()}
            for name, found in reasons.items()
        },
        "faults": {"count": len(faults), "first": faults[:EXAMPLE_ROWS]},
        "reprojection_px": _statistics([error for tally in tallies for error in tally.reprojection_px]),
        "scale_m": _statistics([scale for tally in tallies for scale in tally.scale_m]),
    }


def _statistics(values: list[float]) -> dict[str, Any] | None:
    if not values:
        return None
    names = ("min", "median", "p99", "max")
    percentiles = np.percentile(values, [0, 50, 99, 100]).tolist()
    statistics = {"mean": float(np.mean(values)), **dict(zip(names, percentiles, strict=True))}
    return {"count": len(values), **{name: round(value, 5) for name, value in statistics.items()}}
