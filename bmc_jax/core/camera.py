"""Pinhole camera: projection, the 2.5D pose and the depth of its root, crops and mirroring.

Camera frame: x right, y down, z forward. Pixels are (u, v) with the centre of the first pixel at (0, 0). Joints are in
FreiHAND order. Lengths are in metres or scale units; the depths of `root_depths` are in scale units. K is the matrix of
intrinsics `[..., 3, 3]` in pixels, with the last row (0, 0, 1); a batch may share one K. All formulas are closed-form
and elementwise, because some devices compute small matrix products in bfloat16 or TF32. Functions that take points,
pixels or K raise ValueError if the last axes have another shape.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from bmc_jax.core import hand, numerics
from bmc_jax.core.hand import mirror as mirror
from bmc_jax.core.types import require_shape


def project(
    points: Float[Array, "*batch point 3"], intrinsics: Float[Array, "*#batch 3 3"]
) -> Float[Array, "*batch point 2"]:
    """Projects points in the camera frame to pixels.

    A depth below `numerics.NEAREST_DEPTH` is clamped to it, with zero gradient.

    Args:
      points: camera frame, any length unit.
      intrinsics: K, pixels.

    Returns:
      (u, v) of each point, pixels.

    Raises:
      ValueError: for points or K of another shape.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import camera
      >>> intrinsics = jnp.array([[500.0, 0.0, 64.0], [0.0, 500.0, 64.0], [0.0, 0.0, 1.0]])
      >>> print(camera.project(jnp.array([[0.0, 0.0, 0.5], [0.1, 0.0, 0.5]]), intrinsics))
      [[ 64.  64.]
       [164.  64.]]
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
    """Returns K^-1 (u, v, 1), the point at depth 1 on the ray of each pixel.

    Args:
      pixels: (u, v).
      intrinsics: K, pixels, invertible.

    Returns:
      Points in the camera frame with z = 1.

    Raises:
      ValueError: for pixels or K of another shape.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import camera
      >>> intrinsics = jnp.array([[500.0, 0.0, 64.0], [0.0, 500.0, 64.0], [0.0, 0.0, 1.0]])
      >>> print(camera.rays(jnp.array([[64.0, 64.0], [314.0, 64.0]]), intrinsics))
      [[0.  0.  1. ]
       [0.5 0.  1. ]]
    """
    require_shape("pixels", pixels, 2)
    k = _for_each_point(intrinsics, pixels)
    u, v = pixels[..., 0] - k[..., 0, 2], pixels[..., 1] - k[..., 1, 2]
    determinant = k[..., 0, 0] * k[..., 1, 1] - k[..., 0, 1] * k[..., 1, 0]
    x = (k[..., 1, 1] * u - k[..., 0, 1] * v) / determinant
    y = (k[..., 0, 0] * v - k[..., 1, 0] * u) / determinant
    return jnp.stack([x, y, jnp.ones_like(x)], axis=-1)


def _for_each_point(intrinsics: Float[Array, "*#batch 3 3"], points: Float[Array, "*batch point axis"]):
    """Broadcasts K to the batch of the points, `[*batch, 1, 3, 3]`."""
    require_shape("intrinsics or affine map", intrinsics, 3, 3)
    return jnp.broadcast_to(intrinsics, (*points.shape[:-2], 3, 3))[..., None, :, :]


def unproject(
    pixels: Float[Array, "*batch point 2"], depth: Float[Array, "*batch point"], intrinsics: Float[Array, "*#batch 3 3"]
) -> Float[Array, "*batch point 3"]:
    """Returns the points at the given depths that project to the pixels.

    Args:
      pixels: (u, v).
      depth: z of each point (not its distance), any length unit.
      intrinsics: K, pixels, invertible.

    Returns:
      Points in the camera frame, in the unit of the depths.

    Raises:
      ValueError: for pixels or K of another shape.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import camera
      >>> intrinsics = jnp.array([[500.0, 0.0, 64.0], [0.0, 500.0, 64.0], [0.0, 0.0, 1.0]])
      >>> print(camera.unproject(jnp.array([[64.0, 64.0], [314.0, 64.0]]), jnp.array([1.0, 2.0]), intrinsics))
      [[0. 0. 1.]
       [1. 0. 2.]]
    """
    return rays(pixels, intrinsics) * depth[..., None]


