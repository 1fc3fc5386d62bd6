"""Renderer of pictures with exact labels from keys, in stages on a CPU and as one program on an accelerator.

In one program on a CPU, XLA recomputes shared values for each consumer, which takes about fifty times as long as
separate stages. On an accelerator, one program saves memory traffic. Both run the same functions.
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
from bmc_jax.synthesis import background, camera_model, domains, gestures, material, rays, rng, shading, stages, surface
from bmc_jax.synthesis.domains import Domain
from bmc_jax.synthesis.held_object import HeldObject, draw_object
from bmc_jax.synthesis.rng import RandomStream
from bmc_jax.synthesis.stages import inline, staged

#: Pictures per call: few enough for a CPU's cache, enough to fill an accelerator.
CPU_CHUNK, ACCELERATOR_CHUNK = 16, 256
#: Largest depth of a visible joint behind the surface in its pixel, metres: the surface is then that of its finger.
VISIBLE_DEPTH = 0.020


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Scene:
    """Content of a picture except for its background; camera frame, metres."""

    joints: Float[Array, "*batch 21 3"]
    intrinsics: Float[Array, "*batch 3 3"]
    turn: Float[Array, "*batch 3 3"]
    """Rotation from the hand's frame to the camera's."""
    capsules: surface.Capsules
    held_object: HeldObject | None
    appearance: shading.Appearance
    blotches: material.Waves
    grain: material.Waves
    penetration: Float[Array, "*batch"]
    """Self-penetration of the hand, see `gestures.penetration`."""


def sample_scene(key: PRNGKeyArray, person: PRNGKeyArray, domain: Domain, size: int) -> Scene:
    """Draws a scene: hand shape and skin from the key `person`, everything else from `key`."""
    pose_key, draw_key = jax.random.split(key)
    person_random, random = RandomStream(person), RandomStream(draw_key, 192)
    shape, skin = gestures.draw_shape(person_random, domain), shading.draw_skin(person_random, domain)
    pose, posed, capsules, penetration = gestures.sample_hand(pose_key, shape)

    turn = camera_model.draw_view(random, domain.views)
    turn, forearm = camera_model.bend_wrist(turn, pose.wrist_flexion, pose.wrist_deviation)
    joints = jnp.matmul(posed.joints, turn.T, precision=jax.lax.Precision.HIGHEST)
    shift, intrinsics = camera_model.draw_camera(random, joints, domain, size)
    joints = joints + shift[None]
    forearm_capsules = surface.forearm_capsules(forearm, shape)
    capsules = jax.tree.map(lambda *parts: jnp.concatenate(parts), capsules, forearm_capsules)
    capsules = surface.transform(capsules, turn, shift)
    held_object = None
    if domain.held_object > 0:
        held_object = draw_object(random, joints, -turn[:, 2], turn[:, 0], capsules, domain)
    return Scene(
        joints=joints,
        intrinsics=intrinsics,
        turn=turn,
        capsules=capsules,
        held_object=held_object,
        appearance=shading.draw_appearance(random, skin, domain),
        blotches=material.draw_waves(random, 6, 20.0, 90.0),
        grain=material.draw_waves(random, 8, 150.0, 420.0),
        penetration=penetration,
    )


def _first_hits(run: Callable, scene: Scene, domain: Domain, size: int):
    """Returns the rays, the distances at which they enter the bounds of the surface, and `rays.project_origin`."""
    ray = run(rays.pixel_rays, scene.intrinsics, size=size)
    feet = run(rays.project_origin, scene.capsules)
    margins = rays.BLEND_MARGINS if domain.smooth or scene.held_object is not None else rays.NO_MARGINS
    return ray, run(rays.first_entry, ray, scene.capsules, *feet, scene.held_object, margins=margins), feet


def trace_hits(
    run: Callable,
    ray: surface.Planar,
    start: Float[Array, "..."],
    scene: Scene,
    feet: tuple[Array, Array],
    smooth: bool,
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Returns the distance of the surface along rays that meet its bounds at `start`, metres, and its coverage."""
    capsules, held_object = scene.capsules, scene.held_object
    if not smooth and held_object is None:
        return run(rays.resolve_exact, start)
    solid = run(rays.first_entry, ray, capsules, *feet, None, margins=rays.NO_MARGINS)
    marched = run(rays.march, ray, start, solid, capsules, held_object, scene.intrinsics, smooth=smooth)
    return run(rays.resolve, start, solid, *marched)


