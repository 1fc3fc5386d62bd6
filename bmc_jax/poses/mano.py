"""MANO's pose parameters, as smplx and manotorch take them, to joints and joint angles and back.

A pose is 15 rotations as axis-angle, 45 numbers in radians, of the joints of index, middle, little, ring and thumb,
each from its base. A rotation is relative to that of the joint's parent, and to MANO's flat hand or to its mean hand.
The joints are those of MANO's skeleton and, for the five tips, a vertex of its mesh.

MANO's file is not part of this package, see `data.readers.mano_file`. Only what the joints depend on is kept of it.
"""

import dataclasses
import functools
import os
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.spatial.transform import Rotation
from jaxtyping import Array, Bool, Float

from bmc_jax.core import anatomy, hand, kinematics
from bmc_jax.core.choices import SIDES
from bmc_jax.core.types import require_shape
from bmc_jax.data.readers import mano_file

#: Vertices of the tips, thumb to little finger, of the right and the left hand.
TIPS = {
    "smplx": ((744, 320, 443, 554, 671), (744, 320, 443, 554, 671)),
    "manotorch": ((745, 317, 444, 556, 673), (745, 317, 445, 556, 673)),
    "freihand": ((744, 320, 443, 555, 672), (744, 320, 443, 555, 672)),
}
#: MANO's number of each finger of `hand.FINGERS`.
_FINGERS = np.array([4, 0, 1, 3, 2])
#: Index of each finger's joints, from its base, `[5, 3]`.
_JOINTS = 1 + 3 * _FINGERS[:, None] + np.arange(3)
#: Rounds in which the tips, which move a little on the bones, settle.
_ROUNDS = 6


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@typing.no_type_check
class Mano:
    """The parts of a MANO hand on which its joints depend. A pytree of arrays, float32 and `left`."""

    joints: Float[Any, "16 3"]
    """Metres: joints of the mean shape, MANO's order."""
    joints_by_shape: Float[Any, "16 3 shape"]
    """Metres: displacement of the joints for each coefficient of the shape."""
    tips: Float[Any, "5 3"]
    """Metres: vertices of the tips of the mean shape, thumb to little finger."""
    tips_by_shape: Float[Any, "5 3 shape"]
    """Metres: displacement of the tips for each coefficient of the shape."""
    tips_by_pose: Float[Any, "5 3 135"]
    """Metres: displacement of the tips by the 15 rotation matrices minus the identity, row by row."""
    weights: Float[Any, "5 16"]
    """Weights of the joints on each tip."""
    mean: Float[Any, " 45"]
    """Radians: pose of the mean hand."""
    components: Float[Any, "component 45"]
    """Radians: principal components; n coefficients stand for the pose `coefficients @ components[:n]`."""
    left: Bool[Any, ""]
    """Whether it is a left hand."""


def load(path: str | os.PathLike, *, side: str | None = None, tips: str = "smplx") -> Mano:
    """Loads a MANO hand.

    Args:
      path: `MANO_RIGHT.pkl` or `MANO_LEFT.pkl`. chumpy is not needed, and no code of the file runs.
      side: "right" or "left"; by default the side in the file's name.
      tips: project whose vertices are the tips: "smplx", "manotorch" or "freihand".

    Returns:
      The hand.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: naming file or argument, if it is no MANO hand, or the side is not known.

    Examples:
      >>> from bmc_jax import mano
      >>> right = mano.load("MANO_RIGHT.pkl")
      >>> print(right.joints.shape, bool(right.left))
      (16, 3) False
    """
    named = [name for name in SIDES if name in Path(path).stem.lower()]
    if side is None and len(named) != 1:
        raise ValueError(f"{os.fspath(path)}: expected RIGHT or LEFT in its name, got neither; give side")
    side = side or named[0]
    if side not in SIDES or tips not in TIPS:
        raise ValueError(
            f"expected side of {', '.join(SIDES)} and tips of {', '.join(TIPS)}, got {side!r} and {tips!r}; give those"
        )
    found = mano_file.read(path)
    vertices = list(TIPS[tips][side == "left"])
    if max(vertices) >= len(found["v_template"]):
        raise ValueError(f"{os.fspath(path)}: v_template: expected 778 vertices, got {len(found['v_template'])}")
    regressor = found["J_regressor"]
    arrays = {
        "joints": regressor @ found["v_template"],
        "joints_by_shape": np.einsum("jv,vcs->jcs", regressor, found["shapedirs"]),
        "tips": found["v_template"][vertices],
        "tips_by_shape": found["shapedirs"][vertices],
        "tips_by_pose": found["posedirs"][vertices],
        "weights": found["weights"][vertices],
        "mean": found["hands_mean"],
        "components": found["hands_components"],
    }
    weights = {name: jnp.asarray(array, jnp.float32) for name, array in arrays.items()}
    return Mano(**weights, left=jnp.asarray(side == "left"))


