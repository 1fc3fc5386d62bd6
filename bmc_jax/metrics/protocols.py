"""Evaluation protocols of the datasets: alignments, statistics and ranges of thresholds.

The name of a metric states points, alignment, statistic and unit: `joints_procrustes_mean_mm`,
`joints_absolute_auc_0_50mm` (in [0, 1]), `mesh_procrustes_f_5mm` (in [0, 1]). Poses are `[N, 21, 3]` in metres and
FreiHAND order, predictions and ground truth in the same frame, the camera's or OpenGL's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bmc_jax.core import hand
from bmc_jax.metrics import alignment, errors
from bmc_jax.metrics.errors import MILLIMETRES

TIPS = hand.FINGER_JOINTS[:, -1]
#: Subsets of the test frames of HANDS'19.
SUBSETS = ("INTERP", "EXTRAP")
#: Thresholds of the F-score in metres, of FreiHAND and HO-3D.
F_THRESHOLDS = (0.005, 0.015)
#: Minimum number of labelled tips of a Dexter+Object frame: a single tip has no error after alignment.
MIN_TIPS = 2
#: Thresholds in metres of the area that hand3d, the program of RHD's authors, reports as "20 to 50 mm": the last 12 of
#: 20 steps from 0 to 50 mm, which are 21.05 to 50 mm.
HAND3D_STEPS = np.linspace(0.0, 0.05, 20)[8:]


@dataclass(frozen=True)
class Protocol:
    """Evaluation protocol of a dataset."""

    title: str
    alignments: tuple[str, ...]
    """Keys of `ALIGNMENTS`; papers report the last one."""
    range: tuple[float, float] = (0.0, 0.05)
    """Range of the PCK thresholds in metres, 100 of them."""
    points: str = "joints"
    """Evaluated points: "joints", all 21, or "tips"."""
    steps: dict[str, np.ndarray] = field(default_factory=dict)
    """Thresholds in metres of further areas under PCK, by the name of the program that defines them."""
    mesh: bool = False
    """Whether vertices are evaluated, if there are any."""


PROTOCOLS = {
    "freihand": Protocol("FreiHAND", ("absolute", "procrustes"), mesh=True),
    "ho3d": Protocol("HO-3D v2, v3", ("absolute", "scale_translation", "procrustes"), mesh=True),
    "hands19": Protocol("HANDS'19 Task 3 (HO-3D v1)", ("root", "absolute")),
    "dexter_object": Protocol(
        "Dexter+Object", ("absolute", "centroid", "centroid_scale", "procrustes"), (0.02, 0.05), "tips"
    ),
    "rhd": Protocol(
        "RHD", ("absolute", "procrustes", "root", "root_scale"), (0.02, 0.05), steps={"hand3d": HAND3D_STEPS}
    ),
}


@dataclass(frozen=True)
class Metric:
    """Value of a metric with its alignment, statistic and unit."""

    value: float
    alignment: str
    """Key of `ALIGNMENTS`."""
    statistic: str
    unit: str
    """"mm", "px", or "share" for a value in [0, 1]."""
    count: int
    """Number of poses."""
    interval: tuple[float, float] | None = None
    """95 % bootstrap interval over the images."""


@dataclass(frozen=True)
class AlignedErrors:
    """Joint errors after alignment."""

    distances: np.ndarray
    """`[N, J]`, metres."""
    valid: np.ndarray
    """`[N, J]`: joints that count."""


def freihand(
    prediction: np.ndarray,
    target: np.ndarray,
    prediction_vertices: np.ndarray | None = None,
    target_vertices: np.ndarray | None = None,
) -> dict[str, float]:
    """Returns FreiHAND's metrics: `joints_{absolute,procrustes}_{mean_mm,median_mm,auc_0_50mm}`.

    With vertices `[N, V, 3]`, they include the same metrics of `mesh`, and `f_5mm` and `f_15mm`.

    Raises ValueError for other shapes and for values that are not finite, and names the first such pose and joint.

    Examples:
      >>> from bmc_jax import hand, metrics
      >>> target = hand.EXAMPLE[None]
      >>> found = metrics.freihand(1.02 * target, target)
      >>> print(f"{found['joints_procrustes_mean_mm']:.2f}")
      0.00
    """
    meshes = _pair(prediction_vertices, target_vertices)
    return _values(protocol_metrics("freihand", prediction, target, vertices=meshes))


def ho3d(
    prediction: np.ndarray,
    target: np.ndarray,
    prediction_vertices: np.ndarray | None = None,
    target_vertices: np.ndarray | None = None,
) -> dict[str, float]:
    """Returns the metrics of HO-3D v2 and v3: those of `freihand` and `joints_scale_translation_*`.

    Examples:
      >>> from bmc_jax import hand, metrics
      >>> target = hand.EXAMPLE[None]
      >>> found = metrics.ho3d(1.02 * target, target)
      >>> print(f"{found['joints_scale_translation_mean_mm']:.2f}")
      0.00
    """
    meshes = _pair(prediction_vertices, target_vertices)
    return _values(protocol_metrics("ho3d", prediction, target, vertices=meshes))


def hands19(
    prediction: np.ndarray, target: np.ndarray, subsets: Sequence[str] | np.ndarray | None = None
) -> dict[str, float]:
    """Returns the metrics of HANDS'19 Task 3, `joints_absolute_mean_mm` and others.

    With the subset of each frame, one of `SUBSETS` or another string for neither, they include those of each subset,
    such as `interp_joints_absolute_mean_mm`.

    Examples:
      >>> from bmc_jax import hand, metrics
      >>> target = hand.EXAMPLE[None]
      >>> found = metrics.hands19(1.02 * target, target)
      >>> print(f"{found['joints_absolute_mean_mm']:.2f}")
      10.86
    """
    return _values(protocol_metrics("hands19", prediction, target, subsets=subsets))


def dexter_object(
    prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None, alignments: Sequence[str] = ()
) -> dict[str, float]:
    """Returns the metrics of Dexter+Object: `tips_{alignment}_auc_20_50mm` and others.

    Only frames with at least two labelled fingertips count. Papers differ in their alignment and seldom state it, so
    the metrics cover every alignment.

    Args:
      prediction: joints `[N, 21, 3]`, or tips `[N, 5, 3]` from thumb to little finger.
      target: ground truth, as `prediction`.
      valid: labelled joints, `[N, 21]` or `[N, 5]`; by default those whose ground truth is not NaN.
      alignments: keys of `ALIGNMENTS` instead of the protocol's.

    Examples:
      >>> from bmc_jax import hand, metrics
      >>> target = hand.EXAMPLE[None]
      >>> found = metrics.dexter_object(1.02 * target, target)
      >>> print(f"{found['tips_absolute_auc_20_50mm']:.2f}")
      1.00
    """
    return _values(protocol_metrics("dexter_object", prediction, target, valid=valid, alignments=alignments))


def rhd(prediction: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Returns the metrics of RHD; papers report `joints_root_scale_auc_20_50mm`.

    `joints_root_scale_auc_hand3d` is the area over the thresholds of hand3d, `HAND3D_STEPS`.

    Examples:
      >>> from bmc_jax import hand, metrics
      >>> target = hand.EXAMPLE[None]
      >>> found = metrics.rhd(1.02 * target, target)
      >>> print(f"{found['joints_root_scale_auc_20_50mm']:.2f}")
      1.00
    """
    return _values(protocol_metrics("rhd", prediction, target))


