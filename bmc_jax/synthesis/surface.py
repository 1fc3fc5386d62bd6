"""Surface of the hand: 25 tapered capsules on the skeleton, and the signed distance to the flesh that joins them.

Quantities of pixels are *planar*: separate arrays for x, y and z, and a Python loop over capsules. XLA compiles this to
one pass over the pixels on a CPU, but would write a broadcast over a capsule axis to memory.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bmc_jax.synthesis.skeleton import Shape, Skeleton

Planar = tuple[Float[Array, "*pixel"], Float[Array, "*pixel"], Float[Array, "*pixel"]]

# Capsules, in order: three of each finger, thumb to little (the thumb's are metacarpal, proximal, distal), four
# metacarpals, four pads of flesh, two for the forearm.
THUMB_METACARPAL, THUMB_PROXIMAL, THUMB_DISTAL = 0, 1, 2
METACARPALS = (15, 16, 17, 18)
THENAR, HYPOTHENAR, PALM_PAD, WEB = 19, 20, 21, 22
FOREARM = (23, 24)
NUM_CAPSULES = 25
PALM = (*METACARPALS, PALM_PAD, THENAR, HYPOTHENAR, THUMB_METACARPAL, WEB)
DISTAL_PHALANGES = (2, 5, 8, 11, 14)

#: Radii at MCP, PIP, DIP and tip (thumb: CMC, MCP, IP, tip), millimetres.
RADII = np.array(
    [
        [13.5, 11.3, 10.0, 7.2],
        [10.4, 9.2, 8.0, 6.6],
        [10.4, 9.4, 8.2, 6.8],
        [9.9, 8.8, 7.7, 6.4],
        [8.9, 7.7, 6.8, 5.6],
    ],
    np.float32,
)
METACARPAL_RADII = np.array([11.5, 11.1, 10.7, 10.3], np.float32)
#: Width of the smooth transition between surfaces, metres: along a finger, at its root, within the palm, at the wrist.
FINGER_BLEND, ROOT_BLEND, PALM_BLEND = 0.004, 0.009, 0.012
FOREARM_BLEND, WRIST_BLEND = 0.019, 0.0156


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Capsules:
    """Tapered capsules, metres: all points within `radius + slope * y` of an axis at 0 <= y <= length."""

    start: Float[Array, "*batch capsule 3"]
    axis: Float[Array, "*batch capsule 3"]
    """Unit vector from start to end."""
    length: Float[Array, "*batch capsule"]
    radius: Float[Array, "*batch capsule"]
    """At the start."""
    slope: Float[Array, "*batch capsule"]
    """Change of the radius per metre of the axis."""
    dorsal: Float[Array, "*batch capsule 3"]
    """Direction of the back of the hand at the capsule."""

    @property
    def end(self) -> Float[Array, "*batch capsule 3"]:
        return self.start + self.axis * self.length[..., None]


def _capsules(pieces: list[tuple]) -> Capsules:
    """Builds capsules from pieces of (starts `[n, 3]`, ends, radii `[n]` at both, dorsal directions), metres."""
    start, end, radius, end_radius, dorsal = (jnp.concatenate(parts) for parts in zip(*pieces, strict=True))
    along = end - start
    length = jnp.sqrt(jnp.sum(along * along, axis=-1))
    return Capsules(start, along / length[:, None], length, radius, (end_radius - radius) / length, dorsal)


def hand_capsules(skeleton: Skeleton, shape: Shape) -> Capsules:
    """Returns the 23 capsules of the hand, without the forearm, in the hand frame."""
    unit = shape.size * 1e-3
    flesh = unit * shape.thickness
    offset = unit * jnp.stack([shape.palm_width, jnp.ones(()), shape.thickness])
    fingers = skeleton.joints[1:].reshape(5, 4, 3)
    y, z = skeleton.frames[..., 1], skeleton.frames[..., 2]
    radii = RADII * flesh

    # A segment starts slightly thinner than the end of the previous one, which marks the joint; the last one ends
    # inside the tip.
    taper = np.array([[1, 1, 1]] + [[1, 0.97, 0.98]] * 4, np.float32)
    ends = fingers[:, 1:] - jnp.stack([jnp.zeros((5, 3)), jnp.zeros((5, 3)), y[:, 3] * radii[:, 3:]], axis=1)
    segments = (
        fingers[:, :3].reshape(15, 3),
        ends.reshape(15, 3),
        (radii[:, :3] * taper).reshape(15),
        radii[:, 1:].reshape(15),
        z[:, 1:].reshape(15, 3),
    )

    bases, knuckles, back = skeleton.bases, fingers[1:, 0], z[1:, 0]
    metacarpals = (
        bases - 3 * flesh * back,
        knuckles - 2 * flesh * back,
        METACARPAL_RADII * flesh,
        radii[1:, 0] * 1.02,
        back,
    )

    def between(start, end, share):
        return (1 - share) * start + share * end

    def at(x, y, z):
        return np.array([x, y, z], np.float32) * offset

    thumb, thumb_mcp, thumb_back = fingers[0, 0], fingers[0, 1], z[0, 1]
    pads = [  # start, end, radii in mm, dorsal direction
        (thumb + at(6, -2, -3), between(thumb, thumb_mcp, 0.75) + at(5, 0, -2), (14, 11), thumb_back),
        (at(15, 12, -10), between(bases[3], knuckles[3], 0.65) + at(1, 0, -7), (12.5, 9.5), back[3]),
        (
            between(bases[0], knuckles[0], 0.88) - 5.5 * flesh * back[0],
            between(bases[3], knuckles[3], 0.85) - 5.0 * flesh * back[3],
            (8, 7.2),
            back[1],
        ),
        (
            between(thumb, thumb_mcp, 0.55),
            between(bases[0], knuckles[0], 0.60) - 4 * flesh * back[0],
            (7.5, 7),
            0.5 * (thumb_back + back[0]),
        ),
    ]
    starts, pad_ends, pad_radii, dorsal = zip(*pads, strict=True)
    pad_radii = np.array(pad_radii, np.float32) * flesh
    pads = (jnp.stack(starts), jnp.stack(pad_ends), pad_radii[:, 0], pad_radii[:, 1], jnp.stack(dorsal))
    return _capsules([segments, metacarpals, pads])


def forearm_capsules(frame: Float[Array, "3 3"], shape: Shape) -> Capsules:
    """Returns the 2 capsules of the forearm, 43 cm along the -y of its frame, in the hand frame."""
    unit = shape.size * 1e-3
    side = np.array([[-1.0], [1.0]], np.float32) * frame[None, :, 0] * (shape.palm_width * unit)
    along, back = -frame[None, :, 1] * unit, frame[None, :, 2] * unit
    radii = np.ones(2, np.float32) * shape.thickness * unit
    dorsal = jnp.broadcast_to(frame[:, 2], (2, 3))
    return _capsules(
        [(11 * side - 9 * along - 2 * back, 19 * side + 430 * along - 2 * back, 17 * radii, 31 * radii, dorsal)]
    )


def transform(capsules: Capsules, turn: Float[Array, "3 3"], shift: Float[Array, "3"]) -> Capsules:
    """Returns the capsules after x -> turn x + shift."""

    def rotate(vectors):
        return jnp.matmul(vectors, turn.T, precision=jax.lax.Precision.HIGHEST)

    return Capsules(
        rotate(capsules.start) + shift[None],
        rotate(capsules.axis),
        capsules.length,
        capsules.radius,
        capsules.slope,
        rotate(capsules.dorsal),
    )


def capsule_distance(point: Planar, capsules: Capsules, i: int) -> Float[Array, "*pixel"]:
    """Returns the signed distance to capsule i, metres. The taper makes its gradient up to 1.05 long."""
    (ax, ay, az), (wx, wy, wz) = capsules.start[i], capsules.axis[i]
    x, y, z = point[0] - ax, point[1] - ay, point[2] - az
    along = jnp.clip(x * wx + y * wy + z * wz, 0.0, capsules.length[i])
    x, y, z = x - along * wx, y - along * wy, z - along * wz
    return jnp.sqrt(x * x + y * y + z * z + 1e-12) - (capsules.radius[i] + capsules.slope[i] * along)


def translate(point: Planar, direction: Planar | Float[Array, "3"], reach: Float[Array, "*#pixel"] | float) -> Planar:
    """Returns `point + reach * direction`."""
    return point[0] + reach * direction[0], point[1] + reach * direction[1], point[2] + reach * direction[2]


def smooth_minimum(a: Float[Array, "*pixel"], b: Float[Array, "*pixel"], width: float) -> Float[Array, "*pixel"]:
    """Returns a minimum that is smooth, and up to `width / 4` lower, where the values differ by less than `width`."""
    overlap = jnp.maximum(width - jnp.abs(a - b), 0.0)
    return jnp.minimum(a, b) - overlap * overlap * (0.25 / width)


def hand_distance(point: Planar, capsules: Capsules, smooth: bool) -> Float[Array, "*pixel"]:
    """Returns the signed distance to the hand, metres, negative inside.

    With `smooth`, flesh joins the segments of each finger and each finger with the palm, but not two fingers, nor a
    fingertip with the palm. Without it, the hand is the union of the capsules.
    """
    each = [capsule_distance(point, capsules, i) for i in range(NUM_CAPSULES)]
    if not smooth:
        return functools.reduce(jnp.minimum, each)
    palm = functools.reduce(lambda a, b: smooth_minimum(a, b, PALM_BLEND), [each[i] for i in PALM])
    palm = smooth_minimum(palm, smooth_minimum(each[FOREARM[0]], each[FOREARM[1]], FOREARM_BLEND), WRIST_BLEND)
    parts = [
        smooth_minimum(palm, each[THUMB_PROXIMAL], ROOT_BLEND),
        smooth_minimum(each[THUMB_PROXIMAL], each[THUMB_DISTAL], FINGER_BLEND),
    ]
    for first in range(3, 15, 3):
        proximal, middle, distal = each[first : first + 3]
        finger = smooth_minimum(smooth_minimum(proximal, middle, FINGER_BLEND), distal, FINGER_BLEND)
        parts += [smooth_minimum(palm, proximal, ROOT_BLEND), finger]
    return functools.reduce(jnp.minimum, parts)
