"""Four fake CPU devices, no silent broadcasting of ranks; programs compiled soon, and once for all test processes."""

import os
import shutil
import tempfile
from pathlib import Path

# Most programs run once here, and what they say does not hang on how well they are compiled, which takes longer than
# everything else. The gate's run on the newest Python compiles numbers as users do. Processes that tests start, too.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax
import jaxtyping
import pytest

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")

# Processes of one test run, which have its number in common, take from each other what they compiled.
compiled = Path(tempfile.gettempdir()) / f"bmc_jax_tests_{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}"
jax.config.update("jax_compilation_cache_dir", str(compiled))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):
        shutil.rmtree(compiled, ignore_errors=True)


@pytest.fixture
def as_users_have_it():
    """Without the shape checks of signatures, which only the tests have."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
