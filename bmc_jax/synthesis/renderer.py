"""From a key to a picture with its labels: the stages in order, run one by one on a CPU or fused into one program.

In one program XLA for CPU computes shared values once for each consumer, some fifty times slower than stage by stage;
an accelerator is meant to fuse them and to save the traffic between. Both run the same functions.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from bmc_jax.core import anatomy, camera
from bmc_jax.core.types import Batch
from bmc_jax.synthesis import background, camera_model, domains, gestures, material, rays, rng, shading, surface
from bmc_jax.synthesis.domains import Domain
from bmc_jax.synthesis.held_object import Thing, draw_thing
from bmc_jax.synthesis.rng import Draws

#: Pictures in one call: few enough for a CPU's cache, many enough to fill an accelerator.
CPU_CHUNK, ACCELERATOR_CHUNK = 16, 256
#: A joint is visible if it lies at most so many metres behind the surface that its pixel shows, within its own finger.
VISIBLE_DEPTH = 0.020


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Scene:
    """All that a picture is drawn from but its background; camera frame, metres."""

    joints: Float[Array, "*batch 21 3"]
    intrinsics: Float[Array, "*batch 3 3"]
    turn: Float[Array, "*batch 3 3"]
    """Rotation from the hand's frame to the camera's."""
    capsules: surface.Capsules
    thing: Thing | None
    look: shading.Look
    blotches: material.Waves
    grain: material.Waves
    penetration: Float[Array, "*batch"]
    """How far the hand cuts through itself; see `gestures.penetration`."""


def sample_scene(key: PRNGKeyArray, person: PRNGKeyArray, domain: Domain, size: int) -> Scene:
    """What is to be seen: `person` holds the hand and its skin, `key` everything else."""
    pose_key, draw_key = jax.random.split(key)
    of_person, draws = Draws(person), Draws(draw_key, 192)
    shape, skin = gestures.draw_shape(of_person, domain), shading.draw_skin(of_person, domain)
    pose, posed, capsules, penetration = gestures.sample_hand(pose_key, shape)

    turn = camera_model.draw_turn(draws, domain.views)
    turn, forearm = camera_model.turn_forearm(turn, pose.wrist_flexion, pose.wrist_deviation)
    joints = jnp.matmul(posed.joints, turn.T, precision=jax.lax.Precision.HIGHEST)
    shift, intrinsics = camera_model.draw_camera(draws, joints, domain, size)
    joints = joints + shift[None]
    capsules = surface.place(surface.join(capsules, surface.forearm_capsules(forearm, shape)), turn, shift)
    held = draw_thing(draws, joints, -turn[:, 2], turn[:, 0], capsules, domain) if domain.thing > 0 else None
    return Scene(
        joints=joints,
        intrinsics=intrinsics,
        turn=turn,
        capsules=capsules,
        thing=held,
        look=shading.draw_look(draws, skin, domain),
        blotches=material.draw_waves(draws, 6, 20.0, 90.0),
        grain=material.draw_waves(draws, 8, 150.0, 420.0),
        penetration=penetration,
    )


def inline(stage: Callable, *arrays, **settings):
    """Runs a stage for one picture as part of whatever is being traced."""
    return stage(*arrays, **settings)


def staged(stage: Callable, *arrays, **settings):
    """Runs a stage for a batch of pictures as a program of its own."""
    return _compiled(stage, **settings)(*arrays)


@functools.cache
def _compiled(stage: Callable, **settings) -> Callable:
    return jax.jit(jax.vmap(functools.partial(stage, **settings)))


def _trace(run: Callable, scene: Scene, domain: Domain, size: int):
    """(rays, distance along each, coverage)."""
    ray = run(rays.pixel_rays, scene.intrinsics, size=size)
    feet = run(rays.feet, scene.capsules)
    solid = run(rays.entry, ray, scene.capsules, *feet, None, margins=rays.NO_MARGINS)
    if not domain.smooth and scene.thing is None:
        return ray, *run(rays.settle_hard, solid)
    start = run(rays.entry, ray, scene.capsules, *feet, scene.thing, margins=rays.BLEND_MARGINS)
    marched = run(rays.march, ray, start, solid, scene.capsules, scene.thing, scene.intrinsics, smooth=domain.smooth)
    return ray, *run(rays.settle, start, solid, *marched)


def _picture(run: Callable, scene: Scene, key: Key[Array, "*batch"], domain: Domain, size: int):
    """The picture of a scene, uint8 RGB.

    Values with several consumers end a stage: distances at the normal's taps, the cloud under the background.
    """
    capsules, held, look = scene.capsules, scene.thing, scene.look
    ray, t, coverage = _trace(run, scene, domain, size)
    point = run(rays.points, ray, t)
    normal = run(rays.normal, run(rays.normal_taps, point, capsules, held, smooth=domain.smooth))
    located = run(material.locate, point, normal, capsules, held)
    openness = run(rays.openness, point, normal, capsules, held, smooth=domain.smooth)
    lit = run(rays.lit, point, normal, look.key_direction, look.penumbra, capsules, held)
    textured = run(
        material.texture, point, *located, scene.turn, scene.joints, capsules, look.sleeve, scene.blotches, scene.grain
    )
    shown = run(
        shading.shade, ray, normal, textured, openness, lit, look, held, detail=domain.detail, glove=domain.glove
    )

    cloud_key, room_key, furnish_key, focus_key, sensor_key = run(_split, key)
    cloud = run(background.clouds, cloud_key, domain=domain, size=size)
    behind = run(background.room, *run(background.wall_and_table, room_key, cloud, domain=domain))
    behind = run(background.furnish, behind, *run(background.all_furniture, furnish_key, domain=domain, size=size))
    behind = run(background.focus, focus_key, behind, domain=domain)
    return run(camera_model.expose, sensor_key, run(camera_model.composite, shown, coverage, behind), domain=domain)


def _split(key: PRNGKeyArray):
    return tuple(jax.random.split(key, 5))


def _labels(scene: Scene, size: int) -> dict:
    """Every field of a `Batch` but the picture and the example's place in its set."""
    joints_2d = camera.project(scene.joints, scene.intrinsics)
    return {
        "intrinsics": scene.intrinsics,
        "joints_2d": joints_2d,
        "joints_2d_valid": jnp.all((joints_2d > -0.5) & (joints_2d < size - 0.5), axis=-1),
        "joints_3d": scene.joints,
        "joints_3d_valid": jnp.ones(21, bool),
        "scale": anatomy.scale(scene.joints),
        "source": jnp.zeros((), jnp.int32),
        "present": jnp.ones((), bool),
    }


