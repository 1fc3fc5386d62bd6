"""Batches, predictions and limits: frozen pytrees of arrays.

Camera frame: x right, y down, z forward (OpenCV). Pixels are (u, v) of the crop, with the centre of the first pixel at
(0, 0). Joints are in FreiHAND order, of right hands (see `hand`). K is the matrix of intrinsics of the crop, in pixels.
`*batch` is any number of leading axes. Arrays are numpy's on the host and JAX's on a device. JAX rebuilds pytrees with
placeholders in the fields, so the annotations are not checked at run time.
"""

import dataclasses
import math
import typing
from dataclasses import dataclass

import jax
from jaxtyping import Bool, Float, Int, UInt8

#: numpy's or JAX's array.
Array = typing.Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
@typing.no_type_check
class Batch:
    """Images with their labels. The value of a label whose mask is False is ignored."""

    image: UInt8[Array, "*batch height width 3"]
    """Grey levels: RGB crop of one right hand, 0 to 255."""
    intrinsics: Float[Array, "*batch 3 3"]
    """Pixels: K of the crop."""
    joints_2d: Float[Array, "*batch 21 2"]
    """Pixels: 2D joints in the crop."""
    joints_2d_valid: Bool[Array, "*batch 21"]
    """Which 2D joints are labelled."""
    joints_3d: Float[Array, "*batch 21 3"]
    """Metres: 3D joints in the camera frame."""
    joints_3d_valid: Bool[Array, "*batch 21"]
    """Which 3D joints are labelled; none for an image with 2D labels only."""
    scale: Float[Array, "*batch"]
    """Metres: length of the scale bone. Read only where 3D joints are labelled."""
    source: Int[Array, "*batch"]
    """Number of the run's data source that contains the example."""
    index: Int[Array, "*batch"]
    """Number of the example within its source."""
    present: Bool[Array, "*batch"]
    """False for the padding of a last, short batch: losses and metrics ignore such rows."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
@typing.no_type_check
class Prediction:
    """Output of a network: a 2.5D pose and the 3D pose that it is lifted to.

    A scale unit is the length of the hand's scale bone, middle MCP to PIP.
    """

    joints_2d: Float[Array, "*batch 21 2"]
    """Pixels: 2D joints in the crop."""
    relative_depth: Float[Array, "*batch 21"]
    """Scale units: depth of each joint minus the depth of the root; 0 at the root."""
    root_depth: Float[Array, "*batch"]
    """Scale units: depth of the root from the quadratic (`camera.root_depth`)."""
    refined_root_depth: Float[Array, "*batch"]
    """Scale units: depth of the root after the refinement (Eq. 8)."""
    joints_3d: Float[Array, "*batch 21 3"]
    """Scale units: 3D joints in the camera frame, `camera.lift` of the 2.5D pose at the refined root depth."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
@typing.no_type_check
class Density:
    """A normal density of the quantities of hands, see `density`: scale units and radians, in the order of
    `density.quantities`."""

    mean: Float[Array, "58"]
    factor: Float[Array, "58 58"]
    """Lower triangular L of the inverse covariance L L^T."""
    threshold: Float[Array, ""]
    """Limit of `density.distance`."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
@typing.no_type_check
class Limits:
    """Limits of a hand's bones, palm and joint angles.

    The arrays are leaves of the pytree, so a jitted function takes limits as an argument; `meta` is static. A scale
    unit is the length of the hand's scale bone, middle MCP to PIP.
    """

    bone_length: Float[Array, "5 4 2"]
    """Scale units: (lowest, highest) length of each bone, finger x (MCP, PIP, DIP, TIP)."""
    curvature: Float[Array, "4 2"]
    """1 / scale unit: (lowest, highest) palm curvature between neighbouring root bones, thumb side first (Eq. 1)."""
    spread: Float[Array, "4 2"]
    """Radians: (lowest, highest) angle between neighbouring root bones, thumb side first (Eq. 3)."""
    hull: Float[Array, "5 3 vertex 2"]
    """Radians: convex polygon of (flexion, abduction), counter-clockwise, for each finger's PIP, DIP and TIP bone (Eq.
    7). Flexion may exceed pi: hulls are unrolled at `hull.FLEXION_CUT`, and the distance to them is periodic."""
    support: Float[Array, "5 3 sample_vertex 2"]
    """Radians: vertices of the exact hulls of the samples, before margin and simplification, padded by repeating the
    last one. With them `limits.merge` of two fits equals the fit of the union."""
    meta: "LimitsMetadata" = dataclasses.field(metadata={"static": True})
    """Provenance of the limits, and the conventions that they follow."""
    density: Density | None = None
    """Limit of all quantities together, see `density`; `merge`, `widen` and `personalize` leave it out."""


@dataclass(frozen=True)
class LimitsMetadata:
    """Provenance and conventions of limits. `limits.load` refuses limits of other conventions."""

    source: str
    """Dataset, literature or person, in a few words."""
    count: int
    """Number of poses that the limits are fitted to."""
    references: tuple[str, ...] = ()
    """Publications that the limits are taken from."""
    screening: str = ""
    """What was found in the given poses, such as left hands, and how it was treated."""
    percentiles: tuple[float, float] = (0.0, 100.0)
    """(low, high) percentile of the samples of each quantity."""
    margin_degrees: float = 0.0
    """Degrees: widening of hulls, spread and curvature (there in radians per scale unit) beyond the samples."""
    margin_fraction: float = 0.0
    """Widening of lengths: the highest is multiplied and the lowest divided by 1 plus this."""
    outer: bool = True
    """Whether the simplified hulls contain every sample (outer) or lie within the hull of the samples (inner)."""
    unit: str = "scale_bone"
    """Unit of lengths: the scale bone."""
    scale_bone: tuple[int, int] = (9, 10)
    """(parent, child) joint of the scale bone."""
    root: int = 0
    """Index of the root joint."""
    joint_order: str = "freihand"
    """Order of the joints, a key of `hand.TO_FREIHAND`."""
    hand: str = "right"
    """Side of the hand."""
    convention: str = "flexion>0 palmar, abduction>0 radial, curvature/squared"
    """Signs of the angles and definition of the curvature."""
    version: str = "1"
    """Version of the file format."""
    created_by: str = ""
    """Version of bmc_jax that fitted the limits."""


def require_shape(name: str, array: Array, *shape: int) -> None:
    """Requires that the last axes of an array have the given shape.

    JAX clamps indices that are out of range, so that 20 joints would silently give wrong numbers.

    Raises:
      TypeError: if it is no array, naming it and the remedy.
      ValueError: for another shape, naming the array and the remedy.
    """
    if not hasattr(array, "shape"):
        raise TypeError(f"{name}: expected an array, got {type(array).__name__}; convert it with jnp.asarray")
    if tuple(array.shape[-len(shape) :]) != shape:
        expected = f"[..., {', '.join(map(str, shape))}]"
        remedy = f"give all values of {expected}"
        if array.shape[-1:] == (math.prod(shape),):
            remedy = f"reshape it to {expected}"
        elif tuple(array.shape[-len(shape) :]) == shape[::-1]:
            remedy = f"reverse its last {len(shape)} axes"
        raise ValueError(f"{name}: expected an array of shape {expected}, got shape {list(array.shape)}; {remedy}")
