"""`bmc predict` and `bmc export`: uses of a checkpoint."""

import argparse
import sys
from pathlib import Path
from typing import Any

from bmc_jax.cli import lift
from bmc_jax.cli.arguments import add_network_use, add_results, add_step, add_verb, between, formats, numbers
from bmc_jax.core.choices import LEAST_SCORE, SIDES
from bmc_jax.core.plural import counted


def add(verbs: Any) -> None:
    parser = add_verb(verbs, "predict", _predict, "predict the hands in photographs or a video", """\
examples:
  bmc predict runs/quickstart photo.jpg --out predicted
  bmc predict runs/quickstart photo.jpg --box 120,80,200,220 --hand left --out predicted
  bmc predict runs/quickstart photographs --boxes detected.json --passes 2 --out predicted --format json csv
  bmc predict runs/quickstart photographs --boxes results.json --image-ids images.json --score 0.5 --out predicted
  bmc predict runs/quickstart clip.mp4 --out clip --force --rerun
  bmc predict photographs --landmarks mediapipe --out lifted       # no checkpoint: MediaPipe finds the hands
  bmc predict clip.mp4 --landmarks mediapipe --smooth 8 --out lifted
  bmc predict --landmarks mediapipe --webcam 0 --out live

Writes joints, overlays and page.html, an interactive page of the hands in 3D with their angles and limits. For a video,
it writes an overlaid video and the angles over time instead of overlays. Images and boxes that cannot be used are
listed with the reason, the others are processed, and the exit status is 1.
""")  # fmt: skip
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="CHECKPOINT IMAGE",
        help="folder of a run or an export, or hf:OWNER/NAME, omitted with --landmarks; then images, folders of "
        "images, or one video",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    box = parser.add_argument_group("box of the hand, in pixels of the upright image")
    box.add_argument(
        "--box", type=numbers(4), metavar="X,Y,W,H", help="box in one image, or in the first frame of a video"
    )
    box.add_argument(
        "--boxes",
        metavar="COCO.json",
        help="bbox of each hand, optionally with score, hand_side and K; or COCO results",
    )
    box.add_argument(
        "--score",
        type=between(0.0, 1.0),
        default=LEAST_SCORE,
        metavar="S",
        help=f"lowest score of the boxes to use; boxes without a score are used (default: {LEAST_SCORE})",
    )
    box.add_argument("--image-ids", metavar="COCO.json", help="images with the ids of COCO results in --boxes")
    box.add_argument("--hand", choices=SIDES, default="right", help="side of the hand (default: right)")
    camera = parser.add_argument_group("camera")
    camera.add_argument(
        "--intrinsics",
        type=numbers(4),
        metavar="FX,FY,CX,CY",
        help="pixels (default: the focal length of the image's EXIF; without it the longer image side, 53 degrees of "
        "view; principal point in the middle)",
    )
    add_network_use(parser)
    lift.add_sources(parser)
    add_results(parser)

    parser = add_verb(verbs, "export", _export, "write a checkpoint in forms that run without this package", """\
examples:
  bmc export runs/quickstart --out hands
  bmc export runs/quickstart --out hands --step best --force
  bmc export runs/quickstart --out hands --onnx
  bmc export runs/quickstart --out hands --push me/hands
  python hands/load.py given.npz answer.npz

Writes the weights for bmc evaluate and predict, a program that needs only JAX and its loader, the backbone with
torchvision's names if torchvision has this architecture, and a model card, README.md, with inputs and outputs. Each
part is compared with the checkpoint. With --onnx it also writes the network as an ONNX file, and compares it in
onnxruntime. With --push it uploads the folder to the Hugging Face Hub, from which bmc predict and bmc_jax.load load it
as hf:OWNER/NAME.
""")  # fmt: skip
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="folder of a run or an export")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write, which must not exist")
    add_step(parser)
    parser.add_argument("--force", action="store_true", help="replace an existing export")
    parser.add_argument("--onnx", action="store_true", help="also write hand.onnx: pip install 'bmc-jax[onnx]'")
    parser.add_argument(
        "--push", metavar="OWNER/NAME", help="upload it to the Hugging Face Hub: pip install 'bmc-jax[hub]'"
    )


def _predict(options: argparse.Namespace) -> int:
    if options.landmarks is not None:
        return lift.predict(options)
    lift.require_landmarks(options)
    if len(options.paths) < 2:
        raise ValueError(
            f"expected a checkpoint and images, got {' '.join(options.paths) or 'none'}; give both, or find the hands "
            "with MediaPipe: --landmarks mediapipe"
        )
    from bmc_jax.inference import requests

    folder, *inputs = options.paths[0], *map(Path, options.paths[1:])
    arguments = {
        "step": options.step,
        "left": options.hand == "left",
        "box": options.box,
        "intrinsics": options.intrinsics,
        "scale": options.scale,
        "formats": formats(options),
        "passes": options.passes,
        "turns": options.turns,
        "force": options.force,
    }
    if len(inputs) == 1 and inputs[0].suffix.lower() in requests.VIDEOS:
        from bmc_jax.inference import video

        if options.boxes or options.image_ids:
            raise ValueError("expected --box for a video, got --boxes or --image-ids; give the box in the first frame")
        predicted = video.predict(folder, inputs[0], options.out, **arguments)
        what = "frame"
    else:
        from bmc_jax.inference import predict

        boxes = {"boxes": options.boxes, "score": options.score, "image_ids": options.image_ids}
        predicted = predict.predict(folder, inputs, options.out, **boxes, **arguments)
        what = "hand"
    print(f"{counted(predicted.hands, what)}, {predicted.within} within all limits; written to {predicted.out}")
    for what, count in predicted.unused.items():
        print(f"not used: {counted(count, 'box')} {what}")
    for one in predicted.left_out:
        print(f"left out: {requests.named(one)}", file=sys.stderr)
    return 1 if predicted.left_out else 0


def _export(options: argparse.Namespace) -> None:
    from bmc_jax.inference import export

    given = {"step": options.step, "force": options.force, "onnx": options.onnx, "push": options.push}
    out = export.export(options.checkpoint, options.out, **given)
    print(f"written to {out}; its README.md describes the use")
    if options.push:
        print(f"uploaded to the Hugging Face Hub as hf:{options.push}")
