"""Run folders -> one HTML page that holds everything."""

import html
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bmc_jax import config, limits, metrics
from bmc_jax.inference import evaluate
from bmc_jax.metrics import dataset_protocols, evaluation
from bmc_jax.metrics import published as paper
from bmc_jax.training import config_io, log
from bmc_jax.visualization import charts, draw
from bmc_jax.visualization import html as document

#: Hands a picture: over their images, and in 3D.
SHEET, POSES = 12, 3

#: Rows of the paper's Table 2: training on RHD, mean errors on FreiHAND's validation images.
TABLE_2 = {
    "3D labels on both": "3D RHD + 3D FH",
    "the same, with the biomechanical losses": "3D RHD + 3D FH + BMC",
    "3D labels on RHD only": "3D RHD",
    "and 2D labels on FreiHAND": "3D RHD + 2D FH",
    "the same, with the biomechanical losses (the paper's result)": "3D RHD + 2D FH + BMC",
}
#: Columns of that table.
COLUMNS = ("joints_2d_px", "depth_mm", "joints_3d_mm")

SUBTITLE = "3D hand pose from single images, weakly supervised through biomechanical constraints · bmc-jax"


def report(workdirs: Sequence[str | os.PathLike], out: str | os.PathLike) -> Path:
    """Write what the runs in `workdirs` were, learned and predict as one page at `out`, and return its path.

    A run that was not evaluated has its configuration, limits and curves; the page says how to add the rest.

    Raises:
      FileNotFoundError: if a folder is not a run's.
      ValueError: if no folder is given, or a file of a run cannot be read.
    """
    if not workdirs:
        raise ValueError("no run folder to report on")
    folders = [Path(workdir) for workdir in workdirs]
    names = [config_io.read(folder).name for folder in folders]
    body = [_summary(folders)]
    for folder, name in zip(folders, names, strict=True):
        body.append(f"<h2>{html.escape(name)} <span class='quiet'>{html.escape(str(folder))}</span></h2>")
        body += _run(folder)
    return document.write(", ".join(dict.fromkeys(names)), SUBTITLE, body, out)


def _summary(folders: list[Path]) -> str:
    """All runs beside each other and beside the paper."""
    rows = []
    for folder in folders:
        measured = read_json(folder / evaluate.FILE)
        for domain, values in measured.get("domains", {}).items():
            words = (_with_interval(values, key) for key in COLUMNS)
            rows.append((f"{measured['experiment']} on {domain}", *words))
    published = [(words, paper.ROWS[f"Table 2, {row}"]) for words, row in TABLE_2.items()]
    theirs = [(f"Paper: {words}", *(f"{values[key]:.2f}" for key in COLUMNS)) for words, values in published]
    return (
        "<h3>Mean errors, beside the paper's Table 2</h3>"
        + document.table(["", "2D, px", "Z, mm", "3D, mm"], rows + theirs, ours=len(rows))
        + "<p class='quiet'>The same quantities on other images: the paper's are photographs of FreiHAND after "
        "training on RHD, those above it are this package's rendered test hands. The order of the settings compares, "
        "the figures do not. Z and 3D are relative to the wrist. In brackets, 95 % intervals over the test images: how "
        "far another draw of such images might move a figure, not another seed of training.</p>"
    )


def _with_interval(values: dict[str, Any], key: str) -> str:
    if key not in values["network"]:
        return ""
    interval = values.get("intervals", {}).get(key)
    return f"{values['network'][key]:.2f}" + (f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else "")


def _run(folder: Path) -> Iterable[str]:
    """The parts of one run, as far as it has come."""
    options, measured = config_io.read(folder), read_json(folder / evaluate.FILE)
    yield _facts(options, measured)
    if "domains" in measured:
        yield _measures(measured)
        yield from _official(measured)
        if any("joints_2d_px" in values["network"] for values in measured["domains"].values()):
            yield document.picture(_bars(measured), "Errors of the network and of the mean pose")
        if _whole(measured):
            yield document.picture(_pck(folder, measured), "Share of joints within each distance")
    else:
        yield f"<p>Not evaluated yet: run <code>bmc evaluate {html.escape(str(folder))}</code>.</p>"
    rows = log.read(folder)
    if rows:
        yield "<h3>Training</h3><p class='quiet'>Loss terms as trained on, before their weights.</p>"
        yield document.picture(charts.training_curves(rows), "Training curves")
    for domain, values in measured.get("domains", {}).items():
        yield (_domain if domain in _whole(measured) else _partly)(folder, domain, values["split"])
    photographs = read_json(folder / evaluate.PHOTOGRAPHS_FILE)
    if photographs:
        yield _photographs(folder, photographs)
    yield "<details><summary>Whole configuration</summary><pre>"
    yield html.escape(json.dumps(config_io.to_dict(options), indent=2)) + "</pre></details>"