def protocol_metrics(
    protocol: str,
    prediction: np.ndarray,
    target: np.ndarray,
    *,
    vertices: tuple[np.ndarray, np.ndarray] | None = None,
    valid: np.ndarray | None = None,
    subsets: Sequence[str] | np.ndarray | None = None,
    alignments: Sequence[str] = (),
    seed: int | None = None,
) -> dict[str, Metric]:
    """Returns the metrics of a protocol by name.

    Args:
      protocol: key of `PROTOCOLS`.
      prediction: `[N, 21, 3]`, metres.
      target: ground truth, as `prediction`.
      vertices: predicted and true vertices, `[N, V, 3]` and `[N, W, 3]`.
      valid: labelled joints, `[N, 21]`.
      subsets: subset of each frame, see `hands19`.
      alignments: keys of `ALIGNMENTS` instead of the protocol's.
      seed: of the bootstrap intervals; None for no intervals.

    Raises:
      ValueError: for other shapes, for values that are not finite, and for unknown names.

    Examples:
      >>> from bmc_jax import hand, metrics
      >>> target = hand.EXAMPLE[None]
      >>> found = metrics.protocol_metrics("freihand", 1.02 * target, target)
      >>> print(f"{found['joints_absolute_mean_mm'].value:.1f} {found['joints_absolute_mean_mm'].unit}")
      10.9 mm
    """
    options = _require_protocol(protocol)
    aligned = aligned_errors(protocol, prediction, target, valid=valid, alignments=alignments)
    found = {}
    for name, errors_of in aligned.items():
        found |= _joint_metrics(options.points, name, errors_of, options.range, seed)
        for whose, steps in options.steps.items():
            areas = errors.areas_at(errors_of.distances, steps)
            found |= _area_metric(options.points, name, f"auc_{whose}", areas, errors_of.valid, seed)
        for subset in SUBSETS if subsets is not None else ():
            rows = np.asarray(subsets) == subset
            if len(rows) != len(errors_of.distances):
                raise ValueError(
                    f"subsets: expected {len(errors_of.distances)}, one per pose, got {len(rows)}; name all"
                )
            if rows.any():
                part = AlignedErrors(errors_of.distances[rows], errors_of.valid[rows])
                found |= _joint_metrics(f"{subset.lower()}_{options.points}", name, part, options.range, seed)
    if vertices is not None and options.mesh:
        found |= _mesh_metrics(prediction, target, *vertices, options.range, seed)
    return found


