"""What a run can be told, with every default and its reason. No training logic; `load` and `read` are its two doors.

The defaults are the paper's where it states them (ResNet-50, 128x128, SGD at 5e-3, 70 epochs, a tenth every 30 epochs).
A file in `configs/` has a function `get_config()` that returns a `Config` and names only what differs. On the command
line, `--config.optimizer.rate=0.01` reaches any field, `--config.data.train[1].count=500` one of a tuple.
"""

import dataclasses
import difflib
import json
import math
import os
import re
import runpy
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import config_flags

from bmc_jax.synthesis import DOMAINS

FILE = "config.json"
"""Name of a run's configuration in its folder."""


@dataclass(slots=True)
class Source:
    """One set of training images."""

    domain: str = "synthetic"
    """A domain of `bmc_jax.synthesis`."""
    labels: str = "3d"
    """What the training may see: "3d" (2D and 3D joints) or "2d" alone."""
    count: int = 12_288
    """Images, rendered before training and kept in host memory: 49 KB each at 128x128. With fewer than about 12,000 a
    small network learns the images by heart."""
    share: float = 0.5
    """Of every batch. Both kinds of supervision are in each step, so their losses are balanced by weights alone."""


@dataclass(slots=True)
class Data:
    train: tuple[Source, ...] = field(default_factory=lambda: (Source("mannequin", "3d"), Source("real_like", "2d")))
    """The paper's setting: 3D labels from a renderer, 2D labels from the domain that counts. `mannequin` is the domain
    furthest from `real_like`, where training on it alone fails as the paper's synthetic data does."""
    test_domains: tuple[str, ...] = ("mannequin", "real_like")
    """Evaluated, with all labels, on images of the test split."""
    test_count: int = 1_024
    """Images of each test domain: the standard error of a mean pose error is then about 2 % of it."""
    image_size: int = 128
    """Side of the crop, pixels; the paper's."""
    batch_size: int = 128
    """Images a step over all devices. The paper does not say."""


@dataclass(slots=True)
class Network:
    depth: int = 50
    """Layers of the ResNet, 10, 18, 34 or 50; the paper's is 50."""
    width: int = 64
    """Channels of its first stage; the published network's."""
    patch: int = 0
    """0 for the published stem; 4 or 8 for one convolution of that kernel and stride, which a CPU can afford."""
    dtype: str = "float32"
    """Of the ResNet's computation. "bfloat16" halves time and memory on accelerators; parameters, statistics, geometry
    and losses stay float32."""
    detach_root_depth: bool = True
    """Keeps the gradient from running through the root depth, where it is huge if the scale bone points along its ray.
    In a lifting trial the depth error on the 2D-labelled domain was 12.9 mm without and 16.1 mm with that gradient."""


@dataclass(slots=True)
class Weights:
    """Of the terms of Eq. 10 and Eq. 9. The paper does not print its own; these are ours."""

    joints_2d: float = 15.0
    """L1 of pixels, in halves of the crop's width. Half a crop is about three scale units at the hand's distance, so 15
    against 5 makes an error count the same across the image as along the ray."""
    relative_depth: float = 5.0
    """L1 of z^r, scale units."""
    root_depth: float = 1.0
    """L1 of the refined root depth, scale units: it trains the refiner."""
    bone_length: float = 0.1
    palm: float = 0.1
    joint_angle: float = 0.01


@dataclass(slots=True)
class Biomechanics:
    """How the biomechanical terms are taken."""

    angle_mode: str = "euclidean"
    """Distance to the angle hull: "euclidean" in the plane of the two angles, or "circle_l1", "circle_l1_squared"."""
    independent: bool = False
    """Whether flexion and abduction are limited each by itself (Table 5), not together by their hull."""
    detach_frames: bool = False
    """Whether a bone's angle loss is kept from moving its parents through their frames."""
    start: float = 0.0
    """Share of training for which the terms are off: on wrong pixels they act on wrong rays and hinder the 2D term."""
    ramp: float = 0.05
    """Share of training over which they then grow linearly to their weights."""


@dataclass(slots=True)
class Limits:
    source: str = "fit"
    """"fit" to the 3D-labelled training poses, and only those; or a preset's name, or a limits file."""
    percentiles: tuple[float, float] = (0.0, 100.0)
    """Of the training poses. Rendered hands have no outliers to cut off; real annotations have."""
    vertices: int = 16
    """Of each angle hull, outer approximation: more than that changes no area noticeably."""
    angle_margin: float = 0.0
    """Degrees by which hulls, spread and curvature are widened. A hinge's abduction hardly varies: without a margin its
    hull is a needle."""
    length_margin: float = 0.0
    """Share by which bones may be longer or shorter than any seen."""