def draw(run: Callable, key: Key[Array, "*batch"], person: Key[Array, "*batch"], domain: Domain, size: int) -> dict:
    """Fields of a `Batch` but the index."""
    scene_key, picture_key = run(_two, key)
    scene = run(sample_scene, scene_key, person, domain=domain, size=size)
    return {"image": _picture(run, scene, picture_key, domain, size), **run(_labels, scene, size=size)}


def _two(key: PRNGKeyArray):
    return tuple(jax.random.split(key))


def sample(key: PRNGKeyArray, domain: Domain, size: int = 128, person: PRNGKeyArray | None = None) -> Batch:
    """One hand: a picture of `size` x `size` pixels with all its labels, index 0. For jit and vmap, on accelerators.

    `person` is the key of the person whose hand it is, by default a new one for every key. On a CPU this runs some
    fifty times slower than `render`.
    """
    person = jax.random.fold_in(key, 0) if person is None else person
    return Batch(index=jnp.zeros((), jnp.int32), **draw(inline, key, person, domain, size))


@functools.partial(jax.jit, static_argnums=(2, 3))
def fused(examples: Key[Array, " batch"], persons: Key[Array, " batch"], domain: Domain, size: int) -> dict:
    """`draw` for a batch of pictures as one program."""
    return jax.vmap(lambda key, person: draw(inline, key, person, domain, size))(examples, persons)


def _in_chunks(make: Callable, seed: int, domain: Domain, split: str, indices: Sequence[int] | np.ndarray, chunk: int):
    """`make(examples, persons)`, of their keys, for all indices, as host arrays.

    Every call has a full chunk, the last one repeating an index: a shape of its own would be compiled anew, and could
    round differently.
    """
    indices = np.asarray(indices)
    if indices.ndim != 1 or len(indices) == 0 or indices.min() < 0:
        raise ValueError(f"indices must be a non-empty list of numbers from 0, not {indices!r}")
    padded = np.concatenate([indices, np.full(-len(indices) % chunk, indices[-1])]).astype(np.int32)
    of_split = rng.split_key(seed, domain, split)

    def on_host(part):
        return jax.tree.map(np.asarray, make(*rng.of_examples(of_split, domain.subjects, part)))

    # No stage keeps every core busy, so some chunks are under way at a time; the first alone, which compiles.
    first, *others = padded.reshape(-1, chunk)
    made = [on_host(first)]
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8) + 1) as pool:
        made += pool.map(on_host, others)
    return jax.tree.map(lambda *parts: np.concatenate(parts)[: len(indices)], *made)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 4))
