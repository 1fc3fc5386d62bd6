"""The nearest poses within limits, for the output of any estimator.

`project_to_limits` seeks the bone lengths, palm, angles and place of the hand whose joints are nearest to the given
ones: nonlinear least squares by Gauss-Newton steps, with limits as an active set. After every step the posture is
clipped to the limits, so that any pose on the way is within them, and the next step moves along the active limits. The
system of a step has the shape of a hand, fingers that meet in the palm, and is solved by eliminating the fingers.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.spatial.transform import Rotation
from jaxtyping import Array, Bool, Float

from bmc_jax.core import anatomy, hand, kinematics, losses, numerics
from bmc_jax.core.kinematics import Palm, Posture
from bmc_jax.core.types import Limits, LimitsMetadata, require_shape
from bmc_jax.limits.checking import in_chunks
from bmc_jax.poses import feasible, smoothing

KEEP = ("", "projection", "bones")
STEPS = 8

#: Weight of residuals off a joint's ray relative to those along it, in the first and in the last step.
RAY_WEIGHTS = (3.0, 30.0)
#: Share of the diagonal that is added to it (Levenberg-Marquardt), and the least that is added.
DAMPING, LEAST_DAMPING = 1e-2, 1e-3
#: Factor by which a step is shortened when it does not lower the squares.
SHRINK = 0.3
#: Radians or scale units. A limit is active where clipping takes more than this from a step.
ACTIVE = 1e-5

#: Poses repaired at a time on the host. One shape, so that the program is compiled once.
CHUNK = 256


class RepairResult(NamedTuple):
    """Poses within limits, one entry per pose. A gap (a pose with joints that are not finite) is returned unchanged,
    with excess NaN, moved 0 and not converged."""

    joints: Float[Array, "*batch 21 3"]
    converged: Bool[Array, "*batch"]
    """Whether the pose is within limits to `numerics.LIMIT_TOLERANCE`."""
    excess: Float[Array, "*batch"]
    """`Excess.worst` of the result: scale units, their reciprocal, or radians. 1 without a scale bone."""
    moved: Float[Array, "*batch"]
    """Mean distance of the 21 joints from the given ones, in their unit."""


class _Hand(NamedTuple):
    """A hand: its posture in scale units, its size, and where it is."""

    posture: Posture
    scale: Float[Array, ""]
    frame: Float[Array, "3 3"]
    wrist: Float[Array, "3"]


class _Step(NamedTuple):
    posture: Posture
    palm: Float[Array, "14"]
    """By the columns of `kinematics.palm_jacobian`, of which turn, move and size are read."""


class _Search(NamedTuple):
    """State of the solver."""

    best: _Hand
    joints: Float[Array, "21 3"]
    """Of the best hand, in its own frame."""
    squares: Float[Array, "2"]
    """Squared residuals of the best hand, along the rays and off them."""
    step: _Step
    """To try from the best hand."""
    active: Posture
    """Direction in which each limit is active; 0 where it is not."""


def project_to_limits(
    joints: Float[Array, "*batch 21 3"],
    limits: Limits,
    keep: str = "",
    *,
    bone_lengths: Float[Array, "*#batch 5 4"] | None = None,
    steps: int = STEPS,
) -> RepairResult:
    """Finds the nearest poses within limits. Jitted, and not meant to be differentiated.

    A pose within limits to `numerics.LIMIT_TOLERANCE` is returned bit for bit, and so is one that repair would leave
    further beyond them.

    Args:
      joints: right hands in FreiHAND order and any length unit, with any number of leading axes; where `keep` is
        "projection", in the frame of the camera that saw them.
      limits: in units of each pose's own scale bone.
      keep: "" lets joints move freely, and the result is within limits. "projection" moves each along its own viewing
        ray only: the image's information stays, depth is repaired. A pose within limits need not exist then, and
        `RepairResult.excess` is what remains. "bones" keeps all bone lengths, whatever the limits on lengths.
      bone_lengths: of this person where known, finger x level in the unit of the joints; they replace the limits'
        lengths. With "bones", the lengths of the result.
      steps: of Gauss-Newton. Fewer are faster and end less near, but as well within limits.

    Raises:
      ValueError: for another shape, `keep` or number of steps.
    """
    require_shape("joints in FreiHAND order", joints, hand.NUM_JOINTS, 3)
    if keep not in KEEP:
        raise ValueError(f"cannot keep '{keep}'; choose one of {', '.join(map(repr, KEEP))}")
    if steps < 1:
        raise ValueError(f"{steps} steps repair nothing; ask for 1 or more")
    if keep == "bones" and bone_lengths is None:
        bone_lengths = anatomy.bone_lengths(joints)
    if bone_lengths is not None:
        require_shape("bone lengths", bone_lengths, *hand.FINGER_JOINTS.shape)
        bone_lengths = jnp.broadcast_to(bone_lengths, (*joints.shape[:-2], *hand.FINGER_JOINTS.shape))
    # Without what repair does not use, so that other limits need no other program.
    limits = dataclasses.replace(limits, support=limits.support[..., :0, :], meta=LimitsMetadata(source="", count=0))
    return _repair_batch(joints, bone_lengths, limits, keep == "projection", steps)


def repair_poses(
    poses: np.ndarray, limits: Limits, *, keep: str = "", steps: int = STEPS, smooth: float | int | None = None
) -> RepairResult:
    """Repairs any number of poses on the host, `CHUNK` at a time; see `project_to_limits`.

    Args:
      poses: `[N, 21, 3]`, right hands, FreiHAND order. Frames with joints that are not finite are gaps.
      limits: in units of each pose's own scale bone.
      keep: see `project_to_limits`.
      steps: see `project_to_limits`.
      smooth: the poses are the frames of a sequence, which is smoothed first with this period in frames, see
        `smoothing.smooth`; with "projection" along the rays only.

    Returns:
      Numpy arrays with one entry per pose.

    Raises:
      ValueError: for another shape or no pose at all, and with "projection" for joints behind the camera.
    """
    poses = np.asarray(poses)
    require_shape("poses in FreiHAND order", poses, hand.NUM_JOINTS, 3)
    if poses.ndim != 3 or len(poses) == 0:
        raise ValueError(f"poses are an array [N, {hand.NUM_JOINTS}, 3] with N > 0, not {list(poses.shape)}")
    if keep == "projection" and (poses[..., 2] < numerics.NEAREST_DEPTH).any():
        raise ValueError("joints lie behind the camera; give them in its frame, x right, y down, z forward")
    given = poses.astype(np.float32)
    poses = given if smooth is None else _smooth(given, smooth, keep).astype(np.float32)
    found = in_chunks(lambda chunk: project_to_limits(jnp.asarray(chunk), limits, keep, steps=steps), CHUNK, poses)
    if smooth is None:
        return found
    gap = np.isnan(found.excess)
    moved = np.linalg.norm(found.joints - given, axis=-1).mean(axis=-1)
    return found._replace(
        joints=np.where(gap[:, None, None], given, found.joints), moved=np.where(gap, np.float32(0), moved)
    )


def _smooth(poses: np.ndarray, period: float | int, keep: str) -> np.ndarray:
    if keep != "projection":
        return smoothing.smooth(poses, period)
    distance = np.linalg.norm(poses, axis=-1, keepdims=True)
    return poses / distance * smoothing.smooth(distance, period)


@functools.partial(jax.jit, static_argnames=("on_rays", "steps"))
def _repair_batch(joints, bone_lengths, limits: Limits, on_rays: bool, steps: int) -> RepairResult:
    one = functools.partial(_repair_one, limits=limits, on_rays=on_rays, steps=steps)
    flat = [joints.reshape(-1, hand.NUM_JOINTS, 3)]
    if bone_lengths is not None:
        flat.append(bone_lengths.reshape(-1, *hand.FINGER_JOINTS.shape))
    found = jax.vmap(one)(*flat)
    return jax.tree.map(lambda x: x.reshape(*joints.shape[:-2], *x.shape[1:]), found)


def _repair_one(joints, bone_lengths=None, *, limits: Limits, on_rays: bool, steps: int) -> RepairResult:
    known = jnp.all(jnp.isfinite(joints))
    given = jnp.where(known, joints, 0.0)
    posture = kinematics.angles_from_pose(given)
    if bone_lengths is None:
        # The size with which all bones together come nearest to the limits' own.
        usual = jnp.mean(feasible.length_bounds(limits), axis=-1)
        scale = jnp.sum(posture.bone_lengths * usual) / jnp.sum(usual * usual)
    else:
        scale = bone_lengths[feasible.SCALE_FINGER, feasible.SCALE_LEVEL]
    unit = jnp.where(scale > 0, scale, 1.0)
    given = given / unit
    lengths = posture.bone_lengths if bone_lengths is None else bone_lengths
    posture = posture._replace(bone_lengths=lengths / unit)
    start = _Hand(posture, jnp.ones_like(unit), kinematics.hand_frame(given), given[hand.WRIST])
    rays = numerics.unit(given) if on_rays else None
    found = _descend(start, given, rays, limits, bone_lengths is None, steps)
    if rays is not None:
        found = jnp.sum(found * rays, axis=-1, keepdims=True) * rays
    person = None if bone_lengths is None else bone_lengths / unit
    # Mapped over both poses, so that the program holds their limits once.
    before, after = jax.vmap(lambda pose: _worst_excess(pose, limits, person))(jnp.stack([given, found]))
    unchanged = ~known | (before <= numerics.LIMIT_TOLERANCE) | ~(after < before)
    excess = jnp.where(known, jnp.where(unchanged, before, after), jnp.nan)
    return RepairResult(
        joints=jnp.where(unchanged, joints, found * unit),
        converged=excess <= numerics.LIMIT_TOLERANCE,
        excess=excess,
        moved=jnp.where(unchanged, 0.0, jnp.mean(numerics.norm(found - given)) * unit),
    )


def _worst_excess(joints, limits: Limits, person: Float[Array, "5 4"] | None) -> Float[Array, ""]:
    """Of a pose in its own scale units, or in those of a person whose bone lengths replace the limits'."""
    if person is None:
        scale, bounds = anatomy.scale(joints), feasible.length_bounds(limits)
    else:
        scale, bounds = person[feasible.SCALE_FINGER, feasible.SCALE_LEVEL], jnp.stack([person, person], axis=-1)
    units = joints / jnp.where(scale > 0, scale, 1.0)
    worst = losses.excess(units, dataclasses.replace(limits, bone_length=bounds)).worst
    return jnp.where(scale > 0, worst, 1.0)