def _facts(options: config.Config, measured: dict[str, Any]) -> str:
    """What was run, in a few lines."""
    sources = "; ".join(
        f"{source.count:,} {source.name} images{' an epoch' * source.fresh} with {source.labels.upper()} labels"
        for source in options.data.train
    )
    weights, network, rates = options.weights, options.network, options.optimizer
    stem = f", patch stem of {network.patch}" if network.patch else ""
    biomechanical = f"bone length {weights.bone_length:g}, palm {weights.palm:g}, joint angle {weights.joint_angle:g}"
    facts = {
        "training data": sources,
        "network": f"ResNet-{network.depth}, width {network.width}{stem}, {network.dtype}, "
        f"images of {options.data.image_size} px",
        "optimizer": f"{rates.name}, rate {rates.rate:g}, {rates.schedule} schedule, batch {options.data.batch_size}, "
        f"{options.training.epochs:g} epochs = {config.steps(options):,} steps",
        "biomechanical weights": biomechanical,
        "limits": measured.get("limits", options.limits.source),
        "seed": options.seed,
        **measured.get("environment", {}),
    }
    rows = "".join(f"<tr><td>{name}</td><td>{html.escape(str(value))}</td></tr>" for name, value in facts.items())
    return f"<table class='facts'>{rows}</table>"


def _measures(measured: dict[str, Any]) -> str:
    """Every measure of every domain."""
    parts = []
    for domain, values in measured["domains"].items():
        rows = []
        for key, (words, unit, digits, _) in evaluation.METRICS.items():
            numbers = [values.get(who, {}).get(key) for who in ("network", "mean_pose", "labels")]
            reduction = values["reduction_percent"].get(key)
            rows.append(
                (
                    f"{words}, {unit}" if unit else words,
                    *("" if number is None else f"{number:.{digits}f}" for number in numbers[:2]),
                    "" if reduction is None else f"{reduction:.1f} %",
                    "" if numbers[2] is None else f"{numbers[2]:.{digits}f}",
                )
            )
        title = f"{domain}: {values['count']:,} {values['split']} images at step {measured['step']:,}"
        head = ["", "network", "mean pose", "reduction", "labels"]
        parts.append(f"<div><h3>{html.escape(title)}</h3>{document.table(head, rows)}</div>")
    return f"<div class='beside'>{''.join(parts)}</div>"


def _official(measured: dict[str, Any]) -> Iterable[str]:
    """What the datasets' own protocols say, every figure with its alignment and unit in its name."""
    for domain, values in measured["domains"].items():
        found = values.get("official", {})
        if found.get("figures"):
            title = metrics.PROTOCOLS[found["protocol"]].title
            yield f"<h3>{html.escape(domain)} by {html.escape(title)}'s protocol</h3>"
            yield document.table(["", "value", "95 % interval"], dataset_protocols.rows(found["figures"]))
            yield f"<p class='quiet'>Poses in metres by {html.escape(found['metres'])}.</p>"


def _bars(measured: dict[str, Any]) -> Figure:
    panels = {"2D error, px": "joints_2d_px", "Z error, mm": "depth_mm", "3D error, mm": "joints_3d_mm"}
    return charts.bars(
        {
            title: {
                domain: {"network": values["network"][key], "mean pose": values["mean_pose"][key]}
                for domain, values in measured["domains"].items()
                if key in values["network"]
            }
            for title, key in panels.items()
        }
    )


def _pck(folder: Path, measured: dict[str, Any]) -> Figure:
    thresholds = np.linspace(0, 0.05, 100)
    curves = {}
    for domain in _whole(measured):
        kept = predictions(folder, domain)
        scale = kept["scale"][:, None, None]
        labels = metrics.root_relative(kept["labels_3d"])
        for name, poses in ((domain, kept["joints_3d"]), (f"{domain}, mean pose", kept["mean_3d"][None])):
            errors = metrics.joint_errors(metrics.root_relative(poses * scale), labels)
            curves[name] = metrics.pck(errors, thresholds).mean(axis=1)
    return charts.pck(curves, thresholds * metrics.MILLIMETRES)