def shade_hits(
    run: Callable,
    ray: surface.Planar,
    start: Float[Array, "..."],
    scene: Scene,
    feet: tuple[Array, Array],
    smooth: bool,
    detail: float,
    glove: bool,
) -> tuple[surface.Planar, Float[Array, "..."]]:
    """Returns the colour of the surface, linear RGB, and its coverage along rays: see `trace_hits`.

    Values with several consumers, such as distances at the normal's taps, end a stage.
    """
    solids, appearance = (scene.capsules, scene.held_object), scene.appearance
    t, coverage = trace_hits(run, ray, start, scene, feet, smooth)
    point = run(rays.points_at, ray, t)
    normal = run(rays.normal, run(rays.normal_taps, point, *solids, smooth=smooth))
    located = run(material.locate, point, normal, *solids)
    ambient = run(rays.ambient_visibility, point, normal, *solids, smooth=smooth)
    light = run(rays.light_visibility, point, normal, appearance.key_direction, appearance.penumbra, *solids)
    hand_frame = (scene.turn, scene.joints, scene.capsules, appearance.sleeve)
    texture = run(material.texture, point, *located, *hand_frame, scene.blotches, scene.grain)
    lighting = (ambient, light, appearance, scene.held_object)
    return run(shading.shade, ray, normal, texture, *lighting, detail=detail, glove=glove), coverage


def hits_only(ray: surface.Planar, start: Float[Array, " pixel"], scene: Scene, feet, trace: Callable, **settings):
    """Runs `trace_hits` or `shade_hits` for the rays of a picture that meet the bounds of its surface; 0 elsewhere."""

    def on_hits(run, pixels, picture):
        return trace(run, *pixels, *picture, **settings)

    return stages.on_pixels(on_hits, start < rays.FAR, (ray, start), (scene, feet))


def _picture(run: Callable, scene: Scene, key: Key[Array, "*batch"], domain: Domain, size: int):
    """Returns the picture of a scene, uint8 RGB.

    Values with several consumers, such as the background's noise, end a stage.
    """
    ray, start, feet = _first_hits(run, scene, domain, size)
    look = {"smooth": domain.smooth, "detail": domain.detail, "glove": domain.glove}
    hand, coverage = run(hits_only, ray, start, scene, feet, trace=shade_hits, **look)

    noise_key, room_key, furniture_key, focus_key, sensor_key = run(_split, key, count=5)
    noise = run(background.noise_fields, noise_key, domain=domain, size=size)
    behind = run(background.wall_and_table_image, *run(background.wall_and_table, room_key, noise, domain=domain))
    furniture = run(background.draw_furniture, furniture_key, domain=domain, size=size)
    behind = run(background.add_furniture, behind, *furniture)
    behind = run(background.defocus, focus_key, behind, domain=domain)
    return run(camera_model.expose, sensor_key, run(camera_model.composite, hand, coverage, behind), domain=domain)


def _split(key: PRNGKeyArray, count: int):
    return tuple(jax.random.split(key, count))


def _labels(scene: Scene, size: int) -> dict:
    """Returns every field of a `Batch` except `image` and `index`."""
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


def render_fields(
    run: Callable, key: Key[Array, "*batch"], person: Key[Array, "*batch"], domain: Domain, size: int
) -> dict:
    """Returns every field of a `Batch` except `index`; `run` is `inline` or `staged`."""
    scene_key, picture_key = run(_split, key, count=2)
    scene = run(sample_scene, scene_key, person, domain=domain, size=size)
    return {"image": _picture(run, scene, picture_key, domain, size), **run(_labels, scene, size=size)}


def sample(key: PRNGKeyArray, domain: Domain, size: int = 128, person: PRNGKeyArray | None = None) -> Batch:
    """Renders one hand as a picture of `size` x `size` pixels with all labels and index 0.

    The function works under jit and vmap and is meant for accelerators; on a CPU it takes about fifty times as long as
    `render`.

    Args:
      key: of everything except the person.
      domain: distribution of the pictures.
      size: side of the picture, pixels.
      person: key of the person, which determines hand and skin; by default a different one for each `key`.

    Returns:
      An example without batch axis: joints in metres, camera frame, FreiHAND order.

    Examples:
      >>> import jax
      >>> from bmc_jax import synthesis
      >>> batch = synthesis.sample(jax.random.key(0), synthesis.DOMAINS["mannequin"], 64)  # doctest: +SKIP
      >>> batch.image.shape  # doctest: +SKIP
      (64, 64, 3)
    """
    person = jax.random.fold_in(key, 0) if person is None else person
    return Batch(index=jnp.zeros((), jnp.int32), **render_fields(inline, key, person, domain, size))


