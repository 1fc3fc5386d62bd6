"""Annotations of hands in datasets, and their validation.

A reader returns an `Annotation` in the common joint order, frame and unit, `check` validates it, and `record.record`
converts it to the stored record. Arrays are float64 of numpy, without JAX, because a build runs one process per core.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as _short

import numpy as np
from jaxtyping import Float, UInt8

from bmc_jax.core import hand, validation

DEPTH_RANGE = (0.02, 10.0)
"""Range of the depth of a joint, metres. A greater depth is probably in millimetres."""
REPROJECTION = 0.2
"""Largest mean distance between projected 3D joints and 2D joints, relative to the longer side of the hand. Manual
labels differ by a few percent; a larger distance indicates another K, joint order, frame or unit."""

SMALLEST_BOX = 4.0
"""Minimum of the longer side of a hand's box, pixels. A smaller hand shows no pose."""

UNLABELLED, OCCLUDED, VISIBLE = 0, 1, 2
"""COCO's visibility of a keypoint."""


class SkipRow(Exception):
    """Raised by a reader for a row without a usable hand. The build counts the reasons."""


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """A hand of a dataset, before it is checked, cropped and mirrored.

    Joints are in FreiHAND order, in the camera frame (x right, y down, z forward), NaN where unknown. Pixels are those
    of the whole image, the centre of the first at (0, 0).
    """

    where: str
    """File and row, for messages."""
    source: str
    """Name of the dataset."""
    id: str
    """Identifier of the hand within its dataset."""
    image: Path | UInt8[np.ndarray, "height width 3"]
    intrinsics: np.ndarray
    """K, `[3, 3]`, pixels."""
    image_size: tuple[int, int] | None = None
    """(width, height) to which K and the pixels refer; an image of another size is refused. For an image with an EXIF
    orientation, it determines whether they refer to the upright or the stored image (see `images.read`). None if
    unknown."""
    left: bool = False
    """Whether it is a left hand."""
    joints_3d: np.ndarray | None = None
    """`[21, 3]` metres; None if none is known."""
    joints_2d: np.ndarray | None = None
    """`[21, 2]` pixels; None to take them from the 3D joints."""
    visibility: np.ndarray | None = None
    """`[21]` of `UNLABELLED`, `OCCLUDED`, `VISIBLE`; None if unknown, which counts as visible."""
    scale: float | None = None
    """Metres, length of the bone from middle MCP to middle PIP; None to take it from the joints."""
    box: tuple[float, float, float, float] | None = None
    """(left, top, right, bottom) of the hand, pixels; None to take it from the 2D joints."""
    left_out: tuple[str, ...] = ()
    """Reasons for which labels of the dataset are left out. The build counts the hands of each."""


@dataclass(frozen=True)
class DatasetInfo:
    """Description of a dataset, for `bmc data list` and for the summary of its build."""

    what: str
    """Images, hands and labels in one line."""
    needs: str
    """Files and folders under `--source`."""
    licence: str
    address: str
    """Web page of the dataset."""


@dataclass(frozen=True)
class Checked:
    """Plausible labels of an annotation, the result of `check`: float64, without None."""

    intrinsics: np.ndarray
    """`[3, 3]` pixels."""
    joints_2d: np.ndarray
    """`[21, 2]` pixels of the whole image; 0 where unlabelled."""
    visibility: np.ndarray
    """`[21]` of `UNLABELLED`, `OCCLUDED`, `VISIBLE`."""
    joints_3d: np.ndarray
    """`[21, 3]` metres; 0 where unknown."""
    joints_3d_valid: np.ndarray
    """`[21]`."""
    scale: float
    """Metres; 0 where unknown."""
    box: tuple[float, float, float, float]
    """(left, top, right, bottom), pixels of the whole image."""


def check(annotation: Annotation) -> Checked:
    """Checks an annotation and returns its labels, including those that are derived from others.

    Raises:
      ValueError: naming file, row, value and remedy, for a K that is not that of a camera, for joints that are behind
        the camera, in millimetres, infinite, in another order, or do not project onto the 2D joints, and for a box
        below `SMALLEST_BOX`.
    """
    intrinsics = _intrinsics(annotation)
    joints_3d, joints_3d_valid = _joints_3d(annotation)
    joints_2d, visibility = _joints_2d(annotation, intrinsics, joints_3d, joints_3d_valid)
    checked = Checked(
        intrinsics=intrinsics,
        joints_2d=joints_2d,
        visibility=visibility,
        joints_3d=joints_3d,
        joints_3d_valid=joints_3d_valid,
        scale=_scale(annotation, joints_3d, joints_3d_valid),
        box=_box(annotation, joints_2d, visibility),
    )
    _compare(annotation.where, checked)
    return checked


