"""The user's folder of compiled programs, from which a later process loads them instead of compiling them again.

JAX reads and writes it, and compiles a program whose entry it cannot read. Loading a program runs its code, so the
folder is the user's alone.
"""

import hashlib
import os
import platform
import sys
import warnings
from pathlib import Path

LIMIT = 2 * 1024**3
"""Bytes above which the entries longest unused are deleted. JAX's own limit needs the package filelock."""
SETTINGS = {
    "JAX_COMPILATION_CACHE_DIR": "",
    # Seconds of compilation from which a program is kept; JAX's default of 1 leaves out much of a small network.
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
}
OFF = ("0", "false", "no", "off")


def enable() -> None:
    """Makes this process, and those that it starts, keep their compiled programs in `folder()`.

    Does nothing if the user has set a folder (`JAX_COMPILATION_CACHE_DIR`) or wants none
    (`JAX_ENABLE_COMPILATION_CACHE=0`). A folder that cannot be used is left alone with a warning. To be called before
    JAX compiles anything; an import of JAX is not needed.
    """
    jax = sys.modules.get("jax")
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR") or (jax and jax.config.jax_compilation_cache_dir)
    if chosen or os.environ.get("JAX_ENABLE_COMPILATION_CACHE", "1").lower() in OFF:
        return
    try:
        path = folder()
        _make_private(path)
        _delete_oldest(path)
    # Path.home raises RuntimeError where the user has no home.
    except (OSError, RuntimeError) as error:
        warnings.warn(
            f"compiled programs are not kept ({error}): set JAX_COMPILATION_CACHE_DIR to a folder of your own, or "
            "JAX_ENABLE_COMPILATION_CACHE=0 for none",
            stacklevel=2,
        )
        return
    for name, value in (SETTINGS | {"JAX_COMPILATION_CACHE_DIR": str(path)}).items():
        os.environ.setdefault(name, value)
        if jax:
            jax.config.update(name.lower(), float(value) if name.endswith("SECS") else value)


def folder() -> Path:
    """Returns the folder of this kind of machine in the user's cache folder, `$XDG_CACHE_HOME` or `~/.cache`.

    Programs for a CPU use all its instructions, and others may lack some of them: machines that share a home folder
    have folders of their own, unless their processors are of the same kind.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    digest = hashlib.sha256(_processor().encode()).hexdigest()[:12]
    return Path(cache) / "bmc_jax" / f"compiled-{platform.machine()}-{digest}"


def _processor() -> str:
    """Returns the model and the instructions of the processor, as the system names them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    # "Features" on ARM. All cores are of one kind, or the kinds are in the order of the cores.
    return "\n".join(
        dict.fromkeys(line for line in lines if line.startswith(("model name", "flags", "Features", "CPU ")))
    )


def _make_private(path: Path) -> None:
    """Makes a folder that this user alone may use. Raises OSError if there is one of another user, or a file."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_uid != os.getuid():
        raise PermissionError(f"{path} belongs to another user")
    path.chmod(0o700)
    if not os.access(path, os.W_OK):
        raise PermissionError(f"{path} is not writable")


def _delete_oldest(path: Path) -> None:
    """Deletes the entries longest unused until all take at most `LIMIT` bytes; another process may do the same."""
    entries = []
    for file in path.iterdir():
        try:
            status = file.stat()
        except FileNotFoundError:
            continue
        if file.is_file():
            # Many systems update the time of reading once a day only.
            entries.append((max(status.st_atime, status.st_mtime), status.st_size, file))
    entries.sort(reverse=True)
    total = 0
    for _, size, file in entries:
        total += size
        if total > LIMIT:
            file.unlink(missing_ok=True)
