"""`bmc configs`: the configurations and launch files that are installed with the package."""

import argparse
import ast
from pathlib import Path
from typing import Any

from bmc_jax.cli.arguments import add_verb


def add(verbs: Any) -> None:
    add_verb(verbs, "list", _list, "list the configurations and launch files of the project", """\
example:
  bmc configs list

bmc train --config=NAME and bmc experiment NAME accept these names.
""")  # fmt: skip
    parser = add_verb(verbs, "copy", _copy, "copy configurations and launch files into a folder", """\
examples:
  bmc configs copy quickstart slurm.sbatch
  bmc configs copy quickstart --out mine && bmc train --config=mine/quickstart.py --workdir=runs/mine
""")  # fmt: skip
    parser.add_argument("names", nargs="+", metavar="NAME", help="names of bmc configs list")
    parser.add_argument("--out", default=".", metavar="DIR", help="folder, created if missing (default: .)")


def _list(options: argparse.Namespace) -> None:
    from bmc_jax.runtime import project_files

    known = project_files.configs()
    width = max(map(len, known))
    for name, file in known.items():
        words = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        sentence = " ".join(words.split()).partition(". ")[0]
        print(f"{name:{width}}  {sentence}")
    print(f"\nlaunch files: {', '.join(project_files.launch_files())}")


def _copy(options: argparse.Namespace) -> None:
    from bmc_jax.runtime import project_files

    for file in project_files.copy(options.names, Path(options.out)):
        print(f"written to {file}")
