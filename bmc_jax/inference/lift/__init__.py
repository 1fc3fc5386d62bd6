"""Feasible hands from landmarks: from a file, or from MediaPipe in photographs, videos and webcam pictures.

The landmarks are converted to `seen.SeenHand`s, lifted by `poses.lifting`, and written as predictions, see `outputs`.
"""

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bmc_jax.core.choices import LIFT_LIMITS
from bmc_jax.core.types import Limits
from bmc_jax.data import images as pictures
from bmc_jax.inference import outputs, recording, requests, seen, video, viewer
from bmc_jax.inference.lift import from_file
from bmc_jax.inference.lift.detector import DetectedHand, HandDetector
from bmc_jax.inference.outputs import PredictedHands
from bmc_jax.inference.requests import Request
from bmc_jax.inference.seen import Camera, Result, SeenHand
from bmc_jax.limits import io
from bmc_jax.poses.lifting import Landmarks
from bmc_jax.runtime.progress import Progress
from bmc_jax.visualization import charts, draw, overlay

FOUND = "around MediaPipe's landmarks"
MOST_REASONS = 3
"""Largest number of reasons in an error message."""


@dataclass(frozen=True)
class Options:
    """Options of all sources of landmarks."""

    camera: Camera = field(default_factory=Camera)
    """Camera of images whose file does not state K."""
    limits: str | os.PathLike[str] = LIFT_LIMITS
    """Limits file or preset."""
    smooth: float | int | None = None
    """Period in frames of the smoothing of the depth over a sequence, see `lifting.lift_hands`; None for separate
    hands."""
    scale: float | int | None = None
    """Length of the scale bone in metres; None for `outputs.assumed_scale`."""
    formats: Sequence[str] = ("json",)
    """Formats of the results."""
    force: bool = False
    """Whether to replace an earlier result."""


@dataclass(frozen=True)
class LiftedHands:
    """Summary of a lifting."""

    out: Path
    hands: int
    frames: int
    """Number of pictures with a hand."""
    depth: str
    """Origin of the depth."""
    repair: str
    """Direction in which repair moved joints."""
    moved: float
    """Mean distance by which repair moved the joints, mm."""
    beyond: tuple[float, float]
    """Excess of each hand's worst angle over the limits, degrees: median and 95th percentile."""
    notes: tuple[str, ...] = ()
    """Properties of the file that were detected, for messages."""
    left_out: tuple[tuple[Path, str], ...] = ()
    """Pictures and hands that cannot be used, each with the reason."""


def lift_file(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: Options = Options(),
    *,
    images: str | os.PathLike[str] | None = None,
    image_ids: str | os.PathLike[str] | None = None,
    order: str | None = None,
    side: str | None = None,
    size: tuple[int, int] | None = None,
) -> LiftedHands:
    """Lifts the landmarks in a file, and writes the folder `out` with joints, overlays and the page.

    Args:
      path: file of 2D or 2.5D landmarks, see `data.pose_files.landmarks`, or of 3D joints, see `data.pose_files`.
      out: folder of the results.
      options: see `Options`.
      images: folder of the pictures, for overlays and the page; by default the folder of the file.
      image_ids: COCO file with the images of the landmarks' image ids.
      order: joint order; by default that of the file, or FreiHAND's.
      side: "right" or "left", the side of hands whose side the file does not state; by default it is detected from the
        thumb, if the landmarks have depth.
      size: (width, height) of the images, pixels, if neither the file nor a picture states it.

    Raises:
      FileExistsError: see `outputs.new_folder`.
      FileNotFoundError: if a file does not exist.
      ValueError: if the landmarks cannot be used. The message names the file, the value and a remedy.
    """
    outputs.validate(options.formats, options.scale)
    path, allowed = Path(path), io.load(options.limits)
    with outputs.new_folder(Path(out), force=options.force) as building:
        hands = from_file.read(
            path, order=order, side=side, camera=options.camera, size=size, images=images, image_ids=image_ids
        )
        if hands is None:
            hands, result = from_file.read_poses(path, order=order, side=side, limits=allowed, smooth=options.smooth)
        else:
            outputs.require_one_size(hands.seen)
            result = seen.in_3d(hands.seen, allowed, smooth=options.smooth, frames=hands.frames)
        content, found = _content(path.name, hands.seen, result, allowed, options.scale, hands.left_out)
        _write(content, found, building, options.formats, path.name)
    return _summary(Path(out), found, result, hands.notes, hands.left_out)


