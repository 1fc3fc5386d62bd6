"""Four fake CPU devices, no silent broadcasting of ranks, and the hands that many tests start from."""

import jax
import jaxtyping
import pytest

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def as_users_have_it():
    """Without the shape checks of signatures, which only the tests have."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
