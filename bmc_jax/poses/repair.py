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
from bmc_jax.core.kinematics import Posture
from bmc_jax.core.types import Limits, LimitsMetadata, require_shape
from bmc_jax.limits.checking import in_chunks
from bmc_jax.poses import feasible, gauss_newton, smoothing
from bmc_jax.poses.gauss_newton import Step

KEEP = ("", "projection", "bones")
STEPS = 8

#: Weight of residuals off a joint's ray relative to those along it, in the first and in the last step.
RAY_WEIGHTS = (3.0, 30.0)
#: Factor by which a step is shortened when it does not lower the squares.
SHRINK = 0.3
#: Radians or scale units. A limit is active where clipping takes more than this from a step.
ACTIVE = 1e-5

#: Poses repaired at a time on the host. One shape, so that the program is compiled once.
CHUNK = 256


class RepairResult(NamedTuple):
    """Poses within limits, one entry for each pose.

    A gap (a pose with joints that are not finite) is returned unchanged, with excess NaN, moved 0 and not converged.
    """

    joints: Float[Array, "*batch 21 3"]
    """The repaired poses, in the unit of the given ones."""
    converged: Bool[Array, "*batch"]
    """Whether the pose is within limits to `numerics.LIMIT_TOLERANCE`."""
    excess: Float[Array, "*batch"]
    """`Excess.worst` of the result: scale units, their reciprocal, or radians. 1 without a scale bone."""
    moved: Float[Array, "*batch"]
    """Mean distance of the 21 joints from the given ones, in their unit."""


class _Hand(NamedTuple):
    """Hands: their postures in scale units, their sizes, and where they are."""

    posture: Posture
    scale: Float[Array, "*pose"]
    frame: Float[Array, "pose 3 3"]
    wrist: Float[Array, "pose 3"]


class _Search(NamedTuple):
    """State of the solver."""

    best: _Hand
    joints: Float[Array, "pose 21 3"]
    """Of the best hands, in their own frames."""
    squares: Float[Array, "pose 2"]
    """Squared residuals of the best hands, along the rays and off them."""
    step: Step
    """To try from the best hands."""
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
    """Finds the nearest poses within limits.

    The function is jitted, and not meant to be differentiated. A pose within limits to `numerics.LIMIT_TOLERANCE` is
    returned bit for bit, and so is one that repair would leave further beyond them.

    Args:
      joints: right hands in FreiHAND order and any length unit, with any number of leading axes; where `keep` is
        "projection", in the frame of the camera that saw them.
      limits: limits in units of each pose's own scale bone.
      keep: "" lets joints move freely, and the result is within limits. "projection" moves each along its own viewing
        ray only: depth is repaired and the projection to the image stays. A pose within limits need not exist then, and
        `RepairResult.excess` is what remains. "bones" keeps all bone lengths, whatever the limits on lengths.
      bone_lengths: known lengths of the person's bones, finger x level in the unit of the joints; they replace the
        limits' lengths. With "bones", they are the lengths of the result.
      steps: number of Gauss-Newton steps. Fewer are faster; the result is as well within limits, but less near.

    Returns:
      The repaired poses.

    Raises:
      ValueError: for another shape, `keep` or number of steps.

    Examples:
      >>> import jax.numpy as jnp
      >>> import numpy as np
      >>> from bmc_jax import hand, limits, repair
      >>> noise = np.random.default_rng(0).normal(1, 0.02, (8, 21, 1))  # in depth, along the rays
      >>> wrong = jnp.asarray(hand.EXAMPLE * noise, jnp.float32)
      >>> found = repair.project_to_limits(wrong, limits.load("clinical"), "projection")
      >>> print(found.joints.shape, bool((found.excess < 0.1).all()))
      (8, 21, 3) True
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
    meta = LimitsMetadata(source="", count=0)
    limits = dataclasses.replace(limits, support=limits.support[..., :0, :], meta=meta, density=None)
    return _repair_batch(joints, bone_lengths, limits, keep == "projection", steps)


def repair_poses(
    poses: np.ndarray, limits: Limits, *, keep: str = "", steps: int = STEPS, smooth: float | int | None = None
) -> RepairResult:
    """Repairs any number of poses on the host, `CHUNK` at a time; see `project_to_limits`.

    Args:
      poses: `[N, 21, 3]`, right hands, FreiHAND order. Frames with joints that are not finite are gaps.
      limits: limits in units of each pose's own scale bone.
      keep: see `project_to_limits`.
      steps: see `project_to_limits`.
      smooth: period in frames with which the poses, as the frames of a sequence, are smoothed before repair, see
        `smoothing.smooth`; with "projection" along the rays only. None for no smoothing.

    Returns:
      Numpy arrays with one entry for each pose.

    Raises:
      ValueError: for another shape or no pose at all, and with "projection" for joints behind the camera.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import limits, repair
      >>> found = repair.repair_poses(np.load("poses.npy"), limits.load("clinical"))  # doctest: +SKIP
      >>> np.save("repaired.npy", found.joints)  # doctest: +SKIP
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
    poses = joints.reshape(-1, hand.NUM_JOINTS, 3)
    lengths = None if bone_lengths is None else bone_lengths.reshape(-1, *hand.FINGER_JOINTS.shape)
    found = _repair(poses, lengths, limits, on_rays, steps)
    return jax.tree.map(lambda x: x.reshape(*joints.shape[:-2], *x.shape[1:]), found)


