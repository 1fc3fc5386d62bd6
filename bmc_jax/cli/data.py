"""`bmc data`: listing, building, verification and preview of data."""

import argparse
import importlib
import inspect
import signal
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bmc_jax.cli.arguments import COCO, TEXT, add_verb, whole
from bmc_jax.core.choices import LIFT_LIMITS, READERS, SPLITS
from bmc_jax.core.plural import counted


def add(verbs: Any, arguments: Sequence[str]) -> None:
    """Declares the verbs. The options of the datasets, whose readers import numpy, only if `arguments` build one."""
    add_verb(verbs, "list", _list, "list the datasets that can be built, with files, licences and URLs", """\
example:
  bmc data list
""")  # fmt: skip

    words = "build checked, shuffled, sharded records from a dataset's files"
    parser = verbs.add_parser(
        "build",
        help=words,
        description=words,
        epilog="""\
examples:
  bmc data build freihand --source FreiHAND_pub_v2 --out data
  bmc data build coco_hand --source my_photographs --name mine --out data

bmc data build NAME --help lists the files that NAME needs and its options. The same command resumes an interrupted
build.
""",
        **TEXT,
    )
    readers = parser.add_subparsers(title="datasets", required=True, metavar="NAME")
    for reader in READERS if "build" in arguments else ():
        _build_arguments(readers, reader)

    words = "add a detector's lifted hands to photographs as 3D labels"
    parser = add_verb(verbs, "pseudo-labels", _pseudo_labels, words, """\
example:
  bmc data pseudo-labels photographs/annotations.json --landmarks mediapipe.npz --out labelled

Lifts the landmarks along their viewing rays, repairs them, and writes train.json, validation.json and test.json with
joints_3d. Every twentieth image is in validation, every tenth in test. The labels are estimates, not ground truth.
""")  # fmt: skip
    parser.add_argument("annotations", metavar="COCO.json", help="annotations of right hands, one per image, with K")
    parser.add_argument(
        "--landmarks",
        required=True,
        metavar="NPZ",
        help="MediaPipe's landmarks of these images: image [N, 21, 3] in pixels, world [N, 21, 3], ids [N]",
    )
    known = f"preset or file (default: {LIFT_LIMITS})"
    parser.add_argument("--limits", default=LIFT_LIMITS, metavar="LIMITS", help=known)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the three files")

    parser = add_verb(verbs, "verify", _verify, "read and check all files, images and labels of built datasets", """\
example:
  bmc data verify data/freihand data/rhd
""")  # fmt: skip
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="folders of built datasets")

    parser = add_verb(verbs, "preview", _preview, "draw a contact sheet of images with their joints", """\
examples:
  bmc data preview data/freihand --out freihand.png
  bmc data preview data/freihand --augment
  bmc data preview real_like
  bmc data preview coco:photographs/annotations.json --count 60 --out photographs.png
""")  # fmt: skip
    parser.add_argument(
        "source", metavar="SOURCE", help="folder of a built dataset, a rendered domain, or coco:FILE for COCO keypoints"
    )
    parser.add_argument("--count", type=whole(1, 1_000), default=36, metavar="N", help="images (default: 36)")
    parser.add_argument("--split", default="", choices=SPLITS, help="(default: the first split)")
    parser.add_argument("--seed", type=int, default=0, help="seed of rendering and of --augment (default: 0)")
    parser.add_argument(
        "--size", type=whole(1, 1_024), default=128, metavar="PX", help="side of the images (default: 128)"
    )
    parser.add_argument("--augment", action="store_true", help="apply the default augmentation of training")
    parser.add_argument("--green-screen", action="store_true", help="with --augment: replace a green background")
    parser.add_argument("--out", default="preview.png", metavar="PNG", help="(default: preview.png)")


