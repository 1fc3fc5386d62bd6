"""Operations of the network, compared with published counts."""

import dataclasses

import pytest

from bmc_jax import config
from bmc_jax.training import flops


@pytest.mark.parametrize(("depth", "giga"), [(18, 1.81), (34, 3.66), (50, 4.09)])
def test_multiplications_of_the_resnets_are_those_that_torchvision_states(depth, giga):
    """The published counts are multiplications of the forward pass for an image of 224x224.

    A training step has three such passes, and an addition for each multiplication.
    """
    options = config.Config(data=config.Data(image_size=224), network=config.Network(depth=depth))
    assert flops.training_flops(options) / 3 / 2 / 1e9 == pytest.approx(giga, abs=0.006)


def test_peak_is_that_of_all_devices_and_unknown_by_default():
    options = config.Config(data=config.Data(image_size=32), network=config.Network(depth=10, width=4, patch=8))
    assert flops.peak_images_per_second(options) is None
    given = dataclasses.replace(options, training=dataclasses.replace(options.training, peak_tflops=2.0))
    assert flops.peak_images_per_second(given) == pytest.approx(4 * 2e12 / flops.training_flops(options))
