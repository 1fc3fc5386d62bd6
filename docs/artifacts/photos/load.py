"""The hand pose network in this folder, with JAX alone: `pip install jax flatbuffers`. README.md says what goes in and
what comes out.

    predict = load()
    hands = predict(image, K)              # a dict of arrays, one row a hand

    python load.py hands.npz answer.npz    # from file to file: `image`, `K` and, where it is known, `scale`

A number of hands that is new takes seconds, in which JAX compiles for it.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np
from jax import export

HERE = Path(__file__).parent


def load(folder=HERE):
    """predict(image, K, scale) of the folder; raises ValueError, naming the argument, for one that does not fit."""
    about = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    run = jax.jit(export.deserialize(bytearray((folder / "hand.stablehlo").read_bytes())).call)
    with np.load(folder / "weights.npz") as file:
        weights = jax.device_put(dict(file))

    def predict(image, K, scale=about["scale"]):
        image, K, scale = np.asarray(image), np.asarray(K, np.float32), np.asarray(scale, np.float32)
        count, size = image.shape[0] if image.ndim else 0, about["image_size"]
        scale = np.full(count, scale) if scale.ndim == 0 else scale
        require(image.dtype == np.uint8, "image", image, f"uint8 [hands, {size}, {size}, 3]")
        require(count > 0 and image.shape[1:] == (size, size, 3), "image", image, f"uint8 [hands, {size}, {size}, 3]")
        require(K.shape == (count, 3, 3), "K", K, f"numbers [{count}, 3, 3], one for each image")
        regular = np.isfinite(K).all() and (K[:, 2] == (0, 0, 1)).all() and (np.linalg.det(K) > 0).all()
        require(regular, "K", K, "pinhole matrices in pixels, with the last row 0, 0, 1")
        require(scale.shape == (count,), "scale", scale, f"numbers [{count}], one for each image")
        require((np.isfinite(scale) & (scale > 0)).all(), "scale", scale, "positive lengths in metres")
        return jax.device_get(run(weights, image, K, scale))

    return predict


def require(holds, name, array, wanted):
    if not holds:
        raise ValueError(f"{name} is {array.dtype} {list(array.shape)}; it must be {wanted}")


if __name__ == "__main__":
    with np.load(sys.argv[1]) as given:
        np.savez(sys.argv[2], **load()(**given))
