"""Supervision of the arms of the paper's tables, with all data."""

import dataclasses
import functools

import numpy as np
import pytest
from support import paths

from bmc_jax import hand
from bmc_jax.config import steps
from bmc_jax.experiments import runner, settings
from bmc_jax.training import config_io

SOURCE, TARGET = (source.name for source in settings.synthetic().data.train)
CONFIGS = paths.ROOT / "configs"
TABLES = ("table2", "table3", "table4", "table5", "table6", "table7", "table8", "figure5")
#: Data of each table.
KNOWN = {
    **dict.fromkeys(("table2", "table4", "table5", "table6"), ("paper", "synthetic", "photos")),
    **dict.fromkeys(("table3", "figure5"), ("paper", "synthetic")),
    **dict.fromkeys(("table7", "table8"), ("paper",)),
}


@functools.cache
def arms(table, data):
    """Returns (arm, configuration) of the available arms."""
    found = runner.read(str(CONFIGS / f"{table}.py"), data=data)
    return [(arm, config_io.load(found.argument(arm.name))) for arm in found.arms]


def labels(config):
    return tuple(source.labels for source in config.data.train)


def counted(config):
    """Returns the configuration with the documented number of rows of built datasets."""
    sizes = {"rhd": 41_258, "freihand": 117_216, "freihand_gs": 29_304, "ho3d_v1": 10_500, "photos": 5_400}
    held_out = {"freihand": 13_024, "freihand_gs": 3_256}
    train = tuple(
        dataclasses.replace(one, count=one.count or (held_out if one.split == "validation" else sizes)[one.name])
        for one in config.data.train
    )
    return dataclasses.replace(config, data=dataclasses.replace(config.data, train=train))


def with_same_data(table, data):
    """Returns groups of arms with the same source and target: Table 7 has arms on FreiHAND and on HO-3D."""
    found = [(arm.name, counted(config)) for arm, config in arms(table, data)]
    groups = [dict(one for one in found if one[0].startswith("ho3d-") == is_ho3d) for is_ho3d in (False, True)]
    return [group for group in groups if group]


@pytest.mark.parametrize(("table", "data"), [(table, data) for table in TABLES for data in KNOWN[table]])
def test_arms_take_as_many_steps_and_as_many_images_of_source_and_target_in_each(table, data):
    source = {"paper": "rhd", "synthetic": SOURCE, "photos": settings.ANY_VIEW}[data]
    groups = with_same_data(table, data)
    assert len(groups) == (2 if table == "table7" else 1)
    for group in groups:
        assert len(group) > 1
        taken = [steps(config) for config in group.values()]
        assert max(taken) - min(taken) <= 1, taken
        decays = [config.optimizer.decay_epochs / config.training.epochs for config in group.values()]
        assert max(decays) == pytest.approx(min(decays), rel=1e-9)
        images = {}
        for name, config in group.items():
            for one in config.data.train:
                images.setdefault(one.name == source, {}).setdefault(name, 0)
                images[one.name == source][name] += one.share * config.data.batch_size
        # Tables 3 and Figure 5 train on the target alone, the arm "source" on the source alone.
        assert images.get(True, {}).keys() == (set() if table in ("table3", "figure5") else group.keys())
        assert images[False].keys() == group.keys() - {"source"}
        for of_one in images.values():
            assert max(of_one.values()) == pytest.approx(min(of_one.values())), of_one


@pytest.mark.parametrize("table", TABLES)
def test_no_table_has_other_data(table):
    for data in {"paper", "synthetic", "photos", "nothing"} - set(KNOWN[table]):
        with pytest.raises(
            ValueError, match=f"expected data of .* got '{data}'|expected arms for --data photos, got none"
        ):
            arms(table, data)


def test_the_papers_data_has_the_papers_network_and_schedule():
    for table in TABLES:
        for _, config in arms(table, "paper"):
            assert (config.network.depth, config.network.width, config.network.patch) == (50, 64, 0)
            assert config.data.image_size == 128
            assert (config.optimizer.name, config.optimizer.rate, config.optimizer.decay) == ("sgd", 5e-3, 0.1)
            assert config.training.epochs / config.optimizer.decay_epochs == pytest.approx(70 / 30)


