"""Interactive HTML page of predicted hands, in 3D and over their pictures, with all angles and their limits."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bmc_jax.data import images as pictures
from bmc_jax.data import photographs
from bmc_jax.inference.outputs import PredictedHands, View
from bmc_jax.runtime.progress import Progress
from bmc_jax.visualization import draw, html, overlay

MAX_HANDS = 60
"""Largest number of hands on a page, evenly selected from more."""
AROUND, PIXELS, QUALITY = 1.7, 640, 85
"""Side of a picture relative to the longer side of the hand's box, largest side in pixels, and JPEG quality."""


def selected(count: int) -> list[int]:
    """Returns the indices, among `count` hands, of the hands on the page."""
    return photographs.evenly(count, MAX_HANDS)


def picture(image: Image.Image, view: View, joints_2d: np.ndarray) -> dict[str, Any]:
    """Returns the part of an image around a hand's box and its joints `[21, 2]`, as a data URI, with its region."""
    low, high = np.reshape(view.box, (2, 2)).astype(np.float64)
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
    """Returns the HTML page of some hands.

    Args:
      content: result of `outputs.to_dict`.
      indices: indices of the hands.
      pictures: the `picture` of each.
      title: title of the page.
    """
    hands, left_out = content["hands"], len(content["left_out"])
    about = _source(content)
    about += f" · {len(indices)} of {len(hands)} hands" if len(indices) < len(hands) else ""
    about += f" · left out: {left_out}" if left_out else ""
    data = content | {
        "hands": [hands[i] for i in indices],
        "pictures": pictures,
        "colours": draw.FINGER_COLOURS,
        "about": about,
        "source": _source(content),
    }
    return html.render("viewer.html", title=title, data=data)


def overlays(content: dict[str, Any], found: PredictedHands, folder: Path) -> dict[int, dict[str, Any]]:
    """Draws each hand over its image, adds the file's name to the content, and returns the pictures of the page.

    Hands whose image does not exist have an empty picture.
    """
    folder.mkdir()
    numbers: dict[Path, list[int]] = {}
    for i, one in enumerate(found.views):
        numbers.setdefault(one.request.file, []).append(i)
    of_page, drawn_hands, names = set(selected(len(found.views))), {}, set()
    for file, of_it in Progress(numbers.items(), desc="draw", unit=" images"):
        if file.suffix.lower() not in pictures.SUFFIXES or not file.is_file():
            for i in of_page.intersection(of_it):
                empty = Image.new("RGB", found.views[i].size, draw.PAPER)
                drawn_hands[i] = picture(empty, found.views[i], found.joints_2d[i])
            continue
        image = pictures.read(file).image
        drawn = overlay.hands_on(image, [found.joints_2d[i] for i in of_it])
        kind = ".jpg" if file.suffix.lower() in (".jpg", ".jpeg") else ".png"
        name = _free(file.stem, kind, names)
        drawn.save(folder / name, quality=92)
        for i in of_it:
            content["hands"][i]["overlay"] = f"{folder.name}/{name}"
            if i in of_page:
                drawn_hands[i] = picture(image, found.views[i], found.joints_2d[i])
    return dict(sorted(drawn_hands.items()))


def _free(stem: str, kind: str, names: set[str]) -> str:
    """Returns a file name that no image has yet; images from different folders may have the same name."""
    name, number = f"{stem}{kind}", 1
    while name.lower() in names:
        number += 1
        name = f"{stem}_{number}{kind}"
    names.add(name.lower())
    return name


def _source(content: dict[str, Any]) -> str:
    if "landmarks" in content:
        given = content["landmarks"]
        return f"landmarks of {given['from']}, depth from {given['depth']}, repaired {given['repair']}"
    return f"{content['checkpoint']['experiment']}, step {content['checkpoint']['step']:,}"
