"""A batch taken in parts, one after the other: the gradient of the whole, in the memory of a part.

Every loss term is a mean over the examples that have it, and parts have unequal numbers of those: a part's terms are
weighted by its share of them, so that the parts' sum is exactly the mean of the batch. BatchNorm alone sees the parts:
each is normalised by its own statistics, and moves the running ones once.
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
    """(gradient by the parameters, "loss" and its terms, new batch statistics) of a batch `[b, ...]` in so many parts.

    Under `axis_name` the batch is one device's, and shares are those of all devices' parts.
    """

    def of(batch_stats: Any, batch: Batch, weights: LossWeights) -> Any:
        compute = jax.value_and_grad(loss, has_aux=True)
        (total, (terms, batch_stats)), gradient = compute(params, batch_stats, batch, weights)
        return gradient, {"loss": total, **terms}, batch_stats

    if parts == 1:
        return of(batch_stats, batch, weights)

    def add(carry: Any, given: tuple[Batch, dict[str, Float[Array, ""]]]) -> tuple[Any, None]:
        sums, batch_stats = carry
        part, share = given
        scaled = LossWeights(**{name: getattr(weights, name) * share[name] for name in share})
        gradient, metrics, batch_stats = of(batch_stats, part, scaled)
        metrics = {name: value * share.get(name, 1.0) for name, value in metrics.items()}
        return (jax.tree.map(jnp.add, sums, (gradient, metrics)), batch_stats), None

    divided = split(batch, parts)
    part_shares = shares(divided, axis_name)
    nothing = jax.tree.map(jnp.zeros_like, params), {name: jnp.zeros(()) for name in ("loss", *part_shares)}
    ((total, metrics), batch_stats), _ = jax.lax.scan(add, (nothing, batch_stats), (divided, part_shares))
    return total, metrics, batch_stats


def split(batch: Batch, parts: int) -> Batch:
    """`[b, ...]` to `[part, b / parts, ...]`. Neighbours go to different parts: each gets of every source."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, parts, *leaf.shape[1:]).swapaxes(0, 1), batch)


def shares(parts: Batch, axis_name: str | None) -> dict[str, Float[Array, " part"]]:
    """Of the examples that each loss term counts, the share that is in each part; 0 where there is none at all."""
    has = losses.labelled(parts)
    names = [field.name for field in dataclasses.fields(LossWeights)]
    counts = {name: jnp.sum(parts.present & has.get(name, parts.present), axis=-1, dtype=jnp.float32) for name in names}
    if axis_name is not None:
        counts = jax.lax.psum(counts, axis_name)
    return {name: count / jnp.maximum(jnp.sum(count), 1.0) for name, count in counts.items()}