def _build_arguments(readers: Any, reader: str) -> None:
    """Declares the verb of a dataset. Its options are the keyword arguments of the reader's `splits`."""
    module = importlib.import_module(f"bmc_jax.data.readers.{reader}")
    about = module.INFO
    parser = add_verb(readers, reader, _build, about.what, f"licence: {about.licence}\nfrom: {about.address}\n")
    parameters = inspect.signature(module.splits).parameters
    if parameters["source"].default is inspect.Parameter.empty:
        parser.add_argument("--source", required=True, metavar="DIR", help=about.needs.replace("%", "%%"))
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder of built datasets; DIR/NAME/VERSION is created"
    )
    parser.add_argument("--name", default="", help="name of the built dataset (default: NAME)")
    parser.add_argument(
        "--workers", type=whole(1, 1_024), default=0, metavar="N", help="processes (default: one per core)"
    )
    parser.add_argument(
        "--faults",
        default="stop",
        choices=("stop", "skip"),
        help="for a damaged image or an impossible label: stop, or skip and count it (default: stop)",
    )
    parser.add_argument(
        "--beam", metavar="OPTION=VALUE,...", help="build on Apache Beam with these pipeline options, runner=... first"
    )
    own = parser.add_argument_group(f"options of {reader}")
    kinds = typing.get_type_hints(module.splits)
    for name, words in module.OPTIONS.items():
        default, kind = parameters[name].default, kinds[name]
        flag, words = f"--{name.replace('_', '-')}", words.replace("%", "%%")
        if kind is bool:
            action = argparse.BooleanOptionalAction if default else "store_true"
            own.add_argument(flag, dest=name, action=action, default=default, help=words)
        elif typing.get_origin(kind) is tuple:
            shown = ",".join(map(str, default))
            own.add_argument(
                flag,
                dest=name,
                type=_comma_separated,
                default=default,
                metavar="A,B,...",
                help=f"{words} (default: {shown})",
            )
        else:
            shown = f" (default: {default})" if default not in ("", None) else ""
            kind = next(iter(typing.get_args(kind)), kind)  # the T of `T | None`
            own.add_argument(flag, dest=name, type=kind, default=default, metavar="VALUE", help=words + shown)
    parser.set_defaults(reader=reader, own=tuple(module.OPTIONS))


