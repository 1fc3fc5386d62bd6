"""FreiHAND v2: photographs of right hands before a green screen and three artificial backgrounds, with 3D joints.

    FreiHAND_pub_v2/
      training/rgb/%08d.jpg                       130,240: image `row + 32,560 x version`
      training_K.json  _xyz.json  _scale.json     32,560 rows, one for the four versions of an image
      evaluation/rgb/%08d.jpg                     3,960
      evaluation_K.json  _scale.json
    FreiHAND_pub_v2_eval/
      evaluation_xyz.json                         since 2022: the joints of the evaluation images

Joints are in FreiHAND order, metres, x right, y down, z forward; images have 224 x 224 pixels. Without
`evaluation_xyz.json` the split "test" has K and scale only.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bmc_jax.core import hand
from bmc_jax.data.readers.annotation import Annotation, DatasetInfo

VERSION = "1.0.0"
INFO = DatasetInfo(
    what="130,240 training photographs (32,560 on 4 backgrounds) and 3,960 to test on, right hands, 3D joints",
    needs="FreiHAND_pub_v2 (training and evaluation), FreiHAND_pub_v2_eval beside it for the evaluation's joints",
    licence="research only, no commercial use",
    address="https://lmb.informatik.uni-freiburg.de/projects/freihand/",
)
OPTIONS = {
    "versions": "backgrounds of the training images: gs (green screen), hom, sample, auto (three ways to replace it)",
    "validation": "share of the training rows, with all their versions, that become the split 'validation'",
    "partial": "take a tree that lacks images or rows, and of it the rows whose image is there",
}

VERSIONS = ("gs", "hom", "sample", "auto")
"""Backgrounds, in the order of their images' numbers."""
COUNTS = {"training": 32_560, "evaluation": 3_960}
"""Rows of the whole dataset."""
VALIDATION_SEED = "bmc_jax freihand 0"
"""Determines the choice of validation rows."""

IMAGE_SIZE = (224, 224)
MIDDLE = 111.5
"""Middle of an image in pixels. The principal points of v2 are there, up to half a pixel."""
EVALUATION_BOX = 96.0
"""Side in pixels of the box of all evaluation images, a square in their middle. A box of the joints would depend on the
labels that are to be predicted. Of 6,000 training hands (2D joints as another model predicts them) the longer side is
84 pixels at the median and 96 at the 95th percentile, and nine in ten are within 8 pixels of the middle in u and in v.
A crop of 1.5 times this square shows 99.8 % of them whole."""
SCALE_TOLERANCE = 0.01
"""Relative difference that a row's scale may have from the length of its bone."""


class Row(NamedTuple):
    """An image with its annotation."""

    file: str
    """Annotation file, with the annotation in row `number`."""
    number: int
    id: str
    image: str
    intrinsics: np.ndarray
    """`[3, 3]`."""
    joints: np.ndarray | None
    """`[21, 3]` metres; None for an evaluation image without published joints."""
    scale: float
    """Metres, middle MCP to middle PIP."""
    evaluation: bool


