"""The `bmc` command: every verb reads its arguments, calls its room, and prints or writes what comes back.

Rooms are imported by the verb that needs them, so that help and wrong arguments answer at once.
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

COCO = "coco:"
SPLITS = ("train", "validation", "test")

DESCRIPTION = """\
3D hand pose from single images, weakly supervised through biomechanical constraints.

A run lives in a folder: train makes it, evaluate measures it, report shows it.
"""
EXAMPLES = """\
examples:
  bmc train --config=configs/quickstart.py --workdir=runs/quickstart
  bmc evaluate runs/quickstart
  bmc report runs/quickstart
  bmc limits fit poses.npy --out limits.json
  bmc data preview real_like --out preview.png

bmc VERB --help says more of each.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `bmc` with these arguments, by default the process's. Exit status 0, or 2 after a user's error."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.run is not _train:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if options.run is _train:
        options.overrides = rest
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            options.run(options)
        except (ValueError, OSError, FloatingPointError) as error:
            if options.debug:
                raise
            print(f"bmc: error: {error}", file=sys.stderr)
            return 2
    return 0


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"bmc: warning: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bmc", description=DESCRIPTION, epilog=EXAMPLES, **_TEXT)
    parser.set_defaults(debug=False)
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    verb = _verb(verbs, "train", _train, "train a configuration in a folder, or go on training there", """\
examples:
  bmc train --config=configs/quickstart.py --workdir=runs/quickstart
  bmc train --config=configs/quickstart.py --workdir=runs/slow --config.optimizer.rate=0.001

Any field of the configuration is set by --config.FIELD=VALUE; bmc_jax/config.py lists them with their reasons.
The same command again goes on from the last checkpoint. After SIGTERM or Ctrl-C the exit status is 75.
""")  # fmt: skip
    verb.add_argument("--config", required=True, metavar="FILE", help="a file of configs/, or FILE:ARGUMENT")
    verb.add_argument("--workdir", required=True, metavar="DIR", help="the run's folder; made if it is not there")

    verb = _verb(verbs, "evaluate", _evaluate, "measure a run's newest checkpoint", """\
examples:
  bmc evaluate runs/quickstart
  bmc evaluate runs/quickstart --data coco:photographs/annotations.json --count 500

Writes metrics.json (photographs.json for photographs) and predictions/ into the run's folder.
""")  # fmt: skip
    verb.add_argument("workdir", metavar="WORKDIR", help="folder of a trained run")
    verb.add_argument("--split", default="test", choices=SPLITS, help="of the rendered images (default: test)")
    verb.add_argument("--data", metavar="coco:FILE", help="photographs with 2D labels, a COCO keypoint file, instead")
    verb.add_argument("--count", type=_positive, metavar="N", help="images of each set (default: all of it)")

    verb = _verb(verbs, "report", _report, "show runs as one self-contained HTML page", """\
examples:
  bmc report runs/quickstart
  bmc report runs/with runs/without --out comparison.html
""")  # fmt: skip
    verb.add_argument("workdirs", nargs="+", metavar="WORKDIR", help="folders of runs")
    verb.add_argument("--out", metavar="FILE", help="(default: report.html, in the run's folder if there is only one)")

    _limits_verbs(_group(verbs, "limits", "fit, show and check biomechanical limits"))

    data = _group(verbs, "data", "look at data")
    verb = _verb(data, "preview", _preview, "draw a contact sheet of images with their joints", """\
examples:
  bmc data preview real_like
  bmc data preview coco:photographs/annotations.json --count 60 --out photographs.png
""")  # fmt: skip
    verb.add_argument("source", metavar="SOURCE", help="a rendered domain, or coco:FILE for a COCO keypoint file")
    verb.add_argument("--count", type=_positive, default=36, metavar="N", help="images (default: 36)")
    verb.add_argument("--split", default="train", choices=SPLITS, help="of the rendered domain")
    verb.add_argument("--seed", type=int, default=0, help="of the rendered domain (default: 0)")
    verb.add_argument("--size", type=_positive, default=128, metavar="PX", help="side of the images (default: 128)")
    verb.add_argument("--out", default="preview.png", metavar="PNG", help="(default: preview.png)")
    return parser


def _limits_verbs(limits: Any) -> None:
    poses = "array [N, 21, 3]: metres, camera frame, FreiHAND order, right hands"
    verb = _verb(limits, "fit", _limits_fit, "fit limits to poses", """\
examples:
  bmc limits fit poses.npy --out limits.json
  bmc limits fit me.npy --personalize clinical --source "my own hand" --out mine.json
  bmc limits fit annotations.npy --percentiles 0.5 99.5 --left mirror
""")  # fmt: skip
    verb.add_argument("poses", metavar="POSES.npy", help=poses)
    verb.add_argument("--out", default="limits.json", metavar="FILE", help="(default: limits.json)")
    verb.add_argument("--source", metavar="NAME", help="where the poses come from, for the record (default: the file)")
    verb.add_argument(
        "--percentiles", nargs=2, type=float, default=(0.0, 100.0), metavar=("LOW", "HIGH"), help="(default: 0 100)"
    )
    verb.add_argument("--angle-margin", type=float, metavar="DEG", help="widen angle limits by so many degrees")
    verb.add_argument(
        "--left",
        default="error",
        choices=("error", "drop", "mirror", "keep"),
        help="what to do with poses that look like left hands (default: error, which counts them)",
    )
    other = verb.add_mutually_exclusive_group()
    other.add_argument("--merge", metavar="LIMITS", help="a preset or a limits file to allow as well")
    other.add_argument(
        "--personalize",
        metavar="LIMITS",
        help="take the bones and the palm from these few poses of one person, and the angles from a preset or a limits "
        "file as well (default margins: 5 degrees, 5 %% of lengths)",
    )

    verb = _verb(limits, "show", _limits_show, "print limits, and draw their 15 angle hulls", """\
examples:
  bmc limits show clinical
  bmc limits show limits.json --samples poses.npy --out hulls.png
""")  # fmt: skip
    verb.add_argument("limits", metavar="LIMITS", help="a preset (clinical) or a limits file")
    verb.add_argument("--samples", metavar="POSES.npy", help=f"draw these poses' angles too; {poses}")
    verb.add_argument("--out", default="hulls.png", metavar="PNG", help="(default: hulls.png)")

    verb = _verb(limits, "check", _limits_check, "say which joints violate which limit, and by how much", """\
example:
  bmc limits check pose.npy clinical
""")  # fmt: skip
    verb.add_argument("poses", metavar="POSES.npy", help=f"{poses}; one pose may be [21, 3]")
    verb.add_argument("limits", metavar="LIMITS", help="a preset (clinical) or a limits file")
    verb.add_argument("--count", type=_positive, default=30, metavar="N", help="violations to list (default: 30)")


