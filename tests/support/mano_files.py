"""A made hand in the form of MANO's file, as Python 2 and chumpy pickled it: its tree and sizes, no shape of MANO's."""

import contextlib
import pickle
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from bmc_jax.synthesis import skeleton

PARENTS = [4294967295, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14]
TIPS = {"smplx": [744, 320, 443, 554, 671], "manotorch": [745, 317, 444, 556, 673]}
#: MANO's first joint of thumb to little finger.
BASES = [13, 1, 4, 10, 7]


def content(seed: int = 0) -> dict[str, np.ndarray]:
    """Returns a right hand with its fingers along z, the palm down and joints in metres."""
    generator = np.random.default_rng(seed)
    vertices = generator.normal(0, 0.03, (778, 3))
    regressor, weights = np.zeros((16, 778)), generator.dirichlet(np.full(16, 0.2), 778)
    # Each joint is the mean of two vertices of its own.
    own = np.arange(32).reshape(16, 2)
    for joint, pair in enumerate(own):
        regressor[joint, pair] = 0.5
    directions = np.array(
        [[-0.55, -0.25, 0.8], [-0.25, 0.03, 0.97], [0.0, 0.06, 1.0], [0.2, 0.03, 0.97], [0.38, -0.05, 0.9]]
    )
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for finger, (base, direction) in enumerate(zip(BASES, directions, strict=True)):
        lengths = np.cumsum(skeleton.BONES[finger]) / 1000
        for level in range(3):
            middle = direction * lengths[level] + [0, -0.002 * level, 0]
            offset = generator.normal(0, 0.002, 3)
            vertices[own[base + level]] = middle + offset, middle - offset
        for tips in TIPS.values():
            tip = tips[finger]
            vertices[tip] = direction * lengths[3] + [0, -0.008, 0] + generator.normal(0, 0.001, 3)
            weights[tip] = 0.0
            weights[tip, [base + 2, base + 1]] = 0.97, 0.03
    vertices[own[0]] = [[0.001, 0, 0], [-0.001, 0, 0]]
    return {
        "v_template": vertices,
        "shapedirs": generator.normal(0, 0.001, (778, 3, 10)),
        "posedirs": generator.normal(0, 0.0002, (778, 3, 135)),
        "weights": weights,
        "J_regressor": regressor,
        "hands_mean": generator.normal(0, 0.2, 45),
        "hands_components": np.linalg.qr(generator.normal(size=(45, 45)))[0],
        "kintree_table": np.array([PARENTS, range(16)], np.uint32),
        "f": np.zeros((1538, 3), np.uint32),
    }


@contextlib.contextmanager
def _classes(names: list[tuple[str, str]]) -> Iterator[list[Any]]:
    """Importable classes of these names."""
    before, made = dict(sys.modules), []
    for module, name in names:
        sys.modules.setdefault(module.split(".")[0], types.ModuleType(module))
        place = sys.modules.setdefault(module, types.ModuleType(module))
        made.append(type(name, (object,), {"__module__": module}))
        setattr(place, name, made[-1])
    try:
        yield made
    finally:
        for name in sys.modules.keys() - before.keys():
            del sys.modules[name]


def write(file: Path, hand: dict[str, np.ndarray], protocol: int = 2) -> Path:
    """Writes a hand with expressions of chumpy in it, and returns the file."""

    def filled(cls: Any, **state: Any) -> Any:
        one = cls()
        one.__dict__.update(state)
        return one

    names = [("chumpy.ch", "Ch"), ("chumpy.reordering", "Select"), ("scipy.sparse.csc", "csc_matrix")]
    with _classes(names) as (array, selection, sparse):
        matrix = scipy.sparse.csc_matrix(hand["J_regressor"])
        more = np.concatenate([hand["shapedirs"], np.ones((778, 3, 10))], axis=2)
        chosen = np.arange(more.size).reshape(more.shape)[..., :10].reshape(-1)
        whole = filled(array, x=more, _dirty_vars={"x"}, _itr=None)
        parts = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr}
        pickled = hand | {
            "v_template": filled(array, x=hand["v_template"], _dirty_vars=set()),
            "shapedirs": filled(selection, a=whole, idxs=chosen, preferred_shape=(778, 3, 10)),
            "J_regressor": filled(sparse, _shape=(16, 778), format="csc", maxprint=50, **parts),
            "bs_style": "lbs",
        }
        file.write_bytes(pickle.dumps(pickled, protocol))
    return file
