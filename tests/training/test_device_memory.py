"""A full device is told with settings that are valid and need less."""

import dataclasses

import jax
import pytest
from support import examples

from bmc_jax.data import input_pipeline
from bmc_jax.training import safeguards

CONFIG = examples.tiny_config()
FULL = "RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes.\nbuffers: ..."


def test_full_device_is_told_with_what_needs_less():
    config = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, batch_size=24))
    words = r"memory is full \(RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes\.\).*data\.cache=host"
    with pytest.raises(MemoryError, match=words) as error, safeguards.explained_memory_error(config, cached=True):
        raise jax.errors.JaxRuntimeError(FULL)
    assert "optimizer.accumulate=2, which divides each device's 6 images into 2 parts" in str(error.value)
    assert "data.batch_size=12" in str(error.value)
    assert "bfloat16" in str(error.value)


@pytest.mark.parametrize("accumulate", [1, 2, 3, 6])
def test_suggested_parts_are_a_number_that_the_batch_can_be_taken_in(accumulate):
    config = dataclasses.replace(
        CONFIG,
        data=dataclasses.replace(CONFIG.data, batch_size=24),
        optimizer=dataclasses.replace(CONFIG.optimizer, accumulate=accumulate),
    )
    told = safeguards.remedies(config, cached=False)
    if accumulate == 6:  # one image at a time already
        assert "accumulate" not in told
        return
    parts = int(told.partition("optimizer.accumulate=")[2].partition(",")[0])
    assert parts > accumulate
    input_pipeline.rows(dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, accumulate=parts)))


def test_any_other_failure_stays_what_it_is():
    with (
        pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"),
        safeguards.explained_memory_error(CONFIG, cached=False),
    ):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")
