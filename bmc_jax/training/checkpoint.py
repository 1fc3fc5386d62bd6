"""Checkpoints of training states, with Orbax.

A checkpoint has host numpy arrays, so it loads without a template on any number of devices and processes. Process 0
writes it in the background to a temporary folder and renames that, so that a checkpoint is complete or absent. A
checkpoint that is damaged afterwards is renamed, and the one before it is restored. If the installed Orbax cannot read
checkpoints, an ImportError is raised and all checkpoints stay unchanged.
"""

import contextlib
import importlib.metadata
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

from bmc_jax.runtime import json_files

LIBRARY = "orbax-checkpoint"
LIBRARY_VERSION = "0.12"
"""The supported version of Orbax, without the patch number."""


def require_library() -> str:
    """Returns the installed version of Orbax.

    Raises:
      ImportError: unless its version is `LIBRARY_VERSION`.
    """
    version = importlib.metadata.version(LIBRARY)
    if not version.startswith(f"{LIBRARY_VERSION}."):
        raise _incompatible()
    return version


class _InterfaceError(ImportError):
    """An error of `FAULTS_OF_LIBRARIES` at a checkpoint. The checkpoint is damaged if Orbax can read another one."""

    def __init__(self, place: Path, cause: BaseException) -> None:
        self.fault = ValueError(_first_line(cause))
        super().__init__(
            f"{LIBRARY} {importlib.metadata.version(LIBRARY)} cannot read {place} ({self.fault}) or another "
            "checkpoint in its folder: the installed packages are incompatible, or it is damaged; install the "
            "versions of constraints.txt, or copy it here again. All checkpoints are unchanged"
        )


def _incompatible(why: str = "") -> ImportError:
    version = importlib.metadata.version(LIBRARY)
    return ImportError(
        f"expected {LIBRARY} {LIBRARY_VERSION}, got {version}{f' ({why})' if why else ''}; run "
        f"pip install '{LIBRARY}=={LIBRARY_VERSION}.*'. All checkpoints are unchanged"
    )


try:
    from orbax.checkpoint import v1 as ocp
except (ImportError, AttributeError) as import_error:
    raise _incompatible(str(import_error)) from import_error

