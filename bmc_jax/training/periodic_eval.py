"""A look at a run while it trains: the measures of evaluation on some test images, and a picture of predictions."""

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

#: Hands of a picture.
SHOWN = 12
#: Measures that are told in words, too.
TOLD = ("joints_2d_px", "joints_3d_mm")


def best(config: Config) -> tuple[str, bool] | None:
    """(measure, whether less of it is better) that the best checkpoint is kept by; None for none.

    Raises ValueError unless it is one of those that a look finds.
    """
    wanted = config.training.best
    if not wanted:
        return None
    less = evaluation.less_is_better(wanted)
    sets = [_title(entry) for entry in config.data.test]
    if wanted.rpartition("/")[0] not in sets:
        raise ValueError(f"training.best is {wanted!r}; it must begin with one of {', '.join(sets)}")
    return wanted, less


def _title(entry: str) -> str:
    """What an entry of `data.test` is called in the log: "split/set"."""
    name, split = sources.test_split(entry, "test")
    return f"{split}/{name}"


class Watch:
    """Test images, read once, and the evaluation of a training state, compiled once; neither, where nothing is asked
    for.

    Raises ValueError if there is no such split or dataset, or a damaged image.
    """

    def __init__(self, config: Config, hand_limits: Limits) -> None:
        self._config, self._limits = config, hand_limits
        training = config.training
        if not training.evaluate_every and not training.picture_every:
            return
        count = training.evaluate_count if training.evaluate_every else SHOWN
        splits = {entry: sources.test_split(entry, "test") for entry in config.data.test}
        sets = {
            entry: sources.kind(name).test_examples(config, split, count, stored=config.data.image_size)
            for entry, (name, split) in splits.items()
        }
        self._sets = {_title(entry): examples for entry, examples in sets.items()}
        self._captions, self._shown = _spread(sets)
        self._run = forward.program(config)

    def due(self, done: int) -> bool:
        """Whether there is anything to look at after that step."""
        return self._evaluates(done) or self._draws(done)

    def look(self, state: step.TrainState, done: int, log: Log) -> dict[str, float]:
        """Log what is due of a state of the training step's, and return the measures, named "split/set/measure" with
        the measures of `measures.MEASURES`; none after a step without evaluation."""
        saved, measured = serialization.to_state_dict(state), dict[str, float]()
        for name, examples in self._sets.items() if self._evaluates(done) else ():
            prediction = forward.predict(self._config, saved, examples, run=self._run)
            found = evaluation.measure(prediction.joints_2d, prediction.joints_3d, examples, self._limits)
            log.say(f"step {done:,}, {name}: {_words(found)}")
            measured |= {f"{name}/{key}": value for key, value in found.items()}
        if measured:
            log.write(done, measured)
        if self._draws(done):
            log.picture(done, self._picture(saved, done))
        return measured

    def _evaluates(self, done: int) -> bool:
        every = self._config.training.evaluate_every
        return every > 0 and (done % every == 0 or done == steps(self._config))

    def _draws(self, done: int) -> bool:
        every = self._config.training.picture_every
        return every > 0 and (done % every == 0 or done == steps(self._config))

    def _picture(self, saved: dict[str, Any], done: int) -> np.ndarray:
        """The predictions over their images, uint8 `[height, width, 3]`."""
        shown = self._shown
        joints = forward.predict(self._config, saved, shown, run=self._run).joints_2d
        figure = draw.contact_sheet(
            shown.image,
            shown.joints_2d,
            shown.joints_2d_valid,
            predicted=joints,
            captions=self._captions,
            title=f"{self._config.name}, step {done:,}",
        )
        return np.asarray(Image.open(io.BytesIO(draw.png(figure))).convert("RGB"))


def _words(found: dict[str, float]) -> str:
    told = [(found[key], *evaluation.MEASURES[key]) for key in TOLD if key in found]
    return "; ".join(f"{words} {value:.{digits}f} {unit}" for value, words, unit, digits, _ in told)


def _spread(sets: dict[str, Batch]) -> tuple[list[str], Batch]:
    """Examples from all over each set, as many of one as of another, and their names."""
    each, names, parts = max(SHOWN // len(sets), 1), list[str](), []
    for name, examples in sets.items():
        rows = np.unique(np.linspace(0, len(examples.present) - 1, each).astype(int))
        parts.append(jax.tree.map(lambda leaf: leaf[rows], examples))  # noqa: B023, used at once
        names += [f"{Path(name).name} {row}" for row in rows]
    return names, jax.tree.map(lambda *part: np.concatenate(part), *parts)
