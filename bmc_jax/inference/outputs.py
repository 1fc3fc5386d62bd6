"""Files of predicted hands, JSON, CSV or NPZ, in a folder that is written atomically."""

import contextlib
import csv
import importlib.util
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from bmc_jax.core import hand, validation
from bmc_jax.core.choices import PREDICTION_FORMATS
from bmc_jax.core.types import Limits
from bmc_jax.inference import requests
from bmc_jax.inference.requests import Request
from bmc_jax.limits import checking
from bmc_jax.limits.checking import Assessment
from bmc_jax.limits.io import PALM_PAIRS
from bmc_jax.runtime import files
from bmc_jax.training.forward import Trained

#: Names of the files in a folder of predictions; --force replaces no other folders.
NAMES = {
    *("joints.json", "joints.npz", "hands.csv", "joints.csv", "angles.csv", "left_out.csv"),
    *("overlays", "page.html", "video.mp4", "angles.png", "hands.rrd"),
}
RECORDING = "rrd"
"""Format of the Rerun viewer, in addition to `PREDICTION_FORMATS`; written by `recording`."""
VIDEO = ("frame", "time", "followed")
"""Additional fields of the hands of a video."""
PALM = 0.092
"""Metres from wrist to middle MCP of an adult's hand, which determine the scale if none is given.

The median of RHD's 2,728 evaluation hands is 0.091, the mean of the rendered hands 0.094. The same length in scale
units is in the checkpoint's limits: datasets place the MCP joint differently, so the scale bone is 0.030 to 0.045 m
long.
"""


@runtime_checkable
class View(Protocol):
    """A hand's picture, its position in it, and the camera; see `hand_crop.HandCrop`."""

    @property
    def request(self) -> Request: ...
    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def box(self) -> tuple[float, float, float, float]: ...
    @property
    def intrinsics(self) -> np.ndarray: ...
    @property
    def intrinsics_from(self) -> str: ...


def require_one_size(views: Sequence[View]) -> None:
    """Raises ValueError if one K is given for all images and these have different sizes."""
    given = [view for view in views if view.intrinsics_from == requests.GIVEN]
    for view in given:
        if view.size != given[0].size:
            sizes = " and ".join(f"{one.request.file} of {one.size[0]}x{one.size[1]}" for one in (given[0], view))
            raise ValueError(f"the given K is for images of one size, got {sizes} pixels; process them separately")


@dataclass(frozen=True)
class PredictedHands:
    """Predicted hands in the frames of their pictures."""

    views: Sequence[View]
    joints_2d: np.ndarray
    """Pixels of the pictures `[n, 21, 2]`."""
    joints_3d: np.ndarray
    """Scale units, camera frame, `[n, 21, 3]`."""
    assessment: Assessment
    scale: float | np.ndarray
    """Length of the scale bone in metres: of all hands, or of each `[n]`."""
    scale_from: str
    deviation: np.ndarray | None = None
    """Standard deviation of the depth of each joint relative to the wrist, scale units `[n, 21]`; NaN if it is not
    predicted."""
    frames: Sequence[int] | None = None
    """Number of each hand's frame in a video; by default consecutive frames."""
    times: Sequence[float] | None = None
    """Time of each hand's frame in a video, seconds."""
    followed: Sequence[bool] | None = None
    """Whether the box is from the hand in the previous frame of a video."""

    @property
    def joints_metres(self) -> np.ndarray:
        """Metres, camera frame, `[n, 21, 3]`."""
        return self.joints_3d * np.reshape(self.scale, (-1, 1, 1))


def validate(formats: Sequence[str], scale: float | int | None) -> None:
    """Raises ValueError if a format is unknown, its library is not installed, or the scale is no bone's length."""
    known = (*PREDICTION_FORMATS, RECORDING)
    if not formats or not set(formats) <= set(known):
        raise ValueError(f"formats: expected one or more of {', '.join(known)}, got {list(formats)}")
    if RECORDING in formats and importlib.util.find_spec("rerun") is None:
        raise ValueError("recordings for the Rerun viewer need rerun-sdk; pip install 'bmc-jax[rerun]'")
    validate_scale(scale)


