"""Description of the machine of a benchmark."""

import os
import platform

import jax


def machine() -> str:
    """Returns cores, load, versions and devices in one line."""
    device = jax.devices()[0]
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{platform.machine()}, {os.cpu_count()} CPU cores{load}; jax {jax.__version__}, "
        f"{len(jax.devices())} x {device.device_kind} ({jax.default_backend()})"
    )
