"""Prediction of a hand in a video: joints of each frame, the video with the hand drawn in, and its angles over time.

The box in each frame is around the joints of the previous frame. If these are implausible in their crop, the hand is
lost (see `follow`), and the next frame uses the box of the first frame.
"""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bmc_jax.config import Config
from bmc_jax.core.plural import counted
from bmc_jax.data import images
from bmc_jax.data.images import Picture
from bmc_jax.inference import hand_crop, outputs, recording, requests, viewer
from bmc_jax.inference.hand_crop import HandCrop
from bmc_jax.inference.model import Model
from bmc_jax.inference.predict import Predicted
from bmc_jax.inference.requests import Request
from bmc_jax.runtime.progress import Progress
from bmc_jax.training import forward
from bmc_jax.visualization import charts, draw, overlay

SHARES = (0.35, 1.0)
"""Range of the longer side of the joints of a hand, relative to its crop's side: about 2/3 in a well-placed crop."""
WHOLE = 0.95
"""Share of the frames or seconds stated in a video's header below which the video counts as truncated."""
CHANGE = 1.1
"""Largest factor between the sizes of the boxes in two frames."""
FOLLOWED = "joints of the previous frame"
#: Counter-clockwise rotation, by the degrees in the header of a frame.
_TURNS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    -180: Image.Transpose.ROTATE_180,
    -90: Image.Transpose.ROTATE_270,
}
#: Time base of the written video, seconds.
_TICK = Fraction(1, 90_000)


def predict(
    folder: str | os.PathLike,
    clip: str | os.PathLike,
    out: str | os.PathLike,
    *,
    step: int | str | None = None,
    left: bool = False,
    box: Sequence[float | int] | None = None,
    intrinsics: Sequence[float | int] | None = None,
    scale: float | int | None = None,
    formats: Sequence[str] = ("json",),
    passes: int = 1,
    turns: int = 1,
    force: bool = False,
) -> Predicted:
    """Predicts the hand in every frame of a video, and writes the folder `out`.

    The folder has the files of `predict.predict`, with `video.mp4` (without sound) in place of the overlays, and
    `angles.png`. A truncated video is predicted as far as it can be decoded, and is listed as left out with the reason.

    Args:
      folder: the folder of a run or an export.
      clip: the video file.
      out: folder of the results.
      step: see `predict.predict`, as for the arguments below.
      left: whether it is a left hand.
      box: (x, y, width, height) of the hand in the first frame, pixels; by default the middle square.
      intrinsics: (fx, fy, cx, cy), pixels.
      scale: length of the scale bone in metres.
      formats: formats of the results.
      passes: number of passes.
      turns: number of rotated crops.
      force: whether to replace an earlier prediction at `out`.

    Raises:
      FileExistsError, FileNotFoundError: see `predict.predict`.
      ValueError: see `predict.predict`, and if PyAV is not installed or the file is not a video.
    """
    clip = Path(clip)
    images.require_regular(clip, "video")
    outputs.validate(formats, scale)
    (start,) = requests.gather([clip], left=left, box=box, intrinsics=intrinsics).hands
    left_out: list[tuple[Path, str]] = []
    new_folder = outputs.new_folder(Path(out), force=force)
    with new_folder as building, recording.Recording(building, formats) as record:
        model = Model(forward.load(folder, step), passes=passes, turns=turns)
        trained = model.trained
        crops: list[HandCrop] = []
        pixels, joints, times, followed = [], [], [], []
        drawn: dict[int, dict[str, Any]] = {}
        every, target, usual = 1, start, _side(start.box)
        with Writer(building / "video.mp4") as video:
            for number, (image, time) in enumerate(frames(clip, left_out)):
                crop = hand_crop.cut(target, Picture(image), trained.config, passes=passes)
                (found_2d,), (found_3d,) = hand_crop.to_pictures([crop], model.predict([crop]), trained.config)
                video.write(overlay.hand_on(image, found_2d), time)
                record.picture(image, number, time)
                if number % every == 0:
                    drawn[number] = viewer.picture(image, crop, found_2d)
                if len(drawn) > viewer.MAX_HANDS:  # the number of frames is known only at the end
                    every *= 2
                    drawn = {i: picture for i, picture in drawn.items() if i % every == 0}
                crops.append(dataclasses.replace(crop, image=crop.image[:0]))
                pixels.append(found_2d)
                joints.append(found_3d)
                times.append(time)
                followed.append(target is not start)
                usual = usual or float(np.ptp(found_2d, axis=0).max())
                target = follow(crop, found_2d, trained.config, usual) or start
        if not crops:
            raise ValueError(left_out[0][1] if left_out else f"{clip}: expected a video, got no frames; check the file")
        found = outputs.assessed(
            trained.limits, crops, np.stack(pixels), np.stack(joints), scale, times=times, followed=followed
        )
        content = outputs.to_dict(
            outputs.of_checkpoint(trained, passes=passes, turns=turns), trained.limits, found, left_out
        )
        outputs.write(content, found, building, formats)
        record.hands(found)
        figure = charts.angle_curves(times, found.assessment.angles, found.assessment.excess.angles, trained.limits)
        draw.save(figure, building / "angles.png")
        (building / "page.html").write_text(viewer.page(content, list(drawn), list(drawn.values()), clip.name), "utf-8")
    return Predicted(Path(out), len(crops), int(found.assessment.within.sum()), tuple(left_out))


