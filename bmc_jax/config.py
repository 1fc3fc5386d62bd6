"""What a run can be told, with every default and its reason. `config_file` loads, checks and writes it.

The defaults are the paper's where it states them (ResNet-50, 128x128, SGD at 5e-3, 70 epochs, a tenth every 30 epochs).
A file in `configs/` has a function `get_config()` that returns a `Config` and names only what differs. On the command
line, `--config.optimizer.rate=0.01` reaches any field, `--config.data.train[1].count=500` one of a tuple.
"""

import math
from dataclasses import dataclass, field

from bmc_jax.core.losses import LossWeights


@dataclass(slots=True)
class Source:
    """One set of training images."""

    name: str = "synthetic"
    """A domain of `bmc_jax.synthesis`, rendered before training unless `fresh`; or a built dataset: the name of a
    folder under `data.directory`, or the path of one. With network.input "points" also an .npy file of 3D joints."""
    split: str = "train"
    """Of that domain or dataset."""
    labels: str = "3d"
    """What the training may see: "3d" (2D and 3D joints) or "2d" alone."""
    count: int = 0
    """Images: the first so many; 0 for all of a built dataset. Of a rendered domain it must be said."""
    fresh: bool = False
    """Whether a rendered domain's images are rendered as training goes on, in the step where that is on an accelerator,
    and none of them twice: `count` is then what an epoch counts, and of how many poses limits are fitted to."""
    share: float = 0.5
    """Of every batch. Both kinds of supervision are in each step, so their losses are balanced by weights alone."""
    green_screen: bool = False
    """Whether these are photographs before a green screen, which augmentation then puts before something else."""


@dataclass(slots=True)
class Augmentation:
    """How much training images are changed. The paper does not say what it did; these are ours. 0 turns a part off."""

    rotation: float = 45.0
    """Degrees that the picture is turned by at most, either way; as PeCLR's, the authors' next work."""
    scale: float = 0.25
    """The crop shows up to 1 + this times more or less of the scene, log-uniform; so far are detectors' boxes off."""
    translation: float = 0.1
    """Share of the crop's side that it is shifted by at most, along each axis; PeCLR's 15 pixels of 128."""
    brightness: float = 0.3
    """The light is multiplied by 1 - this to 1 + this."""
    contrast: float = 0.3
    """Differences from the image's mean grey are multiplied by 1 - this to 1 + this."""
    saturation: float = 0.3
    """Differences from each pixel's own grey are multiplied by 1 - this to 1 + this."""
    hue: float = 0.03
    """Turns of the colour circle at most, either way. Lamps move skin so far; 0.1 makes it green or purple."""
    blur: float = 1.0
    """Pixels, largest deviation of a Gaussian blur: hands out of focus, or enlarged from few pixels."""
    noise: float = 8.0
    """Grey levels, largest deviation of the noise: a small sensor's in a dim room."""
    erasing: float = 0.2
    """Probability that a rectangle is covered by one colour, as things cover hands. Labels stay."""
    erasing_area: tuple[float, float] = (0.02, 0.15)
    """Smallest and largest share of the image under the rectangle: from a finger to a third of the hand."""


