"""Sources by name: domains, built datasets, files of joints; their examples, counts and errors."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import annotations, examples, hands

from bmc_jax import config, synthesis
from bmc_jax.core import validation
from bmc_jax.data import crop, example_sets, sources, store
from bmc_jax.data.build import builder
from bmc_jax.synthesis import camera_model, domains
from bmc_jax.synthesis.rng import RandomStream
from bmc_jax.training import run_folder

COUNT = 3
ARGUMENTS = {"seed": 0, "domain": domains.get("mannequin"), "split": "train", "count": COUNT, "size": 32}


class Renderer:
    """Made-up images, and how often they were rendered."""

    def __init__(self):
        self.times = 0

    def __call__(self):
        self.times += 1
        return jax.tree.map(np.asarray, examples.examples(COUNT))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with two built datasets: `posed` has 3D labels, `flat` has not."""
    root = tmp_path_factory.mktemp("data")
    for name, count, labelled in (("posed", 10, True), ("flat", 6, False)):
        folder = annotations.coco(root / f"{name}_source", count, joints_3d=labelled, seed=count)
        builder.build("coco_hand", folder, root, name=name, workers=1)
    return root


def mixture(root, *train, test=(), **changes):
    return config.Config(
        data=config.Data(
            train=train, test=test, directory=str(root), image_size=32, batch_size=8, **({"augment": False} | changes)
        )
    )


def posed(**changes):
    return config.Source("posed", **({"share": 1.0} | changes))


def test_source_is_found_by_its_name(data):
    kinds = {"mannequin": sources.RenderedDomain, "some/hands.npy": sources.JointsFile, "posed": sources.BuiltDataset}
    for name, kind in kinds.items():
        assert type(sources.kind(name)) is kind
        assert sources.is_available(name, data)
    assert not sources.is_available("psoed", data)
    assert sources.kind("posed").folder(data) == data / "posed/1.0.0"
    assert sources.kind("mannequin").folder(data) is sources.kind("some/hands.npy").folder(data) is None


def test_missing_counts_are_filled_in(data):
    options = mixture(data, posed(share=0.5), config.Source("flat", labels="2d", count=4, share=0.25))
    options.data.train += (config.Source("mannequin", count=3, share=0.25),)
    found = sources.resolve(options)
    assert [source.count for source in found.data.train] == [10, 4, 3]
    assert [source.count for source in options.data.train] == [0, 4, 3]
    assert config.steps(found, 8.0) == 17


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (posed(count=11), r"data.train\[0\].count: expected up to 10, .* of posed in train, got 11; set it to 0"),
        (posed(split="test"), r"data.train\[0\].name: expected one of the splits train of .* posed, got 'test'"),
        (config.Source("flat"), r"data.train\[0\].labels: expected '2d' for flat, .* got '3d'"),
        (config.Source("mannequin"), r"data.train\[0\].count: expected the number of images of mannequin .* got 0"),
        (config.Source("mannequin", fresh=True), r"data.train\[0\].count: expected the number of images of mannequin"),
        (posed(fresh=True), r"data.train\[0\].fresh: expected False for posed, which is not a rendered domain"),
        (
            config.Source("mannequin", count=2**25, fresh=True),
            r"training.epochs: expected .* got 70 with 2.3e\+09 images; set fewer epochs, or a smaller count",
        ),
        (config.Source("mannequin", split="dev", count=3), "splits train, validation, test of mannequin, got 'dev'"),
        (config.Source("mannequin", count=3, green_screen=True), r"green_screen: expected False for mannequin"),
        (
            config.Source("psoed"),
            r"data.train\[0\].name: expected a rendered domain \(synthetic, .*got 'psoed': .*bmc data build",
        ),
    ],
)
def test_unusable_source_is_named_before_any_work(data, source, message):
    with pytest.raises(ValueError, match=message):
        sources.resolve(mixture(data, source))


