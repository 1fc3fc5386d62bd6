"""Periodic evaluation during training: metrics on test images, and pictures of predictions."""

import io
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import serialization
from PIL import Image

from bmc_jax.config import Config, steps
from bmc_jax.core.types import Batch, Limits
from bmc_jax.data import sources
from bmc_jax.metrics import evaluation
from bmc_jax.training import forward, step
from bmc_jax.training.log import Log
from bmc_jax.visualization import draw

PICTURE_HANDS = 12
"""Number of hands in a picture."""
PRINTED = ("joints_2d_px", "joints_3d_mm")
"""Metrics that are printed in addition to being logged."""


def best_metric(config: Config) -> tuple[str, bool] | None:
    """Returns the metric that selects the best checkpoint and whether lower is better; None for no metric.

    Raises:
      ValueError: if `training.best` is not a metric that periodic evaluation computes.
    """
    name = config.training.best
    if not name:
        return None
    less = evaluation.less_is_better(name)
    sets = [_title(entry) for entry in config.data.test]
    if name.rpartition("/")[0] not in sets:
        raise ValueError(f"training.best: expected SET/METRIC with a SET of {', '.join(sets)}, got {name!r}")
    return name, less


def _title(entry: str) -> str:
    """Returns the name of an entry of `data.test` in the log, "split/set"."""
    name, split = sources.test_split(entry, "test")
    return f"{split}/{name}"


class PeriodicEvaluation:
    """Evaluates every `training.evaluate_every` steps, draws every `training.picture_every` steps, and both at the end.

    The test images are read once and the evaluation is compiled once; neither happens if both fields are 0.

    Raises:
      ValueError: if a split or dataset is unknown, or an image is damaged.
    """

    def __init__(self, config: Config, hand_limits: Limits) -> None:
        self._config, self._limits = config, hand_limits
        training = config.training
        if not training.evaluate_every and not training.picture_every:
            return
        count = training.evaluate_count if training.evaluate_every else PICTURE_HANDS
        splits = {entry: sources.test_split(entry, "test") for entry in config.data.test}
        sets = {
            entry: sources.kind(name).test_examples(config, split, count, stored=config.data.image_size)
            for entry, (name, split) in splits.items()
        }
        self._sets = {_title(entry): examples for entry, examples in sets.items()}
        self._captions, self._pictured = _spread(sets)
        self._program = forward.program(config)

    def due(self, done: int) -> bool:
        """Returns whether to evaluate or draw after step `done`, counted from 1."""
        training = self._config.training
        return self._is_due(training.evaluate_every, done) or self._is_due(training.picture_every, done)

    def run(self, state: step.TrainState, done: int, log: Log) -> dict[str, float]:
        """Logs the metrics and the picture that are due after step `done`.

        Args:
          state: the training state, replicated or on the host.
          done: number of steps taken.
          log: the run's log.

        Returns:
          The metrics of `evaluation.METRICS` by "split/set/metric"; empty if no evaluation is due.
        """
        training = self._config.training
        saved, metrics = serialization.to_state_dict(state), dict[str, float]()
        for name, examples in self._sets.items() if self._is_due(training.evaluate_every, done) else ():
            prediction = forward.predict(self._config, saved, examples, run=self._program)
            values = evaluation.measure(prediction.joints_2d, prediction.joints_3d, examples, self._limits)
            log.print(f"step {done:,}, {name}: {_line(values)}")
            metrics |= {f"{name}/{key}": value for key, value in values.items()}
        if metrics:
            log.write(done, metrics)
        if self._is_due(training.picture_every, done):
            log.picture(done, self._picture(saved, done))
        return metrics

    def _is_due(self, every: int, done: int) -> bool:
        return every > 0 and (done % every == 0 or done == steps(self._config))

    def _picture(self, saved: dict[str, Any], done: int) -> np.ndarray:
        """Returns the predictions drawn over their images, uint8 `[height, width, 3]`."""
        examples = self._pictured
        figure = draw.contact_sheet(
            examples.image,
            examples.joints_2d,
            examples.joints_2d_valid,
            predicted=forward.predict(self._config, saved, examples, run=self._program).joints_2d,
            captions=self._captions,
            title=f"{self._config.name}, step {done:,}",
        )
        return np.asarray(Image.open(io.BytesIO(draw.png(figure))).convert("RGB"))


def _line(values: dict[str, float]) -> str:
    """Returns the metrics of `PRINTED` as text."""
    found = [(values[key], *evaluation.METRICS[key]) for key in PRINTED if key in values]
    return "; ".join(f"{words} {value:.{digits}f} {unit}" for value, words, unit, digits, _ in found)


def _spread(sets: dict[str, Batch]) -> tuple[list[str], Batch]:
    """Returns captions and examples: the same number from each set, equally spaced within it."""
    each, captions, parts = max(PICTURE_HANDS // len(sets), 1), list[str](), []
    for name, examples in sets.items():
        rows = np.unique(np.linspace(0, len(examples.present) - 1, each).astype(int))
        parts.append(jax.tree.map(lambda leaf: leaf[rows], examples))  # noqa: B023, used at once
        captions += [f"{Path(name).name} {row}" for row in rows]
    return captions, jax.tree.map(lambda *part: np.concatenate(part), *parts)
