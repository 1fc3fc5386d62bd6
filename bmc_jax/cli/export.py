"""`bmc export`: a checkpoint for those who do without this package."""

import argparse
from typing import Any

from bmc_jax.cli.arguments import step, verb


def add(verbs: Any) -> None:
    parser = verb(verbs, "export", _export, "make of a checkpoint what runs without this package", """\
examples:
  bmc export runs/quickstart --out hands
  bmc export runs/quickstart --out hands --step best --force
  python hands/load.py given.npz answer.npz

DIR gets the weights for bmc evaluate and predict, a program for which JAX is enough with its loader, the backbone under
torchvision's names where there are any, and a model card, README.md, with what goes in and comes out. Each is checked.
""")  # fmt: skip
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="folder of a run, or an exported one")
    parser.add_argument("--out", required=True, metavar="DIR", help="what is made; must not be there yet")
    step(parser)
    parser.add_argument("--force", action="store_true", help="replace an export that is there")


def _export(options: argparse.Namespace) -> None:
    from bmc_jax.inference import export

    out = export.export(options.checkpoint, options.out, step=options.step, force=options.force)
    print(f"written to {out}; its README.md says how to use it")
