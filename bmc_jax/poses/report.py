"""Poses against limits, and a sequence's motion, as one HTML page each that asks nothing of any network."""

import base64
import html
import os
from collections.abc import Sequence
from pathlib import Path
from string import Template

from matplotlib.figure import Figure

from bmc_jax.core.types import Limits
from bmc_jax.limits import checking, plots, range_of_motion
from bmc_jax.limits.checking import Summary
from bmc_jax.limits.range_of_motion import Motion
from bmc_jax.poses.conventions import Poses
from bmc_jax.runtime import files
from bmc_jax.visualization import draw

PAGE = Template((Path(draw.__file__).parent / "templates" / "limits_page.html").read_text(encoding="utf-8"))
#: Worst hands drawn.
DRAWN = 8


def check(out: str | os.PathLike, name: str, poses: Poses, limits: Limits, summary: Summary) -> Path:
    """Write what `checking.summarize` found of the poses as a page, whole or not at all, and return its path."""
    body = [*_findings(poses), _sentence(poses, summary), "<h2>Joints</h2>"]
    outside = [bool(joint.outside) for joint in summary.joints]
    body.append(_table(checking.JOINT_HEAD, checking.joint_cells(summary), outside))
    if summary.intervals:
        body += ["<h2>Bones and palm</h2>", _table(checking.INTERVAL_HEAD, checking.interval_cells(summary))]
    if summary.angles_within < summary.poses:
        figure = plots.violations(limits, summary.angles, summary.beyond)
        body += ["<h2>Angles against the limits</h2>", _picture(figure, "Angles of the joints that violate limits")]
        body += ["<h2>The worst poses</h2>", *_worst(poses, summary)]
    subtitle = f"held against limits of {limits.meta.source} · bmc-jax"
    return _write(out, f"{name}: {summary.within:,} of {summary.poses:,} poses within limits", subtitle, body)


def motion(out: str | os.PathLike, name: str, poses: Poses, found: Motion) -> Path:
    """Write a sequence's range of motion as a page, whole or not at all, and return its path."""
    figure = plots.motion(found.seconds, found.degrees, found.norms)
    body = [
        *_findings(poses),
        f"<p>{found.sentence()}</p>",
        "<h2>Over time</h2>",
        _picture(figure, "Flexion and abduction of every joint over time"),
        "<h2>Range of motion</h2>",
        _table(range_of_motion.HEAD, range_of_motion.cells(found)),
        *(f"<p class='quiet'>{html.escape(note)}</p>" for note in found.notes),
    ]
    return _write(out, f"{name}: range of motion", f"{found.frames_per_second:g} frames a second · bmc-jax", body)


def _findings(poses: Poses) -> list[str]:
    kind = {True: "doubt", False: "quiet"}
    return [f"<p class='{kind[bool(of.mistaken)]}'>{html.escape(str(of))}</p>" for of in poses.findings]


def _sentence(poses: Poses, summary: Summary) -> str:
    words = [
        f"{summary.within:,} of {summary.poses:,} poses are within every limit, {summary.angles_within:,} within those "
        "of the joint angles."
    ]
    if len(poses.gaps):
        words.append(f"{len(poses.gaps):,} gaps are left out, {poses.partial:,} of them with some of their joints.")
    if len(poses.impossible):
        words.append(f"{len(poses.impossible):,} poses of no hand's size are left out.")
    return f"<p>{' '.join(words)}</p>"


def _worst(poses: Poses, summary: Summary) -> list[str]:
    shown = summary.worst[:DRAWN]
    row = {int(pose): number for number, pose in enumerate(poses.present)}
    figure = plots.hands(
        poses.joints[[one.pose for one in shown]],
        summary.beyond[[row[one.pose] for one in shown]],
        [f"pose {one.pose} · {one.degrees:.0f}°" for one in shown],
    )
    rows = [(f"pose {one.pose}", f"{one.degrees:.0f}°", ", ".join(one.joints)) for one in summary.worst]
    return [
        "<p class='quiet'>By the degrees of all joints together. Each hand with its palm to you and from the side; a "
        "ring is a joint outside its limits, the larger the further.</p>",
        _picture(figure, "The poses that are furthest outside"),
        _table(["", "in all", "joints"], rows),
    ]


def _write(out: str | os.PathLike, title: str, subtitle: str, body: Sequence[str]) -> Path:
    out = Path(out)
    page = PAGE.substitute(title=html.escape(title), subtitle=html.escape(subtitle), body="\n".join(body))
    files.write_text(out, page)
    return out


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], marked: Sequence[bool] | None = None) -> str:
    """Of plain text; marked rows stand out, and columns of words stand on the left."""
    kind = [" class='words'" * (name in ("which way", "joints", "unit")) for name in head]
    cells = "".join(f"<th{of}>{html.escape(name)}</th>" for of, name in zip(kind, head, strict=True))
    lines = []
    for row, stands_out in zip(rows, marked or [False] * len(rows), strict=True):
        line = "".join(f"<td{of}>{html.escape(cell)}</td>" for of, cell in zip(kind, row, strict=True))
        lines.append(f"<tr{' class=ours' * stands_out}>{line}</tr>")
    return f"<div class='scroll'><table><tr>{cells}</tr>{''.join(lines)}</table></div>"


def _picture(figure: Figure, words: str) -> str:
    content = base64.b64encode(draw.png(figure, dpi=110)).decode()
    return f'<img alt="{html.escape(words)}" src="data:image/png;base64,{content}">'
