"""The file of a MANO hand, `MANO_RIGHT.pkl` or `MANO_LEFT.pkl`, read without chumpy and without running its code.

The file is available at https://mano.is.tue.mpg.de; its licence forbids redistribution. Its pickle contains numpy
arrays, a sparse matrix of scipy and expressions of chumpy of two kinds: arrays, and selections of an array's numbers.
"""

import os
from typing import Any

import numpy as np
import scipy.sparse

from bmc_jax.data.readers import safe_pickle

_ARRAY, _SELECTION = ("chumpy.ch", "Ch"), ("chumpy.reordering", "Select")
_SPARSE = (("scipy.sparse.csc", "csc_matrix"), ("scipy.sparse._csc", "csc_matrix"))
PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
"""Parents of MANO's joints: the wrist, then index, middle, little, ring and thumb, each from its base."""
JOINTS, NUMBERS = len(PARENTS), 3 * (len(PARENTS) - 1)
#: Axes of each array: a size, or the name of a size that depends on the file.
SHAPES = {
    "v_template": ("vertices", 3),
    "shapedirs": ("vertices", 3, "coefficients"),
    "posedirs": ("vertices", 3, 3 * NUMBERS),
    "weights": ("vertices", JOINTS),
    "J_regressor": (JOINTS, "vertices"),
    "hands_mean": (NUMBERS,),
    "hands_components": ("components", NUMBERS),
}


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Returns the arrays of `SHAPES`, float64.

    Raises:
      FileNotFoundError: if the file does not exist.
      ValueError: naming file, field and shape, if it is not a MANO hand.
    """
    where = os.fspath(path)
    content = safe_pickle.load(path, (_ARRAY, _SELECTION, *_SPARSE))
    if not isinstance(content, dict):
        raise ValueError(f"{where}: expected a MANO hand, a dict, got a {type(content).__name__}; give MANO_RIGHT.pkl")
    missing = [name for name in (*SHAPES, "kintree_table") if name not in content]
    if missing:
        raise ValueError(f"{where}: expected a MANO hand, got a file without {', '.join(missing)}; give MANO_RIGHT.pkl")
    try:
        arrays = {name: np.asarray(_evaluated(content[name]), np.float64) for name in SHAPES}
        # The root's parent is -1, or 2^32 - 1 in an unsigned table.
        parents = np.asarray(content["kintree_table"])[0].astype(np.int64).astype(np.int32).tolist()
    except (TypeError, KeyError, IndexError, ValueError) as error:
        raise ValueError(
            f"{where}: expected the arrays of a MANO hand, got others ({error}); fetch it again"
        ) from error
    sizes = {"vertices": len(arrays["v_template"]) if arrays["v_template"].ndim else 0}
    for name, shape in SHAPES.items():
        wanted, found = [sizes.get(size, size) for size in shape], arrays[name].shape
        fits = len(found) == len(wanted) and all(
            isinstance(b, str) or a == b for a, b in zip(found, wanted, strict=True)
        )
        if not fits or not np.isfinite(arrays[name]).all():
            raise ValueError(f"{where}: {name}: expected finite numbers {wanted}, got {list(found)}; fetch it again")
    if parents != list(PARENTS):
        raise ValueError(
            f"{where}: kintree_table: expected the parents {list(PARENTS)} of MANO's joints, got {parents}; give "
            "MANO_RIGHT.pkl, not a body of SMPL+H or SMPL-X"
        )
    return arrays


def _evaluated(value: Any) -> Any:
    """Evaluates a value of the file to an array."""
    if not isinstance(value, safe_pickle.State):
        return value
    state = value.content
    if value.kind == ".".join(_ARRAY):
        return state["x"]
    if value.kind == ".".join(_SELECTION):
        chosen = np.ravel(_evaluated(state["a"]))[np.asarray(state["idxs"])]
        return chosen.reshape(state["preferred_shape"]) if "preferred_shape" in state else chosen
    shape = tuple(state["_shape"])
    return scipy.sparse.csc_matrix((state["data"], state["indices"], state["indptr"]), shape).toarray()
