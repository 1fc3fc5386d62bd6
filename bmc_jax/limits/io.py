"""Limits in a readable JSON file, with names and conventions.

Numbers are the shortest decimals that give the same float32; lengths are in scale units, angles in radians. The losses
use `hull`, but `merge` and `widen` start from `support`: edit a hull by hand only after these.
"""

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from bmc_jax.core import density, hand, hull
from bmc_jax.core.choices import PRESETS
from bmc_jax.core.types import Density, Limits, LimitsMetadata
from bmc_jax.runtime import files

FILE = "limits.json"
"""Name of the limits in a run's folder."""
FORMAT = "bmc_jax limits"
_FOLDER = Path(__file__).parent / "presets"

#: Fields of the metadata that must have their defaults, because they define the meaning of limits, and the remedies.
CONVENTIONS = {
    "version": "fit the limits again with this version of bmc_jax",
    "unit": "divide lengths by that of the scale bone",
    "scale_bone": "fit the limits again to poses scaled by the bone from middle MCP to PIP",
    "root": "fit the limits again",
    "joint_order": "reorder the joints to FreiHAND's (hand.TO_FREIHAND) and fit the limits again",
    "hand": "mirror the poses to right hands and fit the limits again",
    "convention": "fit the limits again, because signs or curvature are defined differently",
}

LARGEST = 1e15
"""Largest number of poses, length in scale units, curvature or angle."""
#: Names of the palm's quantities, between neighbouring root bones.
PALM_PAIRS = tuple(f"{a}-{b}" for a, b in zip(hand.FINGERS[:-1], hand.FINGERS[1:], strict=True))


def save(limits: Limits, path: str | os.PathLike[str]) -> None:
    """Writes limits as JSON, atomically: an existing file is replaced once the new file is complete.

    Args:
      limits: the limits.
      path: the file.

    Examples:
      >>> from bmc_jax import limits
      >>> limits.save(limits.load("clinical"), "mine.json")
      >>> limits.load("mine.json").meta.source == limits.load("clinical").meta.source
      True
    """
    content = {
        "format": FORMAT,
        "metadata": dataclasses.asdict(limits.meta),
        "bone_length": _by_name(limits.bone_length, hand.FINGERS, hand.LEVELS),
        "curvature": _by_name(limits.curvature, PALM_PAIRS),
        "spread": _by_name(limits.spread, PALM_PAIRS),
        "hull": _by_name(limits.hull, hand.FINGERS, hand.LEVELS[1:]),
        "support": _by_name(limits.support, hand.FINGERS, hand.LEVELS[1:], ragged=True),
    }
    if limits.density is not None:
        # Shortest numbers that read back as the same float32.
        parts = dataclasses.asdict(limits.density)
        content["density"] = {name: np.asarray(part, np.float32).tolist() for name, part in parts.items()}
    # Lists of numbers are on one line.
    text = re.sub(r"\[[^\[\]{}]+\]", lambda found: " ".join(found[0].split()), json.dumps(content, indent=1))
    text = text.replace("[ ", "[").replace(" ]", "]")
    files.write_text(path, text + "\n")


