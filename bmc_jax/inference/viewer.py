"""Predicted hands as one HTML page to turn, zoom and read: `page.html` with the numbers and pictures put in. It asks
nothing of any network."""

import base64
import html
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bmc_jax.data import photographs
from bmc_jax.inference.hand_crop import View
from bmc_jax.visualization import draw

TEMPLATE = Path(draw.__file__).parent / "templates" / "page.html"
#: Hands that a page holds, spread evenly over more.
MOST = 60
#: Of a picture: its side over the longer side of the box, its pixels, and its quality as JPEG.
AROUND, PIXELS, QUALITY = 1.7, 640, 85


def picked(count: int) -> list[int]:
    """Which of so many hands the page shows."""
    return photographs.evenly(count, MOST)


def picture(image: Image.Image, view: View, joints_2d: np.ndarray) -> dict[str, Any]:
    """What the page shows of a picture: the part around the hand's box and its joints `[21, 2]`, as a data URI."""
    low, high = np.reshape(view.box, (2, 2)).astype(np.float64)
    middle, reach = (low + high) / 2, AROUND * (high - low).max() / 2
    low = np.minimum(middle - reach, joints_2d.min(axis=0) - 0.05 * reach)
    high = np.maximum(middle + reach, joints_2d.max(axis=0) + 0.05 * reach)
    left, top = np.floor(np.clip(low, 0, np.array(image.size) - 1)).astype(int).tolist()
    right, bottom = np.ceil(np.clip(high, [left + 1, top + 1], image.size)).astype(int).tolist()
    shrink = min(1.0, PIXELS / max(right - left, bottom - top))
    size = max(1, round((right - left) * shrink)), max(1, round((bottom - top) * shrink))
    shown = image.resize(size, Image.Resampling.LANCZOS, box=(left, top, right, bottom))
    encoded = io.BytesIO()
    shown.save(encoded, "JPEG", quality=QUALITY)
    source = f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode()}"
    return {"source": source, "region": [left, top, right, bottom]}


def page(content: dict[str, Any], numbers: Sequence[int], pictures: Sequence[dict[str, Any]], title: str) -> str:
    """The page of the hands of those numbers of an `answers.document`, each with its `picture`."""
    hands, left_out = content["hands"], len(content["left_out"])
    about = f"{content['checkpoint']['experiment']}, step {content['checkpoint']['step']:,}"
    about += f" · {len(numbers)} of {len(hands)} hands" if len(numbers) < len(hands) else ""
    about += f" · images left out: {left_out}" if left_out else ""
    data = content | {
        "hands": [hands[i] for i in numbers],
        "pictures": pictures,
        "colours": draw.FINGER_COLOURS,
        "about": about,
    }
    # Within a script, only "</script" and "<!--" would end it or change its meaning.
    text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    parts = {"title": html.escape(title), "data": text}
    return re.sub(r"{{(title|data)}}", lambda place: parts[place[1]], TEMPLATE.read_text(encoding="utf-8"))