def aligned_errors(
    protocol: str,
    prediction: np.ndarray,
    target: np.ndarray,
    *,
    valid: np.ndarray | None = None,
    alignments: Sequence[str] = (),
) -> dict[str, AlignedErrors]:
    """Returns the errors of the protocol's points by alignment.

    Frames that do not count in the protocol are left out. Arguments and errors are those of `protocol_metrics`.

    Examples:
      >>> from bmc_jax import hand, metrics
      >>> target = hand.EXAMPLE[None]
      >>> found = metrics.aligned_errors("freihand", 1.02 * target, target)
      >>> print({name: errors.distances.shape for name, errors in found.items()})
      {'absolute': (1, 21), 'procrustes': (1, 21)}
    """
    options = _require_protocol(protocol)
    prediction, target = np.asarray(prediction, np.float64), np.asarray(target, np.float64)
    if options.points == "tips":
        prediction, target, valid = _tips(prediction, target, valid)
    elif target.ndim != 3 or target.shape[1:] != (hand.NUM_JOINTS, 3):
        raise ValueError(f"true joints: expected the shape [N, {hand.NUM_JOINTS}, 3], got {list(target.shape)}")
    if not len(target):
        raise ValueError("true joints: expected one pose or more, got none; give the poses to evaluate")
    found = {}
    mask = np.ones(target.shape[:-1], bool) if valid is None else valid
    for name in alignments or options.alignments:
        aligned = alignment.align(name, prediction, target, valid)
        found[name] = AlignedErrors(errors.joint_errors(aligned, target, mask), mask)
    return found


def _interval(values: np.ndarray, valid: np.ndarray | None, seed: int | None) -> tuple[float, float] | None:
    return None if seed is None or len(values) < 2 else errors.bootstrap(values, valid, seed=seed)


def _joint_metrics(
    points: str, name: str, aligned: AlignedErrors, limits: tuple[float, float], seed: int | None
) -> dict[str, Metric]:
    """Returns mean, median and area under PCK of the errors in one alignment."""
    low, high = limits
    valid, count = aligned.valid, len(aligned.distances)
    areas = errors.areas(aligned.distances, low, high)
    millimetres = aligned.distances * MILLIMETRES
    auc = f"auc_{low * MILLIMETRES:.0f}_{high * MILLIMETRES:.0f}mm"
    mean, median = errors.mean_error(millimetres, valid), errors.median_error(millimetres, valid)
    return {
        f"{points}_{name}_mean_mm": Metric(mean, name, "mean", "mm", count, _interval(millimetres, valid, seed)),
        f"{points}_{name}_median_mm": Metric(median, name, "median", "mm", count),
        **_area_metric(points, name, auc, areas, valid, seed),
    }


def _area_metric(
    points: str, name: str, statistic: str, areas: np.ndarray, valid: np.ndarray, seed: int | None
) -> dict[str, Metric]:
    """Returns the mean of the areas under PCK of single errors."""
    value, interval = errors.mean_error(areas, valid), _interval(areas, valid, seed)
    return {f"{points}_{name}_{statistic}": Metric(value, name, statistic, "share", len(areas), interval)}


