"""HTML report of one or more runs."""

import json
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bmc_jax import config, limits, metrics
from bmc_jax.core.plural import counted
from bmc_jax.inference import evaluate, measurements
from bmc_jax.inference.measurements import Domain, Measured, Measures, Photographs
from bmc_jax.metrics import dataset_protocols, evaluation, published
from bmc_jax.runtime import json_files
from bmc_jax.training import config_io, log
from bmc_jax.visualization import charts, draw, html

SHEET, POSES = 12, 3
"""Number of hands per figure: over their images, and in 3D."""

#: Rows of the paper's Table 2: training on RHD, mean errors on FreiHAND's validation images.
TABLE_2 = {
    "3D labels on both": "3D RHD + 3D FH",
    "the same, with the biomechanical losses": "3D RHD + 3D FH + BMC",
    "3D labels on RHD only": "3D RHD",
    "and 2D labels on FreiHAND": "3D RHD + 2D FH",
    "the same, with the biomechanical losses (the paper's result)": "3D RHD + 2D FH + BMC",
}
COLUMNS = ("joints_2d_px", "depth_mm", "joints_3d_mm")
"""Columns of this table."""

SUBTITLE = "3D hand pose from single images, weakly supervised through biomechanical constraints · bmc-jax"


def report(workdirs: Sequence[str | os.PathLike], out: str | os.PathLike) -> Path:
    """Writes a page of runs (configuration, curves, errors, predictions) and returns its path.

    For a run that was not evaluated, the page has configuration, limits and curves, and the command to add the rest.

    Args:
      workdirs: folders of the runs.
      out: the HTML file to write.

    Raises:
      FileNotFoundError: if a folder is not the folder of a run.
      ValueError: if no folder is given, or a file of a run cannot be read.
    """
    if not workdirs:
        raise ValueError("expected one or more folders of runs, got none; give one")
    runs = []
    for workdir in map(Path, workdirs):
        with json_files.agreement(workdir / evaluate.FILE, measurements.REMEDY):
            runs.append(_run(workdir))
    return html.write(
        out,
        "run_report.html",
        title=", ".join(dict.fromkeys(run["name"] for run in runs)),
        subtitle=SUBTITLE,
        summary=_summary([run["measured"] for run in runs]),
        runs=runs,
    )


def _summary(runs: Sequence[Measured | None]) -> dict[str, Any]:
    """Returns the mean errors of all runs, and the rows of the paper."""
    ours = [
        (f"{measured['experiment']} on {domain}", *(_with_interval(values, key) for key in COLUMNS))
        for measured in runs
        if measured
        for domain, values in measured["domains"].items()
    ]
    rows = [(words, published.ROWS[f"Table 2, {row}"]) for words, row in TABLE_2.items()]
    paper = [(f"Paper: {words}", *(f"{values[key]:.2f}" for key in COLUMNS)) for words, values in rows]
    return {"ours": ours, "paper": paper, "marked": [True] * len(ours) + [False] * len(paper)}


def _with_interval(values: Measures, key: str) -> str:
    if key not in values["network"]:
        return ""
    interval = values.get("intervals", {}).get(key)
    return f"{values['network'][key]:.2f}" + (f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else "")


def _run(folder: Path) -> dict[str, Any]:
    """Returns the part of the page about one run; missing results are empty."""
    options, measured = config_io.read(folder), measurements.read(folder)
    domains, rows = measured["domains"] if measured else {}, log.read(folder)
    photographs = measurements.read_photographs(folder)
    labelled = [name for name, values in domains.items() if values["count_3d"] == values["count"]]
    with json_files.agreement(folder / evaluate.PHOTOGRAPHS_FILE, measurements.REMEDY):
        part = photographs and _photographs(folder, photographs)
    errors = []
    if any("joints_2d_px" in values["network"] for values in domains.values()):
        errors.append(html.picture(_bars(domains), "Errors of the network and of the mean pose"))
    if labelled:
        errors.append(html.picture(_pck(folder, labelled), "Share of joints within each distance"))
    return {
        "name": options.name,
        "folder": folder,
        "measured": measured,
        "facts": _facts(options, measured),
        "measures": [_measures(name, values, measured["step"]) for name, values in domains.items() if measured],
        "protocols": [
            (name, metrics.PROTOCOLS[of["protocol"]].title, dataset_protocols.rows(of["figures"]), of["metres"])
            for name, of in ((name, values.get("official")) for name, values in domains.items())
            if of and of["figures"]
        ],
        "errors": errors,
        "curves": html.picture(charts.training_curves(rows), "Training curves") if rows else None,
        "domains": [
            {"name": name, "split": values["split"], "pictures": _hands(folder, name, name, name in labelled)}
            for name, values in domains.items()
        ],
        "photographs": part,
        "configuration": json.dumps(config_io.to_dict(options), indent=2),
    }


def _photographs(folder: Path, measured: Photographs) -> dict[str, Any]:
    """Returns the part of the page about photographs."""
    network = measured["network"]
    return {
        "measured": measured,
        "pixels": f"{network['joints_2d_px']:.1f}",
        "mean_pose_pixels": f"{measured['mean_pose']['joints_2d_px']:.1f}",
        "within_limits": f"{network['within_limits']:.1f}",
        "angles_within": f"{network['angles_within']:.1f}",
        "count": f"{measured['count']:,}",
        "pictures": _hands(folder, f"photographs_{measured['name']}", "photographs", False),
    }


