"""Sources named in a configuration: rendered domains, built datasets, files of joints.

Each kind is a subclass of `SourceKind`; `kind` selects it by the name. The functions below it process all sources of a
configuration.
"""

import abc
import dataclasses
import functools
import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bmc_jax import synthesis
from bmc_jax.config import Config, Source, steps, stored_size
from bmc_jax.core import hand, numerics, validation
from bmc_jax.core.choices import SPLITS
from bmc_jax.core.types import Batch
from bmc_jax.data import pose_files, store
from bmc_jax.data.example_sets import ExampleSet, InMemory, OnDisk, RenderedOnDemand, in_chunks, without_3d
from bmc_jax.runtime import files
from bmc_jax.synthesis import DOMAINS, domains
from bmc_jax.synthesis.domains import Domain

FIT_TO = "fit:"
"""Prefix of `limits.source` before the name of the source that limits are fitted to."""
RENDERED_FOLDER = "rendered"
"""Folder in `data.directory` of the images that `data.keep_rendered` keeps."""
JOINTS_SUFFIX = ".npy"
TEST_EVERY = 5
"""Interval of the rows of a file of joints that are in the split "test"."""


@dataclass(frozen=True)
class SourceKind(abc.ABC):
    """A source by its name."""

    name: str
    """Name of a domain, name or path of a built dataset, or path of a file of joints."""
    unlimited: ClassVar[bool] = False
    """Whether the number of examples is unlimited, so that a configuration must state a count."""

    def folder(self, directory: str | os.PathLike) -> Path | None:
        """Returns the folder of a built dataset; None for other kinds. Raises ValueError if it is not built."""
        del directory

    def content_hash(self, directory: str | os.PathLike) -> str | None:
        """Returns the hash of the files; None for a rendered domain."""
        del directory

    @abc.abstractmethod
    def check(self, config: Config, field: str, split: str) -> dict[str, Any]:
        """Checks a source and returns the counts of a split's examples (see `shard.merge`); empty for a domain.

        Raises:
          ValueError: naming `field` of the configuration and the remedy, if the source or the split does not exist or
            cannot be used with the network.
        """

    @abc.abstractmethod
    def training_set(self, config: Config, source: Source, number: int) -> ExampleSet:
        """Returns the examples of training source `number`, with images of `config.stored_size` pixels per side."""

    @abc.abstractmethod
    def test_examples(self, config: Config, split: str, count: int | None, *, stored: int) -> Batch:
        """Returns the first `count` examples as crops with all their labels, host numpy.

        Args:
          config: a configuration.
          split: name of the split.
          count: by default `data.test_count` for a domain, and all for other kinds.
          stored: side of the images, pixels, at least `data.image_size`; the crop is in their middle.

        Raises:
          ValueError: if the split does not exist, or an image is damaged.
        """

    @abc.abstractmethod
    def poses(self, config: Config, split: str, count: int | None = None) -> np.ndarray:
        """Returns the first `count` complete 3D poses, `[pose, 21, 3]` metres. The default is all poses, and for a
        domain as many as the 3D-labelled training sources have examples."""


class RenderedDomain(SourceKind):
    """A domain of `bmc_jax.synthesis`, rendered before training or, if `fresh`, on demand."""

    unlimited: ClassVar[bool] = True

    def check(self, config: Config, field: str, split: str) -> dict[str, Any]:
        if split not in SPLITS:
            raise ValueError(
                f"{field}: expected one of the splits {', '.join(SPLITS)} of {self.name}, got {split!r}; choose one"
            )
        return {}

    def training_set(self, config: Config, source: Source, number: int) -> ExampleSet:
        if source.fresh:
            return self.on_demand(config, source, number)
        examples = rendered(config, self.name, source.split, source.count, number, stored=stored_size(config))
        return _in_memory(source, examples)

    def on_demand(self, config: Config, source: Source, number: int) -> RenderedOnDemand:
        """Returns the examples of fresh training source `number`."""
        stored = stored_size(config)
        return RenderedOnDemand(
            seed=config.seed,
            domain=_with_surroundings(config, self.name, stored),
            split=source.split,
            count=source.count,
            length=length(config, source),
            labels=source.labels,
            number=number,
            size=stored,
        )

    def test_examples(self, config: Config, split: str, count: int | None, *, stored: int) -> Batch:
        return rendered(config, self.name, split, count or config.data.test_count, stored=stored)

    def poses(self, config: Config, split: str, count: int | None = None) -> np.ndarray:
        labelled = sum(source.count for source in config.data.train if source.labels == "3d")
        rows = np.arange(max(labelled, 1) if count is None else count)
        return synthesis.poses(config.seed, domains.get(self.name), split, rows)