def lift(
    joints_2d: Float[Array, "*batch 21 2"],
    relative_depth: Float[Array, "*batch 21"],
    root_depth: Float[Array, "*batch"],
    intrinsics: Float[Array, "*#batch 3 3"],
) -> Float[Array, "*batch 21 3"]:
    """Lifts a 2.5D pose to 3D (section 3.2): each joint lies on its pixel's ray at root depth plus relative depth.

    Args:
      joints_2d: pixels.
      relative_depth: depth of each joint minus the root's, any length unit.
      root_depth: depth of the root, in the same unit.
      intrinsics: K, pixels.

    Returns:
      Joints in the camera frame, in the unit of the depths.

    Raises:
      ValueError: for joints or K of another shape.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import camera, hand
      >>> intrinsics = jnp.array([[500.0, 0.0, 64.0], [0.0, 500.0, 64.0], [0.0, 0.0, 1.0]])
      >>> joints = jnp.asarray(hand.EXAMPLE)
      >>> depth = joints[:, 2]
      >>> lifted = camera.lift(camera.project(joints, intrinsics), depth - depth[0], depth[0], intrinsics)
      >>> print(bool(jnp.allclose(lifted, joints, atol=1e-5)))
      True
    """
    return unproject(joints_2d, root_depth[..., None] + relative_depth, intrinsics)


def root_depths(
    joints_2d: Float[Array, "*batch 21 2"],
    relative_depth: Float[Array, "*batch 21"],
    intrinsics: Float[Array, "*#batch 3 3"],
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """Solves the quadratic of section 3.2 (Iqbal et al. 2018) for the depth of the root.

    With rays r of the scale bone's two ends and relative depths z, the bone is Z d + w, where d = r_end - r_start and
    w = z_end r_end - z_start r_start. The quadratic is |Z d + w|^2 = 1. Its discriminant is computed as
    |d|^2 - |d x w|^2, which equals (d.w)^2 - |d|^2 (|w|^2 - 1) by Lagrange's identity but avoids that form's
    cancellation, which costs most of the digits in float32.

    The far root is the right one wherever d points along the bone, that is, unless the bone lies within some degrees of
    its own viewing ray. There the two roots are close to each other and may swap.

    Args:
      joints_2d: pixels.
      relative_depth: depth of each joint minus the root's, scale units.
      intrinsics: K, pixels.

    Returns:
      (far, near): both depths at which the scale bone has length 1, scale units, in no particular range. Without a real
      root (the bone is too long at every depth) both are the depth of best fit, and the gradient of the discriminant is
      zero. Where both ends share a pixel (d = 0) both are 0 with zero gradient.

    Raises:
      ValueError: for joints or K of another shape.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from bmc_jax import anatomy, camera, hand
      >>> intrinsics = jnp.array([[500.0, 0.0, 64.0], [0.0, 500.0, 64.0], [0.0, 0.0, 1.0]])
      >>> joints, _ = anatomy.normalize(jnp.asarray(hand.EXAMPLE))
      >>> pixels, depth = camera.project(joints, intrinsics), joints[:, 2]
      >>> far, near = jax.jit(camera.root_depths)(pixels, depth - depth[0], intrinsics)
      >>> print(f"far {far:.2f}, near {near:.2f}, true {depth[0]:.2f}")
      far 10.75, near -12.04, true 10.75
    """
    start, end = hand.SCALE_BONE
    ends = rays(joints_2d[..., hand.SCALE_BONE, :], intrinsics)
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
) -> Float[Array, "*batch"]:
    """Returns the far root of `root_depths`, clamped to `numerics.ROOT_DEPTH_RANGE`.

    The clamp keeps early predictions in front of the camera. Outside of the range the gradient is zero.

    Args:
      joints_2d: pixels.
      relative_depth: depth of each joint minus the root's, scale units.
      intrinsics: K, pixels.

    Returns:
      Depth of the root, scale units.

    Raises:
      ValueError: for joints or K of another shape.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from bmc_jax import anatomy, camera, hand
      >>> intrinsics = jnp.array([[500.0, 0.0, 64.0], [0.0, 500.0, 64.0], [0.0, 0.0, 1.0]])
      >>> joints, _ = anatomy.normalize(jnp.asarray(hand.EXAMPLE))
      >>> pixels, depth = camera.project(joints, intrinsics), joints[:, 2]
      >>> print(f"{jax.jit(camera.root_depth)(pixels, depth - depth[0], intrinsics):.2f} of {depth[0]:.2f}")
      10.75 of 10.75
    """
    far, _ = root_depths(joints_2d, relative_depth, intrinsics)
    nearest, farthest = numerics.ROOT_DEPTH_RANGE
    return jnp.clip(far, nearest, farthest)


