"""The folder of a run: what it is trained on, and that it stays one run.

A run is a folder: `config.json`, `data.json`, `limits.json`, `checkpoints/`, `metrics.jsonl`, `tensorboard/`. All
processes read it, so it must lie on a disk that they share; the first writes it, and holds `lock.json` meanwhile.
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
"""Each training source's name, split, number of images, and hash if it is a built dataset."""
WEIGHTS_FILE = "initial_weights.json"
"""Name and hash of the initial weights, if they are not random."""
MAY_CHANGE = ("training.", "data.test", "data.directory", "data.cache", "data.workers")
"""Fields that may change when a run is resumed, because its result so far does not depend on them."""


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
    """Raises ValueError if the folder holds a run of another configuration, or of this one on other data."""
    file, used = workdir / DATA_FILE, sources.digest(config)
    if file.exists():
        for before, now in zip(json_files.read(file, list[DataRecord]), used, strict=False):
            if before["name"] == now["name"] and before.get("hash") != now.get("hash"):
                raise ValueError(
                    f"the dataset {now['name']} has changed since {workdir} was trained on it: {before} then, {now} "
                    "now. Give another folder, or put the dataset of then back"
                )
    if (workdir / config_io.FILE).exists():
        before, now = (config_io.flat(part) for part in (config_io.read(workdir), config))
        changed = [
            f"{name}: {before.get(name)!r} there, {now.get(name)!r} here"
            for name in sorted(before | now)
            if before.get(name) != now.get(name) and not name.startswith(MAY_CHANGE)
        ]
        if changed:
            raise ValueError(
                f"{workdir} holds a run of another configuration; give another folder, or its own values:\n  "
                + "\n  ".join(changed)
            )


def require_same_schedule(workdir: Path, config: Config, *, done: int) -> None:
    """Raises ValueError if another `training.epochs` changes the learning rate or the weights' ramp at step `done`.

    Both are given as shares of the whole run, so that a longer run would have had others from the start.
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
        f"training.epochs is {config.training.epochs:g}, and {workdir} was trained for {before.training.epochs:g}, "
        f"with the schedule of that length. After step {done} of {steps(before)} the learning rate would go from "
        f"{last:.3g} to {following:.3g}{ramp}. `bmc train --extend` goes on so; another --workdir trains with the new "
        "schedule from the beginning"
    )


def initial_weights(workdir: Path, config: Config) -> InitialWeights | None:
    """Returns name and hash of the weights that a new run begins with, after checking that they fit; None without
    `network.pretrained`, and for a folder with a checkpoint, whose weights replace them: the file may be gone."""
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
    """Returns the configuration for creating a state without reading the file of initial weights."""
    return dataclasses.replace(config, network=dataclasses.replace(config.network, pretrained=""))


@contextlib.contextmanager
def hold(workdir: Path) -> Iterator[None]:
    """Holds the folder during the block, so that no other run writes into it. Creates it if it is missing.

    Raises:
      BlockingIOError: if another run holds it, naming its host, process and start.
      OSError: if the folder cannot be written to.
    """
    with contextlib.ExitStack() as held:
        with distributed.fail_together(), _write_errors(workdir):
            if jax.process_index() == 0:
                workdir.mkdir(parents=True, exist_ok=True)
                held.enter_context(lock.hold(workdir))
        yield


def claim(workdir: Path, config: Config, weights: InitialWeights | None = None) -> None:
    """Writes configuration, data and initial weights into the folder.

    Raises:
      OSError: if the folder cannot be written to.
      ValueError: if it is not the same folder for all processes.
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
        raise OSError(f"{workdir} cannot be written to ({error.strerror}): give another --workdir") from error


def load_limits(workdir: Path, config: Config, example_sets: Sequence[ExampleSet]) -> Limits:
    """Returns the run's limits. A new run's are fitted or loaded as the configuration says, and written."""
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
        found = limits.load(options.source)
        if config.weights.density and found.density is None:
            raise ValueError(
                f"limits.source: expected limits with a joint density, since weights.density is "
                f"{config.weights.density:g}, got {options.source!r}; fit them with `limits.fit(..., density=True)`"
            )
        return found
    name = options.source.removeprefix(sources.FIT_TO)
    own = options.source == "fit"
    return limits.fit(
        sources.labelled_joints(example_sets) if own else sources.kind(name).poses(config, "train"),
        source=f"3D-labelled training poses of {config.name}" if own else f"training poses of {name}",
        percentiles=options.percentiles,
        angle_margin=options.angle_margin,
        length_margin=options.length_margin,
        vertices=options.vertices,
        density=config.weights.density > 0,
    )
