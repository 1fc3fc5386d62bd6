"""Checks of predicted poses: joint order, unit, frame, side and number, relative to what a file format requires.

The tables of joint orders are independent of those used in writing files, so they also check written files. The joint
order is inferred from the bones: in the wrong order, some of them are long. Poses are `[N, 21, 3]` in the order, unit
and frame of the file. Poses without extent, such as those of a predictor of zeros, pass, and so do poses whose bones
have a hand's proportions in no order, such as those of an untrained network.
"""

from dataclasses import dataclass

import numpy as np

from bmc_jax.core import hand, validation
from bmc_jax.core.plural import counted, plural
from bmc_jax.synthesis import skeleton

#: Joints of each order, base to tip, thumb to little finger; joint 0 is the wrist in all of them.
CHAINS = {
    "freihand": ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (17, 18, 19, 20)),
    "ho3d": ((13, 14, 15, 16), (1, 2, 3, 17), (4, 5, 6, 18), (10, 11, 12, 19), (7, 8, 9, 20)),
    "bighand": ((1, 6, 7, 8), (2, 9, 10, 11), (3, 12, 13, 14), (4, 15, 16, 17), (5, 18, 19, 20)),
    "rhd": ((4, 3, 2, 1), (8, 7, 6, 5), (12, 11, 10, 9), (16, 15, 14, 13), (20, 19, 18, 17)),
    "paper": ((1, 6, 11, 16), (2, 7, 12, 17), (3, 8, 13, 18), (4, 9, 14, 19), (5, 10, 15, 20)),
}
TITLES = {
    "freihand": "FreiHAND's (wrist; thumb to little finger, each base to tip)",
    "ho3d": "HO-3D's version of MANO's (wrist; index, middle, little, ring, thumb without tips; tips from the thumb)",
    "bighand": "BigHand's (wrist; five MCP; PIP, DIP, TIP of each finger)",
    "rhd": "RHD's (wrist; thumb to little finger, each tip to base)",
    "paper": "level by level (wrist; five MCP, five PIP, five DIP, five TIP)",
}
#: Minimum share by which bones are shorter in another order for that order to be inferred. RHD's hands are shorter in
#: the right order by 19 % or more at the median, and by 14 % in the mean with noise of 20 mm.
SHORTER = 0.1
#: Maximum relative deviation of bones from those of a mean adult at which order and side are checked. RHD's hands
#: deviate by 0.24 at the median, and by 0.38 with noise of 20 mm; 0.3 % of random joints deviate by less than this.
LIKE_A_HAND = 0.4
#: Ranges of the ratio of sizes, predicted to true, outside which a note is made: of whole files, and of single poses.
USUAL_RATIO, POSSIBLE_RATIO = (0.5, 2.0), (0.1, 10.0)
#: Maximum distance from the origin, as a share of the hand's size, of a joint to which poses are relative.
AT_ORIGIN = 1e-3
#: Datasets by their number of images or frames, for messages about wrong numbers of poses.
COUNTS = {
    3_960: "FreiHAND's evaluation",
    1_980: "half of FreiHAND's evaluation",
    32_560: "FreiHAND's training annotations",
    130_240: "FreiHAND's training images",
    11_524: "HO-3D v2's evaluation",
    5_762: "half of HO-3D v2's evaluation",
    20_137: "HO-3D v3's evaluation",
    66_034: "HO-3D v2's training frames",
    78_297: "HO-3D v3's training frames",
    2_728: "RHD's evaluation",
    41_258: "RHD's training",
}
#: Metres in a file's possible units.
UNITS = {"metres": 1.0, "centimetres": 0.01, "millimetres": 0.001}


@dataclass(frozen=True)
class Expected:
    """Order, unit and frame of the poses in files of a format."""

    order: str
    """A name of `CHAINS`."""
    unit: str
    """A name of `UNITS`."""
    forward: int
    """Sign of z in front of the camera: 1, or -1 in OpenGL's frame."""


def check(
    joints: np.ndarray, expected: Expected, where: str, left: np.ndarray | None = None, *, otherwise: str = ""
) -> None:
    """Checks that poses are finite and have the order, unit, frame and side of a format.

    Args:
      joints: `[N, 21, 3]` in the order, unit and frame of the file.
      expected: those of the format.
      where: the file, for messages.
      left: mask `[N]` of left hands; by default, all hands are right hands.
      otherwise: end of messages, which states the remedy if the check is wrong.

    Raises:
      ValueError: if a check fails. The message names the file, the evidence and the remedy.
    """
    bad = np.argwhere(~np.isfinite(joints).all(axis=-1))
    if len(bad):
        pose, joint = map(int, bad[0])
        raise ValueError(
            f"{where}: joint {joint} of pose {pose}: expected finite numbers, got {joints[pose, joint].tolist()}, and "
            f"{len(bad):,} {plural(len(bad), 'joint')} in all that {plural(len(bad), 'is')} not finite; predict every "
            "joint of every image"
        )
    sized = np.ptp(joints, axis=1).max(axis=-1) > 0
    if not sized.any():
        return
    poses = joints[sized]
    try:
        _check_sized(poses, expected, where, np.zeros(len(poses), bool) if left is None else left[sized])
    except ValueError as error:
        raise ValueError(f"{error}{otherwise}") from error