@dataclass(slots=True)
class Optimizer:
    name: str = "sgd"
    """"sgd" (the paper's) or "adamw", which converges in far fewer steps on small budgets."""
    rate: float = 5e-3
    """Peak learning rate; the paper's."""
    momentum: float = 0.9
    """Of SGD; the paper does not say. The usual value."""
    nesterov: bool = True
    weight_decay: float = 1e-4
    """On kernels only, not on biases and norms: added to the gradient by SGD, decoupled in AdamW. The usual value."""
    clip: float = 10.0
    """Norm that the whole gradient is scaled down to. Rays that graze the hand make rare, huge gradients."""
    warmup: float = 0.0
    """Share of training over which the rate first grows linearly from zero."""
    schedule: str = "step"
    """"step": times `decay` every `decay_epochs` (the paper's). "cosine": down to zero at the end."""
    decay: float = 0.1
    decay_epochs: float = 30.0


@dataclass(slots=True)
class Training:
    epochs: float = 70.0
    """The paper's. One epoch has as many examples as all training sources together."""
    log_every: int = 20
    """Steps between lines of `metrics.jsonl`."""
    save_every: int = 500
    """Steps between checkpoints; also saved at the end and on SIGTERM or SIGINT."""
    keep: int = 2
    """Checkpoints kept: one to go on from if the other is damaged."""


@dataclass(slots=True)
class Config:
    name: str = "default"
    """Of the experiment, for logs and reports."""
    seed: int = 0
    """Of images, weights and batch order."""
    data: Data = field(default_factory=Data)
    network: Network = field(default_factory=Network)
    weights: Weights = field(default_factory=Weights)
    biomechanics: Biomechanics = field(default_factory=Biomechanics)
    limits: Limits = field(default_factory=Limits)
    optimizer: Optimizer = field(default_factory=Optimizer)
    training: Training = field(default_factory=Training)


def _one_of(*words: str | int) -> tuple[Callable[[Any], bool], str]:
    return lambda value: value in words, f"one of {', '.join(map(str, words))}"


_POSITIVE = (lambda value: 0 < value < math.inf, "positive")
_NOT_NEGATIVE = (lambda value: 0 <= value < math.inf, "zero or more")
_SHARE = (lambda value: 0 <= value < 1, "in [0, 1)")

#: What a field's value must be, beyond its type.
RULES = {
    "data.train.domain": _one_of(*DOMAINS),
    "data.train.labels": _one_of("2d", "3d"),
    "data.train.count": _POSITIVE,
    "data.train.share": _POSITIVE,
    "data.test_domains": _one_of(*DOMAINS),
    "data.test_count": _POSITIVE,
    "data.image_size": _POSITIVE,
    "data.batch_size": _POSITIVE,
    "network.depth": _one_of(10, 18, 34, 50),
    "network.width": _POSITIVE,
    "network.patch": _NOT_NEGATIVE,
    "network.dtype": _one_of("float32", "bfloat16"),
    **{f"weights.{weight.name}": _NOT_NEGATIVE for weight in dataclasses.fields(Weights)},
    "biomechanics.angle_mode": _one_of("euclidean", "circle_l1", "circle_l1_squared"),
    "biomechanics.start": _SHARE,
    "biomechanics.ramp": _SHARE,
    "limits.vertices": (lambda value: value >= 3, "3 or more"),
    "limits.angle_margin": _NOT_NEGATIVE,
    "limits.length_margin": _NOT_NEGATIVE,
    "optimizer.name": _one_of("sgd", "adamw"),
    "optimizer.rate": _POSITIVE,
    "optimizer.momentum": _SHARE,
    "optimizer.weight_decay": _NOT_NEGATIVE,
    "optimizer.clip": _POSITIVE,
    "optimizer.warmup": _SHARE,
    "optimizer.schedule": _one_of("step", "cosine"),
    "optimizer.decay": _POSITIVE,
    "optimizer.decay_epochs": _POSITIVE,
    "training.epochs": _POSITIVE,
    "training.log_every": _POSITIVE,
    "training.save_every": _POSITIVE,
    "training.keep": _POSITIVE,
}


