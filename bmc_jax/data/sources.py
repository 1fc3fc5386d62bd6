"""The sources that a configuration names: whether they are there, what they hold, and how they are opened."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Int

from bmc_jax import config, synthesis
from bmc_jax.config import Config
from bmc_jax.core import hand
from bmc_jax.core.choices import SPLITS
from bmc_jax.core.types import Batch
from bmc_jax.data import crop, joints_file, rendered_file, store
from bmc_jax.runtime.progress import Progress
from bmc_jax.synthesis import DOMAINS, domains
from bmc_jax.synthesis.domains import Domain
from bmc_jax.synthesis.renderer import ACCELERATOR_CHUNK


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
            return crop.crop(record, size=self.size, stored=self.stored, margin=self.margin)
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


#: Before the name of what limits are fitted to, in `limits.source`.
FIT_TO = "fit:"
#: Images rendered or decoded between two movements of the progress bar.
CHUNK = 256


def resolve(options: Config) -> Config:
    """The same configuration with every source's `count` filled in, once it is sure that all its data is there.

    Raises ValueError, naming the field and the remedy, for a name that is neither a rendered domain nor a built
    dataset, a split or a number of images that it does not have, 3D labels that are asked for and not there, a dataset
    where points are lifted or a file of joints where they are not, or more fresh images than can be numbered.
    """
    train, poses = [], 0
    for i, source in enumerate(options.data.train):
        field = f"data.train[{i}]"
        available = _splits(options, f"{field}.name", source.name, source.split)
        if available is None:
            if source.count == 0:
                raise ValueError(f"{field}.count is 0; say how many images of {source.name} to render")
            if source.green_screen:
                raise ValueError(f"{field}.green_screen is True; {source.name} is rendered, without a green screen")
            train.append(source)
            poses += source.count if source.labels == "3d" else 0
            continue
        if source.fresh:
            raise ValueError(f"{field}.fresh is True; {source.name} is a built dataset; only a rendered domain can be")
        if source.count > available["examples"]:
            raise ValueError(
                f"{field}.count is {source.count}; {source.name} has {available['examples']} examples in "
                f"{source.split}, and 0 takes all"
            )
        if source.labels == "3d" and not available["complete_3d"] + available["partial_3d"]:
            raise ValueError(f"{field}.labels is '3d'; {source.name} has 2D labels only, so it must be '2d'")
        train.append(dataclasses.replace(source, count=source.count or available["examples"]))
        poses += available["complete_3d"] if source.labels == "3d" else 0
    if options.limits.source == "fit" and not poses:
        raise ValueError("limits.source is 'fit'; no training source has complete 3D labels to fit to: name a preset")
    if options.limits.source.startswith(FIT_TO):
        _splits(options, "limits.source", options.limits.source.removeprefix(FIT_TO), "train")
    require_tests(options)
    options = dataclasses.replace(options, data=dataclasses.replace(options.data, train=tuple(train)))
    total = sum(length(options, source) for source in train)
    if any(source.fresh for source in train) and total > np.iinfo(np.int32).max:
        raise ValueError(
            f"training.epochs is {options.training.epochs:g}; {total:.2g} images would be rendered for them, and no "
            "more than 2.1e+09 have a number: take fewer epochs, or a smaller count for the fresh sources"
        )
    return options


def length(options: Config, source: config.Source) -> int:
    """Rows of a source of a resolved configuration: its images or, if fresh, no fewer than the whole run takes."""
    return config.steps(options) * options.data.batch_size if source.fresh else source.count


def require_tests(options: Config, split: str = "test") -> None:
    """Raise ValueError, naming the entry, if one of `data.test` is not there; `split` is that of those without one."""
    for i, entry in enumerate(options.data.test):
        _splits(options, f"data.test[{i}]", *test_split(entry, split))


def _splits(options: Config, field: str, name: str, split: str) -> dict[str, Any] | None:
    """What the build counted of a dataset's split; None for a rendered domain's."""
    if name in DOMAINS:
        if split not in SPLITS:
            raise ValueError(f"{field}: {name} has no split {split!r}; it has {', '.join(SPLITS)}")
        return None
    lifts = options.network.input == "points"
    if joints_file.is_one(name):
        if not lifts:
            raise ValueError(f"{field} is {name!r}, a file of joints without images, for network.input 'points' only")
        count = len(joints_file.poses(name, split))
        return {"examples": count, "complete_3d": count, "partial_3d": 0}
    if lifts:
        known = f"a rendered domain ({', '.join(DOMAINS)}) or an {joints_file.SUFFIX} file of joints"
        raise ValueError(f"{field} is {name!r}; for network.input 'points' it must be {known}")
    try:
        splits = store.summary(store.find(name, options.data.directory))["splits"]
    except ValueError as error:
        raise ValueError(f"{field} is {name!r}: not a rendered domain ({', '.join(DOMAINS)}), and {error}") from error
    if split not in splits:
        raise ValueError(f"{field}: the dataset {name} has no split {split!r}; it has {', '.join(splits)}")
    return splits[split]


def test_split(entry: str, default: str) -> tuple[str, str]:
    """(name, split) of an entry of `data.test`."""
    name, colon, split = entry.rpartition(":")
    return (name, split) if colon else (entry, default)


def fresh(options: Config) -> dict[int, Fresh]:
    """The fresh training sources of a resolved configuration, by their number."""
    stored = config.stored_size(options)
    return {
        number: Fresh(
            seed=options.seed,
            domain=_domain(options, source.name, stored),
            split=source.split,
            count=source.count,
            length=length(options, source),
            labels=source.labels,
            number=number,
            size=stored,
        )
        for number, source in enumerate(options.data.train)
        if source.fresh
    }


def training(options: Config) -> list[Opened]:
    """The training sources of a resolved configuration, rendered or opened, their images of `stored_size` pixels."""
    stored, pool = config.stored_size(options), ThreadPoolExecutor(threads(options), "decode")
    rendered_later, found = fresh(options), list[Opened]()
    for number, source in enumerate(options.data.train):
        if source.fresh:
            found.append(rendered_later[number])
        elif source.name in DOMAINS:
            examples = rendered(options, source.name, source.split, source.count, number, stored=stored)
            found.append(InMemory(source.name, examples if source.labels == "3d" else without_3d(examples)))
        elif joints_file.is_one(source.name):
            examples = _from_file(options, source.name, source.split, source.count, number)
            found.append(InMemory(source.name, examples if source.labels == "3d" else without_3d(examples)))
        else:
            records = store.records(store.find(source.name, options.data.directory), source.split)
            found.append(
                OnDisk(
                    name=source.name,
                    records=records,
                    count=source.count,
                    labels=source.labels,
                    number=number,
                    size=options.data.image_size,
                    stored=stored,
                    margin=options.data.margin,
                    map=pool.map,
                )
            )
    return found


def test(options: Config, name: str, split: str, count: int | None, *, stored: int) -> Batch:
    """The first `count` examples of a domain or a dataset, as crops with all their labels, host numpy: by default
    `data.test_count` of a domain and all of a dataset. Of `stored` pixels a side, at least `data.image_size`: if more,
    with their surroundings.

    Raises ValueError if there is no such split, or a damaged image.
    """
    if name in DOMAINS:
        return rendered(options, name, split, count or options.data.test_count, stored=stored)
    if joints_file.is_one(name):
        return _from_file(options, name, split, count or len(joints_file.poses(name, split)))
    records = store.records(store.find(name, options.data.directory), split)
    size, number = options.data.image_size, min(count or len(records), len(records))
    with ThreadPoolExecutor(threads(options), "decode") as pool:
        source = OnDisk(name, records, number, "3d", 0, size, stored, options.data.margin, pool.map)
        return read(source).examples


def read(source: OnDisk) -> InMemory:
    """A source on disk, decoded into RAM."""
    return InMemory(source.name, _in_chunks(f"decode {source.name}", len(source), source.load))


def rendered(
    options: Config, name: str, split: str, count: int, number: int = 0, *, stored: int | None = None
) -> Batch:
    """The first `count` images of a domain's split with all their labels, host numpy `[count, ...]`, marked as of the
    source of that `number`; with `stored` pixels a side, the crops with their surroundings. Where points are lifted,
    images without channels."""
    size = options.data.image_size
    stored = size if stored is None else stored
    domain, seed = _domain(options, name, stored), options.seed
    lifts = options.network.input == "points"
    one_chunk = synthesis.labels if lifts else synthesis.render

    def make() -> Batch:
        title = f"render {name} {split}"
        return _in_chunks(title, count, lambda index: one_chunk(seed, domain, split, index, stored))

    if options.data.keep_rendered and not lifts:
        options_of_file = {"seed": seed, "domain": domain, "split": split, "count": count, "size": stored}
        examples = rendered_file.kept(options.data.directory, make, **options_of_file)
    else:
        examples = make()
    return dataclasses.replace(examples, source=np.full(count, number, np.int32))


def _from_file(options: Config, name: str, split: str, count: int, number: int = 0) -> Batch:
    size, margin = options.data.image_size, options.data.margin
    return joints_file.examples(name, split, count, number, size=size, margin=margin)


def _domain(options: Config, name: str, stored: int) -> Domain:
    """A domain whose pictures of `stored` pixels a side show the crops with their surroundings."""
    size = options.data.image_size
    return domains.get(name) if stored == size else domains.widen(domains.get(name), stored / size)


def _in_chunks(title: str, count: int, make: Callable[[np.ndarray], Batch]) -> Batch:
    """`make(np.arange(count))`, some at a time, without ever holding anything twice."""
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


def labelled_joints(opened: Sequence[Opened]) -> np.ndarray:
    """The 3D poses that training has complete labels for, `[pose, 21, 3]` metres: what limits may be fitted to."""
    return np.concatenate([source.poses() for source in opened])


def poses(options: Config, name: str) -> np.ndarray:
    """The 3D poses of the training split of a domain, dataset or file of joints, `[pose, 21, 3]` metres; of a domain as
    many as the 3D-labelled sources have examples."""
    if joints_file.is_one(name):
        return joints_file.poses(name, "train")
    count = sum(source.count for source in options.data.train if source.labels == "3d")
    if name in DOMAINS:
        return synthesis.poses(options.seed, domains.get(name), "train", np.arange(max(count, 1)))
    records = store.records(store.find(name, options.data.directory), "train")
    size, stored = options.data.image_size, config.stored_size(options)
    return OnDisk(name, records, len(records), "3d", 0, size, stored, options.data.margin, map).poses()


def threads(options: Config) -> int:
    """That decode images."""
    return options.data.workers or os.cpu_count() or 1


def digest(options: Config) -> list[dict[str, Any]]:
    """What the training data of a resolved configuration is: each source's name, split, count and, of a built dataset,
    the hash of its files."""
    found = []
    for source in options.data.train:
        content = {"name": source.name, "split": source.split, "count": source.count}
        content |= {"fresh": True} if source.fresh else {}
        if joints_file.is_one(source.name):
            content["hash"] = joints_file.digest(source.name)
        elif source.name not in DOMAINS:
            content["hash"] = store.summary(store.find(source.name, options.data.directory))["hash"]
        found.append(content)
    return found
