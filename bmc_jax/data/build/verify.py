"""Verification of built datasets, which reads every byte, image and label again."""

import functools
import io
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from bmc_jax.data import record, store
from bmc_jax.data.readers import annotation

ROUNDING = 1e-2
"""Maximum difference of a reprojection error from the summary's, pixels. Rounding to float32 changes it by 1e-4."""


def verify(folder: Path) -> list[str]:
    """Returns the faults of a built dataset, one line each; empty if it is complete and unchanged.

    Raises:
      ValueError: if its summary cannot be read.
    """
    return list(_problems(folder, store.summary(folder)))


def _problems(folder: Path, summary: dict[str, Any]) -> Iterator[str]:
    for split, counted in summary["splits"].items():
        damaged = list(_damaged(folder, counted["shards"]))
        yield from damaged
        if damaged:
            continue
        records = store.records(folder, split)
        if len(records) != counted["examples"]:
            yield (
                f"{folder}: {split}: expected {counted['examples']} records by the summary, got {len(records)}; build "
                "the dataset again"
            )
        seen, worst = Counter[str](), 0.0
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            # Threads suffice, because Pillow releases Python's lock.
            examined = pool.map(functools.partial(_examine, records), range(len(records)))
            for number, (name, fault, error) in enumerate(tqdm(examined, f"verify {split}", len(records))):
                seen[name] += 1
                worst = max(worst, error)
                if fault:
                    yield f"{folder}: {split} record {number} ({name}): {fault}"
        double = [name for name, count in seen.items() if count > 1]
        if double:
            yield (
                f"{folder}: {split}: expected distinct ids, got {len(double)} ids several times, such as {double[0]}; "
                "build the dataset again"
            )
        expected = (counted["reprojection_px"] or {"max": 0.0})["max"]
        if abs(worst - expected) > ROUNDING:
            yield (
                f"{folder}: {split}: expected a maximum reprojection error of {expected:.4f} px by the summary, got "
                f"{worst:.4f}; build the dataset again"
            )


def _damaged(folder: Path, shards: list[dict[str, Any]]) -> Iterator[str]:
    for part in tqdm(shards, desc="verify files", unit=" files"):
        file = folder / part["file"]
        if not file.is_file():
            yield f"{file}: expected a shard, got no file; build the dataset again"
        elif sha256(file.read_bytes()).hexdigest() != part["sha256"]:
            yield f"{file}: expected the SHA-256 in the summary, got another; build the dataset again"


def _examine(records: store.Records, number: int) -> tuple[str, str, float]:
    """Returns a record's id, its fault or "", and its reprojection error in pixels."""
    found = records[number]
    try:
        with Image.open(io.BytesIO(found["image"])) as opened:
            image = np.asarray(opened.convert("RGB"))
        annotation.check(
            annotation.Annotation(
                where="its labels",
                image=image,
                **{name: found[name] for name in ("source", "id", "intrinsics", "joints_2d", "visibility")},
                joints_3d=np.where(found["joints_3d_valid"][:, None], found["joints_3d"], np.nan),
                scale=float(found["scale"]) or None,
                box=tuple(found["box"].tolist()),
            )
        )
    except (OSError, ValueError) as error:
        return found["id"], str(error), 0.0
    error = record.reprojection_error(found)
    return found["id"], "", 0.0 if np.isnan(error) else error
