"""Figure of docs/lift.md: a rendered hand, its world landmarks by MediaPipe, and the lifted hand, from the side.

python docs/draw_lift.py                 # writes docs/images/lift.png; needs mediapipe and its models
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from bmc_jax import limits, metrics, synthesis
from bmc_jax.inference.lift.detector import HandDetector
from bmc_jax.poses import Landmarks, lifting
from bmc_jax.visualization import draw

FILE = Path(__file__).parent / "images/lift.png"
DOMAIN, SPLIT, NUMBER, SIZE = "any_view", "test", 8, 384
#: Colour of the true hand.
TRUE = "#9aa5b1"


def main() -> None:
    """Draws and saves the figure."""
    picture = synthesis.render(0, DOMAIN, SPLIT, [NUMBER], size=SIZE)
    image, truth = np.asarray(picture.image[0]), np.asarray(picture.joints_3d, np.float64)
    with HandDetector() as detect:
        (found,) = detect(Image.fromarray(image))
    landmarks = Landmarks(*(part[None] for part in (found.pixels, found.z, found.world)))
    k, allowed = np.asarray(picture.intrinsics), limits.load("people")
    lifted = lifting.lift_hands(landmarks, k, allowed).joints

    figure = Figure(figsize=(9.6, 3.5), layout="constrained")
    axes = figure.subplots(1, 3)
    draw.photograph(axes[0], image)
    draw.skeleton(axes[0], found.pixels)
    axes[0].set_title("MediaPipe's landmarks", fontsize=11)
    for place, joints, title in (
        (axes[1], found.world[None], "its world landmarks, from the side"),
        (axes[2], lifted, "`bmc lift`, from the side"),
    ):
        aligned = metrics.procrustes(np.asarray(joints, np.float64), truth)
        error = 1000 * float(metrics.joint_errors(aligned, truth).mean())
        _from_the_side(place, aligned[0], truth[0])
        place.set_title(f"{title.replace('`', '')}: {error:.0f} mm off", fontsize=11)
    draw.save(figure, FILE, dpi=110)
    print(f"wrote {FILE}")


def _from_the_side(axes: Axes, joints: np.ndarray, truth: np.ndarray) -> None:
    """Draws a hand over the true hand, along the camera's x axis: depth to the right, y down."""
    middle = truth.mean(axis=0)
    true, seen = ((1000 * (one - middle))[:, [2, 1]] for one in (truth, joints))
    for finger in range(5):
        chain = true[[0, *range(4 * finger + 1, 4 * finger + 5)]]
        axes.plot(*chain.T, color=TRUE, linewidth=6, alpha=0.45, solid_capstyle="round")
    draw.skeleton(axes, seen)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.axis("off")


if __name__ == "__main__":
    main()