def load(path_or_preset: str | os.PathLike[str]) -> Limits:
    """Reads limits from a file, or a preset by its name. Clockwise hulls are reversed.

    Args:
      path_or_preset: the file, or a name of `PRESETS`.

    Returns:
      The limits.

    Raises:
      FileNotFoundError: if the file or preset does not exist. The message lists the presets.
      ValueError: if the file is not a limits file, lacks a field, has an invalid value, or follows another convention.
        The message names file, field, value and remedy.

    Examples:
      >>> from bmc_jax import limits
      >>> clinical = limits.load("clinical")
      >>> print(clinical.bone_length.shape, clinical.hull.shape, ", ".join(limits.PRESETS))
      (5, 4, 2) (5, 3, 16, 2) clinical, eaton, functional, lin2000, people
    """
    path = Path(path_or_preset)
    if str(path_or_preset) in PRESETS:
        path = _FOLDER / f"{path_or_preset}.json"
    if not path.is_file():
        raise FileNotFoundError(f"expected a limits file or a preset of {', '.join(PRESETS)}, got '{path_or_preset}'")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON, perhaps truncated: {error}; write it again") from error
    try:
        return _read(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read(content: Any) -> Limits:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"expected a limits file with format '{FORMAT}', got {found!r}; write one with `limits.save`")
    meta = _metadata(_named(content, "metadata"))
    arrays = {
        "bone_length": _array(content, "bone_length", hand.FINGERS, hand.LEVELS),
        "curvature": _array(content, "curvature", PALM_PAIRS),
        "spread": _array(content, "spread", PALM_PAIRS),
        "hull": _array(content, "hull", hand.FINGERS, hand.LEVELS[1:]),
        "support": _array(content, "support", hand.FINGERS, hand.LEVELS[1:]),
    }
    arrays |= {"hull": check_arrays(arrays)}
    together = _density(content["density"]) if "density" in content else None
    return Limits(
        **{name: jnp.asarray(array, jnp.float32) for name, array in arrays.items()}, meta=meta, density=together
    )


def _density(content: Any) -> Density:
    size, parts = density.SIZE, {}
    for name, shape in (("mean", (size,)), ("factor", (size, size)), ("threshold", ())):
        try:
            parts[name] = np.asarray(content[name], np.float64)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"'density.{name}' is missing or not numbers; write the file again with `save`") from error
        if parts[name].shape != shape or not (np.abs(parts[name]) <= LARGEST).all():
            raise ValueError(
                f"'density.{name}': expected finite numbers of shape {list(shape)}, got shape "
                f"{list(parts[name].shape)}; write the file again with `limits.save`"
            )
    return Density(**{name: jnp.asarray(part, jnp.float32) for name, part in parts.items()})


