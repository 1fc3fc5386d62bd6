"""Lock of a folder, which one run at a time holds.

It is a file that names its holder, who touches it every few seconds, so that it works on any file system that several
machines share. The lock of a holder that has ended without removing it is taken over.
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
"""Seconds between two touches of the file by its holder."""
PATIENCE = 90.0
"""Seconds without a touch after which a holder on another machine counts as ended: network file systems show changes
late."""


class Holder(TypedDict):
    """Content of the file."""

    host: str
    machine: str
    """See `_machine`."""
    pid: int
    started: str
    """See `_started`."""
    since: str
    """When the lock was taken, for messages."""


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder during the block. It waits up to `PATIENCE` where a holder may have ended.

    Raises:
      BlockingIOError: if another process holds it, naming host, process and start.
    """
    file, mine = folder / FILE, _this_process()
    while not _create(file, mine):
        holder = _read(file)
        who = "{host}, process {pid}, since {since}".format_map(holder) if holder else "a holder that it does not name"
        if not _has_ended(file, holder, mine, who):
            raise BlockingIOError(f"{folder} is in use by another run ({who}); let it end, or give another --workdir")
        if _remove(file, holder):
            print(f"{folder}: goes on in the place of a run that has ended ({who})", flush=True)
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
    """Returns what tells this machine, since its boot, and this container from others; empty where it is unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Returns when a process of this machine started, which tells it from another of its number; empty if unknown."""
    try:
        content = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The process's name, in parentheses, may hold spaces. The start is field 22, the twentieth after the name.
    return content.rpartition(")")[2].split()[19]


def _has_ended(file: Path, holder: Holder | None, mine: Holder, who: str) -> bool:
    if holder and all(holder[key] == mine[key] for key in ("host", "machine")):
        return not _is_alive(holder["pid"]) or holder["started"] != _started(holder["pid"])
    print(f"{file}: looks for up to {PATIENCE:.0f} s whether it is still in use ({who})", flush=True)
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
    except PermissionError:  # another user's
        return True
    return True


def _touch(file: Path, stop: threading.Event) -> None:
    while not stop.wait(TOUCH_EVERY):
        with contextlib.suppress(OSError):
            os.utime(file)


def _touched(file: Path) -> int | None:
    """Returns when the file was touched last; None without a file. Opening it makes a network file system look."""
    try:
        with file.open("rb") as opened:
            return os.fstat(opened.fileno()).st_mtime_ns
    except OSError:
        return None


def _create(file: Path, content: Holder) -> bool:
    """Returns whether this process has created the file; not if there is one."""
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
    """Returns the holder; None if the file is damaged, is gone, or is just being written."""
    with contextlib.suppress(OSError, ValueError):
        return json_files.read(file, Holder)
    return None


def _remove(file: Path, holder: Holder | None) -> bool:
    """Returns whether this process has removed the lock of that holder. Another's, created meanwhile, stays."""
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        os.rename(file, aside)  # of several processes one succeeds
    except FileNotFoundError:
        return False
    if _read(aside) != holder:
        os.rename(aside, file)
        return False
    aside.unlink()
    return True