def lift_pictures(
    inputs: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    options: Options = Options(),
    *,
    model: str | os.PathLike[str] | None = None,
) -> LiftedHands:
    """Finds the hands of photographs with MediaPipe, lifts them, and writes the folder `out`.

    Images that cannot be read, and those without a hand, are left out with a reason.

    Args:
      inputs: image files, and folders of images.
      out: folder of the results, with the files of `lift_file`.
      options: see `Options`.
      model: MediaPipe's models, see `detector.HandDetector`.

    Raises:
      FileExistsError: see `outputs.new_folder`.
      FileNotFoundError: if a file does not exist.
      ValueError: if MediaPipe is not installed or lacks its models, or no picture has a hand.
    """
    outputs.validate(options.formats, options.scale)
    allowed = io.load(options.limits)
    files, left_out = requests.files([Path(one) for one in inputs], Path(out))
    hands: list[SeenHand] = []
    with outputs.new_folder(Path(out), force=options.force) as building:
        with HandDetector(model) as detect:
            for file in Progress(files, desc="find", unit=" images"):
                try:
                    picture = pictures.read(file)
                except (ValueError, OSError) as error:
                    left_out.append((file, str(error)))
                    continue
                matrix = options.camera.matrix(picture.image.size, picture.focal)
                found = detect(picture.image)
                hands += [_seen(one, file, picture.image.size, matrix) for one in found]
                outputs.require_one_size(hands)
                if not found:
                    left_out.append((file, f"{file}: MediaPipe finds no hand in it"))
        if not hands:
            reasons = "; ".join(reason for _, reason in left_out[:MOST_REASONS])
            raise ValueError(f"expected pictures with hands, got none: {reasons}")
        result = seen.in_3d(hands, allowed)
        content, found = _content("MediaPipe", hands, result, allowed, options.scale, left_out)
        title = f"{len(hands)} hands" if len(hands) > 1 else hands[0].request.file.name
        _write(content, found, building, options.formats, title)
    return _summary(Path(out), found, result, (), left_out)


@dataclass
class Clip:
    """The frames of a video or webcam."""

    name: Path
    frames: Iterable[tuple[Image.Image, float]]
    """RGB pictures with their times in seconds."""
    left_out: list[tuple[Path, str]] = field(default_factory=list)
    """List to which the source appends the reason if it is truncated."""
    live: bool = False
    """Whether an interruption ends the clip, so that the results are written."""
    show: Callable[[Image.Image, Sequence[np.ndarray], Sequence[np.ndarray]], bool] | None = None
    """Shows a frame with its hands, pixels `[21, 2]` and joints `[21, 3]`, and returns whether to continue."""


