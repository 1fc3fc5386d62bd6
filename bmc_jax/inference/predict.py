"""A checkpoint on photographs -> joints in files, overlays, and a page to turn the hands on. `video` is for videos."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bmc_jax.data import images as pictures
from bmc_jax.inference import hand_crop, outputs, requests, viewer
from bmc_jax.inference.hand_crop import View
from bmc_jax.inference.outputs import Answers
from bmc_jax.limits import checking
from bmc_jax.runtime.progress import Progress
from bmc_jax.training import forward
from bmc_jax.training.forward import Trained
from bmc_jax.visualization import overlay


@dataclass(frozen=True)
class Predicted:
    """What became of a prediction."""

    out: Path
    hands: int
    within: int
    """Hands that keep all limits."""
    left_out: tuple[tuple[Path, str], ...]
    """Images of which there is no answer, each with the reason."""


def predict(
    folder: str | os.PathLike,
    inputs: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    *,
    step: int | str | None = None,
    left: bool = False,
    box: Sequence[float | int] | None = None,
    boxes: str | os.PathLike | None = None,
    intrinsics: Sequence[float | int] | None = None,
    scale: float | int | None = None,
    formats: Sequence[str] = ("json",),
    passes: int = 1,
    turns: int = 1,
    force: bool = False,
) -> Predicted:
    """Predict the hands of image files and of folders of them, and write the folder `out`: joints in each of the
    `answers.FORMATS` that is asked for, an overlay for every image, and `page.html`.

    Args:
      folder: of a run or of exported parameters; `step` picks a checkpoint, as `inference.load`.
      left: as `asks.asks`, and so the next three.
      box: where the hand is.
      boxes: where the hands are.
      intrinsics: of all the images.
      scale: metres of the scale bone; by default `answers.assumed_scale`.
      passes: looks at each hand, one after the other, as `inference.answer`.
      turns: turned looks that are averaged.
      force: whether an earlier prediction at `out` is replaced.

    Images that cannot be used are left out with a reason, and the rest goes on.

    Raises:
      FileExistsError: as `answers.folder`.
      FileNotFoundError: if there is no checkpoint, image or file of boxes.
      ValueError: for arguments that contradict each other, and if no image at all can be used.
    """
    outputs.require(formats, scale)
    images = requests.files([Path(one) for one in inputs])
    asked, left_out = requests.asks(
        images, left=left, box=box, boxes=None if boxes is None else Path(boxes), intrinsics=intrinsics
    )
    with outputs.folder(Path(out), force=force) as building:
        trained = forward.load(folder, step)
        seen = _views(trained, asked, passes, left_out, one_size=intrinsics is not None)
        if not seen:
            reasons = "; ".join(dict.fromkeys(reason for _, reason in left_out))
            raise ValueError(reasons if len(left_out) == 1 else f"none of the {len(left_out)} can be used: {reasons}")
        run = forward.program(trained.config, passes=passes, turns=turns)
        few = min(len(seen), trained.config.data.batch_size)
        prediction = forward.predict(trained.config, trained.saved, hand_crop.batch(seen), run=run, batch_size=few)
        found = judged(trained, seen, *hand_crop.answers(seen, prediction, trained.config), scale)
        content = outputs.document(trained, found, left_out, passes=passes, turns=turns)
        shown = _overlays(content, found, building / "overlays")
        outputs.write(content, found, building, formats)
        title = f"{len(seen)} hands" if len(seen) > 1 else seen[0].ask.file.name
        (building / "page.html").write_text(viewer.page(content, list(shown), list(shown.values()), title), "utf-8")
    return Predicted(Path(out), len(seen), int(found.verdict.within.sum()), tuple(left_out))


def judged(
    trained: Trained,
    seen: Sequence[View],
    joints_2d: np.ndarray,
    joints_3d: np.ndarray,
    scale: float | int | None,
    **video: Any,
) -> Answers:
    """The answers with their verdict and their scale in metres."""
    metres, words = (scale, "given") if scale is not None else outputs.assumed_scale(trained.limits)
    left = np.array([one.ask.left for one in seen])
    return Answers(
        seen, joints_2d, joints_3d, checking.assess(joints_3d, trained.limits, left=left), metres, words, **video
    )


def _views(
    trained: Trained,
    asked: Sequence[hand_crop.Ask],
    passes: int,
    left_out: list[tuple[Path, str]],
    *,
    one_size: bool,
) -> list[View]:
    """What can be shown of the hands; what cannot goes to `left_out`."""
    seen: list[View] = []
    opened: tuple[Path, pictures.Picture] | None = None
    for ask in Progress(asked, desc="read", unit=" images"):
        try:
            if opened is None or opened[0] != ask.file:
                opened = (ask.file, pictures.read(ask.file))
            one = hand_crop.view(ask, opened[1], trained.config, passes=passes)
        except (ValueError, OSError) as error:
            if (ask.file, str(error)) not in left_out:
                left_out.append((ask.file, str(error)))
            continue
        if one_size and seen and seen[0].size != one.size and ask.intrinsics_from == requests.GIVEN:
            sizes = " and ".join(f"{each.ask.file} of {each.size[0]}x{each.size[1]}" for each in (seen[0], one))
            raise ValueError(f"the given K is for images of one size, and there are {sizes} pixels; predict them apart")
        seen.append(one)
    return seen


def _overlays(content: dict[str, Any], found: Answers, folder: Path) -> dict[int, dict[str, Any]]:
    """Draw every hand over its image, name the file in the document, and return the pictures of the page."""
    folder.mkdir()
    numbers: dict[Path, list[int]] = {}
    for i, one in enumerate(found.views):
        numbers.setdefault(one.ask.file, []).append(i)
    picked, shown, names = set(viewer.picked(len(found.views))), {}, set()
    for file, of_it in Progress(numbers.items(), desc="draw", unit=" images"):
        image = pictures.read(file).image
        drawn = overlay.hands_on(image, [found.joints_2d[i] for i in of_it])
        kind = ".jpg" if file.suffix.lower() in (".jpg", ".jpeg") else ".png"
        name = _free(file.stem, kind, names)
        drawn.save(folder / name, quality=92)
        for i in of_it:
            content["hands"][i]["overlay"] = f"{folder.name}/{name}"
            if i in picked:
                shown[i] = viewer.picture(image, found.views[i], found.joints_2d[i])
    return dict(sorted(shown.items()))


def _free(stem: str, kind: str, names: set[str]) -> str:
    """A file name that no other image has, whatever folders they are from."""
    name, number = f"{stem}{kind}", 1
    while name.lower() in names:
        number += 1
        name = f"{stem}_{number}{kind}"
    names.add(name.lower())
    return name