def warp_intrinsics(
    affine: Float[Array, "*#batch 3 3"], intrinsics: Float[Array, "*batch 3 3"]
) -> Float[Array, "*batch 3 3"]:
    """Returns affine @ K: the intrinsics of an image whose pixels are moved by an affine map.

    The 3D points do not change. After a rotation K is no longer triangular, which every function here allows.

    Args:
      affine: map of pixels with the last row (0, 0, 1).
      intrinsics: K, pixels.

    Returns:
      K of the new image, pixels.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import camera
      >>> intrinsics = jnp.array([[500.0, 0.0, 64.0], [0.0, 500.0, 64.0], [0.0, 0.0, 1.0]])
      >>> print(camera.warp_intrinsics(jnp.diag(jnp.array([2.0, 2.0, 1.0])), intrinsics))
      [[1000.    0.  128.]
       [   0. 1000.  128.]
       [   0.    0.    1.]]
    """
    affine = jnp.broadcast_to(affine, intrinsics.shape)
    return jnp.sum(affine[..., :, :, None] * intrinsics[..., None, :, :], axis=-2)


def warp_pixels(
    affine: Float[Array, "*#batch 3 3"], pixels: Float[Array, "*batch point 2"]
) -> Float[Array, "*batch point 2"]:
    """Applies an affine map with the last row (0, 0, 1) to pixels.

    Args:
      affine: the map.
      pixels: (u, v).

    Returns:
      The moved pixels.

    Raises:
      ValueError: for pixels or a map of another shape.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import camera
      >>> affine = jnp.array([[2.0, 0.0, 10.0], [0.0, 2.0, 20.0], [0.0, 0.0, 1.0]])
      >>> print(camera.warp_pixels(affine, jnp.array([[1.0, 2.0], [3.0, 4.0]])))
      [[12. 24.]
       [16. 28.]]
    """
    require_shape("pixels", pixels, 2)
    affine = _for_each_point(affine, pixels)
    return jnp.sum(affine[..., :2, :2] * pixels[..., None, :], axis=-1) + affine[..., :2, 2]


def crop_affine(
    centre: Float[Array, "*batch 2"], side: Float[Array, "*batch"], size: int
) -> Float[Array, "*batch 3 3"]:
    """Returns the affine map from image pixels to a square crop.

    The crop shows the square of `side` image pixels around `centre`; its own centre is at (size - 1) / 2.

    Args:
      centre: (u, v) in the image, pixels.
      side: of the square, pixels of the image.
      size: of the crop, pixels.

    Returns:
      The map, with the last row (0, 0, 1).

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import camera
      >>> print(camera.crop_affine(jnp.array([320.0, 240.0]), jnp.array(256.0), 128))
      [[  0.5   0.  -96.5]
       [  0.    0.5 -56.5]
       [  0.    0.    1. ]]
    """
    zoom = size / side
    zero, one = jnp.zeros_like(zoom), jnp.ones_like(zoom)
    shift = (size - 1) / 2 - zoom[..., None] * centre
    return _matrix([[zoom, zero, shift[..., 0]], [zero, zoom, shift[..., 1]], [zero, zero, one]])


def rotation_affine(angle: Float[Array, "*batch"], centre: Float[Array, "*batch 2"]) -> Float[Array, "*batch 3 3"]:
    """Returns the affine map that rotates an image clockwise about a pixel.

    Args:
      angle: radians.
      centre: the pixel (u, v).

    Returns:
      The map, with the last row (0, 0, 1).

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import camera
      >>> affine = camera.rotation_affine(jnp.pi / 2 * jnp.ones(()), jnp.array([64.0, 64.0]))
      >>> print(camera.warp_pixels(affine, jnp.array([[74.0, 64.0]])).round())  # right of the centre: turned below it
      [[64. 74.]]
    """
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    zero, one = jnp.zeros_like(angle), jnp.ones_like(angle)
    x, y = centre[..., 0], centre[..., 1]
    shift = x - cosine * x + sine * y, y - sine * x - cosine * y
    return _matrix([[cosine, -sine, shift[0]], [sine, cosine, shift[1]], [zero, zero, one]])


def _matrix(rows: list[list[Float[Array, "*batch"]]]) -> Float[Array, "*batch 3 3"]:
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def mirror_intrinsics(intrinsics: Float[Array, "*batch 3 3"], width: int) -> Float[Array, "*batch 3 3"]:
    """Returns K of an image after it is flipped left to right: column u becomes width - 1 - u.

    Points mirrored by `mirror` then project to the flipped pixels.

    Args:
      intrinsics: K, pixels.
      width: of the image, pixels.

    Returns:
      K of the flipped image, pixels.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import camera
      >>> intrinsics = jnp.array([[500.0, 0.0, 30.0], [0.0, 500.0, 64.0], [0.0, 0.0, 1.0]])
      >>> print(camera.mirror_intrinsics(intrinsics, 128)[0] + 0)
      [500.   0.  97.]
    """
    mirrored = intrinsics.at[..., 0, 2].set(width - 1 - intrinsics[..., 0, 2])
    return mirrored.at[..., 0, 1].multiply(-1).at[..., 1, 0].multiply(-1)
