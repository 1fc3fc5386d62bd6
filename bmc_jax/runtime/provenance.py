"""Provenance of results: versions of packages, commit and hardware."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import jax

PACKAGES = ("bmc-jax", "jax", "flax", "optax", "orbax-checkpoint", "numpy")


def versions() -> dict[str, str]:
    """Returns the installed versions of `PACKAGES` by name."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def environment() -> dict[str, str]:
    """Returns descriptions of the environment of this process, with the keys versions, python, commit and hardware."""
    return {
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
        "python": platform.python_version(),
        "commit": _commit(),
        "hardware": f"{jax.device_count()} x {jax.devices()[0].device_kind}, {os.cpu_count()} CPU cores",
    }


def _commit() -> str:
    """Returns the commit of this source tree, or "unknown" for an installation outside a repository."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", Path(__file__).name], check=True, capture_output=True)
        found = subprocess.run([*git, "describe", "--always", "--dirty"], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()
