"""Metrics of predicted joints: errors, alignments and the datasets' evaluation protocols.

Metrics are computed on the host in numpy's float64 and reproduce the numbers of the official evaluation programs to the
digit. Joints are `[N, J, 3]` in metres, camera frame.
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
    Metric,
    Protocol,
    aligned_errors,
    dexter_object,
    freihand,
    hands19,
    ho3d,
    protocol_metrics,
    rhd,
)

__all__ = [
    "ALIGNMENTS",
    "MILLIMETRES",
    "PROTOCOLS",
    "Metric",
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
    "protocol_metrics",
    "rhd",
    "root",
    "root_relative",
    "root_scale",
    "scale_translation",
    "summary",
]
