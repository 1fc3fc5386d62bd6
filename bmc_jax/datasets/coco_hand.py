"""Photographs of hands with 2D keypoints, from a COCO keypoint file.

The file lists 21 keypoints a hand in FreiHAND order, as `u, v, visibility` triples. Images lie in `images/` beside it,
or directly beside it. Beyond COCO's own fields, an annotation has `hand_side` ("right" or "left") and an image has `K`,
its intrinsics; pixel centres are at integers.
"""

import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from PIL import Image

from bmc_jax import camera, hand
from bmc_jax.types import Batch

#: Side of the square crop over the longer side of the hand's box. The rendered hands fill about two thirds of theirs.
MARGIN = 1.5

#: Focal length over the longer image side, for photographs without K: 53 degrees of view, between webcams and phones.
DEFAULT_FOCAL = 1.0


@dataclass(frozen=True)
class Photographs:
    """What `read` found."""

    batch: Batch
    """Host numpy `[count, ...]`, without 3D labels."""
    files: tuple[str, ...]
    """Image file of each example, as the annotations name it."""
    mirrored: np.ndarray
    """Which examples are left hands, turned into right hands, `[count]`."""
    description: str
    """What the file says of itself (`info.description`)."""

    @property
    def labels_predicted(self) -> bool:
        """Whether the keypoints are another model's predictions, so that an error against them is a disagreement."""
        return "predict" in self.description.lower()


def read(
    path: str | os.PathLike, *, size: int, margin: float = MARGIN, indices: Sequence[int] | None = None
) -> Photographs:
    """Crops of `size` x `size` pixels around the hands of a COCO file: all, or the annotations of those numbers.

    A crop is the square of `margin` times the longer side of the annotation's `bbox` (of its keypoints without one);
    what lies beyond the photograph is black. Left hands are mirrored. K is that of the crop.

    Raises:
      FileNotFoundError: if the file or an image of it is not there.
      ValueError: naming file, annotation and remedy, for what is not COCO, not a hand, not 21 keypoints, of no side,
        or an image that is damaged or of another size than stated.

    Warns visibly of images without K, whose focal length is taken to be `DEFAULT_FOCAL` times the longer side.
    """
    path = Path(path)
    content = _load(path)
    annotations = content["annotations"]
    indices = range(len(annotations)) if indices is None else indices
    if len(indices) == 0:
        raise ValueError(f"{path}: no annotations to read")
    if min(indices) < 0 or max(indices) >= len(annotations):
        raise ValueError(f"{path} has {len(annotations)} annotations, numbered from 0; asked for {max(indices)}")

    images = {image["id"]: image for image in content["images"]}
    categories = {category["id"]: category["name"] for category in content["categories"]}
    hands = [_hand(annotations[i], images, categories, path) for i in indices]
    without_k = sorted({one["file"] for one in hands if not one["has_k"]})
    if without_k:
        warnings.warn(
            f"{path}: {len(without_k)} images have no 'K', {without_k[0]} first; their focal length is taken to be "
            f"{DEFAULT_FOCAL:g} x the longer image side. Depths are as wrong as that is: add 'K' to the images.",
            stacklevel=2,
        )

    folder = path.parent / "images" if (path.parent / "images").is_dir() else path.parent
    crops = np.stack([_crop(folder, one, size, margin) for one in hands])
    affine = camera.crop_affine(
        jnp.stack([one["centre"] for one in hands]), jnp.stack([margin * one["extent"] for one in hands]), size
    )
    joints_2d = np.array(camera.warp_pixels(affine, jnp.stack([one["joints"] for one in hands])))
    intrinsics = camera.warp_intrinsics(affine, jnp.stack([one["K"] for one in hands]))

    left = np.array([one["left"] for one in hands])
    joints_3d = jnp.zeros((len(hands), hand.NUM_JOINTS, 3))
    intrinsics = np.where(left[:, None, None], camera.mirror(joints_3d, intrinsics, size)[1], intrinsics)
    joints_2d[left, :, 0] = size - 1 - joints_2d[left, :, 0]
    crops[left] = crops[left, :, ::-1]

    valid = np.stack([one["valid"] for one in hands])
    batch = Batch(
        image=crops,
        intrinsics=intrinsics,
        joints_2d=np.where(valid[..., None], joints_2d, np.float32(0)),
        joints_2d_valid=valid,
        joints_3d=np.array(joints_3d),
        joints_3d_valid=np.zeros_like(valid),
        scale=np.ones(len(hands), np.float32),
        source=np.zeros(len(hands), np.int32),
        index=np.array(indices, np.int32),
        present=np.ones(len(hands), bool),
    )
    files = tuple(one["file"] for one in hands)
    return Photographs(batch, files, left, str(content.get("info", {}).get("description", "")))


