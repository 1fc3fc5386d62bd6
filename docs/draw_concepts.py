"""Figures of docs/concepts.md, drawn with the functions that they explain.

python docs/draw_concepts.py             # writes docs/images/concept_*.png
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bmc_jax import anatomy, camera, hand, hull, kinematics, limits
from bmc_jax.visualization import draw
from bmc_jax.visualization.draw import FINGER_COLOURS, INK, INSIDE, OUTSIDE, PAPER, QUIET

IMAGES = Path(__file__).parent / "images"
AXES = {"x": "#D55E00", "y": "#009E73", "z": "#0072B2"}
INDEX, MIDDLE = 1, 2
#: Box behind a label that lies on a line.
LABEL = {"facecolor": "#ffffffd0", "edgecolor": "none", "pad": 0.6}

#: Flexion of the PIP, DIP and TIP bones of a resting hand by finger, and abduction of the PIP bones, degrees.
REST = ((5, 12, 8), (10, 18, 10), (6, 16, 10), (8, 18, 10), (10, 20, 12))
FAN = (-15, -6, 0, 6, 12)


def posed(flexion=REST, abduction=FAN, fold=0.12) -> np.ndarray:
    """Returns a hand `[21, 3]` in the hand frame (x palmar, y radial, z along the middle root bone), scale units.

    Its bones are at the middle of the clinical limits, its spread is a little smaller.
    """
    clinical = limits.load("clinical")
    angles = np.zeros((5, 3, 2), np.float32)
    angles[..., 0], angles[:, 0, 1] = np.radians(flexion), np.radians(abduction)
    palm = kinematics.Palm(0.85 * clinical.spread.mean(axis=-1), jnp.full(3, fold))
    return np.asarray(_pose(clinical.bone_length.mean(axis=-1), palm, angles))


_pose = jax.jit(kinematics.pose_from_angles)
_frames = jax.jit(anatomy.bone_frames)


def to_page(points: np.ndarray, turn: float = 0.0, tilt: float = 0.0) -> np.ndarray:
    """Projects points of the hand frame to the page, fingers up, with a view of the back of the hand.

    The hand is rotated by `turn` degrees about the direction of the fingers, then by `tilt` towards the reader.
    """
    a, b = np.radians([turn, tilt])
    right, up, near = -points[..., 1], points[..., 2], -points[..., 0]
    right, near = np.cos(a) * right + np.sin(a) * near, np.cos(a) * near - np.sin(a) * right
    return np.stack([right, np.cos(b) * up - np.sin(b) * near], axis=-1)


def joints() -> Figure:
    """Draws the 21 joints with their numbers, and the names of levels and fingers."""
    with matplotlib.rc_context(draw.STYLE):
        figure, axes = _canvas(5.6, 5.55)
        points = to_page(posed(flexion=np.full((5, 3), 2)))
        draw.skeleton(axes, points, rim=False)
        axes.plot(
            *points[list(hand.SCALE_BONE)].T, color=INK, linewidth=7, alpha=0.18, solid_capstyle="round", zorder=2
        )
        for number, (x, y) in enumerate(points):
            axes.annotate(str(number), (x, y), (9, -3), textcoords="offset points", fontsize=9, color=INK)
        for level, name in enumerate(hand.LEVELS):
            place = points[hand.FINGER_JOINTS[4, level]]
            axes.annotate(name, place, (30, -3), textcoords="offset points", fontsize=8.5, color=QUIET)
        for finger, name in enumerate(hand.FINGERS):
            tip = points[hand.FINGER_JOINTS[finger, 3]]
            axes.annotate(
                name, tip, (0, 12), textcoords="offset points", ha="center", color=FINGER_COLOURS[finger], weight="bold"
            )
        axes.annotate("wrist", points[0], (-34, -4), textcoords="offset points", fontsize=8.5, color=QUIET)
        axes.annotate(
            "scale bone:\nlength 1",
            points[list(hand.SCALE_BONE)].mean(axis=0),
            (-2.5, 4.3),
            fontsize=8.5,
            color=INK,
            arrowprops={"arrowstyle": "-", "color": QUIET, "linewidth": 0.8},
        )
        axes.set(xlim=(-3.1, 2.35), ylim=(-0.3, 5.1))
    return figure


def frames() -> Figure:
    """Draws the frames of a bent index finger, and the two angles of a bone in its frame."""
    with matplotlib.rc_context(draw.STYLE):
        figure = Figure(figsize=(9.4, 3.7), layout="constrained")
        hand_axes, flexion, abduction = figure.subplots(1, 3, width_ratios=[1.25, 1, 1])
        bent = [list(row) for row in REST]
        bent[INDEX] = [40, 45, 30]
        pose = posed(bent)
        points = to_page(pose, turn=-62, tilt=8)
        _bare(hand_axes, "frames of the index finger's bones (Eq. 4, 6)")
        draw.skeleton(hand_axes, points, colour="#c3c9d0", rim=False)
        chain = np.concatenate([[hand.WRIST], hand.FINGER_JOINTS[INDEX]])
        hand_axes.plot(*points[chain].T, color=FINGER_COLOURS[INDEX], linewidth=2.4, zorder=4)
        for level, frame in enumerate(np.asarray(_frames(pose))[INDEX]):
            _frame(hand_axes, pose[hand.FINGER_JOINTS[INDEX, level]], frame, names=level == 0)
        hand_axes.set(xlim=(-1.3, 2.6), ylim=(-0.2, 4.9))
        _angle(
            flexion, "x", r"flexion $\theta^f$: in the x-z plane," "\npositive towards the palm", 52, r"$\theta^f$", +1
        )
        _angle(
            abduction,
            "y",
            r"abduction $\theta^a$: out of that plane," "\npositive towards the thumb",
            24,
            r"$\theta^a$",
            -1,
        )
    return figure


def _frame(axes: Axes, origin: np.ndarray, frame: np.ndarray, names: bool) -> None:
    start = to_page(origin, -62, 8)
    for name, axis in zip(AXES, frame, strict=True):
        end = to_page(origin + 0.62 * axis, -62, 8)
        _arrow(axes, start, end, AXES[name])
        if names:
            axes.annotate(name, end + 0.18 * (end - start), color=AXES[name], ha="center", va="center", weight="bold")


def _angle(axes: Axes, across: str, title: str, degrees: float, symbol: str, side: int) -> None:
    """Draws a bone at an angle from the z axis of its frame, in the plane of z and `across`."""
    _bare(axes, title)
    turn = np.radians(degrees)
    bone = np.array([side * np.sin(turn), np.cos(turn)])
    axes.plot([0, 0], [-1.15, 0], color=FINGER_COLOURS[INDEX], linewidth=3, solid_capstyle="round")
    axes.plot(*np.stack([[0, 0], bone]).T, color=FINGER_COLOURS[INDEX], linewidth=3, solid_capstyle="round")
    for name, end in (("z", np.array([0.0, 1.25])), (across, np.array([0.85 * side, 0.0]))):
        _arrow(axes, np.zeros(2), end, AXES[name])
        axes.annotate(name, 1.1 * end, color=AXES[name], ha="center", va="center", weight="bold")
    arc = np.linspace(0, turn, 40)
    axes.plot(side * 0.62 * np.sin(arc), 0.62 * np.cos(arc), color=INK, linewidth=1)
    middle = np.array([side * np.sin(turn / 2), np.cos(turn / 2)])
    axes.annotate(symbol, 0.79 * middle, color=INK, ha="center", va="center", fontsize=11)
    axes.annotate("parent bone", (0, -0.75), (-8 * side, 0), textcoords="offset points", color=QUIET, fontsize=8,
                  ha="right" if side > 0 else "left", va="center")  # fmt: skip
    axes.annotate("bone", 1.12 * bone, color=FINGER_COLOURS[INDEX], ha="center", va="center", fontsize=8.5)
    axes.scatter([0], [0], s=22, color=PAPER, edgecolors=INK, zorder=6)
    low, high = sorted([-0.8 * side, 1.15 * side])
    axes.set(xlim=(low, high), ylim=(-1.25, 1.45))


def palm() -> Figure:
    """Draws root bones with spread and normals, and a flat and a cupped palm seen from the fingertips."""
    with matplotlib.rc_context(draw.STYLE):
        figure = Figure(figsize=(9.4, 3.7), layout="constrained")
        fan, flat, cupped = figure.subplots(1, 3, width_ratios=[1.35, 1, 1])
        pose = posed(fold=0.25)
        _bare(fan, "root bones b, spread φ (Eq. 3), normals n (Eq. 2)")
        roots, view = pose[hand.FINGER_JOINTS[:, 0]], {"turn": -18.0, "tilt": -42.0}
        normals = np.asarray(jax.jit(anatomy.plane_normals)(pose))
        wrist, ends = to_page(pose[hand.WRIST], **view), to_page(roots, **view)
        for i in range(4):
            triangle = np.stack([wrist, ends[i], ends[i + 1]])
            fan.fill(*triangle.T, color=INSIDE, alpha=0.10 + 0.05 * (i % 2), linewidth=0)
            middle = 0.26 * (roots[i] + roots[i + 1])
            _arrow(fan, to_page(middle, **view), to_page(middle + 0.6 * normals[i], **view), INSIDE)
            fan.annotate(
                f"n{'₁₂₃₄'[i]}",
                to_page(middle + 0.75 * normals[i], **view),
                color=INSIDE,
                ha="center",
                zorder=7,
                bbox=LABEL,
            )
            share = np.linspace(0, 1, 20)[:, None]
            along = (1 - share) * _unit(roots[i]) + share * _unit(roots[i + 1])
            arc = to_page(0.62 * along / np.linalg.norm(along, axis=-1, keepdims=True), **view)
            fan.plot(*arc.T, color=INK, linewidth=1)
            fan.annotate(f"φ{'₁₂₃₄'[i]}", 1.27 * arc[10], color=INK, ha="center", va="center", fontsize=8.5)
        for i in range(5):
            fan.plot(*np.stack([wrist, ends[i]]).T, color=FINGER_COLOURS[i], linewidth=2.4)
            fan.annotate(f"b{'₁₂₃₄₅'[i]}", ends[i], (0, 6), textcoords="offset points", color=FINGER_COLOURS[i],
                         ha="center", weight="bold")  # fmt: skip
        fan.scatter(*np.concatenate([[wrist], ends]).T, s=14, color=PAPER, edgecolors=INK, zorder=6)
        left, right = ends[:, 0].min(), ends[:, 0].max()
        fan.set(xlim=(left - 0.7, right + 0.3), ylim=(wrist[1] - 0.15, ends[:, 1].max() + 0.35))
        for axes, name, fold in ((flat, "flat", 0.0), (cupped, "cupped: c > 0 (Eq. 1)", 0.45)):
            _cross_section(axes, name, posed(fold=fold))
    return figure


def _cross_section(axes: Axes, title: str, pose: np.ndarray) -> None:
    """Draws MCP joints and edge normals seen from the fingertips, back of the hand up, thumb on the left."""
    _bare(axes, title)
    roots = pose[hand.FINGER_JOINTS[:, 0]]
    page = np.stack([-roots[:, 1], -roots[:, 0]], axis=-1)
    normals = np.asarray(jax.jit(anatomy.edge_normals)(pose))
    curvature = np.asarray(jax.jit(anatomy.palm_curvature)(pose))
    axes.plot(*page.T, color=QUIET, linewidth=1, zorder=1)
    for i, normal in enumerate(normals):
        end = page[i] + 0.75 * np.array([-normal[1], -normal[0]])
        _arrow(axes, page[i], end, INSIDE)
        side = "right" if i == 0 else "center"
        axes.annotate(f"e{'₁₂₃₄₅'[i]}", end + 0.14 * (end - page[i]), color=INSIDE, ha=side, va="center", fontsize=8.5)
        axes.scatter(*page[i], s=34, color=FINGER_COLOURS[i], zorder=4)
    words = "c₁ to c₄: " + ", ".join(f"{abs(value):.2f}" for value in curvature)
    axes.annotate(words, (0.1, -0.95), ha="center", fontsize=8.5, color=INK)
    axes.set(xlim=(-1.7, 1.9), ylim=(-1.2, 1.2))


def angles() -> Figure:
    """Draws a hull with samples, its bounding box, and the distance of a pair of angles outside."""
    polygon = np.asarray(limits.load("clinical").hull)[INDEX, 0]
    samples = np.random.default_rng(0).uniform(polygon.min(axis=0), polygon.max(axis=0), (500, 2)).astype(np.float32)
    inside = np.asarray(jax.jit(hull.distance)(samples, jnp.asarray(polygon))) == 0
    outside = np.radians([88, -50]).astype(np.float32)
    nearest, distance = jax.jit(hull.project)(outside, jnp.asarray(polygon))
    there, here = np.degrees(outside), np.degrees(nearest)
    box = np.degrees(np.asarray(hull.box(jnp.asarray(polygon))))
    with matplotlib.rc_context(draw.STYLE):
        figure = Figure(figsize=(6.6, 3.6), layout="constrained")
        axes = figure.add_subplot()
        corners = np.degrees(polygon)
        axes.fill(*box.T, facecolor="none", edgecolor=QUIET, linestyle="--", linewidth=1)
        axes.fill(*corners.T, facecolor="#eef3f8", edgecolor=INK, linewidth=1.2)
        axes.scatter(*corners.T, s=12, color=INK, zorder=4)
        axes.scatter(*np.degrees(samples[inside]).T, s=5, color=INSIDE, alpha=0.5, linewidths=0)
        axes.plot(*np.stack([there, here]).T, color=OUTSIDE, linewidth=1.6, zorder=5)
        axes.scatter(*there, s=34, color=OUTSIDE, zorder=6)
        axes.scatter(*here, s=24, color=PAPER, edgecolors=OUTSIDE, zorder=6)
        axes.annotate(r"$\theta$", there, (6, -4), textcoords="offset points", color=OUTSIDE, fontsize=12)
        words = f"$D_H$ = {np.degrees(distance):.0f}°"
        axes.annotate(
            words, (there + here) / 2, (-7, -1), textcoords="offset points", color=OUTSIDE, ha="right", va="center"
        )
        axes.annotate("hull H, 16 vertices", corners.mean(axis=0), (0, -4), textcoords="offset points", ha="center",
                      color=INK, bbox={"facecolor": "#eef3f8", "edgecolor": "none", "pad": 1.5})  # fmt: skip
        axes.annotate(
            "each angle by itself (Table 5)", box[3], (0, 4), textcoords="offset points", color=QUIET, fontsize=8
        )
        axes.set(
            xlabel=r"flexion $\theta^f$, °",
            ylabel=r"abduction $\theta^a$, °",
            title="index finger, PIP bone, in the preset clinical",
        )
    return figure


def depth() -> Figure:
    """Draws a bone of known length between two rays, and the two roots of the quadratic for its depth."""
    with matplotlib.rc_context(draw.STYLE):
        figure = Figure(figsize=(9.4, 3.3), layout="constrained")
        rays, usual, along = figure.subplots(1, 3, width_ratios=[1.25, 1, 1])
        _two_rays(rays)
        _quadratic(
            usual, np.array([[0.02, -0.05], [0.05, 0.09]]), (0.1, -0.3), "usual: one root in front of the camera"
        )
        _quadratic(along, np.array([[0.80, 0.0], [0.70, 0.0]]), (-0.5, 0.42), "bone near its own ray: two")
        along.set_ylabel("")
    return figure


def _two_rays(axes: Axes) -> None:
    """Draws camera, image and two rays from the side, between which a bone of length 1 fits at one depth."""
    _bare(axes, r"2.5D: pixels give rays, $z^r$ how much deeper")
    start, end, behind = 0.04, 0.26, 0.35
    for slope in (start, end):
        axes.plot([0, 6.4], [0, 6.4 * slope], color=QUIET, linewidth=0.9)
        axes.scatter([1], [slope], s=12, color=INK, zorder=4)
    axes.plot([1, 1], [-0.35, 0.75], color=INK, linewidth=1.2)
    axes.annotate("image", (1, 0.82), ha="center", fontsize=8.5, color=INK)
    axes.scatter([0], [0], s=40, color=INK, marker=">")
    fits = ((1 - behind**2) ** 0.5 - behind * end) / (end - start)
    for root, colour, width in (
        (0.55 * fits, "#b3bbc4", 2),
        (fits, FINGER_COLOURS[MIDDLE], 3.2),
        (1.35 * fits, "#b3bbc4", 2),
    ):
        ends = np.array([[root, root * start], [root + behind, (root + behind) * end]])
        axes.plot(*ends.T, color=colour, linewidth=width, solid_capstyle="round", zorder=3)
        words = {fits: "length 1"}.get(root, f"{np.linalg.norm(ends[1] - ends[0]):.2f}")
        axes.annotate(words, ends[1], (2, 6), textcoords="offset points", ha="center", fontsize=8.5, color=INK)
    axes.annotate("", (0, -0.28), (fits, -0.28), arrowprops={"arrowstyle": "<->", "color": INK, "linewidth": 0.9})
    axes.annotate(r"$\hat{Z}^{root}$", (fits / 2 + 0.5, -0.42), ha="center", va="top", color=INK)
    axes.set(xlim=(-0.3, 6.5), ylim=(-0.75, 2.1))


def _quadratic(axes: Axes, image: np.ndarray, relative: tuple[float, float], title: str) -> None:
    """Draws |Z d + w|, the length of the bone at each depth of the root, and the roots from `camera.root_depths`."""
    joints_2d, relative_depth = np.zeros((21, 2), np.float32), np.zeros(21, np.float32)
    bone = list(hand.SCALE_BONE)
    joints_2d[bone], relative_depth[bone] = image, relative
    far, near = (float(root) for root in _roots(joints_2d, relative_depth, jnp.eye(3)))
    ends = np.concatenate([image, np.ones((2, 1))], axis=1)
    d, w = ends[1] - ends[0], relative[1] * ends[1] - relative[0] * ends[0]
    reach = 0.35 * (far - near)
    root = np.linspace(near - reach, far + reach, 300)
    length = np.linalg.norm(root[:, None] * d + w, axis=-1)
    axes.plot(root, length, color=FINGER_COLOURS[MIDDLE], linewidth=2)
    axes.axhline(1, color=INK, linewidth=0.8)
    if near < 0:
        axes.axvspan(root[0], 0, color=QUIET, alpha=0.15, linewidth=0)
        axes.annotate("behind\nthe camera", (root[0] * 0.5, 0.08), ha="center", fontsize=8, color=QUIET,
                      xycoords=("data", "axes fraction"))  # fmt: skip
    for value, name, filled in ((far, "far", True), (near, "near", False)):
        axes.scatter([value], [1], s=40, color=INK if filled else PAPER, edgecolors=INK, zorder=5)
        axes.annotate(
            f"{name}: {value:.1f}", (value, 1), (0, 9), textcoords="offset points", ha="right" if filled else "left"
        )
    axes.set(
        title=title,
        xlabel="depth of the root Z, scale units",
        ylabel="length of the bone",
        ylim=(1.35 * length.min() - 0.35, 1.6 - 0.6 * length.min()),
    )
    axes.set_xlim(root[0], root[-1])


_roots = jax.jit(camera.root_depths)


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    _bare(axes, "")
    return figure, axes


def _bare(axes: Axes, title: str) -> None:
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title(title)


def _arrow(axes: Axes, start: np.ndarray, end: np.ndarray, colour: str) -> None:
    arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.5, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9}
    axes.annotate("", end, start, arrowprops=arrow, zorder=5)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


PICTURES = {"joints": joints, "frames": frames, "palm": palm, "angles": angles, "depth": depth}

if __name__ == "__main__":
    for name, picture in PICTURES.items():
        draw.save(picture(), IMAGES / f"concept_{name}.png")
