"""Effect of the biomechanical losses on 2D landmarks of photographs, without 3D labels, on the lifter's accuracy there.

    python benchmarks/lifter_weak.py real_weak --out runs/lifter_weak

All arms train on the same rendered hands, with their 3D joints, for the same number of steps. All arms except "3d" also
lift landmarks of nine tenths of the photographs at each step, and add the biomechanical losses of the lifted hands.
Limits are fitted to the rendered training hands. An arm with only the 2D labels of the photographs would equal "3d":
a lifted joint is on the ray of its landmark, so its error in the image is 0 and has no gradient.

The held-out tenth of the photographs is measured relative to MediaPipe's 3D joints (see `lifter.py`), which are not
labels, and by the share of bones, palms and joint angles within the limits.
"""

import argparse
import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import lifter as measure
import numpy as np
from machine import machine

from bmc_jax import anatomy, limits, losses, synthesis
from bmc_jax.models import lifter
from bmc_jax.training import lifter as training

ARMS = {"3d": 0.0, "+ bl, rb, a": 1.0, "+ bl, rb, a, a tenth": 0.1}
"""Factor of the biomechanical losses; their relative weights are those of `experiments.settings`."""
WEIGHTS = losses.LossWeights(bone_length=1.5, palm=0.5, joint_angle=1.5)
NOISE = 0.02


def lift(weights, rays: jax.Array) -> jax.Array:
    """Returns lifted joints, scale units."""
    joints = rays * (1 + lifter.relative_depth(weights, rays).mean)[..., None]
    return joints / anatomy.scale(joints)[..., None, None]


def biomechanical(rays: jax.Array, allowed, factor: float, batch_size: int):
    """Returns the loss of the hands lifted from a batch of landmarks."""

    def loss(weights, key):
        drawn = rays[jax.random.randint(key, (batch_size,), 0, len(rays))]
        return factor * jnp.mean(losses.biomechanical(lift(weights, drawn), allowed, WEIGHTS))

    return loss if factor else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", metavar="FOLDER", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs, which are resumed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    options = parser.parse_args()
    settings = training.Settings(people=1, steps=options.steps)
    hands = training.poses(settings)
    allowed = limits.fit(np.asarray(hands), source=f"training people of {training.DOMAIN}")
    rays, _ = measure.photographs(options.real, held_out=False)
    held, truth = measure.photographs(options.real)
    seen = measure.observed(synthesis.poses(0, training.DOMAIN, "test", np.arange(1024)), noise=(NOISE, NOISE))
    print(machine())
    columns = ("photographs, PA mm", "their bones beyond limits, %", "angles beyond, %", "rendered people, PA mm")
    measure.head("arm", *(f"{name}" for name in columns))
    for name in options.arms:
        values = []
        for seed in range(options.seeds):
            extra = biomechanical(jnp.asarray(rays), allowed, ARMS[name], settings.batch_size // 4)
            one = dataclasses.replace(settings, seed=seed)
            weights = training.train(one, hands, options.out / f"{list(ARMS).index(name)}_{seed}", extra=extra)
            weights = {layer: jnp.asarray(array) for layer, array in weights.items()}
            beyond = losses.excess(lift(weights, jnp.asarray(held)), allowed)
            values.append(
                (
                    measure.aligned(measure.lifted(weights, jnp.asarray(held)), truth).mean(),
                    100 * np.mean(beyond.bone_length > 0),
                    100 * np.mean(beyond.angles > 0),
                    measure.aligned(measure.lifted(weights, seen.rays), seen.joints).mean(),
                )
            )
        measure.row(
            name,
            *(f"{np.mean(x):.2f} ± {np.std(x, ddof=1) if len(x) > 1 else 0:.2f}" for x in zip(*values, strict=True)),
        )


if __name__ == "__main__":
    main()
