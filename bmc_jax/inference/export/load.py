"""The hand pose network in this folder, without bmc-jax: `pip install jax flatbuffers safetensors`. README.md describes
its inputs and outputs.

    predict = load()
    hands = predict(image, K)              # a dict of arrays, one row per hand
    hands = jax.jit(predict)(image, K)     # the same numbers, as part of another program

    python load.py hands.npz answer.npz    # from file to file: `image`, `K` and, if known, `scale`

The first call with a new number of hands takes seconds, for the compilation by JAX.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np
from jax import core, export
from safetensors.numpy import load_file

HERE = Path(__file__).parent


def load(folder=HERE):
    """Returns the folder's predict(image, K, scale), which raises ValueError, naming an argument that does not fit."""
    folder = Path(folder)
    about = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    run = jax.jit(export.deserialize(bytearray((folder / "hand.stablehlo").read_bytes())).call)
    weights = jax.device_put(load_file(folder / "model.safetensors"))

    def predict(image, K, scale=about["scale"]):
        image, K, scale = array(image), array(K, np.float32), array(scale, np.float32)
        count, size = image.shape[0] if image.ndim else 0, about["image_size"]
        if scale.ndim == 0:
            scale = scale * np.ones(count, np.float32)
        require(image.dtype == np.uint8, "image", image, f"uint8 [hands, {size}, {size}, 3]")
        require(count > 0 and image.shape[1:] == (size, size, 3), "image", image, f"uint8 [hands, {size}, {size}, 3]")
        require(K.shape == (count, 3, 3), "K", K, f"numbers [{count}, 3, 3], one for each image")
        require(scale.shape == (count,), "scale", scale, f"numbers [{count}], one for each image")
        if is_known(K):
            regular = np.isfinite(K).all() and np.all(K[:, 2] == (0, 0, 1)) and (np.linalg.det(K) > 0).all()
            require(regular, "K", K, "pinhole matrices in pixels, with the last row 0, 0, 1")
        if is_known(scale):
            require((np.isfinite(scale) & (scale > 0)).all(), "scale", scale, "positive lengths in metres")
        hands = run(weights, image, K, scale)
        return jax.device_get(hands) if all(map(is_known, (image, K, scale))) else hands

    return predict


def is_known(given):
    """Returns whether the values can be checked: while jax.jit traces a call, only shapes and types are known."""
    return not isinstance(given, core.Tracer)


def array(given, dtype=None):
    return np.asarray(given, dtype) if is_known(given) else jax.numpy.asarray(given, dtype)


def require(holds, name, array, wanted):
    if not holds:
        raise ValueError(f"{name}: expected {wanted}, got {array.dtype} {list(array.shape)}")


if __name__ == "__main__":
    with np.load(sys.argv[1]) as given:
        np.savez(sys.argv[2], **load()(**given))
