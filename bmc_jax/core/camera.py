"""The pinhole camera: 3D to pixels and back, the 2.5D pose, and what a crop does to the intrinsics.

Camera frame x right, y down, z forward. Pixels (u, v), the centre of the first pixel at (0, 0). Everything is in closed
form and elementwise, so no device lowers it to bfloat16 or TF32, as those do with small matrix products. Lengths may be
metres or scale units; root depths from the quadratic are in units of the scale bone.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from bmc_jax.core import hand, numerics
from bmc_jax.core.hand import mirror as mirror
from bmc_jax.core.types import require_shape


def project(
    points: Float[Array, "*batch point 3"], intrinsics: Float[Array, "*#batch 3 3"]
) -> Float[Array, "*batch point 2"]:
    """Pixels of points in front of the camera. Points nearer than `numerics.NEAREST_DEPTH` are taken to be there.

    Raises ValueError for points or K of another shape, as everything here does that takes pixels or K.
    """
    require_shape("points", points, 3)
    depth = jnp.maximum(points[..., 2], numerics.NEAREST_DEPTH)
    x, y = points[..., 0] / depth, points[..., 1] / depth
    k = _for_each_point(intrinsics, points)
    u = k[..., 0, 0] * x + k[..., 0, 1] * y + k[..., 0, 2]
    v = k[..., 1, 0] * x + k[..., 1, 1] * y + k[..., 1, 2]
    return jnp.stack([u, v], axis=-1)


def rays(
    pixels: Float[Array, "*batch point 2"], intrinsics: Float[Array, "*#batch 3 3"]
) -> Float[Array, "*batch point 3"]:
    """K^-1 (u, v, 1): the point at depth 1 that each pixel sees. K must have the last row (0, 0, 1) and be regular."""
    require_shape("pixels", pixels, 2)
    k = _for_each_point(intrinsics, pixels)
    u, v = pixels[..., 0] - k[..., 0, 2], pixels[..., 1] - k[..., 1, 2]
    determinant = k[..., 0, 0] * k[..., 1, 1] - k[..., 0, 1] * k[..., 1, 0]
    x = (k[..., 1, 1] * u - k[..., 0, 1] * v) / determinant
    y = (k[..., 0, 0] * v - k[..., 1, 0] * u) / determinant
    return jnp.stack([x, y, jnp.ones_like(x)], axis=-1)


def _for_each_point(intrinsics: Float[Array, "*#batch 3 3"], points: Float[Array, "*batch point axis"]):
    """K against every point's coordinates, `[*batch, 1, 3, 3]`: a batch may share one K."""
    require_shape("intrinsics or affine map", intrinsics, 3, 3)
    return jnp.broadcast_to(intrinsics, (*points.shape[:-2], 3, 3))[..., None, :, :]


def unproject(
    pixels: Float[Array, "*batch point 2"], depth: Float[Array, "*batch point"], intrinsics: Float[Array, "*#batch 3 3"]
) -> Float[Array, "*batch point 3"]:
    """Points at the given depths (z, not distance) that project to the pixels, in the depths' unit."""
    return rays(pixels, intrinsics) * depth[..., None]


def lift(
    joints_2d: Float[Array, "*batch 21 2"],
    relative_depth: Float[Array, "*batch 21"],
    root_depth: Float[Array, "*batch"],
    intrinsics: Float[Array, "*#batch 3 3"],
) -> Float[Array, "*batch 21 3"]:
    """2.5D to 3D: each joint on its pixel's ray at the root's depth plus its own, in the depths' unit."""
    return unproject(joints_2d, root_depth[..., None] + relative_depth, intrinsics)


