"""`bmc experiment`: all arms of an experiment with several seeds, and their table."""

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from bmc_jax.cli.arguments import positive, verb

FILE = "experiment"
"""In the experiment's folder, as `.json` and as `.md`."""


def add(verbs: Any) -> None:
    parser = verb(verbs, "experiment", run, "train and evaluate the arms of an experiment, and compare them", f"""\
examples:
  bmc experiment lifting --seeds 5
  bmc experiment lifting --arms 2d,bl+rb+a,full --config.training.epochs=5 --out runs/short
  bmc experiment lifting --arms 2d,bl+rb+a,full --on joints.npy --out runs/real_hands
  bmc experiment lifting --seeds 5 --slurm lifting.sbatch && sbatch lifting.sbatch

Each run is a folder, DIR/ARM/seedN, as bmc train makes it. The same command goes on with those that are not finished,
and writes {FILE}.json and {FILE}.md into DIR. Fields are set for all arms by --config.FIELD=VALUE.
""")  # fmt: skip
    parser.add_argument("name", metavar="NAME", help="a file of configs/ with ARMS, or its name there")
    parser.add_argument("--arms", metavar="A,B", help="(default: all of the file's)")
    parser.add_argument("--seeds", type=positive, default=3, metavar="N", help="seeds 0 to N-1 (default: 3)")
    parser.add_argument("--on", default="", metavar="TARGET", help="another target, if the file knows ARM@TARGET")
    parser.add_argument("--out", metavar="DIR", help="(default: runs/NAME)")
    parser.add_argument("--slurm", metavar="FILE", help="write a Slurm array script and run nothing")


def run(options: argparse.Namespace) -> None:
    from bmc_jax import comparison, config_file, experiment

    overrides = config_file.from_arguments(options.overrides)
    file = options.name if options.name.endswith(".py") else f"configs/{options.name}.py"
    arms = options.arms.split(",") if options.arms else ()
    found = experiment.read(file, arms=arms, target=options.on)
    for arm in found.arms:
        config_file.load(found.argument(arm.name), overrides)
    out = Path(options.out or Path("runs") / Path(file).stem)
    if options.slurm:
        Path(options.slurm).write_text(experiment.slurm(found, options.seeds, out, overrides))
        print(f"written to {options.slurm}")
        return
    experiment.run(found, options.seeds, out, overrides)
    content = comparison.compare(found, options.seeds, out, shlex.join(["bmc", *options.typed]))
    (out / f"{FILE}.json").write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    (out / f"{FILE}.md").write_text(comparison.table(content))
    sys.stdout.write(comparison.table(content))
    print(f"written to {out / FILE}.json and .md")
