"""The paper's own numbers, to stand beside ours: FreiHAND's validation images, joints relative to the wrist.

By row; the measures have the names of `measures.MEASURES`, pixels and millimetres.
"""

#: Table 2: 2D, depth and 3D errors by what was labelled.
_TABLE_2: dict[str, tuple[float, ...]] = {
    "3D RHD + 3D FH": (3.72, 5.69, 8.78),
    "3D RHD + 3D FH + BMC": (3.70, 5.44, 8.60),
    "3D RHD": (12.35, 20.02, 30.82),
    "3D RHD + 2D FH": (3.80, 17.02, 20.92),
    "3D RHD + 2D FH + BMC": (3.79, 9.97, 13.78),
}
#: Mean and median 3D error, and AUC.
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


def _rows(table: dict[str, tuple[float, ...]], measures: list[str]) -> dict[str, dict[str, float]]:
    return {name: dict(zip(measures, values, strict=True)) for name, values in table.items()}


ROWS = {
    **_rows(
        {f"Table 2, {name}": values for name, values in _TABLE_2.items()}, ["joints_2d_px", "depth_mm", "joints_3d_mm"]
    ),
    **_rows(_TABLES_3_TO_6, ["joints_3d_mm", "joints_3d_median_mm", "joints_3d_auc"]),
}