def joints(
    mano: Mano,
    pose: Float[Any, "*batch 45"],
    shape: Float[Any, "*#batch shape"] | None = None,
    orientation: Float[Any, "*#batch 3"] | None = None,
    translation: Float[Any, "*#batch 3"] | None = None,
    *,
    flat_hand_mean: bool,
) -> Float[Array, "*batch 21 3"]:
    """Computes the joints of poses. The function is differentiable everywhere.

    Args:
      mano: the hand.
      pose: axis-angle, radians, MANO's order.
      shape: coefficients, MANO's betas; those of the mean hand by default. Fewer than the file's are the first.
      orientation: rotation of the hand about its wrist, axis-angle, radians; none by default.
      translation: metres; none by default.
      flat_hand_mean: whether the pose is relative to the flat hand, else to the mean hand. smplx and manotorch have an
        option of this name, and different defaults.

    Returns:
      Metres, FreiHAND order, in the frame of the orientation. Left hands are left hands.

    Raises:
      ValueError: if an argument has another shape.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import mano
      >>> right = mano.load("MANO_RIGHT.pkl")
      >>> pose, betas = np.zeros((2, 45), np.float32), np.zeros((2, 10), np.float32)
      >>> print(mano.joints(right, pose, betas, flat_hand_mean=False).shape)
      (2, 21, 3)
    """
    pose = _from_flat(mano, pose, flat_hand_mean)
    given = [pose, _shape(mano, shape), *(np.zeros(3) if one is None else one for one in (orientation, translation))]
    return _of_each(_joints, mano, *given)


def angles(
    mano: Mano,
    pose: Float[Any, "*batch 45"],
    shape: Float[Any, "*#batch shape"] | None = None,
    *,
    flat_hand_mean: bool,
) -> Float[Array, "*batch 5 3 2"]:
    """Computes the joint angles of poses.

    Args:
      mano: the hand.
      pose: see `joints`.
      shape: see `joints`.
      flat_hand_mean: see `joints`.

    Returns:
      (flexion, abduction) of each finger's PIP, DIP and TIP bone, radians, as `anatomy.joint_angles`. Signs are the
      same on both hands.

    Raises:
      ValueError: if an argument has another shape.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import mano
      >>> right = mano.load("MANO_RIGHT.pkl")
      >>> pose, betas = np.zeros((2, 45), np.float32), np.zeros((2, 10), np.float32)
      >>> print(mano.angles(right, pose, betas, flat_hand_mean=False).shape)
      (2, 5, 3, 2)
    """
    return _of_each(_angles, mano, _from_flat(mano, pose, flat_hand_mean), _shape(mano, shape))


def pose_from_angles(
    mano: Mano,
    angles: Float[Any, "*batch 5 3 2"],
    shape: Float[Any, "*#batch shape"] | None = None,
    *,
    flat_hand_mean: bool,
) -> Float[Array, "*batch 45"]:
    """Computes poses with given joint angles, the inverse of `angles`.

    Two angles do not determine a rotation. The bones turn without twist: each first by its flexion, then by its
    abduction, from MANO's flat hand.

    Args:
      mano: the hand.
      angles: (flexion, abduction) as `angles` returns them, radians, abductions in (-pi/2, pi/2).
      shape: see `joints`.
      flat_hand_mean: whether the pose is to be relative to the flat hand, else to the mean hand.

    Returns:
      Axis-angle, radians, MANO's order.

    Raises:
      ValueError: if an argument has another shape.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import mano
      >>> right = mano.load("MANO_RIGHT.pkl")
      >>> angles, betas = np.zeros((2, 5, 3, 2), np.float32), np.zeros((2, 10), np.float32)
      >>> print(mano.pose_from_angles(right, angles, betas, flat_hand_mean=False).shape)
      (2, 45)
    """
    require_shape("angles", angles, 5, 3, 2)
    flat = jnp.reshape(angles, (*np.shape(angles)[:-3], 30))
    pose = _of_each(_pose_from_angles, mano, flat, _shape(mano, shape))
    return pose if flat_hand_mean else pose - _mean(mano, pose)


