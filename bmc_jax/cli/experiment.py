"""`bmc experiment`: training and comparison of the arms of an experiment."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from bmc_jax.cli.arguments import add_verb, positive

FILE = "experiment"
"""Name of the comparison in the experiment's folder, without the suffixes `.json` and `.md`."""


def add(verbs: Any) -> None:
    parser = add_verb(verbs, "experiment", run, "train and evaluate the arms of an experiment, and compare them", f"""\
examples:
  bmc experiment lifting --seeds 5
  bmc experiment lifting --arms 2d,bl+rb+a,full --config.training.epochs=5 --out runs/short
  bmc experiment lifting --arms 2d,bl+rb+a,full --data joints.npy
  bmc experiment table2 --data synthetic --seeds 3 --record docs/results/table2_synthetic.json
  bmc experiment table4 --seeds 3 --slurm

Each run is a folder of bmc train, DIR/ARM/seedN. The same command resumes unfinished runs and writes {FILE}.json and
{FILE}.md into DIR. --config.FIELD=VALUE sets a field of all arms. Several tables on the same data with the same --out
share the runs of their common arms.
""")  # fmt: skip
    parser.add_argument("name", metavar="NAME", help="a name of bmc configs list, or a file with ARMS")
    parser.add_argument("--arms", metavar="A,B", help="arms (default: all that are possible with the data)")
    parser.add_argument("--seeds", type=positive, default=3, metavar="N", help="seeds 0 to N-1 (default: 3)")
    parser.add_argument("--data", default="", metavar="DATA", help="other data, if the file supports ARM@DATA")
    parser.add_argument("--out", metavar="DIR", help="folder (default: runs/NAME, or runs/NAME_DATA)")
    parser.add_argument("--record", metavar="FILE", help="also write the result to FILE, for the documentation")
    parser.add_argument(
        "--slurm", action="store_true", help="only print the commands that train each arm's seeds on Slurm"
    )


def run(options: argparse.Namespace) -> None:
    from bmc_jax.experiments import comparison, runner, tables
    from bmc_jax.runtime import files
    from bmc_jax.training import config_io

    overrides = config_io.from_arguments(options.overrides)
    chosen = runner.read(options.name, arms=options.arms.split(",") if options.arms else (), data=options.data)
    for arm in chosen.arms:
        config_io.load(chosen.argument(arm.name), overrides)
    stem = "_".join(Path(word).stem for word in (options.name, options.data) if word)
    out = Path(options.out or Path("runs") / stem)
    if options.slurm:
        print(*runner.slurm_jobs(chosen, options.seeds, out, overrides), sep="\n")
        return
    runner.require_data(chosen, overrides)
    runner.run(chosen, options.seeds, out, overrides)
    content = comparison.compare(chosen, options.seeds, out, _command(options))
    text = tables.markdown(content)
    comparison.write(content, out / f"{FILE}.json")
    files.write_text(out / f"{FILE}.md", text)
    if options.record:
        comparison.write(content, options.record)
    sys.stdout.write(text)
    print(f"written to {out / FILE}.json and .md")


def _command(options: argparse.Namespace) -> str:
    """Returns the command without --out and --record, and with file names in place of paths."""
    name, fields = Path(options.name), []
    words = [name.stem if name.suffix and name.parent.name == "configs" else name.name]
    words += ["--arms", options.arms] if options.arms else []
    words += ["--data", Path(options.data).name] if options.data else []
    for field in options.overrides:
        path, _, value = field.partition("=")
        fields.append(f"{path}={Path(value).name if Path(value).is_absolute() else value}")
    return shlex.join(["bmc", "experiment", *words, "--seeds", str(options.seeds), *fields])
