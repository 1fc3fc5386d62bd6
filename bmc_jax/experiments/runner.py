"""An experiment: the arms of a configuration file, trained with several seeds and evaluated, and the runs read back.

The file has `get_config("ARM")`, or `get_config("ARM@DATA")` where it knows several data, and `ARMS`; besides it may
have `GAP`, the two arms between which a gap is to be closed, `CLAIMS`, what is to be shown, and `OTHERS`, rows of the
paper that are other people's. A run is an ordinary folder, `OUT/ARM/seedN`. Those that are finished are left as they
are, others are begun or gone on with.
"""

import json
import os
import runpy
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from bmc_jax.config import Config, steps
from bmc_jax.data import sources
from bmc_jax.experiments import settings
from bmc_jax.experiments.claims import Claim
from bmc_jax.inference import evaluate
from bmc_jax.runtime.distributed import print_once
from bmc_jax.training import config_io, run_folder, train


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
    fraction: float | None = None
    """Of the target's training images that have 3D labels, where that is what arms differ in (Figure 5)."""


@dataclass(frozen=True)
class Experiment:
    """What a configuration file says of its arms."""

    file: str
    arms: tuple[Arm, ...]
    gap: tuple[str, str] | None
    claims: tuple[Claim, ...]
    others: tuple[str, ...]
    data: str
    """After "@" in the argument of the file, if there is any."""

    def argument(self, arm: str) -> str:
        return f"{self.file}:{arm}{f'@{self.data}' if self.data else ''}"


def read(file: str, *, arms: Sequence[str] = (), data: str = "") -> Experiment:
    """The experiment of a file of `configs/`: all of its arms that the data can tell of, or those that are named.

    Raises FileNotFoundError if there is no such file, and ValueError if it has no arms, or not those, or no such data.
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
    at = f"@{data}" if data else ""
    chosen = tuple(known[name] for name in arms or known if arms or _is_available(found["get_config"], name + at))
    if not chosen:
        raise ValueError(f"{file} has no arm on {data}")
    return Experiment(file, chosen, found.get("GAP"), found.get("CLAIMS", ()), found.get("OTHERS", ()), data)


def _is_available(get_config: Callable[[str], Config], argument: str) -> bool:
    try:
        get_config(argument)
    except settings.Unavailable as error:
        print_once(f"left out: {error}")
        return False
    return True


def require_data(experiment: Experiment, overrides: Sequence[str] = ()) -> None:
    """Raise ValueError with what is wrong with the data of any of the arms, and what builds the datasets that are not
    there, before anything is trained."""
    wrong, absent = dict[str, list[str]](), dict[str, None]()
    for arm in experiment.arms:
        options = config_io.load(experiment.argument(arm.name), overrides)
        absent |= dict.fromkeys(_absent(options))
        try:
            sources.resolve(options)
        except ValueError as error:
            wrong.setdefault(str(error), []).append(arm.name)
    if wrong:
        lines = [f"{', '.join(arms)}: {error}" for error, arms in wrong.items()]
        builds = [settings.BUILDS[name] for name in absent if name in settings.BUILDS]
        remedy = ["what is missing is built by", *(f"  {build}" for build in builds)] if builds else []
        raise ValueError("\n  ".join(["nothing is trained, as data is not there or not fit:", *lines, *remedy]))


def _absent(options: Config) -> list[str]:
    """The datasets of a configuration that are not built."""
    names = [source.name for source in options.data.train]
    names += [sources.test_split(entry, "test")[0] for entry in options.data.test]
    if options.limits.source.startswith(sources.FIT_TO):
        names.append(options.limits.source.removeprefix(sources.FIT_TO))
    return [name for name in names if not sources.is_available(name, options.data.directory)]


def folder(out: str | os.PathLike, arm: str, seed: int) -> Path:
    """Of one run."""
    return Path(out) / arm / f"seed{seed}"


def run(experiment: Experiment, seeds: int, out: str | os.PathLike, overrides: Sequence[str] = ()) -> None:
    """Train and evaluate what is not finished of every arm, seed by seed: an interrupted experiment has whole seeds.

    Raises what `train.train` and `evaluate.evaluate` raise, and ValueError for a finished run of another configuration.
    """
    for seed in range(seeds):
        for arm in experiment.arms:
            workdir = folder(out, arm.name, seed)
            told = [f"seed={seed}", *overrides]
            options = sources.resolve(config_io.load(experiment.argument(arm.name), told))
            if _is_measured(workdir, options):
                run_folder.require_own(workdir, options)
                print_once(f"{workdir}: finished")
                continue
            train.train(options, workdir)
            evaluate.evaluate(workdir)
            # Every run compiles programs of its own. Dozens of runs' fill the memory map of a process, and the next
            # compilation fails.
            jax.clear_caches()


def _is_measured(workdir: Path, options: Config) -> bool:
    """Whether a folder has measures of the last step, on all test images."""
    file = workdir / evaluate.FILE
    content = json.loads(file.read_text()) if file.is_file() else {"step": -1, "domains": {}}
    return content["step"] >= steps(options) and content["domains"].keys() >= set(options.data.test)


def measured(experiment: Experiment, seeds: int, out: str | os.PathLike) -> dict[str, dict[int, dict[str, Any]]]:
    """`metrics.json` of every run that is finished, by arm and seed."""
    found = {}
    for arm in experiment.arms:
        files = {seed: folder(out, arm.name, seed) / evaluate.FILE for seed in range(seeds)}
        found[arm.name] = {seed: json.loads(file.read_text()) for seed, file in files.items() if file.is_file()}
    return found


def slurm_jobs(experiment: Experiment, seeds: int, out: str | os.PathLike, overrides: Sequence[str] = ()) -> list[str]:
    """Returns for each arm the command that submits its seeds to Slurm, one task for each, from the project's root."""
    array = f"sbatch --array=0-{seeds - 1} --ntasks-per-node=1 --gpus-per-node=1 launch/slurm.sbatch"
    fields = [config_io.PREFIX + override for override in overrides]
    return [
        f"{array} {shlex.join([experiment.argument(arm.name), os.fspath(Path(out) / arm.name), *fields])}"
        for arm in experiment.arms
    ]