def _mesh_metrics(
    prediction: np.ndarray,
    target: np.ndarray,
    vertices: np.ndarray,
    true_vertices: np.ndarray,
    limits: tuple[float, float],
    seed: int | None,
) -> dict[str, Metric]:
    """Returns the metrics of meshes.

    Meshes with as many vertices as the ground truth are aligned by the vertices. Others are aligned by the joints and
    have F-scores only.
    """
    vertices, true_vertices = np.asarray(vertices, np.float64), np.asarray(true_vertices, np.float64)
    for name, mesh in (("predicted", vertices), ("true", true_vertices)):
        if mesh.ndim != 3 or mesh.shape[-1] != 3 or len(mesh) != len(target) or not mesh.shape[1]:
            raise ValueError(f"{name} vertices: expected the shape [{len(target)}, V, 3], got {list(mesh.shape)}")
    same = vertices.shape == true_vertices.shape
    if same:
        meshes = {name: alignment.align(name, vertices, true_vertices) for name in ("absolute", "procrustes")}
    else:
        meshes = {"absolute": vertices, "procrustes": _by_joints(vertices, prediction, target)}
    found = {}
    for name, aligned in meshes.items():
        if same:
            distances = errors.joint_errors(aligned, true_vertices)
            found |= _joint_metrics(
                "mesh", name, AlignedErrors(distances, np.ones(distances.shape, bool)), limits, seed
            )
        scores = errors.f_scores(aligned, true_vertices, F_THRESHOLDS)
        for score, threshold in zip(scores.T, F_THRESHOLDS, strict=True):
            statistic = f"f_{threshold * MILLIMETRES:.0f}mm"
            found[f"mesh_{name}_{statistic}"] = Metric(
                float(score.mean()), name, statistic, "share", len(score), _interval(score, None, seed)
            )
    return found


def _by_joints(vertices: np.ndarray, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Aligns meshes by the Procrustes transform of their joints, as the official programs do.

    They do not divide by the norm of the predicted joints, which changes the mesh's size; this is part of the metric.
    """
    prediction, target, valid = alignment.checked(prediction, target)
    transform = alignment.fit_similarity(prediction, target, valid)
    centre = vertices.mean(axis=-2, keepdims=True)
    shift = target.mean(axis=-2, keepdims=True) - prediction.mean(axis=-2, keepdims=True)
    return (vertices - centre) @ np.swapaxes(transform.rotation, -2, -1) * transform.scale + shift + centre


def _tips(
    prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns prediction, target `[M, 5, 3]` and valid `[M, 5]` of the tips of the frames that count."""
    if target.ndim != 3 or target.shape[1:] not in ((hand.NUM_JOINTS, 3), (len(TIPS), 3)):
        raise ValueError(
            f"true joints: expected the shape [N, 21, 3], or [N, 5, 3] for tips alone, got {list(target.shape)}"
        )
    if prediction.ndim != 3 or len(prediction) != len(target):
        raise ValueError(
            f"predicted joints: expected {len(target)} poses, one per pose of the true joints, got the shape "
            f"{list(prediction.shape)}; give a prediction for every pose"
        )
    valid = np.array(~np.isnan(target).any(axis=-1) if valid is None else valid, bool)
    prediction, target, valid = _select_tips(prediction), _select_tips(target), _select_tips(valid)
    counts = valid.sum(axis=1) >= MIN_TIPS
    if not counts.any():
        raise ValueError(
            f"true joints: expected a frame with {MIN_TIPS} labelled fingertips or more, got none in {len(target)} "
            "frames; give labelled tips"
        )
    return prediction[counts], target[counts], valid[counts]


def _select_tips(joints: np.ndarray) -> np.ndarray:
    return joints[:, TIPS] if joints.shape[1] == hand.NUM_JOINTS else joints


def _require_protocol(name: str) -> Protocol:
    if name not in PROTOCOLS:
        raise ValueError(f"protocol: expected one of {', '.join(PROTOCOLS)}, got {name!r}; choose one")
    return PROTOCOLS[name]


def _pair(
    prediction_vertices: np.ndarray | None, target_vertices: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray] | None:
    if prediction_vertices is not None and target_vertices is not None:
        return prediction_vertices, target_vertices
    if prediction_vertices is not target_vertices:
        raise ValueError("vertices: expected those of both the prediction and the ground truth, got one; give both")
    return None


def _values(found: dict[str, Metric]) -> dict[str, float]:
    return {name: metric.value for name, metric in found.items()}
