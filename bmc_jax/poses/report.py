"""HTML pages of poses checked against limits, and of the range of motion of a sequence."""

import os
from pathlib import Path

from bmc_jax.core.plural import counted
from bmc_jax.core.types import Limits
from bmc_jax.limits import checking, plots, range_of_motion
from bmc_jax.limits.checking import Summary
from bmc_jax.limits.range_of_motion import Motion
from bmc_jax.poses.conventions import Poses
from bmc_jax.visualization import html

DPI = 110
DRAWN = 8
"""Number of the worst hands that are drawn."""


def check(out: str | os.PathLike, name: str, poses: Poses, limits: Limits, summary: Summary) -> Path:
    """Writes a page with the result of `checking.summarize`, and returns its path.

    Args:
      out: the HTML file to write.
      name: name of the poses, for the title.
      poses: the poses.
      limits: the limits.
      summary: result of `checking.summarize`.
    """
    violations = worst_hands = None
    if summary.angles_within < summary.poses:
        figure = plots.violations(limits, summary.angles, summary.beyond)
        violations = html.picture(figure, "Angles of the joints that violate limits", DPI)
        worst_hands = _worst_hands(poses, summary)
    return html.write(
        out,
        "limits_check.html",
        title=f"{name}: {summary.within:,} of {counted(summary.poses, 'pose')} within limits",
        subtitle=f"checked against limits of {limits.meta.source} · bmc-jax",
        findings=(*poses.notes, *poses.findings),
        summary=summary,
        gaps=len(poses.gaps),
        partial=poses.partial,
        impossible=len(poses.impossible),
        joint_head=checking.JOINT_HEAD,
        joints=checking.joint_cells(summary),
        outside=[bool(joint.outside) for joint in summary.joints],
        interval_head=checking.INTERVAL_HEAD,
        intervals=checking.interval_cells(summary),
        violations=violations,
        worst_hands=worst_hands,
        worst=[(f"pose {one.pose}", f"{one.degrees:.0f}°", ", ".join(one.joints)) for one in summary.worst],
    )


def motion(out: str | os.PathLike, name: str, poses: Poses, found: Motion) -> Path:
    """Writes a page with the range of motion of a sequence, and returns its path.

    Args:
      out: the HTML file to write.
      name: name of the sequence, for the title.
      poses: the poses.
      found: result of `range_of_motion.measure`.
    """
    figure = plots.motion(found.seconds, found.degrees, found.norms)
    return html.write(
        out,
        "limits_motion.html",
        title=f"{name}: range of motion",
        subtitle=f"{found.frames_per_second:g} frames per second · bmc-jax",
        findings=(*poses.notes, *poses.findings),
        motion=found,
        curves=html.picture(figure, "Flexion and abduction of all joints over time", DPI),
        head=range_of_motion.HEAD,
        rows=range_of_motion.cells(found),
    )


def _worst_hands(poses: Poses, summary: Summary) -> html.Picture:
    drawn = summary.worst[:DRAWN]
    row = {int(pose): number for number, pose in enumerate(poses.present)}
    figure = plots.hands(
        poses.joints[[one.pose for one in drawn]],
        summary.beyond[[row[one.pose] for one in drawn]],
        [f"pose {one.pose} · {one.degrees:.0f}°" for one in drawn],
    )
    return html.picture(figure, "The poses furthest outside", DPI)
