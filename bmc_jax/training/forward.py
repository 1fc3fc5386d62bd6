"""A trained network, opened from its folder and asked about images, in as many looks at each as are wanted.

With two passes the second crop is cut around the hand that the first one found; with several turns the picture is also
shown turned, and the answers are averaged. Every look is an affine map that goes into K, so the answers need no turning
back but for their pixels. There is no flip: a flipped right hand is a left one, which the network has never seen.
"""

import dataclasses
import math
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bmc_jax import limits
from bmc_jax.config import Config
from bmc_jax.core import camera
from bmc_jax.core.types import Batch, Limits, Prediction
from bmc_jax.data import augment, input_pipeline
from bmc_jax.metrics import evaluation
from bmc_jax.runtime.progress import Progress
from bmc_jax.training import checkpoint, config_io, parallel, step

WIDE = 2.0
"""Side of the square that two passes look at over the crop's: the second crop may lie anywhere in it."""
TURN = 20.0
"""Degrees up to which several turns go, either way: well within what augmentation shows while training."""
#: Shares of the first crop's side that the second's is held within. Beyond 1.5, resampling would need a blur.
SECOND_SIDE = (0.4, 1.5)
BEST = "best"
"""In the place of a step: the one with the best `training.best`."""


@dataclass(frozen=True)
class Trained:
    """What a run's folder or an exported one holds."""

    folder: Path
    config: Config
    limits: Limits
    saved: dict[str, Any]
    """The state, as `checkpoint.load` returns it."""


def load(folder: str | os.PathLike, step: int | str | None = None) -> Trained:
    """The newest checkpoint of a folder, that of a step, or "best".

    Raises:
      FileNotFoundError: if the folder holds no run, no checkpoint, or not that one.
      ValueError: if its files cannot be read, or no best one was kept.
    """
    folder = Path(folder)
    config = config_io.read(folder)
    number = None if step is None or step == BEST else int(step)
    if step == BEST:
        key = config.training.best
        if not key:
            raise ValueError(f"{folder} kept no best checkpoint: training.best named no measure")
        number = checkpoint.best(folder, key, less=evaluation.less_is_better(key))
    saved = checkpoint.load(folder, number)
    return Trained(folder, config, limits.load(folder / limits.FILE), saved)


def stored_size(config: Config, passes: int) -> int:
    """Side in pixels of the images that so many passes look at."""
    size = config.data.image_size
    return size if passes == 1 else size + 2 * math.ceil(size * (WIDE - 1) / 2)


def program(config: Config, *, passes: int = 1, turns: int = 1) -> Any:
    """`answer` over the local devices: (state, batch `[device, b, ...]`) -> predictions `[device, b, ...]`."""
    return parallel.parallelize(partial(answer, config=config, passes=passes, turns=turns), (None, 0), 0)


def answer(state: step.TrainState, batch: Batch, *, config: Config, passes: int = 1, turns: int = 1) -> Prediction:
    """The predictions for a batch of images `[b, stored, stored, 3]`, pixels being those of their central crop.

    Raises ValueError if `passes` is neither 1 nor 2, or `turns` not positive.
    """
    if passes not in (1, 2) or turns < 1:
        raise ValueError(f"passes must be 1 or 2 and turns positive, not {passes} and {turns}")
    if config.network.input == "points" and (passes, turns) != (1, 1):
        raise ValueError(f"passes {passes} and turns {turns} are looks at images; network.input 'points' has one only")
    size = config.data.image_size
    crops = augment.central(batch, size)
    if passes == 1 and turns == 1:
        return step.eval_step(state, crops, config=config)
    stored = batch.image.shape[-2]
    centre = jnp.full((len(batch.image), 2), (stored - 1) / 2, jnp.float32)
    side = jnp.full((len(batch.image),), float(size), jnp.float32)
    if passes == 2:
        first = step.eval_step(state, crops, config=config)
        centre, side = _around(first.joints_2d + (stored - size) / 2, config)
    degrees = np.linspace(-TURN, TURN, turns) if turns > 1 else np.zeros(1)
    looks = [_look(state, batch, centre, side, math.radians(angle), config) for angle in degrees]
    pixels, relative, root, refined = (jnp.mean(jnp.stack(part), axis=0) for part in zip(*looks, strict=True))
    return Prediction(
        joints_2d=pixels - (stored - size) / 2,
        relative_depth=relative,
        root_depth=root,
        refined_root_depth=refined,
        joints_3d=camera.lift(pixels, relative, refined, jnp.asarray(batch.intrinsics)),
    )


def _around(pixels: Float[Array, "b 21 2"], config: Config) -> tuple[Float[Array, "b 2"], Float[Array, " b"]]:
    """Middle and side of the crop around some joints, as training crops are cut."""
    size = config.data.image_size
    low, high = pixels.min(axis=-2), pixels.max(axis=-2)
    nearest, farthest = (share * size for share in SECOND_SIDE)
    return (low + high) / 2, jnp.clip(config.data.margin * (high - low).max(axis=-1), nearest, farthest)


def _look(
    state: step.TrainState,
    batch: Batch,
    centre: Float[Array, "b 2"],
    side: Float[Array, " b"],
    angle: float,
    config: Config,
) -> tuple[Float[Array, "b 21 2"], Float[Array, "b 21"], Float[Array, " b"], Float[Array, " b"]]:
    """Pixels of the image, relative depths and both root depths, of one crop of each image."""
    size = config.data.image_size
    turned = camera.rotation_affine(jnp.full_like(side, angle), centre)
    affine = camera.warp_intrinsics(camera.crop_affine(centre, side, size), turned)
    shown = jax.vmap(partial(augment.warp, size=size))(batch.image, affine)
    crops = dataclasses.replace(
        batch,
        image=jnp.round(shown).astype(jnp.uint8),
        intrinsics=camera.warp_intrinsics(affine, jnp.asarray(batch.intrinsics)),
    )
    found = step.eval_step(state, crops, config=config)
    pixels = camera.warp_pixels(jnp.linalg.inv(affine), found.joints_2d)
    return pixels, found.relative_depth, found.root_depth, found.refined_root_depth


def predict(
    config: Config, saved: dict[str, Any], examples: Batch, *, run: Any = None, batch_size: int | None = None
) -> Prediction:
    """The predictions of a saved state for `examples [count, ...]`, host numpy in their order, each example once.

    `run` is a `program` of that configuration, by default of one look; for two passes the images must have
    `stored_size` pixels. Of the examples only images, intrinsics and presence are read. A call has `batch_size` images,
    by default `data.batch_size`.
    """
    devices = jax.local_device_count()
    batch_size = -(-(batch_size or config.data.batch_size) // devices) * devices
    run, state = run or program(config), parallel.replicate(step.evaluated(saved))
    parts = []
    with Progress(total=len(examples.present), desc="predict", unit=" images") as bar:
        for batch in input_pipeline.evaluation_batches(examples, batch_size):
            prediction, present = input_pipeline.unshard((run(state, batch), batch.present))
            parts.append(jax.tree.map(lambda rows: rows[present], prediction))  # noqa: B023, used at once
            bar.update(int(present.sum()))
    return jax.tree.map(lambda *rows: np.concatenate(rows), *parts)
