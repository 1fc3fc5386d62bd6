"""Configurations of the paper's experiments: their data, and the supervision and epochs of their arms.

Each experiment has a *source*, hands with 3D labels, and a *target*, the domain of interest, for which an arm has 3D
labels, 2D labels or no labels. A file of `configs/` lists the arms of one table; this module has the common settings.

Limits are fitted to the 3D-labelled training data of the arm. For a weakly supervised arm this is the source, which
gives the paper's *approximated* limits. Only the arm `computed` has the paper's *computed* limits, from the target's 3D
labels.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bmc_jax.config import Biomechanics, Config, Data, Network, Optimizer, Source, Training, Weights
from bmc_jax.data import sources


class UnavailableArm(ValueError):
    """An arm needs labels that the data does not have."""


@dataclass(frozen=True)
class Arm:
    """One row of an experiment's table."""

    name: str
    """Argument of `get_config`."""
    words: str
    """Short description."""
    after: str = ""
    """Arm with which this arm is compared and from which it differs in one setting; empty for none."""
    paper: str = ""
    """Row in `published.ROWS`; empty for none."""
    fraction: float | None = None
    """Share of the target's training images with 3D labels, in experiments on this share (Figure 5)."""


@dataclass(frozen=True)
class Supervision:
    """Labels, losses and limits of an arm."""

    source: bool = True
    """Whether the arm trains on the source, with 3D labels."""
    target: str = "2d"
    """Labels of the target: "2d", "3d", or "" to leave its images out."""
    terms: tuple[str, ...] = ()
    """Biomechanical losses, keys of `TERMS`."""
    fraction: float = 0.0
    """Share of the target's images with 3D labels, in addition to 2D labels of all: half of the target's part of each
    batch."""
    independent: bool = False
    """Whether flexion and abduction are limited independently."""
    computed: bool = False
    """Whether limits are fitted to the target. Its 3D labels have no other use in this case."""
    refine: bool = True
    """Whether the root depth is refined."""


TERMS = {"bl": "bone_length", "rb": "palm", "a": "joint_angle"}
"""Field of `config.Weights` of each biomechanical loss."""
ALL = tuple(TERMS)
COUNT = 20_480
"""Number of rendered hands of each domain."""
ANY_VIEW = "any_view"
"""Domain of bare hands seen from any side."""
PERCENTAGES = (2, 5, 10, 20, 40)
"""Percentages of the target's images with 3D labels in Figure 5."""

#: Supervision of the arm of each name.
SUPERVISIONS = {
    "source": Supervision(target=""),
    "2d": Supervision(),
    "bl": Supervision(terms=("bl",)),
    "bl+rb": Supervision(terms=("bl", "rb")),
    "bl+rb+a": Supervision(terms=ALL),
    "independent": Supervision(terms=ALL, independent=True),
    "computed": Supervision(terms=ALL, computed=True),
    "full": Supervision(target="3d"),
    "full+bmc": Supervision(target="3d", terms=ALL),
    "norefine": Supervision(target="3d", refine=False),
    "alone": Supervision(source=False, target="3d"),
    "alone+bmc": Supervision(source=False, target="3d", terms=ALL),
    "alone-norefine": Supervision(source=False, target="3d", refine=False),
    **{f"{part}": Supervision(source=False, fraction=part / 100) for part in PERCENTAGES},
    **{f"{part}+bmc": Supervision(source=False, fraction=part / 100, terms=ALL) for part in PERCENTAGES},
}

#: Command that builds each dataset.
BUILDS = {
    "rhd": "bmc data build rhd --source RHD_published_v2 --out data",
    "freihand": "bmc data build freihand --source FreiHAND_pub_v2 --out data",
    "freihand_gs": "bmc data build freihand --source FreiHAND_pub_v2 --versions gs --name freihand_gs --out data",
    "ho3d_v1": "bmc data build ho3d_v1 --source Task3 --out data",
    "dexter_object": "bmc data build dexter_object --source dexter+object --out data",
    "photos": "bmc data build coco_hand --source photographs --name photos --out data",
}
#: Approximate size of each split, from which the epochs of arms with fewer images are computed.
ROWS = {
    ("rhd", "train"): 41_258,
    ("freihand", "train"): 117_216,
    ("freihand", "validation"): 13_024,
    ("freihand_gs", "train"): 29_304,
    ("freihand_gs", "validation"): 3_256,
    ("ho3d_v1", "train"): 10_500,
    ("photos", "train"): 5_400,
}


