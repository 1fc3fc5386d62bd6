"""Tables of an experiment's comparison, as rows and as Markdown, for the terminal, the pages and the documentation."""

import dataclasses
from typing import Any

from tabulate import tabulate

from bmc_jax.experiments import claims
from bmc_jax.experiments.claims import Claim
from bmc_jax.experiments.comparison import COLUMNS, Comparison
from bmc_jax.metrics import evaluation, published

STEPS = ("joints_2d_px", "depth_mm", "joints_3d_mm")
"""Metrics whose steps are shown."""
WITHOUT_3D = ("joints_2d_px", "angles_within")
"""Metrics whose steps are shown without 3D labels."""
GAPS = ("depth_mm", "joints_3d_mm")
"""Metrics with a gap. Pixels are labelled in nearly all arms and hardly differ."""
SHORT = ("joints_2d_px", "depth_mm", "joints_3d_mm", "aligned_mm")
"""Metrics of the short table."""


def markdown(content: Comparison) -> str:
    """Returns all tables of the comparison as Markdown: each set of test images, and the outcomes of the claims."""
    lines = [heading(content), ""]
    for of in comparisons(content):
        lines += [f"**{of['name']}**, mean ± sd of {of['seeds']}", "", _pipes(of["means"]), "", _pipes(of["steps"]), ""]
    lines += ["Changes are the means over the seeds of both arms, from the arm *after*, with p of a paired t-test.", ""]
    if content["claims"]:
        head, *rows = claim_rows(content)
        lines += [_pipes([head, *([*row[:-1], f"**{row[-1]}**"] for row in rows)]), ""]
    hashes = ", ".join(f"{arm} `{found}`" for arm, found in content["configurations"].items() if found)
    lines += [f"Configurations: {hashes}."]
    return "\n".join(lines) + "\n"


def short(content: Comparison) -> str:
    """Returns the means on the target and those of the paper as Markdown."""
    name, arms = list(content["sets"].items())[-1]
    title = f"{heading(content)} · {name}, mean ± sd of {_seeds(arms)}"
    return "\n".join([title, "", _pipes(_values(content, arms, {}, SHORT, words=True))]) + "\n"


def comparisons(content: Comparison) -> list[dict[str, Any]]:
    """Returns the name, number of seeds and two tables, with the header first, of each set of test images."""
    # The gap is that on the target: on the source all arms are about equal, and shares of a tiny gap are noise.
    target = list(content["sets"])[-1]
    return [
        {
            "name": name,
            "seeds": _seeds(arms),
            "means": _values(content, arms, content["others"][name]),
            "steps": _steps(content, arms, name == target),
        }
        for name, arms in content["sets"].items()
    ]


def heading(content: Comparison) -> str:
    """Returns the command, hardware and commit as Markdown."""
    environment = content["environment"]
    return f"`{content['command']}` · {environment['hardware']} · commit {environment['commit']}"


def _seeds(arms: dict[str, Any]) -> str:
    counts = sorted({len(arm["seeds"]) for arm in arms.values()})
    several = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{several} seed{'' if several == '1' else 's'}"


def _title(content: Comparison, key: str) -> str:
    """Returns the title of a metric, with the side of the crop in whose pixels 2D errors are."""
    size = content.get("image_size") if key == "joints_2d_px" else None
    return published.title(key) + (f" of {size}" if size else "")


