"""Training of the lifter in the package, on rendered hands of training people, seen by random cameras.

    python -m bmc_jax.training.lifter --workdir runs/lifter

It takes 20 minutes on one busy core. After an interruption the same command resumes, with the same resulting weights.
"""

import argparse
import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from bmc_jax import synthesis
from bmc_jax.core import hand
from bmc_jax.models import lifter
from bmc_jax.runtime import distributed, files, lock
from bmc_jax.runtime.progress import Progress
from bmc_jax.synthesis import landmarks
from bmc_jax.training import checkpoint
from bmc_jax.training.step import AveragedState

DOMAIN = "any_view"
PER_CALL = 50
"""Steps per call of the program."""
SAVE_EVERY = 1_000
"""Steps between checkpoints, a multiple of `PER_CALL`."""


@dataclass(frozen=True)
class Settings:
    """Settings of the training; they determine the weights."""

    seed: int = 0
    people: int = 8
    """Number of sets of the domain's training people, which are seeds of its renderings."""
    hands: int = 16_384
    """Hands of each set."""
    steps: int = 8_000
    """Training steps, a multiple of `PER_CALL`."""
    batch_size: int = 512
    width: int = 512
    blocks: int = 2
    rate: float = 1e-3
    weight_decay: float = 1e-2
    average: float = 0.999
    """Decay of the moving average of the weights, which is the result."""

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in ("people", "hands", "steps", "batch_size", "width", "blocks")}
        for name, value in counts.items():
            if value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
        if self.steps % PER_CALL:
            raise ValueError(f"steps: expected a multiple of {PER_CALL}, got {self.steps}")


def poses(settings: Settings) -> Float[Array, "hand 21 3"]:
    """Returns the rendered hands to train on, metres."""
    indices = np.arange(settings.hands)
    return jnp.asarray(np.concatenate([synthesis.poses(s, DOMAIN, "train", indices) for s in range(settings.people)]))


def loss(weights: Any, seen: landmarks.Landmarks) -> Float[Array, ""]:
    """Returns the mean negative log-likelihood of the true depths under the predicted normal distributions."""
    view = lifter.view(seen.rays)
    depth, log_deviation = lifter.predict(weights, view)
    # The depth along the view's axis, on the rays with errors: the inverse of `relative_depth`.
    ratio = view.depth / view.depth[..., :1]
    true = seen.joints[..., 2] / seen.joints[..., :1, 2] * ratio
    error = (true[..., 1:] - 1) / view.size[..., None] - depth
    return jnp.mean(0.5 * jnp.square(error * jnp.exp(-log_deviation)) + log_deviation)