def lift_video(
    clip: Clip,
    out: str | os.PathLike[str],
    options: Options = Options(),
    *,
    model: str | os.PathLike[str] | None = None,
) -> LiftedHands:
    """Finds the hands in every frame of a video with MediaPipe, lifts them, and writes the folder `out`.

    The folder has the files of `lift_file`, with `video.mp4` in place of the overlays, and `angles.png` of the side
    with more hands. With `options.smooth`, the depth of each side's hand is smoothed over the frames.

    Args:
      clip: the frames.
      out: folder of the results.
      options: see `Options`.
      model: MediaPipe's models, see `detector.HandDetector`.

    Raises:
      FileExistsError: see `outputs.new_folder`.
      ValueError: see `lift_pictures`, and if PyAV is not installed, the file is not a video, or a frame of a smoothed
        sequence has two hands of one side.
    """
    outputs.validate(options.formats, options.scale)
    allowed = io.load(options.limits)
    hands: list[SeenHand] = []
    times: list[float] = []
    frames, every, drawn = 0, 1, dict[int, dict[str, Any]]()
    new_folder = outputs.new_folder(Path(out), force=options.force)
    with new_folder as building, recording.Recording(building, options.formats) as record:
        with HandDetector(model, video=True) as detect, video.Writer(building / "video.mp4") as writer:
            try:
                for number, (image, time) in enumerate(clip.frames):
                    matrix = options.camera.matrix(image.size, None)
                    found = [_seen(one, clip.name, image.size, matrix, number) for one in detect(image, time)]
                    points = [np.asarray(one.landmarks.pixels) for one in found]
                    writer.write(overlay.hands_on(image, points), time)
                    record.picture(image, number, time)
                    if number % every == 0:
                        for i, one in enumerate(found):
                            drawn[len(hands) + i] = viewer.picture(image, one, points[i])
                    hands += found
                    times += [time] * len(found)
                    frames = number + 1
                    if len(drawn) > viewer.MAX_HANDS:
                        every *= 2
                        drawn = {i: picture for i, picture in drawn.items() if hands[i].frame % every == 0}
                    if clip.show is not None:
                        joints = list(seen.in_3d(found, allowed).joints) if found else []
                        if not clip.show(image, points, joints):
                            break
            except KeyboardInterrupt:
                if not clip.live:
                    raise
        if not hands:
            raise ValueError(
                "; ".join(reason for _, reason in clip.left_out) or f"MediaPipe finds no hand in {clip.name}"
            )
        result = seen.in_3d(hands, allowed, smooth=options.smooth, frames=frames)
        of_video = {"times": times, "frames": [one.frame for one in hands]}
        content, found = _content("MediaPipe", hands, result, allowed, options.scale, clip.left_out, **of_video)
        _write(content, found, building, options.formats, clip.name.name, drawn)
        record.hands(found)
        left = np.array([one.request.left for one in hands])
        rows = np.flatnonzero(left == (left.mean() > 0.5))
        angles, beyond = found.assessment.angles[rows], np.asarray(found.assessment.excess.angles)[rows]
        figure = charts.angle_curves(np.array(times)[rows].tolist(), angles, beyond, allowed)
        draw.save(figure, building / "angles.png")
    return _summary(Path(out), found, result, (), clip.left_out)


def _seen(
    one: DetectedHand, file: Path, size: tuple[int, int], matrix: tuple[np.ndarray, str], frame: int = 0
) -> SeenHand:
    landmarks = Landmarks(one.pixels, one.z, one.world)
    return SeenHand(Request(file, one.left, box_from=FOUND), size, *matrix, landmarks, frame)


def _content(
    source: str,
    hands: Sequence[SeenHand],
    result: Result,
    limits: Limits,
    scale: float | int | None,
    left_out: Sequence[tuple[Path, str]],
    **of_video: Any,
) -> tuple[dict[str, Any], PredictedHands]:
    """Returns the content of `joints.json`, and the hands."""
    pixels = np.stack([np.asarray(one.landmarks.pixels, np.float64) for one in hands])
    found = outputs.assessed(limits, hands, pixels, result.joints, scale, deviation=result.deviation, **of_video)
    if result.metres is not None and scale is None:
        found = dataclasses.replace(found, scale=result.metres, scale_from="the given joints")
    about = {"from": source, "depth": result.depth, "repair": result.repair}
    return outputs.to_dict({"landmarks": about}, limits, found, left_out), found


def _write(
    content: dict[str, Any],
    found: PredictedHands,
    folder: Path,
    formats: Sequence[str],
    title: str,
    drawn: dict[int, dict[str, Any]] | None = None,
) -> None:
    """Writes the results and the page, with the `drawn` pictures of some hands, or with overlays of all hands."""
    if drawn is None:
        drawn = viewer.overlays(content, found, folder / "overlays")
        recording.of_photographs(found, folder, formats)
    outputs.write(content, found, folder, formats)
    page = viewer.page(content, list(drawn), list(drawn.values()), title)
    (folder / "page.html").write_text(page, "utf-8", "backslashreplace")


def _summary(
    out: Path, found: PredictedHands, result: Result, notes: Sequence[str], left_out: Sequence[tuple[Path, str]]
) -> LiftedHands:
    worst = np.degrees(np.asarray(found.assessment.excess.angles).max(axis=(1, 2)))
    return LiftedHands(
        out=out,
        hands=len(found.views),
        frames=len({(one.request.file, getattr(one, "frame", 0)) for one in found.views}),
        depth=result.depth,
        repair=result.repair,
        moved=float(1000 * np.mean(result.moved * found.scale)),
        beyond=(float(np.median(worst)), float(np.percentile(worst, 95))),
        notes=tuple(notes),
        left_out=tuple(left_out),
    )
