"""Kinematic skeleton of rendered hands: bone lengths, ranges of motion and forward kinematics.

Hand frame, right hand: origin at the centre of the wrist, x ulnar (towards the little finger), y distal, z dorsal; the
palm faces -z. The frame of a bone has y along the bone and z dorsal. Flexion rotates about -x, abduction towards the
thumb about +z. Tables are in millimetres and degrees, results in metres and radians. Rows of finger tables are index to
little.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bmc_jax.synthesis.rng import RandomStream

#: Mean adult bones, mm, finger x level as `hand.FINGERS` x `hand.LEVELS`: for fingers metacarpal, proximal, middle,
#: distal with the soft tip; for the thumb wrist to CMC, metacarpal, proximal, distal with the soft tip. Buryanov and
#: Kotiuk 2010, Int J Morphol 28(3):755-758, X-rays of 66 adults; wrist to CMC is our estimate (see `THUMB_BASE`).
BONES = np.array(
    [
        [33.7, 46.22, 31.57, 27.34],
        [68.12, 39.78, 22.38, 19.66],
        [64.60, 44.63, 26.33, 21.35],
        [58.00, 41.37, 25.65, 21.25],
        [53.69, 32.74, 18.11, 19.69],
    ]
)
#: Standard deviation of each of `BONES` over adults, mm, from the same source.
BONE_DEVIATIONS = np.array(
    [
        [3.4, 3.94, 3.13, 1.60],
        [6.27, 4.94, 2.51, 2.26],
        [5.38, 3.81, 3.00, 1.85],
        [5.06, 3.87, 3.29, 2.22],
        [4.36, 2.77, 2.54, 2.45],
    ]
)

# The layout of the palm is our estimate from these lengths and the usual proportions of a hand.
#: Proximal ends of the metacarpals, index to little, and the thumb's CMC joint, mm.
METACARPAL_BASES = np.array([[-12.0, 27.0, 0.0], [-3.0, 29.0, 1.0], [6.0, 28.0, 0.0], [14.0, 25.0, -3.0]])
THUMB_BASE = np.array([-22.0, 22.0, -13.0])
#: Directions of the metacarpals: angle about z (fan, radial positive) and palmar drop.
METACARPAL_FAN = np.deg2rad([12.0, 0.5, -10.0, -20.5])
METACARPAL_DROP = np.deg2rad([1.5, 0.0, 2.0, 5.0])
#: Directions of straight fingers about z, and the roll of their flexion planes, which makes bent fingers converge.
FINGER_FAN = np.deg2rad([5.0, 0.0, -5.0, -11.0])
FINGER_ROLL = np.deg2rad([-4.0, 0.0, 7.0, 14.0])
#: Palmar flexion of the metacarpals of a fully cupped palm, and the share of it by which the fingers roll.
PALM_ARCH = np.deg2rad([0.0, 0.0, 8.0, 18.0])
ARCH_ROLL = np.array([0.0, 0.0, 0.4, 0.8])


class JointRange(NamedTuple):
    """Range of motion of a joint, degrees, and its source."""

    low: float
    high: float
    source: str


#: Active ranges of motion. Sources were read in transcriptions and abstracts.
JOINT_RANGES = {
    "mcp_flexion": JointRange(
        -45, 90, "AAOS: 0-90, extension 30-45; Eaton's e-hand.com: hyperextension 45, flexion 90"
    ),
    "mcp_abduction": JointRange(-20, 20, "AAOS: 20; Lin, Wu and Huang 2000: 15. For a straight finger, see LOCKED"),
    "pip_flexion": JointRange(-3, 105, "AAOS, Eaton: 0-100; Lin, Wu and Huang 2000: 0-110"),
    "dip_flexion": JointRange(-5, 80, "Eaton: 0-80; AAOS: 0-90"),
    "thumb_radial": JointRange(-12, 60, "Eaton: contact to 60; Barakat 2013: 62.9 (53-71)"),
    "thumb_palmar": JointRange(0, 60, "Eaton: contact to 45; Barakat 2013: 61.2 (50-71)"),
    "thumb_roll": JointRange(-15, 15, "Cooney 1981: 17 of rotation in addition to that coupled to the other motions"),
    "thumb_mcp_flexion": JointRange(-8, 60, "Barakat 2013: 60 (43-70), extension 8; AAOS: 50; Eaton: 55"),
    "thumb_mcp_abduction": JointRange(-8, 8, "our estimate: a condyloid joint held by strong ligaments"),
    "thumb_ip_flexion": JointRange(-12, 80, "Eaton: hyperextension 15, flexion 80; Barakat 2013: 88, extension 12"),
    "wrist_flexion": JointRange(-65, 70, "Eaton: extension 70, flexion 75"),
    "wrist_deviation": JointRange(-20, 30, "Eaton: radial 20, ulnar 35"),
}
#: Share of a finger's abduction that 90 degrees of MCP flexion remove, because they tighten the collateral ligaments.
LOCKED = 0.85
#: Minimum palmar abduction by radial abduction, degrees: an adducted thumb passes in front of the palm.
THUMB_CLEARANCE = {"radial": (-12.0, 15.0, 30.0), "palmar": (42.0, 25.0, 0.0)}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Shape:
    """Shape of a person's hand, relative to the tables."""

    size: Float[Array, "*batch"]
    bones: Float[Array, "*batch 5 4"]
    """Factor on each of `BONES`."""
    palm_width: Float[Array, "*batch"]
    thickness: Float[Array, "*batch"]
    """Factor on the radii of the flesh and the depth of the palm."""
    fan: Float[Array, "*batch 4"]
    """Added to `METACARPAL_FAN`, radians."""
    drop: Float[Array, "*batch 4"]
    """Added to `METACARPAL_DROP`, radians."""
    thumb_base: Float[Array, "*batch 3"]
    """Added to `THUMB_BASE`, millimetres."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Pose:
    """Joint angles, radians. Fingers are index to little."""

    mcp_flexion: Float[Array, "*batch 4"]
    mcp_abduction: Float[Array, "*batch 4"]
    pip_flexion: Float[Array, "*batch 4"]
    dip_flexion: Float[Array, "*batch 4"]
    thumb_radial: Float[Array, "*batch"]
    """Abduction of the CMC joint in the palm's plane."""
    thumb_palmar: Float[Array, "*batch"]
    """Abduction of the CMC joint out of the palm's plane."""
    thumb_roll: Float[Array, "*batch"]
    """Rotation of the metacarpal in addition to that coupled to the abductions."""
    thumb_mcp_flexion: Float[Array, "*batch"]
    thumb_mcp_abduction: Float[Array, "*batch"]
    thumb_ip_flexion: Float[Array, "*batch"]
    wrist_flexion: Float[Array, "*batch"]
    wrist_deviation: Float[Array, "*batch"]
    """Like the flexion of the wrist, it rotates only the forearm, because the hand frame is that of the palm."""
    arch: Float[Array, "*batch"]
    """Cupping of the palm, 0 to 1."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Skeleton:
    """A posed hand in the hand frame."""

    joints: Float[Array, "*batch 21 3"]
    """Metres, FreiHAND order."""
    frames: Float[Array, "*batch 5 4 3 3"]
    """Axes of each bone's frame in columns, finger x level; the thumb's wrist-to-CMC bone has the hand frame."""
    bases: Float[Array, "*batch 4 3"]
    """Proximal ends of the metacarpals of index to little, metres."""


def rotation(axis: int, angle: Float[Array, "*batch"]) -> Float[Array, "*batch 3 3"]:
    """Returns the rotation by `angle` radians about a coordinate axis (0 x, 1 y, 2 z)."""
    along = np.zeros((3, 3), np.float32)
    along[axis, axis] = 1
    turn = np.cross(np.eye(3, dtype=np.float32)[axis], np.eye(3, dtype=np.float32)).T
    parts = (np.eye(3, dtype=np.float32) - along, turn, along)
    across, turn, along = (part.reshape((1,) * angle.ndim + (3, 3)) for part in parts)
    return jnp.asarray(across) * jnp.cos(angle)[..., None, None] + turn * jnp.sin(angle)[..., None, None] + along


def compose(*rotations: Float[Array, "*batch 3 3"]) -> Float[Array, "*batch 3 3"]:
    """Returns the product of rotations, at full precision on every device."""
    product, *rest = rotations
    for factor in rest:
        product = jnp.matmul(product, factor, precision=jax.lax.Precision.HIGHEST)
    return product


def clamp_pose(angles: Pose) -> Pose:
    """Clamps the angles of a pose to `JOINT_RANGES` and couples dependent angles.

    The abduction of a finger is given for the straight finger and decreases with its flexion. The palmar abduction of
    the thumb has a minimum that depends on its radial abduction.
    """
    clamped = {
        name: jnp.clip(getattr(angles, name), np.deg2rad(limits.low), np.deg2rad(limits.high))
        for name, limits in JOINT_RANGES.items()
    }
    bent = jnp.clip(clamped["mcp_flexion"] / np.deg2rad(90), 0, 1)
    clamped["mcp_abduction"] = clamped["mcp_abduction"] * (1 - LOCKED * bent)
    clearance = (np.deg2rad(np.array(THUMB_CLEARANCE[name], np.float32)) for name in ("radial", "palmar"))
    clamped["thumb_palmar"] = jnp.maximum(clamped["thumb_palmar"], jnp.interp(clamped["thumb_radial"], *clearance))
    return Pose(**clamped, arch=jnp.clip(angles.arch, 0, 1))


def forward(pose: Pose, shape: Shape) -> Skeleton:
    """Computes the skeleton of one hand by forward kinematics."""
    lengths = np.float32(BONES) * shape.bones
    spread = jnp.stack([shape.palm_width, jnp.ones_like(shape.size), shape.thickness])

    # Index to little: the metacarpal, and on it a finger of three hinges.
    bases = np.float32(METACARPAL_BASES) * spread[None]
    arch = np.float32(PALM_ARCH) * pose.arch
    drop = rotation(0, -(np.float32(METACARPAL_DROP) + shape.drop + arch))
    metacarpal = compose(rotation(2, np.float32(METACARPAL_FAN) * shape.palm_width + shape.fan), drop)
    roll = rotation(1, np.float32(FINGER_ROLL) + np.float32(ARCH_ROLL) * arch)
    straight = compose(rotation(2, np.float32(FINGER_FAN) * shape.palm_width), drop, roll)
    proximal = compose(straight, rotation(2, pose.mcp_abduction), rotation(0, -pose.mcp_flexion))
    middle = compose(proximal, rotation(0, -pose.pip_flexion))
    distal = compose(middle, rotation(0, -pose.dip_flexion))
    finger_frames = jnp.stack([metacarpal, proximal, middle, distal], axis=1)
    finger_bones = finger_frames[..., 1] * lengths[1:, :, None]
    fingers = bases[:, None] + jnp.cumsum(finger_bones, axis=1)

    # The thumb pronates as it moves in front of the palm.
    base = (np.float32(THUMB_BASE) * shape.bones[0, 0] + shape.thumb_base) * spread
    pronation = -np.deg2rad(58) - 0.85 * pose.thumb_palmar - 0.3 * jnp.maximum(np.deg2rad(25) - pose.thumb_radial, 0)
    metacarpal = compose(
        rotation(2, pose.thumb_radial), rotation(0, -pose.thumb_palmar), rotation(1, pronation + pose.thumb_roll)
    )
    proximal = compose(metacarpal, rotation(2, pose.thumb_mcp_abduction), rotation(0, -pose.thumb_mcp_flexion))
    distal = compose(proximal, rotation(0, -pose.thumb_ip_flexion))
    thumb_frames = jnp.stack([jnp.eye(3), metacarpal, proximal, distal])
    thumb_bones = thumb_frames[1:, :, 1] * lengths[0, 1:, None]
    thumb = jnp.concatenate([base[None], base[None] + jnp.cumsum(thumb_bones, axis=0)])

    joints = jnp.concatenate([jnp.zeros((1, 3)), thumb, fingers.reshape(16, 3)])
    metres = shape.size * 1e-3
    return Skeleton(joints * metres, jnp.concatenate([thumb_frames[None], finger_frames]), bases * metres)


def clinical_poses(count: int, seed: int) -> np.ndarray:
    """Draws hands from the whole clinical ranges, for fitting limits.

    Every angle of `JOINT_RANGES` is drawn independently: in a quarter of the hands at an end of its range, otherwise
    uniformly. Bone lengths are uniform within two standard deviations of adults. Fingers may intersect.

    Args:
      count: number of hands.
      seed: of all random numbers.

    Returns:
      Joints `[count, 21, 3]`, float32, metres, hand frame.

    Raises:
      ValueError: if `count` is below 1.
    """
    if count < 1:
        raise ValueError(f"count: expected 1 or more, got {count}; give the number of hands")

    def joints(key):
        random = RandomStream(key, 160)

        def spread(low, high, shape=()):
            inside, end = random.uniform(shape=shape), random.uniform(shape=shape)
            return low + (high - low) * jnp.where(end < 0.125, 0.0, jnp.where(end < 0.25, 1.0, inside))

        angles = {
            name: spread(
                np.deg2rad(limits.low), np.deg2rad(limits.high), (4,) if name[:3] in ("mcp", "pip", "dip") else ()
            )
            for name, limits in JOINT_RANGES.items()
            if not name.startswith("wrist")
        }
        pose = clamp_pose(Pose(**angles, wrist_flexion=jnp.zeros(()), wrist_deviation=jnp.zeros(()), arch=spread(0, 1)))
        variation = np.float32(2 * BONE_DEVIATIONS / BONES)
        degrees = np.deg2rad(1.0)
        shape = Shape(
            size=jnp.ones(()),
            bones=1 + variation * spread(-1, 1, (5, 4)),
            palm_width=spread(0.88, 1.12),
            thickness=jnp.ones(()),
            fan=spread(-3.6 * degrees, 3.6 * degrees, (4,)),
            drop=spread(-2.9 * degrees, 2.9 * degrees, (4,)),
            thumb_base=spread(-5.0, 5.0, (3,)),
        )
        return forward(pose, shape).joints

    keys = jax.random.split(jax.random.key(seed, impl="threefry2x32"), count)
    return np.asarray(jax.jit(jax.vmap(joints))(keys))