def splits(
    source: Path, *, versions: tuple[str, ...] = VERSIONS, validation: float = 0.1, partial: bool = False
) -> dict[str, list[Row]]:
    """Returns the rows of "train", "validation" and "test" (FreiHAND's evaluation), each in the order of its images.

    Validation rows are the first share of all training rows in the order of a hash of their number, so that the
    versions of an image are in one split, the same everywhere. The split that the paper used is not known. FreiHAND
    does not say which rows are views of one moment; those may be in both splits.

    Version 1 of the dataset is refused: its annotations are of another MANO, and its images are cut out beside the
    camera's axis without being warped. Its files have the same names and lengths, so it is recognized by the name of
    its folder, or by principal points that are not in the middle of the image in most rows. Version 1 with overwritten
    K would pass.

    Args:
      source: `FreiHAND_pub_v2`, `FreiHAND_pub_v2_eval` or the folder of both. A split that is not there is left out.
      versions: Backgrounds of the training images, see `VERSIONS`.
      validation: Share of the training rows, in [0, 1).
      partial: Whether images or rows may be missing.

    Raises:
      FileNotFoundError: for missing files.
      ValueError: for lists of another length (unless `partial`) or form, for version 1, and for unknown options.
    """
    unknown = [version for version in versions if version not in VERSIONS]
    if unknown or not versions or len(set(versions)) < len(versions):
        raise ValueError(f"versions {', '.join(versions) or 'none'}; choose some of {', '.join(VERSIONS)}, each once")
    if not 0 <= validation < 1:
        raise ValueError(f"validation is {validation:g}; it is a share of the rows, from 0 to less than 1")
    beside = source.absolute().parent / "FreiHAND_pub_v2_eval"
    places = [source, source / "FreiHAND_pub_v2", source / "FreiHAND_pub_v2_eval", beside]
    result = {}
    if any((place / "training").is_dir() or (place / "training_K.json").is_file() for place in places):
        rows, count = _rows(places, "training", versions, partial)
        held_out = _held_out(count, round(validation * count))
        result["train"] = [row for row in rows if row.number not in held_out]
        result["validation"] = [row for row in rows if row.number in held_out]
    if any((place / "evaluation").is_dir() or (place / "evaluation_K.json").is_file() for place in places):
        result["test"], _ = _rows(places, "evaluation", VERSIONS[:1], partial)
    if not result:
        raise FileNotFoundError(
            f"{source} is no FreiHAND: it has neither training_K.json nor evaluation_K.json; give the folder that "
            "FreiHAND_pub_v2.zip was unpacked into"
        )
    return {split: rows for split, rows in result.items() if rows}


def annotation(row: Row) -> Annotation:
    """Returns a row's right hand. All evaluation images have the same box.

    Raises:
      ValueError: naming file and row, for joints that are not finite, and for a scale that is not their bone's length.
    """
    where = f"{row.file}: row {row.number}"
    if row.joints is not None:
        if not np.isfinite(row.joints).all():
            joint = np.flatnonzero(~np.isfinite(row.joints).all(axis=-1))[0]
            raise ValueError(
                f"{where}: the {hand.JOINTS[joint]} is {row.joints[joint].tolist()}; the file is damaged, fetch it "
                "again"
            )
        start, end = hand.SCALE_BONE
        length = float(np.linalg.norm(row.joints[end] - row.joints[start]))
        if not abs(length - row.scale) <= SCALE_TOLERANCE * row.scale:
            raise ValueError(
                f"{where}: from middle MCP to middle PIP it is {length:.5g} where the row's scale is "
                f"{row.scale:.5g}; these are files of two versions, of two splits, or not in metres: fetch them again"
            )
    low, high = MIDDLE - EVALUATION_BOX / 2, MIDDLE + EVALUATION_BOX / 2
    return Annotation(
        where=where,
        source="freihand",
        id=row.id,
        image=Path(row.image),
        image_size=IMAGE_SIZE,
        intrinsics=row.intrinsics,
        joints_3d=row.joints,
        scale=row.scale,
        box=(low, low, high, high) if row.evaluation else None,
    )


def _rows(places: list[Path], part: str, versions: tuple[str, ...], partial: bool) -> tuple[list[Row], int]:
    """Returns the rows of the images that are there, and the number of annotations."""
    labelled = part == "training" or any((place / "evaluation_xyz.json").is_file() for place in places)
    folder, file = _find(places, f"{part}/rgb"), _find(places, f"{part}_{'xyz' if labelled else 'scale'}.json")
    intrinsics = _intrinsics(_find(places, f"{part}_K.json"), None if partial else COUNTS[part])
    count = len(intrinsics)
    joints = _read(file, (hand.NUM_JOINTS, 3), count) if labelled else [None] * count
    scale = _read(_find(places, f"{part}_scale.json"), (), count)
    there = _images(folder, count * (len(VERSIONS) if part == "training" else 1), partial)
    wanted = [number + VERSIONS.index(version) * count for version in versions for number in range(count)]
    rows = [
        Row(
            file=os.fspath(file),
            number=image % count,
            id=f"{part}/{image:08d}",
            image=os.fspath(folder / f"{image:08d}.jpg"),
            intrinsics=intrinsics[image % count],
            joints=joints[image % count],
            scale=float(scale[image % count]),
            evaluation=part == "evaluation",
        )
        for image in sorted(wanted)
        if image in there
    ]
    return rows, count