def spread(path: str | os.PathLike, count: int | None = None) -> list[int]:
    """Numbers of `count` annotations spread evenly over the file, all by default or if it has fewer."""
    available = len(_load(Path(path))["annotations"])
    return np.unique(np.linspace(0, available - 1, min(count or available, available)).astype(int)).tolist()


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no annotation file {path}; name the JSON file itself, not its folder")
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from error
    missing = [
        name
        for name in ("images", "annotations", "categories")
        if not isinstance(content, dict) or not isinstance(content.get(name), list)
    ]
    if missing:
        raise ValueError(f"{path} is not a COCO keypoint file: it has no list of {', '.join(missing)}")
    return content


def _hand(annotation: dict[str, Any], images: dict[Any, Any], categories: dict[Any, str], path: Path) -> dict[str, Any]:
    """One annotation, checked, with its image's file, size and K."""
    name = f"{path}: annotation {annotation.get('id', '?')}"
    category = categories.get(annotation.get("category_id"), "unknown")
    if category != "hand":
        raise ValueError(f"{name} is of the category {category!r}; this reader takes hands only: leave it out")
    image = images.get(annotation.get("image_id"))
    if image is None:
        raise ValueError(f"{name} is of image {annotation.get('image_id')!r}, which the file does not list")
    file, width, height = image["file_name"], image["width"], image["height"]
    name = f"{name} ({file})"

    side = annotation.get("hand_side")
    if side not in ("right", "left"):
        raise ValueError(f"{name} has the hand_side {side!r}; it must be 'right' or 'left'")
    keypoints = np.array(annotation.get("keypoints", []), np.float32)
    if keypoints.size != 3 * hand.NUM_JOINTS:
        raise ValueError(
            f"{name} has {keypoints.size / 3:g} keypoints; a hand has {hand.NUM_JOINTS}, each as u, v, visibility"
        )
    keypoints = keypoints.reshape(hand.NUM_JOINTS, 3)
    valid = keypoints[:, 2] > 0
    if not np.isfinite(keypoints[valid]).all() or not valid.any():
        raise ValueError(f"{name} has no labelled keypoint, or one that is not finite")

    low, high = keypoints[valid, :2].min(axis=0), keypoints[valid, :2].max(axis=0)
    if "bbox" in annotation:
        left, top, box_width, box_height = np.array(annotation["bbox"], np.float32)
        low, high = np.array([left, top]), np.array([left + box_width, top + box_height])
    if not (high - low).max() > 0:
        raise ValueError(f"{name} has a box of no size: bbox is {annotation.get('bbox')}")

    focal = DEFAULT_FOCAL * max(width, height)
    default = [[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]]
    intrinsics = np.array(image.get("K", default), np.float32)
    if intrinsics.shape != (3, 3) or not np.isfinite(intrinsics).all() or intrinsics[0, 0] * intrinsics[1, 1] == 0:
        raise ValueError(f"{name}: K is {image['K']}; it must be a regular 3x3 matrix in pixels")
    return {
        "name": name,
        "file": file,
        "image_size": (width, height),
        "K": intrinsics,
        "has_k": "K" in image,
        "left": side == "left",
        "joints": keypoints[:, :2],
        "valid": valid,
        "centre": (low + high) / 2,
        "extent": (high - low).max(),
    }


def _crop(folder: Path, one: dict[str, Any], size: int, margin: float) -> np.ndarray:
    """The pixels `[size, size, 3]` that `camera.crop_affine` describes, filtered when shrunk."""
    file = folder / one["file"]
    try:
        with Image.open(file) as opened:
            photograph = opened.convert("RGB")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{one['name']}: there is no {file}") from error
    except OSError as error:
        raise ValueError(f"{file} is damaged: {error}. Fetch it again, or leave its annotation out") from error
    if photograph.size != one["image_size"]:
        raise ValueError(f"{file} is of {photograph.size} pixels, and the annotations say {one['image_size']}")
    # Pillow counts from the corner of the first pixel, half a pixel before its centre.
    low = one["centre"] + 0.5 - margin * one["extent"] / 2
    high = low + margin * one["extent"]
    outer_low, outer_high = np.floor(low).astype(int), np.ceil(high).astype(int)
    padded = photograph.crop((*outer_low.tolist(), *outer_high.tolist()))
    box = (*np.maximum(low - outer_low, 0).tolist(), *np.minimum(high - outer_low, padded.size).tolist())
    return np.asarray(padded.resize((size, size), Image.Resampling.BICUBIC, box=box))
