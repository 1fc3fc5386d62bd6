"""Interactive HTML page of predicted hands, in 3D and over their pictures, with every angle and its limits."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from bmc_jax.data import photographs
from bmc_jax.inference.hand_crop import HandCrop
from bmc_jax.visualization import draw, html

#: Hands of a page, selected evenly from more.
MAX_HANDS = 60
#: Side of a picture over the longer side of the hand's box, its greatest side in pixels, and its JPEG quality.
AROUND, PIXELS, QUALITY = 1.7, 640, 85


def selected(count: int) -> list[int]:
    """Returns the indices of the hands of the page, from `count` hands."""
    return photographs.evenly(count, MAX_HANDS)


def picture(image: Image.Image, crop: HandCrop, joints_2d: np.ndarray) -> dict[str, Any]:
    """Returns the part of an image around a hand's box and its joints `[21, 2]`, as a data URI, with its region."""
    low, high = np.reshape(crop.box, (2, 2)).astype(np.float64)
    middle, reach = (low + high) / 2, AROUND * (high - low).max() / 2
    low = np.minimum(middle - reach, joints_2d.min(axis=0) - 0.05 * reach)
    high = np.maximum(middle + reach, joints_2d.max(axis=0) + 0.05 * reach)
    left, top = np.floor(np.clip(low, 0, np.array(image.size) - 1)).astype(int).tolist()
    right, bottom = np.ceil(np.clip(high, [left + 1, top + 1], image.size)).astype(int).tolist()
    shrink = min(1.0, PIXELS / max(right - left, bottom - top))
    size = max(1, round((right - left) * shrink)), max(1, round((bottom - top) * shrink))
    encoded = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS, box=(left, top, right, bottom)).save(encoded, "JPEG", quality=QUALITY)
    source = f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode()}"
    return {"source": source, "region": [left, top, right, bottom]}


def page(content: dict[str, Any], indices: Sequence[int], pictures: Sequence[dict[str, Any]], title: str) -> str:
    """Returns the page of the hands at `indices` of an `outputs.to_dict`, with the `picture` of each."""
    hands, left_out = content["hands"], len(content["left_out"])
    about = f"{content['checkpoint']['experiment']}, step {content['checkpoint']['step']:,}"
    about += f" · {len(indices)} of {len(hands)} hands" if len(indices) < len(hands) else ""
    about += f" · left out: {left_out}" if left_out else ""
    data = content | {
        "hands": [hands[i] for i in indices],
        "pictures": pictures,
        "colours": draw.FINGER_COLOURS,
        "about": about,
    }
    return html.render("viewer.html", title=title, data=data)
