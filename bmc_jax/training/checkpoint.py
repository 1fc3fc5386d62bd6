"""Checkpoints of training states, with orbax.

A checkpoint is host numpy, so it loads on any number of devices and processes and without a template. Process 0 writes
it in the background to a temporary place and renames it, so that it is complete or absent. One that is damaged
afterwards is set aside, and the one before it is restored.
"""

import contextlib
import math
import os
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import jax
import numpy as np
from flax import serialization, traverse_util
from orbax.checkpoint import v1 as ocp

FOLDER = "checkpoints"
DAMAGED = ".damaged"
"""Suffix of a damaged checkpoint that was set aside; it can be deleted."""
CHECKSUM = "crc32"
"""Key of a state's checksum in its metadata: orbax detects a file cut short, but not a changed number."""
State = TypeVar("State")


class Writer:
    """Saves a run's states in the background; a context manager whose end waits for all of them.

    Every process must call the same methods at the same steps.

    Args:
      workdir: the run's folder.
      keep: number of newest states to keep; older ones are deleted.
      metadata: description of the run, written as JSON beside each state.
      best: name of a metric and whether less of it is better; the best state by it is kept too.

    Raises:
      OSError: if something cannot be written, naming the folder, at the next `save` or at the end.
    """

    def __init__(
        self,
        workdir: str | os.PathLike,
        *,
        keep: int,
        metadata: dict[str, Any] | None = None,
        best: tuple[str, bool] | None = None,
    ) -> None:
        self._workdir, self._metadata = workdir, metadata or {}
        policies = ocp.training.preservation_policies
        preserved: list[Any] = [policies.LatestN(keep)]
        if best:
            key, less = best
            worst = math.inf if less else -math.inf
            preserved.append(
                policies.BestN(
                    get_metric_fn=lambda metrics: metrics.get(key, worst),
                    reverse=less,
                    n=1,
                    keep_checkpoints_without_metrics=False,
                )
            )
        with _write_errors(workdir):
            self._checkpoints = _open(workdir, preservation_policy=policies.AnyPreservationPolicy(preserved))

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, _: Any, error: BaseException | None, __: Any) -> None:
        if isinstance(error, ConnectionError):  # closing would wait forever for the lost process
            return
        with _write_errors(self._workdir):
            self._checkpoints.close()

    def save(self, state: Any, metrics: dict[str, float] | None = None) -> None:
        """Copies a state and writes it in the background under its own `state.step`, after the state before it.

        A step that is saved already stays as it is.

        Args:
          state: the training state.
          metrics: values that the best state is chosen by.
        """
        # Copied also on CPU, where the host's array shares the device's buffer, which the next step donates.
        content = jax.tree.map(np.array, serialization.to_state_dict(jax.device_get(state)))
        step = int(content["step"])
        with _write_errors(self._workdir):
            if step not in [saved.step for saved in self._checkpoints.checkpoints]:
                self._checkpoints.save_async(
                    step,
                    content,
                    force=True,
                    metrics=dict[str, Any](metrics) if metrics else None,
                    custom_metadata={**self._metadata, CHECKSUM: _checksum(content)},
                )


def save(workdir: str | os.PathLike, state: Any, *, keep: int) -> None:
    """Writes one state and waits for it; see `Writer`."""
    with Writer(workdir, keep=keep) as writer:
        writer.save(state)


def latest(workdir: str | os.PathLike) -> int | None:
    """Returns the newest saved step; None if there is none."""
    if not (Path(workdir) / FOLDER).is_dir():
        return None
    with _open(workdir) as checkpoints:
        return checkpoints.latest.step if checkpoints.latest else None


def best(workdir: str | os.PathLike, metric: str, *, less: bool) -> int:
    """Returns the saved step with the best value of a metric, the newest of equal ones.

    Raises:
      FileNotFoundError: if no saved step has the metric.
    """
    found = {}
    if latest(workdir) is not None:
        with _open(workdir) as checkpoints:
            for saved in checkpoints.checkpoints:
                if metric in (metrics := cast(dict[str, float], saved.metrics or {})):
                    found[saved.step] = metrics[metric]
    if not found:
        raise FileNotFoundError(f"{workdir} holds no checkpoint with the metric {metric}")
    return (min if less else max)(reversed(found), key=found.__getitem__)