def _whole(measured: dict[str, Any]) -> list[str]:
    """The test sets of which every hand is labelled in 3D."""
    return [name for name, values in measured["domains"].items() if values["count_3d"] == values["count"]]


def _domain(folder: Path, domain: str, split: str) -> str:
    """Hands over their images, in 3D, and their angles in the hulls."""
    kept = predictions(folder, domain)
    millimetres = kept["scale"][:, None, None] * metrics.MILLIMETRES
    sheet = draw.contact_sheet(kept["image"][:SHEET], kept["labels_2d"][:SHEET], predicted=kept["joints_2d"][:SHEET])
    poses = draw.poses(
        kept["image"][:POSES],
        kept["joints_2d"][:POSES],
        (kept["joints_3d"] * millimetres)[:POSES],
        kept["labels_2d"][:POSES],
        kept["labels_3d"][:POSES] * metrics.MILLIMETRES,
    )
    return (
        f"<h3>{html.escape(domain)}: the first images of the {split} split, not a choice</h3>"
        + document.picture(sheet, "Predicted hands over their images")
        + document.picture(poses, "Predicted hands in 3D")
        + _hulls(folder, kept["joints_3d"], f"{domain}: predicted joint angles")
    )


def _partly(folder: Path, domain: str, split: str) -> str:
    """As `_domain`, without 3D labels and so in scale units."""
    kept = predictions(folder, domain)
    return (
        f"<h3>{html.escape(domain)}: the first images of the {split} split, not a choice</h3>"
        + _unlabelled(kept)
        + _hulls(folder, kept["joints_3d"], f"{domain}: predicted joint angles")
    )


def _unlabelled(kept: dict[str, np.ndarray]) -> str:
    """Hands over their images, and in 3D without labels there."""
    sheet = draw.contact_sheet(
        kept["image"][:SHEET],
        kept["labels_2d"][:SHEET],
        kept["labels_2d_valid"][:SHEET],
        predicted=kept["joints_2d"][:SHEET],
    )
    poses = draw.poses(
        kept["image"][:POSES],
        kept["joints_2d"][:POSES],
        kept["joints_3d"][:POSES],
        kept["labels_2d"][:POSES],
        valid=kept["labels_2d_valid"][:POSES],
        unit="scale",
    )
    return document.picture(sheet, "Predicted hands over photographs") + document.picture(
        poses, "Predicted hands in 3D"
    )


def _photographs(folder: Path, measured: dict[str, Any]) -> str:
    kept = predictions(folder, f"photographs_{measured['name']}")
    network = measured["network"]
    whose = "labels, which another model predicted" if measured["labels_predicted"] else "labels"
    return (
        f"<h3>Photographs: {measured['count']:,} of {html.escape(measured['name'])}</h3>"
        f"<p>{network['joints_2d_px']:.1f}&nbsp;px from the {whose}; their mean pose is "
        f"{measured['mean_pose']['joints_2d_px']:.1f} px away. {network['within_limits']:.1f}&nbsp;% of the poses "
        f"and {network['angles_within']:.1f}&nbsp;% of the joint angles are within the limits.</p>"
        f"<p class='quiet'>{html.escape(measured['description'])}</p>"
        + _unlabelled(kept)
        + _hulls(folder, kept["joints_3d"], "photographs: predicted joint angles")
    )


def _hulls(folder: Path, joints_3d: np.ndarray, title: str) -> str:
    angles = limits.measure(joints_3d)["angles"]
    figure = draw.angle_hulls(limits.load(folder / limits.FILE), angles, title=title)
    return document.picture(figure, title)


def predictions(folder: Path, name: str) -> dict[str, np.ndarray]:
    """What `evaluate` kept of a run on an entry of `data.test`. Raises FileNotFoundError, with a remedy, without it."""
    file = evaluate.predictions_file(folder, name)
    if not file.is_file():
        raise FileNotFoundError(f"{file} is not there any more; run `bmc evaluate {folder}` again")
    with np.load(file) as content:
        return dict(content)


def read_json(file: Path) -> dict[str, Any]:
    """The file's content; nothing if it is not there."""
    if not file.is_file():
        return {}
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}; evaluate the run again") from error
