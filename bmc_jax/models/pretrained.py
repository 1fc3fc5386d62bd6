"""Files of ResNet weights with torchvision's names, which timm's plain ResNets also have.

Our names differ in punctuation only: `layer1_0/downsample_0/kernel` is `layer1.0.downsample.0.weight`. Our kernels are
HWIO, torchvision's OIHW. The classifier `fc` and BatchNorm's counters `num_batches_tracked` are ignored on reading and
not written.
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

#: Last part of torchvision's name by our collection and last part.
LEAVES = {
    ("params", "kernel"): "weight",
    ("params", "scale"): "weight",
    ("params", "bias"): "bias",
    ("batch_stats", "mean"): "running_mean",
    ("batch_stats", "var"): "running_var",
}
#: Prefixes that wrappers of a network add to all names.
PREFIXES = ("module.", "backbone.")
SUFFIXES = (".safetensors", ".pth", ".pt")
IGNORED = ("fc.weight", "fc.bias")
IGNORED_ENDING = ".num_batches_tracked"
#: Largest number of tensors named in a message.
MAX_NAMED = 5


def is_file(path: str | os.PathLike) -> bool:
    """Returns whether a path is that of a file, not of a folder. A known suffix suffices if the file does not exist."""
    return Path(path).suffix in SUFFIXES or Path(path).is_file()


def sources(paths: str) -> list[str]:
    """Splits `network.pretrained` into its files or folders."""
    return [paths] if is_file(paths) else paths.split(",")


def load(path: str | os.PathLike, *, depth: int, width: int = 64) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads weights of `ResNet(depth, width)` with the published stem.

    Args:
      path: a `.safetensors` file, or with torch installed a `.pth` or `.pt` file, that holds a mapping of names to
        tensors, perhaps under `state_dict`. A prefix "module." or "backbone." of all names is removed.
      depth: layers of the ResNet.
      width: channels of its first stage.

    Returns:
      (params, batch_stats), nested dicts of float32 numpy arrays.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if the file cannot be read, or does not hold exactly the tensors of that ResNet, finite floating-point
        numbers in the right shapes. The message names file, tensors, expected and given shapes, and the remedy.
    """
    tensors = _read(Path(path))
    prefix = next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in tensors)), "")
    tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    expected = _template(depth, width)
    problems = []
    for name in sorted(tensors | expected):
        if name in IGNORED or name.endswith(IGNORED_ENDING):
            continue
        found, wanted = _compare(tensors.get(name), expected.get(name), name)
        if found != wanted:
            problems.append(f"{name}: expected {wanted}, got {found}")
    if problems:
        named, more = problems[:MAX_NAMED], len(problems) - MAX_NAMED
        raise ValueError(
            f"{path}: expected the weights of a ResNet-{depth} of width {width} with torchvision's names, got other "
            "tensors; set network.depth to that of the file (variants with another stem or other blocks cannot be "
            "read):\n  " + "\n  ".join(named + ([f"and {more} more"] if more > 0 else []))
        )
    trees: dict[str, Any] = {"params": {}, "batch_stats": {}}
    for name, ((collection, *keys), _) in expected.items():
        tensor = tensors[name].astype(np.float32)
        trees[collection][tuple(keys)] = np.ascontiguousarray(
            tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor
        )
    params, batch_stats = (flax.traverse_util.unflatten_dict(tree) for tree in trees.values())
    return params, batch_stats


def torch_named(params: Any, batch_stats: Any) -> dict[str, np.ndarray]:
    """Returns the tensors of a ResNet with torchvision's names and layout, the inverse of `load`."""
    leaves = flax.traverse_util.flatten_dict({"params": params, "batch_stats": batch_stats})
    arrays = {_torch_name(keys): np.asarray(leaf) for keys, leaf in leaves.items()}
    return {
        name: np.ascontiguousarray(array.transpose(3, 2, 0, 1) if array.ndim == 4 else array)
        for name, array in arrays.items()
    }


def save(path: str | os.PathLike, params: Any, batch_stats: Any) -> None:
    """Writes the tensors of a ResNet as `.safetensors`; torchvision's model without `fc` loads them strictly."""
    safetensors.numpy.save_file(torch_named(params, batch_stats), path)


def sha256(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _torch_name(keys: tuple[str, ...]) -> str:
    """Returns torchvision's name of the tensor at (collection, module, ..., leaf)."""
    collection, *modules, leaf = keys
    return ".".join([*modules, ""]).replace("_", ".") + LEAVES[collection, leaf]


def _template(depth: int, width: int) -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """Returns (keys in our trees, shape in torchvision's layout) of every tensor, by torchvision's name."""
    init = functools.partial(ResNet(depth, width).init, train=False)
    trees = jax.eval_shape(init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))
    leaves: dict[tuple[str, ...], Any] = flax.traverse_util.flatten_dict(trees)
    shapes = {keys: leaf.shape for keys, leaf in leaves.items()}
    return {
        _torch_name(keys): (keys, (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape)
        for keys, shape in shapes.items()
    }


def _compare(tensor: np.ndarray | None, expected: tuple[Any, tuple[int, ...]] | None, name: str) -> tuple[str, str]:
    """Returns descriptions of a tensor and of the expected one, which are equal if the tensor is valid."""
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
    """Reads the tensors of a file, by the names in the file."""
    if not path.is_file():
        raise FileNotFoundError(
            f"network.pretrained: expected a file of initial weights, got {str(path)!r}, which does not exist; "
            "set it to the path of a file"
        )
    if path.suffix == ".safetensors":
        try:
            return safetensors.numpy.load_file(path)
        except (safetensors.SafetensorError, KeyError) as error:
            raise ValueError(
                f"{path}: expected a safetensors file, got unreadable content ({error}); download or convert it again"
            ) from error
    if path.suffix in (".pth", ".pt"):
        return _read_with_torch(path)
    raise ValueError(
        f"{path}: expected initial weights in a .safetensors, .pth or .pt file, got {path.suffix!r}; convert the file"
    )


def _read_with_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(
            f"{path}: expected an installed torch, got none; install torch, or convert the file on a "
            f"machine with torch: safetensors.torch.save_file(torch.load({path.name!r}, weights_only=True), "
            f"{path.with_suffix('.safetensors').name!r})"
        ) from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling a wrong file may raise anything
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{path}: expected tensors, got unreadable content ({reason}); save the network's state_dict()"
        ) from error
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise ValueError(
            f"{path}: expected a mapping of names to tensors, got other content; save the network's state_dict()"
        )
    # numpy has no bfloat16.
    plain = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in content.items()}
    return {name: tensor.detach().numpy() for name, tensor in plain.items()}
