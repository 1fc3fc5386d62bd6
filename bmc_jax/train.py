"""Training, top to bottom: images, limits, state, loop. Each room is introduced to the next here, and nowhere else.

A run is a folder: `config.json`, `limits.json`, `checkpoints/`, `metrics.jsonl`, `tensorboard/`. Started again it goes
on from its last checkpoint, bit for bit as if it had never stopped; finished, it says so and does nothing.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np

from bmc_jax import checkpoint, config_file, data, limits, step
from bmc_jax.config import Config, steps
from bmc_jax.log import Log
from bmc_jax.types import Batch, Limits

LIMITS_FILE = "limits.json"
INTERRUPTED = 75
"""Exit code after SIGTERM or SIGINT, once the state is saved: "try again later" (EX_TEMPFAIL)."""


def train(config: Config, workdir: str | os.PathLike) -> None:
    """Train a configuration in a folder, or go on training there.

    Raises:
      ValueError: before any work, if the folder holds a run of another configuration or limits that cannot be used.
      FloatingPointError: at the first loss or gradient that is not finite. The last checkpoint is from before it.
      SystemExit: with the code `INTERRUPTED`, after SIGTERM or SIGINT; the step in hand is finished and saved first.
    """
    workdir = Path(workdir)
    total = steps(config)
    _claim(workdir, config)
    done = checkpoint.latest(workdir) or 0
    if done >= total:
        print(f"{workdir}: all {total} steps are done; nothing to train")
        return

    state = checkpoint.restore(workdir, step.create(config))
    sources = data.training_sources(config)
    hand_limits = _limits(config, workdir, sources)
    batches = data.batches(sources, config)[done:total]

    print(f"training {config.name}: steps {done + 1} to {total}, {jax.local_device_count()} devices, in {workdir}")
    train_step = step.parallel_train_step(config)
    state, hand_limits = step.replicate((state, hand_limits))
    log = Log(workdir, first=done, total=total, batch_size=config.data.batch_size, description=f"train {config.name}")
    with log, _stop_signal() as stop:
        previous = None
        for batch in batches.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)):
            state, metrics = train_step(state, batch, hand_limits)
            done += 1
            # One step late, so that the device computes the next while the host looks at this one.
            if previous is not None:
                _require_finite(*previous)
            previous = (done, metrics, batch)
            log.advance()
            if done % config.training.log_every == 0 or done == total:
                log.write(done, jax.tree.map(float, metrics))
            last = done == total or stop.is_set()
            if last or done % config.training.save_every == 0:
                _require_finite(*previous)
                checkpoint.save(workdir, state, keep=config.training.keep)
            if last:
                break
    if done < total:
        print(f"{workdir}: stopped and saved at step {done} of {total}; the same command goes on from there")
        raise SystemExit(INTERRUPTED)


def _claim(workdir: Path, config: Config) -> None:
    """Make the folder this configuration's, or raise ValueError if it is another's. How long to train and how often to
    save may change between the parts of a run."""
    workdir.mkdir(parents=True, exist_ok=True)
    if (workdir / config_file.FILE).exists():
        before, now = (config_file.flat(part) for part in (config_file.read(workdir), config))
        changed = [
            f"{name}: {before.get(name)!r} there, {now.get(name)!r} here"
            for name in sorted(before | now)
            if before.get(name) != now.get(name) and not name.startswith("training.")
        ]
        if changed:
            raise ValueError(
                f"{workdir} holds a run of another configuration; give another folder, or its own values:\n  "
                + "\n  ".join(changed)
            )
    config_file.write(config, workdir)


def _limits(config: Config, workdir: Path, sources: list[Batch]) -> Limits:
    """The run's limits: those it began with, or what the configuration says, written into the folder."""
    file, options = workdir / LIMITS_FILE, config.limits
    if file.exists():
        return limits.load(file)
    if options.source == "fit":
        found = limits.fit(
            data.labelled_joints(sources),
            source=f"3D-labelled training poses of {config.name}",
            percentiles=options.percentiles,
            angle_margin=options.angle_margin,
            length_margin=options.length_margin,
            vertices=options.vertices,
        )
    else:
        found = limits.load(options.source)
    limits.save(found, file)
    return found


def _require_finite(number: int, metrics: Mapping[str, Any], batch: Batch) -> None:
    """Raise FloatingPointError, naming the step, the terms and the examples, if the step did not go well."""
    values = {name: float(metrics[name]) for name in ("loss", "gradient_norm")}
    if np.isfinite(list(values.values())).all():
        return
    terms = [name for name, value in metrics.items() if not np.isfinite(float(value))]
    batch = data.unshard(batch)
    examples = ", ".join(f"({source}, {index})" for source, index in zip(batch.source, batch.index, strict=True))
    raise FloatingPointError(
        f"step {number}: {', '.join(terms)} not finite, on the (source, index) examples {examples}. Nothing of this "
        "step was saved. If training diverged, a lower optimizer.rate helps; else one of these examples is at fault."
    )


@contextlib.contextmanager
def _stop_signal() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set instead of killing. A second signal does what it always did."""
    stop, before = threading.Event(), dict[int, Any]()

    def handle(number: int, _: Any) -> None:
        stop.set()
        signal.signal(number, before[number])

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
