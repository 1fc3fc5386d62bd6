"""Training, top to bottom: images, limits, state, loop. Each room is introduced to the next here, and nowhere else.

A run is a folder: `config.json`, `data.json`, `limits.json`, `checkpoints/`, `metrics.jsonl`, `tensorboard/`. Started
again it goes on from its last checkpoint, bit for bit as if it had never stopped; finished, it says so and does
nothing. Of several processes all read the folder, which must lie on a disk that they share, and the first writes it.
"""

import dataclasses
import functools
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grain
import jax

from bmc_jax import limits
from bmc_jax.config import Config, steps, stored_size
from bmc_jax.core.choices import CACHES
from bmc_jax.core.types import Limits
from bmc_jax.data import cache, input_pipeline, render_in_step, sources
from bmc_jax.data.sources import Fresh, InMemory, OnDisk, Opened
from bmc_jax.models import pretrained
from bmc_jax.runtime import distributed, files
from bmc_jax.runtime.provenance import environment
from bmc_jax.training import checkpoint, config_io, multi_step, parallel, periodic_eval, safeguards, step, stopping
from bmc_jax.training.log import Log, require_installed

DATA_FILE = "data.json"
"""What the run is trained on: each source's name, split, number of images, and hash if it is a built dataset."""
WEIGHTS_FILE = "initial_weights.json"
"""Name and hash of the file that the ResNet's weights began with, if they did."""
MAY_CHANGE = ("training.", "data.test", "data.directory", "data.cache", "data.workers")
"""What may change between the parts of a run, as its result up to here does not hang on it."""


def train(config: Config, workdir: str | os.PathLike) -> None:
    """Train a configuration in a folder, or go on training there.

    Raises:
      ValueError: before any work, if the folder holds a run of another configuration or limits that cannot be used, the
        initial weights do not fit, or the processes of the run are not alike.
      OSError: if the folder cannot be written to, or there is no file of initial weights; ConnectionError if another
        process is lost.
      MemoryError: if a device's memory is full, with what would need less.
      FloatingPointError: at the first loss or gradient that is not finite. The last checkpoint is from before it.
      SystemExit: with the code `stopping.INTERRUPTED`, after SIGTERM or SIGINT, once the step in hand is saved.
    """
    workdir = Path(workdir)
    with distributed.fail_together():
        config = sources.resolve(config)
        require_installed(config)
        best = periodic_eval.best_metric(config)
        total, rows = steps(config), input_pipeline.rows(config)
        require_own(workdir, config)
        weights = _initial_weights(workdir, config)
    facts = {"data": sources.digest(config), "initial weights": weights, **distributed.versions_and_devices()}
    distributed.require_same({**config_io.flat(config), **facts})
    _claim(workdir, config, weights)
    if (checkpoint.latest(workdir) or 0) >= total:
        distributed.print_once(f"{workdir}: all {total} steps are done; nothing to train")
        return

    with distributed.fail_together():
        state = checkpoint.restore(workdir, step.create(_begun(config, weights)))
        done = int(state.step)
        opened = sources.training(config)
    distributed.require_same({"the step to go on from": done})
    hand_limits = _limits(config, workdir, opened)
    batches, resident = feed(config, opened, rows[done:total])
    if config.training.steps_per_dispatch > 1:
        batches = multi_step.grouped(batches, done, config.training.steps_per_dispatch)
    evaluation = periodic_eval.PeriodicEvaluation(config, hand_limits)
    require_finite = functools.partial(safeguards.require_finite, _begun(config, weights), workdir, opened, hand_limits)

    distributed.print_once(
        f"training {config.name}: steps {done + 1} to {total}, {jax.device_count()} devices, in {workdir}"
    )
    metadata = {
        "config": config_io.to_dict(config),
        "limits": json.loads((workdir / limits.FILE).read_text()),
        "data": sources.digest(config),
        "environment": environment(),
    }
    writer = checkpoint.Writer(workdir, keep=config.training.keep, metadata=metadata, best=best)
    train_step = step.parallel_train_step(config, resident=bool(resident))
    state, hand_limits = parallel.replicate((state, hand_limits))
    log = Log(workdir, config, first=done, total=total)
    enough = safeguards.enough(config, cached=bool(resident))
    with writer, log, stopping.signalled() as stop, enough, distributed.lost_processes():
        previous, clock, agreed = None, _Clock(), stopping.agreement()
        for numbers, batch in clock.waiting(batches.to_iter_dataset(input_pipeline.READING)):
            state, metrics = train_step(state, batch, hand_limits, *resident)
            taken = len(numbers) if numbers.ndim == 2 else 1
            done += taken
            # One step late, so that the device computes the next while the host looks at this one.
            if previous is not None:
                require_finite(*previous)
            previous = (done, metrics, numbers)
            log.advance(taken)
            if done % config.training.log_every == 0 or done == total:
                log.write(done, {**jax.tree.map(float, metrics), "input_wait": clock.share(), **log.speed()})
            stopped = agreed(stop.is_set())
            measured = {}
            if evaluation.due(done) and not stopped:
                require_finite(*previous)
                measured = evaluation.run(state, done, log)
            if config.training.check_replicas and done % config.training.check_replicas == 0:
                safeguards.require_equal(state)
            last = stopped or done == total
            if last or done % config.training.save_every == 0 or (best and measured):
                require_finite(*previous)
                writer.save(state, measured)
            if last:
                break
    distributed.barrier()
    if done < total:
        distributed.print_once(
            f"{workdir}: stopped and saved at step {done} of {total}; the same command goes on from there"
        )
        raise SystemExit(stopping.INTERRUPTED)


