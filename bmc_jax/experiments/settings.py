"""The settings of the paper's experiments: which data, what each arm is told of it, and how long it is trained.

Each has a *source*, hands with 3D labels, and a *target*, the domain that counts, of which an arm sees 3D labels, 2D
labels or nothing. A file of `configs/` says which arms make up its table; what the tables have in common is here.

Limits are fitted to the 3D-labelled training data of the arm, so those of a weakly supervised arm are the source's:
what the paper calls *approximated*. Its *computed* ones, from the target's 3D labels, are the arm `computed` alone.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from bmc_jax.config import Biomechanics, Config, Data, Network, Optimizer, Source, Training, Weights
from bmc_jax.data import sources


class Unavailable(ValueError):
    """An arm that cannot be had with that data."""


@dataclass(frozen=True)
class Supervision:
    """What an arm is told."""

    source: bool = True
    """Whether it sees the source, with 3D labels."""
    target: str = "2d"
    """Labels of the target: "2d", "3d", or "" for none of its images."""
    terms: tuple[str, ...] = ()
    """The biomechanical losses, of `TERMS`."""
    fraction: float = 0.0
    """Share of the target's images whose 3D labels it sees besides: half of the target's part of each batch."""
    independent: bool = False
    """Whether each angle is limited by itself."""
    computed: bool = False
    """Whether limits are the target's. Its 3D labels are then used for them, and for nothing else."""
    refine: bool = True


#: The weight of each biomechanical loss.
TERMS = {"bl": "bone_length", "rb": "palm", "a": "joint_angle"}
ALL = tuple(TERMS)
#: Rendered hands of each domain, and the domain of bare ones seen from any side.
COUNT, ANY_VIEW = 20_480, "any_view"
#: Of the target's images, in percent, those with 3D labels in Figure 5.
PERCENTAGES = (2, 5, 10, 20, 40)

#: What the arm of each name is told.
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

#: The command that builds each dataset of these settings.
BUILDS = {
    "rhd": "bmc data build rhd --source RHD_published_v2 --out data",
    "freihand": "bmc data build freihand --source FreiHAND_pub_v2 --out data",
    "freihand_gs": "bmc data build freihand --source FreiHAND_pub_v2 --versions gs --name freihand_gs --out data",
    "ho3d_v1": "bmc data build ho3d_v1 --source Task3 --out data",
    "dexter_object": "bmc data build dexter_object --source dexter+object --out data",
    "photos": "bmc data build coco_hand --source photographs --name photos --out data",
}
#: About how many rows their splits have: arms with other data than the rest take as many steps by this.
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
    """The paper's network and schedule, which are the defaults of `config`: ResNet-50, 128 pixels, 70 epochs of SGD.

    RHD is half of each batch; `targets` are the other half, by their shares."""
    return Config(data=Data(train=(Source("rhd", labels="3d"), *targets), test=(test,)))


def paper_validation() -> Config:
    """Of Tables 2 to 6: FreiHAND's training images, measured on those that were held out."""
    return paper(Source("freihand", labels="2d"), test="freihand:validation")


def paper_test() -> Config:
    """Of Tables 7 and 8: all of FreiHAND's training images, measured on its official test."""
    return paper(*_both("freihand"), test="freihand")


def paper_fractions() -> Config:
    """Of Figure 5: as Table 7, before the green screen alone, so that no image has labels in another version."""
    return paper(*_both("freihand_gs", green_screen=True), test="freihand_gs")


def _both(name: str, **options: bool) -> tuple[Source, ...]:
    """A dataset's training and validation images, each as often as any other."""
    shares = {"train": 0.45, "validation": 0.05}
    return tuple(Source(name, split, "2d", share=share, **options) for split, share in shares.items())


