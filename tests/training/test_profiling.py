"""Traces of the requested steps, and errors for steps outside the run."""

import jax
import numpy as np
import pytest
from support import examples

from bmc_jax.config import steps
from bmc_jax.training import profiling, train


def run(profile, folder, dones):
    """Calls a program with a different name for each number of steps done, like a training loop."""
    with profiling.profiled(examples.tiny_config(profile=profile), folder) as hook:
        for done in dones:

            def step(x):
                return x * 2

            step.__name__ = f"training_step_{done}"
            hook(done, jax.jit(step)(np.ones(3, np.float32)))


def traced(folder):
    (file,) = folder.rglob("*.xplane.pb")
    content = file.read_bytes()  # names of calls that began meanwhile are in it as text
    return [done for done in range(1, 9) if f"PjitFunction(training_step_{done})".encode() in content]


def test_the_steps_after_start_up_to_stop_are_traced(tmp_path):
    run("3:5", tmp_path, range(1, 8))
    assert traced(tmp_path / profiling.FOLDER) == [4, 5]


def test_a_trace_ends_with_a_run_that_ends_earlier(tmp_path):
    with pytest.raises(ZeroDivisionError):
        run("3:8", tmp_path, (done if done < 5 else 1 // 0 for done in range(1, 8)))
    assert traced(tmp_path / profiling.FOLDER) == [4]


def test_steps_before_a_resumed_run_are_not_traced(tmp_path):
    run("1:3", tmp_path, range(4, 8))
    run("", tmp_path, range(1, 8))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("profile", ["5", "5:", "0:3", "3:3", "4:2", "1:100000", "-1:2", "a:b", "1.5:2", "١:٢"])
def test_steps_that_a_run_does_not_have_are_refused_before_training(tmp_path, profile):
    config = examples.tiny_config(profile=profile)
    with pytest.raises(ValueError, match=rf"training\.profile: expected START:STOP .* STOP <= {steps(config)} .* got"):
        train.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
