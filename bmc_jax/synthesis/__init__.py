"""Synthetic hands: pictures with exact labels from a random key, with nothing to download.

`render` makes any examples of a domain's split, on the host; `sample` makes one inside a program of one's own.
"""

from bmc_jax.synthesis import domains, skeleton
from bmc_jax.synthesis.domains import DOMAINS, Domain
from bmc_jax.synthesis.renderer import depth, example_key, person_key, render, sample, subject, visible

__all__ = [
    "DOMAINS",
    "Domain",
    "depth",
    "domains",
    "example_key",
    "person_key",
    "render",
    "sample",
    "skeleton",
    "subject",
    "visible",
]