def test_fit_of_limits_without_a_complete_pose_is_refused(data):
    options = mixture(data, config.Source("flat", labels="2d", share=1.0))
    with pytest.raises(
        ValueError, match=r"limits.source: expected a training source with complete 3D labels for 'fit'"
    ):
        sources.resolve(options)
    options.limits.source = "clinical"
    (source,) = sources.training(sources.resolve(options))
    assert source.poses().shape == (0, 21, 3)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("posed", r"data.test\[0\]: expected one of the splits train of the dataset posed, got 'test'"),
        ("moon", r"data.test\[0\]: expected a rendered domain .*got 'moon'"),
        ("mannequin:dev", "of mannequin, got 'dev'"),
    ],
)
def test_missing_test_set_is_named(data, entry, message):
    with pytest.raises(ValueError, match=message):
        sources.resolve(mixture(data, posed(), test=(entry,)))
    sources.resolve(mixture(data, posed(), test=("posed:train", "mannequin")))


def test_built_dataset_loads_the_crops_of_its_records(data):
    options = sources.resolve(mixture(data, posed(share=0.5), posed(share=0.5, labels="2d", count=7), context=2.0))
    options.data.augment = True
    whole, hidden = sources.training(options)
    assert (len(whole), len(hidden)) == (10, 7)
    rows = np.array([7, 0, 3])
    batch = whole.load(rows)
    records = store.records(store.find("posed", data), "train")
    for i, row in enumerate(rows):
        one = crop.crop(records[row], size=32, margin=1.5, stored=64)
        for name, value in one.items():
            np.testing.assert_array_equal(getattr(batch, name)[i], value)
    assert batch.index.tolist() == rows.tolist()
    assert batch.source.tolist() == [0, 0, 0]
    assert batch.joints_3d_valid.all()

    flat = hidden.load(rows[:1])
    assert flat.source.tolist() == [1]
    assert not flat.joints_3d.any()
    assert not flat.joints_3d_valid.any()
    np.testing.assert_array_equal(flat.joints_2d, batch.joints_2d[:1])


def test_decoding_into_ram_does_not_change_examples(data):
    (source,) = sources.training(sources.resolve(mixture(data, posed())))
    rows = np.arange(10)
    jax.tree.map(np.testing.assert_array_equal, source.decode().load(rows), source.load(rows))


def test_test_set_has_all_labels_and_the_configured_number_of_images(data):
    options = mixture(data, posed())

    def test_examples(name, count):
        return sources.kind(name).test_examples(options, "train", count, stored=32)

    assert len(test_examples("posed", None).present) == 10
    found = test_examples("posed", 4)
    assert found.joints_3d_valid.all()
    assert found.image.shape == (4, 32, 32, 3)
    assert len(test_examples("flat", 40).present) == 6


def test_poses_come_from_3d_labelled_sources_without_decoding_an_image(data, monkeypatch):
    monkeypatch.setattr(crop, "crop", None)
    options = mixture(data, posed(share=0.5, count=8), posed(share=0.25, labels="2d"))
    options.data.train += (config.Source("flat", labels="2d", share=0.25),)
    poses = sources.labelled_joints(sources.training(sources.resolve(options)))
    labels = json.loads((data / "posed_source/annotations.json").read_text())["annotations"]
    records = store.records(store.find("posed", data), "train")
    wanted = [labels[int(records[row]["id"])]["joints_3d"] for row in range(8)]
    np.testing.assert_allclose(poses, wanted, atol=1e-6)


def test_2d_labels_remove_every_3d_value():
    shown = examples.examples(4)
    hidden = example_sets.without_3d(shown)
    assert not hidden.joints_3d_valid.any()
    assert not hidden.joints_3d.any()
    assert np.all(hidden.scale == 1)
    np.testing.assert_array_equal(hidden.joints_2d, shown.joints_2d)


def test_incompletely_labelled_poses_are_left_out():
    rows = examples.examples(16)
    rows.joints_3d_valid[3, 5] = False
    np.testing.assert_array_equal(
        sources.labelled_joints([example_sets.InMemory("some", rows)]), np.delete(rows.joints_3d, 3, axis=0)
    )


