"""Saved training states: the only orbax.

A checkpoint is host numpy, so it loads on any number of devices and processes and without a template. It is written
beside its place and renamed, so it is there whole or not at all.
"""

import os
from pathlib import Path
from typing import Any, TypeVar, cast

import jax
import numpy as np
from flax import serialization, traverse_util
from orbax.checkpoint import v1 as ocp

FOLDER = "checkpoints"
State = TypeVar("State")


def save(workdir: str | os.PathLike, state: Any, *, keep: int) -> None:
    """Write a state under its own `state.step` and delete all but the `keep` newest. A step already saved stays."""
    content = serialization.to_state_dict(jax.device_get(state))
    step = int(content["step"])
    with _open(workdir, preservation_policy=ocp.training.preservation_policies.LatestN(keep)) as checkpoints:
        if step not in [saved.step for saved in checkpoints.checkpoints]:
            checkpoints.save(step, content, force=True)


def latest(workdir: str | os.PathLike) -> int | None:
    """The newest saved step; None where nothing was saved."""
    if not (Path(workdir) / FOLDER).is_dir():
        return None
    with _open(workdir) as checkpoints:
        return checkpoints.latest.step if checkpoints.latest else None


def restore(workdir: str | os.PathLike, state: State) -> State:
    """The newest saved state, as host numpy in the structure of `state`; `state` itself where nothing was saved.

    Raises:
      ValueError: if what was saved is of another structure, shape or type, naming every difference.
    """
    if latest(workdir) is None:
        return state
    saved = load(workdir)
    _require_same(saved, serialization.to_state_dict(jax.eval_shape(lambda: state)), workdir)
    return cast(State, serialization.from_state_dict(state, saved))


def load(workdir: str | os.PathLike, step: int | None = None) -> dict[str, Any]:
    """A saved state, the newest by default, as nested dicts of numpy. Evaluation needs its `params` and `batch_stats`.

    Raises:
      FileNotFoundError: if there is none, or not that one, naming those that there are.
    """
    newest = latest(workdir)
    if newest is None:
        raise FileNotFoundError(f"{workdir} holds no checkpoint; train it first")
    with _open(workdir) as checkpoints:
        steps = [saved.step for saved in checkpoints.checkpoints]
        if step is not None and step not in steps:
            raise FileNotFoundError(f"{workdir} holds no checkpoint of step {step}; it has {steps}")
        return jax.tree.map(np.asarray, checkpoints.load(newest if step is None else step))


def _open(workdir: str | os.PathLike, **policies: Any) -> ocp.training.Checkpointer:
    return ocp.training.Checkpointer(os.path.abspath(Path(workdir) / FOLDER), **policies)


def _require_same(saved: dict[str, Any], wanted: dict[str, Any], workdir: str | os.PathLike) -> None:
    """Raise ValueError unless both have the same leaves, of the same shapes and types."""

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
