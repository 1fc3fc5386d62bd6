"""Reading of hands from a file of landmarks or 3D joints, with the picture, side and camera of each."""

import dataclasses
import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bmc_jax.core import hand, validation
from bmc_jax.core.types import Limits
from bmc_jax.data import images as pictures
from bmc_jax.data import pose_files
from bmc_jax.data.pose_files import landmarks as landmark_files
from bmc_jax.data.pose_files.landmarks import LandmarkHand
from bmc_jax.data.readers import coco_hand
from bmc_jax.data.readers.annotation import find_image
from bmc_jax.inference.requests import Request
from bmc_jax.inference.seen import Camera, Result, SeenHand
from bmc_jax.poses import conventions, repair
from bmc_jax.poses.lifting import Landmarks

VIRTUAL = "a virtual camera, because 3D joints have no picture"
VIRTUAL_SIZE, VIRTUAL_FOCAL, VIRTUAL_DISTANCE = 512, 2.0, 0.6
"""Image size in pixels, focal length in image widths, and distance in metres of the virtual camera."""


@dataclass(frozen=True)
class FileHands:
    """The hands of a file."""

    seen: list[SeenHand]
    frames: int
    notes: tuple[str, ...] = ()
    left_out: list[tuple[Path, str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Pictures:
    """Folders and properties of the pictures of landmarks."""

    path: Path
    """The file of landmarks."""
    folders: list[Path]
    required: bool
    listed: dict[str, dict[str, Any]] | None
    """Images of a COCO file, by their ids."""
    size: tuple[int, int] | None
    camera: Camera


def read(
    path: Path,
    *,
    order: str | None,
    side: str | None,
    camera: Camera,
    size: tuple[int, int] | None,
    images: str | os.PathLike[str] | None,
    image_ids: str | os.PathLike[str] | None,
) -> FileHands | None:
    """Returns the hands in a file of landmarks, None if it has 3D joints; see `lift.lift_file`."""
    found = landmark_files.read(path, order=order)
    if found is None:
        return None
    listed = None
    if image_ids is not None:
        listed = {str(image.get("id")): image for image in coco_hand.load(Path(image_ids))["images"]}
    folders = [path.parent / "images", path.parent] if images is None else [Path(images)]
    places = _Pictures(path, folders, images is not None, listed, size, camera)
    sides, notes = _sides(found.hands, side, path)
    seen = [_seen(one, left, places) for one, left in zip(found.hands, sides, strict=True)]
    left_out = [(Path(file), why) for file, why in found.left_out]
    return FileHands(seen, found.frames, (*found.notes, *notes), left_out)


def _seen(one: LandmarkHand, left: bool, places: _Pictures) -> SeenHand:
    """Returns a hand with its picture, camera and landmarks in pixels."""
    one = one if places.listed is None else _listed(one, places.listed, places.path)
    file, size, focal = _picture(one, places)
    if size is None:
        raise ValueError(
            f"{places.path}: expected the size of the images, got none; give --size WIDTH,HEIGHT, or the folder of the "
            "pictures as --images"
        )
    pixels, z = one.pixels, one.z
    if one.shares:
        pixels, z = pixels * size - 0.5, None if z is None else z * size[0]
    if one.intrinsics is None:
        intrinsics, source = places.camera.matrix(size, focal)
    else:
        intrinsics, source = one.intrinsics, "K in the file"
    request = Request(file, left, box_from="around the landmarks")
    return SeenHand(request, size, intrinsics, source, Landmarks(pixels, z, one.world), one.frame)


def _listed(one: LandmarkHand, listed: dict[str, dict[str, Any]], path: Path) -> LandmarkHand:
    """Returns a hand with the listed image of its id."""
    image = listed.get(str(one.id))
    if image is None:
        raise ValueError(
            f"{path}: {one.where}: expected an image id in the file of --image-ids, got {one.id}; give the file of "
            "these images"
        )
    k = image.get("K") if one.intrinsics is None else one.intrinsics
    k = None if k is None else np.array(k, np.float64)
    size = coco_hand.listed_size(image, one.where)
    return dataclasses.replace(one, image=image.get("file_name"), size=size, intrinsics=k)


def _picture(one: LandmarkHand, places: _Pictures) -> tuple[Path, tuple[int, int] | None, float | None]:
    """Returns the picture of a hand or the file of landmarks, (width, height), and the focal length of the EXIF."""
    stated = one.size or places.size
    if one.image is None:
        return places.path, stated, None
    try:
        file = find_image(one.image, places.folders, one.where)
    except FileNotFoundError:
        if places.required:
            raise
        return Path(one.image), stated, None
    size, focal = _opened(file)
    if stated not in (None, size):
        raise ValueError(
            f"{one.where}: expected {file} with {stated[0]}x{stated[1]} pixels, the size for the landmarks, got "
            f"{size[0]}x{size[1]}; give the image of the landmarks"
        )
    return file, size, focal


@functools.lru_cache(maxsize=1)
def _opened(file: Path) -> tuple[tuple[int, int], float | None]:
    picture = pictures.read(file)
    return picture.image.size, picture.focal


def read_poses(
    path: Path, *, order: str | None, side: str | None, limits: Limits, smooth: float | int | None
) -> tuple[FileHands, Result]:
    """Returns the hands in a file of 3D joints, repaired without a picture, in front of a virtual camera."""
    given = pose_files.read(path)
    stated = {"order": order or given.order, "unit": given.unit, "side": side, "left": given.left}
    poses = conventions.convert(given.joints, str(path), **stated, frames=given.frames, allowed=limits)
    repaired = repair.repair_poses(poses.joints, limits, smooth=smooth)
    rows = poses.present
    joints = hand.mirror(np.asarray(repaired.joints, np.float64)[rows], poses.mirrored[rows])
    placed = joints - joints.mean(axis=1, keepdims=True) + [0, 0, VIRTUAL_DISTANCE]
    middle, focal = (VIRTUAL_SIZE - 1) / 2, VIRTUAL_FOCAL * VIRTUAL_SIZE
    k = np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1]])
    pixels = placed[..., :2] / placed[..., 2:] * focal + middle
    size, left = (VIRTUAL_SIZE, VIRTUAL_SIZE), poses.mirrored[rows].tolist()
    seen = [
        SeenHand(Request(path, of_left, box_from="around the joints"), size, k, VIRTUAL, Landmarks(points), int(row))
        for row, points, of_left in zip(rows, pixels, left, strict=True)
    ]
    start, end = hand.SCALE_BONE
    metres = np.linalg.norm(joints[:, end] - joints[:, start], axis=-1)
    result = Result(
        joints=placed / metres[:, None, None],
        deviation=np.full(pixels.shape[:2], np.nan),
        moved=np.asarray(repaired.moved)[rows] / metres,
        depth="the given joints",
        repair="in any direction",
        metres=metres,
    )
    gaps = [(path, f"pose {row} has missing joints") for row in poses.gaps]
    gaps += [(path, f"pose {row} does not have the size of a hand") for row in poses.impossible]
    return FileHands(seen, len(poses.joints), (*given.notes, *map(str, poses.findings)), gaps), result