def validate_scale(scale: float | int | None) -> None:
    """Raises ValueError if the scale, in metres, is not a possible length of the scale bone."""
    low, high = validation.SHORTEST_SCALE_BONE, validation.PALM_LENGTH[1]
    if scale is not None and not low <= scale <= high:
        raise ValueError(f"scale: expected {low} to {high} m from middle MCP to middle PIP, got {scale:g} m")


def assumed_scale(limits: Limits) -> tuple[float, str]:
    """Returns the length in metres of the scale bone of a hand of average size, and a description of the assumption."""
    low, high = np.asarray(limits.bone_length, np.float64)[hand.FINGERS.index("middle"), 0]
    palm = (low + high) / 2
    return (
        PALM / palm,
        f"assumed: {PALM:g} m from wrist to middle MCP, {palm:.3f} scale bones at the middle of the limits",
    )


def assessed(
    limits: Limits,
    views: Sequence[View],
    joints_2d: np.ndarray,
    joints_3d: np.ndarray,
    scale: float | int | None,
    **further: Any,
) -> PredictedHands:
    """Returns the hands with their scale in metres and their assessment against the limits."""
    metres, words = (scale, "given") if scale is not None else assumed_scale(limits)
    left = np.array([one.request.left for one in views])
    return PredictedHands(
        views, joints_2d, joints_3d, checking.assess(joints_3d, limits, left=left), metres, words, **further
    )


def of_checkpoint(trained: Trained, *, passes: int = 1, turns: int = 1) -> dict[str, Any]:
    """Returns the source of the hands for `to_dict`: a checkpoint and how it was applied."""
    return {
        "checkpoint": {
            "folder": os.fspath(trained.folder),
            "experiment": trained.config.name,
            "step": int(trained.saved["step"]),
        },
        "passes": passes,
        "turns": turns,
    }


def to_dict(
    source: dict[str, Any], limits: Limits, hands: PredictedHands, left_out: Sequence[tuple[Path, str]]
) -> dict[str, Any]:
    """Returns the content of `joints.json` and of the page, with the `source` of the hands; angles in degrees."""
    meta = limits.meta
    return {
        "format": "bmc_jax predictions 1",
        **source,
        "joint_order": hand.JOINT_ORDER,
        "joints": list(hand.JOINTS),
        "conventions": {
            "joints_2d": "pixels of the upright image, the centre of the first pixel at (0, 0)",
            "joints_3d": "metres, camera frame: x right, y down, z forward",
            "joints_3d_scale": "the same in scale units, lengths of the bone from middle MCP to middle PIP",
            "depth_deviation": "standard deviation of the depth relative to the wrist, metres, if it is predicted",
            "intrinsics": "K in pixels of the upright image",
            "box": "left, top, right, bottom, pixels of the upright image",
            "angles": "degrees; flexion > 0 towards the palm, abduction > 0 towards the thumb's side, on both hands",
            "beyond": "distance to the nearest allowed value, 0 within the limits",
            "bone_length, curvature, spread": "scale units, reciprocal scale units, degrees",
        },
        "scale": {"metres": round(float(np.median(hands.scale)), 6), "from": hands.scale_from},
        "limits": {"source": meta.source, "poses": meta.count} | _limits(limits),
        "hands": [_hand(hands, i) for i in range(len(hands.views))],
        "left_out": [{"image": os.fspath(file), "reason": reason} for file, reason in left_out],
    }