class BuiltDataset(SourceKind):
    """A dataset built by `bmc data build`, given by its name in `data.directory` or by its path."""

    def folder(self, directory: str | os.PathLike) -> Path:
        return store.find(self.name, directory)

    def check(self, config: Config, field: str, split: str) -> dict[str, Any]:
        if config.network.input == "points":
            raise ValueError(
                f"{field}: expected a rendered domain ({', '.join(DOMAINS)}) or an {JOINTS_SUFFIX} file of joints for "
                f"network.input 'points', got {self.name!r}; name one of them"
            )
        try:
            splits = store.summary(self.folder(config.data.directory))["splits"]
        except ValueError as error:
            known = f"a rendered domain ({', '.join(DOMAINS)}) or a built dataset"
            raise ValueError(f"{field}: expected {known}, got {self.name!r}: {error}") from error
        if split not in splits:
            raise ValueError(
                f"{field}: expected one of the splits {', '.join(splits)} of the dataset {self.name}, got {split!r}; "
                "choose one"
            )
        return splits[split]

    def training_set(self, config: Config, source: Source, number: int) -> OnDisk:
        on_disk = self._open(config, source.split, source.count, stored=stored_size(config))
        return dataclasses.replace(on_disk, labels=source.labels, number=number)

    def test_examples(self, config: Config, split: str, count: int | None, *, stored: int) -> Batch:
        return self._open(config, split, count, stored=stored).decode().examples

    def poses(self, config: Config, split: str, count: int | None = None) -> np.ndarray:
        return self._open(config, split, count, stored=stored_size(config)).poses()

    def content_hash(self, directory: str | os.PathLike) -> str:
        return store.summary(self.folder(directory))["hash"]

    def _open(self, config: Config, split: str, count: int | None, *, stored: int) -> OnDisk:
        records = store.records(self.folder(config.data.directory), split)
        return OnDisk(
            name=self.name,
            records=records,
            count=min(count or len(records), len(records)),
            labels="3d",
            number=0,
            size=config.data.image_size,
            stored=stored,
            margin=config.data.margin,
            threads=config.data.workers or os.cpu_count() or 1,
        )


class JointsFile(SourceKind):
    """A file of 3D joints: hands without images, for the network that lifts points.

    The file is an .npy `[N, 21, 3]` in metres, FreiHAND order, camera frame. No K is needed, since the crop of each
    hand follows from the rays to its joints. Every fifth row is in the split "test" and the others are in "train"; left
    hands are left out.
    """

    def check(self, config: Config, field: str, split: str) -> dict[str, Any]:
        if config.network.input != "points":
            raise ValueError(
                f"{field}: expected a source with images for network.input {config.network.input!r}, got "
                f"{self.name!r}, a file of joints without images; set network.input to 'points', or name another source"
            )
        count = len(self.poses(config, split))
        return {"examples": count, "complete_3d": count, "partial_3d": 0}

    def training_set(self, config: Config, source: Source, number: int) -> InMemory:
        return _in_memory(source, self.examples(config, source.split, source.count, number))

    def test_examples(self, config: Config, split: str, count: int | None, *, stored: int) -> Batch:
        del stored
        return self.examples(config, split, count)

    def poses(self, config: Config, split: str, count: int | None = None) -> np.ndarray:
        """Returns the first `count` right hands of a split, `[pose, 21, 3]` float32 metres.

        Raises:
          ValueError: naming file and remedy, if the file or the split does not exist, or the file has no such poses.
        """
        del config
        return _right_hands(self.name, split)[:count]

    def examples(self, config: Config, split: str, count: int | None, number: int = 0) -> Batch:
        """Returns the first `count` hands as examples of source `number`, host numpy, with images without channels.
        Each crop is the square of `data.margin` times the longer side of the joints' box, around its centre."""
        size, joints = config.data.image_size, self.poses(config, split, count)
        rays = joints[..., :2].astype(np.float64) / joints[..., 2:]
        low, high = rays.min(axis=1), rays.max(axis=1)
        focal = size / (config.data.margin * (high - low).max(axis=-1))
        intrinsics = np.broadcast_to(np.eye(3), (len(joints), 3, 3)).copy()
        intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal
        intrinsics[:, :2, 2] = (size - 1) / 2 - focal[:, None] * (low + high) / 2
        start, end = hand.SCALE_BONE
        return Batch(
            image=np.zeros((len(joints), size, size, 0), np.uint8),
            intrinsics=intrinsics.astype(np.float32),
            joints_2d=(focal[:, None, None] * rays + intrinsics[:, None, :2, 2]).astype(np.float32),
            joints_2d_valid=np.ones(joints.shape[:2], bool),
            joints_3d=joints,
            joints_3d_valid=np.ones(joints.shape[:2], bool),
            scale=np.linalg.norm(joints[:, end] - joints[:, start], axis=-1),
            source=np.full(len(joints), number, np.int32),
            index=np.arange(len(joints), dtype=np.int32),
            present=np.ones(len(joints), bool),
        )

    def content_hash(self, directory: str | os.PathLike) -> str:
        del directory
        return hashlib.sha256(Path(self.name).read_bytes()).hexdigest()


