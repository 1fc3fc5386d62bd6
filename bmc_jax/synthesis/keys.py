"""Which random key makes which example, and which person it shows: a function of seed, domain, split and number."""

import functools
from zlib import crc32

import jax
from jaxtyping import Array, Int, PRNGKeyArray

from bmc_jax.synthesis.domains import Domain

SPLITS = ("train", "validation", "test")


def split_key(seed: int, domain: Domain, split: str) -> PRNGKeyArray:
    """Key of a domain's split. Raises ValueError if there is no such split."""
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; there are {', '.join(map(repr, SPLITS))}")
    # The generator is named, so that no setting of JAX's changes the pictures.
    key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), crc32(domain.name.encode()))
    return jax.random.fold_in(key, SPLITS.index(split))


def _example_key(of_split: PRNGKeyArray, index) -> PRNGKeyArray:
    return jax.random.fold_in(jax.random.fold_in(of_split, 0), index)


def _person_key(of_split: PRNGKeyArray, number) -> PRNGKeyArray:
    return jax.random.fold_in(jax.random.fold_in(of_split, 1), number)


def _subject(example: PRNGKeyArray, subjects: int) -> Int[Array, ""]:
    return jax.random.randint(jax.random.fold_in(example, 0), (), 0, subjects)


@functools.partial(jax.jit, static_argnums=1)
def of_examples(of_split: PRNGKeyArray, subjects: int, indices: Int[Array, " example"]):
    """Keys of examples of the split with that key, and of the people in them, of whom it has `subjects`."""
    examples = jax.vmap(_example_key, (None, 0))(of_split, indices)
    numbers = jax.vmap(_subject, (0, None))(examples, subjects)
    return examples, jax.vmap(_person_key, (None, 0))(of_split, numbers)


def example_key(seed: int, domain: Domain, split: str, index: int | Int[Array, ""]) -> PRNGKeyArray:
    """Key of one example of a domain's split; no two share one."""
    return _example_key(split_key(seed, domain, split), index)


def subject(seed: int, domain: Domain, split: str, index: int | Int[Array, ""]) -> Int[Array, ""]:
    """Which of the split's `domain.subjects` people an example shows. Each split has people of its own."""
    return _subject(example_key(seed, domain, split, index), domain.subjects)


def person_key(seed: int, domain: Domain, split: str, number: int | Int[Array, ""]) -> PRNGKeyArray:
    """Key of a split's person by number: the hand and its skin."""
    return _person_key(split_key(seed, domain, split), number)
