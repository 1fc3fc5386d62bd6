"""Insertion of results into the pages: each block between `<!-- results: NAME -->` and `<!-- end -->` is generated from
`docs/results/NAME.json`, which `bmc experiment ... --record` writes. `<!-- results: NAME short -->` is the short table.

    python docs/fill.py            # after a new result, or a change of the tables
    python docs/fill.py --check    # exits with status 1 if a page does not match its results
"""

import re
import sys
from pathlib import Path

from bmc_jax.experiments import comparison, tables

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs/reproduction.md")
BLOCK = re.compile(r"(<!-- results: (\w+)( short)? -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(text: str, results: Path) -> str:
    """Returns a page with the results in its blocks. A block whose experiment was not run states this.

    Raises:
      ValueError: if a block has no end, or another form.
    """
    if text.count("<!-- results:") != len(BLOCK.findall(text)):
        raise ValueError("expected `<!-- results: NAME -->` or `<!-- results: NAME short -->` with an `<!-- end -->`")
    return BLOCK.sub(lambda found: f"{found[1]}{_block(found[2], bool(found[3]), results)}{found[4]}", text)


def _block(name: str, short: bool, results: Path) -> str:
    file = results / f"{name}.json"
    if not file.is_file():
        return "*Not measured yet.*\n"
    content = comparison.read(file)
    return tables.short(content) if short else tables.markdown(content)


def main(check: bool) -> int:
    stale = 0
    for page in PAGES:
        text = page.read_text()
        filled = fill(text, ROOT / "docs/results")
        if filled != text:
            print(f"{page.relative_to(ROOT)} {'does not match its results' if check else 'filled'}")
            stale += 1
            if not check:
                page.write_text(filled)
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
