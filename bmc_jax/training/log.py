"""Log of a run, written by process 0: progress bar, `metrics.jsonl`, pictures, TensorBoard and Weights & Biases."""

import importlib
import json
import math
import os
import secrets
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image
from tensorboardX import SummaryWriter

from bmc_jax.config import Config
from bmc_jax.runtime import files
from bmc_jax.runtime.progress import Progress
from bmc_jax.runtime.quiet import is_quiet
from bmc_jax.training import config_io, flops

FILE = "metrics.jsonl"
"""Metrics in the run's folder: one JSON object per line, with its step."""
DAMAGED_FILE = "metrics.jsonl.damaged"
"""Invalid lines of `metrics.jsonl`, moved here when training is resumed."""
FOLDER = "pictures"
WANDB_FILE = "wandb_id.txt"


def require_installed(config: Config) -> None:
    """Raises ValueError if the configuration logs to Weights & Biases and its package cannot be imported."""
    if config.training.wandb:
        try:
            importlib.import_module("wandb")
        except ImportError as error:
            raise ValueError(
                f"training.wandb: expected the package wandb for {config.training.wandb!r}, got {error}; run "
                "`pip install wandb`, or set the field to ''"
            ) from error


class Log:
    """Writer of a run's metrics and pictures; a context manager.

    Args:
      workdir: the run's folder.
      config: its configuration.
      first: step that the run resumes from, 0 for a new run. Lines that an interrupted run wrote after this step are
        removed, so that no step is in the file twice; damaged lines are moved to `DAMAGED_FILE`, with a warning.
      total: last step of the run.
    """

    def __init__(self, workdir: Path, config: Config, *, first: int, total: int) -> None:
        self._writes, self._workdir = jax.process_index() == 0, workdir
        self._batch_size, self._peak = config.data.batch_size, flops.peak_images_per_second(config)
        self._since, self._advanced = time.perf_counter(), 0
        if not self._writes:
            return
        file = workdir / FILE
        _set_damaged_lines_aside(file)
        files.write_text(file, "".join(f"{json.dumps(row)}\n" for row in _rows(file)[0] if row["step"] <= first))
        self._file = file.open("a", encoding="utf-8")
        self._boards = [_TensorBoard(workdir, first), *([_Wandb(workdir, config)] if config.training.wandb else [])]
        self._bar = _Bar(
            batch_size=self._batch_size, peak=self._peak, initial=first, total=total, desc=f"train {config.name}"
        )

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if self._writes:
            self._bar.close()
            self._file.close()
            for board in self._boards:
                board.close(failed=kind is not None)

    def advance(self, taken: int = 1) -> None:
        """Counts `taken` more steps."""
        self._advanced += taken
        if self._writes:
            self._bar.update(taken)

    def speed(self) -> dict[str, float]:
        """Returns the images per second since the last call, and the MFU if `training.peak_tflops` is given.

        The time includes evaluation, saving and waiting for data.
        """
        now = time.perf_counter()
        rate = self._advanced * self._batch_size / (now - self._since)
        self._since, self._advanced = now, 0
        return {"images_per_second": rate} | ({"mfu": rate / self._peak} if self._peak else {})

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes the metrics of a step, counted from 1. The bar shows "loss" and "input_wait" if given."""
        if not self._writes:
            return
        self._file.write(json.dumps({"step": step, **metrics}) + "\n")
        self._file.flush()
        for board in self._boards:
            board.metrics(step, metrics)
        if "loss" in metrics:
            waiting = f", waiting {metrics['input_wait']:.0%}" if "input_wait" in metrics else ""
            self._bar.set_postfix_str(f"loss {metrics['loss']:.3g}{waiting}", refresh=False)

    def print(self, line: str) -> None:
        """Prints a line above the bar, unless `--quiet` is given."""
        if self._writes and not is_quiet():
            self._bar.write(line, file=sys.stderr)

    def picture(self, step: int, image: np.ndarray) -> None:
        """Writes a picture, uint8 `[height, width, 3]`, as `pictures/step_000500.jpg` and to the boards."""
        if not self._writes:
            return
        file = self._workdir / FOLDER / f"step_{step:06}.jpg"
        with files.replacing(file) as partial:
            Image.fromarray(image).save(partial, quality=90)
        for board in self._boards:
            board.picture(step, image)


def read(workdir: str | os.PathLike) -> list[dict[str, int | float]]:
    """Returns the lines of a run's `metrics.jsonl` that belong to training steps (that have a loss).

    The list is empty if there is no file. Damaged lines are skipped, with a warning.
    """
    file = Path(workdir) / FILE
    rows, damaged = _rows(file)
    if damaged:
        warnings.warn(f"{file}: skipped {len(damaged)} damaged lines; `bmc train` moves them away", stacklevel=2)
    return [row for row in rows if "loss" in row]


def _rows(file: Path) -> tuple[list[dict[str, int | float]], list[bytes]]:
    """Returns the rows of a file and its damaged lines, except a last line that a crash cut short."""
    rows, damaged = [], []
    for line in file.read_bytes().splitlines(keepends=True) if file.exists() else ():
        row = _row(line)
        if row is not None:
            rows.append(row)
        elif line.endswith(b"\n"):
            damaged.append(line)
    return rows, damaged


def _row(line: bytes) -> dict[str, int | float] | None:
    """Returns the row that `Log.write` wrote as this line, None for any other content."""
    try:
        row = json.loads(line)
        for value in row.values():
            math.isfinite(value)  # raises for values that are not numbers or too large for a float
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    return row if type(row.get("step")) is int else None


def _set_damaged_lines_aside(file: Path) -> None:
    _, damaged = _rows(file)
    if damaged:
        aside = file.with_name(DAMAGED_FILE)
        with aside.open("ab") as opened:
            opened.writelines(damaged)
        warnings.warn(f"{file}: {len(damaged)} damaged lines were moved to {aside.name}", stacklevel=2)


class _Bar(Progress):
    """Progress in steps, with images per second, MFU and the values that `Log.write` adds."""

    TERMINAL = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {speed}{postfix}]"
    PLAIN = "{desc}: {percentage:.0f}%, step {n_fmt} of {total_fmt} [{elapsed}<{remaining}, {speed}{postfix}]"

    def __init__(self, *, batch_size: int, peak: float | None, **options: Any) -> None:
        self._batch_size, self._peak = batch_size, peak
        super().__init__(unit=" steps", **options)

    @property
    def format_dict(self) -> dict[str, Any]:
        values = super().format_dict
        mean = (values["n"] - values["initial"]) / values["elapsed"] if values["elapsed"] else 0.0
        rate = (values["rate"] or mean) * self._batch_size
        speed = f"{rate:,.0f} images/s" + (f", MFU {rate / self._peak:.0%}" if self._peak else "")
        return {**values, "speed": speed}


class _TensorBoard:
    def __init__(self, workdir: Path, first: int) -> None:
        self._writer = SummaryWriter(str(workdir / "tensorboard"), purge_step=first + 1)

    def metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, step: int, image: np.ndarray) -> None:
        self._writer.add_image("predictions", image, step, dataformats="HWC")

    def close(self, *, failed: bool) -> None:
        self._writer.close()


class _Wandb:
    """Run in Weights & Biases, resumed whenever training is resumed in this folder.

    Weights & Biases ignores steps that it already has; a resumed run repeats those bit for bit.
    """

    def __init__(self, workdir: Path, config: Config) -> None:
        file = workdir / WANDB_FILE
        if not file.exists():
            file.write_text(secrets.token_hex(4), encoding="utf-8")
        self._wandb = importlib.import_module("wandb")
        self._run = self._wandb.init(
            project=config.training.wandb,
            name=config.name,
            id=file.read_text(encoding="utf-8"),
            resume="allow",
            dir=str(workdir),
            config=config_io.to_dict(config),
        )

    def metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def picture(self, step: int, image: np.ndarray) -> None:
        self._run.log({"predictions": self._wandb.Image(image)}, step=step)

    def close(self, *, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))
