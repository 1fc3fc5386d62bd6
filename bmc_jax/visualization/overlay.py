"""Overlay of hands on a picture at the picture's resolution, fast enough for the frames of a video."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from bmc_jax.core import hand
from bmc_jax.visualization import draw

#: The lines are drawn this many times larger and then shrunk, which smooths their edges.
FINE = 3
#: Width of a bone, as a share of the longer side of the hand, and its minimum in pixels.
BONE, THINNEST = 0.018, 1.4
#: Width of the dark rim on either side of a bone, as a share of the bone's width, and its opacity, out of 255.
RIM, RIM_OPACITY = 0.45, 150


def hand_on(image: Image.Image, joints: np.ndarray) -> Image.Image:
    """Returns a copy of an RGB image with the hand `joints [21, 2]` drawn on it, in pixels with centres at integers.

    Parts outside the image are cut off.
    """
    drawn = image.copy()
    extent = float(np.ptp(joints, axis=0).max())
    width = max(BONE * extent, THINNEST)
    low = np.floor(np.maximum(joints.min(axis=0) - 3 * width, 0)).astype(int)
    high = np.ceil(np.minimum(joints.max(axis=0) + 3 * width + 1, image.size)).astype(int)
    if (low >= high).any():
        return drawn
    left, top, right, bottom = (*low.tolist(), *high.tolist())
    size = (right - left, bottom - top)
    fine = min(FINE, max(1, 6000 // max(size)))
    # Pillow's coordinates start at the corner of the first pixel.
    points = (joints - low + 0.5) * fine
    layer = Image.new("RGBA", (size[0] * fine, size[1] * fine), (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    chains = [points[[hand.WRIST, *finger]] for finger in hand.FINGER_JOINTS]
    rim = width * (1 + 2 * RIM) * fine
    for chain in chains:
        _line(pen, chain, rim, (0, 0, 0, RIM_OPACITY))
    for chain, colour in zip(chains, draw.FINGER_COLOURS, strict=True):
        _line(pen, chain, width * fine, colour)
    for point in points:
        _dot(pen, point, 0.95 * width * fine, draw.INK)
        _dot(pen, point, 0.65 * width * fine, draw.PAPER)
    layer = layer.resize(size, Image.Resampling.BOX) if fine > 1 else layer
    drawn.paste(layer, (left, top), layer)
    return drawn


def hands_on(image: Image.Image, hands: Sequence[np.ndarray]) -> Image.Image:
    """Returns a copy of an RGB image with several hands drawn on it."""
    for joints in hands:
        image = hand_on(image, joints)
    return image


def _line(pen: ImageDraw.ImageDraw, chain: np.ndarray, width: float, colour: str | tuple[int, ...]) -> None:
    pen.line([tuple(point) for point in chain.tolist()], fill=colour, width=max(1, round(width)))
    for point in chain:
        _dot(pen, point, width / 2, colour)


def _dot(pen: ImageDraw.ImageDraw, point: np.ndarray, radius: float, colour: str | tuple[int, ...]) -> None:
    x, y = point.tolist()
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
