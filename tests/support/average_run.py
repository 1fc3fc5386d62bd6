"""The folder of a run that was never trained: its average is another network than its weights, and it was measured."""

import dataclasses
import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from bmc_jax import limits, step
from bmc_jax.core.types import LimitsMetadata
from bmc_jax.inference import evaluate
from bmc_jax.training import checkpoint, config_io, run_folder
from support import examples, results

LIMITS = dataclasses.replace(
    jax.tree.map(jnp.asarray, examples.narrow_limits()),
    meta=LimitsMetadata(source="hands of this test", count=300),
)
STEP = 3


def options():
    tiny = examples.tiny_config()
    return dataclasses.replace(tiny, optimizer=dataclasses.replace(tiny.optimizer, ema=0.9))


def numbers(tree, seed):
    """Positive ones in the place of shapes."""
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: generator.uniform(0.0, 0.3, leaf.shape).astype(leaf.dtype), tree)


def write(folder: Path) -> Path:
    """Writes the run, and returns its folder."""
    folder.mkdir()
    shapes = jax.eval_shape(functools.partial(step.create, options()))
    state, average = numbers(shapes, 0), numbers(shapes.average, 1)
    # About a hand, since the angles of a heap of joints are rounding errors.
    head, about = average["params"]["head"], examples.examples(1, seed=4)
    depth = (about.joints_3d[0, :, 2:] - about.joints_3d[0, :1, 2:]) / about.scale
    pose = np.concatenate([(about.joints_2d[0] - (examples.SIZE - 1) / 2) / (examples.SIZE / 2), depth], axis=-1)
    head["bias"] = pose.reshape(-1).astype(np.float32)
    head["kernel"] = np.random.default_rng(2).normal(0, 0.002, head["kernel"].shape).astype(np.float32)
    state = dataclasses.replace(state, step=np.array(STEP, np.int32), average=average)
    config_io.write(options(), folder)
    limits.save(LIMITS, folder / limits.FILE)
    records = [{"name": source.name, "split": "train", "count": 16} for source in options().data.train]
    (folder / run_folder.DATA_FILE).write_text(json.dumps(records))
    network = {"joints_2d_px": 12.345, "aligned_mm": 9.876}
    constant = {"joints_2d_px": 23.4, "aligned_mm": 12.3}
    measured = results.measured(STEP, {"real_like": {"network": network, "mean_pose": constant}}, passes=2, turns=3)
    (folder / evaluate.FILE).write_text(json.dumps(measured))
    with checkpoint.Writer(folder, keep=1, metadata={"environment": {"commit": "the commit of training"}}) as writer:
        writer.save(state)
    return folder


def hands_of_40_mm(seed, domain, split, indices):
    assert (seed, domain, split) == (0, "mannequin", "train")
    hands = examples.examples(len(indices))
    return 0.04 * hands.joints_3d / hands.scale[:, None, None]
