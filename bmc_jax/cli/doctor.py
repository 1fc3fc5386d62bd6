"""`bmc doctor`: the state of the installation, and its problems."""

import argparse
import importlib.metadata
import itertools
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bmc_jax.cli.arguments import add_verb
from bmc_jax.core.plural import counted

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PACKAGE = "bmc-jax"
NOT_FOR_USERS = ("bench", "dev", "docs")
"""Extras for development of the package."""
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


class Finding(NamedTuple):
    """A line of the report."""

    name: str
    value: str
    problem: bool = False
    """Whether `value` describes a problem."""


def add(verbs: Any) -> None:
    add_verb(verbs, "doctor", _doctor, "show versions, devices, memory, cache and extras, and their problems", """\
example:
  bmc doctor

The exit status is 1 if a problem is found.
""")  # fmt: skip


def _doctor(options: argparse.Namespace) -> int:
    problems = 0
    cache = _compilation_cache(options.compilation_cache)
    for finding in itertools.chain(_versions(), _devices(), _memory(), cache, _files(), _extras()):
        print(f"{'!' if finding.problem else ' '} {finding.name:18} {finding.value}", flush=True)
        problems += finding.problem
    print(f"\n{counted(problems, 'problem')} found" if problems else "\nno problem found")
    return int(problems > 0)


def _versions() -> Iterator[Finding]:
    from bmc_jax import __version__

    yield Finding(PACKAGE, f"{__version__}, in {Path(__file__).parents[1]}")
    yield Finding("Python", f"{platform.python_version()}, {sys.executable}")
    try:
        required = _required()
    except importlib.metadata.PackageNotFoundError:
        yield Finding(PACKAGE, f"is not installed, but found by PYTHONPATH; pip install {PACKAGE}", True)
        return
    for requirement in required:
        problem = _problem(requirement)
        if problem:
            yield Finding(requirement.name, f"{problem}; pip install '{requirement}'", True)
        elif requirement.name in ("jax", "flax", "optax", "orbax-checkpoint", "numpy"):
            yield Finding(requirement.name, importlib.metadata.version(requirement.name))


def _required(extra: str = "") -> "list[Requirement]":
    """Returns the requirements of the package on this platform: the basic ones, or those of an extra."""
    from packaging.requirements import Requirement

    found = [Requirement(text) for text in importlib.metadata.requires(PACKAGE) or []]
    return [
        requirement
        for requirement in found
        if bool(extra) == ("extra" in str(requirement.marker)) and _applies(requirement, extra)
    ]


def _applies(requirement: "Requirement", extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _problem(requirement: "Requirement") -> str:
    """Returns the problem of an installed package; "" if there is none."""
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return "is not installed"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"is {version}, and {requirement.specifier} is needed"
    missing = [plugin for extra in requirement.extras for plugin in _plugins(requirement.name, extra)]
    return f"lacks {', '.join(missing)}" if missing else ""


def _plugins(package: str, extra: str) -> list[str]:
    """Returns the packages of a package's extra that are not installed, such as JAX's plugins for CUDA."""
    from packaging.requirements import Requirement

    absent = []
    for requirement in map(Requirement, importlib.metadata.requires(package) or []):
        if "extra" in str(requirement.marker) and _applies(requirement, extra):
            try:
                importlib.metadata.version(requirement.name)
            except importlib.metadata.PackageNotFoundError:
                absent.append(requirement.name)
    return absent


def _devices() -> Iterator[Finding]:
    try:
        import jax

        devices = jax.local_devices()
        jax.block_until_ready([jax.device_put(1.0, device) + 1 for device in devices])
    # An incompatible jaxlib or driver raises errors of many types.
    except Exception as error:
        lines = str(error).splitlines() or [""]
        yield Finding("devices", f"JAX cannot compute ({type(error).__name__}: {lines[0]})", True)
        return
    yield Finding("devices", f"{len(devices)} x {devices[0].device_kind} ({jax.default_backend()})")
    if jax.default_backend() == "cpu" and NVIDIA_DRIVER.exists() and not os.environ.get("JAX_PLATFORMS"):
        remedy = f"pip install '{PACKAGE}[cuda13]', or set JAX_PLATFORMS=cpu to use the CPU"
        yield Finding("devices", f"JAX does not use this machine's NVIDIA GPU; {remedy}", True)


def _memory() -> Iterator[Finding]:
    if "jax" in sys.modules:
        from bmc_jax.data import cache

        yield Finding("free memory", cache.gigabytes(cache.free_on_host()))
        if on_devices := cache.free_on_devices():
            yield Finding("device memory", f"{', '.join(map(cache.gigabytes, on_devices))} free")


def _compilation_cache(enabled: bool) -> Iterator[Finding]:
    from bmc_jax.runtime import compilation_cache

    name = "compile cache"
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if os.environ.get("JAX_ENABLE_COMPILATION_CACHE", "1").lower() in compilation_cache.OFF:
        yield Finding(name, "off, by JAX_ENABLE_COMPILATION_CACHE")
    elif not enabled:
        yield Finding(name, "off, by --no-compilation-cache")
    elif chosen is None:
        yield Finding(name, "its folder cannot be used, see the warning above; set JAX_COMPILATION_CACHE_DIR", True)
    else:
        sizes = [file.stat().st_size for file in Path(chosen).glob("*") if file.is_file()]
        yield Finding(name, f"{chosen}, {counted(len(sizes), 'file')}, {sum(sizes) / 1e6:.1f} MB")
        place = next(place for place in (Path(chosen), *Path(chosen).absolute().parents) if place.exists())
        if not (place.is_dir() and os.access(place, os.W_OK)):
            yield Finding(name, f"{place} is not a writable folder; set JAX_COMPILATION_CACHE_DIR", True)


def _files() -> Iterator[Finding]:
    from bmc_jax.inference.lift.detector import MODEL_VARIABLE
    from bmc_jax.runtime import project_files

    if not project_files.configs():
        yield Finding("configurations", f"none in {project_files.folder('configs')}; install {PACKAGE} again", True)
    model = os.environ.get(MODEL_VARIABLE)
    if model and not Path(model).is_file():
        yield Finding(MODEL_VARIABLE, f"is {model}, which is not a file; for the models see docs/lift.md", True)


def _extras() -> Iterator[Finding]:
    try:
        extras = importlib.metadata.metadata(PACKAGE).get_all("Provides-Extra") or []
    except importlib.metadata.PackageNotFoundError:
        return
    for extra in sorted(set(extras) - set(NOT_FOR_USERS)):
        problems = {requirement.name: _problem(requirement) for requirement in _required(extra)}
        absent = {name: problem for name, problem in problems.items() if problem}
        install = f"pip install '{PACKAGE}[{extra}]'"
        if not absent:
            yield Finding(f"[{extra}]", ", ".join(f"{name} {importlib.metadata.version(name)}" for name in problems))
        elif outdated := [f"{name} {problem}" for name, problem in absent.items() if "needed" in problem]:
            yield Finding(f"[{extra}]", f"{', '.join(outdated)}; {install}", True)
        else:
            yield Finding(f"[{extra}]", f"not installed: {install}")
