"""`bmc score`: scoring of a file of predictions from any framework against a dataset's ground truth."""

import argparse
from pathlib import Path
from typing import Any

from bmc_jax.cli.arguments import add_verb
from bmc_jax.core.choices import ALIGNMENTS, PROTOCOLS


def add(verbs: Any) -> None:
    parser = add_verb(verbs, "score", _score, "score a prediction file by a dataset's official protocol, offline", """\
examples:
  bmc score pred.json FreiHAND_pub_v2_eval --protocol freihand
  bmc score pred.zip HO3D_v3/evaluation_xyz.json --protocol ho3d --out scores.json
  bmc score hands.npz dexter+object --protocol dexter_object --alignment centroid --alignment procrustes

PRED is a file of the challenge (pred.json, its zip, the .txt of HANDS'19), or an .npz or .json with joints [N, 21, 3]
in metres, camera frame, FreiHAND order. TRUTH is the folder or file of the dataset, or such an .npz.
docs/evaluation.md describes the formats and the protocols.
""")  # fmt: skip
    parser.add_argument("predictions", metavar="PRED", help="file of predictions")
    parser.add_argument("truth", metavar="TRUTH", help="ground truth of the dataset")
    parser.add_argument("--protocol", required=True, choices=PROTOCOLS, help="protocol of the dataset")
    parser.add_argument(
        "--alignment",
        action="append",
        default=[],
        choices=ALIGNMENTS,
        metavar="NAME",
        help=f"alignment instead of the protocol's, may be repeated: {', '.join(ALIGNMENTS)}",
    )
    parser.add_argument(
        "--subsets", metavar="FILE", help="for hands19: lines with the name of an image and INTERP or EXTRAP"
    )
    parser.add_argument("--out", metavar="FILE", help="write all metrics to FILE, as JSON")
    parser.add_argument("--force", action="store_true", help="replace an existing FILE")
    parser.add_argument(
        "--unchecked",
        action="store_true",
        help="do not check the joint order and unit",
    )


def _score(options: argparse.Namespace) -> None:
    from bmc_jax.metrics import scoring
    from bmc_jax.runtime import files

    if options.out and Path(options.out).exists() and not options.force:
        raise FileExistsError(f"{options.out} exists; give another --out, or --force to replace it")
    content = scoring.score(
        options.predictions,
        options.truth,
        options.protocol,
        alignments=options.alignment,
        subsets=options.subsets,
        checked=not options.unchecked,
    )
    print(scoring.table(content))
    if options.out:
        files.write_json(options.out, content)
        print(f"\nwritten to {options.out}")
