"""Builds of datasets into checked, shuffled, sharded records, on the cores of this machine or on Apache Beam.

    OUT/NAME/1.0.0.building/   shards and their tallies during a build, and after one that was interrupted
    OUT/NAME/1.0.0/            the whole dataset: array_record shards, TFDS's metadata, summary.json

A build that was interrupted continues with the missing shards. The records, their order and their hash do not depend on
the number of cores.
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
"""Names of built datasets: folders, and the beginning of their files' names."""


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
    """Builds a dataset, or continues a build, and returns its folder. A whole dataset is left as it is.

    Args:
      reader: Module of `bmc_jax.data.readers`.
      source: File or folder that it reads.
      out: Folder of built datasets.
      name: Name of the built dataset, of letters, digits, "_", "-" and "."; by default the reader's.
      options: Keyword arguments of the reader's `splits`.
      faults: "stop" at a damaged row, or "skip" and count damaged rows.
      workers: Number of processes; by default one a core, and 1 for this process alone.
      beam: Options of a Beam pipeline, as "runner=DirectRunner,direct_num_workers=4", on which TFDS runs the build.

    Raises:
      FileNotFoundError: naming what the source lacks.
      ValueError: naming file, row, value and remedy of what is wrong with the source; also for a name that is none, if
        the folder holds another build, or another process is building there.
      OSError: if the disk is full. The finished shards are kept.
    """
    if name and not NAME.fullmatch(name):
        raise ValueError(
            f"--name {name!r} is no name of a dataset: it is a folder of {os.fspath(out)}, and has letters, digits, "
            "'_', '-' and '.', beginning with a letter or digit"
        )
    source, module = Path(source), importlib.import_module(f"bmc_jax.data.readers.{reader}")
    options = options or {}
    splits = module.splits(source, **options)
    empty = [split for split, rows in splits.items() if not rows]
    if empty or not splits:
        raise ValueError(f"{source} has no rows of {', '.join(empty) or 'any split'}: nothing to build")
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
            print(
                f"{folder} is whole already and is left as it is; if its source has changed, delete it and build again"
            )
            return folder
        parts = {split: plan.shards(split, rows, building) for split, rows in splits.items()}
        if beam is None:
            _on_this_machine(plan, parts, building, workers or getattr(module, "WORKERS", os.cpu_count()) or 1)
        else:
            publish.on_beam(plan, parts, Path(out), folder, building, beam)
        publish.finish(plan, module.INFO, parts, folder, building)
    return folder


def _on_this_machine(plan: Plan, parts: dict[str, list[shard.Shard]], building: Path, workers: int) -> None:
    """Writes the shards that are missing."""
    tasks, done = [], 0
    for split, split_parts in parts.items():
        for part, file in zip(split_parts, plan.shard_files(split, len(split_parts), building), strict=True):
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
    """Yields a function that maps over argument tuples in that many processes, with the results as they come."""
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
    """Makes a worker ignore Ctrl-C, which its parent handles, and end when its parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _claim(plan: Plan, folder: Path, building: Path) -> bool:
    """Returns whether the folder holds this dataset, whole; otherwise writes the plan into the building folder.

    Raises:
      ValueError: if the folder holds another dataset, or the building folder finished shards of another.
    """
    now = json.loads(json.dumps(asdict(plan)))
    for file, remedy in ((folder / store.SUMMARY, "build this one under another --name"), (building / PLAN_FILE, "")):
        if not file.is_file():
            continue
        before = json.loads(file.read_text(encoding="utf-8"))
        changed = [
            f"{field}: {before.get(field)!r} there, {now[field]!r} here"
            for field in now
            if before.get(field) != now[field]
        ]
        if changed and file.name == PLAN_FILE and not any(building.glob("*-[0-9]*.json")):
            shutil.rmtree(building)  # no shard of that build was finished
        elif changed:
            raise ValueError(
                f"{file.parent} holds another build of {plan.name}; {remedy or 'finish it'}, or delete that folder:\n  "
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
            raise ValueError(f"{folder}: process {file.read()} is building there; wait for it, or stop it") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
