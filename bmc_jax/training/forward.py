"""Inference with a trained network, optionally on several crops of each image.

With two passes, the second crop is cut around the hand that the first pass predicts. With several turns, the crop is
also rotated, and the predictions are averaged. Each crop is an affine map of the image, which is multiplied into K, so
only the predicted pixels have to be mapped back. Crops are not flipped: the network is not trained on left hands.
"""

import dataclasses
import math
import os
from collections.abc import Callable
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
from bmc_jax.core.choices import MOST_TURNS
from bmc_jax.core.types import Batch, Limits, Prediction
from bmc_jax.data import augment, input_pipeline
from bmc_jax.metrics import evaluation
from bmc_jax.runtime import hub
from bmc_jax.runtime.progress import Progress
from bmc_jax.training import checkpoint, config_io, parallel, step, weights_file

TWO_PASS_SIDE = 2.0
"""Side of the stored image relative to the first crop. The second crop is anywhere in the stored image."""
MAX_TURN = 20.0
"""Largest rotation of several turns, in degrees: well within the range of augmentation."""
SECOND_SIDE = (0.4, 1.5)
"""Bounds of the side of the second crop relative to the first. Beyond 1.5, resampling would need a blur."""
BEST = "best"
"""Value of `step` that selects the step with the best `training.best`."""


@dataclass(frozen=True)
class Trained:
    """Content of a run's folder or of an exported folder."""

    folder: Path
    config: Config
    limits: Limits
    saved: dict[str, Any]
    """The training state, as `checkpoint.load` returns it."""


def load(folder: str | os.PathLike, step: int | str | None = None) -> Trained:
    """Loads a trained network.

    Args:
      folder: the folder of a run, an exported folder, or `hf:owner/name` for one on the Hugging Face Hub, see
        `hub.download`.
      step: number of a saved step, "best" for the step with the best `training.best`, None for the newest.

    Raises:
      FileNotFoundError: if the folder has no run, or not this checkpoint.
      ConnectionError: if the hub cannot be reached.
      ValueError: if the files cannot be read, or `step` is "best" and the run has no best checkpoint.
    """
    folder = hub.download(str(folder)) if hub.names(folder) else Path(folder)
    config = config_io.read(folder)
    if _is_weights_alone(folder):
        if step is not None:
            raise FileNotFoundError(
                f"{folder}: expected checkpoints to choose step {step} from, got {weights_file.FILE} alone; leave "
                "step out"
            )
        saved, _ = weights_file.read(folder)
        return Trained(folder, config, limits.load(folder / limits.FILE), saved)
    number = None if step is None or step == BEST else int(step)
    if step == BEST:
        key = config.training.best
        if not key:
            raise ValueError(f"{folder}: expected training.best to name a metric, got ''; choose a step by its number")
        number = checkpoint.best(folder, key, less=evaluation.less_is_better(key))
    saved = checkpoint.load(folder, number)
    return Trained(folder, config, limits.load(folder / limits.FILE), saved)


def metadata(trained: Trained) -> dict[str, Any]:
    """Returns the metadata of the loaded checkpoint, see `checkpoint.metadata`."""
    if _is_weights_alone(trained.folder):
        return weights_file.read(trained.folder)[1]
    return checkpoint.metadata(trained.folder, int(trained.saved["step"]))


def _is_weights_alone(folder: Path) -> bool:
    """Returns whether a folder has an exported network without its checkpoint, as on the hub."""
    return (folder / weights_file.FILE).is_file() and not (folder / checkpoint.FOLDER).exists()


def stored_size(config: Config, passes: int) -> int:
    """Returns the side in pixels of the images that `passes` passes need."""
    size = config.data.image_size
    return size if passes == 1 else size + 2 * math.ceil(size * (TWO_PASS_SIDE - 1) / 2)


def program(config: Config, *, passes: int = 1, turns: int = 1) -> Any:
    """Returns `predict_batch` over the local devices: (state, batch `[device, b, ...]`) -> `[device, b, ...]`."""
    return parallel.parallelize(partial(predict_batch, config=config, passes=passes, turns=turns), (None, 0), 0)


