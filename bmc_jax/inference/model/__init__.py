"""A trained network in memory, which maps images or landmarks to hands. `predict` and `video` use it for files."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bmc_jax.config import Config
from bmc_jax.core.choices import LIFT_LIMITS
from bmc_jax.core.types import Array, Limits, Prediction
from bmc_jax.data.images import Picture
from bmc_jax.inference import hand_crop, outputs, seen
from bmc_jax.inference.hand_crop import HandCrop
from bmc_jax.inference.model import arguments
from bmc_jax.inference.model.hands import Hands as Hands
from bmc_jax.inference.requests import Request
from bmc_jax.inference.seen import Camera, SeenHand
from bmc_jax.limits import io
from bmc_jax.poses.lifting import Landmarks
from bmc_jax.training import forward, parallel, step
from bmc_jax.training.forward import Trained


class Model:
    """A trained network on all local devices, with the limits that it was trained with.

    Hands are padded to a power of two, at most `data.batch_size`, and more are predicted in parts of that size: the
    network is compiled once for each size. Calls from several threads at once are safe. Nothing is written or printed.
    """

    def __init__(self, trained: Trained, *, passes: int = 1, turns: int = 1) -> None:
        """Puts the weights on the devices.

        Args:
          trained: content of a run's folder, see `training.forward.load`.
          passes: number of passes, each with the crop of the one before: 1 or 2.
          turns: number of rotated copies that are averaged, see `training.forward`.
        """
        self.trained = trained
        self._passes = passes
        self._run = forward.program(trained.config, passes=passes, turns=turns)
        self._state = parallel.replicate(step.evaluated(trained.saved))

    def __repr__(self) -> str:
        return f"Model({os.fspath(self.trained.folder)!r}, step {int(self.trained.saved['step'])})"

    @property
    def config(self) -> Config:
        """The configuration of the run."""
        return self.trained.config

    @property
    def limits(self) -> Limits:
        """The limits of the run."""
        return self.trained.limits

    def __call__(
        self,
        images: Array | Sequence[Array],
        boxes: Array | Sequence[Array] | None = None,
        *,
        intrinsics: Array | None = None,
        left: Array | bool = False,
        scale: float | int | None = None,
    ) -> Hands:
        """Predicts the hands in images.

        Args:
          images: one image, RGB, uint8 `[height, width, 3]`, or a batch or list of them.
          boxes: of one image, the boxes of its hands `[n, 4]`: left, top, right, bottom in pixels. Of several images,
            for each its boxes `[n, 4]`, or its only one `[4]`; none, `[0, 4]`, is possible. None for the middle square
            of every image.
          intrinsics: K `[3, 3]` of all images or `[images, 3, 3]`, pixels. By default the focal length is assumed, see
            `hand_crop.DEFAULT`.
          left: whether the hands are left ones: one value, or one for each hand.
          scale: metres of the bone from middle MCP to middle PIP; by default `outputs.assumed_scale`.

        Raises:
          ValueError: naming the argument, its value and a remedy, if an argument has the wrong shape, type or range, or
            the network takes 2D joints.
          FloatingPointError: if a prediction is not finite.
        """
        if self.config.network.input != "image":
            raise ValueError(
                f"{self.trained.folder}: expected network.input 'image', got {self.config.network.input!r}; load a run "
                "whose network takes images"
            )
        outputs.validate_scale(scale)
        arrays = arguments.images(images)
        number, requests = arguments.requests(list(arrays), boxes, intrinsics, left)
        opened = [Picture(Image.fromarray(array)) for array in arrays.values()]
        crops = [
            hand_crop.cut(request, opened[i], self.config, passes=self._passes)
            for i, request in zip(number, requests, strict=True)
        ]
        if not crops:
            return Hands.none()
        left_hands = np.array([request.left for request in requests])
        in_pictures = hand_crop.to_pictures(crops, self.predict(crops), self.config)
        return Hands(
            np.array(number), left_hands, **outputs.arrays(outputs.assessed(self.limits, crops, *in_pictures, scale))
        )

    def lift(
        self,
        landmarks: Landmarks,
        size: tuple[int, int],
        *,
        intrinsics: Array | None = None,
        left: Array | bool = False,
        scale: float | int | None = None,
        limits: Limits | None = None,
    ) -> Hands:
        """Lifts landmarks of any detector to feasible hands, as `bmc lift` does, see `poses.lift`.

        The trained network is not used: the depth is that of the landmarks, or of the lifting network of
        `models.lifter`. Hands with landmarks that are not finite are NaN.

        Args:
          landmarks: of the hands, `[n, ...]`, as they appear in images of one size: left hands are not mirrored.
          size: (width, height) of the images.
          intrinsics: K `[3, 3]` of all hands or `[n, 3, 3]`, pixels. By default the focal length is assumed, see
            `seen.ASSUMED`.
          left: whether the hands are left ones: one value, or one for each hand.
          scale: metres of the bone from middle MCP to middle PIP; by default `outputs.assumed_scale`.
          limits: of a right hand; by default the preset of `bmc lift`, `choices.LIFT_LIMITS`. Those of the run are
            `self.limits`.

        Raises:
          ValueError: naming the argument, its value and a remedy, if an argument has the wrong shape, type or range.
        """
        outputs.validate_scale(scale)
        given, size = arguments.landmarks(landmarks), arguments.image_size(size)
        count = len(given.pixels)
        sides = arguments.sides(left, count)
        cameras = arguments.cameras(intrinsics, count, f"[{count}, 3, 3] with one for each hand")
        if not count:
            return Hands.none()
        allowed, assumed = io.load(LIFT_LIMITS) if limits is None else limits, Camera().matrix(size, None)
        hands = []
        for i, k in enumerate(cameras):
            request = Request(Path(f"landmarks[{i}]"), bool(sides[i]))
            camera = assumed if k is None else (hand_crop.pinhole(k, request.file, "intrinsics"), "intrinsics")
            own = Landmarks(*(None if part is None else part[i] for part in given))
            hands.append(SeenHand(request, size, *camera, own))
        found = outputs.assessed(allowed, hands, given.pixels, seen.in_3d(hands, allowed).joints, scale)
        return Hands(np.arange(count), sides, **outputs.arrays(found))

    def predict(self, crops: Sequence[HandCrop], advance: Callable[[int], Any] | None = None) -> Prediction:
        """Returns the predictions of one or more crops of `hand_crop.cut`, host numpy in their order.

        Args:
          crops: cut with this configuration and number of passes.
          advance: called with the number of hands that were predicted since the call before.
        """
        padded = 1 << (len(crops) - 1).bit_length()
        most = self.config.data.batch_size
        return forward.in_batches(self._run, self._state, hand_crop.batch(crops), min(padded, most), advance=advance)


def load(folder: str | os.PathLike, *, step: int | str | None = None, passes: int = 1, turns: int = 1) -> Model:
    """Loads a trained network into memory.

    Args:
      folder: folder of a run or of an export, or `hf:owner/name` for an export on the Hugging Face Hub.
      step: number of a saved step, "best" for the step with the best `training.best`, or None for the newest.
      passes: see `Model`.
      turns: see `Model`.

    Returns:
      The network, a function of images.

    Raises:
      FileNotFoundError: if the folder contains no run, or not that checkpoint.
      ConnectionError: if the hub cannot be reached.
      ValueError: if the files cannot be read, or `step` is "best" and the run kept no best checkpoint.

    Examples:
      >>> import bmc_jax
      >>> model = bmc_jax.load("runs/mine")  # doctest: +SKIP
      >>> hands = model(image, boxes=[[100, 80, 300, 320]])  # doctest: +SKIP
      >>> hands.joints_3d.shape  # doctest: +SKIP
      (1, 21, 3)
    """
    return Model(forward.load(folder, step), passes=passes, turns=turns)
