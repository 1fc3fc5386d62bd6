"""`bmc limits sample`: random feasible hands."""

import argparse
from pathlib import Path
from typing import Any

from bmc_jax.cli.arguments import positive, verb


def add(limits: Any) -> None:
    parser = verb(limits, "sample", _sample, "random poses within limits that do not cut through themselves", """\
Bone lengths, the palm's spread and curvature are uniform in their intervals and the angles in their hulls; hands that
cut through themselves are drawn again. Written are metres, FreiHAND order, right hands: the wrist at the origin, x out
of the palm, z along the middle finger's metacarpal.

examples:
  bmc limits sample --limits clinical --count 1000 --seed 0 --out poses.npy
  bmc limits sample --limits mine.json --count 50 --scale 0.041 --out mine.npy
""")  # fmt: skip
    parser.add_argument("--limits", default="clinical", metavar="LIMITS", help="preset or file (default: clinical)")
    parser.add_argument("--count", type=positive, default=1000, metavar="N", help="poses (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="the same seed, the same poses (default: 0)")
    parser.add_argument(
        "--scale",
        type=float,
        metavar="METRES",
        help="length of the bone from the middle finger's MCP to its PIP (default: a mean adult's, 0.0446)",
    )
    parser.add_argument("--out", default="poses.npy", metavar="NPY", help="(default: poses.npy)")


def _sample(options: argparse.Namespace) -> None:
    import jax
    import numpy as np

    from bmc_jax import limits
    from bmc_jax.poses import sampling

    if not Path(options.out).parent.is_dir():
        raise FileNotFoundError(f"no folder {Path(options.out).parent} to write {options.out} to")
    scale = sampling.ADULT_SCALE if options.scale is None else options.scale
    held = limits.load(options.limits)
    sample = sampling.sample(jax.random.key(options.seed), held, options.count, scale=scale)
    with open(options.out, "wb") as file:
        np.save(file, sample.poses)
    print(f"{sample.kept} of {sample.drawn} drawn hands are feasible, {100 * sample.acceptance:.1f} %")
    print(f"the first {options.count} written to {options.out}")
