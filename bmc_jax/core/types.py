"""The values that walk from room to room: frozen pytrees of arrays, each field with its shape, unit and frame.

Camera frame: x right, y down, z forward (OpenCV). Pixels: (u, v) of the crop, the centre of the first pixel at (0, 0).
Joints: FreiHAND order, right hand (see `hand`). `intrinsics` are the pinhole matrix K of the crop, in pixels. `*batch`
is any number of leading axes, none included. Arrays are numpy on the host and JAX's on a device. As JAX rebuilds
pytrees with placeholders in their fields, these are annotated for readers and not checked.
"""

import dataclasses
import typing
from dataclasses import dataclass

import jax
from jaxtyping import Bool, Float, Int, UInt8

#: numpy's or JAX's.
Array = typing.Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
@typing.no_type_check
class Batch:
    """Images with the labels that they have. A label that is not there is masked, and its value is ignored."""

    image: UInt8[Array, "*batch height width 3"]
    """RGB crop of one right hand."""
    intrinsics: Float[Array, "*batch 3 3"]
    """K of the crop, pixels."""
    joints_2d: Float[Array, "*batch 21 2"]
    """Pixels of the crop."""
    joints_2d_valid: Bool[Array, "*batch 21"]
    """Which 2D joints are labelled."""
    joints_3d: Float[Array, "*batch 21 3"]
    """Metres, camera frame."""
    joints_3d_valid: Bool[Array, "*batch 21"]
    """Which 3D joints are labelled; none for an image with 2D labels only."""
    scale: Float[Array, "*batch"]
    """Length of the scale bone, metres. Only read where 3D joints are labelled."""
    source: Int[Array, "*batch"]
    """Which of the run's data sources the example is from."""
    index: Int[Array, "*batch"]
    """The example's number within its source, to name it in an error."""
    present: Bool[Array, "*batch"]
    """False for the padding of a last, short batch: such rows count nowhere."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
@typing.no_type_check
class Prediction:
    """What the network says of an image: the 2.5D pose, and the 3D pose that it stands for.

    Lengths are in *scale units*, multiples of the scale bone's length: that bone of `joints_3d` measures about 1.
    """

    joints_2d: Float[Array, "*batch 21 2"]
    """Pixels of the crop."""
    relative_depth: Float[Array, "*batch 21"]
    """Depth behind the root, scale units; 0 at the root."""
    root_depth: Float[Array, "*batch"]
    """The root's depth from the quadratic, scale units."""
    refined_root_depth: Float[Array, "*batch"]
    """The same after the refiner's residual (Eq. 8), scale units."""
    joints_3d: Float[Array, "*batch 21 3"]
    """Scale units, camera frame: `camera.lift` of the 2.5D pose at the refined root depth."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
@typing.no_type_check
class Limits:
    """What a hand can do. Lengths in scale units, curvature in their reciprocal, angles in radians.

    The arrays are leaves, so limits are passed to a jitted function like any other argument; `meta` is static.
    """

    bone_length: Float[Array, "5 4 2"]
    """(lowest, highest) length of each bone."""
    curvature: Float[Array, "4 2"]
    """(lowest, highest) palm curvature between neighbouring root bones, thumb side first (Eq. 1)."""
    spread: Float[Array, "4 2"]
    """(lowest, highest) angle between neighbouring root bones (Eq. 3)."""
    hull: Float[Array, "5 3 vertex 2"]
    """Convex polygon of (flexion, abduction), counter-clockwise, for each finger's PIP, DIP and TIP bone (Eq. 7).
    Flexion may pass pi here: a hull is unrolled at `hull.FLEXION_CUT`, and the distance to it is periodic."""
    support: Float[Array, "5 3 sample_vertex 2"]
    """Vertices of the samples' exact hulls, before margin and simplification, padded by repeating the last: what
    `limits.merge` needs so that merging fits equals fitting the union."""
    meta: "LimitsMetadata" = dataclasses.field(metadata={"static": True})


@dataclass(frozen=True)
class LimitsMetadata:
    """Where limits come from and by which conventions they hold; `limits.load` refuses those that are not ours."""

    source: str
    """Dataset, literature or person, in a few words."""
    count: int
    """Number of poses that they were fitted to."""
    references: tuple[str, ...] = ()
    """Publications that they stand on."""
    screening: str = ""
    """What was found among the poses that came (left hands above all), and what was done with it."""
    percentiles: tuple[float, float] = (0.0, 100.0)
    """Of each quantity's samples, between which they lie."""
    margin_degrees: float = 0.0
    """By how much hulls, spread and curvature (radians per scale unit) were widened beyond the samples."""
    margin_fraction: float = 0.0
    """By which share lengths were: longest bones times, shortest bones divided by, one and this."""
    outer: bool = True
    """Whether the simplified hulls contain every sample (outer) or lie within the samples' hull (inner)."""
    unit: str = "scale_bone"
    scale_bone: tuple[int, int] = (9, 10)
    root: int = 0
    joint_order: str = "freihand"
    hand: str = "right"
    convention: str = "flexion>0 palmar, abduction>0 radial, curvature/squared"
    version: str = "1"
    """Version of the file format."""
    created_by: str = ""
    """Version of bmc_jax that fitted them."""


def require_shape(name: str, array: Array, *shape: int) -> None:
    """Raise ValueError, naming it and its shape, unless an array's last axes are `shape`.

    JAX clamps an index that is out of range: without this, 20 joints would silently give other numbers.
    """
    if tuple(array.shape[-len(shape) :]) != shape:
        wanted = ", ".join(map(str, shape))
        raise ValueError(f"{name}: an array of shape {list(array.shape)} was given where [..., {wanted}] is needed")
