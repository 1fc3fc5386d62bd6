"""Training, top to bottom: data, state, limits, feed, program, loop.

A run that is started again continues from its last checkpoint, bit for bit as if it had never stopped; a finished run
says so and does nothing.
"""

import functools
import os
import threading
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
from jaxtyping import Array, Float

from bmc_jax import limits
from bmc_jax.config import Config, steps
from bmc_jax.core.plural import counted
from bmc_jax.data import input_pipeline, sources
from bmc_jax.runtime import distributed, files, json_files
from bmc_jax.runtime.provenance import environment
from bmc_jax.training import (
    checkpoint,
    config_io,
    feed,
    parallel,
    periodic_eval,
    profiling,
    run_folder,
    safeguards,
    step,
)
from bmc_jax.training.log import Log, require_installed


@dataclass
@typing.no_type_check  # tests replace the program by one with other states and metrics
class Progress:
    """What the hooks are given after each call of the training program."""

    done: int
    """Steps taken so far."""
    taken: int
    """Steps of this call."""
    state: step.TrainState
    metrics: dict[str, Float[Array, ""]]
    """Metrics of the last step, still on the devices."""
    require_finite: Callable[[], None]
    """Raises FloatingPointError if that step was not finite; waits for it."""
    interrupted: bool = False
    """Whether the run stops after this call because of a signal; set by a hook."""
    last: bool = False
    """Whether it stops after this call, for whatever reason; set by a hook."""
    evaluated: dict[str, float] = field(default_factory=dict)
    """Results of an evaluation after this call, for the hooks behind it."""


#: Called in their order after each call of the training program.
Hook = Callable[[Progress], None]


def train(config: Config, workdir: str | os.PathLike, *, extend: bool = False) -> None:
    """Trains a configuration in a folder, or continues training there.

    Args:
      config: the configuration.
      workdir: folder of the run, created if missing.
      extend: whether to continue if another `training.epochs` than before changes the learning rate.

    Raises:
      ValueError: before any work, if a field of the configuration has a value that training cannot use, the folder
        contains a run of another configuration or limits that cannot be used, the initial weights do not fit, the
        processes of the run differ, or the learning rate would change without `extend`.
      OSError: if the folder cannot be written to, or there is no file of initial weights; BlockingIOError if another
        run trains there, and ConnectionError if another process of this run is lost.
      ImportError: if the installed version of orbax cannot read or write checkpoints.
      MemoryError: if the memory of a device is full, with settings that need less.
      FloatingPointError: at the first loss or gradient that is not finite. The last checkpoint is from before it.
      SystemExit: with the code `distributed.INTERRUPTED`, after SIGTERM or SIGINT, once the current step is saved.

    Examples:
      >>> from bmc_jax import config, train
      >>> options = config.Config(network=config.Network(input="points"), limits=config.Limits(source="clinical"))
      >>> options.data.train = (config.Source("hands.npy", share=1.0),)
      >>> train.train(options, "runs/mine")  # doctest: +SKIP
    """
    files.require_local(workdir)
    workdir = Path(workdir)

    # Configuration and folder: all checks come before any work.
    with distributed.fail_together():
        config = sources.resolve(_checked(config))
        require_installed(config)
        periodic_eval.best_metric(config)
        profiling.interval(config)
        total = steps(config)
        done = checkpoint.latest(workdir) or 0
        run_folder.require_own(workdir, config)
        if done < total and not extend:
            run_folder.require_same_schedule(workdir, config, done=done)
        weights = run_folder.initial_weights(workdir, config)
    facts = {"data": sources.digest(config), "initial weights": weights, **distributed.versions_and_devices()}
    distributed.require_same({**config_io.flat(config), **facts})
    with run_folder.hold(workdir):
        run_folder.claim(workdir, config, weights)
        if (checkpoint.latest(workdir) or 0) >= total:
            distributed.print_once(f"{workdir}: all {total} steps are done; nothing to train")
            return
        done = _train(config, workdir, new=config if weights else run_folder.without_initial_weights(config))
        distributed.barrier()
    if done < total:
        distributed.print_once(
            f"{workdir}: stopped and saved at step {done} of {total}; the same command resumes there"
        )
        raise SystemExit(distributed.INTERRUPTED)


def _checked(config: Config) -> Config:
    """Returns the configuration after the checks of a file's: a configuration made in Python may have any values."""
    if not isinstance(config, Config):
        raise ValueError(f"config: expected a bmc_jax.config.Config, got {config!r}; load a file with config_io.load")
    return config_io.from_dict(config_io.to_dict(config))