def _sides(hands: Sequence[LandmarkHand], side: str | None, path: Path) -> tuple[list[bool], list[str]]:
    """Returns which hands are left hands, and the evidence for sides that were detected.

    For hands whose side the file does not state, it is `side`, or detected from the thumbs. If the thumbs of nearly all
    hands agree, all are assigned this side, because the landmarks of the others are probably wrong.
    """
    known = [one.left for one in hands]
    unknown = [i for i, left in enumerate(known) if left is None]
    if not unknown or side is not None:
        return [side == "left" if left is None else left for left in known], []
    with_depth = [i for i in unknown if hands[i].world is not None or hands[i].z is not None]
    if len(with_depth) < len(unknown):
        raise ValueError(f"{path}: expected the side of its 2D hands, got none; give --side right or --side left")
    thumbs = validation.thumb_side(np.stack([_in_depth(hands[i]) for i in with_depth]))
    shares = {"right": np.mean(thumbs > validation.UNDECIDED), "left": np.mean(thumbs < -validation.UNDECIDED)}
    found = max(shares, key=lambda name: shares[name])
    if shares[found] == 0:
        raise ValueError(f"{path}: the thumbs do not show the side of the hands; give --side right or --side left")
    one_side = shares[found] >= conventions.MIN_SUPPORT
    for i, thumb in zip(with_depth, thumbs, strict=True):
        known[i] = found == "left" if one_side or abs(thumb) < validation.UNDECIDED else bool(thumb < 0)
    words = f"all {found} hands" if one_side else "sides by each hand's thumb"
    evidence = (
        f"{words} (detected): {100 * shares[found]:.0f} % of {len(thumbs):,} hands have the thumb of a {found} hand"
    )
    return [bool(left) for left in known], [evidence]


def _in_depth(one: LandmarkHand) -> np.ndarray:
    if one.world is not None:
        return one.world
    assert one.z is not None
    return np.concatenate([one.pixels, one.z[:, None]], axis=1)