def test_limits_are_fitted_to_an_arms_own_3d_labels_except_computed_ones():
    for table in TABLES:
        for data in KNOWN[table]:
            for arm, config in arms(table, data):
                target = {"paper": "freihand", "synthetic": TARGET}.get(data)
                assert config.limits.source == (f"fit:{target}" if arm.name == "computed" else "fit")


def test_nothing_is_trained_on_what_it_is_tested_on():
    for table in TABLES:
        for data in KNOWN[table]:
            for _, config in arms(table, data):
                trained = {(one.name, one.split) for one in config.data.train}
                tested = {tuple(entry.split(":")) if ":" in entry else (entry, "test") for entry in config.data.test}
                assert not trained & tested


def test_photographs_lack_the_arms_that_need_3d_labels(capsys):
    arms.cache_clear()
    assert [arm.name for arm, _ in arms("table2", "photos")] == ["source", "2d", "bl+rb+a"]
    assert "left out: table2 has no arm 'full' on photos, which have no 3D labels" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no arm 'full' on photos"):
        config_io.load(f"{CONFIGS / 'table2.py'}:full@photos")
    with pytest.raises(ValueError, match=r"table3\.py: expected arms for --data photos, got none"):
        arms("table3", "photos")


def test_a_labelled_fraction_is_that_share_of_the_images_and_half_of_the_batch():
    found = {arm.name: (arm, config) for arm, config in arms("figure5", "synthetic")}
    arm, config = found["10+bmc"]
    labelled, others = config.data.train
    assert (arm.fraction, labels(config)) == (0.1, ("3d", "2d"))
    assert labelled.count == round(0.1 * others.count)
    assert labelled.share == others.share == 0.5
    assert config.weights.palm > 0 == found["10"][1].weights.palm
    assert labels(found["alone"][1]) == ("3d",)
    fractions = [arm.fraction for arm, _ in found.values() if not arm.name.endswith("bmc")]
    assert fractions == sorted(fractions)


def test_a_file_of_joints_is_the_only_data_of_figure_5_and_its_rows_are_counted(tmp_path):
    joints = np.stack([hand.EXAMPLE] * 50)
    np.save(tmp_path / "hands.npy", joints)
    found = config_io.load(f"{CONFIGS / 'figure5.py'}:10+bmc@{tmp_path / 'hands.npy'}")
    assert [(one.labels, one.count) for one in found.data.train] == [("3d", 4), ("2d", 40)]
    assert {one.name for one in found.data.train} == {str(tmp_path / "hands.npy")}


def test_arms_on_pixels_see_the_same_images_and_those_with_a_lifter_learn_2d_joints_only():
    configs = {arm.name: config for arm, config in arms("pixels", "")}
    assert len({steps(config) for config in configs.values()}) == 1
    assert labels(configs["lifter"]) == labels(configs["2d"]) == ("3d", "2d")
    assert {name: config.network.pretrained for name, config in configs.items() if config.optimizer.frozen} == {
        "lifter": "runs/lifters/lifter",
        "lifter+bmc": "runs/lifters/lifter+bmc",
    }
    assert configs["bl+rb+a"].weights.joint_angle > 0 == configs["lifter+bmc"].weights.joint_angle


def test_table_3_sees_the_target_alone_and_table_7_all_of_it():
    without, config = (config for _, config in arms("table3", "paper"))
    assert [one.name for one in config.data.train] == ["freihand"]
    assert not without.network.refine
    assert config.network.refine
    freihand = dict(arms("table7", "paper")[1:2])
    (config,) = freihand.values()
    assert [(one.name, one.split) for one in config.data.train[1:]] == [
        ("freihand", "train"),
        ("freihand", "validation"),
    ]
    found = {arm.name: config for arm, config in arms("table7", "paper")}
    assert found["source"].data.test == ("freihand", "ho3d_v1")
    assert found["ho3d-full"].data.train[1].name == "ho3d_v1"
    assert labels(found["ho3d-2d"]) == ("3d", "2d")


def test_tables_on_the_same_data_have_arms_in_common():
    shared = [{arm.name: config for arm, config in arms(table, "synthetic")} for table in ("table2", "table4")]
    assert shared[0].keys() & shared[1].keys() == {"2d", "bl+rb+a", "full"}
    for name in shared[0].keys() & shared[1].keys():
        assert shared[0][name] == shared[1][name]
