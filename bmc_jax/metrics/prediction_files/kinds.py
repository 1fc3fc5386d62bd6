"""What each kind of prediction file has, and what files are of once they are read."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bmc_jax.core import hand
from bmc_jax.data.readers.ho3d_v1 import BIGHAND
from bmc_jax.metrics.prediction_files.check import Expected

FIELDS = Expected("freihand", "metres", 1)
KINDS = {
    "freihand": FIELDS,
    "ho3d": Expected("ho3d", "metres", -1),
    "hands19": Expected("bighand", "millimetres", -1),
    "dexter_object": FIELDS,
    "rhd": FIELDS,
}
#: How many poses a challenge's server takes.
OFFICIAL = {"freihand": (3_960,), "ho3d": (11_524, 20_137)}
#: Joint of an order for each of ours.
FROM = {"freihand": hand.TO_FREIHAND["freihand"], "ho3d": hand.TO_FREIHAND["ho3d"], "bighand": BIGHAND}
#: The only name that servers look for in a zip file.
INSIDE = "pred.json"


@dataclass(frozen=True)
class Predictions:
    """What a file holds, in our order, frame and unit. Left hands are left ones, as the camera sees them."""

    joints: np.ndarray
    """`[N, 21, 3]`"""
    vertices: np.ndarray | None = None
    """`[N, V, 3]`; None where there are none, or zeros in their place."""
    names: tuple[str, ...] | None = None
    """Of the images, where the file says them."""
    left: np.ndarray | None = None
    """Which are left hands, `[N]`, where the file says it."""


def in_order(names: Sequence[str] | None, listed: Sequence[str], where: str) -> np.ndarray:
    """Rows of `names` in the order of a list. Raises ValueError for names that are missing or there twice."""
    if names is None:
        raise ValueError(f"{where}: the names of the images are needed to put them in the order of the list")
    rows = {name: row for row, name in enumerate(names)}
    if len(rows) != len(names):
        twice = next(name for row, name in enumerate(names) if rows[name] != row)
        raise ValueError(f"{where}: {twice!r} is there twice")
    missing = [name for name in listed if name not in rows]
    if missing:
        raise ValueError(
            f"{where}: {len(missing):,} of {len(listed):,} images are missing, {', '.join(missing[:5])} "
            f"{'first' if len(missing) > 5 else ''}".rstrip()
        )
    return np.array([rows[name] for name in listed])
