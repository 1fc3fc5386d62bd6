"""Lock of a folder, held by one run at a time.

The lock is a file that names its holder. The holder updates the file's modification time every few seconds, so the lock
works on any shared file system. The lock of a holder that ended without removing it is taken over.
"""

import contextlib
import datetime
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from bmc_jax.runtime import json_files

FILE = "lock.json"
TOUCH_EVERY = 10.0
"""Seconds between two updates of the file's modification time by its holder."""
PATIENCE = 90.0
"""Seconds without an update after which a holder on another machine counts as ended: network file systems show changes
with a delay."""


class Holder(TypedDict):
    """Content of the file."""

    host: str
    machine: str
    """See `_machine`."""
    pid: int
    started: str
    """See `_started`."""
    since: str
    """Time at which the lock was taken, for messages."""


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder during the block. Waits up to `PATIENCE` seconds if a holder may have ended.

    Raises:
      BlockingIOError: if another process holds the lock. The message names its host, process and start.
    """
    file, mine = folder / FILE, _this_process()
    while not _create(file, mine):
        holder = _read(file)
        who = "{host}, process {pid}, since {since}".format_map(holder) if holder else "unknown holder"
        if not _has_ended(file, holder, mine, who):
            raise BlockingIOError(f"{folder} is in use by another run ({who}); wait for it, or give another --workdir")
        if _remove(file, holder):
            print(f"{folder}: took over the lock of a run that has ended ({who})", flush=True)
    stop = threading.Event()
    touching = threading.Thread(target=_touch, args=(file, stop), daemon=True)
    touching.start()
    try:
        yield
    finally:
        stop.set()
        touching.join()
        _remove(file, mine)


def _this_process() -> Holder:
    pid, since = os.getpid(), datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    host = socket.gethostname()
    return {"host": host, "machine": _machine(), "pid": pid, "started": _started(pid), "since": since}


def _machine() -> str:
    """Returns an identifier of this machine since its boot and of this container; empty if it is unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Returns the start time of a process, which distinguishes processes with the same id; empty if it is unknown."""
    try:
        content = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The name of the process, in parentheses, may have spaces. The start is field 22, the 20th after the name.
    return content.rpartition(")")[2].split()[19]


def _has_ended(file: Path, holder: Holder | None, mine: Holder, who: str) -> bool:
    if holder and all(holder[key] == mine[key] for key in ("host", "machine")):
        return not _is_alive(holder["pid"]) or holder["started"] != _started(holder["pid"])
    print(f"{file}: checking for up to {PATIENCE:.0f} s whether it is still in use ({who})", flush=True)
    before, end = _touched(file), time.monotonic() + PATIENCE
    while time.monotonic() < end:
        time.sleep(TOUCH_EVERY / 10)
        if (now := _touched(file)) != before:
            return now is None
    return True


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # a process of another user
        return True
    return True


def _touch(file: Path, stop: threading.Event) -> None:
    while not stop.wait(TOUCH_EVERY):
        with contextlib.suppress(OSError):
            os.utime(file)


def _touched(file: Path) -> int | None:
    """Returns the file's modification time; None without a file. Opening it refreshes a network file system."""
    try:
        with file.open("rb") as opened:
            return os.fstat(opened.fileno()).st_mtime_ns
    except OSError:
        return None


def _create(file: Path, content: Holder) -> bool:
    """Creates the file and returns True; returns False if it exists."""
    try:
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    try:
        os.write(descriptor, json.dumps(content).encode())
    except OSError:
        file.unlink()
        raise
    finally:
        os.close(descriptor)
    return True


def _read(file: Path) -> Holder | None:
    """Returns the holder; None if the file is damaged, missing, or being written."""
    with contextlib.suppress(OSError, ValueError):
        return json_files.read(file, Holder)
    return None


def _remove(file: Path, holder: Holder | None) -> bool:
    """Removes the lock of a holder and returns True; returns False if it is missing or has another holder by now."""
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        os.rename(file, aside)  # succeeds in one of several processes
    except FileNotFoundError:
        return False
    if _read(aside) != holder:
        os.rename(aside, file)
        return False
    aside.unlink()
    return True
