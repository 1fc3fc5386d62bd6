"""People and what their hands do: shapes, and poses between everyday gestures that do not cut through themselves."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from bmc_jax.synthesis import skeleton, surface
from bmc_jax.synthesis.domains import Domain
from bmc_jax.synthesis.rng import Draws
from bmc_jax.synthesis.skeleton import Pose, Shape, Skeleton
from bmc_jax.synthesis.surface import Capsules


class Gesture(NamedTuple):
    """Degrees; for fingers index to little, or one number for all four."""

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
#: The same as one row of 16 angles each: MCP, PIP, abduction of the four fingers, then the thumb's four.
_GESTURE_ROWS = np.array(
    [
        [*np.broadcast_to(g.mcp, 4), *np.broadcast_to(g.pip, 4), *np.broadcast_to(g.abduction, 4), *g.thumb]
        for g in GESTURES.values()
    ],
    np.float32,
)
#: Deviation of each of the 16 angles about its gesture, degrees.
_SCATTER = np.repeat(np.array([7, 8, 3.5, 5, 7, 9], np.float32), [4, 4, 4, 2, 1, 1])

#: Poses drawn for each hand; the first that does not cut through itself is taken. One does in two cases of three, and
#: of eight none does in fewer than 2 of 1,000 hands.
TRIES = 8
#: How much overlap, summed over pairs of capsules, passes for the flesh's give; metres.
ALLOWED_OVERLAP = 1.5e-3


def _pairs() -> list[tuple[int, int, float]]:
    """Capsules that may meet, and the share of their radii that they may overlap by."""
    give, web = 0.07, 0.42
    phalanges = [i for i in range(15) if i != surface.THUMB_METACARPAL]
    pairs = []
    for i in phalanges:
        finger, segment = divmod(i, 3)
        for j in phalanges:
            if finger < j // 3:
                # Neighbouring fingers share the web between their roots.
                neighbours = finger > 0 and segment == 0 and j == i + 3
                pairs.append((i, j, web if neighbours else give))
        if segment > 0:  # all but the proximal phalanges, which grow out of the palm
            joined = surface.METACARPALS[0] if i == surface.THUMB_PROXIMAL else None
            pairs += [(i, j, give) for j in surface.METACARPALS if j != joined]
        if segment == 2:
            pairs.append((i, surface.THUMB_METACARPAL, give))
    return pairs


_FIRST, _SECOND, _GIVE = (np.array(column) for column in zip(*_pairs(), strict=True))


def draw_shape(draws: Draws, domain: Domain) -> Shape:
    """A person's hand."""
    bone = domain.bone_deviation
    fingers_to_palm = 1 + draws.normal(0.6 * bone)
    bones = 1 + draws.normal(bone, (5, 4))
    bones = bones * jnp.stack([jnp.ones(()), fingers_to_palm, fingers_to_palm, fingers_to_palm])[None]
    # The thumb's second bone is its metacarpal, a part of the palm.
    bones = bones.at[0, 1].divide(fingers_to_palm)
    fan = np.deg2rad(domain.fan_deviation)
    return Shape(
        size=domain.size[0] + draws.normal(domain.size[1]),
        bones=bones,
        palm_width=1 + draws.normal(domain.width_deviation),
        thickness=domain.thickness[0] + draws.normal(domain.thickness[1]),
        fan=draws.normal(fan, (4,)),
        drop=draws.normal(0.8 * fan, (4,)),
        thumb_base=draws.normal(domain.thumb_base_deviation, (3,)),
    )


