"""Where geometry divides or takes a root: the only epsilons of the package, and the gradient at every degenerate point.

The rule throughout: the *input* of the dangerous function is made safe by an inner `where`. An outer `where` or
`maximum` would mend the value and leave the gradient NaN. Every function here has the gradient zero at its degenerate
point.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

#: Squared lengths up to this are zero. It is far below any hand (1e-6 m squared is 1e-12) and high enough that its
#: reciprocal, and the squares of unit vectors' components just above it, are finite in float32.
TINY_SQUARE = 1e-30

#: Root depths, in lengths of the scale bone, between which a prediction is lifted. A hand that fills a tenth to nine
#: tenths of a usual photograph lies at 5 to 50.
ROOT_DEPTH_RANGE = (2.0, 100.0)

#: Points nearer to the image plane than this many units of length are not projected: the quotient is clamped there.
NEAREST_DEPTH = 1e-6

#: By how much fitted limits are wider than the samples: radians, or scale units for lengths, or their reciprocal. It is
#: 0.006 degrees, or 3 micrometres of a bone, and covers what float32 makes of a pose along different ways (joints from
#: the camera or from the wrist, alone or fused into a larger program): limits are exactly zero on their own poses.
FIT_SLACK = 1e-4

#: An excess over limits up to this counts as within: scale units, their reciprocal, or radians. Like `FIT_SLACK` it
#: covers what float32 makes of a pose along different ways; 0.006 degrees are far below the accuracy of any label.
LIMIT_TOLERANCE = 1e-4

#: Radians. Sampled angles are rounded to multiples of this, a fifth of the slack. Rounding each sample for itself keeps
#: merged hulls exact, and leaves few vertices where samples end on a line, at the end of a joint's range.
ANGLE_GRID = 2e-5

#: Radians. Samples whose hull is thinner span no area but that of rounding.
MINIMUM_HULL_WIDTH = 1e-3


#: Radians. Root bones nearer to each other than this span no plane whose normal float32 knows, and an abduction nearer
#: to a right angle leaves the flexion unknown.
NEAREST_SINGULARITY = 2e-2


def square(vector: Float[Array, "*batch axis"]) -> Float[Array, "*batch"]:
    """Squared length over the last axis."""
    return jnp.sum(vector * vector, axis=-1)


def norm(vector: Float[Array, "*batch axis"]) -> Float[Array, "*batch"]:
    """Length over the last axis. The gradient at the zero vector is zero."""
    squared = square(vector)
    positive = squared > TINY_SQUARE
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def unit(
    vector: Float[Array, "*batch axis"], fallback: Float[Array, " axis"] | float = 0.0
) -> Float[Array, "*batch axis"]:
    """`vector` at length one; `fallback`, with no gradient to `vector`, where it has no length."""
    squared = square(vector)[..., None]
    positive = squared > TINY_SQUARE
    return jnp.where(positive, vector / jnp.sqrt(jnp.where(positive, squared, 1.0)), fallback)


def atan2(y: Float[Array, "*batch"], x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Angle of (x, y) in [-pi, pi]; 0 with gradient zero where both are zero."""
    defined = x * x + y * y > TINY_SQUARE
    return jnp.arctan2(jnp.where(defined, y, 0.0), jnp.where(defined, x, 1.0))


def angle(u: Float[Array, "*batch 3"], v: Float[Array, "*batch 3"]) -> Float[Array, "*batch"]:
    """Angle between two vectors in [0, pi]; 0 where one has no length.

    By atan2 of sine and cosine: accurate at every angle, where arccos of a clipped cosine loses both value and gradient
    near straight. The gradient is zero at exactly parallel and exactly opposite, and of unit size beside them.
    """
    u, v = unit(u), unit(v)
    return atan2(norm(jnp.cross(u, v)), jnp.sum(u * v, axis=-1))


def divide(numerator: Float[Array, "*batch"], denominator: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Quotient by a non-negative denominator; 0 with gradient zero where that is zero."""
    positive = denominator > TINY_SQUARE
    return jnp.where(positive, numerator / jnp.where(positive, denominator, 1.0), 0.0)


def square_root(value: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Square root; 0 with gradient zero where the value is not positive."""
    positive = value > TINY_SQUARE
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, value, 1.0)), 0.0)


def masked_mean(values: Float[Array, "*shape"], mask: Bool[Array, "*shape"], axis=None) -> Float[Array, "..."]:
    """Mean of the values whose mask is set, 0 where none is. Masked values may be NaN: neither they nor their gradient
    gets through."""
    count = jnp.sum(mask, axis=axis, dtype=values.dtype)
    return jnp.sum(jnp.where(mask, values, 0.0), axis=axis) / jnp.maximum(count, 1.0)