def feed(config: Config, opened: Sequence[Opened], rows: grain.MapDataset) -> tuple[Any, tuple]:
    """Each step's (row numbers, what the step is given), from where the images are to wait; and what else every step
    is given: the images, if they are on the devices."""
    bytes_each = 0 if config.network.input == "points" else 3 * stored_size(config) ** 2
    kept = [source for source in opened if not isinstance(source, Fresh)]
    size, held = (sum(map(len, part)) * bytes_each for part in (kept, [s for s in kept if isinstance(s, InMemory)]))
    free = cache.free_on_host() // distributed.processes_on_host()
    with distributed.fail_together():
        found = cache.choose(config.data.cache, size, held, free, cache.free_on_devices())
    # All must take the same, which is that of the process with the least room.
    told = max(distributed.gather(", ".join(found)), key=lambda words: CACHES.index(words.split(",")[0]))
    distributed.print_once(f"cache: {told}")
    mode = told.split(",")[0]
    if len(kept) < len(opened):
        distributed.print_once(f"fresh images: {render_in_step.told(mode)}")
    if mode == "device":
        return cache.told(rows), (cache.on_devices(kept, parallel.AXIS),)
    if mode == "host":
        opened = [sources.read(source) if isinstance(source, OnDisk) else source for source in opened]
    return input_pipeline.batches(opened, rows), ()


def require_own(workdir: Path, config: Config) -> None:
    """Raise ValueError if the folder is another configuration's, or this one's on other data."""
    file, used = workdir / DATA_FILE, sources.digest(config)
    if file.exists():
        for before, now in zip(json.loads(file.read_text()), used, strict=False):
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


def _initial_weights(workdir: Path, config: Config) -> dict[str, str] | None:
    """Name and hash of the file of weights that a new run begins with, once it is sure that they fit; None if there is
    none or the folder has a checkpoint, which holds weights of its own: the file may be gone."""
    file = config.network.pretrained
    if not file or checkpoint.latest(workdir) is not None:
        return None
    pretrained.load(file, depth=config.network.depth)
    found = {"file": Path(file).name, "sha256": pretrained.sha256(file)}
    distributed.print_once(f"initial weights: {found['file']}, sha256 {found['sha256']}")
    return found


def _begun(config: Config, weights: dict[str, str] | None) -> Config:
    """The configuration to create a state by: without the file of initial weights where it is not needed."""
    if weights:
        return config
    return dataclasses.replace(config, network=dataclasses.replace(config.network, pretrained=""))


def _claim(workdir: Path, config: Config, weights: dict[str, str] | None = None) -> None:
    """Make the folder this configuration's on this data, and on these initial weights if it begins with any.

    Raises OSError if it cannot be written to, and ValueError if it is not the same for all processes.
    """
    with distributed.fail_together():
        if jax.process_index() == 0:
            try:
                workdir.mkdir(parents=True, exist_ok=True)
                config_io.write(config, workdir)
                files.write_json(workdir / DATA_FILE, sources.digest(config))
                if weights:
                    files.write_json(workdir / WEIGHTS_FILE, weights)
            except OSError as error:
                raise OSError(f"{workdir} cannot be written to ({error.strerror}): give another --workdir") from error
    with distributed.fail_together():
        distributed.require_shared(workdir / DATA_FILE)


def _limits(config: Config, workdir: Path, opened: Sequence[Opened]) -> Limits:
    """The run's limits: those it began with, or what the configuration says, written into the folder."""
    file = workdir / limits.FILE
    with distributed.fail_together():
        if jax.process_index() == 0 and not file.exists():
            limits.save(_new_limits(config, opened), file)
    with distributed.fail_together():
        distributed.require_shared(file)
        return limits.load(file)


def _new_limits(config: Config, opened: Sequence[Opened]) -> Limits:
    """What the configuration says."""
    options = config.limits
    if options.source == "fit" or options.source.startswith(sources.FIT_TO):
        name = options.source.removeprefix(sources.FIT_TO)
        own = options.source == "fit"
        return limits.fit(
            sources.labelled_joints(opened) if own else sources.poses(config, name),
            source=f"3D-labelled training poses of {config.name}" if own else f"training poses of {name}",
            percentiles=options.percentiles,
            angle_margin=options.angle_margin,
            length_margin=options.length_margin,
            vertices=options.vertices,
        )
    return limits.load(options.source)


class _Clock:
    """How long the loop waits for its batches."""

    def __init__(self) -> None:
        self._start, self._waited = time.perf_counter(), 0.0

    def waiting(self, batches: Any) -> Iterator[Any]:
        """The same batches, timed."""
        batches = iter(batches)
        while True:
            asked = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            self._waited += time.perf_counter() - asked
            yield batch

    def share(self) -> float:
        """Of the time since the last call, or the beginning."""
        now = time.perf_counter()
        share = self._waited / (now - self._start)
        self._start, self._waited = now, 0.0
        return share