def _train(config: Config, workdir: Path, *, new: Config) -> int:
    """Trains in a locked folder, with a state of `new` if none is saved, and returns the number of steps done."""
    total, rows, best = steps(config), input_pipeline.rows(config), periodic_eval.best_metric(config)

    # State, data and limits: those of the last checkpoint, or new ones.
    with distributed.fail_together():
        state = checkpoint.restore(workdir, step.create(new))
        done = int(state.step)
        example_sets = sources.training(config)
    distributed.require_same({"the step to resume from": done})
    hand_limits = run_folder.load_limits(workdir, config, example_sets)
    calls = feed.open_feed(config, example_sets, rows[done:total], done)
    evaluation = periodic_eval.PeriodicEvaluation(config, hand_limits)

    distributed.print_once(
        f"training {config.name}: steps {done + 1} to {total}, {counted(jax.device_count(), 'device')}, in {workdir}"
    )
    metadata = {
        "config": config_io.to_dict(config),
        "limits": json_files.read(workdir / limits.FILE, dict[str, Any]),
        "data": sources.digest(config),
        "environment": environment(),
    }
    writer = checkpoint.Writer(workdir, keep=config.training.keep, metadata=metadata, best=best)
    require_finite = functools.partial(safeguards.require_finite, new, workdir, example_sets, hand_limits)
    run = feed.train_program(config)
    state, hand_limits = parallel.replicate((state, hand_limits), config.training.mapping)
    log = Log(workdir, config, first=done, total=total)
    full_memory = safeguards.explained_memory_error(config, cached=calls.resident.images is not None)
    profiled = profiling.profiled(config, workdir)
    with (
        writer,
        log,
        distributed.signalled() as signal,
        full_memory,
        distributed.lost_processes(),
        profiled as profile,
    ):
        hooks = [
            lambda progress: profile(progress.done, progress.state),
            _finite_one_step_late(),
            _logging(config, log, calls, total),
            _stopping(signal, total),
            _evaluation(evaluation, log),
            _replica_check(config),
            _saving(config, writer, keep_best=bool(best)),
        ]
        for call in calls:
            state, metrics = run(state, call.inputs, hand_limits, calls.resident)
            finite = metrics.pop(feed.FINITE)
            finite.copy_to_host_async()
            done += len(call.rows)
            progress = Progress(
                done=done,
                taken=len(call.rows),
                state=state,
                metrics=metrics,
                require_finite=functools.partial(require_finite, done, finite, metrics, call.rows),
            )
            for hook in hooks:
                hook(progress)
            if progress.last:
                break
    return done


def _finite_one_step_late() -> Hook:
    """Checks the previous step, so that the devices compute the next step while the host checks."""
    previous: Callable[[], None] | None = None

    def hook(progress: Progress) -> None:
        nonlocal previous
        if previous is not None:
            previous()
        previous = progress.require_finite

    return hook


def _logging(config: Config, log: Log, calls: feed.Feed, total: int) -> Hook:
    def hook(progress: Progress) -> None:
        log.advance(progress.taken)
        if progress.done % config.training.log_every == 0 or progress.done == total:
            metrics = jax.tree.map(float, jax.device_get(progress.metrics))
            log.write(progress.done, {**metrics, "input_wait": calls.wait_share(), **log.speed()})

    return hook


def _stopping(signal: threading.Event, total: int) -> Hook:
    """Decides whether the run stops. It follows logging, which waits for the step, so that signals until then count."""
    stop = safeguards.agreement()

    def hook(progress: Progress) -> None:
        progress.interrupted = stop(signal.is_set())
        progress.last = progress.interrupted or progress.done == total

    return hook


def _evaluation(evaluation: periodic_eval.PeriodicEvaluation, log: Log) -> Hook:
    def hook(progress: Progress) -> None:
        if evaluation.due(progress.done) and not progress.interrupted:
            progress.require_finite()
            progress.evaluated = evaluation.run(parallel.local(progress.state), progress.done, log)

    return hook


def _replica_check(config: Config) -> Hook:
    every = config.training.check_replicas

    def hook(progress: Progress) -> None:
        if every and progress.done % every == 0:
            safeguards.require_equal(parallel.local(progress.state))

    return hook


def _saving(config: Config, writer: checkpoint.Writer, *, keep_best: bool) -> Hook:
    def hook(progress: Progress) -> None:
        due = progress.done % config.training.save_every == 0 or (keep_best and progress.evaluated)
        if progress.last or due:
            progress.require_finite()
            writer.save(parallel.local(progress.state), progress.evaluated)

    return hook
