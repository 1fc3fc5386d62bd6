"""An experiment's comparison as Markdown, in columns that a terminal shows too: for `bmc experiment`, and for the pages
of the documentation, which hold nothing else that is measured."""

from typing import Any

from bmc_jax.experiments import claims
from bmc_jax.experiments.claims import Claim
from bmc_jax.experiments.comparison import COLUMNS
from bmc_jax.metrics import evaluation, published

#: Measures whose steps are shown, with the gap closed; the last only where there is no 3D.
STEPS = ("joints_2d_px", "depth_mm", "joints_3d_mm")
WITHOUT_3D = ("joints_2d_px", "angles_within")
#: Those that the gap is told of: pixels are labelled in nearly all arms, and differ by next to nothing.
GAPS = ("depth_mm", "joints_3d_mm")
#: Measures of the short table.
SHORT = ("joints_2d_px", "depth_mm", "joints_3d_mm", "aligned_mm")


def markdown(content: dict[str, Any]) -> str:
    """Everything: what it was made with, each set of test images, and what becomes of the claims."""
    lines = [heading(content), ""]
    target = list(content["sets"])[-1]
    for name, arms in content["sets"].items():
        lines += [f"**{name}**, mean ± sd of {_seeds(arms)}", ""]
        # The gap is the target's: on the source all arms are about the same, and shares of nothing say nothing.
        lines += [*_aligned(_values(arms, content["others"][name])), "", *_aligned(_steps(arms, name == target)), ""]
    lines += ["Beside *after*: the mean change from that arm over the same seeds, with p of a paired t-test.", ""]
    if content["claims"]:
        lines += [*_aligned(_claims(content)), ""]
    hashes = ", ".join(f"{arm} `{found}`" for arm, found in content["configurations"].items() if found)
    lines += [f"Configurations: {hashes}."]
    return "\n".join(lines) + "\n"


def short(content: dict[str, Any]) -> str:
    """The target's means alone, with the paper's beside them."""
    name, arms = list(content["sets"].items())[-1]
    title = f"{heading(content)} · {name}, mean ± sd of {_seeds(arms)}"
    return "\n".join([title, "", *_aligned(_values(arms, {}, SHORT, words=True))]) + "\n"


def heading(content: dict[str, Any]) -> str:
    """By what command, on what, from which commit."""
    environment = content["environment"]
    return f"`{content['command']}` · {environment['hardware']} · commit {environment['commit']}"


def _seeds(arms: dict[str, Any]) -> str:
    counts = sorted({len(arm["seeds"]) for arm in arms.values()})
    several = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{several} seed{'' if several == '1' else 's'}"


def _values(
    arms: dict[str, Any], others: dict[str, Any], shown: tuple[str, ...] = (), words: bool = False
) -> list[list[str]]:
    """An arm a row; the paper's number, where there is one, in the column after ours."""
    ours = {key for arm in arms.values() for key in arm["mean"]}
    theirs = {key for row in (*(arm["paper"] for arm in arms.values()), *others.values()) for key in row}
    known = dict.fromkeys([*COLUMNS, *(key for arm in arms.values() for key in arm["paper"]), *theirs])
    keys = [key for key in shown or known if key in ours | theirs]
    header, rows = ["arm"], [[arm["words"] if words else name] for name, arm in arms.items()]
    rows += [[name] for name in others]
    means = [*arms.values(), *({"mean": {}, "paper": row} for row in others.values())]
    for key in keys:
        if key in ours:
            header.append(published.title(key))
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


def _steps(arms: dict[str, Any], gap: bool) -> list[list[str]]:
    has_3d = any("joints_3d_mm" in arm["mean"] for arm in arms.values())
    keys = STEPS if has_3d else WITHOUT_3D
    closes = [key for key in keys if gap and key in GAPS and any(key in arm.get("closed", {}) for arm in arms.values())]
    names = {key: published.title(key).replace(", wrists aligned", "") for key in keys}
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


def _claims(content: dict[str, Any]) -> list[list[str]]:
    rows = [["claim", "of", "asked for", "reached", "chance", "verdict"]]
    for told in content["claims"]:
        claim = Claim(**told)
        found = claims.evaluate(claim, values(content, claim))
        of = f"the gap {claim.than} to {claim.gap_to}" if claim.gap_to else claim.than
        rows.append(
            [
                f"{claim.words}: {claim.arm}",
                f"{published.title(claim.measure).replace(', wrists aligned', '')}, {of}",
                "better" if claim.by == 0 else f"at least {claim.by:g} %",
                "" if found.reached is None else f"{found.reached:+.1f} %",
                _p(found.p) if found.p is not None else "one seed" if found.seeds == 1 else "",
                f"**{found.outcome}**",
            ]
        )
    return rows


def values(content: dict[str, Any], claim: Claim) -> dict[str, dict[int, float]]:
    """Of a claim's measure, by arm and seed, on the images that it is of."""
    arms = content["sets"].get(claim.on, {}) if claim.on else list(content["sets"].values())[-1]
    return {
        name: dict(zip(arm["seeds"], arm["values"][claim.measure], strict=True))
        for name, arm in arms.items()
        if claim.measure in arm["values"]
    }


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    padded = [
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        for row in rows
    ]
    return ["| " + " | ".join(row) + " |" for row in [padded[0], rule, *padded[1:]]]
