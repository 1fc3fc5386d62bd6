"""Synthetic hands: pictures with exact labels from a random key, with nothing to download.

`render` makes any examples of a domain's split, on the host; inside a program of one's own, `example` makes one of them
and `sample` one from any key.
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