def root_depths(
    joints_2d: Float[Array, "*batch 21 2"],
    relative_depth: Float[Array, "*batch 21"],
    intrinsics: Float[Array, "*#batch 3 3"],
    *,
    bone: tuple[int, int] = hand.SCALE_BONE,
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """Both depths (far, near) of the root at which the scale bone is one unit long, for depths in scale units.

    With rays r of the bone's two ends and relative depths z, the bone is Z d + w with d = r_end - r_start and w =
    z_end r_end - z_start r_start. |Z d + w| = 1 is the quadratic of the paper's section 3.2 (Iqbal et al. 2018). Its
    discriminant is written |d|^2 - |d x w|^2, equal by Lagrange's identity to (d.w)^2 - |d|^2 (|w|^2 - 1) but free of
    that form's cancellation, which in float32 costs most of the digits.

    Which root holds: the far one wherever d points along the bone, as it does unless the bone lies within some
    degrees of its own viewing ray. There both roots are near one another and may swap.

    Without a real root (no depth makes the bone so short) both are the depth of closest fit, the double root, and the
    discriminant's gradient is zero. Where the two ends share a pixel (d = 0) depth does not matter to the bone's
    length: both are 0, gradient zero. No range is imposed here.
    """
    start, end = bone
    ends = rays(joints_2d[..., bone, :], intrinsics)
    d = ends[..., 1, :] - ends[..., 0, :]
    w = relative_depth[..., end, None] * ends[..., 1, :] - relative_depth[..., start, None] * ends[..., 0, :]
    d_squared = numerics.square(d)
    discriminant = d_squared - numerics.square(jnp.cross(d, w))
    reach = numerics.square_root(discriminant)
    middle = -jnp.sum(d * w, axis=-1)
    return numerics.divide(middle + reach, d_squared), numerics.divide(middle - reach, d_squared)


def root_depth(
    joints_2d: Float[Array, "*batch 21 2"],
    relative_depth: Float[Array, "*batch 21"],
    intrinsics: Float[Array, "*#batch 3 3"],
    *,
    bone: tuple[int, int] = hand.SCALE_BONE,
) -> Float[Array, "*batch"]:
    """The far root of `root_depths`, held within `numerics.ROOT_DEPTH_RANGE`.

    So a wild early prediction still lifts to a hand in front of the camera. The gradient is zero outside of the range.
    """
    far, _ = root_depths(joints_2d, relative_depth, intrinsics, bone=bone)
    nearest, farthest = numerics.ROOT_DEPTH_RANGE
    return jnp.clip(far, nearest, farthest)


def warp_intrinsics(
    affine: Float[Array, "*#batch 3 3"], intrinsics: Float[Array, "*batch 3 3"]
) -> Float[Array, "*batch 3 3"]:
    """K of an image whose pixels were moved by an affine map: affine @ K, at full precision on every device.

    The 3D points stay where they are, whatever the map: a crop, a rotation of the picture, a squeeze. After a
    rotation K is no longer triangular, which every function here allows.
    """
    affine = jnp.broadcast_to(affine, intrinsics.shape)
    return jnp.sum(affine[..., :, :, None] * intrinsics[..., None, :, :], axis=-2)


def warp_pixels(
    affine: Float[Array, "*#batch 3 3"], pixels: Float[Array, "*batch point 2"]
) -> Float[Array, "*batch point 2"]:
    """Pixels moved by an affine map whose last row is (0, 0, 1)."""
    require_shape("pixels", pixels, 2)
    affine = _for_each_point(affine, pixels)
    return jnp.sum(affine[..., :2, :2] * pixels[..., None, :], axis=-1) + affine[..., :2, 2]


def crop_affine(
    centre: Float[Array, "*batch 2"], side: Float[Array, "*batch"], size: int
) -> Float[Array, "*batch 3 3"]:
    """Map to a crop of `size` x `size` pixels that shows the square of `side` image pixels at `centre`.

    With pixel centres at integers, a crop's middle is at (size - 1) / 2.
    """
    zoom = size / side
    zero, one = jnp.zeros_like(zoom), jnp.ones_like(zoom)
    shift = (size - 1) / 2 - zoom[..., None] * centre
    rows = [
        jnp.stack([zoom, zero, shift[..., 0]], axis=-1),
        jnp.stack([zero, zoom, shift[..., 1]], axis=-1),
        jnp.stack([zero, zero, one], axis=-1),
    ]
    return jnp.stack(rows, axis=-2)


def rotation_affine(angle: Float[Array, "*batch"], centre: Float[Array, "*batch 2"]) -> Float[Array, "*batch 3 3"]:
    """Map that turns the picture clockwise, as seen, by `angle` radians about the pixel `centre`."""
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    zero, one = jnp.zeros_like(angle), jnp.ones_like(angle)
    x, y = centre[..., 0], centre[..., 1]
    rows = [
        jnp.stack([cosine, -sine, x - cosine * x + sine * y], axis=-1),
        jnp.stack([sine, cosine, y - sine * x - cosine * y], axis=-1),
        jnp.stack([zero, zero, one], axis=-1),
    ]
    return jnp.stack(rows, axis=-2)


def mirror_intrinsics(intrinsics: Float[Array, "*batch 3 3"], width: int) -> Float[Array, "*batch 3 3"]:
    """Returns K after an image of `width` pixels was flipped left to right: column u becomes width - 1 - u.

    With the points mirrored too (`mirror`), projections flip with the picture.
    """
    mirrored = intrinsics.at[..., 0, 2].set(width - 1 - intrinsics[..., 0, 2])
    return mirrored.at[..., 0, 1].multiply(-1).at[..., 1, 0].multiply(-1)
