"""Dexter+Object (Sridhar et al. 2016): colour video of a hand with an object, with the visible fingertips in 3D.

    SOURCE/data/SEQUENCE/color/                       640x480; the i-th file by name corresponds to the i-th line
    SOURCE/data/SEQUENCE/annotations/SEQUENCE3D.txt   thumb; index; middle; ring; little tip; points of the object

Tips are in millimetres in the frame of the depth camera with x and y negated, and (x, y, 32001) if not visible. K and
the transform from the depth to the colour camera are those of published readers. Other joints and boxes are not
published.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bmc_jax.core import hand
from bmc_jax.data.readers.annotation import Annotation, DatasetInfo, SkipRow, project

VERSION = "1.0.0"
INFO = DatasetInfo(
    what="3,000 video frames of a hand with an object, five fingertips in 3D; for testing only",
    needs="data/{Grasp1,Grasp2,Occlusion,Rigid,Pinch,Rotate}/{color/, annotations/SEQUENCE3D.txt}",
    licence="research; see the page",
    address="https://handtracker.mpi-inf.mpg.de/projects/RealtimeHO/dexter+object.htm",
)
OPTIONS = {
    "left": "whether the hands are left hands, as in published readers, or right hands",
    "partial": "accept missing sequences",
}

SEQUENCES = ("Grasp1", "Grasp2", "Occlusion", "Rigid", "Pinch", "Rotate")
TIPS = hand.FINGER_JOINTS[:, hand.LEVELS.index("TIP")]
"""Joints of the first five fields of an annotation."""
UNSEEN = 32001
"""z of a tip that is not visible, millimetres."""
FEWEST_TIPS = 2
"""Minimum number of tips of a frame. Published results are over such frames, since one tip has no aligned error."""

INTRINSICS = np.array([[587.45209, 0, 325], [0, 600.67456, 249], [0, 0, 1]])
IMAGE_SIZE = (640, 480)
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
ROTATION = np.array([[0.9999, 0.0034, 0.0161], [-0.0033, 1.0, -0.0079], [-0.0162, 0.0079, 0.9998]])
TRANSLATION = np.array([19.0473, -1.8514, -4.7501])
"""Translation, after `ROTATION`, from the depth camera's frame to the colour camera's, millimetres."""

BOX_SIDE = 0.18
"""Side of the square around the mean of the tips that serves as the hand's box, metres: the length of an adult hand.
The box of the tips excludes the wrist, and has no size in a pinch. On 2,728 poses of RHD, a crop of 1.5 times this
square contains all tips and 99.7 % of all joints. The square depends on the labels, so results use an oracle crop."""


class Row(NamedTuple):
    """A frame with its fingertips."""

    where: str
    id: str
    """SEQUENCE/FRAME, the name of the colour image."""
    image: Path
    tips: np.ndarray
    """`[5, 3]` millimetres, unchanged from the file."""
    left: bool


def splits(source: Path, *, left: bool = True, partial: bool = False) -> dict[str, list[Row]]:
    """Returns the frames of the six sequences, concatenated, as "test".

    Raises:
      FileNotFoundError: naming a missing sequence, folder or file.
      ValueError: naming file and line, for a line that does not begin with five points, and for different numbers of
        images and lines, which would assign fingertips to wrong frames.
    """
    missing = [name for name in SEQUENCES if not (source / "data" / name).is_dir()]
    if missing and (not partial or len(missing) == len(SEQUENCES)):
        raise FileNotFoundError(
            f"{source / 'data'}: expected the sequences {', '.join(SEQUENCES)} of Dexter+Object, got no folder "
            f"{', '.join(missing)}; name the dataset's folder, or accept fewer sequences by --partial"
        )
    return {"test": [row for name in SEQUENCES if name not in missing for row in _sequence(source, name, left)]}


def annotation(row: Row) -> Annotation:
    """Returns the fingertips of a frame in the colour camera's frame. All other joints are unknown.

    Raises:
      SkipRow: for a frame with fewer than `FEWEST_TIPS` tips.
    """
    seen = row.tips[:, 2] != UNSEEN
    if seen.sum() < FEWEST_TIPS:
        raise SkipRow(f"fewer than {FEWEST_TIPS} annotated fingertips")
    depth_frame = row.tips[seen] * [-1, -1, 1]
    tips = (depth_frame @ ROTATION.T + TRANSLATION) / 1000
    joints = np.full((hand.NUM_JOINTS, 3), np.nan)
    joints[TIPS[seen]] = tips
    return Annotation(
        where=row.where,
        source="dexter_object",
        id=row.id,
        image=row.image,
        image_size=IMAGE_SIZE,
        intrinsics=INTRINSICS,
        left=row.left,
        joints_3d=joints,
        box=_box(tips.mean(axis=0)),
    )


def _box(middle: Float[np.ndarray, "3"]) -> tuple[float, float, float, float]:
    reach = BOX_SIDE / 2 / middle[2]
    u, v = project(middle, INTRINSICS)
    half_width, half_height = INTRINSICS[0, 0] * reach, INTRINSICS[1, 1] * reach
    return float(u - half_width), float(v - half_height), float(u + half_width), float(v + half_height)


def _sequence(source: Path, name: str, left: bool) -> list[Row]:
    folder, file = source / "data" / name / "color", source / "data" / name / "annotations" / f"{name}3D.txt"
    for path in (folder, file):
        if not path.exists():
            raise FileNotFoundError(f"expected {path}, got no such file or folder; unpack the dataset again")
    # A hidden or foreign file would shift the fingertips of all later frames.
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != ".")
    lines = file.read_text(encoding="utf-8").rstrip().splitlines()
    if len(images) != len(lines):
        raise ValueError(
            f"{folder}: expected {len(lines)} images, one per line of {file}, got {len(images)}; fetch the sequence "
            "again"
        )
    rows = []
    for number, (image, line) in enumerate(zip(images, lines, strict=True), start=1):
        where = f"{file}: line {number} ({image.name})"
        rows.append(Row(where, f"{name}/{image.stem}", image, _tips(line, where), left))
    return rows


def _tips(line: str, where: str) -> Float[np.ndarray, "5 3"]:
    """Reads the five points of a line, millimetres."""
    fields = line.split(";")[: len(TIPS)]
    try:
        tips = np.array([[float(number) for number in field.split(",")] for field in fields])
    except ValueError:
        tips = np.empty(0)
    if tips.shape != (len(TIPS), 3) or not np.isfinite(tips).all():
        raise ValueError(
            f"{where}: expected five points 'x, y, z' first, separated by ';', got {line[:120]!r}; fetch the file again"
        )
    return tips
