"""Tables of poses whose lines have more than coordinates: every number stays in its place."""

import numpy as np
import pytest
from support import hands

from bmc_jax.data import pose_files

P = hands.adults()[:5]
FLAT = P.reshape(5, 63)
SURE = np.full((5, 21, 1), 0.9)
WITH_CONFIDENCE = np.concatenate([P, SURE], axis=2).reshape(5, 84)
FRAMES = np.arange(5.0)[:, None]
NAMES = [f"joint{joint}_{axis}" for joint in range(21) for axis in "xyz"]
FINGERS = [f"{finger}_finger_{level}_{axis}" for finger in ("index", "hand") for level in range(11) for axis in "XYZ"][
    :63
]


def read(folder, rows, names=(), name="a.csv", encoding="utf-8"):
    lines = [",".join(map(str, row)) for row in np.asarray(rows, object)]
    (folder / name).write_bytes("\n".join([*([",".join(names)] if names else []), *lines]).encode(encoding))
    return pose_files.read(folder / name)


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        (FLAT, ()),
        (np.hstack([FRAMES, FLAT]), ()),
        (np.hstack([FLAT, SURE[:, 0]]), ()),
        (WITH_CONFIDENCE, ()),
        (np.hstack([FRAMES, WITH_CONFIDENCE]), ()),
        (np.hstack([FRAMES, FLAT, SURE[:, 0]]), ["frame", *NAMES, "confidence"]),
        (np.hstack([FLAT, SURE[:, 0]]), [*NAMES, "score"]),
        (np.hstack([FRAMES, FLAT]), ["", *map(str, range(63))]),
        (FLAT, [*map(str, range(63))]),
        (np.hstack([FRAMES, FLAT]), ["timestamp_ms", *FINGERS]),
        (WITH_CONFIDENCE, [f"{name}{joint}" for joint in range(21) for name in "xyzc"]),
        (np.swapaxes(P, 1, 2).reshape(5, 63), [f"{axis}{joint}" for axis in "xyz" for joint in range(21)]),
    ],
)
def test_other_columns_do_not_shift_the_coordinates(tmp_path, rows, names):
    np.testing.assert_array_equal(read(tmp_path, rows, names).joints, P)


def test_column_of_sides_is_read(tmp_path):
    rows = [["Left" if row % 2 else "right", *FLAT[row]] for row in range(5)]
    found = read(tmp_path, rows, ["hand", *NAMES])
    np.testing.assert_array_equal(found.joints, P)
    assert found.left.tolist() == [False, True, False, True, False]
    with pytest.raises(ValueError, match=r"line 2: side: expected left or right, got 'both'"):
        read(tmp_path, [["both", *FLAT[0]]], ["hand", *NAMES])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_tables_of_spreadsheets_are_read(tmp_path, encoding):
    np.testing.assert_array_equal(read(tmp_path, FLAT, NAMES, "A.CSV", encoding).joints, P)
    text = "\n".join(";".join(map(str, row)) for row in FLAT).replace(".", ",")
    (tmp_path / "b.csv").write_bytes(text.encode(encoding))
    np.testing.assert_array_equal(pose_files.read(tmp_path / "b.csv").joints, P)


def test_ambiguous_columns_are_refused(tmp_path):
    def refused(message, rows, names=()):
        with pytest.raises(ValueError, match=message):
            read(tmp_path, rows, names)

    refused(
        "expected 63 columns, got 64, .* the first may be the frame's number or the last a confidence",
        np.hstack([FLAT * -1e3, FRAMES + 2]),
    )
    refused("expected 63 columns, got 64", np.hstack([FRAMES / 30, FLAT])[:2])
    refused("a confidence in .*got a fourth number outside", np.repeat(FLAT, 4, axis=1)[:, :84] * 1e3)
    refused(
        "expected 63 columns, .*got 65, a, b, joint0_x to joint20_y",
        np.hstack([FRAMES, FRAMES, FLAT]),
        ["a", "b", *NAMES[:-1], "joint20_y"],
    )
    (tmp_path / "c.csv").write_bytes(b"\xff\xfe\xff\xff\xff")
    with pytest.raises(ValueError, match=r"c\.csv: expected text in UTF-8 or UTF-16"):
        pose_files.read(tmp_path / "c.csv")
