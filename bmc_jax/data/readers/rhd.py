"""RHD, the Rendered Hand Pose Dataset: images of rendered people with 2D and 3D joints of both hands.

    RHD_published_v2/
      training/color/%05d.png   mask/%05d.png   anno_training.pickle         41,258
      evaluation/color/%05d.png mask/%05d.png   anno_evaluation.pickle        2,728

A pickle is a dict from an image's number to `uv_vis [42, 3]` (pixels, and whether the joint is visible), `xyz [42, 3]`
(metres, x right, y down, z forward) and `K [3, 3]`. Rows 0 to 20 are the left hand, 21 to 41 the right one, each finger
from its tip to its base. A mask contains the numbers of body parts: 2 to 17 for the left hand, 18 to 33 for the right
one. Images have 320 x 320 pixels. Joint 0 is RHD's wrist, not the palm's centre, which its authors' later code uses.
"""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from bmc_jax.core.hand import TO_FREIHAND
from bmc_jax.data.images import DECODING_ERRORS
from bmc_jax.data.readers import safe_pickle
from bmc_jax.data.readers.annotation import OCCLUDED, VISIBLE, Annotation, DatasetInfo, SkipRow

VERSION = "1.0.0"
INFO = DatasetInfo(
    what="41,258 training and 2,728 evaluation pictures of rendered people, both hands, 2D and 3D joints, masks",
    needs="RHD_published_v2: training and evaluation with color, mask (for hand=mask only) and the anno pickle",
    licence="research only, no commercial use",
    address="https://lmb.informatik.uni-freiburg.de/resources/datasets/RenderedHandposeDataset.en.html",
)
OPTIONS = {
    "hand": "hand of an image: visible (more visible joints), mask (larger area), or both (one example each)",
    "minimum_visible": "leave out, and count, hands with fewer visible joints",
    "partial": "accept a tree without some images or entries, and read the entries with an image",
}

COUNTS = {"training": 41_258, "evaluation": 2_728}
"""Number of entries of the complete dataset, by the name of the folder."""
SPLITS = {"train": "training", "test": "evaluation"}
CHOICES = ("visible", "mask", "both")
IMAGE_SIZE = (320, 320)
JOINTS = {"left": slice(0, 21), "right": slice(21, 42)}
"""Rows of each hand in an annotation."""
MASK = {"left": (2, 17), "right": (18, 33)}
"""First and last part number of each hand in a mask."""
MINIMUM_VISIBLE = 5
"""Number of joints of the wrist and one finger. With fewer visible joints, an image does not show the pose."""


class Row(NamedTuple):
    """An image with the annotations of both hands."""

    file: str
    number: int
    """Number of the image and of its entry in the file."""
    id: str
    folder: str
    """`training` or `evaluation`, with its path."""
    entry: dict[str, np.ndarray]
    hand: str
    """Choice of the hand: "visible", "mask", "left" or "right"."""
    minimum_visible: int


def splits(
    source: Path, *, hand: str = "visible", minimum_visible: int = MINIMUM_VISIBLE, partial: bool = False
) -> dict[str, list[Row]]:
    """Returns the rows of "train" (RHD's training) and "test" (its evaluation), in the order of their images.

    `source` is `RHD_published_v2` or its parent folder. Missing splits are left out. With `hand="both"`, a row is an
    annotated hand, otherwise an image.

    Raises:
      FileNotFoundError: for missing files.
      ValueError: for other numbers of entries than the dataset's (unless `partial`), for a damaged or possibly
        malicious pickle, for entries of another form, and for unknown options.
    """
    if hand not in CHOICES:
        raise ValueError(f"hand: expected one of {', '.join(CHOICES)}, got {hand!r}; choose one")
    if not 0 <= minimum_visible <= 21:
        raise ValueError(f"minimum_visible: expected 0 to 21 visible joints, got {minimum_visible}; change it")
    places = (source, source / "RHD_published_v2")
    result = {}
    for split, name in SPLITS.items():
        folders = [place / name for place in places if (place / name).is_dir()]
        if folders:
            result[split] = _rows(folders[0], hand, minimum_visible, partial)
    if not result:
        raise FileNotFoundError(
            f"{source}: expected a folder training or evaluation of RHD, got neither; name the folder RHD_published_v2"
        )
    return result


