"""Figure of the rooms of `bmc_jax` and their imports, docs/images/layers.svg, from the graph that import-linter checks.

python docs/draw_layers.py            # writes the figure
python docs/draw_layers.py --check    # exits with status 1 if the figure is out of date
"""

import ast
import sys
import tomllib
from pathlib import Path
from xml.sax.saxutils import escape

import grimp

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs/images/layers.svg"
WIDTH, HEIGHT, GAP, SPREAD = 850, 34, 14, 13


def layers() -> list[list[str]]:
    """Returns the rooms of each layer in pyproject.toml, the highest layer first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = (contract for contract in contracts if contract["type"] == "layers")
    return [layer.split(" | ") for layer in contract["layers"]]


def purpose(room: str) -> str:
    """Returns the first sentence of a room's docstring."""
    folder = ROOT / "bmc_jax" / room
    file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
    return " ".join(docstring.split("\n\n")[0].split()).split(". ")[0].rstrip(".")


def svg() -> str:
    """Returns the figure: a row for each room, and a curve from each room to each room that it imports."""
    graph = grimp.build_graph("bmc_jax", cache_dir=None)
    rooms = [room for layer in layers() for room in layer]
    top = {room: 10 + row * (HEIGHT + GAP) for row, room in enumerate(rooms)}
    total = 10 + len(rooms) * (HEIGHT + GAP)
    parts = []
    for upper in rooms:
        for lower in rooms[rooms.index(upper) + 1 :]:
            members = {f"bmc_jax.{upper}", *graph.find_descendants(f"bmc_jax.{upper}")}
            below = {f"bmc_jax.{lower}", *graph.find_descendants(f"bmc_jax.{lower}")}
            if any(graph.find_modules_directly_imported_by(module) & below for module in members):
                start, end = top[upper] + HEIGHT / 2, top[lower] + HEIGHT / 2
                reach = WIDTH + SPREAD * (rooms.index(lower) - rooms.index(upper)) + 10
                parts.append(
                    f'<path d="M{WIDTH} {start:g} C{reach} {start:g} {reach} {end:g} {WIDTH} {end:g}" fill="none" '
                    'stroke="#5b7f95" stroke-opacity="0.55" marker-end="url(#tip)"/>'
                )
    for room in rooms:
        y = top[room]
        parts += [
            f'<rect x="10" y="{y}" width="{WIDTH - 10}" height="{HEIGHT}" rx="5" fill="#f3f6f8" stroke="#8aa4b5"/>',
            f'<text x="22" y="{y + 22}" font-weight="bold">{escape(room)}</text>',
            f'<text x="128" y="{y + 22}">{escape(purpose(room).replace("`", ""))}</text>',
        ]
    style = 'font-family="sans-serif" font-size="13" fill="#1d2a33"'
    arrow = '<path d="M0 0L7 3L0 6z" fill="#5b7f95"/>'
    tip = f'<marker id="tip" markerWidth="7" markerHeight="6" refX="6" refY="3" orient="auto">{arrow}</marker>'
    side = WIDTH + SPREAD * len(rooms)
    box = f'viewBox="0 0 {side} {total}" role="img" aria-label="Layers of bmc_jax"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box}>'
    return "\n".join(
        [
            head,
            f'<rect width="{side}" height="{total}" fill="#ffffff"/>',
            f"<defs>{tip}</defs>",
            f"<g {style}>",
            *parts,
            "</g>",
            "</svg>",
            "",
        ]
    )


def main() -> int:
    picture = svg()
    if "--check" in sys.argv[1:]:
        current = PICTURE.exists() and PICTURE.read_text() == picture
        print(
            "docs/images/layers.svg is up to date"
            if current
            else "expected docs/images/layers.svg to match the imports; run python docs/draw_layers.py"
        )
        return 0 if current else 1
    PICTURE.write_text(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
