"""The folder of a run: a record of its configuration, data and initial weights, checked when the run is resumed.

A run is a folder with `config.json`, `data.json`, `limits.json`, `checkpoints/`, `metrics.jsonl` and `tensorboard/`.
All processes read it, so it must be on a shared disk. Process 0 writes it, and holds `lock.json` during the run.
"""

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

import jax
import jax.numpy as jnp
import numpy as np

from bmc_jax import limits
from bmc_jax.config import Config, steps
from bmc_jax.core.types import Limits
from bmc_jax.data import sources
from bmc_jax.data.example_sets import ExampleSet
from bmc_jax.models import pretrained
from bmc_jax.runtime import distributed, files, json_files, lock
from bmc_jax.training import checkpoint, config_io, optimizer, step

DATA_FILE = "data.json"
"""Name, split and number of images of each training source, and the hash of a built dataset."""
WEIGHTS_FILE = "initial_weights.json"
"""Name and hash of the initial weights, if they are not random."""
MAY_CHANGE = ("training.", "data.test", "data.directory", "data.cache", "data.workers")
"""Prefixes of fields that may change when a run is resumed: its result so far does not depend on them."""


class DataRecord(TypedDict):
    """One entry of `DATA_FILE`."""

    name: str
    split: NotRequired[str]
    count: NotRequired[int]
    hash: NotRequired[str]


class InitialWeights(TypedDict):
    """Content of `WEIGHTS_FILE`."""

    file: str
    sha256: str


def require_own(workdir: Path, config: Config) -> None:
    """Raises ValueError if the folder has a run of another configuration, or of this configuration on other data."""
    file, used = workdir / DATA_FILE, sources.digest(config)
    if file.exists():
        for before, now in zip(json_files.read(file, list[DataRecord]), used, strict=False):
            if before["name"] == now["name"] and before.get("hash") != now.get("hash"):
                raise ValueError(
                    f"the dataset {now['name']} has changed since {workdir} was trained on it: expected {before}, got "
                    f"{now}; give another --workdir, or restore the dataset"
                )
    if (workdir / config_io.FILE).exists():
        before, now = (config_io.flat(part) for part in (config_io.read(workdir), config))
        changed = [
            f"{name}: expected {before.get(name)!r}, got {now.get(name)!r}"
            for name in sorted(before | now)
            if before.get(name) != now.get(name) and not name.startswith(MAY_CHANGE)
        ]
        if changed:
            raise ValueError(
                f"{workdir} has a run of another configuration; give another --workdir, or the expected values:\n  "
                + "\n  ".join(changed)
            )


def require_same_schedule(workdir: Path, config: Config, *, done: int) -> None:
    """Raises ValueError if a changed `training.epochs` changes the learning rate or the weights' ramp at step `done`.

    Both schedules are given as shares of the whole run, so they depend on its length.
    """
    if not done or not (workdir / config_io.FILE).exists():
        return
    before = config_io.read(workdir)
    if steps(before) == steps(config):
        return

    def value(options: Config, index: int) -> tuple[float, float]:
        values = optimizer.rate(options)(index), step.biomechanical_ramp(options, jnp.asarray(index))
        return float(np.asarray(values[0])), float(np.asarray(values[1]))

    if np.allclose(value(before, done), value(config, done), rtol=1e-6, atol=0.0):
        return
    (last, last_ramp), (following, following_ramp) = value(before, done - 1), value(config, done)
    ramp = f", biomechanical_ramp from {last_ramp:.3g} to {following_ramp:.3g}" if last_ramp != following_ramp else ""
    raise ValueError(
        f"training.epochs: expected {before.training.epochs:g}, the length of the schedule of {workdir}, got "
        f"{config.training.epochs:g}: after step {done} of {steps(before)} the learning rate would change from "
        f"{last:.3g} to {following:.3g}{ramp}; give --extend to accept this, or another --workdir to train with the "
        "new schedule from the beginning"
    )


def initial_weights(workdir: Path, config: Config) -> InitialWeights | None:
    """Returns the name and hash of the initial weights of a new run, after checking that they fit the network.

    Returns None without `network.pretrained`, and for a folder with a checkpoint: its weights replace the initial ones,
    whose file may be missing.
    """
    file = config.network.pretrained
    if not file or checkpoint.latest(workdir) is not None:
        return None
    loaded = step.initial_weights(config)
    if pretrained.is_file(file):
        weights = InitialWeights(file=Path(file).name, sha256=pretrained.sha256(file))
    else:
        content = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(loaded))
        folders = pretrained.sources(file)
        name = ", ".join(f"{Path(folder).name} step {checkpoint.latest(folder)}" for folder in folders)
        weights = InitialWeights(file=name, sha256=hashlib.sha256(content).hexdigest())
    distributed.print_once(f"initial weights: {weights['file']}, sha256 {weights['sha256']}")
    return weights


def without_initial_weights(config: Config) -> Config:
    """Returns the configuration that creates a state without reading initial weights."""
    return dataclasses.replace(config, network=dataclasses.replace(config.network, pretrained=""))


@contextlib.contextmanager
def hold(workdir: Path) -> Iterator[None]:
    """Holds the folder's lock during the block, so that no other run writes into it. Creates a missing folder.

    Raises:
      BlockingIOError: if another run holds the lock. The message names its host, process and start.
      OSError: if the folder cannot be written to.
    """
    with contextlib.ExitStack() as held:
        with distributed.fail_together(), _write_errors(workdir):
            if jax.process_index() == 0:
                workdir.mkdir(parents=True, exist_ok=True)
                held.enter_context(lock.hold(workdir))
        yield


def claim(workdir: Path, config: Config, weights: InitialWeights | None = None) -> None:
    """Writes the configuration and the records of data and initial weights into the folder.

    Raises:
      OSError: if the folder cannot be written to.
      ValueError: if the processes do not share the folder.
    """
    with distributed.fail_together(), _write_errors(workdir):
        if jax.process_index() == 0:
            config_io.write(config, workdir)
            files.write_json(workdir / DATA_FILE, sources.digest(config))
            if weights:
                files.write_json(workdir / WEIGHTS_FILE, weights)
    with distributed.fail_together():
        distributed.require_shared(workdir / DATA_FILE)


@contextlib.contextmanager
def _write_errors(workdir: Path) -> Iterator[None]:
    try:
        yield
    except BlockingIOError:
        raise
    except OSError as error:
        raise OSError(f"{workdir} cannot be written to ({error.strerror}); give another --workdir") from error


def load_limits(workdir: Path, config: Config, example_sets: Sequence[ExampleSet]) -> Limits:
    """Returns the run's limits. For a new run they are fitted or loaded according to the configuration, and saved."""
    file = workdir / limits.FILE
    with distributed.fail_together():
        if jax.process_index() == 0 and not file.exists():
            limits.save(_new_limits(config, example_sets), file)
    with distributed.fail_together():
        distributed.require_shared(file)
        return limits.load(file)


def _new_limits(config: Config, example_sets: Sequence[ExampleSet]) -> Limits:
    options = config.limits
    if options.source != "fit" and not options.source.startswith(sources.FIT_TO):
        return limits.load(options.source)
    name = options.source.removeprefix(sources.FIT_TO)
    own = options.source == "fit"
    return limits.fit(
        sources.labelled_joints(example_sets) if own else sources.kind(name).poses(config, "train"),
        source=f"3D-labelled training poses of {config.name}" if own else f"training poses of {name}",
        percentiles=options.percentiles,
        angle_margin=options.angle_margin,
        length_margin=options.length_margin,
        vertices=options.vertices,
    )
