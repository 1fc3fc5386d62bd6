"""How far predicted joints are from the true ones: errors, alignments, and the official protocols made of them.

On the host, in numpy's float64: the official evaluations are numpy programs of that precision, whose numbers are to be
reproduced to the digit, and they run once over a few thousand poses. Joints are `[N, J, 3]` in metres, camera frame.
"""

from bmc_jax.metrics.alignment import (
    ALIGNMENTS,
    align,
    centroid,
    centroid_scale,
    procrustes,
    root,
    root_relative,
    root_scale,
    scale_translation,
)
from bmc_jax.metrics.errors import (
    MILLIMETRES,
    areas,
    bootstrap,
    by_finger,
    by_joint,
    f_scores,
    joint_errors,
    mean_error,
    median_error,
    pck,
    pck_auc,
    pinhole,
    summary,
)
from bmc_jax.metrics.protocols import (
    PROTOCOLS,
    Figure,
    Protocol,
    aligned_errors,
    dexter_object,
    figures,
    freihand,
    hands19,
    ho3d,
    rhd,
)

__all__ = [
    "ALIGNMENTS",
    "MILLIMETRES",
    "PROTOCOLS",
    "Figure",
    "Protocol",
    "align",
    "aligned_errors",
    "areas",
    "bootstrap",
    "by_finger",
    "by_joint",
    "centroid",
    "centroid_scale",
    "dexter_object",
    "f_scores",
    "figures",
    "freihand",
    "hands19",
    "ho3d",
    "joint_errors",
    "mean_error",
    "median_error",
    "pck",
    "pck_auc",
    "pinhole",
    "procrustes",
    "rhd",
    "root",
    "root_relative",
    "root_scale",
    "scale_translation",
    "summary",
]
