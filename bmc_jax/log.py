"""What a run says while it trains: a progress bar, `metrics.jsonl` and TensorBoard, on the first process only."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from tensorboardX import SummaryWriter
from tqdm import tqdm

FILE = "metrics.jsonl"


class Log:
    """Writer of a run's metrics from step `first` to `total`; a context manager.

    A run that goes on from a checkpoint is given its step: lines that the interrupted run wrote past it are taken out,
    so every step is in the file once.
    """

    def __init__(self, workdir: Path, *, first: int, total: int, batch_size: int, description: str) -> None:
        self._writes = jax.process_index() == 0
        self._batch_size = batch_size
        if not self._writes:
            return
        file = workdir / FILE
        kept = [line for line in _lines(file) if json.loads(line)["step"] <= first]
        partial = file.with_name(file.name + ".partial")
        partial.write_text("".join(kept))
        os.replace(partial, file)
        self._file = file.open("a")
        self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=first + 1)
        self._bar = tqdm(
            initial=first * batch_size,
            total=total * batch_size,
            desc=description,
            unit=" images",
            unit_scale=True,
            mininterval=0.5,
            dynamic_ncols=True,
        )

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: Any) -> None:
        if self._writes:
            self._bar.close()
            self._file.close()
            self._board.close()

    def advance(self) -> None:
        """One more step is done."""
        if self._writes:
            self._bar.update(self._batch_size)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of a step, the first being 1."""
        if not self._writes:
            return
        self._file.write(json.dumps({"step": step, **metrics}) + "\n")
        self._file.flush()
        for name, value in metrics.items():
            self._board.add_scalar(name, value, step)
        self._bar.set_postfix_str(f"loss {metrics['loss']:.3g}", refresh=False)


def read(workdir: Path) -> list[dict[str, int | float]]:
    """The lines of a run's `metrics.jsonl`, by step; empty if it has none."""
    return [json.loads(line) for line in _lines(Path(workdir) / FILE)]


def _lines(file: Path) -> list[str]:
    """Whole lines; a last one cut short by a crash is left out."""
    if not file.exists():
        return []
    return [line for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
