"""Pictures of a webcam, and a window that shows each with its hands, over the picture and in 3D from the side."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from bmc_jax.visualization import overlay

TITLE = "bmc: press q to stop"
#: Share of the window's height that a hand in 3D fills.
FILLED = 0.7


def frames(source: str) -> Iterator[tuple[Image.Image, float]]:
    """Yields the pictures of a webcam by its number, or of a video file in its place, RGB, with their seconds.

    Raises:
      ValueError: if OpenCV, which mediapipe brings, is not installed, or there is no such camera.
    """
    cv2 = _library()
    capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    try:
        if not capture.isOpened():
            raise ValueError(f"webcam {source} cannot be opened; give the number of another, 0 for the first")
        start = time.monotonic()
        while True:
            read, picture = capture.read()
            if not read:
                return
            yield Image.fromarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)), time.monotonic() - start
    finally:
        capture.release()


class Window:
    """A window on the screen. Calls return False once it is to be closed."""

    def __init__(self) -> None:
        self._cv2 = _library()
        # OpenCV's window system ends the process if there is no screen.
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise ValueError("there is no screen for a window; add --no-window, and stop with Ctrl-C")

    def __enter__(self) -> "Window":
        return self

    def __exit__(self, *_: Any) -> None:
        self._cv2.destroyAllWindows()

    def __call__(self, image: Image.Image, pixels: Sequence[np.ndarray], joints: Sequence[np.ndarray]) -> bool:
        """Shows a picture with its hands, pixels `[21, 2]`, and each hand's joints `[21, 3]` beside it."""
        self._cv2.imshow(TITLE, np.asarray(beside(image, pixels, joints))[..., ::-1])
        return self._cv2.waitKey(1) & 0xFF not in (ord("q"), 27)


def beside(image: Image.Image, pixels: Sequence[np.ndarray], joints: Sequence[np.ndarray]) -> Image.Image:
    """Returns the picture with its hands, and beside it each hand from the front and from its right side."""
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