def _descend(start: _Hand, given, rays, limits: Limits, free_lengths: bool, steps: int) -> Float[Array, "21 3"]:
    """Returns the joints within limits that are nearest to the given ones, of those on the way from the start."""

    def advance(search: _Search, weight) -> tuple[_Search, None]:
        wanted = jax.tree.map(jnp.add, search.best.posture, search.step.posture)
        posture = feasible.clip(wanted, limits, free_lengths)
        active = _active_limits(wanted, posture, search.active)
        turn, move = search.step.palm[kinematics.TURN], search.step.palm[kinematics.MOVE]
        pose = _Hand(
            posture,
            search.best.scale + search.step.palm[kinematics.SIZE[0]],
            Rotation.from_rotvec(turn).as_matrix().T @ search.best.frame,
            search.best.wrist + move @ search.best.frame,
        )
        # Unfused, here and below: XLA for CPU would compute each stage anew within every row that reads it.
        pose, active = jax.lax.optimization_barrier((pose, active))
        bones = jax.lax.optimization_barrier(_chain(pose))
        joints = jnp.concatenate([jnp.zeros((1, 3), given.dtype), bones.ends.reshape(-1, 3)])
        off = joints - _in_frame(given, pose)
        own = kinematics.finger_jacobian(bones, pose.scale)
        shared = kinematics.palm_jacobian(bones, posture.palm, pose.scale)
        of_wrist = jnp.zeros((14, 3), given.dtype).at[kinematics.MOVE].set(jnp.eye(3, dtype=given.dtype))
        squares = jnp.stack([jnp.sum(off**2), jnp.zeros_like(weight)])
        if rays is not None:
            rays_here = rays @ pose.frame.T
            along = jnp.sum(jnp.sum(off * rays_here, axis=-1) ** 2)
            squares = jnp.stack([along, squares[0] - along])
            fingers = rays_here[1:].reshape(5, 1, 4, 3)
            own, shared = (_weighted(velocity, fingers, weight) for velocity in (own, shared))
            of_wrist, off = _weighted(of_wrist, rays_here[:1], weight), _weighted(off, rays_here, weight)
        own, shared, off = jax.lax.optimization_barrier((own, shared, off))
        # Squares are kept apart by their weight, which grows from step to step.
        weights = jnp.stack([jnp.ones_like(weight), weight**2])
        better = jnp.sum(weights * squares) <= jnp.sum(weights * search.squares)
        step, active = _gauss_newton(own, shared, of_wrist, off, active, free_lengths)
        accepted = _Search(pose, joints, squares, step, active)
        rejected = search._replace(step=jax.tree.map(lambda x: SHRINK * x, search.step))
        return jax.tree.map(lambda x, y: jnp.where(better, x, y), accepted, rejected), None

    dtype = given.dtype
    nothing = jax.tree.map(jnp.zeros_like, start.posture)
    still = _Step(nothing, jnp.zeros(14, dtype))
    search = _Search(start, _in_frame(given, start), jnp.full(2, jnp.inf, dtype), still, nothing)
    weights = np.geomspace(*RAY_WEIGHTS, steps) if rays is not None else np.ones(steps)
    # Once more, to evaluate the last step.
    search, _ = jax.lax.scan(advance, search, jnp.asarray([*weights, weights[-1]], dtype))
    return kinematics.place(search.joints, search.best.frame, search.best.wrist)


