"""Size of an installation in a new environment, the seconds it takes, and its largest packages.

    python benchmarks/install.py [REQUIREMENT ...]

A requirement is what pip takes, such as '.', the default, or '.[plots]'. Seconds are wall clock, with pip's cache, so
the second of two runs excludes downloads.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

LARGEST = 12


def size(path: Path) -> int:
    """Returns the bytes of a file, or of all files of a folder."""
    return sum(file.lstat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("requirements", nargs="*", default=["."], metavar="REQUIREMENT")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        (packages,) = Path(place).glob("lib/python*/site-packages")
        empty = size(packages)
        pip = [f"{place}/bin/pip", "install", "--quiet", "--disable-pip-version-check"]
        start = time.perf_counter()
        subprocess.run([*pip, "--constraint", "constraints.txt", *options.requirements], check=True)
        seconds = time.perf_counter() - start
        sizes = Counter({path.name: size(path) for path in packages.iterdir()})
        count = len(list(packages.glob("*.dist-info")))
        what = " ".join(options.requirements)
        print(f"{what}: {(sizes.total() - empty) / 1e6:,.0f} MB, {seconds:.0f} s, {count} packages")
        print(*(f"{number / 1e6:8,.0f} MB  {name}" for name, number in sizes.most_common(LARGEST)), sep="\n")


if __name__ == "__main__":
    main()
