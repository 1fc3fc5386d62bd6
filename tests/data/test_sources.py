"""Sources: rendered domains and built datasets under one roof, and what is said of those that cannot be used."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import annotations, examples

from bmc_jax import config
from bmc_jax.data import crop, sources, store
from bmc_jax.data.build import builder
from bmc_jax.synthesis import camera_model, domains
from bmc_jax.synthesis.rng import RandomStream
from bmc_jax.training import run_folder


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


def test_counts_that_were_left_open_are_filled_in(data):
    options = mixture(data, posed(share=0.5), config.Source("flat", labels="2d", count=4, share=0.25))
    options.data.train += (config.Source("mannequin", count=3, share=0.25),)
    found = sources.resolve(options)
    assert [source.count for source in found.data.train] == [10, 4, 3]
    assert [source.count for source in options.data.train] == [0, 4, 3]
    assert config.steps(found, 8.0) == 17


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (posed(count=11), r"data.train\[0\].count is 11; posed has 10 examples in train, and 0 takes all"),
        (posed(split="test"), r"data.train\[0\].name: the dataset posed has no split 'test'; it has train"),
        (config.Source("flat"), r"data.train\[0\].labels is '3d'; flat has 2D labels only, so it must be '2d'"),
        (config.Source("mannequin"), r"data.train\[0\].count is 0; say how many images of mannequin to render"),
        (config.Source("mannequin", fresh=True), r"data.train\[0\].count is 0; say how many images of mannequin"),
        (posed(fresh=True), r"data.train\[0\].fresh is True; posed is a built dataset; only a rendered domain can be"),
        (
            config.Source("mannequin", count=2**25, fresh=True),
            r"training.epochs is 70; 2.3e\+09 images would be rendered .* fewer epochs, or a smaller count",
        ),
        (config.Source("mannequin", split="dev", count=3), "mannequin has no split 'dev'; it has train, validation"),
        (config.Source("mannequin", count=3, green_screen=True), "mannequin is rendered, without a green screen"),
        (
            config.Source("psoed"),
            r"data.train\[0\].name is 'psoed': not a rendered domain \(synthetic, .*bmc data build",
        ),
    ],
)
def test_a_source_that_cannot_be_used_is_named_before_any_work(data, source, message):
    with pytest.raises(ValueError, match=message):
        sources.resolve(mixture(data, source))


def test_limits_without_a_whole_pose_to_fit_to_are_refused(data):
    options = mixture(data, config.Source("flat", labels="2d", share=1.0))
    with pytest.raises(ValueError, match=r"limits.source is 'fit'; no training source has complete 3D labels"):
        sources.resolve(options)
    options.limits.source = "clinical"
    (source,) = sources.training(sources.resolve(options))
    assert source.poses().shape == (0, 21, 3)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("posed", r"data.test\[0\]: the dataset posed has no split 'test'; it has train"),
        ("moon", r"data.test\[0\] is 'moon': not a rendered domain"),
        ("mannequin:dev", "mannequin has no split 'dev'"),
    ],
)
def test_a_test_set_that_is_not_there_is_named(data, entry, message):
    with pytest.raises(ValueError, match=message):
        sources.resolve(mixture(data, posed(), test=(entry,)))
    sources.resolve(mixture(data, posed(), test=("posed:train", "mannequin")))


def test_a_built_dataset_loads_as_the_crops_of_its_records(data):
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


def test_decoded_into_ram_it_is_the_same(data):
    (source,) = sources.training(sources.resolve(mixture(data, posed())))
    rows = np.arange(10)
    jax.tree.map(np.testing.assert_array_equal, sources.read(source).load(rows), source.load(rows))


def test_a_test_set_has_all_its_labels_and_as_many_images_as_asked_for(data):
    options = mixture(data, posed())
    assert len(sources.test(options, "posed", "train", None, stored=32).present) == 10
    found = sources.test(options, "posed", "train", 4, stored=32)
    assert found.joints_3d_valid.all()
    assert found.image.shape == (4, 32, 32, 3)
    assert len(sources.test(options, "flat", "train", 40, stored=32).present) == 6


def test_poses_come_from_3d_labelled_sources_without_decoding_an_image(data, monkeypatch):
    monkeypatch.setattr(crop, "crop", None)
    options = mixture(data, posed(share=0.5, count=8), posed(share=0.25, labels="2d"))
    options.data.train += (config.Source("flat", labels="2d", share=0.25),)
    poses = sources.labelled_joints(sources.training(sources.resolve(options)))
    truth = json.loads((data / "posed_source/annotations.json").read_text())["annotations"]
    records = store.records(store.find("posed", data), "train")
    wanted = [truth[int(records[row]["id"])]["joints_3d"] for row in range(8)]
    np.testing.assert_allclose(poses, wanted, atol=1e-6)


def test_2d_labels_only_means_that_no_3d_value_is_left():
    shown = examples.examples(4)
    hidden = sources.without_3d(shown)
    assert not hidden.joints_3d_valid.any()
    assert not hidden.joints_3d.any()
    assert np.all(hidden.scale == 1)
    np.testing.assert_array_equal(hidden.joints_2d, shown.joints_2d)


def test_poses_that_are_not_labelled_whole_are_left_out():
    rows = examples.examples(16)
    rows.joints_3d_valid[3, 5] = False
    np.testing.assert_array_equal(
        sources.labelled_joints([sources.InMemory("some", rows)]), np.delete(rows.joints_3d, 3, axis=0)
    )


def test_a_damaged_image_is_named_with_the_remedy(data, monkeypatch):
    (source,) = sources.training(sources.resolve(mixture(data, posed())))
    number, get = source.records[6]["id"], store.Records.__getitem__

    def damaged(records, row):
        record = get(records, row)
        return record | {"image": record["image"][:200]} if row == 6 else record

    monkeypatch.setattr(store.Records, "__getitem__", damaged)
    source.load(np.arange(6))
    message = rf"posed/1\.0\.0: the image of train row 6 \({number}\) is damaged .*build it anew"
    with pytest.raises(ValueError, match=message):
        source.load(np.arange(8))
    assert source.describe(6) == f"posed 6 ({number})"


def test_a_run_is_refused_on_a_dataset_that_has_changed(data, tmp_path):
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
    with pytest.raises(ValueError, match=r"the dataset posed has changed since .*'hash': 'other'.* now"):
        run_folder.require_own(tmp_path, options)
    file.write_text(before)


@pytest.mark.parametrize("name", ["real_like", "mannequin"])
def test_a_wider_view_has_the_same_hand_at_the_same_place_of_its_middle(name):
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
