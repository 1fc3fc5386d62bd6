"""FreiHAND v2: photographs of right hands with a green screen and three artificial backgrounds, with 3D joints.

    FreiHAND_pub_v2/
      training/rgb/%08d.jpg                       130,240: image `row + 32,560 x version`
      training_K.json  _xyz.json  _scale.json     32,560 rows, one for all four versions of an image
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
    what="130,240 training photographs (32,560 on 4 backgrounds) and 3,960 evaluation ones, right hands, 3D joints",
    needs="FreiHAND_pub_v2 (training and evaluation); for the evaluation's joints, FreiHAND_pub_v2_eval in its folder",
    licence="research only, no commercial use",
    address="https://lmb.informatik.uni-freiburg.de/projects/freihand/",
)
OPTIONS = {
    "versions": "backgrounds of the training images: gs (green screen), hom, sample, auto (three replacements)",
    "validation": "share of the training rows, with all their versions, in the split 'validation'",
    "partial": "accept a tree without some images or rows, and read the rows with an image",
}

VERSIONS = ("gs", "hom", "sample", "auto")
"""Backgrounds, in the order of the images' numbers."""
COUNTS = {"training": 32_560, "evaluation": 3_960}
"""Number of rows of the complete dataset."""
VALIDATION_SEED = "bmc_jax freihand 0"
"""Seed of the choice of validation rows."""