def _from_flat(mano: Mano, pose: Any, flat_hand_mean: bool) -> Array:
    """Returns a pose relative to the flat hand."""
    require_shape("pose", pose, 45)
    pose = jnp.asarray(pose)
    return pose if flat_hand_mean else pose + _mean(mano, pose)


def _mean(mano: Mano, pose: Float[Array, "*batch 45"]) -> Float[Array, "*batch 45"]:
    return jnp.broadcast_to(mano.mean, pose.shape)


def _of_each(function: Callable[..., Array], mano: Mano, *arguments: Any) -> Array:
    """Returns what a function of one hand gives for each hand, whose arguments are vectors."""
    batch = np.broadcast_shapes(*(np.shape(one)[:-1] for one in arguments))
    rows = [jnp.broadcast_to(one, (*batch, np.shape(one)[-1])).reshape(-1, np.shape(one)[-1]) for one in arguments]
    found = _compiled(function, mano, *rows)
    return found.reshape(*batch, *found.shape[1:])


@functools.partial(jax.jit, static_argnums=0)
def _compiled(function: Callable[..., Array], mano: Mano, *rows: Array) -> Array:
    return jax.vmap(functools.partial(function, mano))(*rows)


def _joints(mano: Mano, pose: Array, shape: Array, orientation: Array, translation: Array) -> Array:
    rest, tips = _rest(mano, shape)
    rotations = jax.vmap(_matrix)(pose.reshape(15, 3))
    turns, places = _chain(rest, rotations, _matrix(orientation))
    found = _in_order(places, _tips(mano, rest, tips, rotations, turns, places))
    return found + translation[None]


def _angles(mano: Mano, pose: Array, shape: Array) -> Array:
    found = _joints(mano, pose, shape, jnp.zeros(3), jnp.zeros(3))
    return anatomy.joint_angles(hand.mirror(found, mano.left))


def _pose_from_angles(mano: Mano, angles: Array, shape: Array) -> Array:
    rest, tips = _rest(mano, shape)
    flip = jnp.where(mano.left, jnp.array([[-1.0, 1.0, 1.0]]), 1.0)
    last = _JOINTS[:, -1]

    def closer(_: Any, rotations: Array) -> Array:
        # Where the tips would be on the flat hand if they were fixed to the last bones.
        turns, places = _chain(rest, rotations, jnp.eye(3))
        bones = _tips(mano, rest, tips, rotations, turns, places) - places[last]
        ends = rest[last] + jnp.einsum("fba,fb->fa", turns[last], bones, precision="highest")
        flat = _in_order(rest, ends) * flip
        posture, frame = kinematics.angles_from_pose(flat), kinematics.hand_frame(flat) * flip
        before = kinematics.chain(*posture).frames[:, 1:]
        after = kinematics.chain(posture.bone_lengths, posture.palm, angles.reshape(5, 3, 2)).frames[:, 1:]
        whole = jnp.einsum("mi,flam,flan,nj->flij", frame, after, before, frame, precision="highest")
        own = jnp.einsum("flba,flbc->flac", whole[:, :-1], whole[:, 1:], precision="highest")
        return _in_manos_order(jnp.concatenate([whole[:, :1], own], axis=1))

    rotations = jax.lax.fori_loop(0, _ROUNDS, closer, jnp.broadcast_to(jnp.eye(3), (15, 3, 3)))
    return Rotation.from_matrix(rotations).as_rotvec().reshape(45)


