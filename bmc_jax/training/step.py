"""One step of training and of evaluation, as pure functions.

`train_step` and `eval_step` take one device's share of the batch and the name of the mapped axis; `parallelize` maps
them over the devices.
"""

import dataclasses
import functools
import typing
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from bmc_jax.config import Config, steps
from bmc_jax.core import hand, losses
from bmc_jax.core.types import Batch, Limits, Prediction
from bmc_jax.data import augment
from bmc_jax.models import Devices, LiftingNetwork, PoseNetwork, TwoStageNetwork, points, pretrained
from bmc_jax.models.heatmaps import HEAT
from bmc_jax.training import accumulation, checkpoint, config_io, optimizer
from bmc_jax.training.parallel import parallelize as parallelize

ARCHITECTURE = ("input", "depth", "width", "patch", "pool", "heatmap_channels", "lift", "refine")
"""Fields of `config.Network` that determine the names and shapes of the weights."""


@flax.struct.dataclass
@typing.no_type_check  # JAX rebuilds it with numpy, tracers and placeholders in its fields
class TrainState:
    """Everything that a step changes and that a checkpoint contains."""

    step: Int[Array, ""]
    """Number of steps taken."""
    params: Any
    """Parameters of the network."""
    batch_stats: Any
    """BatchNorm's running statistics."""
    opt_state: Any
    """State of the optimizer."""


@flax.struct.dataclass
@typing.no_type_check
class AveragedState(TrainState):
    """State of a run with `optimizer.ema`."""

    average: Any
    """`params` and `batch_stats`, averaged over the steps. Evaluation takes these: statistics averaged as the weights
    are come nearest to those of the averaged network without a look at more images."""


def network(config: Config, *, axis_name: str | None = None) -> PoseNetwork | TwoStageNetwork | LiftingNetwork:
    """Returns the network of a configuration, not initialized.

    Args:
      config: the configuration.
      axis_name: name of the mapped axis over which BatchNorm computes its statistics; None for no axis.

    Returns:
      A Flax module.

    Examples:
      >>> from bmc_jax import config, step
      >>> type(step.network(config.Config())).__name__
      'PoseNetwork'
    """
    options = config.network
    devices = _statistics_together(options.batch_norm, axis_name)
    root = {name: getattr(options, name) for name in ("detach_root_depth", "detach_pixels", "refine")}
    if options.input == "points":
        return LiftingNetwork(**root)
    image = {name: getattr(options, name) for name in ("depth", "width", "patch", "heatmap_channels")}
    image["dtype"] = jnp.dtype(options.dtype)
    if options.lift:
        return TwoStageNetwork(**image, **root, devices=devices)
    return PoseNetwork(**image, **root, pool=options.pool, devices=devices)


def _statistics_together(size: int, axis_name: str | None) -> Devices | None:
    """Returns the groups of `size` devices that compute BatchNorm's statistics together: neighbours, or with 0 all."""
    if axis_name is None or size == 1:
        return None
    if not size:
        return Devices(axis_name)
    starts = range(0, jax.lax.axis_size(axis_name), size)
    return Devices(axis_name, tuple(tuple(range(start, start + size)) for start in starts))


def blank(config: Config) -> tuple[Any, Any]:
    """What a configuration's network is shown of one hand, of the right shape and all zero, and a K."""
    size = config.data.image_size
    image, joints = jnp.zeros((1, size, size, 3), jnp.uint8), jnp.zeros((1, hand.NUM_JOINTS, 2), jnp.float32)
    return joints if config.network.input == "points" else image, jnp.eye(3)[None]


def network_inputs(config: Config, batch: Batch) -> Any:
    """Returns the input of the network for a batch, beside K: images or 2D joints."""
    if config.network.input == "points":
        return points(batch, noise=config.network.noise, seed=config.seed)
    return batch.image


