"""All random numbers of one object from one uniform vector, consumed in order.

One generator call in place of one per quantity makes the program a third smaller, and it compiles that much faster.
"""

import functools
import math
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

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


Amount = Array | np.ndarray | float

#: Deviations at which every normal is cut off: no person is one in a million.
CUT = 2.5


class Draws:
    """Up to `capacity` draws from a key. The order of the calls decides which number each gets."""

    def __init__(self, key: PRNGKeyArray, capacity: int = 64):
        self._uniform = jax.random.uniform(key, (capacity,))
        tail = 0.5 * math.erfc(CUT / math.sqrt(2))
        self._normal = ndtri(tail + (1 - 2 * tail) * self._uniform)
        self._used = 0

    def _take(self, values: Float[Array, " capacity"], shape: tuple[int, ...]) -> Float[Array, "..."]:
        first, self._used = self._used, self._used + math.prod(shape)
        if self._used > len(values):
            raise ValueError(f"{self._used} draws of a capacity of {len(values)}: give Draws a larger capacity")
        return values[first : self._used].reshape(shape)

    def uniform(self, low: Amount = 0.0, high: Amount = 1.0, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        """Uniform in [low, high)."""
        low, high = jnp.asarray(low), jnp.asarray(high)
        return low + (high - low) * self._take(self._uniform, shape)

    def normal(self, deviation: Amount = 1.0, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        """Normal of mean 0, cut off at `CUT` deviations."""
        return jnp.asarray(deviation) * self._take(self._normal, shape)

    def happens(self, probability) -> Bool[Array, ""]:
        """True with the given probability."""
        return self.uniform() < probability

    def index(self, count: int) -> Int[Array, ""]:
        """One of 0 .. count - 1."""
        return jnp.minimum((self.uniform() * count).astype(jnp.int32), count - 1)

    def directions(self, count: int) -> Float[Array, "{count} 3"]:
        """Unit vectors, uniform on the sphere."""
        z, azimuth = self.uniform(-1.0, 1.0, (count,)), self.uniform(0.0, 2 * math.pi, (count,))
        radius = jnp.sqrt(1 - z * z)
        return jnp.stack([radius * jnp.cos(azimuth), radius * jnp.sin(azimuth), z], axis=-1)

    def rotation(self) -> Float[Array, "3 3"]:
        """Rotation matrix, uniform over SO(3): Shoemake's quaternion of three uniform numbers."""
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
