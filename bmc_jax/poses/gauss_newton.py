"""Gauss-Newton steps of many hands along their active limits, for `repair`.

The normal equations have the structure of a hand: one block for each finger's parameters, coupled only to the block of
the parameters that all fingers share. A step eliminates the fingers, solves for the shared parameters, and substitutes
back. Poses are the last axis here, so that all operations run along them.
"""

import functools
import itertools
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from bmc_jax.core import hand, kinematics
from bmc_jax.core.kinematics import Palm, Posture

DAMPING, LEAST_DAMPING = 1e-2, 1e-3
"""Share of the diagonal that is added to it (Levenberg-Marquardt), and a constant that is added."""
OWN, SHARED = 10, 14
"""Number of parameters of each finger, and of parameters that all fingers share."""
#: Joint and coordinate of each component of a finger's joints.
_COMPONENTS = tuple(itertools.product(range(len(hand.LEVELS)), range(3)))


class Step(NamedTuple):
    """Changes of postures and of the shared parameters."""

    posture: Posture
    palm: Float[Array, "pose 14"]
    """Change of the parameters in the columns of `kinematics.palm_jacobian`; turn, move and size are used."""


def step(
    own: Float[Array, "pose 5 10 4 3"],
    shared: Float[Array, "pose 5 14 4 3"],
    off: Float[Array, "pose 21 3"],
    active: Posture,
    fixed: Bool[Array, "5 4"],
    rays: Float[Array, "pose 21 3"] | None,
    weight: Float[Array, ""],
) -> tuple[Step, Posture]:
    """Returns the step to the linearised least-squares solution along the active limits, and the limits still active.

    Args:
      own: `kinematics.finger_jacobian` of each pose.
      shared: `kinematics.palm_jacobian` of each pose.
      off: difference of the joints from the given joints.
      active: direction of each active limit; 0 for inactive limits.
      fixed: bone lengths that do not change. If all are fixed, the scale does not change either.
      rays: unit vectors; residuals along them have weight 1, residuals across them have weight `weight`. None for
        weight 1 in all directions.
      weight: see `rays`.
    """
    # Parameter x finger x joint x coordinate x pose.
    own, shared = (jnp.transpose(jacobian, (2, 1, 3, 4, 0)) for jacobian in (own, shared))
    off = jnp.moveaxis(off, 0, -1)
    residual = off[1:].reshape(1, 5, 4, 3, -1)
    active = jax.tree.map(lambda x: jnp.moveaxis(x, 0, -1), active)
    wrist, of_wrist = jnp.broadcast_to(jnp.eye(3)[..., None], (3, *off.shape[1:])).astype(off.dtype), off[hand.WRIST]
    along, square = 1 - weight**2, weight**2
    if rays is not None:
        rays = jnp.moveaxis(rays, 0, -1)
        wrist = square * wrist + along * rays[hand.WRIST, :, None] * rays[hand.WRIST, None]
        of_wrist = _sum(wrist[:, x] * of_wrist[x][None] for x in range(3))
        rays = rays[1:].reshape(5, 4, 3, -1)

    def on_rays(vectors):
        assert rays is not None
        onto = rays.reshape((1,) * (vectors.ndim - rays.ndim) + rays.shape)
        return _sum(vectors[..., x, :] * onto[..., x, :] for x in range(3))

    def products(left, right):
        """Sums over the components of each finger; left and right broadcast."""
        found = _sum(left[..., k, x, :] * right[..., k, x, :] for k, x in _COMPONENTS)
        if rays is None:
            return found
        left, right = on_rays(left), on_rays(right)
        return square * found + along * _sum(left[..., k, :] * right[..., k, :] for k in range(len(hand.LEVELS)))

    slope, palm_slope = products(own, residual), products(shared, residual)
    palm_slope = _sum(jnp.moveaxis(palm_slope, 1, 0))
    palm_slope = palm_slope.at[kinematics.MOVE].add(of_wrist)
    # A limit stays active while the descent direction points out of it.
    active = Posture(
        jnp.where(active.bone_lengths * jnp.moveaxis(slope[kinematics.LENGTHS], 0, 1) < 0, active.bone_lengths, 0.0),
        Palm(
            jnp.where(active.palm.spread * palm_slope[kinematics.SPREADS] < 0, active.palm.spread, 0.0),
            jnp.where(active.palm.fold * palm_slope[kinematics.FOLDS] < 0, active.palm.fold, 0.0),
        ),
        jnp.where(_dot(active.angles, _pairs(slope))[:, :, None] < 0, active.angles, 0.0),
    )
    free = jnp.moveaxis((active.bone_lengths == 0) & ~fixed[..., None], 1, 0)
    flexion, abduction = own[kinematics.FLEXIONS], own[kinematics.ABDUCTIONS]
    normal = jnp.transpose(active.angles, (2, 1, 0, 3))[:, :, :, None, None]
    outwards = normal[0] * flexion + normal[1] * abduction
    flexion, abduction = flexion - normal[0] * outwards, abduction - normal[1] * outwards
    own = jnp.concatenate([own[kinematics.LENGTHS] * free[:, :, None, None], flexion, abduction])
    palm_free = jnp.ones(palm_slope.shape, bool).at[kinematics.SPREADS].set(active.palm.spread == 0)
    palm_free = palm_free.at[kinematics.FOLDS].set(active.palm.fold == 0)
    palm_free = palm_free.at[kinematics.SIZE].set(~jnp.all(fixed))
    shared = shared * palm_free[:, None, None, None]

    # The columns of a finger's normal equations: its parameters, the shared parameters, and the residual.
    system = products(jnp.concatenate([own, shared, residual])[:, None], own[None])
    columns = _eliminate(_damped(system, OWN))
    rest = jnp.stack([column[-SHARED - 1 :] for column in columns])
    eliminated = jnp.einsum("pqfb,prfb->bqr", rest, rest, precision="highest")
    palm_block = jnp.einsum("pfkxb,qfkxb->bpq", shared, shared, precision="highest")
    if rays is not None:
        moved = on_rays(shared)
        palm_block = square * palm_block + along * jnp.einsum("pfkb,qfkb->bpq", moved, moved, precision="highest")
    move = kinematics.MOVE
    palm_block = palm_block.at[:, move[:, None], move].add(jnp.moveaxis(wrist, -1, 0))
    palm_block = jnp.moveaxis(_damped(jnp.moveaxis(palm_block, 0, -1), SHARED), -1, 0)
    factor = jnp.linalg.cholesky(palm_block - eliminated[:, :-1, :-1])
    right = jnp.where(palm_free, palm_slope, 0.0).T - eliminated[:, :-1, -1]
    palm_step = -jax.scipy.linalg.cho_solve((factor, True), right[..., None])[..., 0].T
    own_step = _substitute(
        columns,
        [column[-1] + _sum(column[q - SHARED - 1] * palm_step[q][None] for q in range(SHARED)) for column in columns],
    )

    angles = _pairs(own_step)
    angles = angles - _dot(angles, active.angles)[:, :, None] * active.angles
    palm = Palm(palm_step[kinematics.SPREADS], palm_step[kinematics.FOLDS])
    lengths = jnp.moveaxis(own_step[kinematics.LENGTHS], 0, 1)
    return jax.tree.map(lambda x: jnp.moveaxis(x, -1, 0), (Step(Posture(lengths, palm, angles), palm_step), active))


