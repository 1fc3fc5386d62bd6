"""Computation on some pixels of pictures: equal to that on all of them, for any number of wanted pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bmc_jax.synthesis import stages

PICTURES, PIXELS = 6, 50
PATTERNS = {
    "some": np.random.default_rng(0).random((PICTURES, PIXELS)) < 0.3,
    "none": np.zeros((PICTURES, PIXELS), bool),
    "all": np.ones((PICTURES, PIXELS), bool),
    "full tiles": np.broadcast_to(np.arange(PIXELS) < 16, (PICTURES, PIXELS)),
    "uneven": np.arange(PIXELS) < np.array([[0], [50], [0], [1], [49], [8]]),
}


def wave(x, steps, phase):
    return jnp.sin(x * steps + phase), steps


def grow(wave, steps):
    return wave * steps


def work(run, pixels, picture):
    value, steps = run(wave, *pixels, picture)
    return {"grown": run(grow, value, steps), "steps": steps}


@pytest.fixture(params=["cpu", "gpu"])
def small_tiles(request, monkeypatch):
    """Sets tiles of 8 pixels, one at a time as on a CPU, or in groups as on an accelerator."""
    monkeypatch.setattr(jax, "default_backend", lambda: request.param)
    monkeypatch.setattr(stages, "CPU_TILE", 8)
    monkeypatch.setattr(stages, "ACCELERATOR_TILE", 8)
    monkeypatch.setattr(stages, "ACCELERATOR_GROUP", 5)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_wanted_pixels_have_their_values_and_others_are_0(small_tiles, pattern):
    generator = np.random.default_rng(1)
    x = generator.normal(size=(PICTURES, PIXELS)).astype(np.float32)
    steps = generator.integers(1, 9, (PICTURES, PIXELS)).astype(np.int32)
    phase = np.arange(PICTURES, dtype=np.float32)
    wanted = PATTERNS[pattern]

    def one(wanted, x, steps, phase):
        return stages.on_pixels(work, wanted, (x, steps), phase)

    batch = jax.jit(jax.vmap(one))(wanted, x, steps, phase)
    expected = np.where(wanted, np.sin(x.astype(float) * steps + phase[:, None]) * steps, 0)
    np.testing.assert_allclose(batch["grown"], expected, atol=1e-4)
    np.testing.assert_array_equal(batch["steps"], np.where(wanted, steps, 0))
    alone = jax.jit(one)(wanted[1], x[1], steps[1], phase[1])
    np.testing.assert_allclose(alone["grown"], batch["grown"][1], atol=1e-6)
