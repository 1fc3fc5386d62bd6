"""`bmc experiment`: all arms of an experiment with several seeds, and their table."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from bmc_jax.cli.arguments import positive, verb

FILE = "experiment"
"""In the experiment's folder, as `.json` and as `.md`."""
CONFIGS = Path("configs")


def add(verbs: Any) -> None:
    parser = verb(verbs, "experiment", run, "train and evaluate the arms of an experiment, and compare them", f"""\
examples:
  bmc experiment lifting --seeds 5
  bmc experiment lifting --arms 2d,bl+rb+a,full --config.training.epochs=5 --out runs/short
  bmc experiment lifting --arms 2d,bl+rb+a,full --data joints.npy
  bmc experiment table2 --data synthetic --seeds 3 --record docs/results/table2_synthetic.json
  bmc experiment table4 --seeds 3 --slurm

Each run is a folder, DIR/ARM/seedN, as bmc train makes it. The same command goes on with those that are not finished,
and writes {FILE}.json and {FILE}.md into DIR. Fields are set for all arms by --config.FIELD=VALUE. With one --out for
several tables on the same data, arms that they have in common are trained once.
""")  # fmt: skip
    parser.add_argument("name", metavar="NAME", help="a file of configs/ with ARMS, or its name there")
    parser.add_argument("--arms", metavar="A,B", help="(default: all that the data can tell of)")
    parser.add_argument("--seeds", type=positive, default=3, metavar="N", help="seeds 0 to N-1 (default: 3)")
    parser.add_argument("--data", default="", metavar="DATA", help="other data, if the file knows ARM@DATA")
    parser.add_argument("--out", metavar="DIR", help="(default: runs/NAME, or runs/NAME_DATA)")
    parser.add_argument("--record", metavar="FILE", help="write the result there too, for the documentation")
    parser.add_argument(
        "--slurm", action="store_true", help="print the commands that train each arm's seeds on Slurm, and run nothing"
    )


def run(options: argparse.Namespace) -> None:
    from bmc_jax.experiments import comparison, runner, tables
    from bmc_jax.training import config_io

    overrides = config_io.from_arguments(options.overrides)
    file = options.name if options.name.endswith(".py") else f"{CONFIGS / options.name}.py"
    arms = options.arms.split(",") if options.arms else ()
    found = runner.read(file, arms=arms, data=options.data)
    for arm in found.arms:
        config_io.load(found.argument(arm.name), overrides)
    stem = "_".join(Path(word).stem for word in (file, options.data) if word)
    out = Path(options.out or Path("runs") / stem)
    if options.slurm:
        print(*runner.slurm_jobs(found, options.seeds, out, overrides), sep="\n")
        return
    runner.require_data(found, overrides)
    runner.run(found, options.seeds, out, overrides)
    content = comparison.compare(found, options.seeds, out, _command(options))
    comparison.write(content, out / f"{FILE}.json")
    (out / f"{FILE}.md").write_text(tables.markdown(content))
    if options.record:
        comparison.write(content, Path(options.record))
    sys.stdout.write(tables.markdown(content))
    print(f"written to {out / FILE}.json and .md")


def _command(options: argparse.Namespace) -> str:
    """What was typed, without where it was written, as it is typed where the project and its data are."""
    name, fields = Path(options.name), []
    words = [name.stem if name.suffix and name.parent.name == CONFIGS.name else name.name]
    words += ["--arms", options.arms] if options.arms else []
    words += ["--data", Path(options.data).name] if options.data else []
    for field in options.overrides:
        path, _, value = field.partition("=")
        fields.append(f"{path}={Path(value).name if Path(value).is_absolute() else value}")
    return shlex.join(["bmc", "experiment", *words, "--seeds", str(options.seeds), *fields])
