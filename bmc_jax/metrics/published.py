"""Numbers published in the paper, by row of its tables. Errors are relative to the wrist unless named otherwise.

Metrics have the names of `evaluation.METRICS` or of `metrics.protocol_metrics`, in pixels and millimetres. Tables 2 to
6 state results on FreiHAND's validation images. Metrics of other tables have the test images as a prefix:
"IMAGES/METRIC".
"""

from bmc_jax.metrics import evaluation

#: Table 2: 2D, depth and 3D errors by training labels.
_TABLE_2: dict[str, tuple[float, ...]] = {
    "3D RHD + 3D FH": (3.72, 5.69, 8.78),
    "3D RHD + 3D FH + BMC": (3.70, 5.44, 8.60),
    "3D RHD": (12.35, 20.02, 30.82),
    "3D RHD + 2D FH": (3.80, 17.02, 20.92),
    "3D RHD + 2D FH + BMC": (3.79, 9.97, 13.78),
}
#: Mean and median 3D error, and area under PCK.
_TABLES_3_TO_6: dict[str, tuple[float, ...]] = {
    "Table 3, without refinement": (11.20, 8.62, 0.95),
    "Table 3, with refinement": (9.76, 8.14, 0.97),
    "Table 4, 3D RHD + 2D FH": (20.92, 16.93, 0.81),
    "Table 4, + BL": (17.58, 14.81, 0.88),
    "Table 4, + RB": (15.48, 13.49, 0.91),
    "Table 4, + A": (13.78, 11.61, 0.92),
    "Table 4, 3D RHD + 3D FH": (8.78, 7.25, 0.98),
    "Table 5, independent": (15.57, 13.45, 0.91),
    "Table 5, dependent": (13.78, 11.61, 0.92),
    "Table 6, approximated": (16.14, 13.93, 0.90),
    "Table 6, computed": (13.78, 11.61, 0.92),
}
#: FreiHAND's test set after Procrustes alignment: mean error (in cm in the paper) and area under PCK.
_TABLE_7_FREIHAND: dict[str, tuple[float, ...]] = {
    "3D RHD + 3D FH": (9.0, 0.82),
    "3D RHD": (16.0, 0.69),
    "3D RHD + 2D FH": (12.6, 0.75),
    "3D RHD + 2D FH + BMC": (11.3, 0.78),
}
#: HO-3D, by the server of the challenge: EXTRAP and INTERP.
_TABLE_7_HO3D: dict[str, tuple[float, ...]] = {
    "3D RHD + 3D HO-3D": (18.22, 5.02),
    "3D RHD": (20.84, 33.57),
    "3D RHD + 2D HO-3D": (19.57, 25.16),
    "3D RHD + 2D HO-3D + BMC": (18.42, 10.31),
}
#: Dexter+Object, area under PCK from 20 to 50 mm. The paper names the alignment only for unaligned results.
_TABLE_8: dict[str, float] = {
    "ours": 0.82,
    "Zhang (2019)": 0.82,
    "Boukhayma (2019)": 0.76,
    "Zimmermann (2018)": 0.57,
    "Spurr (2018)": 0.51,
}
_TABLE_8_UNALIGNED: dict[str, float] = {"Iqbal (2018)": 0.67, "Baek (2019)": 0.61, "Mueller (2018)": 0.48}


def _rows(
    number: int | str, table: dict[str, tuple[float, ...]], names: list[str], on: str = ""
) -> dict[str, dict[str, float]]:
    keys = [f"{on}/{name}" if on else name for name in names]
    prefix = f"Table {number}, " if number else ""
    return {f"{prefix}{row}": dict(zip(keys, values, strict=True)) for row, values in table.items()}


def _table_7() -> dict[str, dict[str, float]]:
    """Merges both datasets: the network without labels of the target was evaluated on both."""
    freihand = _rows(7, _TABLE_7_FREIHAND, ["joints_procrustes_mean_mm", "joints_procrustes_auc_0_50mm"], "freihand")
    ho3d = _rows(7, _TABLE_7_HO3D, ["extrap_mm", "interp_mm"], "ho3d_v1")
    return {row: freihand.get(row, {}) | ho3d.get(row, {}) for row in freihand | ho3d}


def _table_8() -> dict[str, dict[str, float]]:
    aligned = {name: (value,) for name, value in _TABLE_8.items()}
    unaligned = {name: (value,) for name, value in _TABLE_8_UNALIGNED.items()}
    return {
        **_rows(8, aligned, ["tips_procrustes_auc_20_50mm"], "dexter_object"),
        **_rows(8, unaligned, ["tips_absolute_auc_20_50mm"], "dexter_object"),
    }


ROWS = {
    **_rows(2, _TABLE_2, ["joints_2d_px", "depth_mm", "joints_3d_mm"]),
    **_rows("", _TABLES_3_TO_6, ["joints_3d_mm", "joints_3d_median_mm", "joints_3d_auc"]),
    **_table_7(),
    **_table_8(),
}

#: Titles of the metrics of protocols and of servers.
TITLES = {
    "joints_procrustes_mean_mm": "official: 3D, Procrustes, mm",
    "joints_procrustes_auc_0_50mm": "official: 3D, Procrustes, AUC 0-50 mm",
    "tips_procrustes_auc_20_50mm": "official: tips, Procrustes, AUC 20-50 mm",
    "tips_absolute_auc_20_50mm": "official: tips, unaligned, AUC 20-50 mm",
    "extrap_mm": "EXTRAP, mm",
    "interp_mm": "INTERP, mm",
}


def title(measure: str) -> str:
    """Returns the title of a metric with its unit."""
    return TITLES.get(measure) or evaluation.title(measure)


def row(name: str, on: str, is_target: bool) -> dict[str, float]:
    """Returns the metrics of a row on the test images `on`; empty if there is no such row.

    Metrics without a prefix are of the target domain's images, and are returned if `is_target`.
    """
    found = {}
    for key, value in ROWS.get(name, {}).items():
        images, slash, measure = key.rpartition("/")
        if images == on if slash else is_target:
            found[measure] = value
    return found