def _comma_separated(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _list(options: argparse.Namespace) -> None:
    del options
    for reader in READERS:
        about = importlib.import_module(f"bmc_jax.data.readers.{reader}").INFO
        print(f"{reader}\n    {about.what}\n    needs    {about.needs}\n    licence  {about.licence}")
        print(f"    from     {about.address}\n")
    print("Build one with: bmc data build NAME --source DIR --out data")


def _build(options: argparse.Namespace) -> None:
    from bmc_jax.data import store
    from bmc_jax.data.build import builder

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    try:
        folder = builder.build(
            options.reader,
            getattr(options, "source", ""),
            options.out,
            name=options.name,
            options={name: getattr(options, name) for name in options.own},
            faults=options.faults,
            workers=options.workers,
            beam=options.beam,
        )
    except KeyboardInterrupt:
        from bmc_jax.runtime import distributed

        print("\nstopped; run the same command to resume")
        raise SystemExit(distributed.INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)
    summary = store.summary(folder)
    for split, counts in summary["splits"].items():
        print(_split_summary(split, counts))
    print(f"built {folder}\npreview it with: bmc data preview {folder}")


def _split_summary(split: str, counts: dict[str, Any]) -> str:
    from bmc_jax.core import hand

    complete, partial = counts["complete_3d"], counts["partial_3d"]
    lines = [
        f"{split}: {counted(counts['examples'], 'hand')}, {complete:,} with all 3D joints, {partial:,} with some, "
        f"{counts['examples'] - complete - partial:,} with none; {counts['left_hands']:,} left hands; "
        f"{counts['bytes'] / 1e6:,.1f} MB"
    ]
    if "labelled_joints" in counts:  # not in summaries of earlier versions
        joints = hand.NUM_JOINTS * counts["examples"]
        lines.append(f"  2D labels: {counts['labelled_joints']:,} of {joints:,} joints")
    for name, words in (("skipped", "skipped"), ("labels_left_out", "labels left out of")):
        for reason, rows in counts.get(name, {}).items():
            first = ", ".join(rows["first"]) + ", ..." * (rows["count"] > 5)
            lines.append(f"  {words} {rows['count']:,}: {reason} ({first})")
    faults = counts["faults"]
    if faults["count"]:
        lines.append(f"  left out {faults['count']:,} with faults, such as\n    " + "\n    ".join(faults["first"]))
    for name, words in (("reprojection_px", "reprojection, px"), ("scale_m", "scale, m")):
        if counts[name]:
            numbers = ", ".join(f"{what} {counts[name][what]:.4g}" for what in ("min", "median", "p99", "max"))
            lines.append(f"  {words}: {numbers}")
    if counts["left_by_thumb"]:
        many = counted(counts["left_by_thumb"], "hand")
        lines.append(f"  {many} with the thumb on the side of a left hand: preview the labels")
    return "\n".join(lines)


def _pseudo_labels(options: argparse.Namespace) -> None:
    from bmc_jax import limits
    from bmc_jax.poses import pseudo_labels

    counts = pseudo_labels.write(options.annotations, options.landmarks, options.out, limits.load(options.limits))
    for split, count in counts.items():
        images, hands = counted(count["images"], "image"), counted(count["hands"], "hand")
        print(f"{split}: {images}, {hands}, {count['lifted']:,} with joints_3d")
    print(f"written to {options.out}; give the folder of the images as --images of `bmc data build coco_hand`")


def _verify(options: argparse.Namespace) -> None:
    from bmc_jax.data import store
    from bmc_jax.data.build import verify

    problems = []
    for name in options.folders:
        folder = store.find(name)
        faults = verify.verify(folder)
        problems += faults
        if not faults:
            print(f"{folder}: complete and valid, hash {store.summary(folder)['hash'][:16]}")
    if problems:
        raise ValueError(f"{len(problems)} faults found:\n  " + "\n  ".join(problems[:100]))


def _preview(options: argparse.Namespace) -> None:
    import jax
    import jax.numpy as jnp

    from bmc_jax.config import Augmentation
    from bmc_jax.data import augment
    from bmc_jax.visualization import draw

    # A third more on each side: the rotated, scaled and shifted crop may extend there.
    stored = options.size + 2 * (options.size // 3) if options.augment else options.size
    examples, title = _examples(options, stored)
    if options.augment:
        green = jnp.full(len(examples.present), options.green_screen)
        examples = augment.augment(
            jax.random.key(options.seed), examples, Augmentation(), options.size, green_screen=green
        )
        title += " · augmented"
    figure = draw.contact_sheet(examples.image, examples.joints_2d, examples.joints_2d_valid, title=title)
    draw.save(figure, options.out)
    print(f"{counted(len(examples.present), 'image')} drawn in {options.out}")


def _examples(options: argparse.Namespace, stored: int) -> tuple[Any, str]:
    """Returns a batch of images of `stored` pixels and the title of the sheet, which shows their centres."""
    import numpy as np

    from bmc_jax import synthesis
    from bmc_jax.data import photographs, store

    if options.source.startswith(COCO):
        file = Path(options.source.removeprefix(COCO))
        found = photographs.read(
            file, size=options.size, stored=stored, indices=photographs.spread(file, options.count)
        )
        return found.batch, f"{file.absolute().parent.name} · {found.description}"
    if options.source in synthesis.DOMAINS:
        split, domain = options.split or SPLITS[0], options.source
        if stored > options.size:
            domain = synthesis.domains.widen(synthesis.DOMAINS[domain], stored / options.size)
        examples = synthesis.render(options.seed, domain, split, np.arange(options.count), size=stored)
        return examples, f"{options.source} · {split}"
    folder = store.find(options.source)
    split = options.split or next(iter(store.summary(folder)["splits"]))
    records = store.records(folder, split)
    numbers = photographs.evenly(len(records), options.count)
    examples = photographs.batch([records[i] for i in numbers], numbers, size=options.size, stored=stored)
    return examples, f"{folder.parent.name} · {split} · {len(numbers)} of {len(records):,}"
