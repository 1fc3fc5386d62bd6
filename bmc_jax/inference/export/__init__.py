"""Export of a trained network: its weights, a program that needs only JAX, the backbone for PyTorch and a model card.

    README.md                               the model card
    config.json, limits.json, checkpoints/  files of a run with the weights alone, for `bmc evaluate` and `predict`
    model.safetensors                       the same weights, for other programs and `bmc_jax.load`: see `weights_file`
    hand.stablehlo, load.py                 image, K -> joints in metres, 2.5D, angles, plausibility: see `program`
    hand.onnx                               image, K, scale -> joints, including weights, optional: see `onnx_program`
    backbone.safetensors                    the ResNet under torchvision's names, if torchvision has this ResNet
    export.json                             settings of `load.py`

Each part is read back and compared with the checkpoint before the folder gets its final name.
"""

import importlib.util
import json
import os
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bmc_jax import limits
from bmc_jax.config import Config
from bmc_jax.inference import training_data
from bmc_jax.inference.export import card, onnx_program, program
from bmc_jax.models import pretrained
from bmc_jax.runtime import files, hub
from bmc_jax.training import checkpoint, config_io, forward, weights_file
from bmc_jax.training.forward import Trained
from bmc_jax.training.run_folder import DATA_FILE, WEIGHTS_FILE
from bmc_jax.training.step import TrainState, evaluated

FILE = "export.json"
"""File that identifies an exported folder."""
BACKBONE = "backbone.safetensors"


def export(
    folder: str | os.PathLike,
    out: str | os.PathLike,
    *,
    step: int | str | None = None,
    force: bool = False,
    onnx: bool = False,
    push: str | None = None,
) -> Path:
    """Exports a checkpoint to the folder `out`, and returns `out`.

    For a run with `optimizer.ema`, the average is exported. An exported folder can be exported again.

    Args:
      folder: the folder of a run or an export, see `training.forward.load`.
      out: folder to write.
      step: number of a saved step, "best", or None for the newest.
      force: whether to replace an earlier export in `out`; other content is never replaced.
      onnx: whether to write the network as an ONNX file too.
      push: `owner/name` of a repository on the Hugging Face Hub to which the folder is uploaded, see `hub.push`.

    Raises:
      FileNotFoundError, ValueError: see `training.forward.load`.
      FileExistsError: before any work, if `out` is not empty.
      ValueError: if a required library is not installed, or a part that was read back differs from the checkpoint.
      ChildProcessError: if the program fails in a separate process.
      FileNotFoundError, ConnectionError, PermissionError: see `hub.push`; `out` is complete in this case.
    """
    out = Path(os.path.abspath(out))
    _require_free(out, force)
    if importlib.util.find_spec("flatbuffers") is None:
        raise ValueError("bmc export needs flatbuffers; pip install 'bmc-jax[export]'")
    if onnx:
        onnx_program.require_installed()
    if push is not None:
        hub.require(push)
    trained = forward.load(folder, step)
    building = out.with_name(f".{out.name}.{os.getpid()}")
    building.mkdir(parents=True)
    try:
        _fill(building, trained, onnx)
        files.replace_folder(building, out)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    if push is not None:
        hub.push(out, push)
    return out


def _fill(building: Path, trained: Trained, onnx: bool) -> None:
    """Writes and checks all parts."""
    state, about = evaluated(trained.saved), forward.metadata(trained)
    _checkpoint(building, trained, state, about)
    sources = training_data.read(trained.config, trained.folder)
    scale = training_data.mean_scale(sources)
    settings = {
        "format": "bmc_jax export",
        "name": trained.config.name,
        "step": int(trained.saved["step"]),
        "image_size": trained.config.data.image_size,
        "scale": scale[0],
    }
    (building / FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    weights = program.flatten(state)
    weights_file.write(building, weights, step=settings["step"], about=about)
    _readable(building / weights_file.FILE)
    program.write(building, weights, config=trained.config, limits=trained.limits)
    difference = program.check(building, weights, config=trained.config, limits=trained.limits)
    onnx_difference = None
    if onnx:
        onnx_program.write(building, weights, config=trained.config)
        onnx_difference = onnx_program.check(building, weights, config=trained.config)
    backbone = _backbone(building, trained.config, state)
    if backbone == BACKBONE:
        _readable(building / BACKBONE)
    sizes = {file.name: file.stat().st_size for file in building.iterdir() if file.is_file()}
    facts = {"difference": difference, "onnx_difference": onnx_difference, "backbone": backbone, "sizes": sizes}
    card.write(building, trained, about=about, sources=sources, scale=scale, **facts)


def _readable(file: Path) -> None:
    """Copies the mode of `FILE` to a file: safetensors creates files that only their owner can read."""
    shutil.copymode(file.with_name(FILE), file)


def _checkpoint(building: Path, trained: Trained, state: TrainState, about: dict[str, Any]) -> None:
    """Writes the files of a run, with the weights alone, and checks them."""
    config_io.write(trained.config, building)
    limits.save(trained.limits, building / limits.FILE)
    for name in (DATA_FILE, WEIGHTS_FILE):
        if (trained.folder / name).is_file():
            shutil.copyfile(trained.folder / name, building / name)
    content = {"step": np.asarray(state.step), "params": state.params, "batch_stats": state.batch_stats}
    with checkpoint.Writer(building, keep=1, metadata=about) as writer:
        writer.save(content)
    again = forward.load(building)
    same = again.config == trained.config and _equal((again.saved, again.limits), (content, trained.limits))
    if not same:
        raise ValueError(
            f"expected the exported checkpoint to equal that of {trained.folder}, got another; export again"
        )


def _backbone(building: Path, config: Config, state: TrainState) -> str:
    """Writes the ResNet for PyTorch and returns the name of its file, or the reason why none is written."""
    net = config.network
    for field, published in {"depth": (18, 34, 50), "width": (64,), "patch": (0,)}.items():
        if (value := getattr(net, field)) not in published:
            return f"torchvision has no ResNet with network.{field} {value}"
    trees = state.params["backbone"], state.batch_stats["backbone"]
    pretrained.save(building / BACKBONE, *trees)
    if not _equal(pretrained.load(building / BACKBONE, depth=net.depth), trees):
        raise ValueError(f"{BACKBONE}: expected the ResNet of the checkpoint, got other weights; export again")
    return BACKBONE


def _equal(found: Any, wanted: Any) -> bool:
    """Returns whether two trees are bit-identical."""
    return jax.tree.structure(found) == jax.tree.structure(wanted) and all(
        np.array_equal(a, b) for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True)
    )


def _require_free(out: Path, force: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / FILE).is_file():
        raise FileExistsError(f"{out}: expected no content or an earlier export, got other files; give another --out")
    if not force:
        raise FileExistsError(f"{out} has an earlier export; give another --out, or --force to replace it")
