"""Builds of datasets: checked, shuffled and sharded records, on the cores of this machine or on Apache Beam.

    OUT/NAME/1.0.0.building/   shards and their tallies during a build, and after an interrupted one
    OUT/NAME/1.0.0/            the complete dataset: array_record shards, TFDS's metadata, summary.json

An interrupted build continues with the missing shards. The records, their order and their hash do not depend on the
number of cores.
"""

import concurrent.futures
import contextlib
import fcntl
import importlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bmc_jax.data import store
from bmc_jax.data.build import publish, shard
from bmc_jax.data.build.shard import PLAN_FILE, Plan
from bmc_jax.runtime import files

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""Pattern of the names of built datasets, which are folders and the beginnings of their files' names."""


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
    """Builds a dataset, or continues a build, and returns its folder. A complete dataset is not changed.

    Args:
      reader: module of `bmc_jax.data.readers`.
      source: file or folder that it reads.
      out: folder of built datasets.
      name: name of the built dataset, of letters, digits, "_", "-" and "."; by default the reader's.
      options: keyword arguments of the reader's `splits`.
      faults: "stop" at a damaged row, or "skip" and count damaged rows.
      workers: number of processes, 1 for this process alone; by default one per core.
      beam: options of a Beam pipeline, such as "runner=DirectRunner,direct_num_workers=4", on which TFDS runs the
        build.

    Raises:
      FileNotFoundError: naming the missing files of the source.
      ValueError: naming file, row, value and remedy, for faults of the source; also for an invalid name, if the folder
        contains another build, or if another process is building there.
      OSError: if the disk is full. The finished shards are kept.
    """
    if name and not NAME.fullmatch(name):
        raise ValueError(
            "--name: expected letters, digits, '_', '-' and '.', beginning with a letter or digit, since the name is a "
            f"folder in {os.fspath(out)}, got {name!r}; choose another name"
        )
    source, module = Path(source), importlib.import_module(f"bmc_jax.data.readers.{reader}")
    options = options or {}
    splits = module.splits(source, **options)
    empty = [split for split, rows in splits.items() if not rows]
    if empty or not splits:
        raise ValueError(
            f"{source}: expected rows of {', '.join(empty) or 'a split'}, got none; name the folder of the dataset"
        )
    name = name or getattr(module, "dataset_name", lambda **_: reader)(**options)
    plan = Plan(
        reader=reader,
        name=name,
        version=module.VERSION,
        source=os.fspath(source.absolute()),
        options={name: value for name, value in json.loads(json.dumps(options)).items() if value is not None},
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
            print(f"{folder} is complete and not changed; if its source has changed, delete the folder and build again")
            return folder
        parts = {split: plan.shards(split, rows, building) for split, rows in splits.items()}
        if beam is None:
            _on_this_machine(plan, parts, building, workers or getattr(module, "WORKERS", os.cpu_count()) or 1)
        else:
            publish.on_beam(plan, parts, Path(out), folder, building, beam)
        publish.finish(plan, module.INFO, parts, folder, building)
    return folder


def _on_this_machine(plan: Plan, parts: dict[str, list[shard.Shard]], building: Path, workers: int) -> None:
    """Writes the missing shards."""
    tasks, done = [], 0
    for split, split_parts in parts.items():
        for part, file in zip(split_parts, plan.shard_files(split, len(split_parts), building), strict=True):
            if shard.read_tally(part.tally_file) is None or not file.is_file():
                tasks.append((part, os.fspath(file)))
            else:
                done += len(part.rows)
    title, total = f"build {plan.name}", sum(plan.rows.values())
    if done:
        print(f"{building}: continuing after {done:,} of {total:,} rows")
    with tqdm(total=total, initial=done, desc=title, unit=" rows", dynamic_ncols=True) as bar, _pool(workers) as run:
        try:
            for rows in run(shard.write, tasks):
                bar.update(rows)
        except OSError as error:
            if error.filename or isinstance(error, FileNotFoundError):
                raise
            raise OSError(
                f"{building}: expected to write shards, got an error ({error}); free space on that disk and run the "
                "same command again, which continues with the missing shards"
            ) from error


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[Any]:
    """Yields a function that maps over argument tuples in `workers` processes, with results in order of completion."""
    if workers == 1:
        yield lambda function, tasks: (function(*task) for task in tasks)
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process with JAX's threads may hang
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
    """Makes a worker ignore Ctrl-C, which its parent handles, and exit when its parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _claim(plan: Plan, folder: Path, building: Path) -> bool:
    """Returns whether the folder contains this complete dataset; otherwise writes the plan into the building folder.

    Raises:
      ValueError: if the folder contains another dataset, or the building folder contains finished shards of another.
    """
    now = json.loads(json.dumps(asdict(plan)))
    places = (
        (folder / store.SUMMARY, "build this one with another --name"),
        (building / PLAN_FILE, "continue that build with its options"),
    )
    for file, remedy in places:
        if not file.is_file():
            continue
        before = json.loads(file.read_text(encoding="utf-8"))
        changed = [
            f"{field}: expected {now[field]!r}, got {before.get(field)!r}"
            for field in now
            if before.get(field) != now[field]
        ]
        if changed and file.name == PLAN_FILE and not any(building.glob("*-[0-9]*.json")):
            shutil.rmtree(building)  # that build has no finished shard
        elif changed:
            raise ValueError(
                f"{file.parent}: expected this build of {plan.name}, got another; {remedy}, or delete that folder:\n  "
                + "\n  ".join(changed)
            )
        if file.name == store.SUMMARY:
            return True
    building.mkdir(exist_ok=True)
    files.write_json(building / PLAN_FILE, now, indent=1)
    return False


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Locks a folder against a second build. The system releases the lock if the process dies."""
    with open(folder / ".lock", "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise ValueError(
                f"{folder}: expected no other build in this folder, got process {file.read()}; wait for it, or stop it"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
