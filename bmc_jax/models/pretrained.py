"""The ResNet's weights in files, under torchvision's names, which timm's plain ResNets share.

A name of ours is one of theirs otherwise punctuated: `layer1_0/downsample_0/kernel` is `layer1.0.downsample.0.weight`.
Kernels are HWIO here and OIHW there. What is none of the ResNet's, the classifier `fc` and BatchNorm's counters
`num_batches_tracked`, is read over and not written.
"""

import functools
import hashlib
import os
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from bmc_jax.models.backbone import ResNet

#: The last part of a name, here (by collection) and there.
LEAVES = {
    ("params", "kernel"): "weight",
    ("params", "scale"): "weight",
    ("params", "bias"): "bias",
    ("batch_stats", "mean"): "running_mean",
    ("batch_stats", "var"): "running_var",
}
#: What wrappers of a network put before all of its names.
PREFIXES = ("module.", "backbone.")
IGNORED = ("fc.weight", "fc.bias")
IGNORED_ENDING = ".num_batches_tracked"
#: Tensors named in a message.
SHOWN = 5


def load(path: str | os.PathLike, *, depth: int, width: int = 64) -> tuple[dict[str, Any], dict[str, Any]]:
    """(params, batch_stats) of `ResNet(depth, width)` with the published stem, nested dicts of float32 numpy.

    Reads `.safetensors` and, where torch is installed, `.pth` or `.pt`: a mapping of names to tensors, or one under
    `state_dict`. A prefix that all names bear, "module." or "backbone.", is taken off.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it cannot be read, or unless it holds every tensor of that ResNet, in its shape, in floating point
        and finite, and no other; naming the file, the tensors, what was found and expected, and the remedy.
    """
    tensors = _read(Path(path))
    prefix = next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in tensors)), "")
    tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    expected = _template(depth, width)
    problems = [
        f"{name}: found {found}, expected {wanted}"
        for name in sorted(tensors | expected)
        if not (name in IGNORED or name.endswith(IGNORED_ENDING))
        for found, wanted in [_compare(tensors.get(name), expected.get(name), name)]
        if found != wanted
    ]
    if problems:
        shown = problems[:SHOWN] + ([f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else [])
        raise ValueError(
            f"{path} does not hold the weights of a ResNet-{depth} of width {width} under torchvision's names. Give "
            "the network.depth that the file is of; variants with another stem or other blocks do not fit:\n  "
            + "\n  ".join(shown)
        )
    trees: dict[str, Any] = {"params": {}, "batch_stats": {}}
    for name, (where, _) in expected.items():
        tensor = tensors[name].astype(np.float32)
        trees[where[0]][where[1:]] = np.ascontiguousarray(tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor)
    params, batch_stats = (flax.traverse_util.unflatten_dict(tree) for tree in trees.values())
    return params, batch_stats


def torch_named(params: Any, batch_stats: Any) -> dict[str, np.ndarray]:
    """The ResNet's tensors under torchvision's names in torchvision's layout: the inverse of what `load` does."""
    leaves = flax.traverse_util.flatten_dict({"params": params, "batch_stats": batch_stats})
    arrays = {_torch_name(where): np.asarray(leaf) for where, leaf in leaves.items()}
    return {
        name: np.ascontiguousarray(array.transpose(3, 2, 0, 1) if array.ndim == 4 else array)
        for name, array in arrays.items()
    }


def save(path: str | os.PathLike, params: Any, batch_stats: Any) -> None:
    """Write the ResNet's tensors as `.safetensors`. torchvision's model without its `fc` loads them strictly."""
    safetensors.numpy.save_file(torch_named(params, batch_stats), path)


def sha256(path: str | os.PathLike) -> str:
    """Of the file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _torch_name(where: tuple[str, ...]) -> str:
    """torchvision's name of the tensor at (collection, module, ..., leaf)."""
    collection, *modules, leaf = where
    return ".".join([*modules, ""]).replace("_", ".") + LEAVES[collection, leaf]


def _template(depth: int, width: int) -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """Every tensor's (place in our trees, shape in torchvision's layout), by torchvision's name."""
    init = functools.partial(ResNet(depth, width).init, train=False)
    trees = jax.eval_shape(init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))
    leaves: dict[tuple[str, ...], Any] = flax.traverse_util.flatten_dict(trees)
    shapes = {where: leaf.shape for where, leaf in leaves.items()}
    return {
        _torch_name(where): (where, (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape)
        for where, shape in shapes.items()
    }


def _compare(tensor: np.ndarray | None, expected: tuple[Any, tuple[int, ...]] | None, name: str) -> tuple[str, str]:
    """What a tensor is and what it should be, in words that are equal if all is well."""
    wanted = "nothing" if expected is None else str(list(expected[1]))
    if tensor is None:
        return "nothing", wanted
    found = str(list(tensor.shape))
    if found == wanted and not jnp.issubdtype(tensor.dtype, jnp.floating):
        return f"{found} of {tensor.dtype}", f"{wanted} of floating point"
    if found == wanted and not np.isfinite(tensor).all():
        return f"{found} with values that are not finite", f"{wanted} of finite values"
    if found == wanted and name.endswith(".running_var") and (tensor < 0).any():
        return f"{found} with variances below zero", f"{wanted} of zero or more"
    return found, wanted


def _read(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a file by the names that it gives them."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of initial weights {str(path)!r}; network.pretrained is its path")
    if path.suffix == ".safetensors":
        try:
            return safetensors.numpy.load_file(path)
        except (safetensors.SafetensorError, KeyError) as error:
            raise ValueError(f"{path} cannot be read as safetensors ({error}); download or convert it again") from error
    if path.suffix in (".pth", ".pt"):
        return _read_with_torch(path)
    raise ValueError(f"{path}: initial weights are read from .safetensors, .pth and .pt, not from {path.suffix!r}")


def _read_with_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(
            f"{path} can only be read where torch is installed. Convert it wherever that is, with safetensors: "
            f"safetensors.torch.save_file(torch.load({path.name!r}, weights_only=True), "
            f"{path.with_suffix('.safetensors').name!r}), or install torch here"
        ) from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever unpickling a wrong file stumbles over
        why = str(error).partition("\n")[0]
        raise ValueError(f"{path} cannot be read as tensors alone ({why}); save the network's state_dict()") from error
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise ValueError(f"{path} is no mapping of names to tensors; save the network's state_dict()")
    # torch does not hand its bfloat16 to numpy.
    plain = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in content.items()}
    return {name: tensor.detach().numpy() for name, tensor in plain.items()}
