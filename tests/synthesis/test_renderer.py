"""Rendered pictures: labels, visibility, reproducibility, people of one split only, and invalid requests."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bmc_jax import camera, hand, synthesis
from bmc_jax.synthesis import camera_model, domains, gestures, material, renderer, rng, shading, surface
from bmc_jax.synthesis.rng import RandomStream

# Nearly every test in this file compiles the renderer.
pytestmark = pytest.mark.slow

SIZE, COUNT = 48, 20
"""More images than one chunk holds."""


@pytest.fixture(scope="module")
def real_like():
    return synthesis.render(0, "real_like", "train", range(COUNT), SIZE)


@pytest.fixture(scope="module")
def mannequin():
    return synthesis.render(0, "mannequin", "train", range(COUNT), SIZE)


@pytest.mark.parametrize("views", ["cone", "so3"])
def test_forearm_never_points_at_the_camera(views):
    def one(key):
        random = RandomStream(key)
        asked = camera_model.draw_view(random, views)
        turn, forearm = camera_model.bend_wrist(asked, random.uniform(-1.1, 1.2), random.normal(0.17))
        return asked, turn, (turn @ forearm)[2, 1]

    asked, turn, away = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 512))
    np.testing.assert_allclose(np.linalg.det(turn), 1, atol=1e-5)
    assert np.max(away) < camera_model.MAX_TOWARDS_CAMERA + 0.01
    if views == "cone":
        np.testing.assert_array_equal(asked, turn)
        assert np.max(turn[:, 1, 1]) < 0, "fingers point up"


def test_labels_are_complete_and_in_the_crop(real_like, mannequin):
    for batch in (real_like, mannequin):
        assert batch.image.shape == (COUNT, SIZE, SIZE, 3)
        assert batch.image.dtype == np.uint8
        assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(batch))
        assert batch.joints_3d_valid.all()
        assert batch.present.all()
        np.testing.assert_array_equal(batch.index, np.arange(COUNT))
        assert batch.joints_2d_valid.mean() > 0.99
        assert batch.joints_3d[..., 2].min() > 0.1
        projected = camera.project(jnp.asarray(batch.joints_3d), jnp.asarray(batch.intrinsics))
        np.testing.assert_allclose(batch.joints_2d, projected, atol=1e-3)
        inside = np.all((batch.joints_2d > -0.5) & (batch.joints_2d < SIZE - 0.5), axis=-1)
        np.testing.assert_array_equal(batch.joints_2d_valid, inside)
        start, end = hand.SCALE_BONE
        scale = np.linalg.norm(batch.joints_3d[:, end] - batch.joints_3d[:, start], axis=-1)
        np.testing.assert_allclose(batch.scale, scale, rtol=1e-4)


def test_surface_is_just_in_front_of_visible_joints(real_like):
    depth = synthesis.depth(0, "real_like", "train", range(COUNT), SIZE)
    column, row = np.rint(real_like.joints_2d).astype(int).clip(0, SIZE - 1).transpose(2, 0, 1)
    gap = real_like.joints_3d[..., 2] - depth[np.arange(COUNT)[:, None], row, column]
    tips = np.isin(np.arange(21), hand.FINGER_JOINTS[:, 3])
    assert np.isfinite(gap[:, ~tips]).all(), "a joint without flesh before it"
    assert gap[:, ~tips].min() > 0.003
    visible = synthesis.visible(depth, real_like.joints_2d, real_like.joints_3d)
    np.testing.assert_array_equal(visible[:, ~tips], (gap < renderer.VISIBLE_DEPTH)[:, ~tips])
    assert 0.3 < visible.mean() < 0.95


def test_single_image_equals_the_image_in_a_batch(real_like):
    alone = synthesis.render(0, "real_like", "train", [17], SIZE)
    for field in dataclasses.fields(alone):
        np.testing.assert_array_equal(getattr(alone, field.name)[0], getattr(real_like, field.name)[17], field.name)


def test_rays_that_miss_the_hand_change_no_grey_level(real_like):
    def every_ray(stage, *arrays, trace=None, **settings):
        run = functools.partial(renderer.staged, stage) if trace is None else functools.partial(trace, renderer.staged)
        return run(*arrays, **settings)

    domain = synthesis.DOMAINS["real_like"]
    keys, people = rng.example_and_person_keys(rng.split_key(0, domain, "train"), domain.subjects, np.arange(16))
    whole = renderer.render_fields(every_ray, keys, people, domain, SIZE)
    np.testing.assert_array_equal(whole["image"], real_like.image[:16])


def test_order_and_other_indices_do_not_change_an_image(real_like):
    shuffled = synthesis.render(0, "real_like", "train", np.array([3, 19, 3, 0]), SIZE)
    np.testing.assert_array_equal(shuffled.image, real_like.image[[3, 19, 3, 0]])
    np.testing.assert_array_equal(shuffled.index, [3, 19, 3, 0])


@pytest.mark.parametrize(("seed", "split"), [(1, "train"), (0, "test"), (0, "validation")])
def test_seed_and_split_change_every_pose(real_like, seed, split):
    other = synthesis.render(seed, "real_like", split, range(16), SIZE)
    assert np.abs(other.joints_3d - real_like.joints_3d[:16]).max(axis=(1, 2)).min() > 1e-3


def test_domains_share_no_pose_and_differ_in_appearance(real_like, mannequin):
    assert np.abs(mannequin.joints_3d - real_like.joints_3d).max(axis=(1, 2)).min() > 1e-3

    def colourfulness(batch):
        image = batch.image.astype(float)
        return (image.max(axis=-1) - image.min(axis=-1)).mean()

    assert colourfulness(mannequin) > 1.3 * colourfulness(real_like)


def test_no_image_is_uniform(real_like, mannequin):
    for batch in (real_like, mannequin):
        contrast = batch.image.std(axis=(1, 2, 3))
        assert contrast.min() > 5


def test_person_has_the_same_hand_and_skin_in_every_image():
    domain = synthesis.DOMAINS["real_like"]
    person = synthesis.person_key(0, domain, "train", 3)

    def shape(key):
        return gestures.draw_shape(RandomStream(key), domain)

    one, again = shape(person), shape(synthesis.person_key(0, domain, "train", 3))
    for field in dataclasses.fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(again, field.name))
    subjects = [int(synthesis.subject(0, domain, "train", index)) for index in range(50)]
    assert all(0 <= subject < domain.subjects for subject in subjects)
    assert len(set(subjects)) > 30


def test_people_of_two_splits_are_different_people():
    domain = synthesis.DOMAINS["synthetic"]
    sizes = {
        split: jax.vmap(
            lambda number, split=split: (
                gestures.draw_shape(RandomStream(synthesis.person_key(0, domain, split, number)), domain).bones
            )
        )(np.arange(domain.subjects))
        for split in ("train", "test")
    }
    people = np.concatenate([np.asarray(bones).reshape(domain.subjects, -1) for bones in sizes.values()])
    assert len(np.unique(people, axis=0)) == 2 * domain.subjects


def test_example_in_a_program_equals_the_rendered_one(mannequin):
    domain, indices = synthesis.DOMAINS["mannequin"], np.array([2, 17])
    draw = jax.jit(jax.vmap(lambda index: synthesis.example(0, domain, "train", index, SIZE)))
    drawn, wanted = jax.device_get(draw(indices)), jax.tree.map(lambda leaf: leaf[indices], mannequin)
    difference = np.abs(drawn.image.astype(int) - wanted.image)
    # A contour's pixel may fall to the other side.
    assert np.mean(difference > 1) < 0.005
    for field in dataclasses.fields(drawn):
        found, rendered = getattr(drawn, field.name), getattr(wanted, field.name)
        assert (found.shape, found.dtype) == (rendered.shape, rendered.dtype), field.name
        if field.name != "image":
            np.testing.assert_allclose(found, rendered, rtol=1e-5, atol=1e-3 if field.name == "joints_2d" else 1e-6)


def test_poses_equal_those_of_the_pictures(mannequin):
    poses = synthesis.poses(0, "mannequin", "train", np.arange(COUNT)[::-1], SIZE)
    np.testing.assert_allclose(poses, mannequin.joints_3d[::-1], atol=1e-6)


def test_mannequins_are_the_union_of_their_capsules():
    """Distances to one capsule agree with a float64 search over its balls."""
    start, end, radii = np.array([0.0, 0, 0]), np.array([0.0, 0.05, 0]), (0.01, 0.008)
    capsules = surface.Capsules(
        jnp.zeros((1, 3)),
        jnp.array([[0.0, 1, 0]]),
        jnp.array([0.05]),
        jnp.array([0.01]),
        jnp.array([-0.04]),
        jnp.zeros((1, 3)),
    )
    points = np.random.default_rng(0).normal(scale=0.04, size=(100, 3))
    share = np.linspace(0, 1, 2001)[:, None, None]
    balls = np.linalg.norm(points - (start + share * (end - start)), axis=-1) - (
        radii[0] + share[..., 0] * (radii[1] - radii[0])
    )
    measured = surface.capsule_distance(tuple(jnp.asarray(points.T, jnp.float32)), capsules, 0)
    assert np.all(measured >= balls.min(axis=0) - 1e-6)
    np.testing.assert_allclose(measured, balls.min(axis=0), atol=2e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (0, "cartoon", "train", [0]),
            "domain: expected one of 'synthetic', 'mannequin', 'real_like', .* got 'cartoon'",
        ),
        ((0, "synthetic", "holdout", [0]), "split: expected one of 'train', 'validation', 'test', got 'holdout'"),
        ((0, "synthetic", "train", [3, -1]), "-1"),
        ((0, "synthetic", "train", []), "expected a list of one or more"),
    ],
)
def test_bad_requests_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        synthesis.render(*arguments)


def test_unknown_views_are_refused():
    with pytest.raises(ValueError, match=r"views: expected .* got 'sphere' in domain 'synthetic'"):
        dataclasses.replace(domains.get("synthetic"), views="sphere")


@pytest.mark.parametrize("facing", ["palm", "back"])
def test_segments_of_a_glove_have_different_colours(facing):
    parts = jnp.arange(surface.NUM_CAPSULES)
    flat = jnp.zeros(len(parts))
    textured = material.Texture(
        kind=jnp.full(len(parts), material.SKIN),
        part=parts,
        blotches=flat,
        grain=flat,
        palmar=flat + (facing == "palm"),
        nail=flat,
        nail_edge=flat,
        crease=flat,
        knuckle=flat,
    )
    domain = synthesis.DOMAINS["gloved_any_view"]
    appearance = shading.draw_appearance(RandomStream(jax.random.key(0, impl="threefry2x32")), jnp.full(3, 0.5), domain)
    towards = (flat, flat, flat + 1)
    away = (flat, flat, flat - 1)
    shade = functools.partial(
        shading.shade,
        towards,
        away,
        ambient_visibility=flat + 1,
        light_visibility=flat + 1,
        appearance=appearance,
        held_object=None,
    )
    colours = np.stack(shade(textured, detail=domain.detail, glove=domain.glove), axis=-1)
    between = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
    assert between[:15, :15][~np.eye(15, dtype=bool)].min() > 0.02
    # The palm is one colour, the forearm another.
    palm = colours[list(surface.METACARPALS)]
    np.testing.assert_array_equal(palm, np.broadcast_to(palm[0], palm.shape))
    assert between[surface.METACARPALS[0], surface.FOREARM[0]] > 0.1
    bare = np.stack(shade(textured, detail=domain.detail, glove=False), axis=-1)
    np.testing.assert_allclose(bare, np.broadcast_to(bare[0], bare.shape), atol=1e-6)
