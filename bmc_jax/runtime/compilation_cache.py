"""JAX's persistent compilation cache in the user's cache folder, shared by later processes.

JAX reads and writes the folder, and compiles a program if it cannot read its entry. A loaded program is executed, so
only the user can access the folder.
"""

import hashlib
import os
import platform
import sys
import warnings
from pathlib import Path

LIMIT = 2 * 1024**3
"""Size in bytes above which the least recently used entries are deleted. JAX's limit needs the package filelock."""
SETTINGS = {
    "JAX_COMPILATION_CACHE_DIR": "",
    # Smallest compilation time in seconds of a stored program. JAX's default of 1 excludes much of a small network.
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
}
OFF = ("0", "false", "no", "off")


def enable() -> None:
    """Enables the compilation cache in `folder()` for this process and its child processes.

    Does nothing if the user has set a folder (`JAX_COMPILATION_CACHE_DIR`) or disabled the cache
    (`JAX_ENABLE_COMPILATION_CACHE=0`). If the folder cannot be used, a warning is issued and the cache stays disabled.
    Call it before JAX compiles anything, before or after the import of JAX.
    """
    jax = sys.modules.get("jax")
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR") or (jax and jax.config.jax_compilation_cache_dir)
    if chosen or os.environ.get("JAX_ENABLE_COMPILATION_CACHE", "1").lower() in OFF:
        return
    try:
        path = folder()
        _make_private(path)
        _delete_oldest(path)
    # Path.home raises RuntimeError if the user has no home folder.
    except (OSError, RuntimeError) as error:
        warnings.warn(
            f"the compilation cache is disabled ({error}); set JAX_COMPILATION_CACHE_DIR to a writable folder, or "
            "JAX_ENABLE_COMPILATION_CACHE=0",
            stacklevel=2,
        )
        return
    for name, value in (SETTINGS | {"JAX_COMPILATION_CACHE_DIR": str(path)}).items():
        os.environ.setdefault(name, value)
        if jax:
            jax.config.update(name.lower(), float(value) if name.endswith("SECS") else value)


def folder() -> Path:
    """Returns the folder for this kind of processor in the user's cache folder, `$XDG_CACHE_HOME` or `~/.cache`.

    A program for a CPU uses all its instructions, which another CPU may not have. Machines that share a home folder
    therefore have separate folders, unless their processors are of the same kind.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    digest = hashlib.sha256(_processor().encode()).hexdigest()[:12]
    return Path(cache) / "bmc_jax" / f"compiled-{platform.machine()}-{digest}"


def _processor() -> str:
    """Returns the model and the instructions of the processor in the operating system's notation."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    # "Features" is ARM's name of "flags". Lines of equal cores are listed once.
    return "\n".join(
        dict.fromkeys(line for line in lines if line.startswith(("model name", "flags", "Features", "CPU ")))
    )


def _make_private(path: Path) -> None:
    """Creates a folder that only this user can access. Raises OSError if it is a file or belongs to another user."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_uid != os.getuid():
        raise PermissionError(f"{path} belongs to another user")
    path.chmod(0o700)
    if not os.access(path, os.W_OK):
        raise PermissionError(f"{path} is not writable")


def _delete_oldest(path: Path) -> None:
    """Deletes the least recently used entries beyond `LIMIT` bytes. Several processes may do so at the same time."""
    entries = []
    for file in path.iterdir():
        try:
            status = file.stat()
        except FileNotFoundError:
            continue
        if file.is_file():
            # Many systems update the access time only once a day.
            entries.append((max(status.st_atime, status.st_mtime), status.st_size, file))
    entries.sort(reverse=True)
    total = 0
    for _, size, file in entries:
        total += size
        if total > LIMIT:
            file.unlink(missing_ok=True)
