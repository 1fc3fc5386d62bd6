"""Depth ambiguity of a known 2D pose under limits: the paper's Figure 4, for many poses.

Joints move only along their viewing rays, so the projection does not change and only the biomechanical losses depend on
the depths. The losses are minimized directly, without a network, from perturbed depths: bone lengths alone, then with
the palm, then with the joint angles, each time from the same start.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from bmc_jax import metrics
from bmc_jax.core import anatomy, losses, numerics
from bmc_jax.core.losses import LossWeights
from bmc_jax.core.types import Limits

START, TRUTH = "start", "truth"
#: The losses of each stage, by their names in `losses.constraints`.
STAGES = {
    "L_BL": ("bone_length",),
    "L_BL + L_RB": ("bone_length", "palm"),
    "L_BL + L_RB + L_A": ("bone_length", "palm", "joint_angle"),
}
#: Weights of the losses in use.
WEIGHTS = {"bone_length": 5.0, "palm": 1.5, "joint_angle": 1.5}
NO_LOSS = LossWeights(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)

DEVIATION = 0.015
"""Standard deviation of the depth errors at the start, metres. The mean error of depths relative to the wrist is then
16 mm, about that of the paper's training with 2D labels alone (Table 2: 17 mm)."""
STEPS, RATE = 400, 0.02
"""Steps and peak learning rate of Adam; the rate, in scale units, decays to zero by a cosine schedule."""


def perturb_depths(joints: np.ndarray, *, seed: int = 0, deviation: float = DEVIATION) -> np.ndarray:
    """Moves each joint along its ray by a normally distributed depth error.

    Args:
      joints: `[n, 21, 3]`, metres, camera frame. The errors of a pose do not depend on the number of poses.
      seed: seed of the errors.
      deviation: standard deviation of the errors, metres.

    Raises:
      ValueError: if a joint is not in front of the camera before or after the perturbation.
    """
    draws = np.random.default_rng(seed).normal(0.0, deviation, joints.shape[:2])
    depth = joints[..., 2] + draws
    behind = np.argwhere(np.minimum(joints[..., 2], depth) < numerics.NEAREST_DEPTH)
    if len(behind):
        pose, joint = behind[0].tolist()
        raise ValueError(
            f"pose {pose}, joint {joint}: expected a depth in front of the camera, got {joints[pose, joint, 2]:g} m, "
            f"{depth[pose, joint]:g} m perturbed; give joints in metres, x right, y down, z forward"
        )
    return (joints * (depth / joints[..., 2])[..., None]).astype(np.float32)


@functools.partial(jax.jit, static_argnames="steps")
def descend(
    joints: Float[Array, "pose 21 3"], limits: Limits, weights: LossWeights, *, steps: int = STEPS
) -> Float[Array, "pose 21 3"]:
    """Minimizes L_BMC (Eq. 9) of each pose, in scale units, over the depths of its joints, which stay on their rays."""
    rays = joints / joints[..., 2:]
    optimizer = optax.adam(optax.cosine_decay_schedule(RATE, steps))

    def loss(depth):
        return jnp.sum(losses.biomechanical(rays * depth[..., None], limits, weights))

    def step(carry: tuple[Float[Array, "pose 21"], optax.OptState], _: None) -> tuple[tuple[Any, Any], None]:
        depth, state = carry
        updates, state = optimizer.update(jax.grad(loss)(depth), state)
        return (optax.apply_updates(depth, updates), state), None

    (depth, _), _ = jax.lax.scan(step, (joints[..., 2], optimizer.init(joints[..., 2])), None, length=steps)
    return rays * depth[..., None]


