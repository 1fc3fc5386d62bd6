"""Settings of all tests: four fake CPU devices, no broadcasting of ranks, quick and shared compilation."""

import gc
import os
import shutil
import tempfile
from pathlib import Path

from support import compiling

# Most programs run once here, so that their optimization would take longer than everything else. The processes that
# tests start inherit this; CI compiles the tests of numbers on the newest Python with optimizations.
if os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") != "0":
    for name, value in compiling.QUICK.items():
        os.environ.setdefault(name, value)

# The processes of one test run, workers and those that tests start, share a cache of compiled programs: that of the
# first. None of them uses the user's.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", f"{tempfile.gettempdir()}/bmc_jax_tests_{os.getpid()}")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

import jax
import jaxtyping
import pytest

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")

compiled = Path(tempfile.gettempdir()) / f"bmc_jax_tests_{os.getpid()}"


def pytest_collection_finish():
    # What the modules of tests have imported stays: the garbage collector need not search it.
    gc.freeze()


def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):
        shutil.rmtree(compiled, ignore_errors=True)


@pytest.fixture
def without_shape_checks():
    """Turns off the shape checks of signatures, which only the tests have."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