def predict_batch(
    state: step.TrainState, batch: Batch, *, config: Config, passes: int = 1, turns: int = 1
) -> Prediction:
    """Returns the predictions for a batch on one device.

    Args:
      state: the state to evaluate.
      batch: images `[b, stored, stored, 3]` with `stored_size` pixels, and their intrinsics.
      config: configuration of the network.
      passes: 1, or 2 for a second crop around the hand that the first pass predicts.
      turns: number of rotations from -`MAX_TURN` to `MAX_TURN` to average over, 1 for no rotation.

    Returns:
      Predictions, with pixels relative to the central crop of each image.

    Raises:
      ValueError: if `passes` is not 1 or 2, `turns` is not from 1 to `MOST_TURNS`, or either is not 1 for points.
    """
    if passes not in (1, 2) or not 1 <= turns <= MOST_TURNS:
        raise ValueError(f"expected passes 1 or 2 and turns from 1 to {MOST_TURNS}, got {passes} and {turns}")
    if config.network.input == "points" and (passes, turns) != (1, 1):
        raise ValueError(f"expected passes 1 and turns 1 for network.input 'points', got {passes} and {turns}")
    size = config.data.image_size
    crops = augment.central(batch, size)
    if passes == 1 and turns == 1:
        return step.eval_step(state, crops, config=config)
    stored = batch.image.shape[-2]
    centre = jnp.full((len(batch.image), 2), (stored - 1) / 2, jnp.float32)
    side = jnp.full((len(batch.image),), float(size), jnp.float32)
    if passes == 2:
        first = step.eval_step(state, crops, config=config)
        centre, side = _crop_around(first.joints_2d + (stored - size) / 2, config)
    degrees = np.linspace(-MAX_TURN, MAX_TURN, turns) if turns > 1 else np.zeros(1)
    parts = [_predict_crop(state, batch, centre, side, math.radians(angle), config) for angle in degrees]
    pixels, relative, root, refined = (jnp.mean(jnp.stack(part), axis=0) for part in zip(*parts, strict=True))
    return Prediction(
        joints_2d=pixels - (stored - size) / 2,
        relative_depth=relative,
        root_depth=root,
        refined_root_depth=refined,
        joints_3d=camera.lift(pixels, relative, refined, jnp.asarray(batch.intrinsics)),
    )


def _crop_around(pixels: Float[Array, "b 21 2"], config: Config) -> tuple[Float[Array, "b 2"], Float[Array, " b"]]:
    """Returns the centre and side in pixels of the crop around some joints, with the margin of training."""
    size = config.data.image_size
    low, high = pixels.min(axis=-2), pixels.max(axis=-2)
    nearest, farthest = (share * size for share in SECOND_SIDE)
    return (low + high) / 2, jnp.clip(config.data.margin * (high - low).max(axis=-1), nearest, farthest)


def _predict_crop(
    state: step.TrainState,
    batch: Batch,
    centre: Float[Array, "b 2"],
    side: Float[Array, " b"],
    angle: float,
    config: Config,
) -> tuple[Float[Array, "b 21 2"], Float[Array, "b 21"], Float[Array, " b"], Float[Array, " b"]]:
    """Returns pixels in the image, relative depths, root depths and refined root depths, from a crop of each image."""
    size = config.data.image_size
    rotation = camera.rotation_affine(jnp.full_like(side, angle), centre)
    affine = camera.warp_intrinsics(camera.crop_affine(centre, side, size), rotation)
    planes = jnp.round(jax.vmap(partial(augment.warp, size=size))(batch.image, affine)).astype(jnp.uint8)
    crops = dataclasses.replace(
        batch,
        image=jnp.moveaxis(planes, 1, -1),
        intrinsics=camera.warp_intrinsics(affine, jnp.asarray(batch.intrinsics)),
    )
    found = step.eval_step(state, crops, config=config)
    pixels = camera.warp_pixels(jnp.linalg.inv(affine), found.joints_2d)
    return pixels, found.relative_depth, found.root_depth, found.refined_root_depth


def predict(
    config: Config, saved: dict[str, Any], examples: Batch, *, run: Any = None, batch_size: int | None = None
) -> Prediction:
    """Returns the predictions of a saved state on all local devices, as host numpy in the order of the examples.

    Args:
      config: configuration of the network.
      saved: the training state, as `checkpoint.load` returns it.
      examples: `[count, ...]`; images, intrinsics and `present` are used. Two passes need images of `stored_size`
        pixels.
      run: a `program` of this configuration; by default one with one pass and one turn is compiled.
      batch_size: images per call, rounded up to a multiple of the number of devices; `data.batch_size` by default.
    """
    run, state = run or program(config), parallel.replicate(step.evaluated(saved))
    with Progress(total=len(examples.present), desc="predict", unit=" images") as bar:
        return in_batches(run, state, examples, batch_size or config.data.batch_size, advance=bar.update)


def in_batches(
    run: Any, state: Any, examples: Batch, batch_size: int, *, advance: Callable[[int], Any] | None = None
) -> Prediction:
    """Returns the predictions of a `program` with a replicated state, as host numpy in the order of the examples.

    Args:
      run: a `program`.
      state: its state, on every local device.
      examples: see `predict`.
      batch_size: see `predict`. The last batch is padded, so that each `batch_size` is compiled once.
      advance: function that is called after each batch with the number of its images.
    """
    devices = jax.local_device_count()
    batch_size = -(-batch_size // devices) * devices
    parts = []
    for batch in input_pipeline.evaluation_batches(examples, batch_size):
        prediction, present = input_pipeline.unshard((run(state, batch), batch.present))
        parts.append(jax.tree.map(lambda rows: rows[present], prediction))  # noqa: B023, used at once
        if advance is not None:
            advance(int(present.sum()))
    return jax.tree.map(lambda *rows: np.concatenate(rows), *parts)