def _values(
    content: Comparison, arms: dict[str, Any], others: dict[str, Any], shown: tuple[str, ...] = (), words: bool = False
) -> list[list[str]]:
    """Returns a row for each arm. A number of the paper is in the column after ours."""
    ours = {key for arm in arms.values() for key in arm["mean"]}
    theirs = {key for row in (*(arm["paper"] for arm in arms.values()), *others.values()) for key in row}
    known = dict.fromkeys([*COLUMNS, *(key for arm in arms.values() for key in arm["paper"]), *theirs])
    keys = [key for key in shown or known if key in ours | theirs]
    header, rows = ["arm"], [[arm["words"] if words else name] for name, arm in arms.items()]
    rows += [[name] for name in others]
    means = [*arms.values(), *({"mean": {}, "paper": row} for row in others.values())]
    for key in keys:
        if key in ours:
            header.append(_title(content, key))
            for row, arm in zip(rows, means, strict=True):
                row.append(_value(key, arm))
        if key in theirs:
            header.append("paper" if key in ours else f"paper: {published.title(key)}")
            for row, arm in zip(rows, means, strict=True):
                row.append(f"{arm['paper'][key]:.2f}" if key in arm["paper"] else "")
    return [header, *rows]


def _value(key: str, arm: dict[str, Any]) -> str:
    if key not in arm["mean"]:
        return ""
    digits = evaluation.METRICS[key][2] if key in evaluation.METRICS else 3
    spread = f" ± {arm['sd'][key]:.{digits}f}" if key in arm["sd"] else ""
    return f"{arm['mean'][key]:.{digits}f}{spread}"


def _steps(content: Comparison, arms: dict[str, Any], gap: bool) -> list[list[str]]:
    has_3d = any("joints_3d_mm" in arm["mean"] for arm in arms.values())
    keys = STEPS if has_3d else WITHOUT_3D
    closes = [key for key in keys if gap and key in GAPS and any(key in arm.get("closed", {}) for arm in arms.values())]
    names = {key: _title(content, key).replace(", wrists aligned", "") for key in keys}
    rows = [["arm", "after", *names.values(), *(f"gap closed: {names[key]}" for key in closes)]]
    for name, arm in arms.items():
        step, closed = arm.get("step", {}), arm.get("closed", {})
        changes = (_change(key, step.get(key)) for key in keys)
        shares = (f"{closed[key]:.0f} %" if key in closed else "" for key in closes)
        rows.append([f"{name}: {arm['words']}", step.get("after", ""), *changes, *shares])
    return rows


def _change(key: str, found: dict[str, float] | None) -> str:
    if found is None:
        return ""
    return f"{found['change']:+.2f}" + (f" ({_p(found['p'])})" if "p" in found else "")


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p {p:.3f}"


def claim_rows(content: Comparison) -> list[list[str]]:
    """Returns the table of the claims, with the header first."""
    rows = [["claim", "metric, reference", "claimed", "measured", "p-value", "outcome"]]
    for fields in content["claims"]:
        known = {field.name for field in dataclasses.fields(Claim)}
        given: dict[str, Any] = {name: value for name, value in fields.items() if name in known}
        given["by"] = float(given.get("by", 0.0))
        claim = Claim(**given)
        found = claims.evaluate(claim, values(content, claim))
        of = f"the gap {claim.than} to {claim.gap_to}" if claim.gap_to else claim.than
        rows.append(
            [
                f"{claim.words}: {claim.arm}",
                f"{_title(content, claim.measure).replace(', wrists aligned', '')}, {of}",
                "better" if claim.by == 0 else f"at least {claim.by:g} %",
                "" if found.reached is None else f"{found.reached:+.1f} %",
                _p(found.p) if found.p is not None else "one seed" if found.seeds == 1 else "",
                found.outcome,
            ]
        )
    return rows


def values(content: Comparison, claim: Claim) -> dict[str, dict[int, float]]:
    """Returns the values of a claim's metric by arm and seed, on the test images of the claim."""
    arms = content["sets"].get(claim.on, {}) if claim.on else list(content["sets"].values())[-1]
    return {
        name: dict(zip(arm["seeds"], map(float, arm["values"][claim.measure]), strict=True))
        for name, arm in arms.items()
        if claim.measure in arm["values"]
    }


def _pipes(rows: list[list[str]]) -> str:
    sides = ["left", *["right"] * (len(rows[0]) - 1)]
    return tabulate(rows[1:], rows[0], tablefmt="pipe", disable_numparse=True, colalign=sides)
