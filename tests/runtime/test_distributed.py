"""Several processes: their options, and what they must agree on. Real ones are in `test_faults`."""

import argparse
import time

import jax
import pytest

from bmc_jax.runtime import distributed
from bmc_jax.training import run_folder, train


def options(**given):
    return argparse.Namespace(
        **({"distributed": False, "coordinator": None, "processes": None, "process": None} | given)
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"coordinator": "a:1"}, "got no --processes or --process; give all three"),
        ({"processes": 2, "process": 0}, "got no --coordinator; give all three"),
        ({"distributed": True, "process": 0}, "--distributed detects the processes: expected no --process"),
        ({"coordinator": "a", "processes": 2, "process": 0}, "--coordinator: expected HOST:PORT .* got 'a'"),
        (
            {"coordinator": "a:99999", "processes": 2, "process": 0},
            "--coordinator: expected HOST:PORT .* got 'a:99999'",
        ),
        (
            {"coordinator": "a:1", "processes": 2, "process": 2},
            "--process: expected a number from 0 to 1 for --processes 2, got 2",
        ),
        ({"coordinator": "a:1", "processes": 2, "process": -1}, "--process: expected a number from 0 to 1 .* got -1"),
    ],
)
def test_options_that_disagree_are_refused_before_anything(given, words):
    with pytest.raises(ValueError, match=words):
        distributed.initialize(options(**given))


def test_a_process_without_options_stays_alone(monkeypatch):
    monkeypatch.setattr(jax.distributed, "initialize", None)
    distributed.initialize(options())


def test_no_cluster_and_no_coordinator_are_reported_with_the_remedy(monkeypatch):
    # JAX refuses to begin once it has devices, as it has here: what it would say is put in its place.
    def without_cluster(*_, **__):
        raise ValueError("coordinator_address should be defined.")

    def without_others(*_, **__):
        raise RuntimeError("DEADLINE_EXCEEDED: Barrier timed out.\nand more")

    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    monkeypatch.setattr(jax.distributed, "initialize", without_cluster)
    with pytest.raises(ValueError, match=r"--distributed found no cluster .*srun or mpirun, or give --coordinator"):
        distributed.initialize(options(distributed=True))
    monkeypatch.setattr(jax.distributed, "initialize", without_others)
    with pytest.raises(ConnectionError, match=r"within 7 s \(DEADLINE_EXCEEDED: Barrier timed out.\): .*host:1 can be"):
        distributed.initialize(options(coordinator="host:1", processes=2, process=1), timeout=7)


@pytest.fixture
def gathered(monkeypatch):
    """Sets the texts that other processes gather."""

    def set_others(*others):
        monkeypatch.setattr(distributed, "gather", lambda text: [text, *others])

    return set_others


def test_one_processs_error_ends_all(gathered):
    gathered("", "no such dataset")
    with pytest.raises(ValueError, match="process 2 of 3: no such dataset"), distributed.fail_together():
        pass
    gathered("something else")
    with pytest.raises(FileNotFoundError, match="mine"), distributed.fail_together():
        raise FileNotFoundError("mine")
    gathered("", "")
    with distributed.fail_together():
        pass


def test_a_process_that_differs_is_named_with_what_it_differs_in(gathered):
    gathered("rate: 0.1\nname: 'a'", "rate: 0.5\nname: 'a'")
    with pytest.raises(ValueError, match="process 2 differs from process 0") as error:
        distributed.require_same({"rate": 0.1, "name": "a"})
    assert "process 0: rate: 0.1\n  process 2: rate: 0.5" in str(error.value)
    assert "name" not in str(error.value)
    gathered("rate: 0.1\nname: 'a'")
    distributed.require_same({"rate": 0.1, "name": "a"})


def test_a_lost_process_is_reported_and_lack_of_memory_is_not_taken_for_one(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    words = r"another process of this run was lost \(Connection closed by peer\)"
    with pytest.raises(ConnectionError, match=words), distributed.lost_processes():
        raise jax.errors.JaxRuntimeError("Connection closed by peer\nat some place")
    with pytest.raises(ConnectionError, match="Gloo all-reduce failed"), distributed.lost_processes():
        raise ValueError("UNKNOWN: Gloo all-reduce failed: Connection reset by peer")
    with pytest.raises(ValueError, match="a damaged image"), distributed.lost_processes():
        raise ValueError("a damaged image")
    with pytest.raises(jax.errors.JaxRuntimeError), distributed.lost_processes():
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")


def test_a_file_that_is_not_on_a_shared_disk_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with pytest.raises(ValueError, match="give a --workdir on a disk that all share"):
        distributed.require_shared(tmp_path / "data.json")


def test_a_folder_that_cannot_be_written_to_is_reported_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file/run cannot be written to \(Not a directory\); give another --workdir"):
        run_folder.claim(tmp_path / "file" / "run", train.Config())