def _shape(mano: Mano, shape: Any) -> Array:
    """Returns all coefficients of the shape, those that are not given 0."""
    count = mano.tips_by_shape.shape[-1]
    shape = jnp.zeros(count) if shape is None else jnp.asarray(shape)
    if shape.shape[-1] > count:
        raise ValueError(f"shape: expected at most {count} coefficients, got {shape.shape[-1]}; give the first ones")
    return jnp.pad(shape, [(0, 0)] * (shape.ndim - 1) + [(0, count - shape.shape[-1])])


def _matrix(turn: Float[Array, "3"]) -> Float[Array, "3 3"]:
    """Returns the rotation matrix of an axis-angle vector, by Rodrigues' formula, smooth at zero."""
    square = jnp.sum(turn**2)
    small = square < 1e-6
    angle = jnp.sqrt(jnp.where(small, 1.0, square))
    sine = jnp.where(small, 1 - square / 6, jnp.sin(angle) / angle)
    cosine = jnp.where(small, 0.5 - square / 24, (1 - jnp.cos(angle)) / angle**2)
    cross = jnp.cross(jnp.eye(3), turn[None])
    return jnp.eye(3) + sine * cross + cosine * jnp.matmul(cross, cross, precision="highest")


def _rest(mano: Mano, shape: Float[Array, " shape"]) -> tuple[Float[Array, "16 3"], Float[Array, "5 3"]]:
    """Returns MANO's joints and the tips of the flat hand of a shape."""
    return (
        mano.joints + jnp.matmul(mano.joints_by_shape, shape, precision="highest"),
        mano.tips + jnp.matmul(mano.tips_by_shape, shape, precision="highest"),
    )


def _chain(
    rest: Float[Array, "16 3"], rotations: Float[Array, "15 3 3"], root: Float[Array, "3 3"]
) -> tuple[Float[Array, "16 3 3"], Float[Array, "16 3"]]:
    """Returns rotation and position of MANO's joints."""
    own = rotations.reshape(5, 3, 3, 3)[_FINGERS]
    bones = rest[_JOINTS] - rest[np.maximum(mano_file.PARENTS, 0)][_JOINTS]
    turn, place = jnp.broadcast_to(root, (5, 3, 3)), jnp.broadcast_to(rest[0], (5, 3))
    turns, places = [], []
    for level in range(3):
        place = place + jnp.einsum("fab,fb->fa", turn, bones[:, level], precision="highest")
        turn = jnp.einsum("fab,fbc->fac", turn, own[:, level], precision="highest")
        turns.append(turn)
        places.append(place)
    return (
        jnp.concatenate([root[None], _in_manos_order(jnp.stack(turns, axis=1))]),
        jnp.concatenate([rest[:1], _in_manos_order(jnp.stack(places, axis=1))]),
    )


def _in_manos_order(fingers: Float[Array, "5 3 ..."]) -> Float[Array, "15 ..."]:
    """Returns values of each finger's joints in MANO's order."""
    return fingers[np.argsort(_FINGERS)].reshape(15, *fingers.shape[2:])


def _tips(
    mano: Mano,
    rest: Float[Array, "16 3"],
    tips: Float[Array, "5 3"],
    rotations: Float[Array, "15 3 3"],
    turns: Float[Array, "16 3 3"],
    places: Float[Array, "16 3"],
) -> Float[Array, "5 3"]:
    """Returns the tips: corrected by the pose, then moved with the joints by their weights."""
    change = (rotations - jnp.eye(3)[None]).reshape(135)
    tips = tips + jnp.matmul(mano.tips_by_pose, change, precision="highest")
    apart = tips[:, None] - rest[None]
    moved = jnp.einsum("jab,tjb->tja", turns, apart, precision="highest") + places[None]
    return jnp.einsum("tj,tja->ta", mano.weights, moved, precision="highest")


def _in_order(places: Float[Array, "16 3"], tips: Float[Array, "5 3"]) -> Float[Array, "21 3"]:
    """Returns MANO's joints and tips in FreiHAND order."""
    fingers = jnp.concatenate([places[_JOINTS], tips[:, None]], axis=1)
    return jnp.concatenate([places[:1], fingers.reshape(hand.NUM_JOINTS - 1, 3)])