def _repair(joints, bone_lengths, limits: Limits, on_rays: bool, steps: int) -> RepairResult:
    known = jnp.all(jnp.isfinite(joints), axis=(-2, -1))
    given = jnp.where(known[:, None, None], joints, 0.0)
    posture = kinematics.angles_from_pose(given)
    if bone_lengths is None:
        # The size with which all bones together come nearest to the limits' own.
        usual = jnp.mean(feasible.length_bounds(limits), axis=-1)
        scale = jnp.sum(posture.bone_lengths * usual[None], axis=(-2, -1)) / jnp.sum(usual * usual)
    else:
        scale = bone_lengths[:, feasible.SCALE_FINGER, feasible.SCALE_LEVEL]
    unit = jnp.where(scale > 0, scale, 1.0)[:, None, None]
    given = given / unit
    lengths = posture.bone_lengths if bone_lengths is None else bone_lengths
    posture = posture._replace(bone_lengths=lengths / unit)
    start = _Hand(posture, jnp.ones_like(scale), kinematics.hand_frame(given), given[:, hand.WRIST])
    rays = numerics.unit(given) if on_rays else None
    found = _descend(start, given, rays, limits, bone_lengths is None, steps)
    if rays is not None:
        found = jnp.sum(found * rays, axis=-1, keepdims=True) * rays
    person = None if bone_lengths is None else bone_lengths / unit
    before, after = _worst_excess(jnp.stack([given, found]), limits, person)
    unchanged = ~known | (before <= numerics.LIMIT_TOLERANCE) | ~(after < before)
    excess = jnp.where(known, jnp.where(unchanged, before, after), jnp.nan)
    return RepairResult(
        joints=jnp.where(unchanged[:, None, None], joints, found * unit),
        converged=excess <= numerics.LIMIT_TOLERANCE,
        excess=excess,
        moved=jnp.where(unchanged, 0.0, jnp.mean(numerics.norm(found - given), axis=-1) * unit[:, 0, 0]),
    )


def _worst_excess(joints, limits: Limits, person: Float[Array, "pose 5 4"] | None) -> Float[Array, "_ pose"]:
    """Of poses in their own scale units, or in those of a person whose bone lengths replace the limits'."""
    scale = anatomy.scale(joints) if person is None else person[:, feasible.SCALE_FINGER, feasible.SCALE_LEVEL]
    scale = jnp.broadcast_to(scale, joints.shape[:-2])
    units = joints / jnp.where(scale > 0, scale, 1.0)[..., None, None]
    excess = losses.excess(units, dataclasses.replace(limits, bone_length=feasible.length_bounds(limits)))
    if person is not None:
        excess = dataclasses.replace(
            excess, bone_length=losses.interval(anatomy.bone_lengths(units), person[None], person[None])
        )
    return jnp.where(scale > 0, excess.worst, 1.0)


