"""Pictures of a webcam, and a window that shows the hands over each picture and in 3D from two sides."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from bmc_jax.visualization import overlay

TITLE = "bmc: press q to stop"
FILLED = 0.7
"""Size of a hand in 3D relative to its part of the window."""


def frames(source: str) -> Iterator[tuple[Image.Image, float]]:
    """Yields the pictures, RGB, of a webcam or a video file, with their times in seconds.

    Args:
      source: number of the webcam, or path of a video file.

    Raises:
      ValueError: if OpenCV, a dependency of mediapipe, is not installed, or the webcam cannot be opened.
    """
    cv2 = _library()
    capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    try:
        if not capture.isOpened():
            raise ValueError(f"webcam {source} cannot be opened; give the number of another webcam, 0 for the first")
        start = time.monotonic()
        while True:
            read, picture = capture.read()
            if not read:
                return
            yield Image.fromarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)), time.monotonic() - start
    finally:
        capture.release()


class Window:
    """A window on the screen. A call returns False if the user asks to close it."""

    def __init__(self) -> None:
        self._cv2 = _library()
        # OpenCV's window system aborts the process if there is no display.
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise ValueError("expected a display for the window, got none; add --no-window, and stop with Ctrl-C")

    def __enter__(self) -> "Window":
        return self

    def __exit__(self, *_: Any) -> None:
        self._cv2.destroyAllWindows()

    def __call__(self, image: Image.Image, pixels: Sequence[np.ndarray], joints: Sequence[np.ndarray]) -> bool:
        """Shows a picture with its hands, pixels `[21, 2]`, and the joints `[21, 3]` of each hand next to it."""
        self._cv2.imshow(TITLE, np.asarray(beside(image, pixels, joints))[..., ::-1])
        return self._cv2.waitKey(1) & 0xFF not in (ord("q"), 27)


def beside(image: Image.Image, pixels: Sequence[np.ndarray], joints: Sequence[np.ndarray]) -> Image.Image:
    """Returns the picture with its hands, and next to it each hand from the front and from the right."""
    side = image.height // 2
    views = [one[:, axes] * signs for one in joints[:2] for axes, signs in (([0, 1], (1, 1)), ([2, 1], (-1, 1)))]
    panel = Image.new("RGB", (2 * side, image.height), (244, 246, 248))
    for i, view in enumerate(views):
        low, high = view.min(axis=0), view.max(axis=0)
        centred = (view - (low + high) / 2) * FILLED * side / float((high - low).max())
        place = np.array([i % 2, i // 2]) * side + side / 2
        panel = overlay.hand_on(panel, centred + place)
    shown = Image.new("RGB", (image.width + panel.width, image.height))
    shown.paste(overlay.hands_on(image, pixels))
    shown.paste(panel, (image.width, 0))
    return shown


def _library() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise ValueError(f"a webcam needs OpenCV ({error}); pip install 'bmc-jax[mediapipe]'") from error
    return cv2
