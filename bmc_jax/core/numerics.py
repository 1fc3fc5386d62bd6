"""Division, roots and angles with defined gradients, and the epsilons of the package.

Every function has the gradient zero at its degenerate point, and NaN in gives NaN out, in value and gradient. The input
of the dangerous operation is replaced by an inner `where`: an outer `where` or `maximum` would correct the value but
leave the gradient NaN. Conditions are true at the degenerate point, because every comparison with NaN is false.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

#: Squared lengths up to this count as zero, where no size is given to compare them with. It is far below any hand
#: (1e-6 m squared is 1e-12), and its reciprocal and the squares of the components of unit vectors just above it are
#: finite in float32.
TINY_SQUARE = 1e-30
TINY = TINY_SQUARE**0.5

#: Bones up to this length count as collapsed, relative to the hand's longest, which `anatomy` scales to between 1 and
#: 2: 1.4e-5 to 2.8e-5 scale units. Two programs that compute the same bone of a hand 50 scale units from the origin
#: differ by less in float32.
COLLAPSED_LENGTH = 1e-5

#: Vectors up to this length whose direction is an axis or an angle count as zero: the cross product of root bones, the
#: sum of unit normals, the component of a unit bone across an axis. It is an angle of 0.006 degrees, as
#: `LIMIT_TOLERANCE`, and ten times the rounding of a bone above.
COLLAPSED_SINE = 1e-4

#: Smallest length that a hand is divided by, relative to its longest bone: the scale bone's, and the distance of
#: neighbouring MCPs in the curvature of the palm. Those of real hands are ten times as long or more. The derivative of
#: the quotient is at most the reciprocal of its square.
SMALLEST_DIVISOR = 1e-2

#: (lowest, highest) root depth for lifting, scale units. A hand that fills a tenth to nine tenths of a usual photograph
#: is at 5 to 50.
ROOT_DEPTH_RANGE = (2.0, 100.0)

#: Smallest angular size of a hand that 2D joints are divided by, a tangent: a hand at a hundred metres.
SMALLEST_VIEW = 1e-3

#: Smallest length of the palm in an image, by the hand's size in it, at which the image is turned to have it upright.
SMALLEST_UPRIGHT = 0.02

#: Smallest cosine of the angle between a joint's ray and the hand's mean ray: no hand is seen under more.
SMALLEST_COSINE = 0.1

#: Smallest depth for projection, in the unit of the points.
NEAREST_DEPTH = 1e-6

#: By how much fitted limits are wider than the samples: radians, scale units, or their reciprocal. It equals 0.006
#: degrees, or 3 micrometres of a bone, and covers the rounding of float32 between two programs that compute the same
#: quantity. So limits are exactly zero on their own poses.
FIT_SLACK = 1e-4

#: Excesses over limits up to this are rounding and count as within: scale units, their reciprocal, or radians. It
#: equals `FIT_SLACK` for the same reason, and is far below the accuracy of any label.
LIMIT_TOLERANCE = 1e-4

#: Excesses over limits that annotators and viewers do not notice: 1 mm of a bone of an adult's hand, whose scale bone
#: has 44.6 mm, in scale units; and 2 degrees of an angle, in radians, or per scale unit of the palm's curvature.
VISIBLE_LENGTH, VISIBLE_ANGLE = 1 / 44.6, math.radians(2.0)

#: Sampled angles are rounded to multiples of this, radians: a fifth of `FIT_SLACK`. Rounding each sample separately
#: keeps merged hulls exact, and leaves few vertices where samples end on a line.
ANGLE_GRID = 2e-5

#: Hulls of samples thinner than this, radians, have no area but that of rounding.
MINIMUM_HULL_WIDTH = 1e-3

#: Smallest angle between root bones, radians, at which float32 resolves the normal of their plane; and the smallest
#: distance of an abduction from a right angle at which it resolves the flexion.
NEAREST_SINGULARITY = 2e-2


def square(vector: Float[Array, "*batch axis"]) -> Float[Array, "*batch"]:
    """Returns the squared length of vectors.

    Args:
      vector: vectors along the last axis.

    Returns:
      The sum of squares over the last axis.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import numerics
      >>> print(numerics.square(jnp.array([3.0, 4.0, 0.0])))
      25.0
    """
    return jnp.sum(vector * vector, axis=-1)


def norm(vector: Float[Array, "*batch axis"], least: float = TINY) -> Float[Array, "*batch"]:
    """Returns the length of vectors.

    Args:
      vector: vectors along the last axis.
      least: lengths up to this count as zero.

    Returns:
      The length over the last axis; 0 with zero gradient for lengths up to `least`.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from bmc_jax import numerics
      >>> print(jax.grad(numerics.norm)(jnp.zeros(3)), jax.grad(jnp.linalg.norm)(jnp.zeros(3)))
      [0. 0. 0.] [nan nan nan]
    """
    squared = square(vector)
    zero = squared <= least**2
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, squared)))


def unit(
    vector: Float[Array, "*batch axis"], fallback: Float[Array, " axis"] | float = 0.0, least: float = TINY
) -> Float[Array, "*batch axis"]:
    """Returns vectors divided by their lengths.

    Args:
      vector: vectors along the last axis.
      fallback: value for vectors that count as zero.
      least: lengths up to this count as zero.

    Returns:
      Unit vectors; `fallback`, with zero gradient, for lengths up to `least`.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import numerics
      >>> print(numerics.unit(jnp.array([[0.0, 0.0, 2.0], [0.0, 0.0, 0.0]])))
      [[0. 0. 1.]
       [0. 0. 0.]]
    """
    squared = square(vector)[..., None]
    zero = squared <= least**2
    return jnp.where(zero, fallback, vector / jnp.sqrt(jnp.where(zero, 1.0, squared)))


def atan2(y: Float[Array, "*batch"], x: Float[Array, "*batch"], least: float = TINY) -> Float[Array, "*batch"]:
    """Returns the angle of (x, y).

    Args:
      y: sine of the angle times the length of (x, y).
      x: cosine of the angle times that length.
      least: lengths up to this count as zero.

    Returns:
      Radians in [-pi, pi]; 0 with zero gradient where the length is up to `least`.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from bmc_jax import numerics
      >>> zero = jnp.zeros(())
      >>> print(jax.grad(numerics.atan2)(zero, zero), jax.grad(jnp.arctan2)(zero, zero))
      0.0 nan
    """
    zero = x * x + y * y <= least**2
    return jnp.arctan2(jnp.where(zero, 0.0, y), jnp.where(zero, 1.0, x))


def angle(u: Float[Array, "*batch 3"], v: Float[Array, "*batch 3"], least: float = TINY) -> Float[Array, "*batch"]:
    """Returns the angle between two vectors.

    It is the atan2 of sine and cosine, accurate at every angle. The arccos of a clipped cosine loses value and gradient
    near 0 and pi. The gradient is zero where the sine is up to `COLLAPSED_SINE`, and the angle 0 or pi there; next to
    them the gradient has unit size.

    Args:
      u: vectors along the last axis.
      v: vectors along the last axis.
      least: lengths up to this count as zero.

    Returns:
      Radians in [0, pi]; 0 with zero gradient where a length is up to `least`.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import numerics
      >>> angle = numerics.angle(jnp.array([1.0, 0.0, 0.0]), jnp.array([0.0, 5.0, 0.0]))
      >>> print(jnp.degrees(angle).round())
      90.0
    """
    u, v = unit(u, least=least), unit(v, least=least)
    return atan2(norm(jnp.cross(u, v), COLLAPSED_SINE), jnp.sum(u * v, axis=-1))


def divide(numerator: Float[Array, "*batch"], denominator: Float[Array, "*#batch"]) -> Float[Array, "*batch"]:
    """Returns the quotient by a non-negative denominator.

    Args:
      numerator: any values.
      denominator: values from 0.

    Returns:
      The quotient; 0 with zero gradient where the denominator is zero.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import numerics
      >>> print(numerics.divide(jnp.array([3.0, 3.0]), jnp.array([2.0, 0.0])))
      [1.5 0. ]
    """
    zero = denominator <= TINY_SQUARE
    return jnp.where(zero, 0.0, numerator / jnp.where(zero, 1.0, denominator))


def square_root(value: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Returns the square root.

    Args:
      value: any values.

    Returns:
      The square root; 0 with zero gradient where the value is not positive.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import numerics
      >>> print(numerics.square_root(jnp.array([4.0, 0.0, -1.0])))
      [2. 0. 0.]
    """
    zero = value <= TINY_SQUARE
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, value)))


def masked_mean(
    values: Float[Array, "*shape"], mask: Bool[Array, "*shape"], axis: int | tuple[int, ...] | None = None
) -> Float[Array, "..."]:
    """Returns the mean of the values whose mask is set.

    Other values may be NaN: they change neither the mean nor its gradient.

    Args:
      values: any values.
      mask: which values count.
      axis: axis or axes of the mean; all by default.

    Returns:
      The mean; 0 where no value counts.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import numerics
      >>> print(numerics.masked_mean(jnp.array([1.0, 3.0, jnp.nan]), jnp.array([True, True, False])))
      2.0
    """
    count = jnp.sum(mask, axis=axis, dtype=values.dtype)
    return jnp.sum(jnp.where(mask, values, 0.0), axis=axis) / jnp.maximum(count, 1.0)
