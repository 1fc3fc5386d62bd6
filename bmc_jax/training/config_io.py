"""Reading, writing and validation of configurations.

An unknown field, a value of the wrong type and a value that training cannot use each raise a ValueError that names the
field and a remedy.
"""

import dataclasses
import difflib
import math
import os
import re
import runpy
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import config_flags

from bmc_jax.config import Config, Weights
from bmc_jax.core.choices import CACHES, HULL_DISTANCES, MOST_IMAGES, OUTPUT_REPAIRS, PENALTIES
from bmc_jax.data import augment
from bmc_jax.data.record import WINDOW
from bmc_jax.models import pretrained
from bmc_jax.runtime import files, json_files, project_files

FILE = "config.json"
"""Name of the configuration file in a run's folder."""
PREFIX = "--config."
"""Prefix of a field on the command line."""


def _one_of(*values: str | int) -> tuple[Callable[[Any], bool], str]:
    return lambda value: value in values, f"one of {', '.join(map(str, values))}"


def _up_to(most: int) -> tuple[Callable[[Any], bool], str]:
    return lambda value: 0 < value <= most, f"a number from 1 to {most:,}"


_POSITIVE = (lambda value: 0 < value < math.inf, "a positive finite number")
_NOT_NEGATIVE = (lambda value: 0 <= value < math.inf, "0 or a positive finite number")
_SHARE = (lambda value: 0 <= value < 1, "a number in [0, 1)")
_AT_LEAST_ONE = (lambda value: 1 <= value < math.inf, "a finite number of at least 1")
_NAME = (bool, "a name")

#: (test, description) of the valid values of a field, in addition to its type.
RULES = {
    "data.train.name": _NAME,
    "data.train.split": _NAME,
    "data.train.labels": _one_of("2d", "3d"),
    "data.train.count": _NOT_NEGATIVE,
    "data.train.share": _POSITIVE,
    "data.test": _NAME,
    "data.test_count": _up_to(MOST_IMAGES),
    "data.directory": _NAME,
    "data.image_size": _up_to(4_096),
    "data.margin": _AT_LEAST_ONE,
    "data.context": _AT_LEAST_ONE,
    "data.batch_size": _up_to(65_536),
    "data.cache": _one_of("auto", *CACHES),
    "data.workers": _NOT_NEGATIVE,
    "network.input": _one_of("image", "points"),
    "network.noise": _NOT_NEGATIVE,
    "network.depth": _one_of(10, 18, 34, 50),
    "network.width": _POSITIVE,
    "network.patch": _NOT_NEGATIVE,
    "network.heatmap_channels": _NOT_NEGATIVE,
    "network.batch_norm": _NOT_NEGATIVE,
    "network.pool": _one_of("mean", "flatten", "heatmaps"),
    "network.dtype": _one_of("float32", "bfloat16"),
    **{f"weights.{weight.name}": _NOT_NEGATIVE for weight in dataclasses.fields(Weights)},
    "biomechanics.angle_mode": _one_of(*HULL_DISTANCES),
    "biomechanics.penalty": _one_of(*PENALTIES),
    "biomechanics.margin": _SHARE,
    "biomechanics.repair": _one_of(*OUTPUT_REPAIRS),
    "biomechanics.start": _SHARE,
    "biomechanics.ramp": _SHARE,
    "limits.vertices": (lambda value: value >= 3, "a number of at least 3"),
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
    "optimizer.accumulate": _POSITIVE,
    "optimizer.ema": _SHARE,
    "training.epochs": _POSITIVE,
    "training.log_every": _POSITIVE,
    "training.evaluate_every": _NOT_NEGATIVE,
    "training.evaluate_count": _up_to(MOST_IMAGES),
    "training.picture_every": _NOT_NEGATIVE,
    "training.save_every": _POSITIVE,
    "training.keep": _POSITIVE,
    "training.check_replicas": _NOT_NEGATIVE,
    "training.peak_tflops": _NOT_NEGATIVE,
    "training.mapping": _one_of("pmap", "shard_map"),
    "training.steps_per_dispatch": _POSITIVE,
}