def find_image(name: object, folders: Iterable[Path], where: str) -> Path:
    """Returns the path of an image in the first folder that contains it. Separators of the name are `/` or `\\`.

    Raises:
      FileNotFoundError: if no folder contains it.
      ValueError: for a name that is not a path below a folder.
    """
    parts = name.replace("\\", "/").split("/") if isinstance(name, str) else []
    if not any(parts) or "\0" in str(name):
        raise ValueError(f"{where}: file_name: expected the path of an image, got {name!r}; correct it")
    if not parts[0] or parts[0].endswith(":") or ".." in parts:
        raise ValueError(
            f"{where}: file_name: expected a path below the folder of the images, got {name!r}; write it relative to "
            "that folder, and give the folder as --images"
        )
    files = [folder.joinpath(*parts) for folder in folders]
    for file in files:
        if os.path.isfile(file):
            return file
    raise FileNotFoundError(
        f"{where}: expected an image {' or '.join(map(str, files))}, got no such file; give its folder as --images"
    )


def listed_size(image: Mapping[str, object], where: str) -> tuple[int, int]:
    """Returns `width` and `height` of an image in a COCO file.

    Raises:
      ValueError: if they are not positive whole numbers.
    """
    width, height = sides = (image.get("width"), image.get("height"))
    if not all(isinstance(side, int | float) and 0 < side < 2**31 and side == int(side) for side in sides):
        raise ValueError(
            f"{where}: expected the image's width and height in pixels, got {_short(width)} and {_short(height)}; "
            "correct them"
        )
    return int(width), int(height)  # pyright: ignore[reportArgumentType]


def project(
    joints: Float[np.ndarray, "*batch 3"], intrinsics: Float[np.ndarray, "*#batch 3 3"]
) -> Float[np.ndarray, "*batch 2"]:
    """Projects points in front of the camera to pixels, in float64."""
    homogeneous = np.einsum("...ij,...j->...i", np.asarray(intrinsics, np.float64), joints)
    return homogeneous[..., :2] / homogeneous[..., 2:]


def _intrinsics(annotation: Annotation) -> np.ndarray:
    intrinsics = np.array(annotation.intrinsics, np.float64)
    camera = intrinsics.shape == (3, 3) and np.isfinite(intrinsics).all() and np.array_equal(intrinsics[2], [0, 0, 1])
    if not camera or intrinsics[0, 0] <= 0 or intrinsics[1, 1] <= 0:
        raise ValueError(
            f"{annotation.where}: K: expected [[fx, s, cx], [0, fy, cy], [0, 0, 1]] in pixels with positive focal "
            f"lengths, got {str(intrinsics.tolist())[:120]}; correct it"
        )
    return intrinsics