def compare(joints: np.ndarray, target: np.ndarray) -> list[str]:
    """Returns notes on predictions `[N, 21, 3]` that differ from the true joints in a suspicious way.

    Notes are made of other sizes than the true ones, of positions relative to a joint, and of bones without a hand's
    proportions. Both arguments are in metres and FreiHAND order; `target` is NaN where not labelled.
    """
    known = np.asarray(np.isfinite(target).all(axis=-1))
    sizes, true_sizes = (_size(np.where(known[..., None], poses, np.nan)) for poses in (joints, target))
    rows = (sizes > 0) & (true_sizes > 0)
    if not rows.any():
        return []
    notes, ratios = [], sizes[rows] / true_sizes[rows]
    middle = float(np.median(ratios))
    if not USUAL_RATIO[0] <= middle <= USUAL_RATIO[1]:
        notes.append(
            f"the predicted hands are {_times(middle)} times as large as the true ones; check that both are in metres"
        )
    apart = np.flatnonzero((ratios < middle * POSSIBLE_RATIO[0]) | (ratios > middle * POSSIBLE_RATIO[1]))
    if len(apart):
        first = int(np.flatnonzero(rows)[apart[0]])
        many = f"{len(apart):,} of {counted(len(joints), 'predicted hand')} {plural(len(apart), 'has')}"
        notes.append(
            f"{many} another size than the rest, first pose {first}, "
            f"{_times(float(ratios[apart[0]]))} times as large as the true one; check that all are in the same unit"
        )
    poses, depths = joints[rows], np.nanmedian(np.where(known, target[..., 2], np.nan))
    # By joint: distance from the origin, and distance along z, in sizes of the hand.
    far, deep = (
        np.median(np.linalg.norm(part, axis=-1) / sizes[rows, None], axis=0) for part in (poses, poses[..., 2:])
    )
    what, root = ("positions", int(far.argmin())) if far.min() < AT_ORIGIN else ("depths", int(deep.argmin()))
    if abs(depths) > USUAL_RATIO[1] * np.median(true_sizes[rows]) and deep[root] < AT_ORIGIN:
        notes.append(
            f"the predicted {what} are relative to the {hand.JOINTS[root]} and the true ones to the camera; `absolute` "
            "and errors in pixels or depth do not apply to these predictions"
        )
    if not like_hands(poses, "freihand"):
        notes.append(
            "most predicted hands do not have the bone proportions of a hand, so joint order and side were not checked"
        )
    return notes


def like_hands(joints: np.ndarray, name: str) -> bool:
    """Returns whether the bones of most poses in an order have the proportions of a hand, to `LIKE_A_HAND`."""
    return _deviation(joints, name) < LIKE_A_HAND


def _deviation(joints: np.ndarray, name: str) -> float:
    """Returns the median relative deviation of bones from those of a mean adult's hand of the same size."""
    lengths = bones(joints, name)
    size = (lengths * skeleton.BONES).sum(axis=(1, 2), keepdims=True) / (skeleton.BONES**2).sum()
    size = np.where(size > 0, size, 1)
    apart = np.linalg.norm(lengths / size - skeleton.BONES, axis=(1, 2))
    return float(np.median(apart / np.linalg.norm(skeleton.BONES)))


def _size(joints: np.ndarray) -> np.ndarray:
    """Returns the root mean square distance of the known joints from their mean, `[N]`; 0 without two of them."""
    known = np.isfinite(joints).all(axis=-1)
    count = np.maximum(known.sum(axis=1), 1)[:, None]
    centre = np.nansum(joints, axis=1) / count
    return np.sqrt(np.nansum((joints - centre[:, None]) ** 2, axis=(1, 2)) / count[:, 0])


def _check_sized(poses: np.ndarray, expected: Expected, where: str, left: np.ndarray) -> None:
    """Checks order, unit, frame and side of poses that have a size, see `check`."""
    found = order(poses, expected.order)
    if found != expected.order:
        raise ValueError(_order_message(poses, expected.order, found, where))
    _unit(poses, expected, where)
    # The sign of most joints counts, since an untrained network places some hands behind the camera.
    depths = np.median(poses[:, 0, 2] * expected.forward)
    if depths < 0 and (poses[..., 2] * expected.forward < 0).mean() > 0.99:
        frames = ("x right, y down, z forward (OpenCV)", "x right, y up, z backward (OpenGL)")[:: expected.forward]
        raise ValueError(
            f"{where}: expected joints in the frame {frames[0]}, got hands behind the camera, at a median z of "
            f"{depths * expected.forward:.4g}, probably in the frame {frames[1]}; multiply y and z by -1"
        )
    if like_hands(poses, expected.order):
        _side(poses, expected, where, left)


