"""Domains of rendered pictures, as distributions of their content.

`synthetic` and `mannequin` represent renderings with 3D labels, `real_like` photographs. The gap from `synthetic` to
`real_like` is small. `mannequin`, a jointed doll under hard light in front of a garish wall, is far from both: a
network trained on it alone fails on the others.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

Range = tuple[float, float]
"""(lowest, highest) of a uniform draw, or (mean, standard deviation) if the field's documentation states it."""


@dataclass(frozen=True)
class Domain:
    """Distributions of the pictures of a domain. Lengths in the picture are fractions of its side."""

    name: str
    """Folded into every key, so that no two domains share a pose or a person."""

    smooth: bool
    """Whether flesh joins the segments; otherwise they only touch, as those of a mannequin."""
    detail: float
    """Contrast of skin texture, creases and nails; 1 as on a person."""
    skin: Range = (0.0, 1.0)
    """Range of the skin colour, 0 light to 1 dark."""
    polish: float = 0.1
    """Probability of painted nails."""
    sleeve: float = 0.35
    """Probability of a sleeve on the forearm."""
    glove: bool = False
    """Whether the hand wears a glove with a colour for each segment of each finger (Wang and Popovic 2009). It makes 2D
    joints easy to find, but not their depth."""
    held_object: float = 0.0
    """Probability of an object in the hand or in front of it."""

    subjects: int = 256
    """Number of people in each split. No person is in two splits."""
    size: Range = (0.97, 0.05)
    """(mean, standard deviation) of the size of hands relative to the adult mean."""
    bone_deviation: float = 0.03
    """Relative standard deviation of each bone's length, in addition to the size."""
    width_deviation: float = 0.04
    """Relative standard deviation of the palm's width."""
    thickness: Range = (0.95, 0.04)
    """(mean, standard deviation) of the relative thickness of the flesh."""
    fan_deviation: float = 1.2
    """Standard deviation of each metacarpal's direction, degrees. Without it and the next the palm is rigid."""
    thumb_base_deviation: float = 1.5
    """Standard deviation of the position of the thumb's CMC joint along each axis, millimetres."""

    key_light: Range = (0.7, 1.3)
    ambient_light: Range = (0.25, 0.45)
    fill_light: Range = (0.0, 0.15)
    light_tint: float = 0.04
    """Relative standard deviation of the lights' colour along warm-cool."""
    penumbra: Range = (0.05, 0.12)
    """Width of a shadow's edge relative to the distance of its caster."""
    highlight: Range = (0.0, 0.12)

    background_chroma: Range = (0.25, 0.12)
    """Standard deviations of the background's colours along warm-cool and green-magenta; natural scenes vary mostly
    along the first."""
    background_roughness: Range = (0.1, 0.5)
    """Amplitude of each octave of the background's noise relative to the previous one."""
    background_pattern: float = 0.6
    """Contrast of boards, tiles, weave and print."""
    background_blur: float = 0.012
    """Largest standard deviation of the background's blur."""

    views: str = "cone"
    """"cone": back or palm within 50 degrees of the camera's direction, fingers up within 45; "so3": any rotation."""
    focal: Range = (1.72, 3.28)
    """Focal length."""
    fill: Range = (0.55, 0.80)
    """Longer side of the joints' box."""
    shift: float = 0.05
    """Largest offset of the joints' box from the centre."""
    principal_point: float = 0.03
    """Standard deviation of the principal point from the centre."""
    sensor: bool = False
    """Whether the camera has blur, noise, dark corners and compressed highlights."""
    exposure: float = 0.12
    """Standard deviation of the logarithm of the exposure."""
    gamma: float = 0.0
    """Standard deviation of the display exponent."""

    def __post_init__(self):
        if self.views not in ("cone", "so3"):
            raise ValueError(f"views: expected 'cone' or 'so3', got {self.views!r} in domain {self.name!r}; choose one")


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
            held_object=0.45,
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
#: The people and cameras of `real_like`, with hands seen from any side.
DOMAINS["any_view"] = dataclasses.replace(DOMAINS["real_like"], name="any_view", views="so3")
#: Even light and a grey wall.
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
    "held_object": 0.0,
    "glove": True,
}
#: The hands and views of `mannequin` and `any_view`, gloved and in a studio: there small networks find 2D joints within
#: minutes, so that only depth is left to learn.
for _name in ("mannequin", "any_view"):
    DOMAINS[f"gloved_{_name}"] = dataclasses.replace(DOMAINS[_name], name=f"gloved_{_name}", **_STUDIO)
#: The hands of `mannequin` seen from any side.
DOMAINS["mannequin_any_view"] = dataclasses.replace(DOMAINS["mannequin"], name="mannequin_any_view", views="so3")
#: The hands of `any_view` before wide lenses, such as those of telephones, with the hand as large in the picture.
DOMAINS["any_view_wide"] = dataclasses.replace(DOMAINS["any_view"], name="any_view_wide", focal=(0.75, 1.5))


def get(name: str) -> Domain:
    """Returns a domain by name.

    Raises:
      ValueError: if there is no such domain.
    """
    if name not in DOMAINS:
        raise ValueError(f"domain: expected one of {', '.join(map(repr, DOMAINS))}, got {name!r}; choose one")
    return DOMAINS[name]


def widen(domain: Domain, factor: float) -> Domain:
    """Returns the domain with pictures `factor` times as wide and high.

    At `factor` times the pixels, the middle of each picture shows the same hand; the background differs.
    """
    relative = ("focal", "fill", "shift", "principal_point", "background_blur")

    def narrow(value: Any) -> Any:
        return tuple(part / factor for part in value) if isinstance(value, tuple) else value / factor

    return dataclasses.replace(domain, **{name: narrow(getattr(domain, name)) for name in relative})