def load(path: str | os.PathLike, overrides: Sequence[str] = ()) -> Config:
    """Loads a configuration file.

    Args:
      path: a Python file with a function `get_config`, or the name of one of the project's configurations. A suffix
        ":argument" is passed to the function.
      overrides: changes to the configuration, "field.of.it=value".

    Raises:
      FileNotFoundError: if the file does not exist; the message lists the project's configurations.
      ValueError: if `get_config` does not return a `Config`, an override names an unknown field, or a value has the
        wrong type or is out of range. The message names the field.
    """
    name, _, argument = str(path).partition(":")
    get_config = runpy.run_path(str(project_files.find_config(name))).get("get_config")
    config = get_config(*([argument] if argument else [])) if get_config else None
    if not isinstance(config, Config):
        raise ValueError(
            f"{name}: expected a function get_config() that returns a bmc_jax.config.Config, got "
            f"{type(config).__name__ if get_config else 'no function of that name'}; see configs/quickstart.py"
        )

    for override in overrides:
        check_override(override)
    arguments = ["bmc", *(f"{PREFIX}{override}" for override in overrides)]
    values = flags.FlagValues()
    try:
        config_flags.DEFINE_config_dataclass("config", config, "", flag_values=values, sys_argv=arguments)
        values(arguments)
    except (flags.Error, IndexError, TypeError) as error:
        raise ValueError(f"{error} (in {', '.join(overrides)})".replace(PREFIX, "")) from error
    return from_dict(to_dict(values.config))


def from_arguments(arguments: Sequence[str]) -> list[str]:
    """Returns "field=value" of each "--config.field=value".

    Raises:
      ValueError: if an argument has another form.
    """
    for argument in arguments:
        if not argument.startswith(PREFIX) or "=" not in argument:
            raise ValueError(f"unrecognized argument {argument!r}; set a field by {PREFIX}FIELD=VALUE")
    return [argument.removeprefix(PREFIX) for argument in arguments]


def to_dict(config: Config) -> dict[str, Any]:
    """Returns the configuration as dicts, lists, numbers and strings, for JSON."""
    return dataclasses.asdict(config)


def from_dict(content: dict[str, Any]) -> Config:
    """Inverts `to_dict`. Absent fields keep their defaults.

    Raises:
      ValueError: if a field is unknown, or its value has the wrong type or is out of range. The message names it.
    """
    return validate(_build(Config, content, ""))


def flat(config: Config) -> dict[str, Any]:
    """Returns every value by its full path, such as "data.train[0].count"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(to_dict(config))
    paths = (re.sub(r"\.(\d+)", r"[\1]", jax.tree_util.keystr(path, simple=True, separator=".")) for path, _ in leaves)
    return dict(zip(paths, (value for _, value in leaves), strict=True))


def write(config: Config, workdir: Path) -> None:
    """Writes `config.json` into a run's folder."""
    files.write_json(workdir / FILE, to_dict(config))


def read(workdir: str | os.PathLike) -> Config:
    """Reads the configuration of a run.

    Raises:
      FileNotFoundError: if the folder has no configuration.
      ValueError: if the file cannot be read. The message names it.
    """
    file = Path(workdir) / FILE
    if not file.is_file():
        raise FileNotFoundError(f"{workdir}: expected the folder of a run, got no {FILE} in it; check the path")
    content = json_files.read(file, dict[str, Any])
    try:
        return from_dict(content)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def validate(config: Config) -> Config:
    """Returns the configuration after checking that training can use each of its values.

    Raises:
      ValueError: if training cannot use a value. The message names the field.
    """
    for path, value in flat(config).items():
        valid, expected = RULES.get(re.sub(r"\[\d+\]", "", path), (lambda _: True, ""))
        _require(valid(value), path, value, expected)
        _require("://" not in str(value), path, value, "a name or a path on this machine, and no URL")
    _validate_data(config)
    _validate_network(config)
    _validate_training(config)
    return config


def _validate_data(config: Config) -> None:
    data = config.data
    _require(bool(data.train), "data.train", data.train, "at least one source")
    share = sum(source.share for source in data.train)
    _require(abs(share - 1) < 1e-6, "data.train[:].share", share, "shares that sum to 1")
    margin = data.margin * (data.context if data.augment else 1)
    path = "data.margin * data.context" if data.augment else "data.margin"
    expected = f"at most {WINDOW} sides of the hand's box, which built datasets store"
    _require(margin <= WINDOW, path, margin, expected, f"lower {path.replace(' *', ' or')}")
    augment.check(data.augmentation)
    valid = data.augment or not any(source.green_screen for source in data.train)
    remedy = "augmentation replaces the background: set it to true, or green_screen to false"
    _require(valid, "data.augment", False, "true for sources with green_screen", remedy)
    valid = config.limits.source != "fit" or any(source.labels == "3d" for source in data.train)
    expected = "a preset or a file, because no training source has 3D labels to fit limits to"
    _require(valid, "limits.source", "fit", expected)


