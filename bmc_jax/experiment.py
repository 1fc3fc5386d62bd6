"""An experiment: the arms of a configuration file, trained with several seeds and evaluated, and the runs read back.

The file has `get_config(ARM)` and `ARMS`; `GAP` may name the two arms between which a gap is to be closed. A run is an
ordinary folder, `OUT/ARM/seedN`. Those that are finished are left as they are, others are begun or gone on with.
"""

import json
import os
import runpy
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bmc_jax import config_file, evaluate, sources, train
from bmc_jax.config import steps
from bmc_jax.distributed import say


@dataclass(frozen=True)
class Arm:
    """One row of an experiment's table."""

    name: str
    """What `get_config` is given."""
    words: str
    """What it is, in a few of them."""
    after: str = ""
    """The arm that it is one step from, and compared with."""
    paper: str = ""
    """Its row in `paper.ROWS`."""


@dataclass(frozen=True)
class Experiment:
    """What a configuration file says of its arms."""

    file: str
    arms: tuple[Arm, ...]
    gap: tuple[str, str] | None
    target: str
    """After "@" in the argument of the file, if there is any."""

    def argument(self, arm: str) -> str:
        return f"{self.file}:{arm}{f'@{self.target}' if self.target else ''}"


def read(file: str, *, arms: Sequence[str] = (), target: str = "") -> Experiment:
    """The experiment of a file of `configs/`, or some of its arms.

    Raises FileNotFoundError if there is no such file, and ValueError if it has no arms, or not those.
    """
    if not Path(file).is_file():
        raise FileNotFoundError(f"no configuration file {file!r}; those of the project are in configs/")
    found = runpy.run_path(file)
    if not found.get("ARMS"):
        raise ValueError(f"{file} has no ARMS: it is no experiment")
    known = {arm.name: arm for arm in found["ARMS"]}
    for name in arms:
        if name not in known:
            raise ValueError(f"{file} has no arm {name!r}; it has {', '.join(known)}")
    chosen = tuple(known[name] for name in arms or known)
    return Experiment(file, chosen, found.get("GAP"), target)


def folder(out: str | os.PathLike, arm: str, seed: int) -> Path:
    """Of one run."""
    return Path(out) / arm / f"seed{seed}"


def run(experiment: Experiment, seeds: int, out: str | os.PathLike, overrides: Sequence[str] = ()) -> None:
    """Train and evaluate what is not finished of every arm, seed by seed: an interrupted experiment has whole seeds.

    Raises what `train.train` and `evaluate.evaluate` raise.
    """
    for seed in range(seeds):
        for arm in experiment.arms:
            workdir = folder(out, arm.name, seed)
            told = [f"seed={seed}", *overrides]
            options = sources.resolve(config_file.load(experiment.argument(arm.name), told))
            if _measured(workdir) >= steps(options):
                say(f"{workdir}: finished")
                continue
            train.train(options, workdir)
            evaluate.evaluate(workdir)


def _measured(workdir: Path) -> int:
    """The step that a folder's measures are of; -1 without any."""
    file = workdir / evaluate.FILE
    return json.loads(file.read_text())["step"] if file.is_file() else -1


def measured(experiment: Experiment, seeds: int, out: str | os.PathLike) -> dict[str, dict[int, dict[str, Any]]]:
    """`metrics.json` of every run that is finished, by arm and seed."""
    found = {}
    for arm in experiment.arms:
        files = {seed: folder(out, arm.name, seed) / evaluate.FILE for seed in range(seeds)}
        found[arm.name] = {seed: json.loads(file.read_text()) for seed, file in files.items() if file.is_file()}
    return found


def slurm(experiment: Experiment, seeds: int, out: str | os.PathLike, overrides: Sequence[str] = ()) -> str:
    """A Slurm array script with a task for each run. Preempted runs queue again; the `bmc experiment` of the same words
    makes the table of what is finished."""
    fields = "".join(f" {shlex.quote(config_file.PREFIX + override)}" for override in overrides)
    at = f"@{experiment.target}" if experiment.target else ""
    return f"""#!/usr/bin/env bash
# {len(experiment.arms)} arms x {seeds} seeds of {experiment.file}, one task each. Submit it with sbatch.
#SBATCH --job-name=bmc-experiment
#SBATCH --array=0-{len(experiment.arms) * seeds - 1}
#SBATCH --requeue
#SBATCH --signal=TERM@120
#SBATCH --open-mode=append
#SBATCH --output=%x-%A_%a.log
set -uo pipefail
arms=({" ".join(shlex.quote(arm.name) for arm in experiment.arms)})
arm=${{arms[SLURM_ARRAY_TASK_ID / {seeds}]}} seed=$((SLURM_ARRAY_TASK_ID % {seeds}))
workdir={shlex.quote(str(out))}/$arm/seed$seed

srun "${{BMC:-bmc}}" train --config={shlex.quote(experiment.file)}:"$arm"{shlex.quote(at) if at else ""} \\
  --workdir="$workdir" --config.seed="$seed"{fields}
status=$?
# 75: interrupted and saved.
[ $status -eq 75 ] && scontrol requeue "$SLURM_JOB_ID"
[ $status -eq 0 ] || exit $status
srun "${{BMC:-bmc}}" evaluate "$workdir"
"""
