"""Hand shapes of people, and poses between everyday gestures without self-penetration."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from bmc_jax.synthesis import skeleton, surface
from bmc_jax.synthesis.domains import Domain
from bmc_jax.synthesis.rng import RandomStream
from bmc_jax.synthesis.skeleton import Pose, Shape, Skeleton
from bmc_jax.synthesis.surface import Capsules


class Gesture(NamedTuple):
    """Angles in degrees; for fingers index to little, or one number for all four."""

    mcp: float | tuple
    pip: float | tuple
    abduction: float | tuple
    thumb: tuple[float, float, float, float]
    """Radial and palmar abduction, MCP and IP flexion."""


GESTURES = {
    "open": Gesture(5, 8, (8, 1, -5, -12), (48, 15, 5, 5)),
    "flat": Gesture(-8, 4, 0, (30, 10, 5, 0)),
    "relaxed": Gesture((25, 30, 35, 38), (35, 40, 45, 45), 0, (30, 30, 15, 15)),
    "fist": Gesture(82, 95, 0, (18, 38, 40, 40)),
    "point": Gesture((3, 80, 85, 85), (5, 95, 95, 90), 0, (15, 35, 35, 45)),
    "victory": Gesture((3, 3, 82, 85), (5, 5, 95, 90), (9, -7, 0, 0), (8, 40, 35, 45)),
    "thumb up": Gesture((80, 82, 85, 85), (92, 95, 95, 90), 0, (55, 8, 0, -5)),
    "pinch": Gesture((48, 20, 15, 10), (52, 20, 12, 10), (0, 0, -4, -8), (22, 45, 20, 25)),
    "grasp": Gesture((45, 48, 50, 52), (40, 42, 42, 42), (4, 0, -3, -6), (28, 48, 10, 15)),
    "precision grip": Gesture((55, 58, 60, 60), (15, 18, 18, 18), 0, (20, 48, 20, 10)),
    "hook": Gesture((-5, -5, 0, -5), (75, 80, 80, 75), 0, (35, 15, 20, 40)),
    "horns": Gesture((5, 82, 85, 5), (5, 95, 95, 5), (5, 0, 0, -10), (45, 15, 5, 0)),
    "three": Gesture((5, 5, 5, 82), (5, 5, 5, 85), (10, 0, -8, 0), (5, 45, 35, 45)),
    "shaka": Gesture((75, 78, 80, 5), (90, 95, 90, 5), (0, 0, 0, -10), (50, 12, 0, 0)),
}
#: `GESTURES` as rows of 16 angles: MCP, PIP and abduction of the four fingers, then the four of the thumb.
_GESTURE_ROWS = np.array(
    [
        [*np.broadcast_to(g.mcp, 4), *np.broadcast_to(g.pip, 4), *np.broadcast_to(g.abduction, 4), *g.thumb]
        for g in GESTURES.values()
    ],
    np.float32,
)
#: Standard deviation of each of the 16 angles, degrees.
_DEVIATIONS = np.repeat(np.array([7, 8, 3.5, 5, 7, 9], np.float32), [4, 4, 4, 2, 1, 1])

#: Poses drawn for each hand; the first without self-penetration is used. Two of three poses have none; in fewer than 2
#: of 1,000 hands, all eight have some.
ATTEMPTS = 8
#: Largest sum of overlaps of capsules that counts as deformation of the flesh, metres.
ALLOWED_OVERLAP = 1.5e-3


def _pairs() -> list[tuple[int, int, float]]:
    """Returns pairs of capsules that may touch, and the share of their radii by which they may overlap."""
    flesh, web = 0.07, 0.42
    phalanges = [i for i in range(15) if i != surface.THUMB_METACARPAL]
    pairs = []
    for i in phalanges:
        finger, segment = divmod(i, 3)
        for j in phalanges:
            if finger < j // 3:
                # Neighbouring fingers share the web between their roots.
                neighbours = finger > 0 and segment == 0 and j == i + 3
                pairs.append((i, j, web if neighbours else flesh))
        if segment > 0:  # all except the proximal phalanges, which are attached to the palm
            joined = surface.METACARPALS[0] if i == surface.THUMB_PROXIMAL else None
            pairs += [(i, j, flesh) for j in surface.METACARPALS if j != joined]
        if segment == 2:
            pairs.append((i, surface.THUMB_METACARPAL, flesh))
    return pairs


_FIRST, _SECOND, _OVERLAP = (np.array(column) for column in zip(*_pairs(), strict=True))


def draw_shape(random: RandomStream, domain: Domain) -> Shape:
    """Draws the shape of a person's hand."""
    bone = domain.bone_deviation
    fingers_to_palm = 1 + random.normal(0.6 * bone)
    bones = 1 + random.normal(bone, (5, 4))
    bones = bones * jnp.stack([jnp.ones(()), fingers_to_palm, fingers_to_palm, fingers_to_palm])[None]
    # The thumb's second bone is its metacarpal, a part of the palm.
    bones = bones.at[0, 1].divide(fingers_to_palm)
    fan = np.deg2rad(domain.fan_deviation)
    return Shape(
        size=domain.size[0] + random.normal(domain.size[1]),
        bones=bones,
        palm_width=1 + random.normal(domain.width_deviation),
        thickness=domain.thickness[0] + random.normal(domain.thickness[1]),
        fan=random.normal(fan, (4,)),
        drop=random.normal(0.8 * fan, (4,)),
        thumb_base=random.normal(domain.thumb_base_deviation, (3,)),
    )