def example(seed: int, domain: Domain, split: str, index: int | Int[Array, ""], size: int) -> Batch:
    """One example of a domain's split inside a program of one's own, for vmap: what `render` gives, but for rounding.

    As with `sample`, for accelerators. Raises ValueError for an unknown split.
    """
    key = rng.example_key(seed, domain, split, index)
    person = rng.person_key(seed, domain, split, rng.subject(seed, domain, split, index))
    return dataclasses.replace(sample(key, domain, size, person), index=jnp.asarray(index, jnp.int32))


def render(seed: int, domain: str | Domain, split: str, indices: Sequence[int] | np.ndarray, size: int = 128) -> Batch:
    """Those examples of a domain's split, on the host, with all labels; a pure function of the arguments.

    An example is the same, to the byte, whatever others are asked for with it; between CPU and accelerator, or two
    versions of JAX, it may differ by rounding. 2D joints are valid inside the picture, hidden or not (see `visible`).

    Raises:
      ValueError: for an unknown domain or split, or a negative index.
    """
    domain = domains.get(domain) if isinstance(domain, str) else domain
    on_cpu = jax.default_backend() == "cpu"
    run, chunk = (functools.partial(draw, staged), CPU_CHUNK) if on_cpu else (fused, ACCELERATOR_CHUNK)
    made = _in_chunks(
        lambda examples, persons: run(examples, persons, domain, size), seed, domain, split, indices, chunk
    )
    return Batch(index=np.asarray(indices, np.int32), **made)


def poses(
    seed: int, domain: str | Domain, split: str, indices: Sequence[int] | np.ndarray, size: int = 128
) -> np.ndarray:
    """The 3D joints of those examples, `[n, 21, 3]` metres, camera frame, without their pictures."""
    domain = domains.get(domain) if isinstance(domain, str) else domain

    def make(examples, persons):
        scene_keys, _ = staged(_two, examples)
        return staged(_joints, scene_keys, persons, domain=domain, size=size)

    return _in_chunks(make, seed, domain, split, indices, ACCELERATOR_CHUNK)


def labels(seed: int, domain: str | Domain, split: str, indices: Sequence[int] | np.ndarray, size: int = 128) -> Batch:
    """What `render` gives but for the pictures: the images have `size` x `size` pixels of no channels, no bytes."""
    domain = domains.get(domain) if isinstance(domain, str) else domain

    def make(examples, persons):
        return staged(_labels, _scenes(examples, persons, domain, size), size=size)

    made = _in_chunks(make, seed, domain, split, indices, ACCELERATOR_CHUNK)
    images = np.zeros((len(indices), size, size, 0), np.uint8)
    return Batch(image=images, index=np.asarray(indices, np.int32), **made)


def _scenes(examples: Key[Array, " batch"], persons: Key[Array, " batch"], domain: Domain, size: int):
    scene_keys, _ = staged(_two, examples)
    return staged(sample_scene, scene_keys, persons, domain=domain, size=size)


def _joints(key: PRNGKeyArray, person: PRNGKeyArray, domain: Domain, size: int):
    return sample_scene(key, person, domain, size).joints


def depth(
    seed: int, domain: str | Domain, split: str, indices: Sequence[int] | np.ndarray, size: int = 128
) -> np.ndarray:
    """Depth (z, metres) of the surface in each pixel of those examples, `[n, size, size]`; infinite beside it."""
    domain = domains.get(domain) if isinstance(domain, str) else domain

    def make(examples, persons):
        return staged(_depth, *_trace(staged, _scenes(examples, persons, domain, size), domain, size), size=size)

    return _in_chunks(make, seed, domain, split, indices, CPU_CHUNK)


def _depth(ray, t, coverage, size: int):
    return jnp.where(coverage > 0.5, ray[2] * t, jnp.inf).reshape(size, size)


def visible(depth: np.ndarray, joints_2d: np.ndarray, joints_3d: np.ndarray) -> np.ndarray:
    """Which joints nothing hides, `[n, 21]` bool, from `depth` and the joints of the same examples."""
    size = depth.shape[-1]
    column, row = (np.rint(joints_2d[..., axis]).astype(int) for axis in range(2))
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    shown = depth[np.arange(len(depth))[:, None], row.clip(0, size - 1), column.clip(0, size - 1)]
    return inside & (joints_3d[..., 2] - shown < VISIBLE_DEPTH)
