"""`bmc score`: a file of predictions, from any framework, against a dataset's truth."""

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

PRED is the challenge's own file (pred.json, its zip, HANDS'19's .txt), or an .npz or .json with joints [N, 21, 3] in
metres, camera frame, FreiHAND order. TRUTH is the dataset's folder or file, or such an .npz. docs/evaluation.md has the
forms, and what each protocol measures.
""")  # fmt: skip
    parser.add_argument("predictions", metavar="PRED", help="file of predictions")
    parser.add_argument("truth", metavar="TRUTH", help="the dataset's true joints")
    parser.add_argument("--protocol", required=True, choices=PROTOCOLS, help="of the dataset")
    parser.add_argument(
        "--alignment",
        action="append",
        default=[],
        choices=ALIGNMENTS,
        metavar="NAME",
        help=f"instead of the protocol's own, once or more: {', '.join(ALIGNMENTS)}",
    )
    parser.add_argument("--subsets", metavar="FILE", help="of hands19: lines of an image's name and INTERP or EXTRAP")
    parser.add_argument("--out", metavar="FILE", help="write every figure there, as JSON")
    parser.add_argument("--force", action="store_true", help="replace that file if it is there")
    parser.add_argument(
        "--unchecked",
        action="store_true",
        help="take the joints as they are, whatever order and unit they seem to have",
    )


def _score(options: argparse.Namespace) -> None:
    from bmc_jax.metrics import scoring
    from bmc_jax.runtime import files

    if options.out and Path(options.out).exists() and not options.force:
        raise FileExistsError(f"{options.out} is there: give another --out, or --force to replace it")
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
