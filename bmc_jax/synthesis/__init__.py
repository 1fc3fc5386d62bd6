"""Rendered hands with exact labels from random keys.

`render` returns examples of a domain's split on the host. `example` and `sample` render inside a jitted program: one
example of a split, or one picture from any key.
"""

from bmc_jax.synthesis import domains, skeleton
from bmc_jax.synthesis.domains import DOMAINS, Domain
from bmc_jax.synthesis.renderer import depth, example, labels, poses, render, sample, visible
from bmc_jax.synthesis.rng import example_key, person_key, subject

__all__ = [
    "DOMAINS",
    "Domain",
    "depth",
    "domains",
    "example",
    "example_key",
    "labels",
    "person_key",
    "poses",
    "render",
    "sample",
    "skeleton",
    "subject",
    "visible",
]
