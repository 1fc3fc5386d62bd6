"""Model of the noise of MediaPipe's hand landmarks, for tests and benchmarks of repair and lifting.

The model is calibrated on rendered people (`any_view`, test split) to measurements of MediaPipe Hands 0.10.14 on
FreiHAND's photographs. Errors are in millimetres of an adult's hand after alignment by rotation, scale and translation
(PA):

| | photographs | model |
|---|---|---|
| error of image landmarks with z, on their rays, relative to held-out 3D labels | 10.1 | 10.2 |
| error of world landmarks, relative to the same | 11.1 | 11.0 |
| difference of the two · without rotation | 14.4 · 16.5 | 14.2 · 15.8 |
| share of the first error that repair along the rays removes, limits fitted to `any_view` | 17 % | 18 % |
| pixel difference of two runs (model: pixel error), median, relative to the box's longer side | 1.2 % | 1.7 % |
| deviation of bone lengths' logarithms, image landmarks, MCP to TIP | .12 .19 .23 .25 | .16 .16 .22 .27 |
| the same, world landmarks | .10 .22 .20 .26 | .16 .17 .25 .32 |
| share of joint angles of image landmarks outside `clinical`, and their mean excess in degrees | 7 %, 15 | 10 %, 18 |

The correlations along and across fingers, the tilt and the stretch are those of the differences between the two depths
of 5,719 photographs. Errors that all photographs have in common, such as labels of another joint centre, are not
modelled: after repair, the error of the mean of both depths is 7.9 mm in photographs and 6.9 mm in the model.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from bmc_jax.core import anatomy, camera, hand
from bmc_jax.core.types import require_shape

#: Standard deviations at a finger's MCP joint, scale units: of pixels (on the hand's plane), of z, and of the world
#: landmarks' (x and y, z).
PIXEL, Z, WORLD = 0.045, 0.2, (0.12, 0.23)
#: Standard deviations at the wrist and at a finger's MCP, PIP, DIP and tip, relative to those at the MCP joint.
WRIST, LEVELS = 1.3, (1.0, 1.05, 1.1, 1.5)
#: Correlation of neighbouring joints of a finger.
ALONG = 0.75
#: Share of the variance at MCP, PIP, DIP and tip that all fingers have in common.
ACROSS = (0.8, 0.45, 0.3, 0.25)
#: Share of the variance of depth that z and world landmarks have in common.
SHARED = 0.2
#: (mean, standard deviation) of the factor on depth relative to the wrist, of z and of world landmarks.
Z_STRETCH, WORLD_STRETCH = (0.8, 0.22), (1.05, 0.22)
#: Standard deviation of the slopes of depth along x and along y.
TILT = 0.125
#: Standard deviations of the logarithm of a hand's noise, of pixels and of the rest. The noise of most hands is below
#: the mean, and that of some hands far above it.
HEAVINESS = (0.6, 0.35)
#: Cholesky factor of the covariance of a finger's four joints.
_FINGER = np.linalg.cholesky(np.outer(LEVELS, LEVELS) * ALONG ** np.abs(np.subtract.outer(range(4), range(4))))


def mediapipe_like(
    key: PRNGKeyArray, joints: Float[Array, "*batch 21 3"], intrinsics: Float[Array, "*#batch 3 3"]
) -> tuple[Float[Array, "*batch 21 2"], Float[Array, "*batch 21"], Float[Array, "*batch 21 3"]]:
    """Draws landmarks with the errors of MediaPipe Hands in a photograph of these hands. It works under jit and vmap.

    The noise has four parts: a stretch and a tilt of the depth, errors of fingers (noise that neighbouring joints
    share), and a factor on the noise of each hand.

    Args:
      key: of the noise.
      joints: right hands, FreiHAND order, camera frame, z > 0, any length unit.
      intrinsics: K, pixels.

    Returns:
      pixels: of the joints.
      z: depth relative to the wrist, in pixels of the size at the wrist's depth, positive away from the camera.
      world: joints about their mean, in the unit and axes of the given ones.

    Raises:
      ValueError: for joints or intrinsics of another shape.
    """
    require_shape("joints in FreiHAND order", joints, hand.NUM_JOINTS, 3)
    batch = joints.shape[:-2]
    # A single draw, since each draw adds its program to the compiled one.
    draws = jax.random.normal(key, (*batch, 8 + 25 * 7))
    whole, fingers = draws[..., None, :8], _on_fingers(draws[..., 8:].reshape(*batch, 25, 7))
    pixel_size, size = (
        jnp.exp(deviation * whole[..., i : i + 1] - deviation**2 / 2) for i, deviation in enumerate(HEAVINESS)
    )
    unit = anatomy.scale(joints)[..., None, None]
    focal = jnp.broadcast_to(intrinsics[..., 0, 0], batch)[..., None, None]
    pixels_per_unit = focal / joints[..., :1, 2:]
    from_wrist = joints - joints[..., :1, :]

    def depth(stretch, deviation, whole, own):
        noise = SHARED**0.5 * fingers[..., :1] + (1 - SHARED) ** 0.5 * own
        tilt = TILT * jnp.sum(whole[..., 1:] * from_wrist[..., :2], axis=-1, keepdims=True)
        factor = stretch[0] + stretch[1] * whole[..., :1]
        return factor * from_wrist[..., 2:] + tilt + deviation * size * noise * unit

    pixels = camera.project(joints, intrinsics) + PIXEL * pixel_size * fingers[..., 1:3] * unit * pixels_per_unit
    z = depth(Z_STRETCH, Z, whole[..., 2:5], fingers[..., 3:4]) * pixels_per_unit
    beside = from_wrist[..., :2] + WORLD[0] * size * fingers[..., 4:6] * unit
    ahead = depth(WORLD_STRETCH, WORLD[1], whole[..., 5:8], fingers[..., 6:])
    world = jnp.concatenate([beside, ahead], axis=-1)
    return pixels, (z - z[..., :1, :])[..., 0], world - jnp.mean(world, axis=-2, keepdims=True)


def _on_fingers(draws: Float[Array, "*batch 25 axis"]) -> Float[Array, "*batch 21 axis"]:
    """Returns noise that is correlated along fingers and, in part, across them, from independent draws: one for the
    wrist, four for the joints that all fingers share, and four for each finger."""
    *batch, _, axes = draws.shape
    chains = draws[..., 1:, :].reshape(*batch, 6, 4, axes)
    chains = jnp.einsum("lm,...fmx->...flx", np.asarray(_FINGER, np.float32), chains, precision="highest")
    common = np.array(ACROSS, np.float32).reshape(*[1] * len(batch), 1, 4, 1)
    fingers = np.sqrt(1 - common) * chains[..., 1:, :, :] + np.sqrt(common) * chains[..., :1, :, :]
    return jnp.concatenate([WRIST * draws[..., :1, :], fingers.reshape(*batch, 20, axes)], axis=-2)