def load(path: str | os.PathLike, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a file in `configs/`, `path` or `path:argument`, with `field.of.it=value` overrides.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: on a file whose `get_config` does not return a `Config`, an override of an unknown field, or a value
        of the wrong type or out of range, naming it.
    """
    name, _, argument = str(path).partition(":")
    if not Path(name).is_file():
        raise FileNotFoundError(f"no configuration file {name!r}; those of the project are in configs/")
    get_config = runpy.run_path(name).get("get_config")
    config = get_config(*([argument] if argument else [])) if get_config else None
    if not isinstance(config, Config):
        raise ValueError(f"{name} has no function get_config() that returns a bmc_jax.config.Config")

    for override in overrides:
        _check_override(override)
    arguments = ["bmc", *(f"--config.{override}" for override in overrides)]
    values = flags.FlagValues()
    try:
        config_flags.DEFINE_config_dataclass("config", config, "", flag_values=values, sys_argv=arguments)
        values(arguments)
    except (flags.Error, IndexError, TypeError) as error:
        raise ValueError(f"{error} (in {', '.join(overrides)})".replace("--config.", "")) from error
    return from_dict(to_dict(values.config))


def steps(config: Config, epochs: float | None = None) -> int:
    """Training steps in that many epochs, by default all of the run's; at least one."""
    examples = sum(source.count for source in config.data.train)
    return max(1, round((config.training.epochs if epochs is None else epochs) * examples / config.data.batch_size))


def to_dict(config: Config) -> dict[str, Any]:
    """Plain dicts, lists, numbers and words, for JSON."""
    return dataclasses.asdict(config)


def from_dict(content: dict[str, Any]) -> Config:
    """The inverse of `to_dict`. Fields that are not there keep their defaults; unknown ones raise ValueError."""
    return validate(_build(Config, content, ""))


def flat(config: Config) -> dict[str, Any]:
    """Every value by its whole path, "data.train[0].count"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(to_dict(config))
    paths = (re.sub(r"\.(\d+)", r"[\1]", jax.tree_util.keystr(path, simple=True, separator=".")) for path, _ in leaves)
    return dict(zip(paths, (value for _, value in leaves), strict=True))


def write(config: Config, workdir: Path) -> None:
    """Write `config.json` into a run's folder, whole or not at all."""
    temporary = workdir / f"{FILE}.partial"
    temporary.write_text(json.dumps(to_dict(config), indent=2) + "\n")
    os.replace(temporary, workdir / FILE)


def read(workdir: str | os.PathLike) -> Config:
    """The configuration that a run's folder was trained with.

    Raises:
      FileNotFoundError: if the folder holds none, so is not a run's.
      ValueError: if it cannot be read, naming the file.
    """
    file = Path(workdir) / FILE
    if not file.is_file():
        raise FileNotFoundError(f"{workdir} holds no {FILE}: it is not the folder of a run")
    try:
        return from_dict(json.loads(file.read_text()))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def validate(config: Config) -> Config:
    """The same configuration, if training can use every value of it; else ValueError, naming the field."""
    for path, value in flat(config).items():
        holds, wanted = RULES.get(re.sub(r"\[\d+\]", "", path), (lambda _: True, ""))
        _require(holds(value), path, value, wanted)
    data, patch = config.data, config.network.patch
    share = sum(source.share for source in data.train)
    _require(abs(share - 1) < 1e-6, "data.train[:].share", share, "shares that sum to 1")
    fits = patch == 0 or data.image_size % patch == 0
    _require(fits, "network.patch", patch, f"0 or a divisor of data.image_size, {data.image_size}")
    known = config.limits.source != "fit" or any(source.labels == "3d" for source in data.train)
    _require(known, "limits.source", "fit", "a preset or a file: no training source has 3D labels to fit limits to")
    return config


def _require(holds: bool, path: str, value: Any, wanted: str) -> None:
    if not holds:
        raise ValueError(f"{path} is {value!r}; it must be {wanted}")


def _unknown(path: str, name: str, known: Iterable[str]) -> ValueError:
    close = difflib.get_close_matches(name, list(known), n=1)
    remedy = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
    return ValueError(f"unknown configuration field {path!r}: {remedy}")


def _check_override(override: str) -> None:
    """Raise unless it reads `known.field=value`, with the nearest known field's name."""
    path, equals, _ = override.partition("=")
    if not equals:
        raise ValueError(f"override {override!r} is not of the form field=value")
    kind: Any = Config
    for part in path.split("."):
        name, bracket, _ = part.partition("[")
        hints = typing.get_type_hints(kind) if dataclasses.is_dataclass(kind) else {}
        if name not in hints:
            raise _unknown(path, name, hints)
        kind = typing.get_args(hints[name])[0] if bracket and typing.get_args(hints[name]) else hints[name]


def _build(kind: Any, content: Any, path: str) -> Any:
    """A value of a field's declared type from what JSON made of it."""
    if dataclasses.is_dataclass(kind):
        _require(isinstance(content, dict), path or "the configuration", content, "a mapping of fields to values")
        hints = typing.get_type_hints(kind)
        for name in content:
            if name not in hints:
                raise _unknown(f"{path}.{name}".lstrip("."), name, hints)
        values = {name: _build(hints[name], value, f"{path}.{name}".lstrip(".")) for name, value in content.items()}
        return typing.cast(Any, kind)(**values)
    if typing.get_origin(kind) is tuple:
        kinds = typing.get_args(kind)
        count = "" if ... in kinds else f" of {len(kinds)}"
        fits = isinstance(content, (list, tuple)) and (not count or len(content) == len(kinds))
        _require(fits, path, content, f"a list{count}")
        return tuple(_build(kinds[0], item, f"{path}[{i}]") for i, item in enumerate(content))
    numeric = kind is float and isinstance(content, (int, float))
    fits = isinstance(content, bool) == (kind is bool) and (numeric or isinstance(content, kind))
    _require(fits, path, content, f"of type {kind.__name__}")
    return kind(content)
