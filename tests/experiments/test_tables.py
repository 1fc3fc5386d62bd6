"""Tables and pages from invented results, and the committed pages from the committed results."""

import json
import re
import runpy

import pytest
from support import paths

from bmc_jax.experiments import tables

ROOT = paths.ROOT
FILL = runpy.run_path(str(ROOT / "docs/fill.py"))


def arm(words, values, paper=None, **more):
    means = {key: sum(several) / len(several) for key, several in values.items()}
    seeds = list(range(len(next(iter(values.values())))))
    spread = dict.fromkeys(values, 0.5) if len(seeds) > 1 else {}
    return {"words": words, "seeds": seeds, "values": values, "mean": means, "sd": spread, "paper": paper or {}} | more


def content(**fields):
    """Returns a comparison of two arms with three seeds on two sets."""
    before = {"joints_2d_px": [3.0, 3.1, 3.2], "depth_mm": [20.0, 21.0, 22.0], "joints_3d_mm": [25.0, 26.0, 27.0]}
    after = {"joints_2d_px": [3.3, 3.1, 3.2], "depth_mm": [10.0, 11.5, 12.0], "joints_3d_mm": [15.0, 16.0, 18.0]}
    step = {"after": "2d", "seeds": [0, 1, 2], "depth_mm": {"change": -9.83, "p": 0.0002}}
    arms = {
        "2d": arm("2D labels", before, {"depth_mm": 17.02}),
        "bmc": arm("and losses", after, {"depth_mm": 9.97}, step=step, closed={"depth_mm": 71.0}),
    }
    claims = [
        {"words": "depth falls by a third", "arm": "bmc", "than": "2d", "measure": "depth_mm", "by": 33.0},
        {"words": "pixels too", "arm": "bmc", "than": "2d", "measure": "joints_2d_px"},
        {"words": "more is more", "arm": "full", "than": "2d", "measure": "depth_mm"},
    ]
    return {
        "experiment": "made",
        "command": "bmc experiment made --seeds 3",
        "environment": {"hardware": "a chip", "commit": "abc"},
        "configurations": {"2d": "0123456789ab", "bmc": ""},
        "claims": claims,
        "others": {"source": {}, "target": {"Table 9, Somebody": {"depth_mm": 5.5}}},
        "sets": {"source": {"2d": arm("2D labels", {"depth_mm": [9.0, 9.0, 9.0]})}, "target": arms},
    } | fields


def cells(text, start):
    line = next(line for line in text.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_ours_stand_beside_the_papers_and_other_peoples_below():
    text = tables.markdown(content()).split("**target**")[1]
    header = cells(text, "arm ")
    assert header[:4] == ["arm", "2D, px", "Z, wrists aligned, mm", "paper"]
    assert cells(text, "bmc ")[:4] == ["bmc", "3.20 ± 0.50", "11.2 ± 0.5", "9.97"]
    assert cells(text, "Table 9")[:4] == ["Table 9, Somebody", "", "", "5.50"]
    assert "-9.83 (p < 0.001)" in text
    assert "71 %" in text
    assert "paper" not in tables.markdown(content()).split("**target**")[0]


def test_what_it_was_made_with_is_told():
    text = tables.markdown(content())
    assert text.startswith("`bmc experiment made --seeds 3` · a chip · commit abc\n")
    assert "mean ± sd of 3 seeds" in text
    assert "2d `0123456789ab`" in text


def test_outcomes_are_computed_from_the_values_of_the_seeds():
    text = tables.markdown(content())
    assert cells(text, "depth falls by a third")[1:] == [
        "Z, mm, 2d", "at least 33 %", "+46.8 %", "p 0.008", "**holds**",
    ]  # fmt: skip
    assert cells(text, "pixels too")[2:4] == ["better", "-3.2 %"]
    assert cells(text, "pixels too")[-1] == "**does not hold**"
    assert cells(text, "more is more")[-1] == "**not run**"
    changed = content()
    changed["sets"]["target"]["bmc"]["values"]["depth_mm"] = [30.0, 31.0, 32.0]
    assert cells(tables.markdown(changed), "depth falls")[-1] == "**does not hold**"


def test_a_column_is_a_column():
    for text in (tables.markdown(content()), tables.short(content())):
        for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
            assert len({line.count("|") for line in block.splitlines()}) == 1
            assert len({len(line) for line in block.splitlines()}) == 1


def test_the_short_table_is_of_the_target_alone():
    text = tables.short(content())
    assert "source" not in text
    assert "target, mean ± sd of 3 seeds" in text
    assert cells(text, "and losses") == ["and losses", "3.20 ± 0.50", "11.2 ± 0.5", "9.97", "16.3 ± 0.5"]


def test_without_3d_labels_steps_are_of_pixels_and_plausibility():
    values = {"joints_2d_px": [3.0], "angles_within": [80.0]}
    arms = {"a": arm("one", values), "b": arm("two", values, step={"after": "a", "angles_within": {"change": 2.0}})}
    text = tables.markdown(content(sets={"photos": arms}, others={"photos": {}}, claims=[]))
    assert cells(text, "b: two")[-1] == "+2.00"
    assert "of 1 seed\n" in text
    assert "outcome" not in text


def test_blocks_are_filled_from_their_files_and_nothing_else_is_touched(tmp_path):
    (tmp_path / "made.json").write_text(json.dumps(content()))
    page = "Prose.\n<!-- results: made short -->\nby hand\n<!-- end -->\nMore.\n<!-- results: other -->\n<!-- end -->\n"
    filled = FILL["fill"](page, tmp_path)
    assert filled.startswith("Prose.\n<!-- results: made short -->\n`bmc experiment made")
    assert "by hand" not in filled
    assert filled.endswith("<!-- end -->\nMore.\n<!-- results: other -->\n*Not measured yet.*\n<!-- end -->\n")
    assert FILL["fill"](filled, tmp_path) == filled
    with pytest.raises(ValueError, match="with an `<!-- end -->`"):
        FILL["fill"](page.replace("<!-- end -->\nMore", "More"), tmp_path)


def test_the_pages_say_what_the_results_say():
    for page in FILL["PAGES"]:
        assert FILL["fill"](page.read_text(), ROOT / "docs/results") == page.read_text(), "run python docs/fill.py"


def test_results_name_nothing_of_the_machine_that_they_were_made_on():
    for file in (ROOT / "docs/results").glob("*.json"):
        assert not re.search(r'"/|[ =]/\w|~/|\\\\', file.read_text()), file.name