def follow(crop: HandCrop, joints_2d: np.ndarray, config: Config, usual: float) -> Request | None:
    """Returns the request for the next frame: a box around this frame's joints `[21, 2]`.

    The box differs by at most the factor `CHANGE` from this frame's box. Returns None if the hand is lost: its joints
    do not fill their crop as in `SHARES`, their middle is outside the crop or the picture, or the box is not valid for
    `hand_crop.cut` or differs by more than a factor of 2 from `usual`. The bounds by `usual` stop a slow collapse, in
    which each crop is slightly too small for the next.

    Args:
      crop: the crop of this frame.
      joints_2d: joints of this frame `[21, 2]`, pixels of the picture.
      config: configuration of the network.
      usual: longer side of the hand's box in the first frame, pixels.
    """
    low, high = joints_2d.min(axis=0), joints_2d.max(axis=0)
    middle, found = (low + high) / 2, float((high - low).max())
    centre, crop_side = np.reshape(crop.box, (2, 2)).mean(axis=0), config.data.image_size / crop.to_square[1, 1]
    expected = SHARES[0] <= found / crop_side <= SHARES[1]
    inside = (np.abs(middle - centre) <= crop_side / 2).all() and (middle >= 0).all() and (middle < crop.size).all()
    side, last = found, _side(crop.request.box)
    if last:
        side = min(max(found, last / CHANGE), last * CHANGE)
    usable = hand_crop.SMALLEST_BOX <= side <= hand_crop.LARGEST_BOX * max(crop.size)
    if not (expected and inside and usable and usual / 2 <= side <= usual * 2):
        return None
    left, top, right, bottom = np.concatenate([middle - side / 2, middle + side / 2]).tolist()
    return dataclasses.replace(crop.request, box=(left, top, right, bottom), box_from=FOLLOWED)


def _side(box: tuple[float, float, float, float] | None) -> float:
    """Returns the longer side of a box; 0 for None."""
    return 0.0 if box is None else max(box[2] - box[0], box[3] - box[1])


def frames(clip: Path, left_out: list[tuple[Path, str]]) -> Iterator[tuple[Image.Image, float]]:
    """Yields the frames of a video, upright RGB, with their times in seconds.

    If the video is truncated, the reason is appended to `left_out`.

    Raises:
      ValueError: if PyAV is not installed, or the file is not a video.
    """
    av = _av()
    try:
        container = av.open(os.fspath(clip))
    except av.FFmpegError as error:
        raise ValueError(f"{clip}: expected a video, got a file that FFmpeg cannot decode: {error.strerror}") from error
    with container:
        if not container.streams.video:
            raise ValueError(f"{clip}: expected a video, got sound alone; give a file with pictures")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        rate = float(stream.average_rate or 25)
        number, time = 0, 0.0
        try:
            for frame in Progress(
                container.decode(stream), total=stream.frames or None, desc="predict", unit=" frames"
            ):
                time = number / rate if frame.time is None else frame.time
                image = frame.to_image()
                yield image.transpose(_TURNS[frame.rotation]) if frame.rotation in _TURNS else image, time
                number += 1
        except av.FFmpegError as error:
            left_out.append((clip, f"{clip} is truncated after {counted(number, 'frame')}: {error.strerror}"))
            return
        # Some truncated containers end without an error. Sound may be longer than the pictures.
        seconds = (container.duration or 0) / av.time_base if len(container.streams) == 1 else 0.0
        if number < WHOLE * stream.frames or time + 2 / rate < WHOLE * seconds:
            left_out.append((clip, f"{clip} is truncated after {counted(number, 'frame')}, {time:.1f} s"))


class Writer:
    """Writer of an H.264 video with variable frame rate; a context manager."""

    def __init__(self, file: Path) -> None:
        self._av = _av()
        self._container = self._av.open(os.fspath(file), "w")
        self._stream: Any = None
        self._last = -1

    def __enter__(self) -> "Writer":
        return self

    def write(self, image: Image.Image, time: float) -> None:
        """Adds a frame at a time in seconds."""
        # H.264 with chroma subsampling needs even sides.
        even = image.crop((0, 0, max(2, image.width // 2 * 2), max(2, image.height // 2 * 2)))
        if self._stream is None:
            self._stream = self._container.add_stream("h264", rate=30, options={"crf": "20"})
            self._stream.width, self._stream.height, self._stream.pix_fmt = even.width, even.height, "yuv420p"
            self._stream.codec_context.time_base = _TICK
        frame = self._av.VideoFrame.from_image(even)
        self._last = max(self._last + 1, round(time / _TICK))
        frame.pts, frame.time_base = self._last, _TICK
        self._container.mux(self._stream.encode(frame))

    def __exit__(self, *failure: Any) -> None:
        if self._stream is not None and failure[0] is None:
            self._container.mux(self._stream.encode())
        self._container.close()


def _av() -> Any:
    try:
        import av
    except ModuleNotFoundError as error:
        raise ValueError("videos need PyAV, which includes FFmpeg; pip install 'bmc-jax[video]'") from error
    return av