def _descend(start: _Hand, given, rays, limits: Limits, free_lengths: bool, steps: int) -> Float[Array, "pose 21 3"]:
    """Returns the joints within limits that are nearest to the given ones, of those on the way from the start."""
    fixed = jnp.zeros(hand.FINGER_JOINTS.shape, bool).at[feasible.SCALE_FINGER, feasible.SCALE_LEVEL].set(True)
    fixed = fixed if free_lengths else jnp.ones_like(fixed)
    take = jax.vmap(jnp.where)

    def advance(search: _Search, weight) -> tuple[_Search, None]:
        wanted = jax.tree.map(jnp.add, search.best.posture, search.step.posture)
        posture = feasible.clip(wanted, limits, free_lengths)
        active = _active_limits(wanted, posture, search.active)
        turn, move = search.step.palm[:, kinematics.TURN], search.step.palm[:, kinematics.MOVE]
        frame = search.best.frame
        pose = _Hand(
            posture,
            search.best.scale + search.step.palm[:, kinematics.SIZE[0]],
            _product(jnp.matrix_transpose(Rotation.from_rotvec(turn).as_matrix()), frame),
            search.best.wrist + _product(move[:, None], frame)[:, 0],
        )
        bones = _chain(pose)
        ends = bones.ends.reshape(-1, hand.NUM_JOINTS - 1, 3)
        joints = jnp.concatenate([jnp.zeros_like(ends[:, :1]), ends], axis=1)
        off = joints - _in_frame(given, pose)
        own = jax.vmap(kinematics.finger_jacobian, out_axes=-1)(bones, pose.scale)
        shared = jax.vmap(kinematics.palm_jacobian, out_axes=-1)(bones, posture.palm, pose.scale)
        squares = jnp.sum(off**2, axis=(-2, -1))
        squares = jnp.stack([squares, jnp.zeros_like(squares)], axis=-1)
        rays_here = None
        if rays is not None:
            rays_here = _product(rays, jnp.matrix_transpose(pose.frame))
            along = jnp.sum(jnp.sum(off * rays_here, axis=-1) ** 2, axis=-1)
            squares = jnp.stack([along, squares[:, 0] - along], axis=-1)
        # Squares are kept apart by their weight, which grows from step to step.
        weights = jnp.stack([jnp.ones_like(weight), weight**2])[None]
        better = jnp.sum(weights * squares, axis=-1) <= jnp.sum(weights * search.squares, axis=-1)
        step, active = gauss_newton.step(own, shared, off, active, fixed, rays_here, weight)
        accepted = _Search(pose, joints, squares, step, active)
        rejected = search._replace(step=jax.tree.map(lambda x: SHRINK * x, search.step))
        return jax.tree.map(lambda x, y: take(better, x, y), accepted, rejected), None

    dtype = given.dtype
    nothing = jax.tree.map(jnp.zeros_like, start.posture)
    still = Step(nothing, jnp.zeros((len(given), 14), dtype))
    search = _Search(start, _in_frame(given, start), jnp.full((len(given), 2), jnp.inf, dtype), still, nothing)
    weights = np.geomspace(*RAY_WEIGHTS, steps) if rays is not None else np.ones(steps)
    # Once more, to evaluate the last step.
    search, _ = jax.lax.scan(advance, search, jnp.asarray([*weights, weights[-1]], dtype))
    return kinematics.place(search.joints, search.best.frame, search.best.wrist)


def _active_limits(wanted: Posture, allowed: Posture, before: Posture) -> Posture:
    """The direction of each active limit: signs, and for angles the unit normal of the hull's edge; else 0."""
    taken = jax.tree.map(jnp.subtract, wanted, allowed)
    signs = jax.tree.map(lambda x, y: jnp.where(jnp.abs(x) > ACTIVE, jnp.sign(x), y), taken, before)
    far = numerics.norm(taken.angles)[..., None] > ACTIVE
    return signs._replace(angles=jnp.where(far, numerics.unit(taken.angles), before.angles))


def _chain(pose: _Hand) -> kinematics.Chain:
    lengths = pose.posture.bone_lengths * pose.scale[:, None, None]
    return kinematics.chain(lengths, pose.posture.palm, pose.posture.angles)


def _in_frame(joints: Float[Array, "pose 21 3"], pose: _Hand) -> Float[Array, "pose 21 3"]:
    return _product(joints - pose.wrist[:, None], jnp.matrix_transpose(pose.frame))


def _product(left: Float[Array, "pose n 3"], right: Float[Array, "pose 3 3"]) -> Float[Array, "pose n 3"]:
    return jnp.sum(left[..., None] * right[:, None], axis=2)
