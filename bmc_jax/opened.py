"""An opened source of images: a domain rendered into RAM or as training goes on, or a dataset built on disk.

Each has `load(rows)`, the examples of those numbers with the labels that they may be used with; `poses()`, its 3D
poses; `describe(row)`, a name for messages; and a length. Sources with 2D labels only have their 3D labels taken out
before anything later can read them.
"""

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Int

from bmc_jax import crops, hand, synthesis
from bmc_jax.datasets import store
from bmc_jax.progress import Progress
from bmc_jax.synthesis.domains import Domain
from bmc_jax.synthesis.renderer import ACCELERATOR_CHUNK
from bmc_jax.types import Batch


@dataclass(frozen=True)
class InMemory:
    """Examples in RAM."""

    name: str
    examples: Batch
    """Host numpy `[count, ...]`."""

    def __len__(self) -> int:
        return len(self.examples.present)

    def load(self, rows: np.ndarray) -> Batch:
        """The examples of those rows, host numpy `[len(rows), ...]`."""
        return jax.tree.map(lambda leaf: leaf[rows], self.examples)

    def poses(self) -> np.ndarray:
        """The poses that are labelled whole, `[pose, 21, 3]` metres."""
        return self.examples.joints_3d[self.examples.joints_3d_valid.all(axis=-1)]

    def describe(self, row: int) -> str:
        return f"{self.name} {row}"


@dataclass(frozen=True)
class OnDisk:
    """The first `count` examples of a split of a built dataset, decoded whenever they are asked for."""

    name: str
    records: store.Records
    count: int
    labels: str
    """"2d" or "3d"."""
    number: int
    """`Batch.source` of its examples."""
    size: int
    """Pixels of the crop; `stored` with its surroundings, and `margin`: see `crops.crop`."""
    stored: int
    margin: float
    map: Callable[[Callable[[int], Any], Iterable[int]], Iterable[Any]]
    """The builtin, or that of a pool of threads: Pillow decodes outside of Python's lock."""

    def __len__(self) -> int:
        return self.count

    def load(self, rows: np.ndarray) -> Batch:
        """The examples of those rows, host numpy `[len(rows), ...]`.

        Raises ValueError, naming dataset, split, row and id, if an image cannot be decoded.
        """
        parts = list(self.map(self._crop, rows.tolist()))
        fields = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
        number, present = np.full(len(rows), self.number, np.int32), np.ones(len(rows), bool)
        batch = Batch(source=number, index=rows.astype(np.int32), present=present, **fields)
        return batch if self.labels == "3d" else without_3d(batch)

    def poses(self) -> np.ndarray:
        """The poses that are labelled whole, `[pose, 21, 3]` metres; no image is decoded."""
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
            return crops.crop(record, size=self.size, stored=self.stored, margin=self.margin)
        except OSError as error:
            raise ValueError(
                f"{self.records.folder}: the image of {self.records.split} row {row} ({record['id']}) is damaged "
                f"({error}); copy the dataset here again, or delete that folder and build it anew"
            ) from error


@dataclass(frozen=True)
class Fresh:
    """Examples of a rendered domain that are rendered whenever they are asked for. As training asks for each row once,
    in order, none needs to be kept and nothing to be shuffled."""

    seed: int
    domain: Domain
    split: str
    count: int
    """Examples whose poses limits may be fitted to: the first so many."""
    length: int
    labels: str
    """"2d" or "3d"."""
    number: int
    """`Batch.source` of its examples."""
    size: int
    """Pixels of a side."""

    def __len__(self) -> int:
        return self.length

    def load(self, rows: np.ndarray) -> Batch:
        """The examples of those rows, host numpy `[len(rows), ...]`."""
        return self._labelled(synthesis.render(self.seed, self.domain, self.split, rows, self.size))

    def draw(self, rows: Int[Array, " row"]) -> Batch:
        """`load` as a part of a program, for accelerators; the same but for rounding."""

        def one(row: Int[Array, ""]) -> Batch:
            return synthesis.example(self.seed, self.domain, self.split, row, self.size)

        # Not all at once: a pixel that is being rendered takes much more memory than one that is.
        return self._labelled(jax.lax.map(one, rows, batch_size=ACCELERATOR_CHUNK))

    def poses(self) -> np.ndarray:
        """The poses of the first `count`, `[pose, 21, 3]` metres; no image is rendered."""
        if self.labels == "2d":
            return np.zeros((0, hand.NUM_JOINTS, 3), np.float32)
        return synthesis.poses(self.seed, self.domain, self.split, np.arange(self.count), self.size)

    def describe(self, row: int) -> str:
        return f"{self.domain.name} {row}"

    def _labelled(self, examples: Batch) -> Batch:
        examples = dataclasses.replace(examples, source=np.full(len(examples.present), self.number, np.int32))
        return examples if self.labels == "3d" else without_3d(examples)


Opened = InMemory | OnDisk | Fresh


def without_3d(examples: Batch) -> Batch:
    """The same examples with 2D labels only. What 3D said is overwritten, not just masked."""
    # By shape, so that inside a program it is the same.
    return dataclasses.replace(
        examples,
        joints_3d=np.zeros(examples.joints_3d.shape, examples.joints_3d.dtype),
        joints_3d_valid=np.zeros(examples.joints_3d_valid.shape, bool),
        scale=np.ones(examples.scale.shape, examples.scale.dtype),
    )