def _held_out(count: int, number: int) -> set[int]:
    """Returns the validation rows. The order of a hash does not depend on the versions of libraries."""
    order = sorted(range(count), key=lambda row: hashlib.sha256(f"{VALIDATION_SEED} {row}".encode()).digest())
    return set(order[:number])


def _find(places: list[Path], name: str) -> Path:
    found = [place / name for place in places if (place / name).exists()]
    if not found:
        raise FileNotFoundError(f"{places[0]} has no {name}; unpack the whole of FreiHAND_pub_v2.zip there")
    return found[0]


def _read(file: Path, shape: tuple[int, ...], count: int | None) -> np.ndarray:
    """Reads a list of annotations, `[count, *shape]`; of any length if `count` is None."""
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is damaged ({error}); fetch it again") from error
    rows = content if isinstance(content, list) else []
    if not rows or len(rows) != (count or len(rows)):
        raise ValueError(
            f"{file} has {len(rows):,} rows, not {count or COUNTS['training']:,}: there is one for each unique image, "
            f"{COUNTS['training']:,} in training (not one for each version of it) and {COUNTS['evaluation']:,} in "
            "evaluation, in K, xyz and scale alike; fetch it again, or give --partial if all these files were cut down "
            "to the same rows"
        )
    for number, row in enumerate(rows):
        try:
            found = np.shape(row)
        except ValueError:  # lists of unequal lengths
            found = None
        if found != shape:
            what = f"of shape {list(found)}" if found is not None else "of unequal lengths"
            raise ValueError(f"{file}: row {number} is {what} where {list(shape)} is needed; fetch the file again")
    try:
        return np.array(rows, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file} holds something other than numbers ({error}); fetch it again") from error


def _images(folder: Path, count: int, partial: bool) -> set[int]:
    """Returns the numbers of the images in a folder; all of `range(count)` unless `partial`."""
    there = {int(name[:-4]) for name in os.listdir(folder) if name.endswith(".jpg") and name[:-4].isdigit()}
    missing = sorted(set(range(count)) - there)
    if missing and not partial:
        raise ValueError(
            f"{folder} has {count - len(missing):,} of {count:,} images, {missing[0]:08d}.jpg is the first that it "
            "lacks; unpack the dataset again, or give --partial to take those that are there"
        )
    if len(missing) == count:
        raise ValueError(f"{folder} has none of the images 00000000.jpg to {count - 1:08d}.jpg")
    surplus = sorted(there - set(range(count)))
    if surplus:
        raise ValueError(
            f"{folder} has the image {surplus[0]:08d}.jpg, and {len(surplus):,} in all, beyond the {count:,} that the "
            "annotations are of; images and annotations are of two datasets, or of one that was cut down in one only"
        )
    return there


def _intrinsics(file: Path, count: int | None) -> np.ndarray:
    """Reads K, `[count, 3, 3]`; raises ValueError for that of FreiHAND v1."""
    intrinsics = _read(file, (3, 3), count)
    beside = np.abs(intrinsics[:, :2, 2] - MIDDLE).max(axis=-1) > 1
    why = "as its folder says" if "FreiHAND_pub_v1" in file.absolute().parts else ""
    if beside.mean() > 0.5:
        number = int(beside.argmax())
        why = (
            f"{beside.sum():,} of {len(beside):,} principal points are not in the middle of the image, that of row "
            f"{number} is {intrinsics[number, :2, 2].tolist()}"
        )
    if why:
        raise ValueError(
            f"{file} is of FreiHAND v1, from before 22 October 2019 ({why}): its annotations are of another hand model "
            "and its images are not warped for perspective; fetch FreiHAND_pub_v2.zip"
        )
    return intrinsics