def ordered(joints: np.ndarray, name: str) -> np.ndarray:
    """Returns poses of an order in FreiHAND order: the wrist, then finger by finger from its base."""
    return joints[:, [0, *(joint for chain in CHAINS[name] for joint in chain)]]


def bones(joints: np.ndarray, name: str) -> np.ndarray:
    """Returns the lengths of the bones in an order, `[N, 5, 4]`: thumb first, each finger from the wrist on."""
    chains = np.array([(0, *chain) for chain in CHAINS[name]])
    fingers = joints[:, chains]
    return np.linalg.norm(np.diff(fingers, axis=2), axis=-1)


def order(joints: np.ndarray, expected: str) -> str:
    """Infers the joint order: that in which bones and palms are shortest, if they have a hand's proportions in it and
    are clearly longer in the expected one; otherwise the expected order."""
    totals = {name: _total(joints, name) for name in CHAINS}
    shortest = min(totals, key=lambda name: totals[name])
    certain = totals[shortest] < (1 - SHORTER) * totals[expected] and like_hands(joints, shortest)
    return shortest if certain and _deviation(joints, shortest) < _deviation(joints, expected) else expected


def count_message(found: int, needed: int, what: str) -> str:
    """Returns a message about a wrong number of poses, which states what both numbers are known to be."""
    known = COUNTS.get(found, f"half of {needed:,}" if 2 * found == needed else "")
    guess = f" ({known})" if known else ""
    wanted = f" ({COUNTS[needed]})" if needed in COUNTS else ""
    return (
        f"expected {needed:,} {what}{wanted}, got {found:,}{guess}; predict every image, in the order of the dataset's "
        "list, and give prediction and ground truth of the same version and split"
    )


def _total(joints: np.ndarray, name: str) -> float:
    """Returns the median over hands of the sum of all bones and of the distances between bases of adjacent fingers."""
    bases = joints[:, [chain[0] for chain in CHAINS[name]]]
    across = np.linalg.norm(np.diff(bases, axis=1), axis=-1).sum(axis=1)
    return float(np.median(bones(joints, name).sum(axis=(1, 2)) + across))


def _order_message(poses: np.ndarray, expected: str, found: str, where: str) -> str:
    lengths = np.median(bones(poses, expected), axis=0)
    finger, level = np.unravel_index(np.argmax(lengths), lengths.shape)
    start, end = (0, *CHAINS[expected][finger])[level : level + 2]
    return (
        f"{where}: expected joints in the order {TITLES[expected]}, got probably {TITLES[found]}: the bones and the "
        f"palm's width of a hand add up to {_total(poses, found):.4g} in the latter order and to "
        f"{_total(poses, expected):.4g} in the former, in which the {hand.FINGERS[finger]}'s {hand.LEVELS[level]} "
        f"bone, joint {start} to {end}, would measure {lengths[finger, level]:.4g}; reorder the joints"
    )


def _unit(poses: np.ndarray, expected: Expected, where: str) -> None:
    middle = CHAINS[expected.order][2][0]
    palm = float(np.median(np.linalg.norm(poses[:, middle] - poses[:, 0], axis=-1)))
    low, high = validation.PALM_LENGTH
    fits = [name for name, metres in UNITS.items() if low <= palm * metres <= high]
    if fits and expected.unit not in fits:
        raise ValueError(
            f"{where}: expected joints in {expected.unit}, got a median distance of {palm:.4g} from the wrist to the "
            f"middle MCP, which is that of a hand in {fits[0]}; multiply by "
            f"{UNITS[fits[0]] / UNITS[expected.unit]:g}"
        )


def _side(poses: np.ndarray, expected: Expected, where: str, left: np.ndarray) -> None:
    poses = ordered(poses, expected.order)
    # `thumb_side` divides by the thumb's distance from the wrist.
    thumbs = np.linalg.norm(poses[:, 1:5] - poses[:, :1], axis=-1).mean(axis=1) > 0
    behind = validation.thumb_side(poses[thumbs]) * np.where(left[thumbs], -1, 1) < -validation.UNDECIDED
    if behind.size and behind.mean() > 0.5:
        raise ValueError(
            f"{where}: expected right hands, or left hands marked in `left`, got {behind.sum():,} of {len(behind):,} "
            "hands with the thumb on the wrong side of the palm; mirror them, x to -x, or check that no single axis is "
            "flipped"
        )


def _times(ratio: float) -> str:
    return f"{float(f'{ratio:.3g}'):,g}"
