"""Model card of an exported network. All facts are from files of the run, or measured during the export."""

import dataclasses
from pathlib import Path
from typing import Any

import bmc_jax
from bmc_jax.config import steps
from bmc_jax.core import hand, numerics
from bmc_jax.core.plural import counted
from bmc_jax.inference import evaluate, measurements, training_data
from bmc_jax.metrics import evaluation
from bmc_jax.runtime import json_files
from bmc_jax.runtime.provenance import environment
from bmc_jax.training.forward import Trained
from bmc_jax.training.run_folder import WEIGHTS_FILE, InitialWeights
from bmc_jax.visualization import html

FILE = "README.md"
TAGS = ("hand-pose-estimation", "3d-hand-pose", "jax", "flax", "stablehlo")
"""Tags of the card on the Hugging Face Hub."""


def write(
    folder: Path,
    trained: Trained,
    *,
    about: dict[str, Any],
    sources: list[training_data.TrainingSource],
    scale: tuple[float, str],
    difference: float,
    onnx_difference: float | None,
    backbone: str,
    sizes: dict[str, int],
) -> None:
    """Writes the card, in Markdown, to `folder`.

    Args:
      folder: the exported folder.
      trained: the network, read from the folder of its run.
      about: metadata of the checkpoint.
      sources: the training data.
      scale: default length of the scale bone in metres, and its origin.
      difference: result of `program.check`.
      onnx_difference: result of `onnx_program.check`; None without an ONNX file.
      backbone: name of the ResNet's file, or the reason why there is none.
      sizes: size of each file in bytes.
    """
    config = trained.config
    now, then = environment(), about.get("environment", {})
    html.write(
        folder / FILE,
        "model_card.md",
        name=config.name,
        rendered_only=all(source.licence == training_data.RENDERED for source in sources),
        tags=TAGS + ("onnx",) * (onnx_difference is not None),
        facts=_facts(trained),
        size=config.data.image_size,
        margin=f"{config.data.margin:g}",
        sizes={name: f"{size / 1e6:.3g} MB" for name, size in sizes.items()},
        backbone=backbone,
        scale_bone=[hand.JOINTS[joint] for joint in hand.SCALE_BONE],
        scale=(f"{scale[0]:.4f}", scale[1]),
        tolerance=f"{numerics.LIMIT_TOLERANCE:g}",
        joint_order=hand.JOINT_ORDER,
        joints=", ".join(f"{number} {name}" for number, name in enumerate(hand.JOINTS)),
        difference=f"{difference:.1g}",
        onnx_difference=None if onnx_difference is None else f"{onnx_difference:.1g}",
        training_data=[_source(source) for source in sources],
        source_names=", ".join(dict.fromkeys(source.config.name for source in sources)),
        measured=measured(trained),
        limits=trained.limits.meta,
        version=bmc_jax.__version__,
        environments=[(name, then.get(name, "not recorded"), now[name]) for name in now],
    )


def _facts(trained: Trained) -> dict[str, str]:
    config, net = trained.config, trained.config.network
    stem = f"patches of {net.patch} pixels" if net.patch else "the published stem"
    average = f", averaged with decay {config.optimizer.ema:g}" if "average" in trained.saved else ""
    weights = trained.folder / WEIGHTS_FILE
    initial = json_files.read(weights, InitialWeights) if weights.is_file() else None
    first = f"{initial['file']} (sha256 {initial['sha256']})" if initial else "random"
    planned = steps(config) if all(source.count for source in config.data.train) else "an unknown number"
    return {
        "network": f"ResNet-{net.depth} of width {net.width}, {stem}, pooling {net.pool}, computed in {net.dtype}",
        "weights": f"step {int(trained.saved['step'])} of {planned}{average}; initial weights: {first}",
        "optimizer": f"{config.optimizer.name}, peak rate {config.optimizer.rate:g}, batch {config.data.batch_size}",
        "losses": ", ".join(f"{name} {weight:g}" for name, weight in dataclasses.asdict(config.weights).items()),
    }


def _source(source: training_data.TrainingSource) -> tuple[str, ...]:
    count = f"{source.count:,}" if source.count else "not recorded"
    config = source.config
    return config.name, config.split, count, config.labels.upper(), source.hash or "-", source.licence


def measured(trained: Trained) -> dict[str, Any]:
    """Returns the table of the run's `metrics.json`, or the `reason` if the exported step has none."""
    content, step = measurements.read(trained.folder), int(trained.saved["step"])
    none = {"rows": []}
    if content is None:
        return none | {"reason": f"the run had no `{evaluate.FILE}` when it was exported (`bmc evaluate`)"}
    if content["step"] != step:
        return none | {"reason": f"the run's `{evaluate.FILE}` is of step {content['step']}, not of {step}"}
    domains = content["domains"]
    rows = [
        (
            words,
            *(
                _number(domain[who].get(key), digits, unit)
                for domain in domains.values()
                for who in ("network", "mean_pose")
            ),
        )
        for key, (words, unit, digits, _) in evaluation.METRICS.items()
        if any(key in domain["network"] for domain in domains.values())
    ]
    names = [
        title
        for name, domain in domains.items()
        for title in (f"{name}, {domain['split']}, {counted(domain['count'], 'image')}", "mean pose")
    ]
    return {"head": ("", *names), "rows": rows, "passes": content["passes"], "turns": content["turns"]}


def _number(value: float | None, digits: int, unit: str) -> str:
    return "-" if value is None else f"{value:.{digits}f} {unit}".strip()
