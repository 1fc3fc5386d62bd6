"""`bmc predict`: hands in photographs and videos."""

import argparse
from pathlib import Path
from typing import Any

from bmc_jax.cli.arguments import looks, verb
from bmc_jax.core.choices import PREDICTION_FORMATS, SIDES


def add(verbs: Any) -> None:
    parser = verb(verbs, "predict", _predict, "predict the hands in photographs or a video", """\
examples:
  bmc predict runs/quickstart photo.jpg --out predicted
  bmc predict runs/quickstart photo.jpg --box 120,80,200,220 --hand left --out predicted
  bmc predict runs/quickstart photographs --boxes detected.json --passes 2 --out predicted --format json csv
  bmc predict runs/quickstart clip.mp4 --out clip --force

Writes joints, overlays and page.html, a page on which the hands can be turned beside their limits; of a video an
overlaid video and the angles over time, too. Images that cannot be used are listed and the rest goes on: the exit
status is then 1.
""")  # fmt: skip
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="folder of a trained run, or of an exported one")
    parser.add_argument("inputs", nargs="+", metavar="IMAGE", help="images, folders of images, or one video")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    where = parser.add_argument_group("where the hand is, in pixels of the upright image")
    where.add_argument("--box", type=_four, metavar="X,Y,W,H", help="of the hand in one image, or in a video's start")
    where.add_argument("--boxes", metavar="COCO.json", help="bbox, and perhaps hand_side and K, of every hand")
    where.add_argument("--hand", choices=SIDES, default="right", help="which it is (default: right)")
    camera = parser.add_argument_group("the camera")
    camera.add_argument(
        "--intrinsics",
        type=_four,
        metavar="FX,FY,CX,CY",
        help="pixels (default: the focal length of the image's EXIF; without it the longer image side, 53 degrees of "
        "view; principal point in the middle)",
    )
    camera.add_argument(
        "--scale",
        type=float,
        metavar="METRES",
        help="length of the bone from middle MCP to middle PIP (default: that of a hand with 0.092 m from wrist to "
        "middle MCP)",
    )
    looks(parser)
    parser.add_argument(
        "--format",
        nargs="+",
        choices=PREDICTION_FORMATS,
        default=["json"],
        metavar="F",
        help=f"of {', '.join(PREDICTION_FORMATS)} (default: json)",
    )
    parser.add_argument("--force", action="store_true", help="replace an earlier prediction in DIR")


def _predict(options: argparse.Namespace) -> int:
    from bmc_jax.inference import requests

    arguments = {
        "step": options.step,
        "left": options.hand == "left",
        "box": options.box,
        "intrinsics": options.intrinsics,
        "scale": options.scale,
        "formats": options.format,
        "passes": options.passes,
        "turns": options.turns,
        "force": options.force,
    }
    inputs = [Path(one) for one in options.inputs]
    if len(inputs) == 1 and inputs[0].suffix.lower() in requests.VIDEOS:
        from bmc_jax.inference import video

        if options.boxes:
            raise ValueError("a video takes --box, the hand's at the start, not --boxes")
        predicted = video.predict(options.checkpoint, inputs[0], options.out, **arguments)
        what = "frame"
    else:
        from bmc_jax.inference import predict

        predicted = predict.predict(options.checkpoint, inputs, options.out, boxes=options.boxes, **arguments)
        what = "hand"
    many = f"{predicted.hands} {what}{'s' if predicted.hands > 1 else ''}"
    print(f"{many}, {predicted.within} of them within all limits; written to {predicted.out}")
    for file, reason in predicted.left_out:
        print(f"left out: {reason if str(file) in reason else f'{file}: {reason}'}")
    return 1 if predicted.left_out else 0


def _four(text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not four numbers with commas between") from error
    if len(numbers) != 4:
        raise argparse.ArgumentTypeError(f"{text!r} has {len(numbers)} numbers, four are needed")
    return numbers