IMAGE_SIZE = (224, 224)
MIDDLE = 111.5
"""Centre of an image, pixels. The principal points of v2 are there, up to half a pixel."""
EVALUATION_BOX = 96.0
"""Side of the box of all evaluation images, a square at their centre, pixels. A box of the joints would depend on the
labels to be predicted. For 6,000 training hands (2D joints predicted by another model), the longer side is 84 pixels at
the median and 96 at the 95th percentile, and nine in ten are within 8 pixels of the centre in u and in v. A crop of 1.5
times this square contains 99.8 % of them completely."""
SCALE_TOLERANCE = 0.01
"""Maximum relative difference between a row's scale and the length of its bone."""


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

    Validation rows are the first share of all training rows in the order of a hash of their number, so all versions of
    an image are in one split, which is the same on every machine. The split used in the paper is not known. FreiHAND
    does not state which rows are views of one moment; these may be in both splits.

    Version 1 of the dataset is refused, because its annotations are of another MANO, and its images are cropped off the
    camera's axis without a warp. Its files have the same names and lengths. It is recognized by the name of its folder,
    or by principal points that are not at the centre of the image in most rows. Version 1 with overwritten K would
    pass.

    Args:
      source: `FreiHAND_pub_v2`, `FreiHAND_pub_v2_eval` or the folder of both. Missing splits are left out.
      versions: backgrounds of the training images (see `VERSIONS`).
      validation: share of the training rows, in [0, 1).
      partial: whether images or rows may be missing.

    Raises:
      FileNotFoundError: for missing files.
      ValueError: for lists of another length (unless `partial`) or form, for version 1, and for unknown options.
    """
    unknown = [version for version in versions if version not in VERSIONS]
    if unknown or not versions or len(set(versions)) < len(versions):
        raise ValueError(
            f"versions: expected some of {', '.join(VERSIONS)}, each once, got {', '.join(versions) or 'none'}; change "
            "them"
        )
    if not 0 <= validation < 1:
        raise ValueError(f"validation: expected a share from 0 to less than 1, got {validation:g}; change it")
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
            f"{source}: expected training_K.json or evaluation_K.json of FreiHAND, got neither; name the folder into "
            "which FreiHAND_pub_v2.zip was unpacked"
        )
    return {split: rows for split, rows in result.items() if rows}


def annotation(row: Row) -> Annotation:
    """Returns the right hand of a row. All evaluation images have the same box.

    Raises:
      ValueError: naming file and row, for joints that are not finite, and for a scale other than the bone's length.
    """
    where = f"{row.file}: row {row.number}"
    if row.joints is not None:
        if not np.isfinite(row.joints).all():
            joint = np.flatnonzero(~np.isfinite(row.joints).all(axis=-1))[0]
            raise ValueError(
                f"{where}: {hand.JOINTS[joint]}: expected finite numbers, got {row.joints[joint].tolist()}; fetch the "
                "damaged file again"
            )
        start, end = hand.SCALE_BONE
        length = float(np.linalg.norm(row.joints[end] - row.joints[start]))
        if not abs(length - row.scale) <= SCALE_TOLERANCE * row.scale:
            raise ValueError(
                f"{where}: expected the row's scale {row.scale:.5g} from middle MCP to middle PIP, got {length:.5g}; "
                "the files are of two versions, of two splits, or not in metres: fetch them again"
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
    """Returns the rows with an image, and the number of annotations."""
    labelled = part == "training" or any((place / "evaluation_xyz.json").is_file() for place in places)
    folder, file = _find(places, f"{part}/rgb"), _find(places, f"{part}_{'xyz' if labelled else 'scale'}.json")
    intrinsics = _intrinsics(_find(places, f"{part}_K.json"), None if partial else COUNTS[part])
    count = len(intrinsics)
    joints = _read(file, (hand.NUM_JOINTS, 3), count) if labelled else [None] * count
    scale = _read(_find(places, f"{part}_scale.json"), (), count)
    present = _images(folder, count * (len(VERSIONS) if part == "training" else 1), partial)
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
        if image in present
    ]
    return rows, count


def _held_out(count: int, number: int) -> set[int]:
    """Returns the validation rows. The order of a hash does not depend on the versions of libraries."""
    order = sorted(range(count), key=lambda row: hashlib.sha256(f"{VALIDATION_SEED} {row}".encode()).digest())
    return set(order[:number])


def _find(places: list[Path], name: str) -> Path:
    found = [place / name for place in places if (place / name).exists()]
    if not found:
        raise FileNotFoundError(f"{places[0]}: expected {name}, got no such file; unpack all of FreiHAND_pub_v2.zip")
    return found[0]


def _read(file: Path, shape: tuple[int, ...], count: int | None) -> np.ndarray:
    """Reads a list of annotations, `[count, *shape]`; of any length if `count` is None."""
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: expected JSON, got a damaged file ({error}); fetch it again") from error
    rows = content if isinstance(content, list) else []
    if not rows or len(rows) != (count or len(rows)):
        raise ValueError(
            f"{file}: expected {count or COUNTS['training']:,} rows, one per unique image ({COUNTS['training']:,} in "
            f"training, not one per version, and {COUNTS['evaluation']:,} in evaluation), got {len(rows):,}; fetch it "
            "again, or give --partial if K, xyz and scale contain the same selection of rows"
        )
    for number, row in enumerate(rows):
        try:
            found = np.shape(row)
        except ValueError:  # lists of unequal lengths
            found = None
        if found != shape:
            got = f"{list(found)}" if found is not None else "lists of unequal lengths"
            raise ValueError(f"{file}: row {number}: expected the shape {list(shape)}, got {got}; fetch the file again")
    try:
        return np.array(rows, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: expected numbers, got other values ({error}); fetch it again") from error


def _images(folder: Path, count: int, partial: bool) -> set[int]:
    """Returns the numbers of the images in a folder, which are all of `range(count)` unless `partial`."""
    present = {int(name[:-4]) for name in os.listdir(folder) if name.endswith(".jpg") and name[:-4].isdigit()}
    missing = sorted(set(range(count)) - present)
    if missing and not partial:
        raise ValueError(
            f"{folder}: expected {count:,} images, got {count - len(missing):,}, the first missing one is "
            f"{missing[0]:08d}.jpg; unpack the dataset again, or give --partial to read the present ones"
        )
    if len(missing) == count:
        raise ValueError(
            f"{folder}: expected images from 00000000.jpg to {count - 1:08d}.jpg, got none of them; unpack the dataset "
            "again"
        )
    surplus = sorted(present - set(range(count)))
    if surplus:
        raise ValueError(
            f"{folder}: expected {count:,} images, one for each annotation and version, got {len(surplus):,} more, "
            f"such as {surplus[0]:08d}.jpg; use images and annotations of one dataset, with the same selection of rows"
        )
    return present


def _intrinsics(file: Path, count: int | None) -> np.ndarray:
    """Reads K, `[count, 3, 3]`. Raises ValueError for files of FreiHAND v1."""
    intrinsics = _read(file, (3, 3), count)
    off_centre = np.abs(intrinsics[:, :2, 2] - MIDDLE).max(axis=-1) > 1
    reason = "by the name of its folder" if "FreiHAND_pub_v1" in file.absolute().parts else ""
    if off_centre.mean() > 0.5:
        number = int(off_centre.argmax())
        reason = (
            f"{off_centre.sum():,} of {len(off_centre):,} principal points are not at the centre of the image, that of "
            f"row {number} is {intrinsics[number, :2, 2].tolist()}"
        )
    if reason:
        raise ValueError(
            f"{file}: expected FreiHAND v2, got v1, from before 22 October 2019 ({reason}), whose annotations are of "
            "another hand model and whose images are not warped for perspective; fetch FreiHAND_pub_v2.zip"
        )
    return intrinsics