def test_damaged_image_is_named_with_the_remedy(data, monkeypatch):
    (source,) = sources.training(sources.resolve(mixture(data, posed())))
    number, get = source.records[6]["id"], store.Records.__getitem__

    def damaged(records, row):
        record = get(records, row)
        return record | {"image": record["image"][:200]} if row == 6 else record

    monkeypatch.setattr(store.Records, "__getitem__", damaged)
    source.load(np.arange(6))
    message = rf"posed/1\.0\.0: train row 6 \({number}\): expected an image, .*build it again"
    with pytest.raises(ValueError, match=message):
        source.load(np.arange(8))
    assert source.describe(6) == f"posed 6 ({number})"


def test_changed_dataset_is_refused_for_a_run(data, tmp_path):
    options = sources.resolve(mixture(data, posed()))
    options.limits.source = "clinical"
    run_folder.claim(tmp_path, options)
    assert json.loads((tmp_path / run_folder.DATA_FILE).read_text()) == [
        {"name": "posed", "split": "train", "count": 10, "hash": store.summary(data / "posed/1.0.0")["hash"]}
    ]
    options.data.cache, options.data.workers = "none", 3
    run_folder.require_own(tmp_path, options)
    file = data / "posed/1.0.0" / store.SUMMARY
    before = file.read_text()
    file.write_text(json.dumps(json.loads(before) | {"hash": "other"}))
    with pytest.raises(ValueError, match=r"the dataset posed has changed since .* expected .* got .*'hash': 'other'"):
        run_folder.require_own(tmp_path, options)
    file.write_text(before)


