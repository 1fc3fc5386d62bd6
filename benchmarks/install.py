"""Size and duration of an installation in a new environment, and the contribution of each requirement.

    python benchmarks/install.py [EXTRA ...]

Installs this repository, with the extras, at the versions of constraints.txt. Seconds are wall-clock seconds, including
downloads of packages that are not in pip's cache. The share of a requirement is the size of the packages that would not
be installed without it: packages that several requirements need are in no share.
"""

import argparse
import importlib.metadata
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGE = "bmc-jax"
LARGEST = 8


def size(distribution: importlib.metadata.Distribution) -> int:
    """Returns the bytes of a distribution's files."""
    files = [Path(str(file.locate())) for file in distribution.files or []]
    return sum(file.lstat().st_size for file in files if file.exists())


class Installed:
    """Returns the distributions of a folder by name, with the requirements of each."""

    def __init__(self, packages: Path):
        found = list(importlib.metadata.distributions(path=[str(packages)]))
        names = [canonicalize_name(distribution.metadata["Name"]) for distribution in found]
        self.sizes = dict(zip(names, map(size, found), strict=True))
        self._requires = {
            name: list(map(Requirement, distribution.requires or []))
            for name, distribution in zip(names, found, strict=True)
        }

    def required(self, name: str, extras: frozenset[str]) -> list[Requirement]:
        """Returns the requirements of a distribution that apply here with some of its extras."""
        return [
            requirement
            for requirement in self._requires[name]
            if requirement.marker is None
            or any(requirement.marker.evaluate({"extra": extra}) for extra in (extras or {""}))
        ]

    def reachable(self, extras: frozenset[str], without: str = "") -> set[str]:
        """Returns the distributions that the package installs if it does not require `without`."""
        seen, waiting = set(), [(PACKAGE, extras)]
        while waiting:
            one = waiting.pop()
            if one in seen or one[0] not in self.sizes:
                continue
            seen.add(one)
            for requirement in self.required(*one):
                name = canonicalize_name(requirement.name)
                if (one[0], name) != (PACKAGE, without):
                    waiting.append((name, frozenset(requirement.extras)))
        return {name for name, _ in seen}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("extras", nargs="*", metavar="EXTRA")
    extras = frozenset(parser.parse_args().extras)
    with tempfile.TemporaryDirectory() as place:
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        pip = [f"{place}/bin/pip", "install", "--quiet", "--disable-pip-version-check"]
        what = f"{ROOT}[{','.join(sorted(extras))}]" if extras else str(ROOT)
        start = time.perf_counter()
        subprocess.run([*pip, "--constraint", str(ROOT / "constraints.txt"), what], check=True)
        seconds = time.perf_counter() - start
        (packages,) = Path(place).glob("lib/python*/site-packages")
        installed = Installed(packages)
        every = installed.reachable(extras)
        total = sum(installed.sizes[name] for name in every)
        print(f"{len(every)} packages, {total / 1e6:,.0f} MB, {seconds:.0f} s\n")
        print("| requirement | MB that it alone brings |\n|---|---|")
        shares = {}
        for requirement in installed.required(PACKAGE, extras):
            name = canonicalize_name(requirement.name)
            gone = every - installed.reachable(extras, without=name)
            shares[name] = sum(installed.sizes[one] for one in gone)
        for name, share in sorted(shares.items(), key=lambda item: -item[1]):
            print(f"| {name} | {share / 1e6:,.1f} |")
        largest = sorted(every, key=installed.sizes.__getitem__, reverse=True)[:LARGEST]
        print("\nlargest:", ", ".join(f"{name} {installed.sizes[name] / 1e6:,.0f} MB" for name in largest))


if __name__ == "__main__":
    main()