@functools.cache
def _right_hands(path: str, split: str) -> np.ndarray:
    if split not in ("train", "test"):
        raise ValueError(
            f"{path}: expected one of the splits train, test of a file of joints, got {split!r}; choose one"
        )
    if not Path(path).is_file():
        raise ValueError(f"expected a file of joints, got {path!r}, which does not exist; give its path")
    joints = pose_files.read(path).joints.astype(np.float32)
    try:
        found = validation.screen(joints, left="drop").poses
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if found[..., 2].min(initial=np.inf) < numerics.NEAREST_DEPTH:
        raise ValueError(
            f"{path}: expected joints in front of the camera, got joints behind it; give them in the camera frame, x "
            "right, y down, z forward"
        )
    is_test = np.arange(len(found)) % TEST_EVERY == TEST_EVERY - 1
    found = found[is_test if split == "test" else ~is_test]
    if not len(found):
        raise ValueError(f"{path}: expected right hands in the split {split!r}, got none; give a file with more hands")
    return found


def kind(name: str) -> SourceKind:
    """Returns the source of a name. A name that is neither a domain nor a file of joints is that of a built dataset."""
    if name in DOMAINS:
        return RenderedDomain(name)
    return JointsFile(name) if name.endswith(JOINTS_SUFFIX) else BuiltDataset(name)


def is_available(name: str, directory: str | os.PathLike) -> bool:
    """Returns whether a source needs no build, or has been built."""
    try:
        kind(name).folder(directory)
    except ValueError:
        return False
    return True


def _in_memory(source: Source, examples: Batch) -> InMemory:
    return InMemory(source.name, examples if source.labels == "3d" else without_3d(examples))


def resolve(config: Config) -> Config:
    """Checks all sources and returns the configuration with the `count` of every training source filled in.

    Raises:
      ValueError: naming the field and the remedy, for an unknown source, a split, number of images or 3D labels that
        the source does not have, a source that cannot be used with the network, limits that are fitted without poses,
        or more fresh images than an int32 can number.
    """
    train, poses = [], 0
    for i, source in enumerate(config.data.train):
        completed, labelled = _with_count(config, f"data.train[{i}]", source)
        train.append(completed)
        poses += labelled
    if config.limits.source == "fit" and not poses:
        raise ValueError(
            "limits.source: expected a training source with complete 3D labels for 'fit', got none; name a preset"
        )
    if config.limits.source.startswith(FIT_TO):
        kind(config.limits.source.removeprefix(FIT_TO)).check(config, "limits.source", "train")
    require_tests(config)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, train=tuple(train)))
    total = sum(length(config, source) for source in train)
    if any(source.fresh for source in train) and total > np.iinfo(np.int32).max:
        raise ValueError(
            "training.epochs: expected epochs of up to 2.1e+09 images with fresh sources, got "
            f"{config.training.epochs:g} with {total:.2g} images; set fewer epochs, or a smaller count of the fresh "
            "sources"
        )
    return config


def _with_count(config: Config, field: str, source: Source) -> tuple[Source, int]:
    """Returns a training source with its `count` filled in, and the number of its poses with complete 3D labels."""
    found = kind(source.name)
    available = found.check(config, f"{field}.name", source.split)
    if found.unlimited:
        if source.count == 0:
            raise ValueError(f"{field}.count: expected the number of images of {source.name} to render, got 0; set it")
        if source.green_screen:
            raise ValueError(
                f"{field}.green_screen: expected False for {source.name}, which is rendered without a green screen, "
                "got True; set it to False"
            )
        return source, source.count if source.labels == "3d" else 0
    if source.fresh:
        raise ValueError(
            f"{field}.fresh: expected False for {source.name}, which is not a rendered domain, got True; set it False"
        )
    if source.count > available["examples"]:
        raise ValueError(
            f"{field}.count: expected up to {available['examples']}, the number of examples of {source.name} in "
            f"{source.split}, got {source.count}; set it to 0 for all"
        )
    if source.labels == "3d" and not available["complete_3d"] + available["partial_3d"]:
        raise ValueError(
            f"{field}.labels: expected '2d' for {source.name}, which has 2D labels only, got '3d'; set it to '2d'"
        )
    source = dataclasses.replace(source, count=source.count or available["examples"])
    return source, available["complete_3d"] if source.labels == "3d" else 0


