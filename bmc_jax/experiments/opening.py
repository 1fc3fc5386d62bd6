"""First part of an experiment's page: the 3D label of a hand, and its poses without and with biomechanical losses."""

import base64
import dataclasses
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from bmc_jax import metrics
from bmc_jax.config import Config
from bmc_jax.data import sources
from bmc_jax.experiments.comparison import ArmResults
from bmc_jax.visualization import draw, overlay

POSES = {"2d": "2D labels only", "bl+rb+a": "2D labels and the losses"}
"""Titles of the arms whose poses are shown. These two arms differ only in the biomechanical losses."""
BARS = {"source": "3D labels of another domain", **POSES, "full": "3D labels, the bound"}
"""Titles of the arms whose mean errors are shown, if the experiment has them."""
WORDS = (
    "The images of this domain have only 2D labels in training: these determine the ray of each joint, but not its "
    "depth. The biomechanical losses penalise depths at which bone lengths, the palm or joint angles are beyond the "
    "limits of a hand."
)
PIXELS = 256
"""Side of a picture in pixels."""


def opening(
    arms: Mapping[str, ArmResults],
    kept: Mapping[str, Mapping[str, np.ndarray]],
    images: np.ndarray | None,
    caption: str,
) -> dict[str, Any]:
    """Returns the content of this part.

    Args:
      arms: results on the target.
      kept: arrays of `evaluate.save_predictions` of each arm in `POSES`, for the same images with complete 3D labels.
      images: the first images, uint8 `[n, height, width, 3]`; None for no images.
      caption: text below an image.
    """
    first = next(iter(kept.values()))
    labels = _from_wrist(first["labels_3d"])
    poses = [_from_wrist(of["joints_3d"] * of["scale"][:, None, None]) for of in kept.values()]
    errors = np.stack([metrics.MILLIMETRES * np.abs(of - labels)[..., 2].mean(axis=1) for of in poses], axis=1)
    shown = len(first["image"])
    found = {BARS[name]: arms[name]["mean"]["depth_mm"] for name in BARS if name in arms}
    return {
        "words": WORDS,
        "names": ["3D label", *(POSES[name] for name in kept)],
        "caption": None if images is None else caption,
        "count": len(labels),
        "hands": shown,
        "bars": [
            (title, f"{value:.1f} mm", f"{72 * value / max(found.values()):.1f}", title == BARS["full"])
            for title, value in found.items()
        ],
        "data": {
            "colours": draw.FINGER_COLOURS,
            "opened": ordinary(errors, shown),
            "hands": [
                {
                    "poses": np.stack([labels[i], *(of[i] for of in poses)]).round(5).tolist(),
                    "errors": errors[i].round(2).tolist(),
                    "picture": None if images is None else _picture(images[i], first["labels_2d"][i]),
                }
                for i in range(shown)
            ],
        },
    }


def images(config: Config, entry: str, split: str, kept: Mapping[str, np.ndarray]) -> tuple[np.ndarray | None, str]:
    """Returns the images of the first hands and their caption.

    If the network's input is points, the images are rendered if the hands are from a rendered domain, else None.

    Args:
      config: configuration of a run.
      entry: entry of `data.test`.
      split: split of the hands.
      kept: see `opening`.
    """
    if kept["image"].shape[-1]:
        return kept["image"], "training has such labels of other images"
    source, _ = sources.test_split(entry, split)
    if not sources.kind(source).unlimited:
        return None, ""
    as_images = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, keep_rendered=False),
        network=dataclasses.replace(config.network, input="image", noise=0.0),
    )
    found = sources.rendered(as_images, source, split, len(kept["image"]))
    same = np.allclose(found.joints_2d, kept["labels_2d"][: len(found.image)], atol=0.1)
    return np.asarray(found.image) if same else None, "the network takes the 2D joints, not the image"


def ordinary(errors: np.ndarray, count: int) -> int:
    """Returns the index, among the first `count` rows of `errors [n, arms]`, of the row nearest to the column means.

    The distance is relative to the means.
    """
    means = np.maximum(errors.mean(axis=0), 1e-9)
    return int(np.argmin((np.abs(errors[:count] - means) / means).sum(axis=1)))


def _from_wrist(joints: np.ndarray) -> np.ndarray:
    return metrics.root_relative(np.asarray(joints, np.float64))


def _picture(image: np.ndarray, joints_2d: np.ndarray) -> str:
    """Returns the enlarged image with its label as a data URI."""
    large = Image.fromarray(image).resize((PIXELS, PIXELS), Image.Resampling.BICUBIC)
    drawn = overlay.hand_on(large, (joints_2d + 0.5) * PIXELS / len(image) - 0.5)
    encoded = io.BytesIO()
    drawn.save(encoded, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode()}"
