"""Hands in pictures with their landmarks and cameras, and their lifting to 3D. Left hands are lifted as right hands."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bmc_jax.core import hand
from bmc_jax.core.choices import FOCAL
from bmc_jax.core.types import Limits
from bmc_jax.inference import requests
from bmc_jax.inference.requests import Request
from bmc_jax.poses import lifting
from bmc_jax.poses.lifting import Landmarks

ASSUMED = f"assumed: focal length {FOCAL:g} x the longer image side, principal point in the middle"


@dataclass(frozen=True)
class Camera:
    """Options for the camera of all images whose file does not state K."""

    intrinsics: Sequence[float | int] | None = None
    """(fx, fy, cx, cy), pixels."""
    field_of_view: float | int | None = None
    """Degrees along the longer image side."""

    def __post_init__(self) -> None:
        if self.intrinsics is not None and self.field_of_view is not None:
            raise ValueError("expected intrinsics or a field of view, got both; give one of them")
        if self.intrinsics is not None and not (len(self.intrinsics) == 4 and min(self.intrinsics[:2]) > 0):
            raise ValueError(f"expected fx, fy, cx, cy with positive focal lengths, got {list(self.intrinsics)}")
        if self.field_of_view is not None and not 1 <= self.field_of_view <= 170:
            raise ValueError(f"expected a field of view from 1 to 170 degrees, got {self.field_of_view:g}")

    def matrix(self, size: tuple[int, int], exif: float | None) -> tuple[np.ndarray, str]:
        """Returns K and its origin.

        Args:
          size: (width, height) of the image.
          exif: focal length from the image's EXIF in pixels, None without one.
        """
        width, height = size
        if self.intrinsics is not None:
            fx, fy, cx, cy = self.intrinsics
            return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64), requests.GIVEN
        focal, source = FOCAL * max(size), ASSUMED
        if self.field_of_view is not None:
            focal = max(size) / 2 / math.tan(math.radians(self.field_of_view) / 2)
            source = f"given: {self.field_of_view:g} degrees along the longer image side"
        elif exif:
            focal, source = exif, "focal length of the image's EXIF, principal point in the middle"
        return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]]), source


@dataclass(frozen=True)
class SeenHand:
    """A hand in a picture with its landmarks, in pixels; an `outputs.View`."""

    request: Request
    size: tuple[int, int]
    intrinsics: np.ndarray
    intrinsics_from: str
    landmarks: Landmarks
    """Landmarks of this hand, `[21, ...]`."""
    frame: int = 0

    @property
    def box(self) -> tuple[float, float, float, float]:
        low, high = self.landmarks.pixels.min(axis=0), self.landmarks.pixels.max(axis=0)
        return (float(low[0]), float(low[1]), float(high[0]), float(high[1]))


@dataclass(frozen=True)
class Result:
    """Lifted hands on the host. Left hands are not mirrored."""

    joints: np.ndarray
    """`[n, 21, 3]`, scale units, camera frame."""
    deviation: np.ndarray
    """`[n, 21]`, scale units, see `lifting.Lifted`."""
    moved: np.ndarray
    """`[n]`: mean distance by which repair moved the joints, scale units."""
    depth: str
    """Origin of the depth."""
    repair: str
    """Direction in which repair moves joints."""
    metres: np.ndarray | None = None
    """Length of the scale bone of each hand in metres, `[n]`, if known."""


def in_3d(
    seen: Sequence[SeenHand], limits: Limits, *, smooth: float | int | None = None, frames: int | None = None
) -> Result:
    """Lifts hands, grouped by their kind of landmarks; see `lifting.lift`.

    Args:
      seen: one or more hands. Left hands are mirrored before lifting, and mirrored back.
      limits: limits of a right hand.
      smooth: see `lifting.lift_hands`; it needs at most one hand of each side per frame.
      frames: number of frames of the sequence.

    Raises:
      ValueError: if a frame of a smoothed sequence has two hands of one side.
    """
    joints, moved = np.full((len(seen), hand.NUM_JOINTS, 3), np.nan), np.full(len(seen), np.nan)
    deviation = np.full((len(seen), hand.NUM_JOINTS), np.nan)
    groups: dict[tuple[bool, bool, bool], list[int]] = {}
    for i, one in enumerate(seen):
        of_side = smooth is not None and one.request.left
        groups.setdefault((one.landmarks.z is not None, one.landmarks.world is not None, of_side), []).append(i)
    for (has_z, has_world, _), rows in groups.items():
        hands = [seen[i] for i in rows]
        left = np.array([one.request.left for one in hands])
        landmarks, k = _as_right(hands, left, has_z, has_world)
        places = np.arange(len(rows))
        if smooth is not None:
            places = np.array([one.frame for one in hands])
            landmarks, k = _in_frames(landmarks, k, places, frames or 0)
        lifted = lifting.lift_hands(landmarks, k, limits, smooth=smooth)
        joints[rows] = hand.mirror(np.asarray(lifted.joints, np.float64)[places], left)
        deviation[rows] = lifted.deviation[places]
        moved[rows] = np.linalg.norm(lifted.joints - lifted.estimate, axis=-1).mean(axis=-1)[places]
    kinds = sorted({_DEPTHS[has_z, has_world] for has_z, has_world, _ in groups})
    return Result(joints, deviation, moved, " or ".join(kinds), "along the viewing rays")


_DEPTHS = {
    (False, False): "the lifting network",
    (True, False): "the lifting network and the landmarks' z",
    (False, True): "the lifting network and the world landmarks",
    (True, True): "the lifting network, the landmarks' z and the world landmarks",
}


def _as_right(
    hands: Sequence[SeenHand], left: np.ndarray, has_z: bool, has_world: bool
) -> tuple[Landmarks, np.ndarray]:
    """Returns the landmarks of the hands as right hands, and K of each."""
    pixels = np.stack([np.asarray(one.landmarks.pixels, np.float64) for one in hands])
    k = np.stack([np.asarray(one.intrinsics, np.float64) for one in hands])
    last = np.array([one.size[0] - 1 for one in hands])
    pixels[left, :, 0] = last[left, None] - pixels[left, :, 0]
    k[left, 0, 2] = last[left] - k[left, 0, 2]
    k[left, 0, 1] *= -1
    k[left, 1, 0] *= -1
    z = np.stack([np.asarray(one.landmarks.z) for one in hands]) if has_z else None
    world = hand.mirror(np.stack([np.asarray(one.landmarks.world) for one in hands]), left) if has_world else None
    return Landmarks(pixels, z, world), k


def _in_frames(landmarks: Landmarks, k: np.ndarray, places: np.ndarray, frames: int) -> tuple[Landmarks, np.ndarray]:
    """Returns landmarks and K with a row for each frame, NaN for frames without a hand."""
    if len(set(places.tolist())) < len(places):
        raise ValueError(
            "expected at most one left and one right hand in each frame of a sequence, got two of a side; omit the "
            "smoothing, or give the frames of one hand"
        )
    count = max(frames, int(places.max()) + 1)

    def placed(rows: np.ndarray) -> np.ndarray:
        found = np.full((count, *rows.shape[1:]), np.nan)
        found[places] = rows
        return found

    cameras = np.tile(np.eye(3), (count, 1, 1))
    cameras[places] = k
    return Landmarks(*(None if part is None else placed(np.asarray(part)) for part in landmarks)), cameras
