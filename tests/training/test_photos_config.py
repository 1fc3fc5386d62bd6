"""The configuration of the network for photographs: its arms differ only in their supervision."""

import pytest
from support import paths

from bmc_jax.training import config_io

CONFIG = paths.ROOT / "configs/photos.py"


def load(argument):
    return config_io.flat(config_io.load(f"{CONFIG}:{argument}@runs/trunk,runs/lifter"))


@pytest.mark.parametrize(
    ("one", "other", "fields"),
    [
        ("2d", "bmc", {"name", "weights.bone_length", "weights.palm", "weights.joint_angle"}),
        ("bmc", "pseudo", {"name", "data.train[1].labels"}),
    ],
)
def test_arms_differ_in_their_supervision_alone(one, other, fields):
    one, other = load(one), load(other)
    assert {name for name in one if one[name] != other[name]} == fields


def test_no_stage_trains_on_held_out_photographs():
    for argument in ("trunk", "2d", "bmc", "pseudo"):
        found = load(argument)
        assert [value for name, value in found.items() if name.endswith(".split")] == ["train", "train"]
        assert not found["data.train[0].green_screen"]
        assert found["data.train[1].green_screen"]
        assert found["data.augmentation.rotation"] == 180


@pytest.mark.parametrize("argument", ["bmc", "bmc@", "other@runs/trunk"])
def test_an_arm_without_its_trunk_is_refused(argument):
    with pytest.raises(ValueError, match=r"ARM@TRUNK,LIFTER with folders of runs and an arm of 2d, bmc, pseudo, got"):
        config_io.load(f"{CONFIG}:{argument}")