def paper(*targets: Source, test: str) -> Config:
    """Returns the paper's network and schedule, the defaults of `config`: ResNet-50, 128 pixels, 70 epochs of SGD.

    RHD is half of each batch. `targets` are the other half, by their shares.
    """
    return Config(data=Data(train=(Source("rhd", labels="3d"), *targets), test=(test,)))


def paper_validation() -> Config:
    """Returns the setup of Tables 2 to 6: FreiHAND's training images, evaluated on its held-out ones."""
    return paper(Source("freihand", labels="2d"), test="freihand:validation")


def paper_test() -> Config:
    """Returns the setup of Tables 7 and 8: all of FreiHAND's training images, evaluated on its official test."""
    return paper(*_train_and_validation("freihand"), test="freihand")


def paper_fractions() -> Config:
    """Returns the setup of Figure 5: that of Table 7 with only the green-screen version of each image.

    Thus no image has 3D labels in another version.
    """
    return paper(*_train_and_validation("freihand_gs", green_screen=True), test="freihand_gs")


def _train_and_validation(name: str, **options: bool) -> tuple[Source, ...]:
    """Returns both splits of a dataset, with shares that make all images equally frequent."""
    shares = {"train": 0.45, "validation": 0.05}
    return tuple(Source(name, split, "2d", share=share, **options) for split, share in shares.items())


def points(source: str = "mannequin", target: str = ANY_VIEW) -> Config:
    """Returns the setup with noisy 2D joints as input instead of images. `target` may be a file of 3D joints."""
    target_count = COUNT if sources.kind(target).unlimited else 0
    return Config(
        data=Data(
            train=(Source(source, labels="3d", count=COUNT), Source(target, labels="2d", count=target_count)),
            test=(source, target),
            test_count=2_048,
            batch_size=512,
            augment=False,
            cache="device",
        ),
        network=Network(input="points", noise=1.0),
        weights=Weights(bone_length=1.5, palm=0.5, joint_angle=1.5),
        biomechanics=Biomechanics(ramp=0.1),
        optimizer=Optimizer(name="adamw", rate=1e-3, weight_decay=1e-2, schedule="cosine", warmup=0.05, clip=10.0),
        training=Training(epochs=12.0, log_every=100, save_every=500, steps_per_dispatch=20),
    )


def synthetic() -> Config:
    """Returns the setup with rendered, gloved hands for two CPU cores, chosen by trials: see docs/reproduction.md.

    The losses have no effect without accurate 2D joints, because they act along wrong rays. After minutes of training,
    the error of a small network is 13 of 128 pixels on bare hands, and 5 of 128 on gloves with two stages.
    """
    return Config(
        data=Data(
            train=(
                Source("gloved_mannequin", labels="3d", count=COUNT),
                Source("gloved_any_view", labels="2d", count=COUNT),
            ),
            test=("gloved_mannequin", "gloved_any_view"),
            test_count=1_024,
            image_size=64,
            batch_size=64,
            augment=False,
            keep_rendered=True,
        ),
        network=Network(depth=10, width=16, patch=4, pool="heatmaps", lift=True, detach_pixels=True),
        weights=Weights(bone_length=1.5, palm=0.5, joint_angle=1.5),
        # The signs of depths are learned from the source first: the losses do not determine them, but would fix them.
        biomechanics=Biomechanics(start=0.3, ramp=0.3),
        optimizer=Optimizer(name="adamw", rate=3e-3, weight_decay=0.05, schedule="cosine", warmup=0.05, clip=10.0),
        training=Training(epochs=2.5, log_every=80, save_every=1_000),
    )


def with_fields(config: Config, fields: Mapping[str, object]) -> Config:
    """Returns a configuration with other values of fields "GROUP.NAME"."""
    for field, value in fields.items():
        group, name = field.split(".")
        config = dataclasses.replace(config, **{group: dataclasses.replace(getattr(config, group), **{name: value})})
    return config


