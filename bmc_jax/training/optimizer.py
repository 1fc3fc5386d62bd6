"""From gradients to weights: the learning rate by step, the optimizer, and the weights' moving average."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from bmc_jax.config import Config, steps


def rate(config: Config) -> optax.Schedule:
    """Returns the learning rate by step."""
    options, total = config.optimizer, steps(config)
    warmup = round(options.warmup * total)
    if options.schedule == "cosine":
        decay = optax.cosine_decay_schedule(options.rate, max(total - warmup, 1))
    else:
        every = steps(config, options.decay_epochs)
        decay = optax.exponential_decay(options.rate, every, options.decay, staircase=True)
    return optax.join_schedules([optax.linear_schedule(0.0, options.rate, max(warmup, 1)), decay], [warmup])


def create(config: Config) -> optax.GradientTransformation:
    """Returns gradient clipping, then the configured optimizer; weights decay, biases and norms do not."""
    options = config.optimizer
    kernels = functools.partial(jax.tree.map, lambda leaf: leaf.ndim > 1)
    if options.name == "adamw":
        update = optax.adamw(rate(config), weight_decay=options.weight_decay, mask=kernels)
    else:
        update = optax.chain(
            optax.add_decayed_weights(options.weight_decay, mask=kernels),
            optax.sgd(rate(config), momentum=options.momentum, nesterov=options.nesterov),
        )
    return optax.chain(optax.clip_by_global_norm(options.clip), update)


def average(config: Config, step: Int[Array, ""], before: Any, now: Any) -> Any:
    """Returns the moving average of `optimizer.ema`, for any tree of floats: d times the average `before` the step, the
    first being 0, plus 1 - d times the values `now`.

    d is (1 + step) / (10 + step) until that has grown to the one configured, so that a young average does not keep the
    initial weights: from about step 10 / (1 - d) on it is an ordinary one.
    """
    decay = jnp.minimum(config.optimizer.ema, (1 + step) / (10 + step))
    return optax.incremental_update(now, before, 1 - decay)
