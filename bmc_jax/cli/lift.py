"""`bmc lift`, and `bmc predict --landmarks`: feasible hands in 3D from landmarks."""

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bmc_jax.cli.arguments import add_results, add_verb, between, formats, numbers
from bmc_jax.core.choices import FOCAL, JOINT_ORDERS, LIFT_LIMITS, PRESETS, SIDES
from bmc_jax.core.plural import counted

if TYPE_CHECKING:
    from bmc_jax.inference.lift import LiftedHands, Options


def add(verbs: Any) -> None:
    """Declares `bmc lift`."""
    parser = add_verb(verbs, "lift", _lift, "lift hand landmarks to feasible hands in 3D", """\
The landmarks may be from MediaPipe (JSON, npz, CSV), COCO keypoints or OpenPose, or in any other named order. The
lifting network predicts their depth. If the landmarks have z, world landmarks or both, the depth is the mean of these
and of the network's. Joints are then moved along their viewing rays to the nearest hand within the limits. 3D joints
are repaired.

examples:
  bmc lift landmarks.json --images photographs --out lifted
  bmc lift keypoints.json --fov 70 --out lifted --format json csv
  bmc lift sequence.npz --size 1920,1080 --smooth 8 --out lifted
  bmc predict photographs --landmarks mediapipe --out lifted
""")  # fmt: skip
    parser.add_argument("landmarks", metavar="LANDMARKS", help="json, jsonl, npz, npy, pkl, csv or tsv")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--images", metavar="DIR", help="pictures of the landmarks, for overlays and the page")
    parser.add_argument("--image-ids", metavar="COCO.json", help="images with the image ids of the landmarks")
    parser.add_argument("--order", choices=JOINT_ORDERS, help="joint order (default: the file's, or FreiHAND's)")
    parser.add_argument("--side", choices=SIDES, help="side of hands whose side the file does not state")
    parser.add_argument("--size", type=_size, metavar="WIDTH,HEIGHT", help="size of images whose size is not stated")
    group = _add_options(parser, "camera and repair")
    group.add_argument(
        "--intrinsics",
        type=numbers(4),
        metavar="FX,FY,CX,CY",
        help="pixels, for images whose file has no K (default: the focal length of the image's EXIF, or "
        f"{FOCAL:g} x the longer image side; principal point in the middle)",
    )
    add_results(parser)


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `bmc predict` that find hands without a checkpoint."""
    group = _add_options(parser, "hands found by MediaPipe and lifted to 3D, without a checkpoint")
    group.add_argument("--landmarks", choices=("mediapipe",), help="find right and left hands with MediaPipe")
    group.add_argument(
        "--model",
        metavar="FILE",
        help="MediaPipe's hand_landmarker.task, or the wheel of mediapipe 0.10.14, which includes the models",
    )
    group.add_argument("--webcam", metavar="N", help="number of a webcam, 0 for the first, or a video file")
    group.add_argument("--no-window", action="store_true", help="do not show the pictures of the webcam")


def _add_options(parser: argparse.ArgumentParser, title: str) -> Any:
    """Declares the options of all sources of landmarks, and returns their group."""
    group = parser.add_argument_group(title)
    group.add_argument(
        "--fov", type=between(1.0, 170.0), metavar="DEGREES", help="field of view along the longer side of the images"
    )
    known = f"a preset ({', '.join(PRESETS)}) or a limits file"
    group.add_argument("--limits", metavar="LIMITS", help=f"{known} (default: {LIFT_LIMITS})")
    group.add_argument(
        "--smooth",
        type=between(2.001, 1e6),
        metavar="FRAMES",
        help="smooth the depth of a sequence: motion with this period is halved, faster motion is reduced more",
    )
    return group


def require_landmarks(options: argparse.Namespace) -> None:
    """Raises ValueError if an option for landmarks is given without them."""
    for name in ("model", "webcam", "no_window", "fov", "limits", "smooth"):
        if getattr(options, name) not in (None, False):
            raise ValueError(f"--{name.replace('_', '-')} needs --landmarks mediapipe; add it, or omit the option")


def predict(options: argparse.Namespace) -> int:
    """Runs `bmc predict --landmarks mediapipe`."""
    from bmc_jax.inference import lift, requests, video
    from bmc_jax.inference.lift import webcam

    for name in ("box", "boxes", "image_ids", "step"):
        if getattr(options, name) is not None:
            raise ValueError(f"--{name.replace('_', '-')} needs a checkpoint; omit it, or omit --landmarks")
    given = {"model": options.model}
    inputs = [Path(one) for one in options.paths]
    if options.webcam is not None:
        if inputs:
            raise ValueError(f"expected no pictures with --webcam, got {inputs[0]}; omit one of them")
        with contextlib.nullcontext() if options.no_window else webcam.Window() as window:
            frames = webcam.frames(options.webcam)
            clip = lift.Clip(Path(f"webcam {options.webcam}"), frames, live=True, show=window)
            return report(lift.lift_video(clip, options.out, settings(options), **given))
    if len(inputs) == 1 and inputs[0].suffix.lower() in requests.VIDEOS:
        left_out: list[tuple[Path, str]] = []
        clip = lift.Clip(inputs[0], video.frames(inputs[0], left_out), left_out)
        return report(lift.lift_video(clip, options.out, settings(options), **given))
    if options.smooth is not None:
        raise ValueError("expected a video for --smooth, got photographs; omit --smooth")
    return report(lift.lift_pictures(inputs, options.out, settings(options), **given))


def _lift(options: argparse.Namespace) -> int:
    from bmc_jax.inference import lift

    found = lift.lift_file(
        options.landmarks,
        options.out,
        settings(options),
        images=options.images,
        image_ids=options.image_ids,
        order=options.order,
        side=options.side,
        size=options.size,
    )
    return report(found)


def settings(options: argparse.Namespace) -> "Options":
    """Returns the options of all sources of landmarks."""
    from bmc_jax.inference.lift import Options
    from bmc_jax.inference.seen import Camera

    return Options(
        camera=Camera(options.intrinsics, options.fov),
        limits=options.limits or LIFT_LIMITS,
        smooth=options.smooth,
        scale=options.scale,
        formats=formats(options),
        force=options.force,
    )


def report(found: "LiftedHands") -> int:
    """Prints the summary, and returns the exit status."""
    for note in found.notes:
        print(note)
    print(f"{counted(found.hands, 'hand')} in {counted(found.frames, 'picture')}; depth from {found.depth}")
    print(
        f"repaired to the nearest hands within limits, {found.repair}: joints moved by {found.moved:.1f} mm on average"
    )
    median, most = found.beyond
    print(
        f"remaining excess of a hand's worst angle: median {median:.1f}°, 95th percentile {most:.1f}° (with inexact "
        "pixels, few hands on the rays are exactly within the limits)"
    )
    print(f"written to {found.out}; open {found.out / 'page.html'}")
    for file, reason in found.left_out:
        print(f"left out: {reason if reason.startswith(str(file)) else f'{file}: {reason}'}", file=sys.stderr)
    return 1 if found.left_out else 0


def _size(text: str) -> tuple[int, int]:
    """Returns two positive whole numbers separated by a comma."""
    width, height = numbers(2)(text)
    if min(width, height) < 1 or width != int(width) or height != int(height):
        raise argparse.ArgumentTypeError(f"expected WIDTH,HEIGHT in whole pixels, got {text!r}")
    return int(width), int(height)
