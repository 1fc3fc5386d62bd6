"""Recordings of pictures and hands, 2D and 3D over time, for the Rerun viewer.

    world                           camera frame: x right, y down, z forward, metres
    world/camera/picture            the pictures; child entities are the hands in pixels
    world/hand_N                    each hand in 3D; N is its number in the picture
    angles/hand_N                   flexions of its 15 joints, degrees

The timelines are `picture`, a number, and for videos `time`, seconds.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bmc_jax.core import hand
from bmc_jax.data import images as pictures
from bmc_jax.inference.outputs import RECORDING, PredictedHands
from bmc_jax.visualization import draw

FILE = f"hands.{RECORDING}"
QUALITY = 85
"""JPEG quality of the pictures."""
CORNER = 0.5
"""Offset in pixels of Rerun's coordinates, whose origin is the corner of the first pixel and not its centre."""


class Recording:
    """A file that grows picture by picture; a context manager. Writes nothing unless `RECORDING` is in `formats`.

    Args:
      folder: folder of the file.
      formats: formats of the results, see `outputs.validate`.
    """

    def __init__(self, folder: Path, formats: Sequence[str]) -> None:
        self._stream: Any = None
        if RECORDING in formats:
            import rerun

            self._rerun = rerun
            self._stream = rerun.RecordingStream("bmc-jax")
            self._stream.save(folder / FILE, default_blueprint=_layout(rerun))
            self._stream.log("world", rerun.ViewCoordinates.RDF, static=True)

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, *_: Any) -> None:
        if self._stream is not None:
            self._stream.flush()
            self._stream.disconnect()

    def picture(self, image: Image.Image, number: int, time: float | None = None) -> None:
        """Adds a picture.

        Args:
          image: the picture, RGB.
          number: number of the picture or frame.
          time: time in the video, seconds.
        """
        if self._stream is None:
            return
        self._at(number, time)
        encoded = io.BytesIO()
        image.save(encoded, "JPEG", quality=QUALITY)
        contents = self._rerun.EncodedImage(contents=encoded.getvalue(), media_type="image/jpeg")
        self._stream.log("world/camera/picture", contents)

    def hands(self, found: PredictedHands) -> None:
        """Adds all hands to their pictures or frames."""
        if self._stream is None:
            return
        together: dict[int, list[int]] = {}
        for i, number in enumerate(_numbers(found)):
            together.setdefault(number, []).append(i)
        names = [
            f"{finger} {joint}"
            for finger, joints in zip(hand.FINGERS, hand.TURNING_JOINTS, strict=True)
            for joint in joints
        ]
        most = max(map(len, together.values()))
        for place in range(most):
            self._stream.log(f"angles/hand_{place}", self._rerun.SeriesLines(names=names), static=True)
        for number, indices in together.items():
            self._at(number, None if found.times is None else found.times[indices[0]])
            view = found.views[indices[0]]
            matrix = view.intrinsics + np.array([[0, 0, CORNER], [0, 0, CORNER], [0, 0, 0]])
            camera = self._rerun.Pinhole(image_from_camera=matrix, resolution=view.size)
            self._stream.log("world/camera", camera)
            for place, i in enumerate(indices):
                self._hand(place, found, i)
            for place in range(len(indices), most):
                for entity in (f"world/camera/picture/hand_{place}", f"world/hand_{place}", f"angles/hand_{place}"):
                    self._stream.log(entity, self._rerun.Clear(recursive=True))

    def _hand(self, place: int, found: PredictedHands, i: int) -> None:
        chains = [[hand.WRIST, *finger] for finger in hand.FINGER_JOINTS]
        flat, solid = found.joints_2d[i] + CORNER, found.joints_metres[i]
        colours = [tuple(bytes.fromhex(colour[1:])) for colour in draw.FINGER_COLOURS]
        side = "left" if found.views[i].request.left else "right"
        words = f"{side}, {'within the limits' if found.assessment.within[i] else 'beyond a limit'}"
        lines = self._rerun.LineStrips2D(
            [flat[chain] for chain in chains], colors=colours, labels=words, show_labels=False
        )
        self._stream.log(f"world/camera/picture/hand_{place}", lines)
        lines = self._rerun.LineStrips3D([solid[chain] for chain in chains], colors=colours, radii=0.003)
        self._stream.log(f"world/hand_{place}", lines)
        flexions = np.degrees(np.asarray(found.assessment.angles[i], np.float64)[..., 0]).reshape(-1)
        self._stream.log(f"angles/hand_{place}", self._rerun.Scalars(flexions))

    def _at(self, number: int, time: float | None) -> None:
        self._stream.set_time("picture", sequence=number)
        if time is not None:
            self._stream.set_time("time", duration=time)


def of_photographs(found: PredictedHands, folder: Path, formats: Sequence[str]) -> None:
    """Writes the recording of hands and of their photographs, if these exist, if `RECORDING` is in `formats`."""
    if RECORDING not in formats:
        return
    with Recording(folder, formats) as recording:
        files = list(dict.fromkeys(view.request.file for view in found.views))
        for number, file in enumerate(files):
            if file.suffix.lower() in pictures.SUFFIXES and file.is_file():
                recording.picture(pictures.read(file).image, number)
        recording.hands(found)


def _numbers(found: PredictedHands) -> list[int]:
    """Returns the number of the picture or frame of each hand."""
    if found.frames is not None:
        return list(found.frames)
    if found.times is not None:
        return list(range(len(found.views)))
    files = {file: number for number, file in enumerate(dict.fromkeys(view.request.file for view in found.views))}
    return [files[view.request.file] for view in found.views]


def _layout(rerun: Any) -> Any:
    """Returns the views: the picture, the hands in 3D, and the angles below."""
    views = rerun.blueprint
    side_by_side = views.Horizontal(
        views.Spatial2DView(origin="world/camera/picture", name="picture"),
        views.Spatial3DView(origin="world", name="3D"),
    )
    return views.Blueprint(
        views.Vertical(side_by_side, views.TimeSeriesView(origin="angles", name="flexion, degrees"), row_shares=[3, 1])
    )
