"""The learning-rate schedule, the optimizer, and the moving average of the weights."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from bmc_jax.config import Config, steps


def rate(config: Config) -> optax.Schedule:
    """Returns the learning-rate schedule."""
    options, total = config.optimizer, steps(config)
    warmup = round(options.warmup * total)
    if options.schedule == "cosine":
        decay = optax.cosine_decay_schedule(options.rate, max(total - warmup, 1))
    else:
        every = steps(config, options.decay_epochs)
        decay = optax.exponential_decay(options.rate, every, options.decay, staircase=True)
    return optax.join_schedules([optax.linear_schedule(0.0, options.rate, max(warmup, 1)), decay], [warmup])


def create(config: Config) -> optax.GradientTransformation:
    """Returns the optimizer: clipping, then the configured one. Weight decay excludes biases and BatchNorm; frozen
    modules have no updates."""
    options = config.optimizer
    kernels = functools.partial(jax.tree.map, lambda leaf: leaf.ndim > 1)
    if options.name == "adamw":
        update = optax.adamw(rate(config), weight_decay=options.weight_decay, mask=kernels)
    else:
        update = optax.chain(
            optax.add_decayed_weights(options.weight_decay, mask=kernels),
            optax.sgd(rate(config), momentum=options.momentum, nesterov=options.nesterov),
        )
    update = optax.chain(optax.clip_by_global_norm(options.clip), update)
    if not options.frozen:
        return update
    frozen = options.frozen.split(",")

    def labels(params: dict[str, Any]) -> dict[str, str]:
        return {name: "frozen" if name in frozen else "trained" for name in params}

    return optax.partition({"trained": update, "frozen": optax.set_to_zero()}, labels)


def average(config: Config, step: Int[Array, ""], before: Any, now: Any) -> Any:
    """Returns the moving average of a tree of floats: d * `before` + (1 - d) * `now`.

    d is the smaller of (1 + step) / (10 + step) and `optimizer.ema`, so that the average of the first steps does not
    keep the initial weights. From about step 10 / (1 - `optimizer.ema`) on, d is `optimizer.ema`.

    Args:
      config: configuration with the decay.
      step: number of the step, the first is 0.
      before: the average before the step.
      now: the values after the step.
    """
    decay = jnp.minimum(config.optimizer.ema, (1 + step) / (10 + step))
    return optax.incremental_update(now, before, 1 - decay)
