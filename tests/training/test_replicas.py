"""The check of replicas, which names the leaf that differs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import examples

from bmc_jax import step
from bmc_jax.data import input_pipeline, sources
from bmc_jax.training import parallel, safeguards, train


@pytest.mark.parametrize("forgotten", [True, False])
def test_a_forgotten_mean_over_devices_stops_training_with_the_leaf(tmp_path, monkeypatch, forgotten):
    def moves(state, batch, limits, *, config, axis_name):
        gradient = jnp.mean(batch.joints_2d)
        loss = jax.lax.pmean(gradient, axis_name)
        params = state.params | {"bias": state.params["bias"] + (gradient if forgotten else loss)}
        return state.replace(step=state.step + 1, params=params), {"loss": loss, "gradient_norm": loss}

    start = step.TrainState(np.zeros((), np.int32), {"kernel": np.ones(3), "bias": np.zeros(2, np.float32)}, {}, {})
    monkeypatch.setattr(step, "train_step", moves)
    monkeypatch.setattr(step, "create", lambda _: start)
    monkeypatch.setattr(sources, "rendered", lambda *given, **_: examples.examples(given[3], source=given[4]))
    options = examples.tiny_config(check_replicas=2, epochs=1.0)
    if not forgotten:
        train.train(options, tmp_path)
        return
    with pytest.raises(ArithmeticError, match=r"step 2: the devices' copies of params\['bias'\] differ.*pmean"):
        train.train(options, tmp_path)


def test_equal_replicas_pass_and_one_bit_on_one_device_does_not():
    state = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.int32(3), "b": jnp.ones(3, jnp.bfloat16)}
    state = step.TrainState(jnp.int32(3), state, {}, {})
    safeguards.require_equal(parallel.replicate(state))

    def flip(state, place):
        bits = jax.lax.bitcast_convert_type(state.params["w"], jnp.uint32)
        flipped = bits.at[1, 2].set(bits[1, 2] ^ jnp.uint32(place[0] == 2))
        return state.replace(params=state.params | {"w": jax.lax.bitcast_convert_type(flipped, jnp.float32)})

    places = input_pipeline.shard(np.arange(4))
    with pytest.raises(ArithmeticError, match=r"step 3: the devices' copies of params\['w'\] differ"):
        safeguards.require_equal(parallel.parallelize(flip, (None, 0), None)(parallel.replicate(state), places))


def test_a_checksum_hangs_on_every_bit_and_its_place():
    values = np.random.default_rng(0).normal(size=64).astype(np.float32)
    changed = [values, values[::-1], np.nextafter(values, np.inf, where=np.arange(64) == 63, out=values.copy())]
    assert len({int(safeguards.checksum(jnp.asarray(value))) for value in changed}) == 3
    assert int(safeguards.checksum(jnp.full(3, jnp.nan))) != int(safeguards.checksum(jnp.full(3, jnp.inf)))
