"""The lock of a folder: held by one process at a time, and taken over after its holder has ended."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from bmc_jax.runtime import lock

#: Holds the lock of a folder until its standard input is closed.
HOLDER = (
    "import sys; from pathlib import Path; from bmc_jax.runtime import lock\n"
    "with lock.hold(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def holder(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_second_process_is_told_who_holds_the_folder_and_may_have_it_afterwards(tmp_path, holder):
    for _ in range(2):
        found = rf"is in use by another run \({socket.gethostname()}, process {holder.pid}, since 20.*\); wait for it"
        with pytest.raises(BlockingIOError, match=found), lock.hold(tmp_path):
            pass
    assert (tmp_path / lock.FILE).exists()
    holder.stdin.close()
    holder.wait()
    assert not list(tmp_path.iterdir())
    with lock.hold(tmp_path):
        assert (tmp_path / lock.FILE).exists()
    assert not list(tmp_path.iterdir())


def test_lock_of_a_killed_process_is_taken_over(tmp_path, holder, capsys):
    holder.kill()
    holder.wait()
    with lock.hold(tmp_path):
        assert json.loads((tmp_path / lock.FILE).read_bytes())["pid"] == os.getpid()
    assert f"a run that has ended ({socket.gethostname()}, process {holder.pid}" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_lock_is_released_by_an_error(tmp_path):
    with pytest.raises(KeyError), lock.hold(tmp_path):
        raise KeyError
    assert not list(tmp_path.iterdir())


def stated(**changes):
    """Returns the content of the lock file of this process, with changes."""
    return lambda file: file.write_text(json.dumps(json.loads(file.read_bytes()) | changes), encoding="utf-8")


def left_behind(folder, change):
    """Creates the lock of a holder that is not this process."""
    file = folder / lock.FILE
    with lock.hold(folder):
        change(file)
    assert file.exists()
    return file


def test_number_of_the_holder_may_belong_to_a_later_process(tmp_path):
    left_behind(tmp_path, stated(started="1"))
    with lock.hold(tmp_path):
        pass


@pytest.mark.parametrize(
    "change",
    [
        stated(host="elsewhere"),
        stated(machine="another boot"),
        stated(pid="7"),
        lambda file: os.truncate(file, 0),
        lambda file: file.write_bytes(bytes(50)),
        lambda file: file.write_text("[" * 100_000, encoding="utf-8"),
    ],
    ids=["host", "boot", "type", "empty", "NULs", "nested"],
)
def test_holder_that_cannot_be_looked_up_is_gone_once_it_stops_touching_the_lock(tmp_path, monkeypatch, change):
    monkeypatch.setattr(lock, "TOUCH_EVERY", 0.1)
    monkeypatch.setattr(lock, "PATIENCE", 0.3)
    file, stop = left_behind(tmp_path, change), threading.Event()

    def touch():
        while not stop.wait(0.02):
            os.utime(file)

    touching = threading.Thread(target=touch)
    touching.start()
    with pytest.raises(BlockingIOError, match="is in use by another run"), lock.hold(tmp_path):
        pass
    stop.set()
    touching.join()
    with lock.hold(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_holder_touches_the_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "TOUCH_EVERY", 0.01)
    file = tmp_path / lock.FILE
    with lock.hold(tmp_path):
        os.utime(file, (0, 0))
        end = time.monotonic() + 30
        while file.stat().st_mtime < 1:
            assert time.monotonic() < end
            time.sleep(0.01)


def _race(folder, start, held, overlaps):
    start.wait()
    for _ in range(20):
        try:
            with lock.hold(folder):
                overlaps.value += not held.acquire(block=False)
                time.sleep(0.001)
                held.release()
        except BlockingIOError:
            time.sleep(0.001)


def test_of_several_processes_one_at_a_time_holds_it(tmp_path):
    left_behind(tmp_path, stated(started="1"))
    context = multiprocessing.get_context("forkserver")
    start, held, overlaps = context.Barrier(3), context.Semaphore(1), context.Value("i", 0)
    processes = [context.Process(target=_race, args=(tmp_path, start, held, overlaps)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(180)
        assert process.exitcode == 0
    assert overlaps.value == 0
