"""Settings of all tests: four fake CPU devices, no broadcasting of ranks, quick and shared compilation."""

import os
import shutil
import tempfile
from pathlib import Path

# Most programs run once here, so that their optimization would take longer than everything else. The processes that
# tests start inherit this; CI compiles the tests of numbers on the newest Python with optimizations.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax
import jaxtyping
import pytest

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")

# The processes of one test run share a cache of compiled programs.
compiled = Path(tempfile.gettempdir()) / f"bmc_jax_tests_{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}"
jax.config.update("jax_compilation_cache_dir", str(compiled))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):
        shutil.rmtree(compiled, ignore_errors=True)


@pytest.fixture
def as_users_have_it():
    """Turns off the shape checks of signatures, which only the tests have."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
