"""Weights of a network of any configuration, under the names of an exported file."""

import functools

import jax
import numpy as np

from bmc_jax import step
from bmc_jax.inference.export import program


def of(config):
    """Weights that keep the variance of what they are given."""
    generator, shapes = np.random.default_rng(0), jax.eval_shape(functools.partial(step.create, config))
    weights = program.flatten(jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes))
    for name, array in weights.items():
        if name.endswith("kernel"):
            array *= generator.normal(0, 1 / np.sqrt(np.prod(array.shape[:-1])), array.shape)
        elif name.endswith(("mean", "bias")):
            array *= 0
    return weights
