"""Configurations and launch files of the project, in a checkout or an installed package.

In a checkout they are in `configs/` and `launch/` next to the package. A wheel installs both folders in the package.
"""

import difflib
import os
import shutil
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def folder(name: str) -> Path:
    """Returns the folder "configs" or "launch" of this installation."""
    installed = PACKAGE / name
    return installed if installed.is_dir() else PACKAGE.parent / name


def configs() -> dict[str, Path]:
    """Returns the configuration files of the project by name."""
    return {file.stem: file for file in sorted(folder("configs").glob("*.py"))}


def launch_files() -> dict[str, Path]:
    """Returns the launch files of the project by name, which includes the suffix."""
    return {file.name: file for file in sorted(folder("launch").iterdir()) if file.is_file()}


def find_config(text: str | os.PathLike) -> Path:
    """Returns a configuration file, given by its path or as the name of one of the project's configurations.

    Raises:
      FileNotFoundError: if it is neither. The message lists the names.
    """
    path, known = Path(text), configs()
    if path.is_file():
        return path
    if str(text) in known:
        return known[str(text)]
    raise FileNotFoundError(
        f"expected a configuration file or one of {', '.join(known)}, got {os.fspath(text)!r}"
        + _did_you_mean(path.stem, known)
    )


def copy(names: list[str], out: Path) -> list[Path]:
    """Copies configurations and launch files of the project into a folder.

    Args:
      names: names of configurations or launch files.
      out: the folder, created if missing.

    Returns:
      The new files.

    Raises:
      ValueError: if a name is unknown. The message lists the names.
      FileExistsError: if a file exists in the folder. Nothing is copied.
    """
    known = configs() | launch_files()
    for name in names:
        if name not in known:
            raise ValueError(f"expected one of {', '.join(known)}, got {name!r}{_did_you_mean(name, known)}")
        if (out / known[name].name).exists():
            raise FileExistsError(f"{out / known[name].name} exists; delete it, or give another --out")
    out.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copy(known[name], out)) for name in names]


def _did_you_mean(name: str, known: dict[str, Path]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
