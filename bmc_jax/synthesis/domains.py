"""The kinds of pictures: what varies in each, and by how much.

`synthetic` and `mannequin` stand for renderings with 3D labels, `real_like` for photographs. From `synthetic` to
`real_like` is a small step; `mannequin`, a jointed doll under hard light before a lurid wall, is far from both, and is
where training on renderings alone fails on pictures of people.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

Range = tuple[float, float]
"""(lowest, highest) of a uniform draw, or (mean, standard deviation) where the field says so."""


@dataclass(frozen=True)
class Domain:
    """What the pictures of a domain are drawn from. Lengths of the picture are fractions of its side."""

    name: str
    """Folded into every key: no two domains share a pose or a person."""

    smooth: bool
    """Whether flesh joins the segments, or they only touch as a mannequin's do."""
    detail: float
    """How clearly skin texture, creases and nails show; 1 as on a person."""
    skin: Range = (0.0, 1.0)
    """Part of the skin ramp, 0 light to 1 dark."""
    polish: float = 0.1
    """Probability of painted nails."""
    sleeve: float = 0.35
    """Probability that the forearm is clothed."""
    glove: bool = False
    """Whether the hand wears a glove with a colour for each segment of each finger (Wang and Popovic 2009), on which it
    is easy to see where a joint is, and no easier how deep."""
    thing: float = 0.0
    """Probability of an object, held or in front of the hand's surroundings."""

    subjects: int = 256
    """People in each split. Those of different splits are different people."""
    size: Range = (0.97, 0.05)
    """(mean, deviation) of the hand's size, 1 for the adult mean."""
    bone_deviation: float = 0.03
    """Of each bone's length, relative, beside the size."""
    width_deviation: float = 0.04
    """Of the palm's width, relative."""
    thickness: Range = (0.95, 0.04)
    """(mean, deviation) of the flesh's thickness, relative."""
    fan_deviation: float = 1.2
    """Of each metacarpal's direction, degrees. Without this and the next the palm is one rigid template."""
    thumb_base_deviation: float = 1.5
    """Of the thumb's CMC joint along each axis, millimetres."""

    key_light: Range = (0.7, 1.3)
    ambient_light: Range = (0.25, 0.45)
    fill_light: Range = (0.0, 0.15)
    light_tint: float = 0.04
    """Deviation of the lights' colour along warm-cool, relative."""
    penumbra: Range = (0.05, 0.12)
    """Width of a shadow's edge per distance of what casts it."""
    highlight: Range = (0.0, 0.12)

    background_chroma: Range = (0.25, 0.12)
    """Deviations of the background's colours along warm-cool, the axis of natural scenes, and green-magenta."""
    background_roughness: Range = (0.1, 0.5)
    """Amplitude of each octave of the background's texture relative to the one before."""
    background_pattern: float = 0.6
    """Strength of boards, tiles, weave and print."""
    background_blur: float = 0.012
    """Largest blur of the background."""

    views: str = "cone"
    """"cone": back or palm towards the camera within 50 degrees, fingers up within 45; "so3": any rotation."""
    focal: Range = (1.72, 3.28)
    """Focal length."""
    fill: Range = (0.55, 0.80)
    """Larger side of the joints' box."""
    shift: float = 0.05
    """Largest offset of the joints' box from the centre."""
    principal_point: float = 0.03
    """Deviation of the principal point from the centre."""
    sensor: bool = False
    """Whether the camera blurs, is noisy, darkens the corners and compresses highlights."""
    exposure: float = 0.12
    """Deviation of the logarithm of the exposure."""
    gamma: float = 0.0
    """Deviation of the display exponent."""

    def __post_init__(self):
        if self.views not in ("cone", "so3"):
            raise ValueError(f'views {self.views!r} of domain {self.name!r} is neither "cone" nor "so3"')


_SYNTHETIC = Domain("synthetic", smooth=True, detail=0.25)

#: Every domain by name.
DOMAINS = {
    domain.name: domain
    for domain in (
        _SYNTHETIC,
        dataclasses.replace(
            _SYNTHETIC,
            name="mannequin",
            smooth=False,
            detail=0.05,
            skin=(0.0, 0.45),
            polish=0.0,
            sleeve=0.0,
            key_light=(0.9, 1.3),
            ambient_light=(0.15, 0.30),
            fill_light=(0.0, 0.02),
            penumbra=(0.02, 0.04),
            background_chroma=(0.9, 0.9),
            background_roughness=(0.05, 0.2),
            background_pattern=0.0,
            background_blur=0.0,
        ),
        Domain(
            "real_like",
            smooth=True,
            detail=1.0,
            sleeve=0.6,
            thing=0.45,
            size=(1.02, 0.07),
            bone_deviation=0.05,
            width_deviation=0.06,
            thickness=(1.05, 0.08),
            fan_deviation=1.8,
            thumb_base_deviation=2.5,
            key_light=(0.35, 1.15),
            ambient_light=(0.2, 0.6),
            fill_light=(0.05, 0.35),
            light_tint=0.13,
            penumbra=(0.1, 0.5),
            highlight=(0.02, 0.25),
            background_chroma=(0.18, 0.06),
            background_roughness=(0.45, 0.85),
            background_pattern=1.0,
            focal=(1.88, 4.06),
            fill=(0.50, 0.78),
            shift=0.07,
            principal_point=0.05,
            sensor=True,
            exposure=0.25,
            gamma=0.03,
        ),
    )
}
#: The people and cameras of `real_like`, hands seen from any side: what the other domains' views do not tell of.
DOMAINS["any_view"] = dataclasses.replace(DOMAINS["real_like"], name="any_view", views="so3")
#: A studio: even light, a grey wall.
_STUDIO = {
    "key_light": (0.8, 1.0),
    "ambient_light": (0.35, 0.45),
    "fill_light": (0.0, 0.1),
    "light_tint": 0.02,
    "background_chroma": (0.02, 0.02),
    "background_roughness": (0.05, 0.15),
    "background_pattern": 0.0,
    "exposure": 0.05,
    "gamma": 0.0,
    "sensor": False,
    "sleeve": 0.0,
    "thing": 0.0,
    "glove": True,
}
#: The hands and views of `mannequin` and `any_view` again, gloved and in a studio: there small networks find 2D joints
#: within minutes, so that what is left to learn is depth.
for _name in ("mannequin", "any_view"):
    DOMAINS[f"gloved_{_name}"] = dataclasses.replace(DOMAINS[_name], name=f"gloved_{_name}", **_STUDIO)


def get(name: str) -> Domain:
    """The domain of that name.

    Raises:
      ValueError: if there is none.
    """
    if name not in DOMAINS:
        raise ValueError(f"no synthetic domain {name!r}; there are {', '.join(map(repr, DOMAINS))}")
    return DOMAINS[name]


def widen(domain: Domain, factor: float) -> Domain:
    """The same hands, seen in a picture `factor` times as wide and high: at `factor` times the pixels, its middle shows
    each hand exactly as before. What is behind it is laid out anew."""
    relative = ("focal", "fill", "shift", "principal_point", "background_blur")

    def narrow(value: Any) -> Any:
        return tuple(part / factor for part in value) if isinstance(value, tuple) else value / factor

    return dataclasses.replace(domain, **{name: narrow(getattr(domain, name)) for name in relative})