def resolve(
    truth: np.ndarray,
    limits: Limits,
    *,
    seed: int = 0,
    deviation: float = DEVIATION,
    steps: int = STEPS,
) -> dict[str, np.ndarray]:
    """Perturbs the depths of true poses, and minimizes the losses of each stage.

    Args:
      truth: `[n, 21, 3]`, metres, camera frame.
      limits: limits of the losses.
      seed: seed of the depth errors.
      deviation: standard deviation of the depth errors, metres.
      steps: number of steps of the minimization.

    Returns:
      Poses in metres at each hand's true scale, by `START` and the names of `STAGES`.

    Raises:
      ValueError: see `perturb_depths`.
    """
    start = perturb_depths(truth, seed=seed, deviation=deviation)
    scale = np.asarray(anatomy.scale(jnp.asarray(truth, jnp.float32)))[:, None, None]
    stages = {START: start}
    for stage, terms in STAGES.items():
        weights = LossWeights(**(vars(NO_LOSS) | {term: WEIGHTS[term] for term in terms}))
        descended = descend(jnp.asarray(start / scale), limits, weights, steps=steps)
        stages[stage] = np.asarray(descended) * scale
    return stages


def depth_errors(joints: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Returns the mean depth error of each pose in millimetres, `[n]`, wrists aligned."""
    relative = (metrics.root_relative(poses)[..., 2:] for poses in (joints, truth))
    return metrics.MILLIMETRES * metrics.joint_errors(*relative).mean(axis=-1)


def violations(joints: np.ndarray, truth: np.ndarray, limits: Limits) -> dict[str, np.ndarray]:
    """Returns each biomechanical loss of each pose, `[n]`, at the scale of the true hand."""
    scale = anatomy.scale(jnp.asarray(truth, jnp.float32))[:, None, None]
    return jax.device_get(_constraints(jnp.asarray(joints, jnp.float32) / scale, limits))


_constraints = jax.jit(losses.constraints)


def summarize(stages: Mapping[str, np.ndarray], truth: np.ndarray, limits: Limits) -> dict[str, dict[str, Any]]:
    """Summarizes two or more poses by stage.

    Args:
      stages: result of `resolve`.
      truth: the true poses.
      limits: limits of the losses.

    Returns:
      The mean `depth_mm` of each stage and its 95 % `interval`, the mean `change` from the previous stage with its
      `change_interval`, and the mean of each loss. `TRUTH` has only the losses, which may be above 0 with limits of
      other hands.
    """
    rows, before = {}, None
    for stage, joints in stages.items():
        errors = depth_errors(joints, truth)
        terms = violations(joints, truth, limits)
        rows[stage] = {"depth_mm": float(errors.mean()), "interval": metrics.bootstrap(errors)}
        rows[stage] |= {name: float(values.mean()) for name, values in terms.items()}
        if before is not None:
            rows[stage] |= {
                "change": float((errors - before).mean()),
                "change_interval": metrics.bootstrap(errors - before),
            }
        before = errors
    return rows | {TRUTH: {name: float(of.mean()) for name, of in violations(truth, truth, limits).items()}}


def typical(stages: Mapping[str, np.ndarray], truth: np.ndarray) -> int:
    """Returns the index of the pose whose errors are nearest to the median errors of all stages."""
    errors = np.stack([depth_errors(joints, truth) for joints in stages.values()])
    return int(np.argmin(np.abs(errors - np.median(errors, axis=1, keepdims=True)).sum(axis=0)))


#: Column heads of `cells`.
HEAD = ("", "Z, mm", "95 %", "change", "95 %", "L_BL", "L_RB", "L_A")


def cells(rows: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Formats a summary as rows below `HEAD`."""
    return [
        (
            stage,
            f"{row['depth_mm']:.1f}" if "depth_mm" in row else "",
            f"{row['interval'][0]:.1f} to {row['interval'][1]:.1f}" if "depth_mm" in row else "",
            f"{row['change']:+.1f}" if "change" in row else "",
            f"{row['change_interval'][0]:+.1f} to {row['change_interval'][1]:+.1f}" if "change" in row else "",
            *(f"{row[term]:.4f}" for term in WEIGHTS),
        )
        for stage, row in rows.items()
    ]