@pytest.mark.parametrize("name", ["real_like", "mannequin"])
def test_wider_view_has_the_same_hand_in_its_middle(name):
    hand = jnp.asarray(annotations.open_hand(), jnp.float32)
    for number in range(3):
        seen = []
        for domain, size in ((domains.get(name), 64), (domains.widen(domains.get(name), 1.5), 96)):
            random = RandomStream(jax.random.key(number), 192)
            shift, intrinsics = camera_model.draw_camera(random, hand, domain, size)
            seen.append(
                (np.asarray(shift), annotations.project(np.asarray(hand) + np.asarray(shift), np.asarray(intrinsics)))
            )
        np.testing.assert_allclose(seen[1][0], seen[0][0], atol=1e-5)
        np.testing.assert_allclose(seen[1][1] - 16, seen[0][1], atol=0.01)


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_images_are_rendered_once(tmp_path):
    make = Renderer()
    first, second = (sources.load_or_render(tmp_path, make, **ARGUMENTS) for _ in range(2))
    assert make.times == 1
    same(first, second)


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"split": "test"},
        {"count": 2},
        {"size": 64},
        {"domain": domains.get("real_like")},
        {"domain": dataclasses.replace(domains.get("mannequin"), detail=0.5)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_images_for_other_arguments_are_rendered_again(tmp_path, other):
    make = Renderer()
    sources.load_or_render(tmp_path, make, **ARGUMENTS)
    sources.load_or_render(tmp_path, make, **ARGUMENTS | other)
    assert make.times == 2


def test_images_of_another_renderer_are_not_used(tmp_path, monkeypatch):
    make = Renderer()
    sources.load_or_render(tmp_path, make, **ARGUMENTS)
    package = tmp_path / "synthesis" / "__init__.py"
    package.parent.mkdir()
    package.write_text("brighter = True")
    monkeypatch.setattr(synthesis, "__file__", str(package))
    sources.load_or_render(tmp_path, make, **ARGUMENTS)
    assert make.times == 2


@pytest.mark.parametrize("left", [0, 1_000])
def test_damaged_file_is_written_again(tmp_path, left):
    make = Renderer()
    first = sources.load_or_render(tmp_path, make, **ARGUMENTS)
    (file,) = (tmp_path / sources.RENDERED_FOLDER).iterdir()
    file.write_bytes(file.read_bytes()[:left])
    same(sources.load_or_render(tmp_path, make, **ARGUMENTS), first)
    assert make.times == 2
    same(sources.load_or_render(tmp_path, make, **ARGUMENTS), first)
    assert make.times == 2


def test_unwritable_folder_is_named(tmp_path):
    (tmp_path / sources.RENDERED_FOLDER).write_text("not a folder")
    with pytest.raises(OSError, match=r"data\.keep_rendered False"):
        sources.load_or_render(tmp_path, Renderer(), **ARGUMENTS)


def test_run_with_kept_images_renders_them_once(tmp_path, monkeypatch):
    seen = []
    rendered = jax.tree.map(np.asarray, examples.examples(COUNT))

    def render(seed, domain, split, index, size):
        seen.append(len(index))
        return jax.tree.map(lambda leaf: leaf[: len(index)], rendered)

    monkeypatch.setattr(synthesis, "render", render)
    options = config.Config(data=config.Data(directory=str(tmp_path), keep_rendered=True, augment=False))
    first, second = (sources.rendered(options, "mannequin", "train", COUNT, number) for number in (0, 1))
    assert seen == [COUNT]
    assert list(second.source) == [1] * COUNT
    same(dataclasses.replace(first, source=second.source), second)


def metres(count=40):
    """Right hands in front of a camera, in metres."""
    joints = 0.03 * hands.in_scale_units(hands.sampled()[0]) + np.array([0.1, -0.05, 0.6])
    return validation.screen(joints, left="drop").poses[:count]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "hands.npy"
    np.save(path, metres())
    return str(path)


def points(image_size=64):
    return config.Config(data=config.Data(image_size=image_size, margin=1.5), network=config.Network(input="points"))


def test_hands_of_a_file_fill_their_crops_and_project_onto_their_labels(file):
    batch = sources.JointsFile(file).examples(points(image_size=64), "train", 10, number=1)
    assert len(batch.present) == 10
    assert (batch.source == 1).all()
    pixels = np.einsum("bij,bkj->bki", batch.intrinsics, batch.joints_3d / batch.joints_3d[..., 2:])[..., :2]
    np.testing.assert_allclose(batch.joints_2d, pixels, atol=1e-2)
    low, high = pixels.min(axis=1), pixels.max(axis=1)
    np.testing.assert_allclose((high - low).max(axis=-1), 64 / 1.5, rtol=1e-4)
    np.testing.assert_allclose((low + high) / 2, 31.5, atol=1e-2)
    np.testing.assert_allclose(batch.scale, 0.03, rtol=1e-5)


def test_every_fifth_right_hand_is_in_the_test_split(tmp_path):
    joints = metres(40)
    joints[7] *= np.array([-1, 1, 1], np.float32)
    np.save(tmp_path / "some.npy", joints)
    right = np.delete(joints, 7, axis=0)
    train_rows, test_rows = (
        sources.JointsFile(str(tmp_path / "some.npy")).poses(points(), split) for split in ("train", "test")
    )
    np.testing.assert_array_equal(test_rows, right[4::5])
    assert len(train_rows) + len(test_rows) == 39


def test_real_hands_can_be_lifted():
    hands.real(1)
    batch = sources.JointsFile(str(hands.REAL)).examples(points(image_size=128), "test", 100)
    assert (np.abs(batch.joints_2d - 63.5) < 64).all()
    assert np.isfinite(batch.intrinsics).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda joints: joints * np.float32(1000), "hands.npy.* divide millimetres by 1000"),
        (lambda joints: joints - np.float32(2.0), "hands.npy: expected joints in front of the camera"),
        (lambda joints: joints[:1], "expected right hands in the split 'test', got none"),
        (lambda joints: joints[:, :20], r"hands.npy: expected 21 points per pose, got 20"),
    ],
)
def test_file_of_other_poses_is_refused(tmp_path, change, message):
    np.save(tmp_path / "hands.npy", change(metres()))
    with pytest.raises(ValueError, match=message):
        sources.JointsFile(str(tmp_path / "hands.npy")).poses(points(), "test")


def test_missing_file_and_unknown_split_are_refused(file):
    with pytest.raises(ValueError, match=r"expected a file of joints, got 'none\.npy'"):
        sources.JointsFile("none.npy").poses(points(), "train")
    with pytest.raises(ValueError, match=r"expected one of the splits train, test .* got 'validation'"):
        sources.JointsFile(file).poses(points(), "validation")
