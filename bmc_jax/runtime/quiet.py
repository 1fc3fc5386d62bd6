"""The environment variable that disables progress output. tqdm and child processes read it too."""

import contextlib
import os
from collections.abc import Iterator

VARIABLE = "TQDM_DISABLE"


def is_quiet() -> bool:
    """Returns whether progress output is disabled."""
    return bool(os.environ.get(VARIABLE))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Disables progress output during the block."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
