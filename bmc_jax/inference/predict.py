"""Prediction of the hands in photographs: joints, overlays and an interactive page. For videos see `video`."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np

from bmc_jax.core.choices import LEAST_SCORE
from bmc_jax.core.types import Prediction
from bmc_jax.data import images as pictures
from bmc_jax.inference import hand_crop, outputs, recording, requests, viewer
from bmc_jax.inference.hand_crop import HandCrop
from bmc_jax.inference.model import Model
from bmc_jax.inference.requests import Request
from bmc_jax.runtime.progress import Progress
from bmc_jax.training import forward
from bmc_jax.training.forward import Trained

MOST_REASONS = 5
"""Largest number of reasons in an error message."""


@dataclass(frozen=True)
class Predicted:
    """Summary of a prediction."""

    out: Path
    hands: int
    within: int
    """Hands within all limits."""
    left_out: tuple[tuple[Path, str], ...]
    """Images, boxes and subfolders without a prediction, each with the reason."""
    unused: dict[str, int] = field(default_factory=dict)
    """Number of boxes that are not used, by reason, see `boxes.Found`."""


def predict(
    folder: str | os.PathLike,
    inputs: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    *,
    step: int | str | None = None,
    left: bool = False,
    box: Sequence[float | int] | None = None,
    boxes: str | os.PathLike | None = None,
    score: float = LEAST_SCORE,
    image_ids: str | os.PathLike | None = None,
    intrinsics: Sequence[float | int] | None = None,
    scale: float | int | None = None,
    formats: Sequence[str] = ("json",),
    passes: int = 1,
    turns: int = 1,
    force: bool = False,
) -> Predicted:
    """Predicts the hands of image files and folders of them, and writes the folder `out`.

    The folder has the joints in each of the `formats`, an overlay for each image, and the interactive `page.html`.
    Images and boxes that cannot be used, and hands whose prediction is not finite, are left out with a reason.

    Args:
      folder: the folder of a run or an export, see `training.forward.load`.
      inputs: image files, and folders of images.
      out: folder of the results.
      step: number of a saved step, or "best", see `training.forward.load`.
      left: see `requests.gather`, as for `box`, `boxes`, `score`, `image_ids` and `intrinsics`.
      box: (x, y, width, height), pixels.
      boxes: COCO file or result list.
      score: lowest score of the boxes that are used.
      image_ids: COCO file of the images of a result list.
      intrinsics: (fx, fy, cx, cy), pixels.
      scale: length of the scale bone in metres; by default `outputs.assumed_scale`.
      formats: formats of the results, see `outputs.validate`.
      passes: number of passes; the second crop is cut around the prediction of the first pass.
      turns: number of rotated crops whose predictions are averaged.
      force: whether to replace an earlier prediction at `out`.

    Returns:
      A summary of the prediction.

    Raises:
      FileExistsError: see `outputs.new_folder`.
      FileNotFoundError: if a checkpoint, image or file of boxes does not exist.
      ValueError: if arguments contradict each other, or no image can be used.
      FloatingPointError: if no prediction is finite.
    """
    outputs.validate(formats, scale)
    images, left_out = requests.files([Path(one) for one in inputs], Path(out))
    gathered = requests.gather(
        images,
        left=left,
        box=box,
        boxes=None if boxes is None else Path(boxes),
        score=score,
        image_ids=None if image_ids is None else Path(image_ids),
        intrinsics=intrinsics,
    )
    left_out += gathered.left_out
    with outputs.new_folder(Path(out), force=force) as building:
        model = Model(forward.load(folder, step), passes=passes, turns=turns)
        trained = model.trained
        crops = _crops(trained, gathered.hands, passes, left_out)
        if not crops:
            reasons = list(dict.fromkeys(map(requests.named, left_out)))
            first = "; ".join(reasons[:MOST_REASONS]) + "; ..." * (len(reasons) > MOST_REASONS)
            raise ValueError(first if len(left_out) == 1 else f"none of the {len(left_out)} can be used: {first}")
        with Progress(total=len(crops), desc="predict", unit=" hands") as bar:
            prediction = model.predict(crops, bar.update)
        crops, prediction = _finite(crops, prediction, left_out)
        found = outputs.assessed(
            trained.limits, crops, *hand_crop.to_pictures(crops, prediction, trained.config), scale
        )
        content = outputs.to_dict(
            outputs.of_checkpoint(trained, passes=passes, turns=turns), trained.limits, found, left_out
        )
        shown = viewer.overlays(content, found, building / "overlays")
        outputs.write(content, found, building, formats)
        recording.of_photographs(found, building, formats)
        title = f"{len(crops)} hands" if len(crops) > 1 else crops[0].request.file.name
        page = viewer.page(content, list(shown), list(shown.values()), title)
        (building / "page.html").write_text(page, "utf-8", "backslashreplace")
    return Predicted(Path(out), len(crops), int(found.assessment.within.sum()), tuple(left_out), gathered.unused)


def _finite(
    crops: Sequence[HandCrop], prediction: Prediction, left_out: list[tuple[Path, str]]
) -> tuple[list[HandCrop], Prediction]:
    """Returns the hands with a finite prediction, all if none is finite, and appends the others to `left_out`."""
    finite = np.isfinite(prediction.joints_2d).all(axis=(1, 2)) & np.isfinite(prediction.joints_3d).all(axis=(1, 2))
    if not finite.any():
        finite[:] = True  # `hand_crop.to_pictures` raises the error
    kept = []
    for one, usable in zip(crops, finite, strict=True):
        if usable:
            kept.append(one)
        else:
            reason = f"{one.request.file}: the prediction is not finite for {one.request.box_from}"
            left_out.append((one.request.file, reason))
    return kept, jax.tree.map(lambda rows: rows[finite], prediction)


def _crops(
    trained: Trained,
    requested: Sequence[Request],
    passes: int,
    left_out: list[tuple[Path, str]],
) -> list[HandCrop]:
    """Returns the crops of the hands, and appends images that cannot be used to `left_out`."""
    crops: list[HandCrop] = []
    current: tuple[Path, pictures.Picture] | None = None
    for request in Progress(requested, desc="read", unit=" images"):
        try:
            if current is None or current[0] != request.file:
                current = (request.file, pictures.read(request.file))
            one = hand_crop.cut(request, current[1], trained.config, passes=passes)
        except MemoryError:
            left_out.append((request.file, f"{request.file} needs more memory than is available; make it smaller"))
            continue
        except (ValueError, OSError) as error:
            if (request.file, str(error)) not in left_out:
                left_out.append((request.file, str(error)))
            continue
        crops.append(one)
    outputs.require_one_size(crops)
    return crops