def _limits(limits: Limits) -> dict[str, Any]:
    hulls = np.degrees(np.asarray(limits.hull, np.float64)).round(2)
    lengths, spread, curvature = (
        np.asarray(part, np.float64).round(4) for part in (limits.bone_length, limits.spread, limits.curvature)
    )
    return {
        "angles": [
            {
                "finger": finger,
                "joint": hand.TURNING_JOINTS[f][level],
                "bone": hand.LEVELS[level + 1],
                "flexion": [hulls[f, level, :, 0].min(), hulls[f, level, :, 0].max()],
                "abduction": [hulls[f, level, :, 1].min(), hulls[f, level, :, 1].max()],
                "hull": hulls[f, level].tolist(),
            }
            for f, finger in enumerate(hand.FINGERS)
            for level in range(3)
        ],
        "bone_length": [
            {"finger": finger, "bone": bone, "range": lengths[f, b].tolist()}
            for f, finger in enumerate(hand.FINGERS)
            for b, bone in enumerate(hand.LEVELS)
        ],
        "palm": [
            {"between": pair, "spread": np.degrees(spread[i]).round(2).tolist(), "curvature": curvature[i].tolist()}
            for i, pair in enumerate(PALM_PAIRS)
        ],
    }


def _hand(hands: PredictedHands, i: int) -> dict[str, Any]:
    view, request, found = hands.views[i], hands.views[i].request, hands.assessment
    frame: dict[str, Any] = {}
    if hands.times is not None:
        frame = {"frame": i if hands.frames is None else hands.frames[i], "time": round(hands.times[i], 4)}
    if hands.followed is not None:
        frame["followed"] = hands.followed[i]
    metres = float(np.broadcast_to(hands.scale, len(hands.views))[i])
    deviation = {}
    if hands.deviation is not None and np.isfinite(hands.deviation[i]).all():
        deviation = {"depth_deviation": (hands.deviation[i] * metres).round(6).tolist()}
    angles = np.degrees(found.angles[i].astype(np.float64)).reshape(15, 2).round(2)
    return {
        "image": os.fspath(request.file),
        **frame,
        "size": list(view.size),
        "hand": "left" if request.left else "right",
        "box": np.round(view.box, 3).tolist(),
        "box_from": request.box_from,
        "intrinsics": view.intrinsics.round(4).tolist(),
        "intrinsics_from": view.intrinsics_from,
        "joints_2d": hands.joints_2d[i].round(4).tolist(),
        "joints_3d": (hands.joints_3d[i] * metres).round(6).tolist(),
        "joints_3d_scale": hands.joints_3d[i].round(6).tolist(),
        **deviation,
        "within_limits": bool(found.within[i]),
        "angles": [
            {"flexion": flexion, "abduction": abduction, "beyond": beyond}
            for (flexion, abduction), beyond in zip(
                angles.tolist(), np.degrees(found.excess.angles[i]).reshape(15).round(2).tolist(), strict=True
            )
        ],
        "bone_length": _pairs(found.bone_length[i], found.excess.bone_length[i], 4),
        "curvature": _pairs(found.curvature[i], found.excess.curvature[i], 4),
        "spread": _pairs(np.degrees(found.spread[i]), np.degrees(found.excess.spread[i]), 2),
    }


def _pairs(values: np.ndarray, beyond: np.ndarray, digits: int) -> list[dict[str, float]]:
    both = [np.asarray(part, np.float64).reshape(-1).round(digits).tolist() for part in (values, beyond)]
    return [{"value": value, "beyond": far} for value, far in zip(*both, strict=True)]


def write(content: dict[str, Any], predicted: PredictedHands, folder: Path, formats: Sequence[str]) -> None:
    """Writes the content to a folder in each of the `formats` that is in `PREDICTION_FORMATS`."""
    if "json" in formats:
        (folder / "joints.json").write_text(json.dumps(content, allow_nan=False) + "\n", "utf-8")
    if "npz" in formats:
        _npz(content, predicted, folder / "joints.npz")
    if "csv" in formats:
        _csv(content, folder)


def _npz(content: dict[str, Any], predicted: PredictedHands, file: Path) -> None:
    """Writes arrays at full precision, angles in radians, and the content without its hands as JSON text in `about`."""
    hands = content["hands"]
    content_arrays: dict[str, Any] = {
        "image": np.array([one["image"] for one in hands]),
        "hand": np.array([one["hand"] for one in hands]),
        **arrays(predicted),
        "about": json.dumps({key: value for key, value in content.items() if key != "hands"}),
    }
    content_arrays |= {name: np.array([one[name] for one in hands]) for name in VIDEO if name in hands[0]}
    np.savez_compressed(file, **content_arrays)