def _validate_network(config: Config) -> None:
    data, network = config.data, config.network
    valid = network.patch == 0 or data.image_size % network.patch == 0
    _require(valid, "network.patch", network.patch, f"0 or a divisor of data.image_size, {data.image_size}")
    for name, published in {"depth": (18, 34, 50), "width": (64,), "patch": (0,)}.items():
        value, expected = getattr(network, name), f"{' or '.join(map(str, published))} for network.pretrained"
        _require(not pretrained.is_file(network.pretrained) or value in published, f"network.{name}", value, expected)
    valid = network.pool == "heatmaps" or not network.lift
    _require(valid, "network.lift", True, "false unless network.pool is 'heatmaps'")
    valid = network.pool == "heatmaps" or not config.weights.heatmaps
    _require(valid, "weights.heatmaps", config.weights.heatmaps, "0 unless network.pool is 'heatmaps'")
    if network.input != "points":
        _require(network.noise == 0, "network.noise", network.noise, "0 unless network.input is 'points'")
        return
    _require(not data.augment, "data.augment", True, "false for network.input 'points', which has no images")
    valid = not any(source.fresh for source in data.train)
    _require(valid, "data.train[:].fresh", True, "false for network.input 'points', which has no images")
    files = any(map(pretrained.is_file, pretrained.sources(network.pretrained)))
    _require(not files, "network.pretrained", network.pretrained, "a run's folder for network.input 'points'")


def _validate_training(config: Config) -> None:
    training, test = config.training, config.data.test
    valid = bool(test) or not (training.evaluate_every or training.picture_every)
    remedy = "name a set, or set training.evaluate_every and training.picture_every to 0"
    _require(valid, "data.test", test, "at least one test set", remedy)
    valid = training.evaluate_every > 0 or not training.best
    _require(valid, "training.evaluate_every", training.evaluate_every, "a positive number for training.best")
    size = training.steps_per_dispatch
    if size > 1:
        _require(
            config.data.cache == "device", "data.cache", config.data.cache, "'device' for steps_per_dispatch above 1"
        )
        for name in ("log_every", "save_every", "check_replicas", "evaluate_every", "picture_every"):
            every = getattr(training, name)
            _require(every % size == 0, f"training.{name}", every, f"a multiple of training.steps_per_dispatch, {size}")


def _require(valid: bool, path: str, value: Any, expected: str, remedy: str = "") -> None:
    if not valid:
        shown = json_files.shown(value) if isinstance(value, list | dict) else repr(value)[: json_files.SHOWN]
        raise ValueError(f"{path}: expected {expected}, got {shown}{remedy and f'; {remedy}'}")


def _unknown(path: str, name: str, known: Iterable[str]) -> ValueError:
    close = difflib.get_close_matches(name, list(known), n=1)
    remedy = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(known)}"
    return ValueError(f"unknown configuration field {path!r}: {remedy}")


def check_override(override: str) -> None:
    """Raises ValueError unless an override has the form "field=value" with a known field; suggests the nearest one."""
    path, equals, _ = override.partition("=")
    if not equals:
        raise ValueError(f"expected an override of the form field=value, got {override!r}; add the value")
    kind: Any = Config
    for part in path.split("."):
        name, bracket, _ = part.partition("[")
        hints = typing.get_type_hints(kind) if dataclasses.is_dataclass(kind) else {}
        if name not in hints:
            raise _unknown(path, name, hints)
        kind = typing.get_args(hints[name])[0] if bracket and typing.get_args(hints[name]) else hints[name]


def _build(kind: Any, content: Any, path: str) -> Any:
    """Builds a value of a field's declared type from a value read from JSON."""
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
        valid = isinstance(content, (list, tuple)) and (not count or len(content) == len(kinds))
        _require(valid, path, content, f"a list{count}")
        return tuple(_build(kinds[0], item, f"{path}[{i}]") for i, item in enumerate(content))
    numeric = kind is float and isinstance(content, (int, float))
    valid = isinstance(content, bool) == (kind is bool) and (numeric or isinstance(content, kind))
    _require(valid, path, content, f"a value of type {kind.__name__}")
    _require(not isinstance(content, int) or abs(content) < 2**63, path, content, "a 64-bit integer")
    return kind(content)
