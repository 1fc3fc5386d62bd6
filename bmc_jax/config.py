"""Settings of a run, with their defaults and the reasons for them. `training.config_io` loads, checks and writes them.

The defaults are those of the paper if it states them (ResNet-50, 128x128, SGD at 5e-3, 70 epochs, decay by 10 every 30
epochs). A file in `configs/` has a function `get_config()` that returns a `Config` and sets only the fields that
differ. On the command line, `--config.optimizer.rate=0.01` sets a field, and `--config.data.train[1].count=500` a field
in a tuple.
"""

import math
from dataclasses import dataclass, field

from bmc_jax.core.losses import LossWeights


@dataclass(slots=True)
class Source:
    """A set of training images."""

    name: str = "synthetic"
    """A domain of `bmc_jax.synthesis`, rendered before training unless `fresh`; or a built dataset, given by the name
    of a folder in `data.directory` or by its path. With network.input "points", also an .npy file of 3D joints."""
    split: str = "train"
    """Split of the domain or dataset."""
    labels: str = "3d"
    """Labels used in training: "3d" (2D and 3D joints) or "2d"."""
    count: int = 0
    """Number of images, from the start; 0 for all images of a built dataset. Required for a rendered domain."""
    fresh: bool = False
    """Whether images of a rendered domain are rendered during training and used once, on an accelerator as part of the
    step. `count` is then the length of an epoch and the number of poses to which limits are fitted."""
    share: float = 0.5
    """Share of each batch. All steps have both kinds of supervision, so only the weights balance their losses."""
    green_screen: bool = False
    """Whether these are photographs in front of a green screen, which augmentation replaces by a random background."""


@dataclass(slots=True)
class Augmentation:
    """Strengths of the augmentation. The paper does not state them; these are ours. 0 disables a part."""

    rotation: float = 45.0
    """Largest rotation in either direction, degrees; as in PeCLR, the authors' next work."""
    scale: float = 0.25
    """The crop's side is multiplied or divided by up to 1 + this, log-uniform, like the error of detectors' boxes."""
    translation: float = 0.1
    """Largest shift along each axis relative to the crop's side; 15 of 128 pixels in PeCLR."""
    brightness: float = 0.3
    """Colours are multiplied by 1 - this to 1 + this."""
    contrast: float = 0.3
    """Differences from the mean grey of the image are multiplied by 1 - this to 1 + this."""
    saturation: float = 0.3
    """Differences from the grey of each pixel are multiplied by 1 - this to 1 + this."""
    hue: float = 0.03
    """Largest rotation of hues in either direction, turns. Lamps shift skin by this much; 0.1 makes it green."""
    blur: float = 1.0
    """Largest standard deviation of a Gaussian blur, pixels, for hands out of focus or enlarged from few pixels."""
    noise: float = 8.0
    """Largest standard deviation of the noise, grey levels, as of a small sensor in a dim room."""
    erasing: float = 0.2
    """Probability that a rectangle of one colour covers part of the image, like objects. Labels do not change."""
    erasing_area: tuple[float, float] = (0.02, 0.15)
    """Smallest and largest area of the rectangle relative to the image: from a finger to a third of the hand."""


