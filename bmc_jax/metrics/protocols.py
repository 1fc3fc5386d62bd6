"""The official protocols: what each dataset's evaluation aligns, averages and integrates.

Every figure's name says of what it is, how it was aligned, which statistic it is and its unit:
`joints_procrustes_mean_mm`, `joints_absolute_auc_0_50mm` (a share of 1), `mesh_procrustes_f_5mm` (a share of 1).
Poses are `[N, 21, 3]` metres, FreiHAND order, both of the same frame; distances are the same in OpenGL's and in ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bmc_jax.core import hand
from bmc_jax.metrics import alignment, errors
from bmc_jax.metrics.errors import MILLIMETRES

TIPS = hand.FINGER_JOINTS[:, -1]
#: HANDS'19's subsets of its test frames.
SUBSETS = ("INTERP", "EXTRAP")
#: Metres: FreiHAND's and HO-3D's distances of the F-score.
F_THRESHOLDS = (0.005, 0.015)
#: Fewest tips of a Dexter+Object frame that counts: one alone says nothing once poses are aligned.
FEWEST_TIPS = 2


@dataclass(frozen=True)
class Protocol:
    """What is evaluated of a dataset."""

    title: str
    alignments: tuple[str, ...]
    """Those reported, names of `ALIGNMENTS`, the one that papers quote last."""
    range: tuple[float, float] = (0.0, 0.05)
    """Metres between which PCK is integrated, at 100 thresholds."""
    what: str = "joints"
    """Of what the errors are, for names: `joints`, all 21; or `tips`."""
    mesh: bool = False
    """Whether vertices are evaluated where there are some."""


PROTOCOLS = {
    "freihand": Protocol("FreiHAND", ("absolute", "procrustes"), mesh=True),
    "ho3d": Protocol("HO-3D v2, v3", ("absolute", "scale_translation", "procrustes"), mesh=True),
    "hands19": Protocol("HANDS'19 Task 3 (HO-3D v1)", ("root", "absolute")),
    "dexter_object": Protocol(
        "Dexter+Object", ("absolute", "centroid", "centroid_scale", "procrustes"), (0.02, 0.05), "tips"
    ),
    "rhd": Protocol("RHD", ("absolute", "procrustes", "root", "root_scale"), (0.02, 0.05)),
}


@dataclass(frozen=True)
class Figure:
    """A number that says what it is."""

    value: float
    alignment: str
    """A name of `ALIGNMENTS`."""
    statistic: str
    unit: str
    """`mm`, or `share` of 1."""
    count: int
    """Poses that it is of."""
    interval: tuple[float, float] | None = None
    """95 % bootstrap interval over the images, where asked for."""


def freihand(
    prediction: np.ndarray,
    target: np.ndarray,
    prediction_vertices: np.ndarray | None = None,
    target_vertices: np.ndarray | None = None,
) -> dict[str, float]:
    """FreiHAND's evaluation: `joints_{absolute,procrustes}_{mean_mm,median_mm,auc_0_50mm}` and, with vertices `[N, V,
    3]`, the same of `mesh` with `f_5mm` and `f_15mm`.

    Raises ValueError for other shapes and for what is not finite, naming the first such pose and joint.
    """
    return _values(figures("freihand", prediction, target, vertices=_meshes(prediction_vertices, target_vertices)))


def ho3d(
    prediction: np.ndarray,
    target: np.ndarray,
    prediction_vertices: np.ndarray | None = None,
    target_vertices: np.ndarray | None = None,
) -> dict[str, float]:
    """HO-3D's evaluation, v2 and v3: `freihand` and `joints_scale_translation_` besides."""
    return _values(figures("ho3d", prediction, target, vertices=_meshes(prediction_vertices, target_vertices)))


def hands19(
    prediction: np.ndarray, target: np.ndarray, subsets: Sequence[str] | np.ndarray | None = None
) -> dict[str, float]:
    """HANDS'19 Task 3, mean joint error in mm: of all frames and, with each frame's subset (a name of `SUBSETS`, or
    anything else for neither), of each: `interp_joints_absolute_mean_mm`."""
    return _values(figures("hands19", prediction, target, subsets=subsets))


def dexter_object(
    prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None, alignments: Sequence[str] = ()
) -> dict[str, float]:
    """Dexter+Object: fingertips that are seen, in the frames with two or more, `tips_{alignment}_auc_20_50mm`.

    Poses may be the five tips `[N, 5, 3]`, thumb first; `valid`, `[N, 21]` or `[N, 5]`, says which are known, by
    default those whose truth is not NaN. Papers differ in how they align, and seldom say it: every mode has its number.
    """
    return _values(figures("dexter_object", prediction, target, valid=valid, alignments=alignments))


def rhd(prediction: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """RHD, PCK from 20 to 50 mm: the customary number is `joints_root_scale_auc_20_50mm`."""
    return _values(figures("rhd", prediction, target))


def figures(
    protocol: str,
    prediction: np.ndarray,
    target: np.ndarray,
    *,
    vertices: tuple[np.ndarray, np.ndarray] | None = None,
    valid: np.ndarray | None = None,
    subsets: Sequence[str] | np.ndarray | None = None,
    alignments: Sequence[str] = (),
    seed: int | None = None,
) -> dict[str, Figure]:
    """The figures of a protocol of `PROTOCOLS`, in other alignments than its own if some are named, and with bootstrap
    intervals if `seed` is given. `vertices` are the predicted and the true ones.

    Raises ValueError for other shapes, for what is not finite, naming the first such pose and joint, and for unknown
    names.
    """
    about = PROTOCOLS[_known("protocol", protocol, PROTOCOLS)]
    aligned = aligned_errors(protocol, prediction, target, valid=valid, alignments=alignments)
    found = {}
    for name, (distances, known) in aligned.items():
        found |= _of(about.what, name, distances, known, about.range, seed)
        for subset in SUBSETS if subsets is not None else ():
            rows = np.asarray(subsets) == subset
            if len(rows) != len(distances):
                raise ValueError(f"{len(rows)} subsets are named for {len(distances)} poses")
            if rows.any():
                what = f"{subset.lower()}_{about.what}"
                found |= _of(what, name, distances[rows], known[rows], about.range, seed)
    if vertices is not None and about.mesh:
        found |= _mesh(prediction, target, *vertices, about.range, seed)
    return found


def aligned_errors(
    protocol: str,
    prediction: np.ndarray,
    target: np.ndarray,
    *,
    valid: np.ndarray | None = None,
    alignments: Sequence[str] = (),
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each alignment, the errors `[N, J]` in metres of what the protocol evaluates and which of them count.

    Frames that the protocol leaves out are not among them. Raises as `figures`.
    """
    about = PROTOCOLS[_known("protocol", protocol, PROTOCOLS)]
    prediction, target = np.asarray(prediction, np.float64), np.asarray(target, np.float64)
    if about.what == "tips":
        prediction, target, valid = _tips(prediction, target, valid)
    elif target.ndim != 3 or target.shape[1:] != (hand.NUM_JOINTS, 3):
        raise ValueError(f"true joints have the shape {target.shape}; [N, {hand.NUM_JOINTS}, 3] is needed")
    if not len(target):
        raise ValueError("there is no pose to evaluate")
    found = {}
    for name in alignments or about.alignments:
        moved = alignment.align(name, prediction, target, valid)
        known = np.ones(target.shape[:-1], bool) if valid is None else valid
        found[name] = errors.joint_errors(moved, target, known), known
    return found


def _of(
    what: str,
    name: str,
    distances: np.ndarray,
    known: np.ndarray,
    limits: tuple[float, float],
    seed: int | None,
) -> dict[str, Figure]:
    """Mean, median and area of errors in metres."""
    low, high = limits
    shares = errors.areas(distances, low, high)
    millimetres = distances * MILLIMETRES
    with_interval = seed is not None and len(distances) > 1

    def figure(value: float, statistic: str, unit: str, resampled: np.ndarray | None = None) -> Figure:
        interval = (
            errors.bootstrap(resampled, known, seed=seed or 0) if resampled is not None and with_interval else None
        )
        return Figure(value, name, statistic, unit, len(distances), interval)

    area = f"auc_{low * MILLIMETRES:.0f}_{high * MILLIMETRES:.0f}mm"
    return {
        f"{what}_{name}_mean_mm": figure(errors.mean_error(millimetres, known), "mean", "mm", millimetres),
        f"{what}_{name}_median_mm": figure(errors.median_error(millimetres, known), "median", "mm"),
        f"{what}_{name}_{area}": figure(errors.mean_error(shares, known), area, "share", shares),
    }


def _mesh(
    prediction: np.ndarray,
    target: np.ndarray,
    vertices: np.ndarray,
    true_vertices: np.ndarray,
    limits: tuple[float, float],
    seed: int | None,
) -> dict[str, Figure]:
    """A mesh of as many vertices as the true one is aligned by them; another by the joints, and has F-scores alone."""
    vertices, true_vertices = np.asarray(vertices, np.float64), np.asarray(true_vertices, np.float64)
    for name, mesh in (("predicted", vertices), ("true", true_vertices)):
        if mesh.ndim != 3 or mesh.shape[-1] != 3 or len(mesh) != len(target) or not mesh.shape[1]:
            raise ValueError(f"{name} vertices have the shape {mesh.shape}; [{len(target)}, V, 3] is needed")
    same = vertices.shape == true_vertices.shape
    if same:
        meshes = {name: alignment.align(name, vertices, true_vertices) for name in ("absolute", "procrustes")}
    else:
        meshes = {"absolute": vertices, "procrustes": _by_joints(vertices, prediction, target)}
    found = {}
    for name, moved in meshes.items():
        if same:
            distances = errors.joint_errors(moved, true_vertices)
            found |= _of("mesh", name, distances, np.ones(distances.shape, bool), limits, seed)
        scores = errors.f_scores(moved, true_vertices, F_THRESHOLDS)
        for score, threshold in zip(scores.T, F_THRESHOLDS, strict=True):
            statistic = f"f_{threshold * MILLIMETRES:.0f}mm"
            interval = errors.bootstrap(score, seed=seed) if seed is not None and len(score) > 1 else None
            found[f"mesh_{name}_{statistic}"] = Figure(
                float(score.mean()), name, statistic, "share", len(score), interval
            )
    return found


def _by_joints(vertices: np.ndarray, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """A mesh turned as its joints are, about its own mean. The official programs do not divide by the predicted joints'
    size, and shift by the joints' means: such a mesh comes out of another size. Part of the metric as it is used."""
    prediction, target, valid = alignment.checked(prediction, target)
    rotation, scale, _ = alignment.fit(prediction, target, valid)
    centre = vertices.mean(axis=-2, keepdims=True)
    shift = target.mean(axis=-2, keepdims=True) - prediction.mean(axis=-2, keepdims=True)
    return (vertices - centre) @ np.swapaxes(rotation, -2, -1) * scale + shift + centre


def _tips(
    prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tips `[M, 5, 3]` of the frames with enough of them, and which are known, `[M, 5]`."""
    if target.ndim != 3 or target.shape[1:] not in ((hand.NUM_JOINTS, 3), (len(TIPS), 3)):
        raise ValueError(f"true joints have the shape {target.shape}; [N, 21, 3], or [N, 5, 3] of tips, is needed")
    if prediction.ndim != 3 or len(prediction) != len(target):
        raise ValueError(f"predicted joints have the shape {prediction.shape} and true ones {target.shape}; must agree")
    known = np.logical_not(np.isnan(target)).all(axis=-1) if valid is None else valid
    known = np.array(known, bool)
    prediction, target, known = (
        array[:, TIPS] if array.shape[1] == hand.NUM_JOINTS else array for array in (prediction, target, known)
    )
    enough = known.sum(axis=1) >= FEWEST_TIPS
    if not enough.any():
        raise ValueError(f"of {len(target)} frames none has {FEWEST_TIPS} fingertips that are known")
    return prediction[enough], target[enough], known[enough]


def _known(kind: str, name: str, names: dict) -> str:
    if name not in names:
        raise ValueError(f"{kind} {name!r} is none of {', '.join(names)}")
    return name


def _meshes(
    prediction_vertices: np.ndarray | None, target_vertices: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray] | None:
    if prediction_vertices is None or target_vertices is None:
        if prediction_vertices is not target_vertices:
            raise ValueError("vertices are needed of both the prediction and the truth, or of neither")
        return None
    return prediction_vertices, target_vertices


def _values(found: dict[str, Figure]) -> dict[str, float]:
    return {name: figure.value for name, figure in found.items()}