FOLDER = "checkpoints"
DAMAGED = ".damaged"
"""Suffix of the name of a damaged checkpoint."""
CHECKSUM = "crc32"
"""Key of a state's checksum in its metadata: Orbax detects a truncated file, but not a changed number."""
WRITTEN_BY = "orbax"
"""Key in a state's metadata of the version of Orbax that wrote it."""
METADATA_FILE, METRICS_FILE = "_CHECKPOINT_METADATA", "metrics/metrics"
"""Orbax's files of a checkpoint's metadata and metrics."""
FAULTS_OF_LIBRARIES = (ImportError, AttributeError, TypeError, NameError, NotImplementedError)
"""Errors that a changed programming interface raises; damaged metadata may also raise some of them."""
FAULTS_OF_MACHINES = ("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "UNAVAILABLE")
"""Prefixes of messages of Orbax's errors that are due to the machine and not to damage."""
State = TypeVar("State")


class Writer:
    """Saves a run's states in the background; a context manager whose end waits for all of them.

    Every process must call the same methods at the same steps.

    Args:
      workdir: the run's folder.
      keep: number of newest states to keep; older ones are deleted.
      metadata: description of the run, written as JSON with each state.
      best: name of a metric and whether lower is better; the best state by this metric is kept too.

    Raises:
      OSError: at the next `save` or at the end, if a state cannot be written. The message names the folder.
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
        """Copies a state and writes it in the background under its `state.step`, after the state before it.

        A step that is already saved is not written again.

        Args:
          state: the training state.
          metrics: metrics of the state; the best state is chosen by one of them.
        """
        # A copy is needed on CPU too: the host's array shares the device's buffer, which the next step donates.
        content = jax.tree.map(np.array, serialization.to_state_dict(jax.device_get(state)))
        step = int(content["step"])
        with _write_errors(self._workdir):
            if step not in [saved.step for saved in self._checkpoints.checkpoints]:
                self._checkpoints.save_async(
                    step,
                    content,
                    force=True,
                    metrics=dict[str, Any](metrics) if metrics else None,
                    custom_metadata={**self._metadata, CHECKSUM: _checksum(content), WRITTEN_BY: require_library()},
                )


def save(workdir: str | os.PathLike, state: Any, *, keep: int) -> None:
    """Writes one state and waits for it; see `Writer`."""
    with Writer(workdir, keep=keep) as writer:
        writer.save(state)


def latest(workdir: str | os.PathLike) -> int | None:
    """Returns the newest saved step; None if there is none.

    Raises:
      ImportError: unless the version of the installed Orbax is `LIBRARY_VERSION`.
      NotADirectoryError: if the folder of checkpoints is a file.
    """
    return max(_steps(workdir), default=None)


def best(workdir: str | os.PathLike, metric: str, *, less: bool) -> int:
    """Returns the saved step with the best value of a metric; of equal values the newest.

    Raises:
      FileNotFoundError: if no undamaged step has the metric.
    """
    found = {}
    for step in _steps(workdir):
        with contextlib.suppress(ValueError, FileNotFoundError):
            _described(workdir, step)
            metrics = json_files.read(_place(workdir, step) / METRICS_FILE, dict[str, float])
            if metric in metrics:
                found[step] = metrics[metric]
    if not found:
        raise FileNotFoundError(f"{workdir}: expected a checkpoint with the metric {metric}, got none; choose a step")
    return (min if less else max)(reversed(found), key=found.__getitem__)


def restore(workdir: str | os.PathLike, state: State) -> State:
    """Returns the newest undamaged state, as host numpy in the structure of `state`; `state` if no state is saved.

    Damaged checkpoints are renamed, with a warning: all newer ones, and older ones without readable metadata.

    Raises:
      ValueError: if the saved state differs in structure, shapes or types (the message names the differences), or if
        all checkpoints are damaged.
      ImportError: if the installed Orbax cannot read checkpoints, or not these. No checkpoint is renamed.
      OSError: if a checkpoint cannot be read for a reason other than damage, such as permissions.
    """
    saved, damaged, unread = None, dict[int, ValueError](), list[_InterfaceError]()
    steps = _steps(workdir)
    for step in reversed(steps):
        try:
            if saved is None:
                saved = _read(workdir, step)
            else:
                # Orbax reads the metadata of every step before it saves a new one.
                written_by = _described(workdir, step)["custom_metadata"].get(WRITTEN_BY)
                with _read_errors(_place(workdir, step), written_by):
                    ocp.metadata(str(_place(workdir, step)))
        except ValueError as error:
            damaged[step] = error
        except _InterfaceError as error:
            damaged[step] = error.fault
            unread.append(error)
    if not steps:
        return state
    if saved is None and unread:
        raise unread[0]
    if saved is None:
        raise ValueError(
            f"all checkpoints in {workdir} are damaged, those of steps {steps}: {damaged[steps[-1]]}; copy them here "
            "again, or give another --workdir to start again"
        )
    _require_same(saved, serialization.to_state_dict(state), workdir)
    for step, error in damaged.items():
        place = _place(workdir, step)
        aside = _unused(place.with_name(place.name + DAMAGED))
        warnings.warn(
            f"the checkpoint of step {step} in {workdir} is damaged ({error}): renamed it to {aside.name}; training "
            f"continues from step {int(saved['step'])}",
            stacklevel=2,
        )
        if jax.process_index() == 0:
            os.replace(place, aside)
    return cast(State, serialization.from_state_dict(state, saved))


def load(workdir: str | os.PathLike, step: int | None = None) -> dict[str, Any]:
    """Returns a saved state, the newest by default, as nested dicts of numpy.

    Raises:
      FileNotFoundError: if the checkpoint does not exist. The message lists the existing steps.
      ValueError: if the checkpoint is damaged. The message lists the other steps.
      ImportError: if the installed Orbax cannot read it.
      OSError: if it cannot be read for a reason other than damage, such as permissions.
    """
    step = _existing(workdir, step)
    try:
        return _read(workdir, step)
    except ValueError as error:
        raise _damaged(workdir, step, error) from error
    except _InterfaceError as error:
        interface = error
    if any(_is_readable(workdir, other) for other in _steps(workdir) if other != step):
        raise _damaged(workdir, step, interface.fault) from interface
    raise interface


def metadata(workdir: str | os.PathLike, step: int | None = None) -> dict[str, Any]:
    """Returns the metadata of a saved state, the newest by default: configuration, limits, data and environment.

    Raises:
      FileNotFoundError: if the checkpoint does not exist.
      ValueError: if the checkpoint is damaged. The message lists the other steps.
    """
    step = _existing(workdir, step)
    try:
        saved = _described(workdir, step)["custom_metadata"]
    except ValueError as error:
        raise _damaged(workdir, step, error) from error
    return {name: value for name, value in saved.items() if name not in (CHECKSUM, WRITTEN_BY)}


def _place(workdir: str | os.PathLike, step: int) -> Path:
    return Path(os.path.abspath(workdir)) / FOLDER / str(step)


def _steps(workdir: str | os.PathLike) -> list[int]:
    """Returns the saved steps in ascending order."""
    require_library()
    folder = Path(workdir) / FOLDER
    if not folder.exists():
        return []
    if not folder.is_dir():
        raise NotADirectoryError(f"expected a folder of checkpoints, got the file {folder}; move it away")
    return sorted(int(place.name) for place in folder.iterdir() if place.name.isdecimal() and place.is_dir())


def _existing(workdir: str | os.PathLike, step: int | None) -> int:
    steps = _steps(workdir)
    if not steps:
        raise FileNotFoundError(f"{workdir}: expected a checkpoint, got none; run bmc train first")
    if step is not None and step not in steps:
        raise FileNotFoundError(f"{workdir}: expected a checkpoint of step {step}, got those of {steps}; choose one")
    return steps[-1] if step is None else step


def _damaged(workdir: str | os.PathLike, step: int, error: ValueError) -> ValueError:
    others = [other for other in _steps(workdir) if other != step]
    remedy = f"give --step with one of {others}" if others else "copy it here again"
    return ValueError(
        f"the checkpoint {_place(workdir, step)} is damaged ({error}); {remedy}, or run bmc train again, which renames "
        "it and resumes from the one before"
    )


def _described(workdir: str | os.PathLike, step: int) -> dict[str, Any]:
    """Returns the metadata that Orbax and `Writer.save` wrote with a state. Raises ValueError if it is damaged."""
    try:
        content = json_files.read(_place(workdir, step) / METADATA_FILE, dict[str, Any])
    except FileNotFoundError as error:
        raise ValueError(f"{METADATA_FILE} is missing") from error
    saved = content.get("custom_metadata")
    if not isinstance(saved, dict) or type(saved.get(CHECKSUM)) is not int:
        raise ValueError(f"{METADATA_FILE} has no checksum")
    return content


def _read(workdir: str | os.PathLike, step: int) -> dict[str, Any]:
    """Returns a state. Raises ValueError if it is damaged, ImportError or OSError if it cannot be read otherwise."""
    saved = _described(workdir, step)["custom_metadata"]
    with _read_errors(_place(workdir, step), saved.get(WRITTEN_BY)):
        content = jax.tree.map(np.asarray, ocp.load(str(_place(workdir, step))))
    if saved[CHECKSUM] != _checksum(content):
        raise ValueError("its content does not match its checksum")
    return content


def _is_readable(workdir: str | os.PathLike, step: int) -> bool:
    with contextlib.suppress(ValueError, ImportError, OSError):
        _read(workdir, step)
        return True
    return False


@contextlib.contextmanager
def _read_errors(place: Path, written_by: Any) -> Iterator[None]:
    """Raises ValueError in place of errors due to damage, ImportError for those due to the version of Orbax, and
    OSError or MemoryError for those due to the machine."""
    try:
        yield
    except Exception as error:  # Orbax raises errors of its libraries, and wraps some of them
        cause = _first_cause(error)
        other_version = isinstance(written_by, str) and not written_by.startswith(f"{LIBRARY_VERSION}.")
        if other_version:
            raise _incompatible(f"{place} was written with {written_by}; {_first_line(cause)}") from error
        if isinstance(cause, FAULTS_OF_LIBRARIES):
            raise _InterfaceError(place, cause) from error
        if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError)):
            raise cause from error
        if str(cause).startswith(FAULTS_OF_MACHINES):
            raise OSError(f"{place} cannot be read: {_first_line(cause)}") from error
        raise ValueError(_first_line(cause)) from error


def _first_cause(error: BaseException) -> BaseException:
    while cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = cause
    return error


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
            f"no checkpoint could be written into {workdir} ({_first_line(error)}); check the disk's space and "
            "permissions. Earlier checkpoints are complete, and the same command resumes from the newest"
        ) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _unused(place: Path) -> Path:
    number = 1
    while place.exists():
        number += 1
        place = place.with_name(f"{place.name.split(DAMAGED)[0]}{DAMAGED}{number}")
    return place


def _require_same(saved: dict[str, Any], wanted: dict[str, Any], workdir: str | os.PathLike) -> None:
    """Raises ValueError unless both states have the same leaves, with the same shapes and types."""

    def shapes(tree: dict[str, Any]) -> dict[str, str]:
        leaves: dict[str, Any] = traverse_util.flatten_dict(tree, sep="/")
        return {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in leaves.items()}

    found, expected = shapes(saved), shapes(wanted)
    if found == expected:
        return
    differences = [
        f"{name}: expected {expected.get(name, 'nothing')}, got {found.get(name, 'nothing')}"
        for name in sorted(found | expected)
        if found.get(name) != expected.get(name)
    ]
    shown = "\n  ".join(differences[:10] + ([f"and {len(differences) - 10} more"] if len(differences) > 10 else []))
    raise ValueError(
        f"the checkpoint in {workdir} has another network or optimizer; give another --workdir, or the configuration "
        f"that it was trained with:\n  {shown}"
    )