def train(
    settings: Settings,
    hands: Float[Array, "hand 21 3"],
    workdir: Path,
    *,
    extra: Callable[[dict[str, Array], PRNGKeyArray], Float[Array, ""]] | None = None,
) -> dict[str, np.ndarray]:
    """Returns the trained weights. Training resumes from the last checkpoint of the folder.

    Args:
      settings: settings of the training.
      hands: the poses to train on, metres.
      workdir: folder of the checkpoints.
      extra: a loss, as a function of the weights and a random key, that is added to the loss of the rendered hands.

    Raises:
      ValueError: if the folder has a training with other settings.
      BlockingIOError: if another process trains there.
      FloatingPointError: if the loss is not finite. The last checkpoint is from before it.
      SystemExit: with the code `distributed.INTERRUPTED`, after SIGTERM or SIGINT, once the state is saved.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    metadata = {"settings": dataclasses.asdict(settings)}
    with lock.hold(workdir):
        if checkpoint.latest(workdir) is not None and checkpoint.metadata(workdir) != metadata:
            raise ValueError(
                f"{workdir}: expected a training with {metadata['settings']}, got one with "
                f"{checkpoint.metadata(workdir)['settings']}; give another --workdir, or the same settings"
            )
        state = checkpoint.restore(workdir, _create(settings))
        done = int(state.step)
        bar = Progress(desc="lifter", total=settings.steps, initial=done, unit=" steps")
        with checkpoint.Writer(workdir, keep=2, metadata=metadata) as writer, bar, distributed.signalled() as signal:
            while done < settings.steps and not signal.is_set():
                state, value = _steps(state, hands, settings, extra)
                if not np.isfinite(value):
                    raise FloatingPointError(
                        f"expected a finite loss, got {value} before step {int(state.step)} in {workdir}; lower --rate"
                    )
                bar.update(int(state.step) - done)
                bar.set_postfix_str(f"loss {value:.4f}", refresh=False)
                done = int(state.step)
                if done % SAVE_EVERY == 0 or done == settings.steps or signal.is_set():
                    writer.save(state)
    if done < settings.steps:
        print(f"{workdir}: stopped and saved at step {done} of {settings.steps}; the same command resumes there")
        raise SystemExit(distributed.INTERRUPTED)
    return jax.tree.map(np.asarray, state.average)


def _optimizer(settings: Settings) -> optax.GradientTransformation:
    rate = optax.warmup_cosine_decay_schedule(0.0, settings.rate, settings.steps // 20, settings.steps)
    kernels = functools.partial(jax.tree.map, lambda leaf: leaf.ndim > 1)
    return optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=settings.weight_decay, mask=kernels)
    )


def _create(settings: Settings) -> AveragedState:
    network = lifter.Lifter(settings.width, settings.blocks)
    view = lifter.view(jnp.ones((1, hand.NUM_JOINTS, 3)))
    layers = network.init(jax.random.key(settings.seed, impl="threefry2x32"), view)["params"]
    params = flax.traverse_util.flatten_dict(layers, sep="/")
    average = jax.tree.map(jnp.copy, params)
    return AveragedState(jnp.zeros((), jnp.int32), params, {}, _optimizer(settings).init(params), average)


@functools.partial(jax.jit, static_argnums=(2, 3), donate_argnums=0)
def _steps(
    state: AveragedState, hands: Float[Array, "hand 21 3"], settings: Settings, extra: Callable | None
) -> tuple[AveragedState, Float[Array, ""]]:
    """Returns the state after `PER_CALL` steps, and their mean loss.

    The random numbers of a step depend only on the seed and on the number of the step.
    """

    def one(state: AveragedState, _: None) -> tuple[AveragedState, Float[Array, ""]]:
        key = jax.random.fold_in(jax.random.key(settings.seed, impl="threefry2x32"), state.step)
        drawn_key, camera_key, extra_key = jax.random.split(key, 3)
        drawn = hands[jax.random.randint(drawn_key, (settings.batch_size,), 0, len(hands))]
        seen = jax.vmap(landmarks.observe)(jax.random.split(camera_key, settings.batch_size), drawn)

        def total(weights: dict[str, Array]) -> Float[Array, ""]:
            return loss(weights, seen) + (extra(weights, extra_key) if extra else 0.0)

        value, gradient = jax.value_and_grad(total)(state.params)
        updates, opt_state = _optimizer(settings).update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        decay = jnp.minimum(settings.average, (1 + state.step) / (10 + state.step))
        average = optax.incremental_update(params, state.average, 1 - decay)
        return AveragedState(state.step + 1, params, {}, opt_state, average), value

    state, values = jax.lax.scan(one, state, None, length=PER_CALL)
    return state, jnp.mean(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="folder of the checkpoints")
    parser.add_argument("--out", type=Path, default=lifter.FILE, help="file of the weights (default: the package's)")
    for field in dataclasses.fields(Settings):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    options = vars(parser.parse_args())
    workdir, out = options.pop("workdir"), options.pop("out")
    try:
        settings = Settings(**options)
        weights = train(settings, poses(settings), workdir)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    with files.replacing(out) as partial:
        arrays: dict[str, Any] = {name: array.astype(np.float16) for name, array in weights.items()}
        np.savez(partial, **arrays)
    print(f"wrote {out}, {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