@functools.partial(jax.jit, static_argnums=(2, 3))
def fused(examples: Key[Array, " batch"], persons: Key[Array, " batch"], domain: Domain, size: int) -> dict:
    """Runs `render_fields` for a batch of pictures as one program."""
    return jax.vmap(lambda key, person: render_fields(inline, key, person, domain, size))(examples, persons)


def _in_chunks(make: Callable, seed: int, domain: Domain, split: str, indices: Sequence[int] | np.ndarray, chunk: int):
    """Returns `make(examples, persons)`, a function of keys, for all indices as host arrays.

    Every call has a full chunk, the last one with repeated indices, because another shape would be compiled again and
    could round differently.
    """
    indices = np.asarray(indices)
    if indices.ndim != 1 or len(indices) == 0 or indices.min() < 0:
        raise ValueError(f"indices: expected a list of one or more numbers from 0, got {indices!r}; give such a list")
    padded = np.concatenate([indices, np.full(-len(indices) % chunk, indices[-1])]).astype(np.int32)
    key = rng.split_key(seed, domain, split)

    def on_host(part):
        return jax.tree.map(np.asarray, make(*rng.example_and_person_keys(key, domain.subjects, part)))

    # A stage does not use all cores, so several chunks run at a time. The first runs alone, because it compiles.
    first, *others = padded.reshape(-1, chunk)
    parts = [on_host(first)]
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8) + 1) as pool:
        parts += pool.map(on_host, others)
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(indices)], *parts)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 4))
def example(seed: int, domain: Domain, split: str, index: int | Int[Array, ""], size: int) -> Batch:
    """Renders one example of a domain's split, equal to that of `render` up to rounding.

    Like `sample`, it works under jit and vmap and is meant for accelerators.

    Args:
      seed: seed of all random numbers.
      domain: the domain.
      split: one of `rng.SPLITS`.
      index: number of the example, from 0.
      size: side of the picture, pixels.

    Returns:
      An example without batch axis: joints in metres, camera frame, FreiHAND order.

    Raises:
      ValueError: for an unknown split.

    Examples:
      >>> from bmc_jax import synthesis
      >>> batch = synthesis.example(0, synthesis.DOMAINS["mannequin"], "train", 5, 64)  # doctest: +SKIP
      >>> batch.image.shape  # doctest: +SKIP
      (64, 64, 3)
    """
    key = rng.example_key(seed, domain, split, index)
    person = rng.person_key(seed, domain, split, rng.subject(seed, domain, split, index))
    return dataclasses.replace(sample(key, domain, size, person), index=jnp.asarray(index, jnp.int32))


def render(seed: int, domain: str | Domain, split: str, indices: Sequence[int] | np.ndarray, size: int = 128) -> Batch:
    """Renders examples of a domain's split.

    An example does not depend on the others in the call. Between CPU and accelerator, or two versions of JAX, it may
    differ by rounding.

    Args:
      seed: of all random numbers.
      domain: the domain or its name.
      split: one of `rng.SPLITS`.
      indices: numbers of the examples, from 0.
      size: side of the pictures, pixels.

    Returns:
      A batch of numpy arrays with all labels: joints in metres, camera frame, FreiHAND order. 2D joints are valid
      inside the picture, hidden or not (see `visible`).

    Raises:
      ValueError: for an unknown domain or split, or a negative index.

    Examples:
      >>> from bmc_jax import synthesis
      >>> batch = synthesis.render(0, "mannequin", "train", range(4), size=64)  # doctest: +SKIP
      >>> batch.image.shape, batch.joints_3d.shape  # doctest: +SKIP
      ((4, 64, 64, 3), (4, 21, 3))
    """
    domain = domains.get(domain) if isinstance(domain, str) else domain
    on_cpu = jax.default_backend() == "cpu"
    run, chunk = (functools.partial(render_fields, staged), CPU_CHUNK) if on_cpu else (fused, ACCELERATOR_CHUNK)

    def make(examples, persons):
        return run(examples, persons, domain, size)

    fields = _in_chunks(make, seed, domain, split, indices, chunk)
    return Batch(index=np.asarray(indices, np.int32), **fields)


