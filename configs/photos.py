"""The network for photographs: 2D joints by heatmaps, then depth, on two CPU cores. See docs/reproduction.md.

    bmc data pseudo-labels photographs/annotations.json --landmarks photographs/mediapipe.npz --out photographs
    bmc data build coco_hand --source photographs --name photos --out data
    bmc train --config=configs/photos.py --workdir=runs/photos/lifter
    bmc train --config=configs/photos.py:trunk@runs/photos/lifter --workdir=runs/photos/trunk
    bmc train --config=configs/photos.py:bmc@runs/photos/trunk,runs/photos/lifter --workdir=runs/photos/bmc

The second stage is first trained alone, on noisy 2D joints of hands that are not rendered, which takes minutes. The
trunk trains the first stage on images of 64 pixels with a constant learning rate, so it can be stopped and continued at
any time; its second stage is not used. An arm begins with the first stage of the trunk and the second stage of the
first run. It trains on images of 96 pixels while the rate decays to zero; all arms have the same steps with the same
images:

    2d        2D labels of the photographs
    bmc       and the biomechanical losses
    pseudo    and pseudo-labels of depth, from MediaPipe's landmarks
"""

from bmc_jax.config import (
    Augmentation,
    Biomechanics,
    Config,
    Data,
    Limits,
    Network,
    Optimizer,
    Source,
    Training,
    Weights,
)

ARM_NAMES = ("2d", "bmc", "pseudo")
USAGE = f"expected '', trunk@LIFTER or ARM@TRUNK,LIFTER with folders of runs and an arm of {', '.join(ARM_NAMES)}"
PHOTOGRAPHS = 5_100
"""Number of photographs in the split "train", for the length of an epoch."""
NO_BIOMECHANICS = {"bone_length": 0.0, "palm": 0.0, "joint_angle": 0.0}
BIOMECHANICS = {"bone_length": 1.5, "palm": 0.5, "joint_angle": 1.5}


def get_config(argument: str = "") -> Config:
    stage, _, begin = argument.partition("@")
    if not argument:
        return lifter()
    if stage not in ("trunk", *ARM_NAMES) or not begin:
        raise ValueError(f"{USAGE}, got {argument!r}; give one of these")
    return trunk(begin) if stage == "trunk" else arm(stage, begin)


def lifter() -> Config:
    """Returns the configuration of the second stage alone, with points as noisy as those of the first stage."""
    return Config(
        name="photos",
        data=Data(
            train=(Source("any_view", labels="3d", count=81_920, share=1.0),),
            test=("any_view:validation",),
            image_size=96,
            batch_size=512,
            augment=False,
            cache="device",
        ),
        network=Network(input="points", noise=3.0),
        weights=Weights(**NO_BIOMECHANICS),
        limits=Limits(source="fit:any_view"),
        optimizer=Optimizer(name="adamw", rate=1e-3, weight_decay=1e-2, schedule="cosine", warmup=0.05),
        training=Training(epochs=12.0, log_every=100, save_every=500, steps_per_dispatch=20),
    )


def trunk(begin: str) -> Config:
    """Returns the configuration of the trunk, with the second stage of the run `begin`."""
    return _images(
        "trunk",
        begin,
        size=64,
        rendered=4_096,
        share=0.125,
        steps=200_000,
        weights=NO_BIOMECHANICS,
        schedule="step",
        rate=2e-3,
    )


def arm(name: str, begin: str) -> Config:
    """Returns the configuration of an arm, with the stages of the runs `begin`."""
    weights = NO_BIOMECHANICS if name == "2d" else BIOMECHANICS
    labels = "3d" if name == "pseudo" else "2d"
    return _images(
        name,
        begin,
        size=96,
        rendered=12_288,
        share=0.25,
        steps=1_500,
        weights=weights,
        schedule="cosine",
        rate=1e-3,
        labels=labels,
    )


def _images(
    name: str,
    begin: str,
    *,
    size: int,
    rendered: int,
    share: float,
    steps: int,
    weights: dict[str, float],
    schedule: str,
    rate: float,
    labels: str = "2d",
) -> Config:
    batch = 32
    return Config(
        name=f"photos {name}",
        data=Data(
            train=(
                Source("any_view", labels="3d", count=rendered, share=share),
                Source("photos", labels=labels, share=1 - share, green_screen=True),
            ),
            test=("photos:validation",),
            image_size=size,
            batch_size=batch,
            keep_rendered=True,
            cache="host",
            # The hands in FreiHAND have all orientations. Boxes of detectors vary less than the defaults.
            augmentation=Augmentation(rotation=180.0, scale=0.2, translation=0.08),
        ),
        network=Network(
            depth=10,
            width=24,
            patch=4,
            pool="heatmaps",
            heatmap_channels=48,
            lift=True,
            detach_pixels=True,
            pretrained=begin,
        ),
        weights=Weights(**weights, heatmaps=1.0),
        biomechanics=Biomechanics(ramp=0.1),
        limits=Limits(source="fit:any_view"),
        # With these `decay_epochs`, the "step" schedule of the trunk has a constant rate.
        optimizer=Optimizer(
            name="adamw", rate=rate, weight_decay=0.05, clip=10.0, ema=0.998, schedule=schedule, decay_epochs=1e6
        ),
        training=Training(
            epochs=steps * batch / (rendered + PHOTOGRAPHS),
            log_every=100,
            save_every=250,
            evaluate_every=500,
            evaluate_count=300,
        ),
    )