def _facts(options: config.Config, measured: Measured | None) -> dict[str, Any]:
    """Returns the main settings of the run as text."""
    weights, network, rates = options.weights, options.network, options.optimizer
    stem = f", patch stem of {network.patch}" if network.patch else ""
    return {
        "training data": "; ".join(
            f"{counted(source.count, f'{source.name} image')}{' an epoch' * source.fresh} with {source.labels.upper()} "
            "labels"
            for source in options.data.train
        ),
        "network": f"ResNet-{network.depth}, width {network.width}{stem}, {network.dtype}, "
        f"images of {options.data.image_size} px",
        "optimizer": f"{rates.name}, rate {rates.rate:g}, {rates.schedule} schedule, batch {options.data.batch_size}, "
        f"{options.training.epochs:g} epochs = {counted(config.steps(options), 'step')}",
        "biomechanical weights": f"bone length {weights.bone_length:g}, palm {weights.palm:g}, "
        f"joint angle {weights.joint_angle:g}",
        "limits": measured["limits"] if measured else options.limits.source,
        "seed": options.seed,
        **(measured["environment"] if measured else {}),
    }


def _measures(name: str, values: Domain, step: int) -> tuple[str, list[list[str]]]:
    """Returns the title and the rows of the table of a domain's metrics."""
    rows = []
    for key, (words, unit, digits, _) in evaluation.METRICS.items():
        numbers = (of.get(key) for of in (values["network"], values["mean_pose"], values.get("labels", {})))
        network, mean_pose, labels = ("" if number is None else f"{number:.{digits}f}" for number in numbers)
        reduction = values["reduction_percent"].get(key)
        reduced = "" if reduction is None else f"{reduction:.1f} %"
        rows.append([f"{words}, {unit}" if unit else words, network, mean_pose, reduced, labels])
    images = counted(values["count"], f"{values['split']} image")
    return f"{name}: {images} at step {step:,}", rows


def _bars(domains: Mapping[str, Domain]) -> Figure:
    panels = {"2D error, px": "joints_2d_px", "Z error, mm": "depth_mm", "3D error, mm": "joints_3d_mm"}
    return charts.bars(
        {
            title: {
                name: {"network": values["network"][key], "mean pose": values["mean_pose"][key]}
                for name, values in domains.items()
                if key in values["network"]
            }
            for title, key in panels.items()
        }
    )


def _pck(folder: Path, domains: Sequence[str]) -> Figure:
    thresholds = np.linspace(0, 0.05, 100)
    curves = {}
    for domain in domains:
        kept = predictions(folder, domain)
        scale = kept["scale"][:, None, None]
        labels = metrics.root_relative(kept["labels_3d"])
        for name, poses in ((domain, kept["joints_3d"]), (f"{domain}, mean pose", kept["mean_3d"][None])):
            errors = metrics.joint_errors(metrics.root_relative(poses * scale), labels)
            curves[name] = metrics.pck(errors, thresholds).mean(axis=1)
    return charts.pck(curves, thresholds * metrics.MILLIMETRES)


def _hands(folder: Path, name: str, title: str, labelled_3d: bool) -> list[html.Picture]:
    """Returns figures of hands over their images, in 3D, and of their angles in the hulls.

    The unit of the 3D figure is mm, or scale units without complete 3D labels.
    """
    kept = predictions(folder, name)
    valid = None if labelled_3d else kept["labels_2d_valid"]
    scale = kept["scale"][:POSES, None, None] * metrics.MILLIMETRES if labelled_3d else 1.0
    sheet = draw.contact_sheet(
        kept["image"][:SHEET],
        kept["labels_2d"][:SHEET],
        None if valid is None else valid[:SHEET],
        predicted=kept["joints_2d"][:SHEET],
    )
    poses = draw.poses(
        kept["image"][:POSES],
        kept["joints_2d"][:POSES],
        kept["joints_3d"][:POSES] * scale,
        kept["labels_2d"][:POSES],
        kept["labels_3d"][:POSES] * metrics.MILLIMETRES if labelled_3d else None,
        valid=None if valid is None else valid[:POSES],
        unit="mm" if labelled_3d else "scale",
    )
    words = f"{title}: predicted joint angles"
    hulls = draw.angle_hulls(
        limits.load(folder / limits.FILE), limits.measure(kept["joints_3d"])["angles"], title=words
    )
    return [
        html.picture(sheet, f"Predicted hands over {'their images' if labelled_3d else 'photographs'}"),
        html.picture(poses, "Predicted hands in 3D"),
        html.picture(hulls, words),
    ]


def predictions(folder: Path, name: str) -> dict[str, np.ndarray]:
    """Returns the arrays that `evaluate` saved for an entry of `data.test`.

    Raises:
      FileNotFoundError: if the file does not exist.
      ValueError: if it is damaged.
    """
    file = evaluate.predictions_file(folder, name)
    if not file.is_file():
        raise FileNotFoundError(f"expected {file}, got no file; run `bmc evaluate {folder}` again")
    try:
        with np.load(file) as content:
            return dict(content)
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{file} is damaged: {error}; {measurements.REMEDY}") from error
