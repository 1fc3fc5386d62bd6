"""Runs that are really killed, or find the disk full: each goes on, to the bit where it would have been."""

import functools
import json
import os
import re
import signal
import socket
import time

import jax
import numpy as np
import pytest
from support import killable_run

from bmc_jax.runtime import distributed
from bmc_jax.training import checkpoint

pytestmark = [
    pytest.mark.slow,
    # Orbax leaves other reads of a damaged checkpoint behind, which find their event loop closed: in any test after.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
STEPS = 80
KILLS = 10
PATIENCE = 300


def logged(workdir):
    """The steps' metrics, but for what no seed determines; without a last line that was cut short."""
    file = workdir / "metrics.jsonl"
    found = []
    for line in file.read_text().splitlines() if file.exists() else ():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return [{key: line[key] for key in line.keys() - {"input_wait", "images_per_second"}} for line in found]


def output(workdir):
    file = workdir.with_name(f"{workdir.name}.txt")
    return file.read_text() if file.exists() else ""


def begun(workdir):
    """The steps that the processes so far began with."""
    return [int(number) for number in re.findall(rf"training tiny: steps (\d+) to {STEPS}", output(workdir))]


def saving(workdir):
    """Whether a checkpoint is being written, or was when its process died."""
    return any("tmp" in entry.name for entry in (workdir / checkpoint.FOLDER).glob("*"))


def wait_until(process, workdir, holds):
    start = time.monotonic()
    while not holds():
        assert process.is_alive(), output(workdir)
        assert time.monotonic() - start < PATIENCE, output(workdir)
        time.sleep(0.0005)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing happened to, whose folder's neighbours share its compiled steps."""
    workdir = tmp_path_factory.mktemp("faults") / "whole"
    process = killable_run.start(workdir)
    process.join(PATIENCE)
    assert process.exitcode == 0, output(workdir)
    assert [line["step"] for line in logged(workdir)] == list(range(1, STEPS + 1))
    return workdir


def require_same(found, wanted):
    assert logged(found) == logged(wanted)
    jax.tree.map(np.testing.assert_array_equal, checkpoint.load(found), checkpoint.load(wanted))


def test_ten_kills_at_random_moments_and_during_saves_change_nothing(whole):
    workdir, generator, during = whole.with_name("killed"), np.random.default_rng(0), 0
    for number in range(KILLS):
        starts, more = len(begun(workdir)), (checkpoint.latest(workdir) or 0) + generator.integers(1, 6)
        process = killable_run.start(workdir, pause=0.02)
        if number % 5 == 4:  # anywhere: also before the first step
            time.sleep(generator.uniform(0.2, 2.0))
        else:
            wait_until(process, workdir, lambda starts=starts: len(begun(workdir)) > starts)
            wait_until(process, workdir, lambda more=more: len(logged(workdir)) > more)
            time.sleep(generator.uniform(0.0, 0.1))
            if number % 2:
                wait_until(process, workdir, lambda: saving(workdir))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, output(workdir)
        during += saving(workdir)
    assert during > 0
    last = checkpoint.latest(workdir) or 0
    process = killable_run.start(workdir)
    process.join(PATIENCE)
    assert process.exitcode == 0, output(workdir)
    assert begun(workdir)[-1] == last + 1 > 2
    require_same(workdir, whole)


def test_a_disk_that_is_full_during_a_save_is_told_and_the_run_goes_on_once_there_is_room(whole):
    workdir = whole.with_name("full")
    process = killable_run.start(workdir, largest_file=150_000)
    process.join(PATIENCE)
    assert process.exitcode == 2, output(workdir)
    assert re.search(
        r"bmc: error: no checkpoint could be written into .*full \(.*\); check the disk's space", output(workdir)
    )
    process = killable_run.start(workdir)
    process.join(PATIENCE)
    assert process.exitcode == 0, output(workdir)
    require_same(workdir, whole)


def two(workdir, *arguments, devices=1, **choices):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    who = ("--coordinator", f"localhost:{port}", "--processes", "2", "--process")
    return [
        killable_run.start(workdir, *who, str(number), *arguments, devices=devices, **choices) for number in range(2)
    ]


def test_two_processes_train_what_one_does_stop_on_one_signal_and_when_one_is_killed_and_go_on_as_one(whole):
    workdir = whole.with_name("two")
    first, second = two(workdir, pause=0.05)
    wait_until(first, workdir, lambda: len(logged(workdir)) > 5)
    os.kill(second.pid, signal.SIGTERM)
    for process in (first, second):
        process.join(PATIENCE)
        assert process.exitcode == distributed.INTERRUPTED, output(workdir)
    stopped = checkpoint.latest(workdir)
    assert stopped == logged(workdir)[-1]["step"] < STEPS

    first, second = two(workdir, pause=0.05, heartbeat=3)
    wait_until(first, workdir, lambda: len(logged(workdir)) > stopped + 5)
    second.kill()
    first.join(60)
    assert first.exitcode in (1, -signal.SIGABRT), output(workdir)  # ours, or JAX's own where nothing was under way
    assert re.search(r"another process of this run was lost|distributed service detected", output(workdir))
    last = checkpoint.latest(workdir)
    assert last > stopped

    # One process with four devices in the place of two with one each.
    process = killable_run.start(workdir)
    process.join(PATIENCE)
    assert process.exitcode == 0, output(workdir)
    assert begun(workdir)[-1] == last + 1
    losses = np.array([[line["loss"] for line in logged(folder)] for folder in (workdir, whole)])
    np.testing.assert_allclose(*losses[:, :5], rtol=1e-5)
    np.testing.assert_allclose(*losses, rtol=1e-3)
    found, wanted = (checkpoint.load(folder)["params"] for folder in (workdir, whole))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-4), found, wanted)


def test_both_mappings_train_alike_to_the_last_bit_in_two_processes_and_go_on_from_each_others_checkpoints(whole):
    alone, changing = (whole.with_name(name) for name in ("pmap", "changing"))

    def train(workdir, mapping, pause=0.0):
        return two(workdir, f"--config.training.mapping={mapping}", devices=2, pause=pause)

    def finish(workdir, processes, code):
        for process in processes:
            process.join(PATIENCE)
            assert process.exitcode == code, output(workdir)

    finish(alone, train(alone, "pmap"), 0)
    processes = train(changing, "shard_map", pause=0.05)
    wait_until(processes[0], changing, lambda: len(logged(changing)) > 5)
    os.kill(processes[1].pid, signal.SIGTERM)
    finish(changing, processes, distributed.INTERRUPTED)
    assert 5 < checkpoint.latest(changing) < STEPS
    finish(changing, train(changing, "pmap"), 0)
    require_same(changing, alone)