@dataclass(slots=True)
class Data:
    train: tuple[Source, ...] = field(
        default_factory=lambda: (
            Source("mannequin", labels="3d", count=12_288),
            Source("real_like", labels="2d", count=12_288),
        )
    )
    """The paper's setting: 3D labels from a renderer, 2D labels from the domain that counts. `mannequin` is the domain
    furthest from `real_like`, where training on it alone fails as the paper's synthetic data does. With fewer than
    about 12,000 images of each a small network learns them by heart."""
    test: tuple[str, ...] = ("mannequin", "real_like")
    """Evaluated: rendered domains and built datasets, their split "test" or, as `name:split`, another."""
    test_count: int = 1_024
    """Images of each rendered test domain: the standard error of a mean pose error is then about 2 % of it. Built
    datasets are evaluated whole."""
    directory: str = "data"
    """Folder of the built datasets."""
    keep_rendered: bool = False
    """Whether rendered images are written there, for the next run that asks for the same: the other arms of an
    experiment, or this run going on after a stop. 12 KiB an image of 64 pixels, 48 KiB one of 128."""
    image_size: int = 128
    """Side of the crop, pixels; the paper's."""
    margin: float = 1.5
    """Side of the crop over the longer side of the hand's box, which holds the joints: flesh and a detector's error lie
    around it. Rendered domains have a distance of their own, `fill`."""
    context: float = 1.5
    """Side of the square that is kept of an image over the crop's, when there is augmentation: room to turn the crop by
    45 degrees, which needs 1.41, or to shift it. Memory and decoding grow with its square."""
    augment: bool = True
    """Whether training images are changed at random. Without, they are the central crops."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """By how much."""
    batch_size: int = 128
    """Images a step over all devices. The paper does not say."""
    cache: str = "auto"
    """Where training images wait: in "device" memory, in "host" memory, or with "none", if built, on disk and
    decoded for every batch; "auto" is the first of these with room. The batches are the same."""
    workers: int = 0
    """Threads that decode images; 0 for as many as there are cores."""


@dataclass(slots=True)
class Network:
    input: str = "image"
    """"image", or "points": the 2D joints themselves go into a small MLP, and no image is rendered or read (see
    `models.lifting`). `depth`, `width`, `patch`, `pool` and `dtype` are the ResNet's alone."""
    noise: float = 0.0
    """Standard deviation, in pixels of the crop, by which the points that go in are off; the labels are not."""
    depth: int = 50
    """Layers of the ResNet, 10, 18, 34 or 50; the paper's is 50."""
    width: int = 64
    """Channels of its first stage; the published network's."""
    patch: int = 0
    """0 for the published stem; 4 or 8 for one convolution of that kernel and stride, which a CPU can afford."""
    pretrained: str = ""
    """File of the ResNet's weights to begin with, under torchvision's names, `.safetensors` or with torch `.pth`; empty
    for random ones. Needs depth 18, 34 or 50, width 64 and patch 0. A run that goes on from a checkpoint does not read
    it."""
    pool: str = "mean"
    """"mean" over the last feature map, as published; "flatten" keeps its places, from which a small network that is
    trained for minutes reads pixels far better; "heatmaps" reads each joint off maps of its own, better still."""
    lift: bool = False
    """Whether depths are told from the 2D joints that heatmaps found, and not from the image: see
    `models.two_stage`. Needs `pool` "heatmaps"."""
    dtype: str = "float32"
    """Of the ResNet's computation. "bfloat16" halves time and memory on accelerators; parameters, statistics, geometry
    and losses stay float32."""
    detach_root_depth: bool = True
    """Keeps the gradient from running through the root depth, where it is huge if the scale bone points along its ray.
    In a lifting trial the depth error on the 2D-labelled domain was 12.9 mm without and 16.1 mm with that gradient."""
    detach_pixels: bool = False
    """Keeps the gradient of the biomechanical losses from the pixels, so that they move depths only: where pixels are
    is for 2D labels to say."""
    refine: bool = True
    """Whether an MLP corrects the root depth that the quadratic finds (Eq. 8, Table 3)."""


@dataclass(slots=True)
class Weights:
    """Of the terms of Eq. 10 and Eq. 9. The paper does not print its own; these are ours."""

    joints_2d: float = LossWeights.joints_2d
    relative_depth: float = LossWeights.relative_depth
    root_depth: float = LossWeights.root_depth
    bone_length: float = LossWeights.bone_length
    palm: float = LossWeights.palm
    joint_angle: float = LossWeights.joint_angle


@dataclass(slots=True)
class Biomechanics:
    """How the biomechanical terms are taken."""

    angle_mode: str = "euclidean"
    """Distance to the angle hull: "euclidean" in the plane of the two angles, or "circle_l1", "circle_l1_squared"."""
    independent: bool = False
    """Whether flexion and abduction are limited each by itself (Table 5), not together by their hull."""
    detach_frames: bool = False
    """Whether a bone's angle loss is kept from moving its parents through their frames."""
    start: float = 0.0
    """Share of training for which the terms are off: on wrong pixels they act on wrong rays and hinder the 2D term."""
    ramp: float = 0.05
    """Share of training over which they then grow linearly to their weights."""


@dataclass(slots=True)
class Limits:
    source: str = "fit"
    """"fit" to the 3D-labelled training poses, and only those; or "fit:NAME", to the 3D poses of the training split of
    another domain, dataset or file of joints; or a preset's name, or a limits file."""
    percentiles: tuple[float, float] = (0.0, 100.0)
    """Of the training poses. Rendered hands have no outliers to cut off; real annotations have."""
    vertices: int = 16
    """Of each angle hull, outer approximation: more than that changes no area noticeably."""
    angle_margin: float = 0.0
    """Degrees by which hulls, spread and curvature are widened. A hinge's abduction hardly varies: without a margin its
    hull is a needle."""
    length_margin: float = 0.0
    """Share by which bones may be longer or shorter than any seen."""


