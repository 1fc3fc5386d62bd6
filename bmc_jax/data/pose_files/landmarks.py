"""Files of hand landmarks in pictures, 2D or with depth, written by detectors and annotation tools.

    .json, .jsonl   MediaPipe's results, frame by frame: landmarks of the picture, handedness and, optionally, world
                    landmarks; OpenPose's 2D keypoints; COCO keypoints of hands or whole bodies; or arrays by name
    .npz, .pkl      arrays by name: `pixels` [N, 21, 2], optionally `z` [N, 21] (or as the third column of `pixels`),
                    `world` [N, 21, 3], `left` [N], `K` [N, 3, 3] or [3, 3], `size` [2] or [N, 2], `images` [N] and
                    `ids` [N]
    .npy            [N, 21, 2], or [N, 21, 3] with depth or confidence as the third column
    .csv, .tsv      one hand per line, x, y, z of joint after joint (see `tables`)

Coordinates are pixels, the centre of the first at (0, 0), or shares of the image's width and height, as in MediaPipe.
`pose_files.read` reads files of 3D joints.
"""

import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bmc_jax.core import hand
from bmc_jax.core.choices import JOINT_ORDERS, SIDES
from bmc_jax.core.plural import counted
from bmc_jax.data import pose_files
from bmc_jax.data.pose_files import results
from bmc_jax.data.readers import array_files, coco_hand, coco_wholebody, joint_order, safe_pickle

#: Names of fields, in lower case and without underscores. `image` is an array of landmarks or the name of a file.
PIXELS = ("pixels", "image", "landmarks", "handlandmarks", "joints2d", "keypoints2d", "keypoints", "uv")
Z = ("z", "depth", "relativedepth")
WORLD = (*results.WORLD, "world")
FILES = ("images", "files", "filenames", "filename", "file", "imagename", "imagefile", "imagepath", "path", "image")
SIZE = ("size", "imagesize")
CAMERA = ("k", "intrinsics")
#: Largest coordinate of landmarks that are shares of the image; landmarks beyond the border are above 1.
LARGEST_SHARE = 3.0
#: Largest depth of the wrist, relative to the hand's extent, of landmarks whose depth is relative to the wrist.
RELATIVE_TO_WRIST = 1e-3


@dataclass(frozen=True)
class LandmarkHand:
    """A hand in a picture."""

    where: str
    """Its place in the file, for messages."""
    pixels: np.ndarray
    """`[21, 2]` float64, FreiHAND order; shares of the image if `shares`. NaN where missing."""
    z: np.ndarray | None = None
    """`[21]`, in the unit of x, relative to the wrist."""
    world: np.ndarray | None = None
    """`[21, 3]`, x right, y down, z forward, relative to any point."""
    left: bool | None = None
    """Whether it is a left hand; None if the file does not state it."""
    image: str | None = None
    """File name of the image."""
    id: str | None = None
    """Id of the image, if the file has `ids`."""
    size: tuple[int, int] | None = None
    """(width, height) of the image."""
    intrinsics: np.ndarray | None = None
    """K `[3, 3]`, pixels."""
    frame: int = 0
    """Number of the frame in the file."""
    shares: bool = False
    """Whether coordinates are shares of the image's width and height."""


@dataclass
class LandmarkFile:
    """The hands of a file."""

    hands: list[LandmarkHand] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    """(place, reason) of each hand with missing landmarks."""
    notes: list[str] = field(default_factory=list)
    """Statements about the form of the file."""
    frames: int = 0
    """Number of frames."""
    ordered: bool = False
    """Whether the hands are in FreiHAND order."""