def poses(
    seed: int, domain: str | Domain, split: str, indices: Sequence[int] | np.ndarray, size: int = 128
) -> np.ndarray:
    """Returns the 3D joints of examples, without rendering them.

    Args:
      seed: see `render`.
      domain: see `render`.
      split: see `render`.
      indices: see `render`.
      size: see `render`; it determines the camera, and so the place of the hand.

    Returns:
      `[n, 21, 3]`, metres, camera frame, FreiHAND order.

    Raises:
      ValueError: see `render`.

    Examples:
      >>> from bmc_jax import synthesis
      >>> synthesis.poses(0, "synthetic", "test", range(4)).shape
      (4, 21, 3)
    """
    domain = domains.get(domain) if isinstance(domain, str) else domain

    def make(examples, persons):
        scene_keys, _ = staged(_split, examples, count=2)
        return staged(_joints, scene_keys, persons, domain=domain, size=size)

    return _in_chunks(make, seed, domain, split, indices, ACCELERATOR_CHUNK)


def labels(seed: int, domain: str | Domain, split: str, indices: Sequence[int] | np.ndarray, size: int = 128) -> Batch:
    """Returns the labels of examples, without rendering them.

    Args:
      seed: see `render`.
      domain: see `render`.
      split: see `render`.
      indices: see `render`.
      size: see `render`.

    Returns:
      The result of `render` with images of `size` x `size` pixels and 0 channels.

    Raises:
      ValueError: see `render`.

    Examples:
      >>> from bmc_jax import synthesis
      >>> synthesis.labels(0, "mannequin", "train", range(4), size=64).joints_2d.shape  # doctest: +SKIP
      (4, 21, 2)
    """
    domain = domains.get(domain) if isinstance(domain, str) else domain

    def make(examples, persons):
        return staged(_labels, _scenes(examples, persons, domain, size), size=size)

    fields = _in_chunks(make, seed, domain, split, indices, ACCELERATOR_CHUNK)
    images = np.zeros((len(indices), size, size, 0), np.uint8)
    return Batch(image=images, index=np.asarray(indices, np.int32), **fields)


def _scenes(examples: Key[Array, " batch"], persons: Key[Array, " batch"], domain: Domain, size: int):
    scene_keys, _ = staged(_split, examples, count=2)
    return staged(sample_scene, scene_keys, persons, domain=domain, size=size)


def _joints(key: PRNGKeyArray, person: PRNGKeyArray, domain: Domain, size: int):
    return sample_scene(key, person, domain, size).joints


def depth(
    seed: int, domain: str | Domain, split: str, indices: Sequence[int] | np.ndarray, size: int = 128
) -> np.ndarray:
    """Returns the depth of the surface in each pixel of examples.

    Args:
      seed: see `render`.
      domain: see `render`.
      split: see `render`.
      indices: see `render`.
      size: see `render`.

    Returns:
      `[n, size, size]`, metres along the optical axis; infinite outside the hand.

    Raises:
      ValueError: see `render`.

    Examples:
      >>> from bmc_jax import synthesis
      >>> synthesis.depth(0, "mannequin", "train", range(4), size=64).shape  # doctest: +SKIP
      (4, 64, 64)
    """
    domain = domains.get(domain) if isinstance(domain, str) else domain

    def make(examples, persons):
        scene = _scenes(examples, persons, domain, size)
        ray, start, feet = _first_hits(staged, scene, domain, size)
        traced = staged(hits_only, ray, start, scene, feet, trace=trace_hits, smooth=domain.smooth)
        return staged(_depth, ray, *traced, size=size)

    return _in_chunks(make, seed, domain, split, indices, CPU_CHUNK)


def _depth(ray, t, coverage, size: int):
    return jnp.where(coverage > 0.5, ray[2] * t, jnp.inf).reshape(size, size)


def visible(depth: np.ndarray, joints_2d: np.ndarray, joints_3d: np.ndarray) -> np.ndarray:
    """Returns which joints are not occluded.

    Args:
      depth: depth of the surface, see `depth`.
      joints_2d: joints of the same examples `[n, 21, 2]`, pixels.
      joints_3d: joints of the same examples `[n, 21, 3]`, metres, camera frame.

    Returns:
      Mask `[n, 21]`.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import hand, synthesis
      >>> wall = np.full((1, 64, 64), 0.55)  # hides what is more than 2 cm behind it
      >>> seen = synthesis.visible(wall, np.full((1, 21, 2), 32.0), hand.EXAMPLE[None])
      >>> print([hand.JOINTS[joint] for joint in np.flatnonzero(~seen[0])])
      ['thumb TIP', 'ring TIP', 'little TIP']
    """
    size = depth.shape[-1]
    column, row = (np.rint(joints_2d[..., axis]).astype(int) for axis in range(2))
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    surface_depth = depth[np.arange(len(depth))[:, None], row.clip(0, size - 1), column.clip(0, size - 1)]
    return inside & (joints_3d[..., 2] - surface_depth < VISIBLE_DEPTH)
