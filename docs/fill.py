"""Fill what is measured into the pages: each block between `<!-- results: NAME -->` and `<!-- end -->` is made from
`docs/results/NAME.json`, which `bmc experiment ... --record` writes. `<!-- results: NAME short -->` is the short table.

    python docs/fill.py            # after a new result, or after a change of how tables look
    python docs/fill.py --check    # status 1 if a page says anything else than its results do
"""

import re
import sys
from pathlib import Path

from bmc_jax.experiments import comparison, tables

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs/reproduction.md")
BLOCK = re.compile(r"(<!-- results: (\w+)( short)? -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(text: str, results: Path) -> str:
    """A page with every block as its result has it; one whose experiment is still to be run says so.

    Raises ValueError for a block that has no end.
    """
    if text.count("<!-- results:") != len(BLOCK.findall(text)):
        raise ValueError("a block `<!-- results: NAME -->` has no `<!-- end -->`, or is not NAME or NAME short")
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
            print(f"{page.relative_to(ROOT)} {'is not what its results make of it' if check else 'filled'}")
            stale += 1
            if not check:
                page.write_text(filled)
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
