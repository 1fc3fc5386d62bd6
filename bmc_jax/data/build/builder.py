"""Datasets as they lie on disk -> one checked, shuffled, sharded form, on the cores of this machine or on Apache Beam.

    OUT/NAME/1.0.0.building/   shards and their tallies, while a build is under way or after it was interrupted
    OUT/NAME/1.0.0/            the whole dataset: array_record shards, TFDS's metadata, summary.json

A build that was stopped or killed goes on with the shards that it lacks. The records, their order and their hash are
the same on any number of cores.
"""

import concurrent.futures
import contextlib
import fcntl
import importlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bmc_jax.data import store
from bmc_jax.data.build import publish, shard
from bmc_jax.data.build.plan import FILE, Plan, shard_files, shards
from bmc_jax.runtime import files


def build(
    reader: str,
    source: str | os.PathLike,
    out: str | os.PathLike,
    *,
    name: str = "",
    options: dict[str, Any] | None = None,
    faults: str = "stop",
    workers: int = 0,
    beam: str | None = None,
) -> Path:
    """Build a dataset, or go on building it, and return its folder; one that is built already is left as it is.

    `options` are the keyword arguments of the reader's `splits`. `faults="skip"` leaves rows that are at fault out, and
    counts them. `workers` is the number of processes, all cores by default; 1 stays in this one. `beam` are options of
    a Beam pipeline, `runner=DirectRunner,direct_num_workers=4`, on which TFDS then runs the build.

    Raises:
      FileNotFoundError, ValueError: naming file, row, value and remedy, of what is wrong with the source; or if another
        build with other options lies in the folder, or another process is at work there.
      OSError: if the disk is full; the shards that are done are kept.
    """
    source, module = Path(source), importlib.import_module(f"bmc_jax.data.readers.{reader}")
    options = options or {}
    splits = module.splits(source, **options)
    empty = [split for split, rows in splits.items() if not rows]
    if empty or not splits:
        raise ValueError(f"{source} has no rows of {', '.join(empty) or 'any split'}: nothing to build")
    name = name or getattr(module, "name", lambda **_: reader)(**options)
    plan = Plan(
        reader=reader,
        name=name,
        version=module.VERSION,
        source=os.fspath(source.absolute()),
        options=json.loads(json.dumps(options)),
        faults=faults,
        rows={split: len(rows) for split, rows in splits.items()},
        rows_a_shard=shard.ROWS,
        shuffled=not getattr(module, "SHUFFLED", False),
    )
    folder = Path(out) / name / plan.version
    building = folder.with_name(folder.name + store.BUILDING)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder.parent):
        if _claim(plan, folder, building):
            return folder
        parts = {split: shards(plan, split, rows, building) for split, rows in splits.items()}
        if beam is None:
            _on_this_machine(plan, parts, building, workers or getattr(module, "WORKERS", os.cpu_count()) or 1)
        else:
            publish.on_beam(plan, parts, Path(out), folder, building, beam)
        publish.finish(plan, module.ABOUT, parts, folder, building)
    return folder


def _on_this_machine(plan: Plan, parts: dict[str, list[shard.Shard]], building: Path, workers: int) -> None:
    """Write the shards that are not there yet."""
    tasks, done = [], 0
    for split, split_parts in parts.items():
        for part, file in zip(split_parts, shard_files(plan, split, len(split_parts), building), strict=True):
            if shard.read_tally(part.tally_file) is None or not file.is_file():
                tasks.append((part, os.fspath(file)))
            else:
                done += len(part.rows)
    title, total = f"build {plan.name}", sum(plan.rows.values())
    if done:
        print(f"{building}: going on after {done:,} of {total:,} rows")
    with tqdm(total=total, initial=done, desc=title, unit=" rows", dynamic_ncols=True) as bar, _pool(workers) as run:
        try:
            for rows in run(shard.write, tasks):
                bar.update(rows)
        except OSError as error:
            if error.filename or isinstance(error, FileNotFoundError):
                raise
            raise OSError(
                f"{building}: writing failed ({error}). Make room on that disk and run the same command again: it goes "
                "on with what is missing"
            ) from error


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[Any]:
    """A function that maps over argument tuples in that many processes, results as they come."""
    if workers == 1:
        yield lambda function, tasks: (function(*task) for task in tasks)
        return
    context = multiprocessing.get_context("spawn")  # forking a process with JAX's threads in it may hang
    with concurrent.futures.ProcessPoolExecutor(workers, context, initializer=_start_worker) as pool:

        def run(function: Any, tasks: Sequence[tuple]) -> Iterator[Any]:
            futures = [pool.submit(function, *task) for task in tasks]
            try:
                for future in concurrent.futures.as_completed(futures):
                    yield future.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

        yield run


def _start_worker() -> None:
    """Leaves Ctrl-C to the parent, which stops in order, and ends with it if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _claim(plan: Plan, folder: Path, building: Path) -> bool:
    """Whether the folder holds this very dataset, whole. Raises ValueError if it, or the build begun, is another."""
    now = json.loads(json.dumps(asdict(plan)))
    for file, remedy in ((folder / store.SUMMARY, "build this one under another --name"), (building / FILE, "")):
        if not file.is_file():
            continue
        before = json.loads(file.read_text())
        changed = [
            f"{field}: {before.get(field)!r} there, {now[field]!r} here"
            for field in now
            if before.get(field) != now[field]
        ]
        if changed:
            raise ValueError(
                f"{file.parent} holds another build of {plan.name}; {remedy or 'finish it'}, or delete that folder:\n  "
                + "\n  ".join(changed)
            )
        if file.name == store.SUMMARY:
            return True
    building.mkdir(exist_ok=True)
    files.write_json(building / FILE, now, indent=1)
    return False


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Keeps two builds out of one folder; released by the system if the process dies."""
    with open(folder / ".lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise ValueError(f"{folder}: process {file.read()} is building there; wait for it, or stop it") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