def read(path: str | os.PathLike[str], *, order: str | None = None) -> LandmarkFile | None:
    """Reads the landmarks in a file.

    Args:
      path: the file.
      order: joint order, a key of `hand.TO_FREIHAND`; by default that of the file's keypoint names, or FreiHAND's.

    Returns:
      The hands; None if the file contains 3D joints, which `pose_files.read` reads.

    Raises:
      FileNotFoundError: if the file does not exist.
      ValueError: naming the file, place and remedy, for a file without landmarks, and for landmarks that contradict the
        joint order.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected the file of landmarks {path}, got no such file; correct the path")
    if order is not None and order not in JOINT_ORDERS:
        raise ValueError(f"order: expected one of {', '.join(JOINT_ORDERS)}, got {order!r}; choose one")
    suffix = path.suffix.lower()
    if suffix in (".npz", ".npy", ".mat", ".pkl", ".pickle"):
        found = _of_arrays(path, suffix)
    elif suffix in (".json", ".jsonl", ".ndjson"):
        found = _of_json(path, order)
    elif suffix in (".csv", ".tsv"):
        rows, left = pose_files.tables.read(pose_files.text(path), str(path))
        found = _of_rows({"pixels": rows} | ({} if left is None else {"left": left}), str(path))
    else:
        raise ValueError(
            f"{path}: expected a json, jsonl, npz, npy, pkl, csv or tsv file of landmarks, got {suffix!r}; convert it"
        )
    if found is None:
        return None
    if order is not None and not found.ordered:
        found.hands = [_in_order(landmarks, hand.TO_FREIHAND[order]) for landmarks in found.hands]
    return _checked(found, path, order)


def _of_arrays(path: Path, suffix: str) -> LandmarkFile | None:
    if suffix == ".npy":
        content: Any = {"pixels": array_files.array(path.read_bytes(), str(path))}
    elif suffix == ".npz":
        content = array_files.archive(path)
    elif suffix == ".mat":
        content = array_files.matlab(path)
    else:
        content = safe_pickle.load(path)
    if not isinstance(content, dict):
        content = {"pixels": content}
    return _of_rows(results.plain_names(content), str(path))


def _of_json(path: Path, order: str | None) -> LandmarkFile | None:
    text = pose_files.text(path)
    try:
        content = pose_files.parse_json(text, str(path))
    except ValueError as error:
        if not (isinstance(error.__cause__, json.JSONDecodeError) and error.__cause__.msg == "Extra data"):
            raise
        lines = enumerate(text.splitlines(), start=1)
        content = [pose_files.parse_json(line, f"{path}: line {number}") for number, line in lines if line.strip()]
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        return _of_coco(path, order)
    if isinstance(content, dict):
        named = results.plain_names(content)
        if isinstance(named.get("frames"), list):
            content = named["frames"]
        elif any(_is_array(named.get(name)) for name in PIXELS) and not _is_points(_first_of(named, PIXELS)):
            return _of_rows(named, str(path))
    if isinstance(content, list) and results.depth(content) >= 2 and not _is_points(content):
        return _of_rows({"pixels": content}, str(path))
    return _of_frames(content if isinstance(content, list) else [content], path)


def _is_array(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0


def _is_points(value: Any) -> bool:
    """Returns whether nested lists end in objects x, y, z."""
    while isinstance(value, list):
        value = next((item for item in value if item is not None and item != []), None)
    return isinstance(value, dict)


def _first_of(named: dict[str, Any], names: Sequence[str]) -> Any:
    return next((named[name] for name in names if named.get(name) is not None), None)


def _of_rows(named: dict[str, Any], where: str) -> LandmarkFile | None:
    """Reads arrays with one row per hand."""
    arrays = {name: value for name, value in named.items() if results.depth(value) >= 2 and name in PIXELS}
    if not arrays:
        others = [name for name, value in named.items() if results.depth(value) >= 2]
        if any(name in results.POSES for name in others):
            return None
        raise ValueError(
            f"{where}: expected the array `pixels` [N, {hand.NUM_JOINTS}, 2], got {', '.join(named) or 'nothing'}; "
            "save the landmarks as `pixels`, in pixels, and depths as `z`"
        )
    rows = _array(next(iter(arrays.values())), where)
    kind = _kind(rows, where)
    if kind == "3D":
        return None
    count = len(rows)
    z = _first_of(named, Z)
    depths = rows[..., 2] if kind == "z" else None if z is None else _rows(z, (count, hand.NUM_JOINTS), "z", where)
    world = _first_of(named, WORLD)
    world = None if world is None else _rows(world, (count, hand.NUM_JOINTS, 3), "world", where)
    left = pose_files.left_hands(named.get("left"), count, where)
    size = _first_of(named, SIZE)
    sizes = None if size is None else _rows(np.broadcast_to(size, (count, 2)), (count, 2), "size", where)
    k = _first_of(named, CAMERA)
    cameras = None if k is None else _rows(np.broadcast_to(k, (count, 3, 3)), (count, 3, 3), "K", where)
    files = next((named[name] for name in FILES if results.depth(named.get(name)) == 1), None)
    pose_files.require_rows("images", files, count, where)
    ids = named.get("ids")
    pose_files.require_rows("ids", ids, count, where)
    pixels = rows[..., :2].copy()
    if kind == "confidence":
        pixels[rows[..., 2] <= 0] = np.nan
    found = LandmarkFile(frames=count)
    for i in range(count):
        found.hands.append(
            LandmarkHand(
                where=f"hand {i}",
                pixels=pixels[i],
                z=None if depths is None else depths[i],
                world=None if world is None else world[i],
                left=None if left is None else bool(left[i]),
                image=None if files is None else str(files[i]),
                id=None if ids is None else str(ids[i]),
                size=None if sizes is None else (int(sizes[i, 0]), int(sizes[i, 1])),
                intrinsics=None if cameras is None else cameras[i],
                frame=i,
            )
        )
    what = {"2D": "2D landmarks", "z": "landmarks with depth", "confidence": "2D landmarks with confidence"}[kind]
    found.notes.append(what + (" and world landmarks" if world is not None else ""))
    return found


def _array(rows: Any, where: str) -> np.ndarray:
    try:
        array = np.array(rows, np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(
            f"{where}: expected an array [N, {hand.NUM_JOINTS}, 2] or [N, {hand.NUM_JOINTS}, 3] of landmarks, got "
            f"other values ({error}); save such an array"
        ) from error
    if array.ndim == 2 and array.shape[1] in (2 * hand.NUM_JOINTS, 3 * hand.NUM_JOINTS):
        array = array.reshape(len(array), hand.NUM_JOINTS, -1)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[1] != hand.NUM_JOINTS or array.shape[2] not in (2, 3) or not len(array):
        raise ValueError(
            f"{where}: expected landmarks [N, {hand.NUM_JOINTS}, 2] or [N, {hand.NUM_JOINTS}, 3], got the shape "
            f"{list(array.shape)}; save such an array"
        )
    return array


def _rows(values: Any, shape: tuple[int, ...], name: str, where: str) -> np.ndarray:
    try:
        array = np.array(values, np.float64)
    except (ValueError, TypeError, OverflowError):
        array = np.empty(0)
    if array.shape != shape:
        raise ValueError(
            f"{where}: expected {name} of the shape {list(shape)}, got {list(np.shape(values))}; correct it"
        )
    return array


def _kind(rows: np.ndarray, where: str) -> str:
    """Returns the kind of the third column: "2D" if there is none, "z", "confidence", or "3D" for 3D joints."""
    if rows.shape[2] == 2:
        return "2D"
    known = rows[np.isfinite(rows).all(axis=(1, 2))]
    if not len(known):
        raise ValueError(
            f"{where}: expected a hand with all {hand.NUM_JOINTS} landmarks, got none; give complete hands"
        )
    third = known[..., 2]
    extent = np.ptp(known[..., :2], axis=1).max(axis=1)
    relative = np.median(np.abs(third[:, hand.WRIST]) / np.maximum(extent, 1e-12)) < RELATIVE_TO_WRIST
    beside = np.median(np.abs(known[:, hand.WRIST, :2]).max(axis=1) / np.maximum(extent, 1e-12)) > 0.1
    if relative and beside:
        return "z"
    if (third >= 0).all() and ((third <= 1).all() or np.isin(third, (0, 1, 2)).all()) and np.median(extent) > 2:
        return "confidence"
    return "3D"


def _of_frames(frames: Sequence[Any], path: Path) -> LandmarkFile | None:
    """Reads a list of frames, each with the landmarks of its hands in fields of MediaPipe or OpenPose."""
    found, joints_3d = LandmarkFile(frames=len(frames)), False
    for number, frame in enumerate(frames):
        where = f"{path}: frame {number}"
        named = results.plain_names(frame)
        if isinstance(frame, list) and (not frame or isinstance(frame[0], list)):
            named = {"handlandmarks": frame}
        joints_3d |= any(name in named for name in (*results.POSES, *results.WORLD, *results.WORLD_SIDES))
        about = _about(named, number, where)
        if "people" in named:
            found.hands += [LandmarkHand(**about, **fields) for fields in _openpose(named["people"], where)]
        else:
            found.hands += [LandmarkHand(**about, **fields) for fields in _mediapipe(named, where)]
    if not found.hands:
        if joints_3d:
            return None
        raise ValueError(
            f"{path}: expected MediaPipe's hand_landmarks, OpenPose's hand_left_keypoints_2d and "
            "hand_right_keypoints_2d, or COCO's annotations, got no landmarks of hands in "
            f"{counted(len(frames), 'frame')}; save one of them"
        )
    world = sum(landmarks.world is not None for landmarks in found.hands)
    depth = sum(landmarks.z is not None for landmarks in found.hands)
    many = f"{counted(len(found.hands), 'hand')} in {counted(found.frames, 'frame')}"
    found.notes.append(f"{many}: {depth:,} with depth, {world:,} with world landmarks")
    return found


def _about(named: dict[str, Any], number: int, where: str) -> dict[str, Any]:
    """Returns the fields of a `LandmarkHand` that a frame states about its image."""
    image = next((named[name] for name in FILES if isinstance(named.get(name), str)), None)
    width, height = _first_of(named, ("width", "imagewidth")), _first_of(named, ("height", "imageheight"))
    size = _first_of(named, SIZE) if width is None or height is None else (width, height)
    if size is not None:
        size = coco_hand.listed_size(dict(zip(("width", "height"), size, strict=True)), where)
    k = _first_of(named, CAMERA)
    return {
        "where": where,
        "image": image,
        "size": size,
        "intrinsics": None if k is None else _rows(k, (3, 3), "K", where),
        "frame": number,
    }


def _mediapipe(named: dict[str, Any], where: str) -> Iterator[dict[str, Any]]:
    """Yields the hands of a result of the Hand Landmarker, the older Hands, or the Holistic model."""
    sided = [(f"{side}handlandmarks", f"{side}handworldlandmarks", side == "left") for side in ("left", "right")]
    if any(name in named for name, _, _ in sided):
        parts = [
            ([named[name]], [named[world]] if named.get(world) else None, [left])
            for name, world, left in sided
            if named.get(name)
        ]
    else:
        hands = results.as_hands(_first_of(named, results.PICTURE))
        world = _first_of(named, results.WORLD)
        worlds = None if world is None else results.as_hands(world)
        parts = [(hands, worlds, results.stated_sides(named, len(hands)))]
    for hands, worlds, sides in parts:
        if worlds is not None and len(worlds) != len(hands):
            raise ValueError(
                f"{where}: expected world landmarks of {counted(len(hands), 'hand')}, got those of {len(worlds)}; "
                "save both for every hand"
            )
        for i, points in enumerate(hands):
            array = _points(points, where)
            yield {
                "pixels": array[:, :2],
                "z": array[:, 2] if array.shape[1] == 3 else None,
                "world": None if worlds is None else _points(worlds[i], where),
                "left": sides[i],
            }


def _points(points: Any, where: str) -> np.ndarray:
    """Converts a list of points to `[21, 2]` or `[21, 3]`."""
    points = results.unwrapped(points) if isinstance(points, dict) else points
    rows = [
        [point.get(axis) for axis in "xyz" if axis in point] if isinstance(point, dict) else point
        for point in (points if isinstance(points, list) else [])
    ]
    try:
        array = np.array(rows, np.float64)
    except (ValueError, TypeError, OverflowError):
        array = np.empty(0)
    if array.shape not in ((hand.NUM_JOINTS, 2), (hand.NUM_JOINTS, 3)):
        raise ValueError(
            f"{where}: expected 21 landmarks x, y, z of a hand, got the shape {list(array.shape)}; save all of them"
        )
    return array


def _openpose(people: Any, where: str) -> Iterator[dict[str, Any]]:
    for person in people if isinstance(people, list) else []:
        named = results.plain_names(person)
        for side in ("left", "right"):
            numbers = named.get(f"hand{side}keypoints2d") or []
            if not isinstance(numbers, list) or len(numbers) not in (0, 3 * hand.NUM_JOINTS):
                raise ValueError(
                    f"{where}: expected 21 x 3 numbers per hand from OpenPose, got {len(numbers)}; write it again"
                )
            if any(numbers[2::3]):
                points = np.array(numbers, np.float64).reshape(hand.NUM_JOINTS, 3)
                yield {"pixels": np.where(points[:, 2:] > 0, points[:, :2], np.nan), "left": side == "left"}


def _of_coco(path: Path, order: str | None) -> LandmarkFile:
    """Reads the hands of a COCO file: keypoints of hands, or `lefthand_kpts` and `righthand_kpts` of whole bodies."""
    content = coco_hand.load(path)
    coco_hand.require_distinct(path, content)
    images = {image.get("id"): image for image in content["images"]}
    frames = {image.get("id"): number for number, image in enumerate(content["images"])}
    categories = {category.get("id"): category for category in content["categories"]}
    stated = coco_hand.Stated(order=order)
    found = LandmarkFile(frames=len(images), ordered=True)
    for number, entry in enumerate(content["annotations"]):
        where = f"{path}: annotation {entry.get('id', number)}"
        image = images.get(entry.get("image_id"))
        if image is None:
            raise ValueError(
                f"{where}: expected the image_id of a listed image, got {entry.get('image_id')!r}; add the image"
            )
        category = categories.get(entry.get("category_id"), {})
        k = image.get("K")
        about = {
            "where": where,
            "image": image.get("file_name"),
            "size": coco_hand.listed_size(image, where),
            "intrinsics": None if not k else _rows(k, (3, 3), "K", where),
            "frame": frames[image.get("id")],
        }
        if entry.get("iscrowd"):
            continue
        for side in SIDES:
            keypoints = entry.get(f"{side}hand_kpts") or coco_wholebody.of_whole_body(entry.get("keypoints"), side)
            if keypoints is not None and entry.get(f"{side}hand_valid", True) and any(keypoints[2::3]):
                found.hands.append(LandmarkHand(**about, pixels=_coco_points(keypoints, where), left=side == "left"))
        if coco_hand.category_side(category.get("name")) is None or not entry.get("keypoints"):
            continue
        words = {str(entry[name]).lower() for name in coco_hand.SIDE_FIELDS if entry.get(name) is not None}
        words |= {side for side in [coco_hand.category_side(category.get("name"))] if side}
        if len(words) > 1 or words - {"left", "right"}:
            raise ValueError(
                f"{where}: expected one of the sides left and right, got {', '.join(sorted(words))}; correct it"
            )
        points = _coco_points(entry["keypoints"], where)[list(coco_hand.joint_indices(category, stated))]
        found.hands.append(LandmarkHand(**about, pixels=points, left="left" in words if words else None))
    if not found.hands:
        raise ValueError(
            f"{path}: expected annotations with keypoints of hands, got none in {len(content['annotations']):,}; "
            "name a file with hands"
        )
    found.notes.append(f"{counted(len(found.hands), 'hand')} with 2D keypoints in {counted(len(images), 'image')}")
    return found


def _coco_points(keypoints: Any, where: str) -> np.ndarray:
    try:
        points = np.array(keypoints, np.float64).reshape(hand.NUM_JOINTS, 3)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(
            f"{where}: expected 21 keypoints of u, v and visibility, got other values ({error}); correct it"
        ) from error
    return np.where(points[:, 2:] > 0, points[:, :2], np.nan)


def _checked(found: LandmarkFile, path: Path, order: str | None) -> LandmarkFile:
    """Returns the hands with all landmarks, after a check of their order."""
    complete = []
    for landmarks in found.hands:
        parts = [landmarks.pixels, *(part for part in (landmarks.z, landmarks.world) if part is not None)]
        missing = ~np.all([np.isfinite(part.reshape(hand.NUM_JOINTS, -1)).all(axis=1) for part in parts], axis=0)
        if missing.any():
            names = [hand.JOINTS[joint] for joint in np.flatnonzero(missing)[:3]]
            words = "no landmarks" if missing.all() else f"no {', '.join(names)}" + ", ..." * bool(missing.sum() > 3)
            found.left_out.append((landmarks.image or landmarks.where, f"{landmarks.where} has {words}"))
        else:
            complete.append(landmarks)
    if not complete:
        raise ValueError(
            f"{path}: expected a hand with all {hand.NUM_JOINTS} landmarks, got none in {len(found.hands):,}; give "
            "complete hands"
        )
    evidence, fits = joint_order.contradiction(
        np.array([landmarks.pixels for landmarks in complete]), hand.TO_FREIHAND["freihand"]
    )
    if evidence:
        stated = f"the order {order}" if order else "FreiHAND's or MediaPipe's order"
        raise ValueError(
            f"{path}: expected landmarks in {stated}, got another order: {evidence}; give --order {fits or 'NAME'}"
        )
    largest = float(np.median([np.abs(landmarks.pixels).max() for landmarks in complete]))
    if largest <= LARGEST_SHARE:
        complete = [dataclasses.replace(landmarks, shares=True) for landmarks in complete]
    found.hands = complete
    return found


def _in_order(landmarks: LandmarkHand, indices: np.ndarray) -> LandmarkHand:
    z, world = (None if part is None else part[indices] for part in (landmarks.z, landmarks.world))
    return dataclasses.replace(landmarks, pixels=landmarks.pixels[indices], z=z, world=world)
