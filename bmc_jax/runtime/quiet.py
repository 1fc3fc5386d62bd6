"""Whether progress is printed: an environment variable of tqdm, which all bars and the started processes read."""

import contextlib
import os
from collections.abc import Iterator

VARIABLE = "TQDM_DISABLE"


def is_quiet() -> bool:
    """Returns whether progress is not to be printed."""
    return bool(os.environ.get(VARIABLE))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Turns progress off during the block."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