def restore(workdir: str | os.PathLike, state: State) -> State:
    """Returns the newest undamaged state, as host numpy in the structure of `state`; `state` if there is none saved.

    Damaged ones that are newer are set aside, with a warning.

    Raises:
      ValueError: if the saved state differs in structure, shapes or types, naming the differences, or if no checkpoint
        can be read.
    """
    if latest(workdir) is None:
        return state
    damaged: dict[int, Exception] = {}
    with _open(workdir) as checkpoints:
        steps = [saved.step for saved in checkpoints.checkpoints]
        for step in reversed(steps):
            try:
                saved = _read(checkpoints, step)
                break
            except Exception as error:  # orbax lets errors of its libraries through
                damaged[step] = error
        else:
            raise ValueError(
                f"none of the checkpoints in {workdir} can be read, of steps {steps}: "
                f"{_first_line(damaged[steps[-1]])}. Copy them here again, or delete "
                f"{Path(workdir) / FOLDER} to begin anew"
            )
    _require_same(saved, serialization.to_state_dict(state), workdir)
    for step, error in damaged.items():
        place = Path(workdir) / FOLDER / str(step)
        aside = _unused(place.with_name(place.name + DAMAGED))
        warnings.warn(
            f"the checkpoint of step {step} in {workdir} is damaged ({_first_line(error)}): set aside as "
            f"{aside.name}; going on from step {int(saved['step'])}",
            stacklevel=2,
        )
        if jax.process_index() == 0:
            os.replace(place, aside)
    return cast(State, serialization.from_state_dict(state, saved))


def load(workdir: str | os.PathLike, step: int | None = None) -> dict[str, Any]:
    """Returns a saved state, the newest by default, as nested dicts of numpy.

    Raises:
      FileNotFoundError: if there is no such checkpoint, naming those that there are.
      ValueError: if it is damaged.
    """
    with _existing(workdir, step) as (checkpoints, found):
        try:
            return _read(checkpoints, found)
        except Exception as error:
            place = Path(workdir) / FOLDER / str(found)
            raise ValueError(
                f"the checkpoint {place} is damaged ({_first_line(error)}); delete it, and training goes on from the "
                "one before"
            ) from error


def metadata(workdir: str | os.PathLike, step: int | None = None) -> dict[str, Any]:
    """Returns the metadata of a saved state, the newest by default: configuration, limits, data and environment.

    Raises:
      FileNotFoundError: if there is no such checkpoint.
    """
    with _existing(workdir, step) as (checkpoints, found):
        saved = cast(dict[str, Any], checkpoints.metadata(found).custom_metadata or {})
        return {name: value for name, value in saved.items() if name != CHECKSUM}


@contextlib.contextmanager
def _existing(workdir: str | os.PathLike, step: int | None) -> Iterator[tuple[ocp.training.Checkpointer, int]]:
    newest = latest(workdir)
    if newest is None:
        raise FileNotFoundError(f"{workdir} holds no checkpoint; train it first")
    with _open(workdir) as checkpoints:
        steps = [saved.step for saved in checkpoints.checkpoints]
        if step is not None and step not in steps:
            raise FileNotFoundError(f"{workdir} holds no checkpoint of step {step}; it has {steps}")
        yield checkpoints, newest if step is None else step


def _read(checkpoints: ocp.training.Checkpointer, step: int) -> dict[str, Any]:
    content = jax.tree.map(np.asarray, checkpoints.load(step))
    saved = cast(dict[str, Any], checkpoints.metadata(step).custom_metadata or {})
    if CHECKSUM in saved and saved[CHECKSUM] != _checksum(content):
        raise ValueError("its checksum is not that of its content")
    return content


def _checksum(content: dict[str, Any]) -> int:
    leaves: dict[str, Any] = traverse_util.flatten_dict(content, sep="/")
    total = 0
    for name in sorted(leaves):
        total = zlib.crc32(np.ascontiguousarray(leaves[name]).data, zlib.crc32(name.encode(), total))
    return total


def _open(workdir: str | os.PathLike, **policies: Any) -> ocp.training.Checkpointer:
    return ocp.training.Checkpointer(os.path.abspath(Path(workdir) / FOLDER), **policies)


@contextlib.contextmanager
def _write_errors(workdir: str | os.PathLike) -> Iterator[None]:
    """Raises OSError in place of any error while a checkpoint is written."""
    try:
        yield
    except Exception as error:
        raise OSError(
            f"no checkpoint could be written into {workdir} ({_first_line(error)}). Earlier ones "
            "are complete: check the disk's space and permissions; the same command goes on from the newest"
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _unused(place: Path) -> Path:
    number = 1
    while place.exists():
        number += 1
        place = place.with_name(f"{place.name.split(DAMAGED)[0]}{DAMAGED}{number}")
    return place


def _require_same(saved: dict[str, Any], wanted: dict[str, Any], workdir: str | os.PathLike) -> None:
    """Raises ValueError unless both have the same leaves, of the same shapes and types."""

    def shapes(tree: dict[str, Any]) -> dict[str, str]:
        leaves: dict[str, Any] = traverse_util.flatten_dict(tree, sep="/")
        return {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in leaves.items()}

    found, expected = shapes(saved), shapes(wanted)
    if found == expected:
        return
    differences = [
        f"{name}: {found.get(name, 'nothing')} there, {expected.get(name, 'nothing')} here"
        for name in sorted(found | expected)
        if found.get(name) != expected.get(name)
    ]
    shown = "\n  ".join(differences[:10] + ([f"and {len(differences) - 10} more"] if len(differences) > 10 else []))
    raise ValueError(
        f"the checkpoint in {workdir} is of another network or optimizer; give a new folder, or the configuration "
        f"that it was trained with:\n  {shown}"
    )