def arrays(predicted: PredictedHands) -> dict[str, np.ndarray]:
    """Returns the arrays `[n, ...]` of one or more hands by their names in `model.Hands`."""
    found = predicted.assessment
    of_hands = {
        "size": np.array([view.size for view in predicted.views]),
        "box": np.array([view.box for view in predicted.views], np.float64),
        "intrinsics": np.stack([view.intrinsics for view in predicted.views]),
        "joints_2d": predicted.joints_2d,
        "joints_3d": predicted.joints_metres,
        "joints_3d_scale": predicted.joints_3d,
        "within_limits": found.within,
    }
    for name in ("angles", "bone_length", "curvature", "spread"):
        of_hands |= {name: getattr(found, name), f"{name}_beyond": getattr(found.excess, name)}
    return of_hands


def _csv(content: dict[str, Any], folder: Path) -> None:
    """Writes three tables with the hand's number in each row, and a table of the images and boxes left out."""
    hands = content["hands"]
    first = [name for name in VIDEO if name in hands[0]]
    k = [f"k{row}{column}" for row in range(3) for column in range(3)]
    box = ["left", "top", "right", "bottom"]
    about = ["box_from", "intrinsics_from", "within_limits"]
    _table(
        folder / "hands.csv",
        ["number", "image", *first, "width", "height", "hand", *box, *k, *about, "scale_metres", "scale_from"],
        (
            [number, one["image"], *(one[name] for name in first), *one["size"], one["hand"], *one["box"]]
            + [value for row in one["intrinsics"] for value in row]
            + [*(one[name] for name in about), content["scale"]["metres"], content["scale"]["from"]]
            for number, one in enumerate(hands)
        ),
    )
    units = ("x_metres", "y_metres", "z_metres", "x_scale", "y_scale", "z_scale")
    _table(
        folder / "joints.csv",
        ["number", "joint", "name", "u", "v", *units],
        (
            [
                number,
                joint,
                name,
                *(value for key in ("joints_2d", "joints_3d", "joints_3d_scale") for value in one[key][joint]),
            ]
            for number, one in enumerate(hands)
            for joint, name in enumerate(content["joints"])
        ),
    )
    ends = [f"{angle}_{end}" for angle in ("flexion", "abduction") for end in ("low", "high")]
    _table(
        folder / "angles.csv",
        ["number", "finger", "joint", "flexion", "abduction", "beyond", *ends],
        (
            [number, limit["finger"], limit["joint"], *angle.values(), *limit["flexion"], *limit["abduction"]]
            for number, one in enumerate(hands)
            for angle, limit in zip(one["angles"], content["limits"]["angles"], strict=True)
        ),
    )
    if content["left_out"]:
        _table(folder / "left_out.csv", ["image", "reason"], (list(one.values()) for one in content["left_out"]))


def _table(file: Path, head: list[str], rows: Iterator[list[Any]]) -> None:
    with file.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
        writer = csv.writer(stream)
        writer.writerow(head)
        writer.writerows(rows)


@contextlib.contextmanager
def new_folder(out: Path, *, force: bool) -> Iterator[Path]:
    """Yields a new folder that replaces `out` on success and is removed on failure.

    Raises:
      FileExistsError: if `out` exists and is not empty, unless with `force` it is a folder of predictions.
    """
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"expected a folder, got the file {out}; give another --out")
    present = {entry.name for entry in out.iterdir()} if out.is_dir() else set()
    if present and not force:
        raise FileExistsError(f"{out} exists already; give another --out, or --force to replace its predictions")
    if present - NAMES:
        raise FileExistsError(
            f"{out}: expected predictions alone for --force, got {min(present - NAMES)}; give another --out"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as place:
        building = Path(place) / "new"
        building.mkdir()
        yield building
        files.replace_folder(building, out)