def _eliminate(system: Float[Array, "..."]) -> list[Float[Array, "..."]]:
    """Returns the columns, from the diagonal on, of the Cholesky factor L of the first n rows, followed by B L^-T.

    B are the other rows.
    """
    columns: list[Array] = []
    for j in range(system.shape[1]):
        rest = system[j:, j]
        for k, column in enumerate(columns):
            rest = rest - column[j - k :] * column[j - k][None]
        columns.append(rest / jnp.sqrt(rest[:1]))
    return columns


def _substitute(columns: list[Array], right: list[Float[Array, "..."]]) -> Float[Array, "..."]:
    """Returns x that solves L^T x = -`right`, with the columns of `_eliminate`."""
    solved: dict[int, Array] = {}
    for i in reversed(range(len(right))):
        rest = right[i]
        for k in range(i + 1, len(right)):
            rest = rest + columns[i][k - i] * solved[k]
        solved[i] = -rest / columns[i][0]
    return jnp.stack([solved[i] for i in range(len(right))])


def _damped(system: Float[Array, "..."], count: int) -> Float[Array, "..."]:
    eye = jnp.eye(len(system), count, dtype=system.dtype).reshape(len(system), count, *[1] * (system.ndim - 2))
    return system * (1 + DAMPING * eye) + LEAST_DAMPING * eye


def _sum(terms: Iterable[Array]) -> Array:
    """Adds terms one by one: XLA for CPU would recompute the terms of a reduction in each row that reads it."""
    return functools.reduce(jnp.add, terms)


def _dot(x, y):
    return x[:, :, 0] * y[:, :, 0] + x[:, :, 1] * y[:, :, 1]


def _pairs(parameters: Float[Array, "10 5 pose"]) -> Float[Array, "5 3 2 pose"]:
    """Returns (flexion, abduction) of each joint of the fingers."""
    pairs = jnp.stack([parameters[kinematics.FLEXIONS], parameters[kinematics.ABDUCTIONS]])
    return jnp.moveaxis(pairs, (0, 1, 2), (2, 1, 0))