def length(config: Config, source: Source) -> int:
    """Returns the number of rows of a source of a resolved configuration: its images or, if fresh, those of the run."""
    return steps(config) * config.data.batch_size if source.fresh else source.count


def require_tests(config: Config, split: str = "test") -> None:
    """Checks that every entry of `data.test` exists; `split` is that of entries without a split.

    Raises:
      ValueError: naming the entry.
    """
    for i, entry in enumerate(config.data.test):
        name, entry_split = test_split(entry, split)
        kind(name).check(config, f"data.test[{i}]", entry_split)


def test_split(entry: str, default: str) -> tuple[str, str]:
    """Returns (name, split) of an entry of `data.test`, `NAME` or `NAME:SPLIT`."""
    name, colon, split = entry.rpartition(":")
    return (name, split) if colon else (entry, default)


def on_demand(config: Config) -> dict[int, RenderedOnDemand]:
    """Returns the fresh training sources of a resolved configuration by their number."""
    return {
        number: RenderedDomain(source.name).on_demand(config, source, number)
        for number, source in enumerate(config.data.train)
        if source.fresh
    }


def training(config: Config) -> list[ExampleSet]:
    """Returns the training sources of a resolved configuration, with images of `config.stored_size` pixels per side."""
    return [kind(source.name).training_set(config, source, number) for number, source in enumerate(config.data.train)]


def labelled_joints(sets: Sequence[ExampleSet]) -> np.ndarray:
    """Returns the poses with complete 3D labels, `[pose, 21, 3]` metres, to which limits may be fitted."""
    return np.concatenate([examples.poses() for examples in sets])


def digest(config: Config) -> list[dict[str, Any]]:
    """Returns name, split and count of each training source of a resolved configuration, `fresh` if it is True, and the
    hash of the source's files if it has any."""
    found = []
    for source in config.data.train:
        content: dict[str, Any] = {"name": source.name, "split": source.split, "count": source.count}
        content |= {"fresh": True} if source.fresh else {}
        content_hash = kind(source.name).content_hash(config.data.directory)
        found.append(content | ({"hash": content_hash} if content_hash else {}))
    return found


def rendered(config: Config, name: str, split: str, count: int, number: int = 0, *, stored: int | None = None) -> Batch:
    """Returns the first `count` images of a domain's split with all labels as examples of source `number`, host numpy.

    Images have `stored` pixels per side, by default `data.image_size`, with the crop in their middle. For the network
    that lifts points, they have no channels.
    """
    size = config.data.image_size
    stored = size if stored is None else stored
    domain, seed = _with_surroundings(config, name, stored), config.seed
    points = config.network.input == "points"
    one_chunk = synthesis.labels if points else synthesis.render

    def render() -> Batch:
        title = f"render {name} {split}"
        return in_chunks(title, count, lambda index: one_chunk(seed, domain, split, index, stored))

    if config.data.keep_rendered and not points:
        examples = load_or_render(
            config.data.directory, render, seed=seed, domain=domain, split=split, count=count, size=stored
        )
    else:
        examples = render()
    return dataclasses.replace(examples, source=np.full(count, number, np.int32))


def _with_surroundings(config: Config, name: str, stored: int) -> Domain:
    """Returns the domain whose images of `stored` pixels contain crops of `data.image_size` and their surroundings."""
    size = config.data.image_size
    return domains.get(name) if stored == size else domains.widen(domains.get(name), stored / size)


def load_or_render(
    directory: str | os.PathLike,
    render: Callable[[], Batch],
    *,
    seed: int,
    domain: Domain,
    split: str,
    count: int,
    size: int,
) -> Batch:
    """Returns the images in the file for these arguments, or renders them and writes that file.

    The name of the file has a hash of everything on which the images depend, including the renderer's source code, so
    an existing file is valid. It may be deleted at any time.

    Raises:
      OSError: naming folder and remedy, if the file cannot be written.
    """
    sources = sorted(Path(synthesis.__file__).parent.glob("*.py"))
    renderer = hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()
    content = json.dumps([seed, dataclasses.asdict(domain), split, count, size, renderer])
    name = f"{domain.name}-{split}-{count}-{size}px-{hashlib.sha256(content.encode()).hexdigest()[:16]}.npz"
    file = Path(directory) / RENDERED_FOLDER / name
    try:
        with open(file, "rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            return Batch(**arrays)
    except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile):
        pass  # A missing or damaged file is written again.
    examples = render()
    try:
        with files.replacing(file) as partial:
            np.savez(partial, **vars(examples))
    except OSError as error:
        raise OSError(
            f"data.keep_rendered: expected a writable folder {file.parent}, got {error.strerror!r}; free space there, "
            "set another data.directory, or set data.keep_rendered False"
        ) from error
    return examples