@dataclass(slots=True)
class Data:
    """Training and test data, crops and caching."""

    train: tuple[Source, ...] = field(
        default_factory=lambda: (
            Source("mannequin", labels="3d", count=12_288),
            Source("real_like", labels="2d", count=12_288),
        )
    )
    """The setting of the paper: 3D labels from a renderer, 2D labels from the target domain. `mannequin` is the domain
    furthest from `real_like`: training on it alone fails there, like training on the paper's synthetic data. A small
    network memorizes fewer than about 12,000 images of each."""
    test: tuple[str, ...] = ("mannequin", "real_like")
    """Rendered domains and built datasets for evaluation: their split "test" or, as `name:split`, another split."""
    test_count: int = 1_024
    """Number of images of each rendered test domain: the standard error of a mean pose error is about 2 % of the error.
    All images of built datasets are used."""
    directory: str = "data"
    """Folder of built datasets."""
    keep_rendered: bool = False
    """Whether rendered images are stored in `directory` for later runs with the same images: other arms of an
    experiment, or this run when it is resumed. An image of 64 pixels takes 12 KiB, one of 128 pixels 48 KiB."""
    image_size: int = 128
    """Side of the crop, pixels; the paper's value."""
    margin: float = 1.5
    """Side of the crop relative to the longer side of the box of the joints: the flesh extends beyond this box, and
    detectors have errors. Rendered domains use `Domain.fill` instead."""
    context: float = 1.5
    """Side of the stored square relative to the crop, with augmentation: a rotation of the crop by 45 degrees needs
    1.41, and shifts need more. Memory and decoding time grow with its square."""
    augment: bool = True
    """Whether training images are augmented. Otherwise they are the central crops."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    batch_size: int = 128
    """Images per step over all devices. The paper does not state it."""
    cache: str = "auto"
    """Where training images are stored: "device" memory, "host" memory, or "none" (built datasets stay on disk and are
    decoded for each batch). "auto" is the first of these with enough room. The batches are the same."""
    workers: int = 0
    """Number of threads that decode images; 0 for one per core."""


@dataclass(slots=True)
class Network:
    """Architecture and precision of the network, and the gradients that it stops."""

    input: str = "image"
    """"image", or "points": the input of a small MLP is the 2D joints, and no images are rendered or read (see
    `models.lifting_network`). `depth`, `width`, `patch`, `pool` and `dtype` apply to the ResNet only."""
    noise: float = 0.0
    """Standard deviation of the noise on input "points", pixels of the crop. Labels have no noise."""
    depth: int = 50
    """Number of layers of the ResNet: 10, 18, 34 or 50; 50 in the paper."""
    width: int = 64
    """Channels of the first stage; as in the published network."""
    patch: int = 0
    """0 for the published stem; 4 or 8 for one convolution with this kernel and stride, fast enough for a CPU."""
    pretrained: str = ""
    """Initial weights; empty for random weights. One option is a file of the ResNet with torchvision's names,
    `.safetensors` or, with torch installed, `.pth`, which needs depth 18, 34 or 50, width 64 and patch 0. The other is
    the folder of a run of the same network or, with `lift`, of a network with `input` "points" for the second stage;
    its newest weights (averaged with `optimizer.ema`) are used. Several folders are separated by commas; each replaces
    the weights that it has. A resumed run does not read initial weights."""
    pool: str = "mean"
    """"mean" over the last feature map, as published; "flatten", which keeps positions, so that a small network learns
    pixels far better within minutes; "heatmaps", which computes each joint from its own maps and is better still."""
    heatmap_channels: int = 0
    """Channels of the maps from which heatmaps are computed; 0 for four times `width`. They take most of the time of a
    narrow network: at width 32 and 96 pixels, 64 instead of 128 channels double the images per second."""
    lift: bool = False
    """Whether depths are predicted from the 2D joints of heatmaps instead of from the image (see
    `models.lifting_network.TwoStageNetwork`). Needs `pool` "heatmaps"."""
    batch_norm: int = 0
    """Number of neighbouring devices that compute BatchNorm's statistics together in training: 0 for all, 1 for
    separate statistics. Smaller groups have fewer images and communicate less: two small messages per layer and step,
    none for 1. The running statistics are the mean over the groups."""
    dtype: str = "float32"
    """dtype of the ResNet's computation. "bfloat16" halves time and memory on accelerators; parameters, statistics,
    geometry and losses stay float32."""
    detach_root_depth: bool = True
    """Whether to stop gradients through the root depth, which are huge if the scale bone points along its ray. In a
    lifting trial, the depth error on the 2D-labelled domain was 12.9 mm without and 16.1 mm with these gradients."""
    detach_pixels: bool = False
    """Whether to stop gradients of the 3D joints to the pixels: the biomechanical losses then change depths only, and
    the 2D labels alone determine the pixels."""
    refine: bool = True
    """Whether an MLP corrects the root depth of the quadratic (Eq. 8, Table 3)."""


@dataclass(slots=True)
class Weights:
    """Weights of the terms of Eq. 9 and Eq. 10. The paper does not state them; these are ours."""

    joints_2d: float = LossWeights.joints_2d
    relative_depth: float = LossWeights.relative_depth
    root_depth: float = LossWeights.root_depth
    bone_length: float = LossWeights.bone_length
    palm: float = LossWeights.palm
    joint_angle: float = LossWeights.joint_angle
    density: float = LossWeights.density
    """Of the joint density of lengths, palm and angles, see `density`, which is not the paper's."""
    heatmaps: float = LossWeights.heatmaps
    """Weight of the divergence of each heatmap from a Gaussian about its label, a term that is not in the paper; needs
    `network.pool` "heatmaps"."""


