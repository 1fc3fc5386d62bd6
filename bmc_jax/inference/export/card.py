"""The model card of an exported network: facts only, each from a file of the run or measured while exporting."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import bmc_jax
from bmc_jax import limits
from bmc_jax.config import Config, steps
from bmc_jax.core import hand, numerics
from bmc_jax.inference import evaluate, training_data
from bmc_jax.inference.export import program
from bmc_jax.metrics import evaluation
from bmc_jax.runtime.provenance import environment
from bmc_jax.training.forward import Trained
from bmc_jax.training.run_folder import WEIGHTS_FILE

FILE = "README.md"


def write(folder: Path, trained: Trained, **facts: Any) -> None:
    """Write the card of a network that was read from its run's folder into the folder that it is exported to; `facts`
    are the keywords of `text`."""
    (folder / FILE).write_text(text(trained, **facts), encoding="utf-8")


def text(
    trained: Trained,
    *,
    about: dict[str, Any],
    origins: list[training_data.Origin],
    scale: tuple[float, str],
    difference: float,
    backbone: str,
    sizes: dict[str, int],
) -> str:
    """The card, Markdown.

    Args:
      about: what `checkpoint.metadata` says.
      scale: metres of the scale bone where none is given, and where they are from.
      difference: what `program.check` found.
      backbone: the name of the ResNet's file, or why there is none.
      sizes: bytes of each file.
    """
    config = trained.config
    parts = [
        f"# {config.name}: 3D hand pose from single RGB images",
        _what(trained),
        "## Run it",
        _run(config, sizes, backbone),
        _contract(config, *scale),
        "Checked when it was exported: in a process of its own, on the CPU, the largest difference from the checkpoint "
        f"was {difference:.1g} (absolute below one, relative above).",
        "## Training data",
        _data(trained.folder, origins),
        "## Measured",
        _measured(trained),
        "## Limits of the hand",
        _limits(trained),
        "## What it is not for",
        _bounds(origins, trained),
        "## Made by",
        _made(about),
    ]
    return "\n\n".join(parts) + "\n"


def _what(trained: Trained) -> str:
    config, net = trained.config, trained.config.network
    stem = f"patches of {net.patch} pixels" if net.patch else "the published stem"
    average = f", averaged with decay {config.optimizer.ema:g}" if "average" in trained.saved else ""
    weights = trained.folder / WEIGHTS_FILE
    begun = json.loads(weights.read_text()) if weights.is_file() else None
    first = f"{begun['file']} (sha256 {begun['sha256']})" if begun else "random"
    planned = steps(config) if all(source.count for source in config.data.train) else "an unknown number"
    rows = {
        "network": f"ResNet-{net.depth} of width {net.width}, {stem}, pooling {net.pool}, computed in {net.dtype}",
        "weights": f"step {int(trained.saved['step'])} of {planned}{average}; began with: {first}",
        "optimizer": f"{config.optimizer.name}, peak rate {config.optimizer.rate:g}, batch {config.data.batch_size}",
        "losses": ", ".join(f"{name} {weight:g}" for name, weight in dataclasses.asdict(config.weights).items()),
    }
    return (
        "A network that estimates the 21 joints of one right hand from a crop of an image, trained with the "
        "biomechanical constraints of Spurr et al. 2020 by bmc-jax. `config.json` has every setting.\n\n"
        + _table(("", ""), rows.items())
    )


def _run(config: Config, sizes: dict[str, int], backbone: str) -> str:
    files = {
        program.FILE: "the program, StableHLO for CPU, CUDA and TPU, for any number of hands",
        program.WEIGHTS: "its weights",
        program.LOADER: "runs both; needs JAX and nothing else of bmc-jax",
        "checkpoints/, config.json, limits.json": "the same weights for `bmc evaluate` and `bmc predict`, as a run's",
    }
    if backbone in sizes:
        files[backbone] = "the ResNet under torchvision's names, without `fc`"
    rows = [(f"`{name}`", f"{sizes[name] / 1e6:.3g} MB" if name in sizes else "", what) for name, what in files.items()]
    missing = "" if backbone in sizes else f"\n\nThere is no file under torchvision's names: {backbone}."
    size = config.data.image_size
    return (
        "```python\n"
        "# pip install jax flatbuffers\n"
        "from load import load\n\n"
        "predict = load()\n"
        f"hands = predict(image, K)  # image uint8 [b, {size}, {size}, 3], K [b, 3, 3]\n"
        "```\n\n" + _table(("file", "size", "what"), rows) + missing
    )


def _contract(config: Config, scale: float, whose: str) -> str:
    size, margin = config.data.image_size, config.data.margin
    start, end = (hand.JOINTS[joint] for joint in hand.SCALE_BONE)
    inputs = {
        "`image`": f"uint8 `[b, {size}, {size}, 3]`, RGB. A square crop of one right hand, its side {margin:g} times "
        "the longer side of the box around the joints. A left hand must be mirrored first",
        "`K`": "float32 `[b, 3, 3]`, pixels: the pinhole matrix of the crop, not of the whole image; the centre of the "
        "first pixel is (0, 0)",
        "`scale`": f"float32 `[b]`, metres: length of the bone from {start} to {end}. The image does not tell it; "
        f"without it {scale:.4f} is taken, {whose}",
    }
    outputs = {
        "`joints_3d`": "`[b, 21, 3]` metres in the camera's frame: x right, y down, z forward. As right as `scale` is",
        "`joints_2d`": "`[b, 21, 2]` pixels of the crop",
        "`relative_depth`": "`[b, 21]` depth behind the wrist, scale units (multiples of that bone)",
        "`root_depth`": "`[b]` depth of the wrist by the bone's length, scale units",
        "`refined_root_depth`": "`[b]` the same after refinement, which `joints_3d` has, scale units",
        "`angles`": "`[b, 5, 3, 2]` radians: (flexion, abduction) of the bones to PIP, DIP and TIP, thumb to little "
        "finger; flexion is positive to the palm, abduction to the thumb",
        "`bone_length_violation`": "`[b]` by how much bones are too short or long, mean, scale units",
        "`palm_violation`": "`[b]` the same of the palm's curvature and spread, 1 / scale unit and radians",
        "`joint_angle_violation`": "`[b]` the same of the angles, radians",
        "`within_limits`": "`[b]` bool: every bone length, curvature, spread and angle is at most "
        f"{numerics.LIMIT_TOLERANCE:g} beyond its limit",
    }
    order = ", ".join(f"{number} {name}" for number, name in enumerate(hand.JOINTS))
    return (
        f"{_table(('input', ''), inputs.items())}\n\n{_table(('output', ''), outputs.items())}\n\n"
        f"Joints in {hand.JOINT_ORDER} order: {order}."
    )


def _data(folder: Path, origins: list[training_data.Origin]) -> str:
    rows = [
        (
            made.source.name,
            made.source.split,
            f"{made.count:,}" if made.count else "not recorded",
            made.source.labels.upper(),
            f"`{made.hash}`" if made.hash else "-",
            made.licence,
        )
        for made in origins
    ]
    return _table(("source", "split", "images", "labels", "hash", "licence"), rows)


def _measured(trained: Trained) -> str:
    file, step = trained.folder / evaluate.FILE, int(trained.saved["step"])
    if not file.is_file():
        return f"Nothing: the run had no `{evaluate.FILE}` when it was exported (`bmc evaluate`)."
    content = json.loads(file.read_text())
    if content["step"] != step:
        return f"Nothing: the run's `{evaluate.FILE}` is of step {content['step']}, not of {step}."
    domains = content["domains"]
    rows = [
        (words, *(_number(measured["network"].get(key), digits, unit) for measured in domains.values()))
        for key, (words, unit, digits, _) in evaluation.METRICS.items()
        if any(key in measured["network"] for measured in domains.values())
    ]
    names = [f"{name}, {measured['split']}, {measured['count']:,} images" for name, measured in domains.items()]
    looks = f"passes: {content['passes']}, turned looks: {content['turns']}"
    return f"Of poses at each hand's true scale, in crops made from the labels; {looks}.\n\n" + _table(
        ("", *names), rows
    )


def _number(value: float | None, digits: int, unit: str) -> str:
    return "-" if value is None else f"{value:.{digits}f} {unit}".strip()


def _limits(trained: Trained) -> str:
    meta = trained.limits.meta
    low, high = meta.percentiles
    references = f" `{limits.FILE}` names its {len(meta.references)} references." if meta.references else ""
    screening = f" Screening: {meta.screening}." if meta.screening else ""
    return (
        f"{meta.source}: {meta.count:,} poses, percentiles {low:g} to {high:g}, widened by {meta.margin_degrees:g} "
        f"degrees and {100 * meta.margin_fraction:.3g} % of lengths.{references}{screening}"
    )


def _bounds(origins: list[training_data.Origin], trained: Trained) -> str:
    names = ", ".join(dict.fromkeys(made.source.name for made in origins))
    lines = [
        f"It has seen the data above, {names}, and nothing else: on other cameras, people and hands that hold things, "
        "measure it before you trust it.",
        "One right hand a crop; it always answers, also where there is no hand. `within_limits` says that a pose is "
        "possible, not that it is right.",
        "Absolute depth hangs on `K` and `scale`. It is no medical device.",
        "GPUs and TPUs compute its convolutions at their own default precision, which is below float32's.",
        f"JAX promises to run `{program.FILE}` for six months after the version below; `checkpoints/` stays readable "
        "by bmc-jax, which exports it anew.",
        "The code is under Apache-2.0; the weights are also subject to the licences of the data above.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _made(about: dict[str, Any]) -> str:
    now = environment()
    trained = about.get("environment", {})
    rows = [(name, trained.get(name, "not recorded"), now[name]) for name in now]
    return f"bmc-jax {bmc_jax.__version__}\n\n" + _table(("", "trained with", "exported with"), rows)


def _table(head: tuple[str, ...], rows: Any) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