_TEXT = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}


def _group(verbs: Any, name: str, words: str) -> Any:
    parser = verbs.add_parser(name, help=words, description=words, **_TEXT)
    return parser.add_subparsers(title="verbs", required=True, metavar="VERB")


def _verb(verbs: Any, name: str, run: Any, words: str, examples: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=words, description=words, epilog=examples, **_TEXT)
    parser.set_defaults(run=run)
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show an error's traceback")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def _train(options: argparse.Namespace) -> None:
    from bmc_jax import config_file, train

    prefix = "--config."
    for override in options.overrides:
        if not override.startswith(prefix) or "=" not in override:
            raise ValueError(f"unrecognized argument {override!r}; fields are set by --config.FIELD=VALUE")
    overrides = [override.removeprefix(prefix) for override in options.overrides]
    train.train(config_file.load(options.config, overrides), options.workdir)


def _evaluate(options: argparse.Namespace) -> None:
    from bmc_jax import evaluate

    if options.data is None:
        content = evaluate.evaluate(options.workdir, split=options.split, count=options.count)
        file = evaluate.FILE
    else:
        content = evaluate.evaluate_photographs(options.workdir, _coco_file(options.data), count=options.count)
        file = evaluate.PHOTOGRAPHS_FILE
    print(evaluate.table(content))
    print(f"written to {Path(options.workdir) / file}")


def _report(options: argparse.Namespace) -> None:
    from bmc_jax import report

    folder = Path(options.workdirs[0]) if len(options.workdirs) == 1 else Path()
    print(f"written to {report.report(options.workdirs, options.out or folder / 'report.html')}")


def _limits_fit(options: argparse.Namespace) -> None:
    from bmc_jax import limits

    poses, source = _poses(options.poses), options.source or Path(options.poses).name
    arguments = {"source": source, "left": options.left}
    if options.angle_margin is not None:
        arguments["angle_margin"] = options.angle_margin
    if options.personalize:
        fitted = limits.personalize(limits.load(options.personalize), poses, **arguments)
    else:
        fitted = limits.fit(poses, percentiles=tuple(options.percentiles), **arguments)
    if options.merge:
        fitted = limits.merge(fitted, limits.load(options.merge))
    limits.save(fitted, options.out)
    print(limits.describe(fitted))
    print(f"written to {options.out}")


def _limits_show(options: argparse.Namespace) -> None:
    from bmc_jax import draw, limits, screening

    shown, angles = limits.load(options.limits), None
    if options.samples is not None:
        angles = limits.measure(screening.validate(_poses(options.samples)))["angles"]
    print(limits.describe(shown))
    draw.save(draw.angle_hulls(shown, angles, title=f"limits: {options.limits}"), options.out)
    print(f"hulls drawn in {options.out}")


def _limits_check(options: argparse.Namespace) -> None:
    from bmc_jax import limits

    poses = _poses(options.poses)
    violations = limits.check(poses, limits.load(options.limits))
    print(limits.report(violations, len(poses), lines=options.count))


def _preview(options: argparse.Namespace) -> None:
    import numpy as np

    from bmc_jax import draw, synthesis
    from bmc_jax.datasets import coco_hand

    if options.source.startswith(COCO):
        file = _coco_file(options.source)
        indices = coco_hand.spread(file, options.count)
        photographs = coco_hand.read(file, size=options.size, indices=indices)
        examples, title = photographs.batch, f"{file.absolute().parent.name} · {photographs.description}"
    else:
        index = np.arange(options.count)
        examples = synthesis.render(options.seed, options.source, options.split, index, size=options.size)
        title = f"{options.source} · {options.split}"
    figure = draw.contact_sheet(examples.image, examples.joints_2d, examples.joints_2d_valid, title=title)
    draw.save(figure, options.out)
    print(f"{len(examples.present)} images drawn in {options.out}")


def _coco_file(text: str) -> Path:
    if not text.startswith(COCO):
        raise ValueError(f"{text!r} is not of the form coco:FILE")
    return Path(text.removeprefix(COCO))


def _poses(path: str) -> "np.ndarray":
    """The array of a .npy file, one pose as an array of one; what it holds is for `limits` to judge."""
    import numpy as np

    if not Path(path).is_file():
        raise FileNotFoundError(f"no pose file {path}")
    try:
        poses = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is not an array saved by numpy.save: {error}") from error
    if not isinstance(poses, np.ndarray):
        raise ValueError(f"{path} holds several arrays; save one with numpy.save")
    return poses[None] if poses.ndim == 2 else poses


if __name__ == "__main__":
    sys.exit(main())
