"""The ResNet family (He et al. 2016), from normalised images to features.

The conventions are torchvision's, so that its pretrained weights fit exactly: the names of modules, the stride of a
bottleneck on its 3x3 convolution ("v1.5"), symmetric padding instead of "SAME", and BatchNorm with epsilon 1e-5 and
momentum 0.9. One difference affects training only: the running variance takes the variance of the batch, not n / (n -
1) times it. Parameters and statistics are float32 for every dtype of the computation.
"""

from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

#: Blocks in each of the four stages, and whether they are bottlenecks, by depth. Depth 10, for small machines, is not a
#: published network.
ARCHITECTURES = {
    10: ((1, 1, 1, 1), False),
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
}
BOTTLENECK_EXPANSION = 4


def convolution(filters: int, kernel: int, stride: int = 1, padding: str | None = None, **options: Any) -> nn.Conv:
    """Returns a convolution without bias, padded and initialised (He normal, fan out) as in PyTorch by default.

    A 1x1 convolution is computed by `pointwise`, with the same parameters.
    """
    edge = (kernel - 1) // 2
    options |= {"conv_general_dilated": pointwise} if kernel == 1 else {}
    return nn.Conv(
        filters,
        (kernel, kernel),
        strides=stride,
        padding=padding or [(edge, edge)] * 2,
        use_bias=False,
        kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
        **options,
    )


def pointwise(
    x: Float[Array, "batch height width channel"],
    kernel: Float[Array, "1 1 channel filter"],
    strides: tuple[int, int],
    padding: Any,
    **options: Any,
) -> Float[Array, "batch rows columns filter"]:
    """Computes `jax.lax.conv_general_dilated` of these arguments, without padding; on CPUs as one matrix product.

    XLA's gradient of such a convolution takes two to four times as long as that of the product on a CPU. The choice is
    made when the program is compiled; programs compiled or exported for accelerators contain convolutions.
    """

    def product(x: Float[Array, "batch height width channel"], kernel: Float[Array, "1 1 channel filter"]) -> Any:
        rows, columns = strides
        x = x[:, ::rows, ::columns]
        # Two axes: the gradient of a product that contracts several axes is several times slower.
        return (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:-1], -1)

    convolve = partial(jax.lax.conv_general_dilated, window_strides=strides, padding=padding, **options)
    return jax.lax.platform_dependent(x, kernel, cpu=product, default=convolve)


def maximum(x: Float[Array, "batch height width channel"]) -> Float[Array, "batch rows columns channel"]:
    """Returns the maximum over each 3x3 window at stride 2, without padding.

    On CPUs it is computed from slices, since XLA's windowed maximum with its gradient takes eight times as long there.
    Elements of a window that are equal to its maximum share the gradient on CPUs; on other devices, the first of them
    receives all of it.
    """

    def slices(x: Float[Array, "batch height width channel"]) -> Float[Array, "batch rows columns channel"]:
        for axis in (1, 2):
            size = (x.shape[axis] - 1) // 2
            parts = (jax.lax.slice_in_dim(x, i, i + 2 * size - 1, 2, axis) for i in range(3))
            x = reduce(jnp.maximum, parts)
        return x

    return jax.lax.platform_dependent(x, cpu=slices, default=partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2)))


@dataclass(frozen=True)
class Devices:
    """Devices that share the statistics of BatchNorm."""

    axis_name: str
    """Name of the mapped axis of devices."""
    groups: tuple[tuple[int, ...], ...] | None = None
    """Indices of the devices in each group with separate statistics; None for one group of all devices."""


def batch_norm(train: bool, dtype: Any, devices: Devices | None) -> partial[nn.BatchNorm]:
    """Returns the constructor of BatchNorm layers. With `train`, they use and update the statistics of the batch."""
    together = {"axis_name": devices.axis_name, "axis_index_groups": devices.groups} if devices else {}
    return partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5, dtype=dtype, **together)


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, or a bottleneck of 1x1, 3x3, 1x1."""

    filters: int
    stride: int
    bottleneck: bool
    convolution: Any
    norm: Any

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width channel"]) -> Float[Array, "batch rows columns filter"]:
        kernels = (1, 3, 1) if self.bottleneck else (3, 3)
        filters = self.filters * (BOTTLENECK_EXPANSION if self.bottleneck else 1)
        strided = 1 if self.bottleneck else 0
        y = x
        for i, kernel in enumerate(kernels):
            last = i == len(kernels) - 1
            stride = self.stride if i == strided else 1
            y = self.convolution(filters if last else self.filters, kernel, stride, name=f"conv{i + 1}")(y)
            # Blocks start as the identity, so that training is stable from the start (Goyal et al. 2017).
            scale = nn.initializers.zeros if last else nn.initializers.ones
            y = self.norm(scale_init=scale, name=f"bn{i + 1}")(y)
            y = y if last else nn.relu(y)
        if self.stride != 1 or x.shape[-1] != filters:
            x = self.convolution(filters, 1, self.stride, name="downsample_0")(x)
            x = self.norm(name="downsample_1")(x)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """ResNet-10, 18, 34 or 50 without the classifier."""

    depth: int = 50
    """10, 18, 34 or 50."""
    width: int = 64
    """Channels of the first stage; each later stage has twice as many."""
    patch: int = 0
    """0 for the published stem, 7x7 with stride 2 and then a 3x3 maximum with stride 2. Otherwise one convolution of
    that kernel and stride, which is faster: 4 keeps the later resolutions, 8 halves them."""
    pool: str = "mean"
    """"mean" over the last feature map, as published; "flatten" of that map; or "maps" for the maps of all stages."""
    dtype: Any = jnp.float32
    """dtype of the computation."""
    devices: Devices | None = None
    """Devices that share the statistics of BatchNorm; None for separate statistics on each device."""

    @nn.compact
    def __call__(
        self, image: Float[Array, "batch height width 3"], *, train: bool
    ) -> Float[Array, "batch feature"] | tuple[Float[Array, "batch _ _ _"], ...]:
        """Returns float32 features, or with `pool` "maps" the maps of all stages in `dtype`, finest first."""
        conv, norm = partial(convolution, dtype=self.dtype), batch_norm(train, self.dtype, self.devices)
        x = image.astype(self.dtype)
        if self.patch:
            x = nn.relu(norm(name="bn1")(conv(self.width, self.patch, self.patch, padding="VALID", name="conv1")(x)))
        else:
            x = nn.relu(norm(name="bn1")(conv(self.width, 7, 2, name="conv1")(x)))
            # PyTorch pads a maximum with -infinity; after the ReLU, zeros are equivalent.
            x = maximum(jnp.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)]))
        stages, bottleneck = ARCHITECTURES[self.depth]
        maps = ()
        for i, blocks in enumerate(stages):
            for j in range(blocks):
                stride = 2 if i > 0 and j == 0 else 1
                x = Block(self.width * 2**i, stride, bottleneck, conv, norm, name=f"layer{i + 1}_{j}")(x)
            maps += (x,)
        if self.pool == "maps":
            return maps
        x = x.astype(jnp.float32)
        return jnp.mean(x, axis=(1, 2)) if self.pool == "mean" else x.reshape(x.shape[0], -1)
