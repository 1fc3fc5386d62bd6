"""The Whittaker-Henderson smoother for sequences with gaps, whose only parameter is a period."""

import itertools

import numpy as np
import scipy.linalg


def smooth(values: np.ndarray, period: float | int) -> np.ndarray:
    """Smooths values over frames: motion with the period is halved, motion with twice the period is hardly reduced.

    Minimizes |smooth - value|^2 plus a weight on squared second differences.

    Args:
      values: `[T, ...]`. Frames with a value that is not finite have no weight and are returned unchanged; the other
        frames are smoothed across these gaps.
      period: period in frames.

    Returns:
      Smoothed values, float64; the given values if fewer than three frames are finite.

    Raises:
      ValueError: if the period is 2 frames or less, which a sequence cannot represent.
    """
    if period <= 2:
        raise ValueError(f"expected a period above 2 frames, got {period:g}; give a longer period")
    values = np.asarray(values, np.float64)
    flat = values.reshape(len(values), int(np.prod(values.shape[1:])))
    known = np.isfinite(flat.sum(axis=1))
    if known.sum() < 3:
        return values
    inside = slice(int(known.argmax()), len(known) - int(known[::-1].argmax()))
    weights = known[inside].astype(np.float64)
    # A second difference multiplies a sine of this period by 2 - 2 cos = 4 sin^2: equal weights halve it.
    stiffness = (2 * np.sin(np.pi / period)) ** -4
    count = len(weights)
    second_difference = np.array([1.0, -2.0, 1.0])
    bands = np.zeros((3, count))  # upper bands of a symmetric matrix, the diagonal last
    bands[2] = weights
    for i, j in itertools.combinations_with_replacement(range(3), 2):
        bands[2 + i - j, j : j + count - 2] += stiffness * second_difference[i] * second_difference[j]
    right = np.where(known[inside, None], flat[inside], 0.0)
    found = flat.copy()
    found[inside] = np.where(known[inside, None], scipy.linalg.solveh_banded(bands, right), flat[inside])
    return found.reshape(values.shape)
