"""`bmc train`, `bmc evaluate` and `bmc report`: runs."""

import argparse
from pathlib import Path
from typing import Any

from bmc_jax.cli.arguments import COCO, add_network_use, add_verb, positive, whole
from bmc_jax.core.choices import MOST_IMAGES, SPLITS


def add(verbs: Any) -> None:
    parser = add_verb(verbs, "train", train, "train a configuration in a folder, or resume training there", """\
examples:
  bmc train --config=quickstart --workdir=runs/quickstart
  bmc train --config=quickstart --workdir=runs/slow --config.optimizer.rate=0.001
  srun bmc train --config=quickstart --workdir=runs/quickstart --distributed

--config.FIELD=VALUE sets any field of the configuration; bmc_jax/config.py lists the fields with their reasons.
The same command resumes from the last checkpoint. After SIGTERM or Ctrl-C the exit status is 75.
""")  # fmt: skip
    parser.add_argument(
        "--config",
        required=True,
        metavar="NAME|FILE",
        help="a name of bmc configs list, or a file; either may end with :ARGUMENT",
    )
    parser.add_argument("--workdir", required=True, metavar="DIR", help="folder of the run, created if missing")
    parser.add_argument(
        "--extend",
        action="store_true",
        help="resume even if a changed training.epochs changes the learning rate",
    )
    several = parser.add_argument_group("several processes that run the same command")
    several.add_argument(
        "--distributed",
        action="store_true",
        help="get the processes from the cluster: Slurm, Open MPI, Kubernetes, TPU",
    )
    several.add_argument(
        "--coordinator", metavar="HOST:PORT", help="address of the first process, instead of --distributed"
    )
    several.add_argument("--processes", type=positive, metavar="N", help="number of processes")
    several.add_argument("--process", type=int, metavar="I", help="number of this process, from 0")

    parser = add_verb(verbs, "evaluate", _evaluate, "measure a checkpoint, also by datasets' official protocols", """\
examples:
  bmc evaluate runs/quickstart
  bmc evaluate runs/mine freihand rhd --passes 2
  bmc evaluate runs/mine ho3d:test --step best
  bmc evaluate runs/quickstart --data coco:photographs/annotations.json --count 500

Writes metrics.json (photographs.json for photographs) and predictions/, with pictures and the prediction file of each
dataset, into the checkpoint's folder.
""")  # fmt: skip
    parser.add_argument("workdir", metavar="CHECKPOINT", help="folder of a run or an export")
    parser.add_argument(
        "entries", nargs="*", metavar="DATASET", help="rendered domains and built datasets, NAME or NAME:SPLIT "
        "(default: those of the configuration, data.test)"
    )  # fmt: skip
    parser.add_argument(
        "--split", default="test", choices=SPLITS, help="split of a DATASET without :SPLIT (default: test)"
    )
    parser.add_argument(
        "--data", metavar="coco:FILE", help="photographs with 2D labels, a COCO keypoint file, instead of datasets"
    )
    parser.add_argument("--count", type=whole(1, MOST_IMAGES), metavar="N", help="images of each set (default: all)")
    add_network_use(parser)

    parser = add_verb(verbs, "report", _report, "write runs as one self-contained HTML page", """\
examples:
  bmc report runs/quickstart
  bmc report runs/with runs/without --out comparison.html
  bmc report runs/table2_synthetic
""")  # fmt: skip
    parser.add_argument("workdirs", nargs="+", metavar="WORKDIR", help="folders of runs, or of one experiment")
    parser.add_argument("--out", metavar="FILE", help="(default: report.html, in a single folder)")


def train(options: argparse.Namespace) -> None:
    from bmc_jax.runtime import distributed
    from bmc_jax.training import config_io

    overrides = config_io.from_arguments(options.overrides)
    # Before any import that might query JAX for its devices.
    distributed.initialize(options)
    from bmc_jax.training import train as training

    training.train(config_io.load(options.config, overrides), options.workdir, extend=options.extend)


def _evaluate(options: argparse.Namespace) -> None:
    from bmc_jax.inference import evaluate

    arguments = {name: getattr(options, name) for name in ("count", "step", "passes", "turns")}
    if options.data is None:
        content = evaluate.evaluate(options.workdir, options.entries, split=options.split, **arguments)
        file = evaluate.FILE
    elif options.entries:
        raise ValueError(f"expected --data or datasets, got both; omit {', '.join(options.entries)}")
    else:
        content = evaluate.evaluate_photographs(options.workdir, _coco_file(options.data), **arguments)
        file = evaluate.PHOTOGRAPHS_FILE
    print(evaluate.table(content))
    print(f"written to {Path(options.workdir) / file}")


def _report(options: argparse.Namespace) -> None:
    from bmc_jax.experiments import report as experiment_page
    from bmc_jax.inference import report

    folder = Path(options.workdirs[0]) if len(options.workdirs) == 1 else Path()
    out = options.out or folder / "report.html"
    if len(options.workdirs) == 1 and experiment_page.is_experiment(folder):
        print(f"written to {experiment_page.write(folder, out)}")
    else:
        print(f"written to {report.report(options.workdirs, out)}")


def _coco_file(text: str) -> Path:
    if not text.startswith(COCO):
        raise ValueError(f"--data: expected coco:FILE, got {text!r}; add the prefix")
    return Path(text.removeprefix(COCO))