def create(config: Config) -> TrainState:
    """Returns the state before the first step, which depends on `config.seed` only, except for initial weights.

    Args:
      config: the configuration. `network.pretrained` names files or runs with initial weights.

    Returns:
      The state; an `AveragedState` with `optimizer.ema`.

    Raises:
      FileNotFoundError: if there is no such file, run or checkpoint of initial weights.
      ValueError: if the initial weights are of another network, or cannot be read, or if a frozen module does not
        exist.

    Examples:
      >>> from bmc_jax import config, step
      >>> state = step.create(config.Config(network=config.Network(input="points")))  # doctest: +SKIP
      >>> int(state.step)  # doctest: +SKIP
      0
    """
    # The default generator would do as well, but takes XLA's CPU compiler four times as long.
    key = jax.random.key(config.seed, impl="rbg")
    variables = jax.jit(functools.partial(network(config).init, train=False))(key, *blank(config))
    # The lifting network has no BatchNorm.
    variables.setdefault("batch_stats", {})
    modules = variables["params"]
    for name in filter(None, config.optimizer.frozen.split(",")):
        if name not in modules:
            raise ValueError(f"optimizer.frozen: expected one of {', '.join(modules)}, got {name!r}; choose of these")
    if config.network.pretrained:
        for name, weights in initial_weights(config).items():
            variables[name] = variables[name] | jax.tree.map(jnp.array, weights)
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=optimizer.create(config).init(variables["params"]),
    )
    if not config.optimizer.ema:
        return state
    # Copies: donated to a step, no buffer may be there twice.
    average = {name: jax.tree.map(jnp.copy, variables[name]) for name in ("params", "batch_stats")}
    return AveragedState(**vars(state), average=average)


def initial_weights(config: Config) -> dict[str, Any]:
    """Returns the weights of `network.pretrained`, "params" and "batch_stats", by module.

    Raises:
      FileNotFoundError: if there is no such file, run or checkpoint.
      ValueError: if they are of another network, or cannot be read.
    """
    weights: dict[str, Any] = {"params": {}, "batch_stats": {}}
    for source in pretrained.sources(config.network.pretrained):
        for name, modules in _weights_of(source, config).items():
            weights[name] |= modules
    return weights


def _weights_of(source: str, config: Config) -> dict[str, Any]:
    if pretrained.is_file(source):
        params, batch_stats = pretrained.load(source, depth=config.network.depth)
        return {"params": {"backbone": params}, "batch_stats": {"backbone": batch_stats}}
    theirs = config_io.read(source).network
    second_stage = config.network.lift and theirs.input == "points"
    for name in ("refine",) if second_stage else ARCHITECTURE:
        expected, found = getattr(config.network, name), getattr(theirs, name)
        if found != expected:
            raise ValueError(
                f"network.pretrained: {source}: expected network.{name} {expected!r}, got {found!r}; give the folder "
                f"of a run of the same network, or set network.{name} to {found!r}"
            )
    state = evaluated(checkpoint.load(source))
    if second_stage:
        return {"params": {"lifting": state.params}}
    return {"params": state.params, "batch_stats": state.batch_stats}


def biomechanical_ramp(config: Config, step: Int[Array, ""]) -> Float[Array, ""]:
    """Returns the factor of the biomechanical weights at a step: 0 before their start, 1 after the ramp."""
    start, ramp = (share * steps(config) for share in (config.biomechanics.start, config.biomechanics.ramp))
    return jnp.clip((step + 1 - start) / max(ramp, 1.0), 0.0, 1.0)


