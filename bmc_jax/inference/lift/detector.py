"""Hand detection by MediaPipe's Hand Landmarker: landmarks with depth, world landmarks, and sides.

The wheels of mediapipe 0.10.5 to 0.10.21 include its two models; later wheels need a file with the models.
"""

import contextlib
import dataclasses
import io
import os
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image

MODEL_VARIABLE = "BMC_MEDIAPIPE_MODEL"
"""Environment variable that names the file of the models."""
#: Names of the models in a .task file, and their paths in older wheels and installations.
MODELS = {
    "hand_detector.tflite": "mediapipe/modules/palm_detection/palm_detection_full.tflite",
    "hand_landmarks_detector.tflite": "mediapipe/modules/hand_landmark/hand_landmark_full.tflite",
}
REMEDY = (
    "give --model FILE, or set BMC_MEDIAPIPE_MODEL, with Google's hand_landmarker.task or the wheel of an older "
    "mediapipe, which includes the models: pip download --no-deps --only-binary=:all: --python-version 3.11 "
    "mediapipe==0.10.14"
)
MOST_HANDS = 6
"""Largest number of hands that are found in a picture."""
BORDER = 0.35
"""Width of the border, relative to the picture's longer side, that is added for a second attempt if no hand is found:
the palm detector misses hands that fill the picture."""


@dataclass(frozen=True)
class DetectedHand:
    """A hand in a picture. In a mirrored picture, a right hand is a left hand."""

    pixels: np.ndarray
    """`[21, 2]`, the centre of the first pixel at (0, 0), FreiHAND order."""
    z: np.ndarray
    """`[21]`, pixels, relative to the wrist, larger away from the camera."""
    world: np.ndarray
    """`[21, 3]`, metres relative to the hand's centre, x right, y down, z forward."""
    left: bool
    score: float
    """Probability of the side."""


class HandDetector:
    """MediaPipe's Hand Landmarker; a context manager for use in one thread.

    It tracks hands: landmarks are found in a crop around the landmarks of the previous frame. A photograph is therefore
    processed twice, after an empty picture that ends the tracking, so that the landmarks are not from the coarser crop
    of the palm detector.
    """

    def __init__(self, model: str | os.PathLike[str] | None = None, *, video: bool = False) -> None:
        """Loads the models.

        Args:
          model: a .task file, or a wheel with the models. By default the file that `MODEL_VARIABLE` names, or the
            models of the installed mediapipe.
          video: whether the pictures are the frames of a video, in which hands are tracked.

        Raises:
          FileNotFoundError: if the file does not exist.
          ValueError: if mediapipe is not installed, or the file has no models. The message names a remedy.
        """
        mediapipe, vision, options = _library()
        self._image = lambda pixels: mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
        self._video = video
        self._milliseconds = 0
        bundle = options(model_asset_buffer=_bundle(model, Path(mediapipe.__file__).parents[1]))
        try:
            with _quiet():
                self._landmarker = vision.HandLandmarker.create_from_options(
                    vision.HandLandmarkerOptions(
                        base_options=bundle, running_mode=vision.RunningMode.VIDEO, num_hands=MOST_HANDS
                    )
                )
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"MediaPipe cannot use the models: {str(error).splitlines()[0]}; {REMEDY}") from error

    def __enter__(self) -> "HandDetector":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _quiet():
            self._landmarker.close()

    def __call__(self, image: Image.Image, seconds: float = 0.0) -> list[DetectedHand]:
        """Returns the hands in an RGB picture, or in a frame of a video at an increasing time in seconds."""
        if self._video:
            return self._find(image, round(1000 * seconds))
        found = self._look(image)
        if found:
            return found
        border = round(BORDER * max(image.size))
        larger = Image.new("RGB", (image.width + 2 * border, image.height + 2 * border))
        larger.paste(image, (border, border))
        return [dataclasses.replace(one, pixels=one.pixels - border) for one in self._look(larger)]

    def _look(self, image: Image.Image) -> list[DetectedHand]:
        self._find(Image.new("RGB", (64, 64)))
        first = self._find(image)
        return (self._find(image) or first) if first else []

    def _find(self, image: Image.Image, milliseconds: int = 0) -> list[DetectedHand]:
        self._milliseconds = max(milliseconds, self._milliseconds + 1)
        # MediaPipe projects the landmarks of rotated crops correctly only in square pictures.
        side = max(image.size)
        square = Image.new("RGB", (side, side))
        square.paste(image)
        with _quiet():
            result = self._landmarker.detect_for_video(self._image(np.asarray(square)), self._milliseconds)
        hands = zip(result.hand_landmarks, result.hand_world_landmarks, result.handedness, strict=True)
        return [_hand(*one, side) for one in hands]


def _hand(landmarks: Any, world: Any, sides: Any, side: int) -> DetectedHand:
    shares, metres = (np.array([[point.x, point.y, point.z] for point in points]) for points in (landmarks, world))
    return DetectedHand(
        pixels=shares[:, :2] * side - 0.5,
        z=shares[:, 2] * side,
        world=metres,
        left=sides[0].category_name == "Left",
        score=float(sides[0].score),
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Discards the output of MediaPipe's library to the standard error of the process."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _bundle(model: str | os.PathLike[str] | None, packages: Path) -> bytes:
    """Returns the content of a .task file, which is a zip archive of both models."""
    given = model or os.environ.get(MODEL_VARIABLE)
    if given is None:
        places = {name: packages / place for name, place in MODELS.items()}
        if not all(place.is_file() for place in places.values()):
            raise ValueError(f"the installed mediapipe does not include its models; {REMEDY}")
        return _zip({name: place.read_bytes() for name, place in places.items()})
    file = Path(given)
    if not file.is_file():
        raise FileNotFoundError(f"expected a file of MediaPipe's models, got no file {file}; {REMEDY}")
    try:
        with zipfile.ZipFile(file) as archive:
            names = set(archive.namelist())
            if names.issuperset(MODELS):
                return file.read_bytes()
            if names.issuperset(MODELS.values()):
                return _zip({name: archive.read(place) for name, place in MODELS.items()})
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"{file}: expected MediaPipe's models, got another or a damaged file ({error}); {REMEDY}"
        ) from error
    raise ValueError(f"{file}: expected the models of MediaPipe's Hand Landmarker, got other files; {REMEDY}")


def _zip(content: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return stream.getvalue()


def _library() -> tuple[Any, Any, Any]:
    try:
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision
    except ImportError as error:
        raise ValueError(
            f"MediaPipe is not installed or cannot be loaded ({error}); pip install 'bmc-jax[mediapipe]'"
        ) from error
    return mediapipe, vision, BaseOptions