def _known(joints: np.ndarray, where: str, axes: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns 2D or 3D joints in float64, and the mask of those that are not NaN."""
    joints = np.array(joints, np.float64)
    if joints.shape != (hand.NUM_JOINTS, axes):
        raise ValueError(
            f"{where}: expected {axes}D joints [{hand.NUM_JOINTS}, {axes}] of a hand, got the shape "
            f"{list(joints.shape)}; correct them"
        )
    return joints, np.logical_not(np.isnan(joints).any(axis=-1))


def _joints_3d(annotation: Annotation) -> tuple[np.ndarray, np.ndarray]:
    """Returns the joints in metres, 0 where unknown, and the mask of known ones."""
    where = annotation.where
    if annotation.joints_3d is None:
        return np.zeros((hand.NUM_JOINTS, 3)), np.zeros(hand.NUM_JOINTS, bool)
    joints, valid = _known(annotation.joints_3d, where, 3)
    if not np.isfinite(joints[valid]).all():
        raise ValueError(f"{where}: expected finite 3D joints, got an infinite one; leave this entry out")
    for number in np.flatnonzero(valid):
        depth = joints[number, 2]
        if depth <= 0:
            raise ValueError(
                f"{where}: {hand.JOINTS[number]}: expected a depth above 0, got {depth:.4g} m, behind the camera; give "
                "z forward"
            )
        if not DEPTH_RANGE[0] <= depth <= DEPTH_RANGE[1]:
            raise ValueError(
                f"{where}: {hand.JOINTS[number]}: expected a depth in {DEPTH_RANGE} m, got {depth:.4g}; give "
                "metres: divide millimetres by 1000"
            )
    palm = [hand.WRIST, hand.MIDDLE_MCP]
    if valid[palm].all():
        length = float(np.linalg.norm(joints[palm[1]] - joints[palm[0]]))
        low, high = validation.PALM_LENGTH
        if not low <= length <= high:
            raise ValueError(
                f"{where}: expected a distance of {low} to {high} m from the wrist to the middle MCP, got "
                f"{length:.4g}; check that the joint order is FreiHAND's and the unit metres"
            )
    return np.where(valid[:, None], joints, 0.0), valid


def _joints_2d(
    annotation: Annotation, intrinsics: np.ndarray, joints_3d: np.ndarray, joints_3d_valid: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the joints in pixels of the whole image, 0 where unlabelled, and their visibility."""
    where = annotation.where
    if annotation.joints_2d is None:
        joints = np.zeros((hand.NUM_JOINTS, 2))
        joints[joints_3d_valid] = project(joints_3d[joints_3d_valid], intrinsics)
        known = joints_3d_valid
    else:
        joints, known = _known(annotation.joints_2d, where, 2)
    visibility = np.full(hand.NUM_JOINTS, VISIBLE, np.uint8)
    if annotation.visibility is not None:
        visibility = np.array(annotation.visibility, np.uint8)
    visibility[~known] = UNLABELLED
    labelled = visibility > 0
    if not np.isfinite(joints[labelled]).all():
        raise ValueError(f"{where}: expected finite 2D joints, got an infinite one; leave this entry out")
    return np.where(labelled[:, None], joints, 0.0), visibility


def _box(annotation: Annotation, joints_2d: np.ndarray, visibility: np.ndarray) -> tuple[float, float, float, float]:
    labelled = visibility > 0
    if annotation.box is not None:
        left, top, right, bottom = (float(edge) for edge in annotation.box)
    elif labelled.any():
        (left, top), (right, bottom) = joints_2d[labelled].min(axis=0), joints_2d[labelled].max(axis=0)
    else:
        raise ValueError(f"{annotation.where}: expected a labelled joint or a box, got neither; leave this entry out")
    found = f"{left:g}, {top:g}, {right:g}, {bottom:g} (left, top, right, bottom)"
    if not np.isfinite([left, top, right, bottom]).all() or not max(right - left, bottom - top) > 0:
        raise ValueError(f"{annotation.where}: box: expected a positive size, got {found}; give the corners in pixels")
    if max(right - left, bottom - top) < SMALLEST_BOX:
        raise ValueError(
            f"{annotation.where}: box: expected {SMALLEST_BOX:g} pixels or more on the longer side, got {found}; check "
            "that it is in pixels, or leave this entry out"
        )
    return left, top, right, bottom


def _compare(where: str, checked: Checked) -> None:
    """Raises ValueError if the 3D joints project far from the 2D joints."""
    both = (checked.visibility > 0) & checked.joints_3d_valid
    if not both.any():
        return
    labels, (left, top, right, bottom) = checked.joints_2d[both], checked.box
    error = np.linalg.norm(project(checked.joints_3d[both], checked.intrinsics) - labels, axis=-1).mean()
    extent = max(np.ptp(labels, axis=0).max(), right - left, bottom - top)
    if error > REPROJECTION * extent:
        raise ValueError(
            f"{where}: expected 3D joints that project onto the 2D joints, got a mean distance of {error:.1f} px for a "
            f"hand of {extent:.0f} px; correct K, the joint order, the frame (x right, y down, z forward) or the side"
        )


def _scale(annotation: Annotation, joints_3d: np.ndarray, joints_3d_valid: np.ndarray) -> float:
    """Returns the scale in metres, 0 if unknown."""
    ends = list(hand.SCALE_BONE)
    if annotation.scale is not None:
        scale = float(annotation.scale)
    elif joints_3d_valid[ends].all():
        scale = float(np.linalg.norm(joints_3d[ends[1]] - joints_3d[ends[0]]))
    else:
        return 0.0
    low, high = validation.SHORTEST_SCALE_BONE, validation.PALM_LENGTH[1]
    if not low <= scale <= high:
        raise ValueError(
            f"{annotation.where}: scale, from middle MCP to middle PIP: expected {low} to {high} m, got {scale:.4g}; "
            "give it in metres"
        )
    return scale