def _gauss_newton(own, shared, of_wrist, off, active: Posture, free_lengths: bool) -> tuple[_Step, Posture]:
    """The step to the least of the linearised squares along the active limits, and which of these stay active."""
    product = functools.partial(jnp.einsum, precision="highest")
    residuals = off[1:].reshape(5, 4, 3)
    slope = product("fpkx,fkx->fp", own, residuals)
    palm_slope = product("fpkx,fkx->p", shared, residuals) + of_wrist @ off[0]
    # A limit stays active while the way down leads out of it.
    active = Posture(
        jnp.where(active.bone_lengths * slope[:, kinematics.LENGTHS] < 0, active.bone_lengths, 0.0),
        Palm(
            jnp.where(active.palm.spread * palm_slope[kinematics.SPREADS] < 0, active.palm.spread, 0.0),
            jnp.where(active.palm.fold * palm_slope[kinematics.FOLDS] < 0, active.palm.fold, 0.0),
        ),
        jnp.where(_dot(active.angles, _pairs(slope))[..., None] < 0, active.angles, 0.0),
    )
    free = (active.bone_lengths == 0) & free_lengths
    free = free.at[feasible.SCALE_FINGER, feasible.SCALE_LEVEL].set(False)
    flexion, abduction = own[:, kinematics.FLEXIONS], own[:, kinematics.ABDUCTIONS]
    normal = active.angles[..., None, None, :]
    outwards = normal[..., 0] * flexion + normal[..., 1] * abduction
    flexion, abduction = flexion - normal[..., 0] * outwards, abduction - normal[..., 1] * outwards
    own = jnp.concatenate([own[:, kinematics.LENGTHS] * free[..., None, None], flexion, abduction], axis=1)
    palm_free = jnp.ones(14, bool).at[kinematics.SPREADS].set(active.palm.spread == 0)
    palm_free = palm_free.at[kinematics.FOLDS].set(active.palm.fold == 0).at[kinematics.SIZE].set(free_lengths)
    shared, of_wrist = shared * palm_free[None, :, None, None], of_wrist * palm_free[:, None]

    slope = product("fpkx,fkx->fp", own, residuals)
    palm_slope = jnp.where(palm_free, palm_slope, 0.0)
    own, shared = (x.reshape(*x.shape[:2], -1) for x in (own, shared))
    block = product("fpr,fqr->fpq", own, own)
    mixed = product("fpr,fqr->fpq", own, shared)
    palm_block = product("fpr,fqr->pq", shared, shared) + product("px,qx->pq", of_wrist, of_wrist)
    factor = jnp.linalg.cholesky(_damped(block))
    right = jnp.concatenate([mixed, slope[..., None]], axis=-1)
    half = jax.scipy.linalg.solve_triangular(factor, right, lower=True)
    eliminated = product("fpq,fpr->qr", half, half)
    rest = jax.scipy.linalg.cho_factor(_damped(palm_block) - eliminated[:-1, :-1], lower=True)
    palm_step = -jax.scipy.linalg.cho_solve(rest, palm_slope - eliminated[:-1, -1])
    step = half[..., -1] + product("fpq,q->fp", half[..., :-1], palm_step)
    step = -jax.scipy.linalg.solve_triangular(factor, step[..., None], lower=True, trans=1)[..., 0]

    angles = _pairs(step)
    angles = angles - _dot(angles, active.angles)[..., None] * active.angles
    palm = Palm(palm_step[kinematics.SPREADS], palm_step[kinematics.FOLDS])
    return _Step(Posture(step[:, kinematics.LENGTHS], palm, angles), palm_step), active