def points(source: str = "mannequin", target: str = ANY_VIEW) -> Config:
    """2D joints in the place of images, off by a pixel; `target` may be a file of 3D joints."""
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
    """Rendered hands in gloves, small enough for two CPU cores; found by trial, see docs/reproduction.md.

    Without accurate 2D joints the losses act on wrong rays and show nothing. On bare hands a small network is 13 pixels
    off after minutes; on gloves, in two stages, 3 of 128.
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
        # Signs of depths are learned from the source first: the losses cannot tell them, and would keep wrong ones.
        biomechanics=Biomechanics(start=0.3, ramp=0.3),
        optimizer=Optimizer(name="adamw", rate=3e-3, weight_decay=0.05, schedule="cosine", warmup=0.05, clip=10.0),
        training=Training(epochs=2.5, log_every=80, save_every=1_000),
    )


def photos() -> Config:
    """As `synthetic`, with bare hands from any side for the source, and for the target the built dataset `photos`: 2D
    labels only, a tenth in its split "test"."""
    config = synthetic()
    train = (Source(ANY_VIEW, labels="3d", count=COUNT), Source("photos", labels="2d"))
    return dataclasses.replace(config, data=dataclasses.replace(config.data, train=train, test=("photos",)))


#: Every setting by the name that `--data` knows it by, as Tables 2 to 6 have it.
SETTINGS = {"paper": paper_validation, "synthetic": synthetic, "points": points, "photos": photos}
#: Without 3D labels of the target.
UNLABELLED = ("photos",)


def get_config(
    experiment: str, argument: str, arms: Iterable[str], settings: Mapping[str, Callable[[], Config]] = SETTINGS
) -> Config:
    """The configuration of `ARM` or `ARM@DATA` of an experiment that has those arms and settings; without DATA the
    first of them.

    Raises ValueError if it has no such arm or setting, and Unavailable if that data cannot tell what the arm is told.
    """
    name, _, data = argument.partition("@")
    supervision, data = known(name, arms), data or next(iter(settings))
    if data not in settings:
        raise ValueError(f"{experiment} knows no data {data!r}; it knows {', '.join(settings)}")
    if data in UNLABELLED and (supervision.target == "3d" or supervision.fraction or supervision.computed):
        raise Unavailable(f"{experiment} has no arm {name!r} on {data}, which have no 3D labels")
    config = supervise(settings[data](), supervision)
    # Not named after the experiment: in one folder, tables share the runs that they have in common.
    return dataclasses.replace(config, name=f"{name}@{data}")


def known(name: str, arms: Iterable[str]) -> Supervision:
    """What an arm is told. Raises ValueError if it is none of these arms."""
    arms = tuple(arms)
    if name not in arms:
        raise ValueError(f"there is no arm {name!r}; there are {', '.join(arms)}")
    return SUPERVISIONS[name]


def supervise(config: Config, told: Supervision) -> Config:
    """The configuration of an arm, from that of the whole experiment, which has the source and one or more targets for
    training sources and the weights that the terms have where they are on.

    An arm that lacks the source or the target has the same batches without them, and as many of them.
    """
    source, *targets = config.data.train
    train = (source,) if told.source else ()
    if told.fraction:
        train += tuple(
            dataclasses.replace(target, labels="3d", count=round(told.fraction * _rows(config, target)), share=share)
            for target, share in ((target, target.share / 2) for target in targets)
        )
        train += tuple(dataclasses.replace(target, labels="2d", share=target.share / 2) for target in targets)
    elif told.target:
        train += tuple(dataclasses.replace(target, labels=told.target) for target in targets)
    share = sum(one.share for one in train)
    # An epoch is all rows once, so an arm with fewer of them needs more epochs for its steps.
    longer = share * sum(_rows(config, one) for one in config.data.train) / sum(_rows(config, one) for one in train)
    train = tuple(dataclasses.replace(one, share=one.share / share) for one in train)
    off = {weight: 0.0 for term, weight in TERMS.items() if term not in told.terms}
    limits = dataclasses.replace(config.limits, source=f"fit:{targets[0].name}") if told.computed else config.limits
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, train=train, batch_size=round(share * config.data.batch_size)),
        network=dataclasses.replace(config.network, refine=told.refine),
        weights=dataclasses.replace(config.weights, **off),
        biomechanics=dataclasses.replace(config.biomechanics, independent=told.independent),
        limits=limits,
        optimizer=dataclasses.replace(config.optimizer, decay_epochs=longer * config.optimizer.decay_epochs),
        training=dataclasses.replace(config.training, epochs=longer * config.training.epochs),
    )


def _rows(config: Config, source: Source) -> int:
    """How many a source has, or is taken to have: as many as the first, if nobody knows."""
    return source.count or ROWS.get((source.name, source.split), config.data.train[0].count) or 1
