"""What a result was made with: versions, commit and hardware, for the record."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import jax


def environment() -> dict[str, str]:
    """Words by what they tell."""
    packages = ("bmc-jax", "jax", "flax", "optax", "numpy")
    device = jax.devices()[0]
    return {
        "versions": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages),
        "python": platform.python_version(),
        "commit": _commit(),
        "hardware": f"{jax.device_count()} x {device.device_kind}, {os.cpu_count()} CPU cores",
    }


def _commit() -> str:
    """The commit of this source tree; "unknown" where it is installed apart from one."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", Path(__file__).name], check=True, capture_output=True)
        found = subprocess.run([*git, "describe", "--always", "--dirty"], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()