def photos() -> Config:
    """Returns `synthetic` with bare hands from any side as source and the built dataset `photos` as target.

    `photos` has 2D labels only, and a tenth of its images in the split "test".
    """
    config = synthetic()
    train = (Source(ANY_VIEW, labels="3d", count=COUNT), Source("photos", labels="2d"))
    return dataclasses.replace(config, data=dataclasses.replace(config.data, train=train, test=("photos",)))


BASES = {"paper": paper_validation, "synthetic": synthetic, "points": points, "photos": photos}
"""Setup of Tables 2 to 6 for each value of `--data`."""
WITHOUT_3D = ("photos",)
"""Values of `--data` whose target has no 3D labels."""


def get_config(
    experiment: str, argument: str, arms: Sequence[Arm], bases: Mapping[str, Callable[[], Config]] = BASES
) -> Config:
    """Returns the configuration of an arm of an experiment.

    Args:
      experiment: name of the experiment, for messages.
      argument: "ARM" for the first of `bases`, or "ARM@DATA".
      arms: arms of the experiment.
      bases: setups by the value of `--data`.

    Raises:
      UnavailableArm: if the arm needs 3D labels of the target and the data has none.
      ValueError: if the arm or the data is unknown.
    """
    name, _, data = argument.partition("@")
    supervision, data = arm_supervision(name, arms), data or next(iter(bases))
    if data not in bases:
        raise ValueError(f"{experiment}: expected data of {', '.join(bases)}, got {data!r}; choose one")
    if data in WITHOUT_3D and (supervision.target == "3d" or supervision.fraction or supervision.computed):
        raise UnavailableArm(f"{experiment} has no arm {name!r} on {data}, which have no 3D labels")
    config = supervise(bases[data](), supervision)
    # The name omits the experiment, so that tables in one folder share their common runs.
    return dataclasses.replace(config, name=f"{name}@{data}")


def arm_supervision(name: str, arms: Sequence[Arm]) -> Supervision:
    """Returns the supervision of the arm with this name. Raises ValueError if it is not in `arms`."""
    names = [arm.name for arm in arms]
    if name not in names:
        raise ValueError(f"expected an arm of {', '.join(names)}, got {name!r}; choose one")
    return SUPERVISIONS[name]


def supervise(config: Config, supervision: Supervision) -> Config:
    """Returns the configuration of an arm.

    An arm without the source or the target has the same number of batches, which lack those images.

    Args:
      config: configuration of the experiment. `data.train` is the source followed by one or more targets, and `weights`
        are those of the enabled terms.
      supervision: supervision of the arm.
    """
    source, *targets = config.data.train
    train = (source,) if supervision.source else ()
    if supervision.fraction:
        halves = [dataclasses.replace(target, share=target.share / 2) for target in targets]
        train += tuple(
            dataclasses.replace(half, labels="3d", count=round(supervision.fraction * _row_count(config, half)))
            for half in halves
        )
        train += tuple(dataclasses.replace(half, labels="2d") for half in halves)
    elif supervision.target:
        train += tuple(dataclasses.replace(target, labels=supervision.target) for target in targets)
    share = sum(one.share for one in train)
    # An epoch has all rows once, so an arm with fewer rows needs more epochs for the same number of steps.
    rows, all_rows = (sum(_row_count(config, one) for one in several) for several in (train, config.data.train))
    longer = share * all_rows / rows
    train = tuple(dataclasses.replace(one, share=one.share / share) for one in train)
    off = {weight: 0.0 for term, weight in TERMS.items() if term not in supervision.terms}
    fit_to = {"source": f"fit:{targets[0].name}"} if supervision.computed else {}
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, train=train, batch_size=round(share * config.data.batch_size)),
        network=dataclasses.replace(config.network, refine=supervision.refine),
        weights=dataclasses.replace(config.weights, **off),
        biomechanics=dataclasses.replace(config.biomechanics, independent=supervision.independent),
        limits=dataclasses.replace(config.limits, **fit_to),
        optimizer=dataclasses.replace(config.optimizer, decay_epochs=longer * config.optimizer.decay_epochs),
        training=dataclasses.replace(config.training, epochs=longer * config.training.epochs),
    )


def _row_count(config: Config, source: Source) -> int:
    """Returns the number of rows of a source, or that of the first source if it is unknown."""
    return source.count or ROWS.get((source.name, source.split), config.data.train[0].count) or 1