def check_arrays(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Checks the values of limits, by the names of their fields, and returns the hulls counter-clockwise.

    Raises:
      ValueError: if the ends of an interval are swapped, a length is negative, or `hull.check` refuses a hull. The
        message names the quantity and its value.
    """
    for name in ("bone_length", "curvature", "spread"):
        for expected, rows in (
            ("(low, high) with low <= high", ~(arrays[name][..., 0] <= arrays[name][..., 1])),
            ("lengths of at least 0", (arrays[name][..., 0] < 0) & (name == "bone_length")),
        ):
            if rows.any():
                place = tuple(np.argwhere(rows)[0].tolist())
                words = f"{hand.FINGERS[place[0]]} {hand.LEVELS[place[1]]}" if len(place) == 2 else PALM_PAIRS[place[0]]
                raise ValueError(f"{name} {words}: expected {expected}, got {arrays[name][place].tolist()}; correct it")
    hulls = np.array(arrays["hull"], np.float64)
    for finger, level in np.ndindex(5, 3):
        try:
            hulls[finger, level] = hull.check(hulls[finger, level])
        except ValueError as error:
            raise ValueError(f"hull of {hand.FINGERS[finger]} {hand.LEVELS[level + 1]}: {error}") from error
    return hulls


def _metadata(content: dict[str, Any]) -> LimitsMetadata:
    values = {}
    example = LimitsMetadata(source="", count=0)
    for field in dataclasses.fields(LimitsMetadata):
        name, default = f"metadata.{field.name}", getattr(example, field.name)
        if field.name not in content:
            raise ValueError(f"expected the field '{name}', got none; write the file again with `limits.save`")
        value = content[field.name]
        value = tuple(value) if isinstance(value, list) else value
        if field.name in CONVENTIONS and value != default:
            raise ValueError(f"{name}: expected {default!r}, got {value!r}; {CONVENTIONS[field.name]}")
        if not _of_kind(value, default):
            raise ValueError(f"{name}: expected a value such as {default!r}, got {repr(value)[:80]}; correct it")
        values[field.name] = _with_floats(value, default)
    unknown = sorted(set(content) - set(values))
    if unknown:
        raise ValueError(f"metadata: expected no other fields, got {', '.join(unknown)}; remove them")
    if len(values["percentiles"]) != 2 or not 0 <= values["percentiles"][0] < values["percentiles"][1] <= 100:
        raise ValueError(
            "metadata.percentiles: expected two increasing numbers from 0 to 100, got "
            f"{list(values['percentiles'])}; correct them"
        )
    return LimitsMetadata(**values)


def _of_kind(value: Any, default: Any) -> bool:
    """Returns whether a value has the type of a default and, if it is a number, a possible size."""
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(_of_kind(one, default[0] if default else "") for one in value)
    kinds = (int, float) if isinstance(default, float) else (type(default),)
    return type(value) in kinds and (not isinstance(value, int | float) or -LARGEST <= value <= LARGEST)


def _with_floats(value: Any, default: Any) -> Any:
    """Returns a value with integers converted to floats if the default has floats."""
    if isinstance(default, tuple):
        return tuple(_with_floats(one, default[0]) for one in value) if default else value
    return float(value) if isinstance(default, float) else value


def _named(content: dict[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(content.get(name), dict):
        raise ValueError(f"'{name}': expected an object, got another value or none; write the file with `limits.save`")
    return content[name]


def _array(content: dict[str, Any], name: str, *axes: tuple[str, ...]) -> np.ndarray:
    """Returns values by name as one float64 array, in the order of the names. All leaves have a shape `[..., 2]`."""

    def gather(node: Any, where: str, names: tuple[tuple[str, ...], ...]) -> list[np.ndarray]:
        if names:
            node = {} if not isinstance(node, dict) else node
            missing = [key for key in names[0] if key not in node]
            if missing:
                raise ValueError(
                    f"'{where}': expected {', '.join(missing)}, got none; write the file again with `limits.save`"
                )
            return [leaf for key in names[0] for leaf in gather(node[key], f"{where}.{key}", names[1:])]
        try:
            leaf = np.asarray(node, dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"'{where}': expected numbers, got {str(node)[:80]}; correct it") from error
        if leaf.shape[-1:] != (2,) or leaf.ndim != (2 if name in ("hull", "support") else 1):
            raise ValueError(f"'{where}': expected pairs of numbers, got the shape {list(leaf.shape)}; correct it")
        if not np.isfinite(leaf).all():
            raise ValueError(f"'{where}': expected finite numbers, got {leaf[~np.isfinite(leaf)][0]}; correct it")
        if (np.abs(leaf) > LARGEST).any():
            value = leaf[np.abs(leaf) > LARGEST][0]
            raise ValueError(f"'{where}': expected numbers of at most {LARGEST:g}, got {value:g}; correct it")
        return [leaf]

    leaves = gather(_named(content, name), name, axes)
    counts = sorted({len(leaf) for leaf in leaves})
    if name == "support":
        leaves = [leaf[np.minimum(np.arange(counts[-1]), len(leaf) - 1)] for leaf in leaves]
    elif len(counts) > 1:
        raise ValueError(
            f"'{name}': expected polygons with equal numbers of vertices, got {counts[0]} and {counts[-1]}; correct it"
        )
    return np.reshape(leaves, (*map(len, axes), *leaves[0].shape))


def _by_name(array: Any, *axes: tuple[str, ...], ragged: bool = False) -> Any:
    """Returns values as nested objects; with `ragged`, polygons without the repeated last vertices of the padding."""
    array = np.asarray(array)
    if axes:
        parts = zip(axes[0], array, strict=True)
        return {name: _by_name(part, *axes[1:], ragged=ragged) for name, part in parts}
    if array.ndim == 1:
        # The shortest decimals that read back as the same float32.
        return [float(str(x)) for x in array]
    real = 1 + max(np.flatnonzero((array != array[-1]).any(axis=-1)), default=-1) if ragged else len(array) - 1
    return [_by_name(row) for row in array[: real + 1]]