def train_step(
    state: TrainState, batch: Batch, limits: Limits, *, config: Config, axis_name: str | None = None
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
    """Takes one training step on a batch.

    The batch is augmented if the configuration says so. Under `axis_name` the batch is one device's, and both results
    are those of the whole batch: every loss term divides by the labels of all devices, so the mean of the devices'
    gradients is the gradient of the whole.

    Args:
      state: the state before the step.
      batch: images with labels, `[b, ...]`. With `optimizer.accumulate` it is processed in parts, and b is a multiple
        of their number.
      limits: limits of the hand.
      config: the configuration.
      axis_name: name of the mapped axis; None for a single device.

    Returns:
      The state after the step, and the metrics of the state before it by name, scalars.

    Examples:
      >>> import functools
      >>> import jax
      >>> from bmc_jax import limits, step
      >>> one_step = jax.jit(functools.partial(step.train_step, config=options))  # doctest: +SKIP
      >>> state, metrics = one_step(state, batch, limits.load("clinical"))  # doctest: +SKIP
    """
    if config.data.augment:
        batch = augmented(batch, state.step, config)
    ramp = biomechanical_ramp(config, state.step)
    weights = losses.LossWeights(**dataclasses.asdict(config.weights))
    weights = dataclasses.replace(
        weights,
        bone_length=weights.bone_length * ramp,
        palm=weights.palm * ramp,
        joint_angle=weights.joint_angle * ramp,
        density=weights.density * ramp,
    )
    angles = config.biomechanics
    limits = losses.narrowed(limits, angles.margin) if angles.margin else limits

    def loss(params: Any, batch_stats: Any, batch: Batch, weights: losses.LossWeights) -> Any:
        prediction, updates = network(config, axis_name=axis_name).apply(
            {"params": params, "batch_stats": batch_stats},
            network_inputs(config, batch),
            batch.intrinsics,
            train=True,
            mutable=["batch_stats", "intermediates"] if config.weights.heatmaps else ["batch_stats"],
        )
        heat: Any = updates["intermediates"]["head"][HEAT][0] if config.weights.heatmaps else None
        total, terms = losses.total(
            prediction,
            batch,
            limits,
            weights,
            heat=heat,
            axis_name=axis_name,
            mode=angles.angle_mode,
            independent=angles.independent,
            detach_frames=angles.detach_frames,
            penalty=angles.penalty,
        )
        return total, (terms, updates.get("batch_stats", {}))

    gradients, metrics, batch_stats = accumulation.gradient(
        loss,
        state.params,
        state.batch_stats,
        batch,
        weights,
        parts=config.optimizer.accumulate,
        axis_name=axis_name,
    )
    if axis_name is not None:
        # Once, after the gradient: differentiating through a mean over devices would keep the local gradient.
        gradients, metrics = jax.lax.pmean((gradients, metrics), axis_name)
        if config.network.batch_norm:
            # Groups have statistics of their own: the state has their mean, in one exchange.
            flat, as_tree = ravel_pytree(batch_stats)
            batch_stats = as_tree(jax.lax.pmean(flat, axis_name))
    updates, opt_state = optimizer.create(config).update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics |= {
        "gradient_norm": optax.tree.norm(gradients),
        "update_norm": optax.tree.norm(updates),
        "parameter_norm": optax.tree.norm(state.params),
        "rate": jnp.asarray(optimizer.rate(config)(state.step), jnp.float32),
        "biomechanical_ramp": ramp,
    }
    if isinstance(state, AveragedState):
        now = {"params": params, "batch_stats": batch_stats}
        state = dataclasses.replace(state, average=optimizer.average(config, state.step, state.average, now))
    state = dataclasses.replace(state, step=state.step + 1, params=params, batch_stats=batch_stats, opt_state=opt_state)
    return state, metrics


def augmented(batch: Batch, step: Int[Array, ""], config: Config) -> Batch:
    """Crops of `data.image_size` pixels out of images of `stored_size`, changed at random: a function of `config.seed`,
    the step and each example's source and index."""
    key = jax.random.fold_in(jax.random.key(config.seed, impl="threefry2x32"), step)
    screens = [source.green_screen for source in config.data.train]
    green_screen = jnp.array(screens)[batch.source] if any(screens) else None
    return augment.augment(key, batch, config.data.augmentation, config.data.image_size, green_screen=green_screen)


def eval_step(state: TrainState, batch: Batch, *, config: Config) -> Prediction:
    """Computes the predictions for a batch, with BatchNorm's running statistics.

    Args:
      state: the state, see `evaluated` for the averaged one.
      batch: images, `[b, ...]`.
      config: the configuration.

    Returns:
      The predictions: pixels of the crop, and scale units.

    Examples:
      >>> from bmc_jax import step
      >>> prediction = step.eval_step(state, batch, config=options)  # doctest: +SKIP
    """
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    inputs = network_inputs(config, batch)
    return typing.cast(Prediction, network(config).apply(variables, inputs, batch.intrinsics, train=False))


def evaluated(saved: dict[str, Any]) -> TrainState:
    """Returns the state to evaluate or export: the average if there is one.

    Args:
      saved: content of a checkpoint, see `checkpoint.load`.

    Returns:
      The state, without that of the optimizer.

    Examples:
      >>> from bmc_jax import step
      >>> from bmc_jax.training import checkpoint
      >>> state = step.evaluated(checkpoint.load("runs/mine"))  # doctest: +SKIP
    """
    weights = saved.get("average", saved)
    return TrainState(saved["step"], weights["params"], weights["batch_stats"], opt_state=None)
