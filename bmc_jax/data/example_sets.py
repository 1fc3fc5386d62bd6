"""Sets of examples that are loaded by row number: in RAM, on disk, or rendered on demand."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Int

from bmc_jax import synthesis
from bmc_jax.core import hand
from bmc_jax.core.types import Batch
from bmc_jax.data import crop, store
from bmc_jax.runtime.progress import Progress
from bmc_jax.synthesis.domains import Domain
from bmc_jax.synthesis.renderer import ACCELERATOR_CHUNK

CHUNK = 256
"""Number of images rendered, decoded or copied between two updates of the progress bar."""


@runtime_checkable
class ExampleSet(Protocol):
    """The examples of a source, numbered from 0 to `len - 1`."""

    def __len__(self) -> int: ...

    def load(self, rows: np.ndarray) -> Batch:
        """Returns the examples of those rows, host numpy `[len(rows), ...]`."""
        ...

    def poses(self) -> np.ndarray:
        """Returns the poses with 21 labelled joints, `[pose, 21, 3]` metres, without decoding or rendering images."""
        ...

    def describe(self, row: int) -> str:
        """Returns the source's name, the row and, for a built dataset, the example's id."""
        ...


@dataclass(frozen=True)
class InMemory:
    """Examples in RAM."""

    name: str
    examples: Batch
    """Host numpy `[count, ...]`."""

    def __len__(self) -> int:
        return len(self.examples.present)

    def load(self, rows: np.ndarray) -> Batch:
        return jax.tree.map(lambda leaf: leaf[rows], self.examples)

    def poses(self) -> np.ndarray:
        return self.examples.joints_3d[self.examples.joints_3d_valid.all(axis=-1)]

    def describe(self, row: int) -> str:
        return f"{self.name} {row}"


@dataclass(frozen=True, kw_only=True)
class OnDisk:
    """The first `count` examples of a split of a built dataset, decoded whenever they are loaded."""

    name: str
    records: store.Records
    count: int
    labels: str
    """"2d" or "3d"."""
    number: int
    """`Batch.source` of its examples."""
    size: int
    """Side of the crop, pixels. `stored` and `margin` are those of `crop.crop`."""
    stored: int
    margin: float
    threads: int
    """Threads that decode images. Pillow releases Python's lock."""

    def __len__(self) -> int:
        return self.count

    def load(self, rows: np.ndarray) -> Batch:
        """Returns the examples of those rows, host numpy `[len(rows), ...]`.

        Raises:
          ValueError: naming dataset, split, row and id, if an image cannot be decoded.
        """
        parts = list(_decoders(self.threads).map(self._crop, rows.tolist()))
        batch = stack(parts, rows, source=self.number)
        return batch if self.labels == "3d" else without_3d(batch)

    def decode(self) -> InMemory:
        """Returns all examples, decoded into RAM."""
        return InMemory(self.name, in_chunks(f"decode {self.name}", len(self), self.load))

    def poses(self) -> np.ndarray:
        if self.labels == "2d":
            return np.zeros((0, hand.NUM_JOINTS, 3), np.float32)
        with Progress(range(self.count), desc=f"poses of {self.name}", unit=" hands") as bar:
            records = (self.records[row] for row in bar)
            poses = [record["joints_3d"] for record in records if record["joints_3d_valid"].all()]
        return np.array(poses, np.float32).reshape(-1, hand.NUM_JOINTS, 3)

    def describe(self, row: int) -> str:
        return f"{self.name} {row} ({self.records[row]['id']})"

    def _crop(self, row: int) -> dict[str, np.ndarray]:
        record = self.records[row]
        try:
            return crop.crop(record, size=self.size, stored=self.stored, margin=self.margin)
        except OSError as error:
            raise ValueError(
                f"{self.records.folder}: {self.records.split} row {row} ({record['id']}): expected an image, got a "
                f"damaged one ({error}); copy the dataset again, or delete that folder and build it again"
            ) from error


@functools.cache
def _decoders(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "decode")


@dataclass(frozen=True, kw_only=True)
class RenderedOnDemand:
    """Examples of a rendered domain, rendered whenever they are loaded.

    Training takes each row once and in order, so images are neither stored nor shuffled.
    """

    seed: int
    domain: Domain
    split: str
    count: int
    """Number of the first examples whose poses may be used in fitting limits."""
    length: int
    """Number of all examples."""
    labels: str
    """"2d" or "3d"."""
    number: int
    """`Batch.source` of its examples."""
    size: int
    """Side of an image, pixels."""

    def __len__(self) -> int:
        return self.length

    def load(self, rows: np.ndarray) -> Batch:
        return self._labelled(synthesis.render(self.seed, self.domain, self.split, rows, self.size))

    def draw(self, rows: Int[Array, " row"]) -> Batch:
        """Returns the same examples as `load`, up to rounding, inside a jitted program on an accelerator."""

        def one(row: Int[Array, ""]) -> Batch:
            return synthesis.example(self.seed, self.domain, self.split, row, self.size)

        # In chunks, since rendering takes much more memory than the image.
        return self._labelled(jax.lax.map(one, rows, batch_size=ACCELERATOR_CHUNK))

    def poses(self) -> np.ndarray:
        """Returns the poses of the first `count` examples, `[pose, 21, 3]` metres. No image is rendered."""
        if self.labels == "2d":
            return np.zeros((0, hand.NUM_JOINTS, 3), np.float32)
        return synthesis.poses(self.seed, self.domain, self.split, np.arange(self.count), self.size)

    def describe(self, row: int) -> str:
        return f"{self.domain.name} {row}"

    def _labelled(self, examples: Batch) -> Batch:
        examples = dataclasses.replace(examples, source=np.full(len(examples.present), self.number, np.int32))
        return examples if self.labels == "3d" else without_3d(examples)


def stack(parts: Sequence[dict[str, np.ndarray]], rows: Sequence[int] | np.ndarray, *, source: int = 0) -> Batch:
    """Stacks results of `crop.crop` into a batch, host numpy `[row, ...]`.

    Args:
      parts: the crops.
      rows: row of each in its source.
      source: number of the source.
    """
    return Batch(
        **{name: np.stack([part[name] for part in parts]) for name in parts[0]},
        source=np.full(len(parts), source, np.int32),
        index=np.asarray(rows, np.int32),
        present=np.ones(len(parts), bool),
    )


def without_3d(examples: Batch) -> Batch:
    """Returns the examples with 2D labels only. The 3D labels are overwritten, not only masked."""
    # New arrays by shape also work inside a jitted program.
    return dataclasses.replace(
        examples,
        joints_3d=np.zeros(examples.joints_3d.shape, examples.joints_3d.dtype),
        joints_3d_valid=np.zeros(examples.joints_3d_valid.shape, bool),
        scale=np.ones(examples.scale.shape, examples.scale.dtype),
    )


def in_chunks(title: str, count: int, make: Callable[[np.ndarray], Batch]) -> Batch:
    """Returns `make(np.arange(count))`, computed in chunks of `CHUNK` rows, with a progress bar."""
    whole: Any = None
    with Progress(total=count, desc=title, unit=" images") as bar:
        for first in range(0, count, CHUNK):
            part = make(np.arange(first, min(first + CHUNK, count)))
            if whole is None:
                whole = jax.tree.map(lambda leaf: np.empty((count, *leaf.shape[1:]), leaf.dtype), part)
            for all_rows, rows in zip(jax.tree.leaves(whole), jax.tree.leaves(part), strict=True):
                all_rows[first : first + CHUNK] = rows
            bar.update(len(part.present))
    return whole