def draw_pose(draws: Draws) -> Pose:
    """A pose within the joints' ranges: in 7 of 10 cases between two gestures, else any curl of the fingers.

    The wrist's angles are drawn too, but see `viewpoint.turn_forearm`.
    """
    rows = jnp.asarray(_GESTURE_ROWS)
    share = 0.5 - 0.5 * jnp.cos(jnp.pi * draws.uniform())
    between = share * rows[draws.index(len(rows))] + (1 - share) * rows[draws.index(len(rows))]

    # Fingers curl together to a varying degree, and each divides its curl between MCP and PIP.
    together = draws.uniform(0.2, 1.0)
    curl = together * draws.uniform() + (1 - together) * draws.uniform(shape=(4,))
    lean = 0.35 * draws.uniform(-0.5, 0.5)
    mcp = -15 + 100 * jnp.clip(curl + lean, 0, 1)
    pip = 105 * jnp.clip(curl - lean + 0.15 * draws.uniform(-0.5, 0.5, (4,)), 0, 1)
    fan = draws.uniform(-0.1, 1.0) * np.array([10, 1, -7, -14], np.float32)
    thumb = draws.uniform(np.array([-5, 5, -5, -10], np.float32), np.array([55, 55, 55, 70], np.float32), (4,))
    anything = jnp.concatenate([mcp, pip, fan, thumb])

    degrees = jnp.where(draws.happens(0.7), between, anything) + _SCATTER * draws.normal(shape=(16,))
    mcp, pip, fan, thumb = jnp.radians(degrees[:4]), jnp.radians(degrees[4:8]), degrees[8:12], degrees[12:]
    held_pip = jnp.clip(pip, *np.deg2rad(skeleton.JOINT_RANGES["pip_flexion"][:2]))
    # One tendon bends both: DIP follows PIP at about two thirds (Lin, Wu and Huang 2000).
    dip = jnp.minimum(0.62 * held_pip + draws.normal(np.deg2rad(8), (4,)), held_pip + np.deg2rad(15))
    wanted = Pose(
        mcp_flexion=mcp,
        mcp_abduction=jnp.radians(fan),
        pip_flexion=pip,
        dip_flexion=dip,
        thumb_radial=jnp.radians(thumb[0]),
        thumb_palmar=jnp.radians(thumb[1]),
        thumb_roll=draws.normal(np.deg2rad(6)),
        thumb_mcp_flexion=jnp.radians(thumb[2]),
        thumb_mcp_abduction=draws.normal(np.deg2rad(4)),
        thumb_ip_flexion=jnp.radians(thumb[3]),
        wrist_flexion=draws.normal(np.deg2rad(25)),
        wrist_deviation=draws.normal(np.deg2rad(10)),
        # The palm cups as ring and little finger close.
        arch=0.7 * jnp.clip(jnp.mean(mcp[2:]) / np.deg2rad(90), 0, 1) + draws.normal(0.25),
    )
    return skeleton.articulate(wanted)


def axis_distance(
    start: Float[Array, "pair 3"],
    end: Float[Array, "pair 3"],
    other: Float[Array, "pair 3"],
    other_end: Float[Array, "pair 3"],
) -> tuple[Float[Array, " pair"], Float[Array, " pair"], Float[Array, " pair"]]:
    """Distance of pairs of segments, and where on each (0 start, 1 end) they come nearest."""
    along, other_along, gap = end - start, other_end - other, start - other
    dot = lambda a, b: jnp.sum(a * b, axis=-1)  # noqa: E731
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
    """How far a hand cuts through itself: the overlaps of its capsules beyond the flesh's give, summed; metres."""
    distance, here, there = axis_distance(
        capsules.start[_FIRST], capsules.end[_FIRST], capsules.start[_SECOND], capsules.end[_SECOND]
    )
    reach = capsules.radius[_FIRST] + capsules.slope[_FIRST] * here * capsules.length[_FIRST]
    reach += capsules.radius[_SECOND] + capsules.slope[_SECOND] * there * capsules.length[_SECOND]
    return jnp.sum(jnp.maximum(reach * np.float32(1 - _GIVE) - distance, 0.0))


def sample_hand(key: PRNGKeyArray, shape: Shape) -> tuple[Pose, Skeleton, Capsules, Float[Array, ""]]:
    """A pose of that hand, what it makes of the skeleton and of the hand's 23 capsules, and the penetration left."""

    def attempt(key):
        pose = draw_pose(Draws(key))
        posed = skeleton.forward(pose, shape)
        capsules = surface.hand_capsules(posed, shape)
        return pose, posed, capsules, penetration(capsules)

    attempts = jax.vmap(attempt)(jax.random.split(key, TRIES))
    overlap = attempts[-1]
    passes = overlap < ALLOWED_OVERLAP
    taken = jnp.where(jnp.any(passes), jnp.argmax(passes), jnp.argmin(overlap))
    return jax.tree.map(lambda values: values[taken], attempts)
