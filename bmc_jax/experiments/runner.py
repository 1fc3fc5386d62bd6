"""Experiments: the arms of a configuration file, trained and evaluated with several seeds.

The file has `get_config("ARM")`, or `get_config("ARM@DATA")` if it supports several data, and `ARMS`. It may also have
`GAP`, two arms between which the table shows the part of the difference that each arm closes; `CLAIMS`, which are
tested; and `OTHERS`, rows of the paper from other methods. A run is a folder of `bmc train`, `OUT/ARM/seedN`. Finished
runs are not changed; others are started or resumed.
"""

import os
import runpy
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax

from bmc_jax.config import Config, steps
from bmc_jax.data import sources
from bmc_jax.experiments import settings
from bmc_jax.experiments.claims import Claim
from bmc_jax.experiments.settings import Arm
from bmc_jax.inference import evaluate, measurements
from bmc_jax.inference.measurements import Measured
from bmc_jax.runtime import project_files
from bmc_jax.runtime.distributed import print_once
from bmc_jax.training import config_io, run_folder, step, train


@dataclass(frozen=True)
class Experiment:
    """The arms of a configuration file with the chosen data."""

    file: str
    arms: tuple[Arm, ...]
    gap: tuple[str, str] | None
    claims: tuple[Claim, ...]
    others: tuple[str, ...]
    """Rows of `published.ROWS`."""
    data: str
    """Part after "@" in the file's argument; empty for the default."""

    def argument(self, arm: str) -> str:
        """Returns the `--config` of an arm."""
        return f"{self.file}:{arm}{f'@{self.data}' if self.data else ''}"


def read(file: str, *, arms: Sequence[str] = (), data: str = "") -> Experiment:
    """Reads the experiment in a configuration file.

    Args:
      file: path of the file, or name of one of the project's configurations.
      arms: names of arms; by default all that are possible with the data.
      data: value of `--data`.

    Raises:
      FileNotFoundError: if the file does not exist. The message lists the project's configurations.
      ValueError: if the file has no arms, or not these arms or this data.
    """
    names = runpy.run_path(str(project_files.find_config(file)))
    if not names.get("ARMS"):
        raise ValueError(f"{file}: expected an experiment with ARMS, got none; see configs/lifting.py")
    all_arms = {arm.name: arm for arm in names["ARMS"]}
    for name in arms:
        if name not in all_arms:
            raise ValueError(f"{file}: expected an arm of {', '.join(all_arms)}, got {name!r}; choose one")
    chosen = arms
    if not arms:
        suffix = f"@{data}" if data else ""
        chosen = [name for name in all_arms if _is_available(names["get_config"], name + suffix)]
    if not chosen:
        raise ValueError(f"{file}: expected arms for --data {data}, got none; give other data")
    return Experiment(
        file,
        tuple(all_arms[name] for name in chosen),
        names.get("GAP"),
        names.get("CLAIMS", ()),
        names.get("OTHERS", ()),
        data,
    )


def _is_available(get_config: Callable[[str], Config], argument: str) -> bool:
    try:
        get_config(argument)
    except settings.UnavailableArm as error:
        print_once(f"left out: {error}")
        return False
    return True


def require_data(experiment: Experiment, overrides: Sequence[str] = ()) -> None:
    """Checks the data and initial weights of all arms before any arm is trained.

    Raises:
      ValueError: if any are missing or unsuitable. The message lists the arms and the commands that build the datasets.
    """
    arms_by_error, absent = dict[str, list[str]](), dict[str, None]()
    for arm in experiment.arms:
        config = config_io.load(experiment.argument(arm.name), overrides)
        absent |= dict.fromkeys(_absent(config))
        try:
            sources.resolve(config)
            if config.network.pretrained:
                step.initial_weights(config)
        except (ValueError, FileNotFoundError) as error:
            arms_by_error.setdefault(str(error), []).append(arm.name)
    if arms_by_error:
        lines = [f"{', '.join(arms)}: {error}" for error, arms in arms_by_error.items()]
        builds = [settings.BUILDS[name] for name in absent if name in settings.BUILDS]
        remedy = ["build the missing datasets with", *(f"  {build}" for build in builds)] if builds else []
        raise ValueError(
            "\n  ".join(
                ["no arm was trained, because data or initial weights are missing or unsuitable:", *lines, *remedy]
            )
        )


def _absent(options: Config) -> list[str]:
    """Returns the names of a configuration's datasets that are not built."""
    names = [source.name for source in options.data.train]
    names += [sources.test_split(entry, "test")[0] for entry in options.data.test]
    if options.limits.source.startswith(sources.FIT_TO):
        names.append(options.limits.source.removeprefix(sources.FIT_TO))
    return [name for name in names if not sources.is_available(name, options.data.directory)]


def run_directory(out: str | os.PathLike, arm: str, seed: int) -> Path:
    """Returns the folder of one run."""
    return Path(out) / arm / f"seed{seed}"


def run(experiment: Experiment, seeds: int, out: str | os.PathLike, overrides: Sequence[str] = ()) -> None:
    """Trains and evaluates the unfinished runs of all arms, one seed after another.

    An interrupted experiment thus has all arms of some seeds.

    Args:
      experiment: the experiment.
      seeds: number of seeds, which are 0 to `seeds` - 1.
      out: folder of the experiment.
      overrides: "FIELD=VALUE" for all arms.

    Raises:
      ValueError: if a finished run has another configuration; see also `train.train` and `evaluate.evaluate`.
    """
    for seed in range(seeds):
        for arm in experiment.arms:
            workdir = run_directory(out, arm.name, seed)
            config = sources.resolve(config_io.load(experiment.argument(arm.name), [f"seed={seed}", *overrides]))
            if _is_finished(workdir, config):
                run_folder.require_own(workdir, config)
                print_once(f"{workdir}: finished")
                continue
            train.train(config, workdir)
            evaluate.evaluate(workdir)
            # Each run compiles programs. Those of dozens of runs exhaust the memory mappings of a process.
            jax.clear_caches()


def _is_finished(workdir: Path, config: Config) -> bool:
    """Returns whether the last step was evaluated on all test images."""
    content = measurements.read(workdir)
    return (
        content is not None and content["step"] >= steps(config) and content["domains"].keys() >= set(config.data.test)
    )


def read_metrics(experiment: Experiment, seeds: int, out: str | os.PathLike) -> dict[str, dict[int, Measured]]:
    """Returns the content of `metrics.json` of every evaluated run, by arm and seed."""
    metrics = {}
    for arm in experiment.arms:
        found = {seed: measurements.read(run_directory(out, arm.name, seed)) for seed in range(seeds)}
        metrics[arm.name] = {seed: content for seed, content in found.items() if content}
    return metrics


def slurm_jobs(experiment: Experiment, seeds: int, out: str | os.PathLike, overrides: Sequence[str] = ()) -> list[str]:
    """Returns the command of each arm that submits its seeds to Slurm, one task per seed."""
    script = shlex.quote(os.path.relpath(project_files.folder("launch") / "slurm.sbatch"))
    array = f"sbatch --array=0-{seeds - 1} --ntasks-per-node=1 --gpus-per-node=1 {script}"
    fields = [config_io.PREFIX + override for override in overrides]
    return [
        f"{array} {shlex.join([experiment.argument(arm.name), os.fspath(Path(out) / arm.name), *fields])}"
        for arm in experiment.arms
    ]