@dataclass(slots=True)
class Biomechanics:
    """Variants and schedule of the biomechanical terms."""

    angle_mode: str = "euclidean"
    """Distance to the angle hull (Eq. 7): "euclidean" in the plane of both angles, "circle_l1", "circle_l1_squared"."""
    independent: bool = False
    """Whether flexion and abduction are limited independently (Table 5) instead of jointly by their hull."""
    detach_frames: bool = False
    """Whether to stop gradients of a bone's angle loss to its parents through their frames."""
    penalty: str = "absolute"
    """Function of the excess that is averaged: "absolute" (the paper's), "squared" or "relative", see
    `losses.constraints`."""
    margin: float = 0.0
    """Share by which the limits of the losses are narrower than those that poses are measured with."""
    repair: str = "none"
    """Repair of the network's poses by `bmc evaluate`: "none", along their "rays", or "free", see
    `repair.project_to_limits`."""
    start: float = 0.0
    """Share of training without the terms: while pixels are wrong, they act along wrong rays and hinder the 2D term."""
    ramp: float = 0.05
    """Share of training, after `start`, over which the terms grow linearly to their weights."""


@dataclass(slots=True)
class Limits:
    """Source of the limits, and settings of their fit."""

    source: str = "fit"
    """"fit" for a fit to the 3D-labelled training poses; "fit:NAME" for a fit to the 3D poses in the training split of
    another domain, dataset or file of joints; or the name of a preset; or a limits file."""
    percentiles: tuple[float, float] = (0.0, 100.0)
    """(low, high) percentile of the training poses. Real annotations have outliers, rendered hands do not."""
    vertices: int = 16
    """Number of vertices of each angle hull, an outer approximation: more vertices hardly change the area."""
    angle_margin: float = 0.0
    """Degrees by which hulls, spread and curvature are widened. The abduction of a hinge joint hardly varies: without a
    margin its hull is very thin."""
    length_margin: float = 0.0
    """Share by which bones may be longer or shorter than all samples."""


@dataclass(slots=True)
class Optimizer:
    """Optimizer and learning-rate schedule."""

    name: str = "sgd"
    """"sgd" (as in the paper) or "adamw", which needs far fewer steps on small budgets."""
    rate: float = 5e-3
    """Peak learning rate; the paper's value."""
    momentum: float = 0.9
    """Momentum of SGD. The paper does not state it; this is the usual value."""
    nesterov: bool = True
    """Whether SGD uses Nesterov momentum."""
    weight_decay: float = 1e-4
    """Weight decay of kernels, not of biases and BatchNorm; added to the gradient by SGD, decoupled in AdamW. This is
    the usual value."""
    clip: float = 10.0
    """Largest global norm of the gradient. Rays that graze the hand cause rare, huge gradients."""
    warmup: float = 0.0
    """Share of training over which the rate grows linearly from zero."""
    schedule: str = "step"
    """"step": the rate is multiplied by `decay` every `decay_epochs`, as in the paper. "cosine": it decays to zero."""
    decay: float = 0.1
    decay_epochs: float = 30.0
    accumulate: int = 1
    """Number of parts into which each device divides its share of a batch, for batches that exceed its memory. The
    gradient is that of the whole batch; BatchNorm normalizes each part separately."""
    frozen: str = ""
    """Modules that keep their initial weights, such as "lifting" or "backbone,head"; the statistics of their BatchNorm
    are still updated. Empty for none."""
    ema: float = 0.0
    """Decay per step of an exponential moving average of the weights, which evaluation uses; 0 for no average."""