def _active_limits(wanted: Posture, allowed: Posture, before: Posture) -> Posture:
    """The direction of each active limit: signs, and for angles the unit normal of the hull's edge; else 0."""
    taken = jax.tree.map(jnp.subtract, wanted, allowed)
    signs = jax.tree.map(lambda x, y: jnp.where(jnp.abs(x) > ACTIVE, jnp.sign(x), y), taken, before)
    far = numerics.norm(taken.angles)[..., None] > ACTIVE
    return signs._replace(angles=jnp.where(far, numerics.unit(taken.angles), before.angles))


def _damped(block: Float[Array, "*finger n n"]) -> Float[Array, "*finger n n"]:
    eye = jnp.broadcast_to(jnp.eye(block.shape[-1], dtype=block.dtype), block.shape)
    return block * (1 + DAMPING * eye) + LEAST_DAMPING * eye


def _weighted(vector, rays, weight):
    """Off the rays `weight` times as long."""
    return weight * vector + (1 - weight) * _dot(vector, rays)[..., None] * rays


def _dot(x, y):
    return jnp.sum(x * y, axis=-1)


def _pairs(columns: Float[Array, "5 10"]) -> Float[Array, "5 3 2"]:
    """(flexion, abduction) of a finger's columns."""
    return jnp.stack([columns[:, kinematics.FLEXIONS], columns[:, kinematics.ABDUCTIONS]], axis=-1)


def _chain(pose: _Hand) -> kinematics.Chain:
    return kinematics.chain(pose.posture.bone_lengths * pose.scale, pose.posture.palm, pose.posture.angles)


def _in_frame(joints: Float[Array, "21 3"], pose: _Hand) -> Float[Array, "21 3"]:
    return (joints - pose.wrist[None]) @ pose.frame.T
