"""The error for a step that is not finite, which names exactly the examples that cause it."""

import numpy as np
import pytest
from support import examples

from bmc_jax import limits, step
from bmc_jax.data.example_sets import InMemory
from bmc_jax.training import checkpoint, safeguards

LIMITS = limits.load("clinical")
OPTIONS = examples.tiny_config()
BROKEN = {"loss": np.float32(np.nan), "joints_2d": np.float32(np.nan), "gradient_norm": np.float32(np.inf), "rate": 1.0}


@pytest.fixture(scope="module", autouse=True)
def start():
    """The initial state, created once for all tests here."""
    state = step.create(OPTIONS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "create", lambda _: state)
        yield state


def opened():
    """Returns two sources of 16 examples: three make the step not finite, and one has a masked NaN."""
    first, second = examples.examples(16, source=0), examples.examples(16, source=1)
    first.joints_2d[7, 3, 0] = np.nan
    first.joints_3d[9, 4, 2] = np.inf
    first.joints_2d[8, 3] = np.nan
    first.joints_2d_valid[8, 3] = False
    second.intrinsics[5, 0, 0] = np.nan
    return [InMemory("lit", first), InMemory("dark", second)]


@pytest.mark.slow
def test_examples_whose_labels_or_intrinsics_break_the_step_are_named_with_their_terms(tmp_path):
    rows = np.array([0, 7, 8, 9, 16, 21, 30])
    with pytest.raises(FloatingPointError) as error:
        safeguards.require_finite(OPTIONS, tmp_path, opened(), LIMITS, 12, False, BROKEN, rows[None])
    message = str(error.value)
    assert message.startswith("step 12: loss, joints_2d, gradient_norm not finite. ")
    assert "With the weights of step 0, these of its examples are not finite by themselves: " in message
    blamed = message.split("by themselves: ")[1].split(". Look at")[0].split("; ")
    assert blamed[0] == "lit 7 (joints_2d)"
    assert blamed[1] == "lit 9 (relative_depth)"
    assert blamed[2].startswith("dark 5 (")
    assert len(blamed) == 3


def test_where_no_example_is_at_fault_training_diverged(tmp_path, monkeypatch, start):
    seen = []

    def none(config, state, batch, hand_limits):
        seen.append((int(state.step), batch.index.tolist()))
        return {}

    monkeypatch.setattr(safeguards, "culprits", none)
    checkpoint.save(tmp_path, start.replace(step=np.asarray(10, np.int32)), keep=1)
    with pytest.raises(
        FloatingPointError, match=r"With the weights of step 10, each .* diverged: lower optimizer.rate"
    ):
        safeguards.require_finite(OPTIONS, tmp_path, opened(), LIMITS, 12, False, BROKEN, np.array([[2, 18]]))
    # The step is repeated with the same augmentation, which depends on the number of the step.
    assert seen == [(11, [2, 2])]


def test_finite_step_is_let_go(tmp_path):
    fine = dict.fromkeys(BROKEN, np.float32(1.0))
    safeguards.require_finite(OPTIONS, tmp_path, [], LIMITS, 12, True, fine, np.array([[0]]))
