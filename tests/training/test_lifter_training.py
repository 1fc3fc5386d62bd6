import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import hands

from bmc_jax.models import lifter
from bmc_jax.runtime import distributed
from bmc_jax.training import checkpoint
from bmc_jax.training import lifter as training

SETTINGS = training.Settings(steps=4 * training.PER_CALL, batch_size=32, width=32, blocks=1, rate=1e-2)
HANDS = jnp.asarray(hands.adults(100), jnp.float32)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Folder and weights of a training that nothing interrupted."""
    folder = tmp_path_factory.mktemp("lifter")
    return folder, training.train(SETTINGS, HANDS, folder)


def test_training_goes_on_after_a_signal_to_the_same_weights(whole, tmp_path, monkeypatch):
    calls = 0

    class Interrupting(training.Progress):
        def update(self, n=1):
            nonlocal calls
            calls += 1
            if calls == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().update(n)

    with monkeypatch.context() as patched:
        patched.setattr(training, "Progress", Interrupting)
        with pytest.raises(SystemExit) as stopped:
            training.train(SETTINGS, HANDS, tmp_path)
    assert stopped.value.code == distributed.INTERRUPTED
    assert checkpoint.latest(tmp_path) == 2 * training.PER_CALL
    continued = training.train(SETTINGS, HANDS, tmp_path)
    for name, array in whole[1].items():
        np.testing.assert_array_equal(array, continued[name])


def test_a_finished_training_gives_its_weights(whole):
    folder, weights = whole
    np.testing.assert_array_equal(training.train(SETTINGS, HANDS, folder)["Dense_0/kernel"], weights["Dense_0/kernel"])


def test_training_lowers_the_error_of_depth(whole):
    rays = HANDS / HANDS[..., 2:]
    truth = HANDS[..., 2] / HANDS[..., :1, 2] - 1
    mean = jax.jit(lifter.relative_depth)(jax.tree.map(jnp.asarray, whole[1]), rays).mean
    assert np.mean(np.abs(mean - truth)) < 0.8 * np.mean(np.abs(truth))


@pytest.mark.parametrize(("field", "value"), [("steps", 0), ("steps", training.PER_CALL + 1), ("hands", -3)])
def test_settings_without_a_meaning_are_refused(field, value):
    with pytest.raises(ValueError, match=rf"^{field}: expected .*, got {value}$"):
        training.Settings(**{field: value})


def test_a_folder_of_other_settings_is_refused(whole):
    with pytest.raises(
        ValueError, match=r"expected a training with .*'seed': 1.* got .*'seed': 0.*give another --workdir"
    ):
        training.train(training.Settings(seed=1), HANDS, whole[0])