@dataclass(slots=True)
class Optimizer:
    name: str = "sgd"
    """"sgd" (the paper's) or "adamw", which converges in far fewer steps on small budgets."""
    rate: float = 5e-3
    """Peak learning rate; the paper's."""
    momentum: float = 0.9
    """Of SGD; the paper does not say. The usual value."""
    nesterov: bool = True
    weight_decay: float = 1e-4
    """On kernels only, not on biases and norms: added to the gradient by SGD, decoupled in AdamW. The usual value."""
    clip: float = 10.0
    """Norm that the whole gradient is scaled down to. Rays that graze the hand make rare, huge gradients."""
    warmup: float = 0.0
    """Share of training over which the rate first grows linearly from zero."""
    schedule: str = "step"
    """"step": times `decay` every `decay_epochs` (the paper's). "cosine": down to zero at the end."""
    decay: float = 0.1
    decay_epochs: float = 30.0
    accumulate: int = 1
    """Parts that each device takes its share of a batch in, for batches that do not fit into memory. The gradient is
    that of the whole; BatchNorm normalises each part by itself."""
    ema: float = 0.0
    """Decay a step of the weights' exponential moving average, which evaluation then takes; 0 for none."""


@dataclass(slots=True)
class Training:
    epochs: float = 70.0
    """The paper's. One epoch has as many examples as all training sources together."""
    log_every: int = 20
    """Steps between lines of `metrics.jsonl`."""
    evaluate_every: int = 0
    """Steps between evaluations on `data.test` while training; 0 for none. A number that is looked at to choose by, a
    checkpoint or a setting, is no longer a test: evaluate on the entry `name:validation` for that."""
    evaluate_count: int = 512
    """Images of each entry that they measure: the first so many."""
    best: str = ""
    """Measure of an evaluation, "split/set/measure" as in `metrics.jsonl`, such as
    "validation/mannequin/joints_3d_mm": every evaluated state is then saved, and the best by it kept besides the
    newest; empty for none."""
    picture_every: int = 0
    """Steps between pictures of what the network says of some of those images; 0 for none."""
    wandb: str = ""
    """Project of Weights & Biases that is told the metrics too, offline if `WANDB_MODE` says so; empty for none."""
    save_every: int = 500
    """Steps between checkpoints; also saved at the end and on SIGTERM or SIGINT."""
    keep: int = 2
    """Newest checkpoints kept: one to go on from if the other is damaged."""
    check_replicas: int = 0
    """Steps between comparisons of the devices' copies of the state, to the bit; 0 for never."""
    steps_per_dispatch: int = 1
    """Steps in one call, for networks so small that Python is what limits them. Needs `data.cache` "device"; what is
    logged is the last step's. Not for images on a CPU, where a convolution inside such a call is far slower."""


@dataclass(slots=True)
class Config:
    name: str = "default"
    """Of the experiment, for logs and reports."""
    seed: int = 0
    """Of images, weights and batch order."""
    data: Data = field(default_factory=Data)
    network: Network = field(default_factory=Network)
    weights: Weights = field(default_factory=Weights)
    biomechanics: Biomechanics = field(default_factory=Biomechanics)
    limits: Limits = field(default_factory=Limits)
    optimizer: Optimizer = field(default_factory=Optimizer)
    training: Training = field(default_factory=Training)


def steps(config: Config, epochs: float | None = None) -> int:
    """Training steps in that many epochs, by default all of the run's; at least one.

    Raises ValueError if a source's count is still to be filled in, by `sources.resolve`.
    """
    if not all(source.count for source in config.data.train):
        raise ValueError("a source's count is 0, all of it: resolve the configuration with sources.resolve first")
    examples = sum(source.count for source in config.data.train)
    return max(1, round((config.training.epochs if epochs is None else epochs) * examples / config.data.batch_size))


def stored_size(config: Config) -> int:
    """Side in pixels of the square that is kept of a training image: the crop, and if there is augmentation the same
    number of pixels more on every side of it."""
    size = config.data.image_size
    return size + 2 * math.ceil(size * (config.data.context - 1) / 2) if config.data.augment else size