def annotation(row: Row) -> Annotation:
    """Returns one hand of an image. 2D joints that are not visible are labelled as occluded.

    Raises:
      SkipRow: if no hand is annotated, or fewer than `minimum_visible` joints are visible.
      FileNotFoundError: if the hand is chosen by a mask that is missing.
      ValueError: naming file and entry, if the mask is damaged, or a joint is not finite.
    """
    side = row.hand if row.hand in JOINTS else _chosen(row)
    where = f"{row.file}: entry {row.number}, {side} hand"
    pixels, joints = row.entry["uv_vis"][JOINTS[side]], row.entry["xyz"][JOINTS[side]]
    bad = np.flatnonzero(~np.isfinite(np.concatenate([pixels, joints], axis=1)).all(axis=1))
    if len(bad):
        raise ValueError(
            f"{where}: keypoint {bad[0]}: expected finite numbers, got {pixels[bad[0]].tolist()}, "
            f"{joints[bad[0]].tolist()}; fetch the damaged file again"
        )
    seen = pixels[:, 2] > 0
    if seen.sum() < row.minimum_visible:
        raise SkipRow(f"fewer than {row.minimum_visible} visible joints")
    order = TO_FREIHAND["rhd"]
    return Annotation(
        where=where,
        source="rhd",
        id=row.id,
        image=_image(row, "color"),
        image_size=IMAGE_SIZE,
        intrinsics=row.entry["K"],
        left=side == "left",
        joints_3d=joints[order],
        joints_2d=pixels[order, :2],
        visibility=np.where(seen[order], VISIBLE, OCCLUDED),
    )


def _rows(folder: Path, hand: str, minimum_visible: int, partial: bool) -> list[Row]:
    file = folder / f"anno_{folder.name}.pickle"
    entries = safe_pickle.load(file)
    if not isinstance(entries, dict) or not all(isinstance(number, int) for number in entries):
        raise ValueError(f"{file}: expected a dict from numbers of images to annotations, got another; fetch it again")
    present = _images(folder / "color")
    if not partial:
        expected = COUNTS[folder.name]
        missing = [number for number in range(expected) if number not in present or number not in entries]
        if len(entries) != expected or missing:
            first = f"; the first missing one is {missing[0]:05d}.png" if missing else ""
            raise ValueError(
                f"{folder}: expected {expected:,} annotations and images in color, got {len(entries):,} annotations "
                f"and {len(present):,} images{first}; fetch RHD again, or give --partial to read what is present"
            )
    rows = []
    for number, entry in sorted(entries.items()):
        entry = _entry(entry, f"{file}: entry {number}")
        if number in present:
            name = f"{folder.name}/{number:05d}"
            ids = {f"{name}-{side}": side for side in _annotated(entry)} if hand == "both" else {name: hand}
            for identifier, side in ids.items():
                rows.append(Row(os.fspath(file), number, identifier, os.fspath(folder), entry, side, minimum_visible))
    if not rows:
        raise ValueError(
            f"{folder / 'color'}: expected images of the {len(entries):,} entries of {file.name}, got none; unpack RHD "
            "again"
        )
    return rows


def _entry(entry: Any, where: str) -> dict[str, np.ndarray]:
    """Returns the three fields of an entry, checked."""
    result = {}
    for name, shape in {"uv_vis": (42, 3), "xyz": (42, 3), "K": (3, 3)}.items():
        value = entry.get(name) if isinstance(entry, dict) else None
        if not isinstance(value, np.ndarray) or value.shape != shape or value.dtype.kind not in "fiu":
            found = f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
            raise ValueError(f"{where}: {name}: expected numbers {list(shape)}, got {found}; fetch the file again")
        result[name] = value
    return result


def _images(folder: Path) -> set[int]:
    """Returns the numbers of the images in a folder."""
    if not folder.is_dir():
        raise FileNotFoundError(f"expected the folder {folder}, got no such folder; unpack all of RHD")
    return {int(name[:-4]) for name in os.listdir(folder) if name.endswith(".png") and name[:-4].isdigit()}


def _image(row: Row, kind: str) -> Path:
    return Path(row.folder) / kind / f"{row.number:05d}.png"


def _annotated(entry: dict[str, np.ndarray]) -> list[str]:
    """Returns the sides of the annotated hands. A hand that is not annotated has depth 0."""
    return [side for side, rows in JOINTS.items() if (entry["xyz"][rows, 2] != 0).any()]


def _chosen(row: Row) -> str:
    """Returns the side of the hand for which an image is used; the right one if both are equal."""
    sides = _annotated(row.entry)
    if not sides:
        raise SkipRow("no hand is annotated")
    if len(sides) == 1:
        return sides[0]
    if row.hand == "mask":
        size = _areas(_image(row, "mask"), f"{row.file}: entry {row.number}")
    else:
        size = {side: (row.entry["uv_vis"][rows, 2] > 0).sum() for side, rows in JOINTS.items()}
    return "left" if size["left"] > size["right"] else "right"


def _areas(file: Path, where: str) -> dict[str, int]:
    """Counts the pixels of each hand in a mask."""
    try:
        with Image.open(file) as opened:
            mask = np.array(opened)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{where}: expected the mask {file}, got no such file; unpack it, or choose hands by --hand visible"
        ) from error
    except DECODING_ERRORS as error:
        raise ValueError(
            f"{where}: mask {file}: expected an image, got a damaged one ({error}); fetch it again"
        ) from error
    if mask.ndim != 2:
        raise ValueError(
            f"{where}: mask {file}: expected one channel of part numbers, got {mask.shape[-1]} channels; fetch it again"
        )
    return {side: int(((mask >= low) & (mask <= high)).sum()) for side, (low, high) in MASK.items()}
