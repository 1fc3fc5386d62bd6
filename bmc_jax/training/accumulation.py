"""Gradient accumulation: the gradient of a batch, with the memory use of a part of it.

A batch is divided into parts that are computed one after the other. Every loss term is a mean over the examples that
have its labels, and the parts have different numbers of these. The terms of a part are therefore weighted by its share
of these examples, so that the sum over the parts is exactly the mean over the batch. Only BatchNorm depends on the
division: each part is normalised by the statistics of the part, and updates the running statistics once.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bmc_jax.core import losses
from bmc_jax.core.losses import LossWeights
from bmc_jax.core.types import Batch

#: (parameters, batch statistics, batch, weights) -> (loss, (terms by name, new batch statistics)).
Loss = Callable[[Any, Any, Batch, LossWeights], tuple[Float[Array, ""], tuple[dict[str, Float[Array, ""]], Any]]]


def gradient(
    loss: Loss, params: Any, batch_stats: Any, batch: Batch, weights: LossWeights, *, parts: int, axis_name: str | None
) -> tuple[Any, dict[str, Float[Array, ""]], Any]:
    """Returns the gradient with respect to the parameters, "loss" and its terms, and the new batch statistics.

    Args:
      loss: the loss of a batch.
      params: parameters of the network.
      batch_stats: running statistics of BatchNorm.
      batch: examples `[b, ...]`, those of one device under `axis_name`.
      weights: weights of the loss terms.
      parts: number of parts, a divisor of b.
      axis_name: name of the device axis; the shares are relative to the examples of all devices. None for one device.
    """

    def loss_and_gradient(batch_stats: Any, batch: Batch, weights: LossWeights) -> Any:
        compute = jax.value_and_grad(loss, has_aux=True)
        (total, (terms, batch_stats)), gradient = compute(params, batch_stats, batch, weights)
        return gradient, {"loss": total, **terms}, batch_stats

    if parts == 1:
        return loss_and_gradient(batch_stats, batch, weights)

    def add(carry: Any, part_and_share: tuple[Batch, dict[str, Float[Array, ""]]]) -> tuple[Any, None]:
        sums, batch_stats = carry
        part, share = part_and_share
        scaled = LossWeights(**{name: getattr(weights, name) * share[name] for name in share})
        gradient, metrics, batch_stats = loss_and_gradient(batch_stats, part, scaled)
        metrics = {name: value * share.get(name, 1.0) for name, value in metrics.items()}
        return (jax.tree.map(jnp.add, sums, (gradient, metrics)), batch_stats), None

    divided = split(batch, parts)
    part_shares = shares(divided, axis_name)
    first = jax.tree.map(lambda leaf: leaf[0], divided)
    terms = jax.eval_shape(loss_and_gradient, batch_stats, first, weights)[1]
    zeros = jax.tree.map(jnp.zeros_like, params), {name: jnp.zeros(()) for name in terms}
    ((total, metrics), batch_stats), _ = jax.lax.scan(add, (zeros, batch_stats), (divided, part_shares))
    return total, metrics, batch_stats


def split(batch: Batch, parts: int) -> Batch:
    """Returns a batch `[b, ...]` as `[part, b / parts, ...]`.

    Neighbouring examples are in different parts, so that each part has examples of every source.
    """
    return jax.tree.map(lambda leaf: leaf.reshape(-1, parts, *leaf.shape[1:]).swapaxes(0, 1), batch)


def shares(parts: Batch, axis_name: str | None) -> dict[str, Float[Array, " part"]]:
    """Returns each part's share of the examples that a loss term counts, by the term's name.

    The shares are 0 for a term that no example has labels for.
    """
    labelled = losses.labelled(parts)
    counts = {
        field.name: jnp.sum(parts.present & labelled.get(field.name, parts.present), axis=-1, dtype=jnp.float32)
        for field in dataclasses.fields(LossWeights)
    }
    if axis_name is not None:
        counts = jax.lax.psum(counts, axis_name)
    return {name: count / jnp.maximum(jnp.sum(count), 1.0) for name, count in counts.items()}