def draw_pose(random: RandomStream) -> Pose:
    """Draws a pose within the ranges of the joints: in 7 of 10 cases between two gestures, otherwise of random curls.

    The angles of the wrist are also drawn; `camera_model.bend_wrist` changes them.
    """
    rows = jnp.asarray(_GESTURE_ROWS)
    share = 0.5 - 0.5 * jnp.cos(jnp.pi * random.uniform())
    between = share * rows[random.integer(len(rows))] + (1 - share) * rows[random.integer(len(rows))]

    # Fingers curl together to a varying degree, and each divides its curl between MCP and PIP.
    together = random.uniform(0.2, 1.0)
    curl = together * random.uniform() + (1 - together) * random.uniform(shape=(4,))
    lean = 0.35 * random.uniform(-0.5, 0.5)
    mcp = -15 + 100 * jnp.clip(curl + lean, 0, 1)
    pip = 105 * jnp.clip(curl - lean + 0.15 * random.uniform(-0.5, 0.5, (4,)), 0, 1)
    fan = random.uniform(-0.1, 1.0) * np.array([10, 1, -7, -14], np.float32)
    thumb = random.uniform(np.array([-5, 5, -5, -10], np.float32), np.array([55, 55, 55, 70], np.float32), (4,))
    curled = jnp.concatenate([mcp, pip, fan, thumb])

    degrees = jnp.where(random.bernoulli(0.7), between, curled) + _DEVIATIONS * random.normal(shape=(16,))
    mcp, pip, fan, thumb = jnp.radians(degrees[:4]), jnp.radians(degrees[4:8]), degrees[8:12], degrees[12:]
    held_pip = jnp.clip(pip, *np.deg2rad(skeleton.JOINT_RANGES["pip_flexion"][:2]))
    # One tendon bends both: DIP flexion is about two thirds of PIP flexion (Lin, Wu and Huang 2000).
    dip = jnp.minimum(0.62 * held_pip + random.normal(np.deg2rad(8), (4,)), held_pip + np.deg2rad(15))
    pose = Pose(
        mcp_flexion=mcp,
        mcp_abduction=jnp.radians(fan),
        pip_flexion=pip,
        dip_flexion=dip,
        thumb_radial=jnp.radians(thumb[0]),
        thumb_palmar=jnp.radians(thumb[1]),
        thumb_roll=random.normal(np.deg2rad(6)),
        thumb_mcp_flexion=jnp.radians(thumb[2]),
        thumb_mcp_abduction=random.normal(np.deg2rad(4)),
        thumb_ip_flexion=jnp.radians(thumb[3]),
        wrist_flexion=random.normal(np.deg2rad(25)),
        wrist_deviation=random.normal(np.deg2rad(10)),
        # The palm cups as ring and little finger close.
        arch=0.7 * jnp.clip(jnp.mean(mcp[2:]) / np.deg2rad(90), 0, 1) + random.normal(0.25),
    )
    return skeleton.clamp_pose(pose)


def segment_distance(
    start: Float[Array, "pair 3"],
    end: Float[Array, "pair 3"],
    other: Float[Array, "pair 3"],
    other_end: Float[Array, "pair 3"],
) -> tuple[Float[Array, " pair"], Float[Array, " pair"], Float[Array, " pair"]]:
    """Returns the distance of pairs of segments, and the position (0 start, 1 end) of the nearest point on each."""
    along, other_along, gap = end - start, other_end - other, start - other

    def dot(a, b):
        return jnp.sum(a * b, axis=-1)

    square, other_square, mixed = dot(along, along), dot(other_along, other_along), dot(along, other_along)
    back, other_back = dot(along, gap), dot(other_along, gap)
    area = square * other_square - mixed * mixed
    parallel = area <= 1e-9 * square * other_square
    here = jnp.where(parallel, 0.0, (mixed * other_back - back * other_square) / jnp.where(parallel, 1.0, area))
    there = jnp.clip((mixed * jnp.clip(here, 0, 1) + other_back) / other_square, 0, 1)
    here = jnp.clip((mixed * there - back) / square, 0, 1)
    apart = gap + along * here[:, None] - other_along * there[:, None]
    return jnp.sqrt(dot(apart, apart)), here, there


def penetration(capsules: Capsules) -> Float[Array, ""]:
    """Returns the self-penetration of a hand: the sum of its capsules' overlaps beyond the allowed ones, metres."""
    distance, here, there = segment_distance(
        capsules.start[_FIRST], capsules.end[_FIRST], capsules.start[_SECOND], capsules.end[_SECOND]
    )
    reach = capsules.radius[_FIRST] + capsules.slope[_FIRST] * here * capsules.length[_FIRST]
    reach += capsules.radius[_SECOND] + capsules.slope[_SECOND] * there * capsules.length[_SECOND]
    return jnp.sum(jnp.maximum(reach * np.float32(1 - _OVERLAP) - distance, 0.0))


def sample_hand(key: PRNGKeyArray, shape: Shape) -> tuple[Pose, Skeleton, Capsules, Float[Array, ""]]:
    """Draws a pose of a hand; returns it with its skeleton, the hand's 23 capsules and the remaining penetration."""

    def attempt(key):
        pose = draw_pose(RandomStream(key))
        posed = skeleton.forward(pose, shape)
        capsules = surface.hand_capsules(posed, shape)
        return pose, posed, capsules, penetration(capsules)

    attempts = jax.vmap(attempt)(jax.random.split(key, ATTEMPTS))
    overlap = attempts[-1]
    free = overlap < ALLOWED_OVERLAP
    best = jnp.where(jnp.any(free), jnp.argmax(free), jnp.argmin(overlap))
    return jax.tree.map(lambda values: values[best], attempts)
