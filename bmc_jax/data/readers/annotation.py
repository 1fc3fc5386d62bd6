"""The annotation of a hand in a dataset, and its validation.

A reader returns an `Annotation` in the common joint order, frame and unit, `check` validates it, and `record.record`
makes the stored record. All are numpy in float64 and need no JAX, because a build runs one process a core.
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
"""Metres from the camera that a hand may have. A greater depth is in millimetres."""
REPROJECTION = 0.2
"""Largest mean distance between projected 3D joints and 2D joints, over the longer side of the hand. Labels made by
hand differ by a few percent; a larger distance means another K, joint order, frame or unit."""

SMALLEST_BOX = 4.0
"""Pixels of the longer side of a hand's box, below which an image shows no pose."""

UNLABELLED, OCCLUDED, VISIBLE = 0, 1, 2
"""COCO's visibility of a keypoint."""


class SkipRow(Exception):
    """Raised by a reader for a row that has no hand to learn from. The build counts the reasons."""


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """A hand as its dataset gives it, before it is checked, cropped and mirrored.

    Joints are in FreiHAND order, in the camera's frame x right, y down, z forward, NaN where unknown. Pixels are those
    of the whole image, the centre of the first at (0, 0).
    """

    where: str
    """File and row, for messages."""
    source: str
    """Name of the dataset."""
    id: str
    """Identifies the hand within its dataset."""
    image: Path | UInt8[np.ndarray, "height width 3"]
    intrinsics: np.ndarray
    """K, `[3, 3]`, pixels."""
    image_size: tuple[int, int] | None = None
    """(width, height) that K and the pixels are for; an image of another size is refused. It decides whether they are
    for the upright or the stored image where that has an EXIF orientation, see `images.read`. None if unknown."""
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
    """Reasons for which labels of the dataset are not among these. The build counts the hands of each."""


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
    """Labels of an annotation that `check` found plausible, in float64, without None."""

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
    """Returns the annotation's labels, with those that can be derived from others filled in.

    Raises:
      ValueError: naming file, row, value and remedy, for K that is no camera's, joints behind the camera, in
        millimetres, infinite, in another order, or that do not project onto the 2D joints, and for a box below
        `SMALLEST_BOX`.
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
    """Returns the image with this name, with `/` or `\\` as separator, in the first of the folders that has it.

    Raises:
      FileNotFoundError: if none of them has it.
      ValueError: for a name that is no path below a folder.
    """
    parts = name.replace("\\", "/").split("/") if isinstance(name, str) else []
    if not any(parts) or "\0" in str(name):
        raise ValueError(f"{where} has the file_name {name!r}; it must be the path of an image")
    if not parts[0] or parts[0].endswith(":") or ".." in parts:
        raise ValueError(
            f"{where} has the file_name {name!r}, which leaves the folder of the images; write it relative to that "
            "folder, and give the folder as --images"
        )
    files = [folder.joinpath(*parts) for folder in folders]
    for file in files:
        if os.path.isfile(file):
            return file
    raise FileNotFoundError(f"{where}: there is no image {' nor '.join(map(str, files))}; give its folder as --images")


def listed_size(image: Mapping[str, object], where: str) -> tuple[int, int]:
    """Returns `width` and `height` of an image in a COCO file.

    Raises:
      ValueError: if they are not positive whole numbers.
    """
    width, height = sides = (image.get("width"), image.get("height"))
    if not all(isinstance(side, int | float) and 0 < side < 2**31 and side == int(side) for side in sides):
        raise ValueError(
            f"{where}: its image has the width {_short(width)} and height {_short(height)}; they must be its pixels"
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
            f"{annotation.where}: K is {str(intrinsics.tolist())[:120]}; it must be [[fx, s, cx], [0, fy, cy], "
            "[0, 0, 1]] in pixels with positive focal lengths"
        )
    return intrinsics


def _known(joints: np.ndarray, where: str, axes: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns 2D or 3D joints in float64, and which are not NaN."""
    joints = np.array(joints, np.float64)
    if joints.shape != (hand.NUM_JOINTS, axes):
        raise ValueError(
            f"{where}: {axes}D joints of shape {list(joints.shape)}; a hand has [{hand.NUM_JOINTS}, {axes}]"
        )
    return joints, np.logical_not(np.isnan(joints).any(axis=-1))


def _joints_3d(annotation: Annotation) -> tuple[np.ndarray, np.ndarray]:
    """Returns the joints in metres, 0 where unknown, and which are known."""
    where = annotation.where
    if annotation.joints_3d is None:
        return np.zeros((hand.NUM_JOINTS, 3)), np.zeros(hand.NUM_JOINTS, bool)
    joints, valid = _known(annotation.joints_3d, where, 3)
    if not np.isfinite(joints[valid]).all():
        raise ValueError(f"{where}: a 3D joint is infinite; leave this entry out")
    for number in np.flatnonzero(valid):
        depth = joints[number, 2]
        if depth <= 0:
            raise ValueError(
                f"{where}: the {hand.JOINTS[number]} is at depth {depth:.4g} m, behind the camera; z must point forward"
            )
        if not DEPTH_RANGE[0] <= depth <= DEPTH_RANGE[1]:
            raise ValueError(
                f"{where}: the {hand.JOINTS[number]} is at depth {depth:.4g} m, outside {DEPTH_RANGE}; metres are "
                "expected: millimetres must be divided by 1000"
            )
    palm = [hand.WRIST, hand.MIDDLE_MCP]
    if valid[palm].all():
        length = float(np.linalg.norm(joints[palm[1]] - joints[palm[0]]))
        low, high = validation.PALM_LENGTH
        if not low <= length <= high:
            raise ValueError(
                f"{where}: from the wrist to the middle MCP it is {length:.4g} m, no hand's {low}-{high} m; is the "
                "joint order FreiHAND's, and the unit metres?"
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
        raise ValueError(f"{where}: a 2D joint is infinite; leave this entry out")
    return np.where(labelled[:, None], joints, 0.0), visibility


def _box(annotation: Annotation, joints_2d: np.ndarray, visibility: np.ndarray) -> tuple[float, float, float, float]:
    labelled = visibility > 0
    if annotation.box is not None:
        left, top, right, bottom = (float(edge) for edge in annotation.box)
    elif labelled.any():
        (left, top), (right, bottom) = joints_2d[labelled].min(axis=0), joints_2d[labelled].max(axis=0)
    else:
        raise ValueError(f"{annotation.where}: neither a joint nor a box says where the hand is; leave this entry out")
    if not np.isfinite([left, top, right, bottom]).all() or not max(right - left, bottom - top) > 0:
        raise ValueError(
            f"{annotation.where}: the hand's box is {left:g}, {top:g}, {right:g}, {bottom:g} (left, top, right, "
            "bottom), which has no size; give its corners in pixels"
        )
    if max(right - left, bottom - top) < SMALLEST_BOX:
        raise ValueError(
            f"{annotation.where}: the hand's box is {left:g}, {top:g}, {right:g}, {bottom:g} (left, top, right, "
            f"bottom), smaller than {SMALLEST_BOX:g} pixels; see that it is in pixels, or leave this entry out"
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
            f"{where}: the 3D joints project {error:.1f} px beside the 2D joints of a hand of {extent:.0f} px; K, the "
            "joint order, the frame (x right, y down, z forward) or the hand's side is another than stated"
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
            f"{annotation.where}: the scale, from middle MCP to middle PIP, is {scale:.4g} m, no bone's "
            f"{low}-{high} m; metres are expected"
        )
    return scale
