"""Keys of splits, people and examples, and a stream of random numbers from one key.

A stream makes one call to the generator for all random numbers of an object. Compared with one call per quantity, the
program is a third smaller and compiles faster by the same share.
"""

import functools
import math
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from bmc_jax.core.choices import SPLITS
from bmc_jax.synthesis.domains import Domain

#: Standard deviations at which normal numbers are truncated, so that extreme hands do not occur.
TRUNCATION = 2.5

Number = Array | np.ndarray | float


def split_key(seed: int, domain: Domain, split: str) -> PRNGKeyArray:
    """Returns the key of a domain's split.

    Raises:
      ValueError: if there is no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(map(repr, SPLITS))}, got {split!r}; choose one")
    # The generator is fixed, so JAX's settings do not change the pictures.
    key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), crc32(domain.name.encode()))
    return jax.random.fold_in(key, SPLITS.index(split))


def example_key(seed: int, domain: Domain, split: str, index: int | Int[Array, ""]) -> PRNGKeyArray:
    """Returns the key of an example of a domain's split, different for every example.

    Args:
      seed: seed of all random numbers.
      domain: the domain.
      split: one of `SPLITS`.
      index: number of the example, from 0.

    Returns:
      A scalar key.

    Raises:
      ValueError: for an unknown split.

    Examples:
      >>> from bmc_jax import synthesis
      >>> synthesis.example_key(0, synthesis.DOMAINS["mannequin"], "train", 0).shape
      ()
    """
    return _example_key(split_key(seed, domain, split), index)


def subject(seed: int, domain: Domain, split: str, index: int | Int[Array, ""]) -> Int[Array, ""]:
    """Returns the number of the person in an example. No person is in two splits.

    Args:
      seed: seed of all random numbers.
      domain: the domain.
      split: one of `SPLITS`.
      index: number of the example, from 0.

    Returns:
      The number, below `domain.subjects`.

    Raises:
      ValueError: for an unknown split.

    Examples:
      >>> from bmc_jax import synthesis
      >>> mannequin = synthesis.DOMAINS["mannequin"]
      >>> print(0 <= synthesis.subject(0, mannequin, "train", 0) < mannequin.subjects)
      True
    """
    return _subject(example_key(seed, domain, split, index), domain.subjects)


def person_key(seed: int, domain: Domain, split: str, number: int | Int[Array, ""]) -> PRNGKeyArray:
    """Returns the key of a person of a split, which determines hand and skin.

    Args:
      seed: seed of all random numbers.
      domain: the domain.
      split: one of `SPLITS`.
      number: number of the person, see `subject`.

    Returns:
      A scalar key.

    Raises:
      ValueError: for an unknown split.

    Examples:
      >>> from bmc_jax import synthesis
      >>> synthesis.person_key(0, synthesis.DOMAINS["mannequin"], "train", 0).shape
      ()
    """
    return _person_key(split_key(seed, domain, split), number)


@functools.partial(jax.jit, static_argnums=1)
@functools.partial(jax.vmap, in_axes=(None, None, 0))
def example_and_person_keys(
    key: PRNGKeyArray, subjects: int, index: Int[Array, ""]
) -> tuple[PRNGKeyArray, PRNGKeyArray]:
    """Returns the keys of examples and of the people in them, from the key of a split with that many subjects."""
    example = _example_key(key, index)
    return example, _person_key(key, _subject(example, subjects))


def _example_key(key: PRNGKeyArray, index) -> PRNGKeyArray:
    return jax.random.fold_in(jax.random.fold_in(key, 0), index)


def _person_key(key: PRNGKeyArray, number) -> PRNGKeyArray:
    return jax.random.fold_in(jax.random.fold_in(key, 1), number)


def _subject(example: PRNGKeyArray, subjects: int) -> Int[Array, ""]:
    return jax.random.randint(jax.random.fold_in(example, 0), (), 0, subjects)


class RandomStream:
    """Up to `capacity` random numbers from a key, assigned in the order of the calls."""

    def __init__(self, key: PRNGKeyArray, capacity: int = 64):
        self._uniform = jax.random.uniform(key, (capacity,))
        tail = 0.5 * math.erfc(TRUNCATION / math.sqrt(2))
        self._normal = ndtri(tail + (1 - 2 * tail) * self._uniform)
        self._used = 0

    def _take(self, values: Float[Array, " capacity"], shape: tuple[int, ...]) -> Float[Array, "..."]:
        first, self._used = self._used, self._used + math.prod(shape)
        if self._used > len(values):
            raise ValueError(
                f"capacity: expected {self._used} or more random numbers, got {len(values)}; set a larger capacity"
            )
        return values[first : self._used].reshape(shape)

    def uniform(self, low: Number = 0.0, high: Number = 1.0, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        """Draws uniform numbers in [low, high)."""
        low, high = jnp.asarray(low), jnp.asarray(high)
        return low + (high - low) * self._take(self._uniform, shape)

    def normal(self, deviation: Number = 1.0, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        """Draws normal numbers of mean 0, truncated at `TRUNCATION` standard deviations."""
        return jnp.asarray(deviation) * self._take(self._normal, shape)

    def bernoulli(self, probability) -> Bool[Array, ""]:
        """Draws True with the given probability."""
        return self.uniform() < probability

    def integer(self, count: int) -> Int[Array, ""]:
        """Draws one of 0 .. count - 1."""
        return jnp.minimum((self.uniform() * count).astype(jnp.int32), count - 1)

    def directions(self, count: int) -> Float[Array, "{count} 3"]:
        """Draws unit vectors, uniform on the sphere."""
        z, azimuth = self.uniform(-1.0, 1.0, (count,)), self.uniform(0.0, 2 * math.pi, (count,))
        radius = jnp.sqrt(1 - z * z)
        return jnp.stack([radius * jnp.cos(azimuth), radius * jnp.sin(azimuth), z], axis=-1)

    def rotation(self) -> Float[Array, "3 3"]:
        """Draws a rotation matrix, uniform over SO(3), by Shoemake's quaternion of three uniform numbers."""
        share = self.uniform()
        first, second = self.uniform(0.0, 2 * math.pi), self.uniform(0.0, 2 * math.pi)
        x, y = jnp.sqrt(1 - share) * jnp.sin(first), jnp.sqrt(1 - share) * jnp.cos(first)
        z, w = jnp.sqrt(share) * jnp.sin(second), jnp.sqrt(share) * jnp.cos(second)
        return jnp.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