@dataclass(slots=True)
class Training:
    """Length of training, evaluation, logging and checkpoints."""

    epochs: float = 70.0
    """Number of epochs; the paper's value. An epoch has as many examples as all training sources together."""
    log_every: int = 20
    """Steps between lines of `metrics.jsonl`."""
    evaluate_every: int = 0
    """Steps between evaluations on `data.test` during training; 0 for none. To choose a checkpoint or a setting, use an
    entry `name:validation`: test data used for a choice no longer measures generalization."""
    evaluate_count: int = 512
    """Number of images of each entry in these evaluations, from the start."""
    best: str = ""
    """Metric that selects the best checkpoint, "split/set/metric" as in `metrics.jsonl`, such as
    "validation/mannequin/joints_3d_mm". Each evaluated state is saved, and the best is kept in addition to the newest;
    empty for none."""
    picture_every: int = 0
    """Steps between pictures of predictions on some of these images; 0 for none."""
    wandb: str = ""
    """Project of Weights & Biases for the log, offline with `WANDB_MODE=offline`; empty for none."""
    save_every: int = 500
    """Steps between checkpoints. A checkpoint is also saved at the end and on SIGTERM or SIGINT."""
    keep: int = 2
    """Number of newest checkpoints to keep: two, in case one is damaged."""
    check_replicas: int = 0
    """Steps between bitwise comparisons of the devices' copies of the state; 0 for none."""
    peak_tflops: float = 0.0
    """Peak TFLOP/s of one device, in `network.dtype` and without sparsity, from its data sheet, for the MFU in the log;
    0 for no MFU."""
    mapping: str = "pmap"
    """Mapping of the step over the devices: "pmap", or "shard_map", which with several processes avoids the conversion
    of all arrays at each call. Both have bit-identical results."""
    profile: str = ""
    """START:STOP: steps START + 1 to STOP are traced by `jax.profiler` into the folder `profile` of the run; empty for
    none. START is at least 1, because the first step is compiled."""
    steps_per_dispatch: int = 1
    """Steps per call, for networks so small that the Python overhead limits the speed. Needs `data.cache` "device"; the
    metrics of the last step are logged. On a CPU it is not for images, since convolutions in such a call are far
    slower."""


@dataclass(slots=True)
class Config:
    """All settings of a run."""

    name: str = "default"
    """Name of the run, for logs and reports."""
    seed: int = 0
    """Seed of images, weights and batch order."""
    data: Data = field(default_factory=Data)
    network: Network = field(default_factory=Network)
    weights: Weights = field(default_factory=Weights)
    biomechanics: Biomechanics = field(default_factory=Biomechanics)
    limits: Limits = field(default_factory=Limits)
    optimizer: Optimizer = field(default_factory=Optimizer)
    training: Training = field(default_factory=Training)


def steps(config: Config, epochs: float | None = None) -> int:
    """Returns the number of training steps in `epochs`, by default those of the run; at least 1.

    Raises:
      ValueError: if the count of a source is 0, because `sources.resolve` was not called.

    Examples:
      >>> from bmc_jax import config
      >>> settings = config.Config()
      >>> settings.data.batch_size, config.steps(settings), config.steps(settings, epochs=1)
      (128, 13440, 192)
    """
    if not all(source.count for source in config.data.train):
        raise ValueError("data.train[:].count: expected positive numbers, got 0; call sources.resolve first")
    examples = sum(source.count for source in config.data.train)
    return max(1, round((config.training.epochs if epochs is None else epochs) * examples / config.data.batch_size))


def stored_size(config: Config) -> int:
    """Returns the side of a stored training image in pixels: that of the crop, plus borders with augmentation.

    Examples:
      >>> from bmc_jax import config
      >>> settings = config.Config()
      >>> settings.data.image_size, config.stored_size(settings)
      (128, 192)
    """
    size = config.data.image_size
    return size + 2 * math.ceil(size * (config.data.context - 1) / 2) if config.data.augment else size
