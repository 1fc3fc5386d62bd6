"""Limits in files, and every file that must be refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bmc_jax import hull, limits

INTERVALS = ("bone_length", "curvature", "spread")


def test_limits_go_through_a_file_unchanged(fitted, tmp_path):
    file = tmp_path / "folder" / "limits.json"
    for written in (fitted, limits.widen(fitted, degrees=5.0, fraction=0.1)):
        limits.save(written, file)
        read = limits.load(file)
        assert read.meta == written.meta
        for name in (*INTERVALS, "hull", "support"):
            np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    assert [path.name for path in file.parent.iterdir()] == ["limits.json"]
    assert '"DIP": [' in file.read_text()


def test_a_failed_save_leaves_the_old_file(fitted, tmp_path, monkeypatch):
    file = tmp_path / "limits.json"
    limits.save(fitted, file)
    before = file.read_bytes()

    def full(*_, **__):
        raise OSError(28, "no space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space"):
        limits.save(limits.widen(fitted, degrees=1.0), file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_a_clockwise_hull_in_a_file_is_turned_around(fitted, tmp_path):
    file = tmp_path / "limits.json"
    limits.save(fitted, file)
    content = json.loads(file.read_text())
    content["hull"]["index"]["PIP"].reverse()
    file.write_text(json.dumps(content))
    read = limits.load(file)
    angles = jnp.asarray(np.random.default_rng(0).uniform(-1.5, 1.5, (50, 5, 3, 2)), jnp.float32)
    np.testing.assert_allclose(
        jax.jit(hull.distance)(angles, read.hull), jax.jit(hull.distance)(angles, fitted.hull), atol=1e-6
    )


def edit(path, value):
    """A change to a file's content at a path of keys; DELETE removes."""

    def change(content):
        node = content
        for key in path[:-1]:
            node = node[key]
        if value is DELETE:
            del node[path[-1]]
        else:
            node[path[-1]] = value

    return change


DELETE = object()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit(["metadata", "version"], "0"), r"metadata.version: expected '1', got '0'; fit the limits again"),
        (edit(["metadata", "unit"], "millimetre"), r"metadata.unit: .* got 'millimetre'; divide lengths"),
        (edit(["metadata", "scale_bone"], [0, 9]), r"metadata.scale_bone: .* got \(0, 9\)"),
        (edit(["metadata", "root"], 9), r"metadata.root: .* got 9"),
        (edit(["metadata", "joint_order"], "rhd"), r"metadata.joint_order: .* got 'rhd'; reorder the joints"),
        (edit(["metadata", "hand"], "left"), r"metadata.hand: .* got 'left'; mirror the poses"),
        (edit(["metadata", "convention"], "flexion>0 dorsal"), r"metadata.convention: .* got 'flexion>0 dorsal'"),
        (edit(["metadata", "count"], "many"), r"metadata.count: .* got 'many'"),
        (edit(["metadata", "margin_degrees"], float("nan")), r"metadata.margin_degrees: .* got nan"),
        (edit(["metadata", "outer"], 1), r"metadata.outer: .* got 1"),
        (edit(["metadata", "percentiles"], [100.0, 0.0]), r"metadata.percentiles: .* got \[100.0, 0.0\]"),
        (edit(["metadata", "source"], DELETE), r"expected the field 'metadata.source', got none"),
        (edit(["metadata", "colour"], "red"), r"expected no other fields, got colour"),
        (edit(["metadata"], []), r"'metadata': expected an object"),
        (edit(["format"], "limits of speed"), r"expected a limits file .* got 'limits of speed'"),
        (edit(["hull"], DELETE), r"'hull': expected an object"),
        (edit(["hull", "ring"], DELETE), r"'hull': expected ring, got none"),
        (edit(["hull", "ring", "TIP"], DELETE), r"'hull.ring': expected TIP, got none"),
        (edit(["hull", "ring", "TIP", 3], [0.1, float("nan")]), r"'hull.ring.TIP': expected finite numbers, got nan"),
        (edit(["hull", "ring", "TIP", 3], [0.1]), r"'hull.ring.TIP': expected numbers, got"),
        (edit(["hull", "ring", "TIP", 3], DELETE), r"'hull': expected polygons .* got 15 and 16"),
        (edit(["hull", "ring", "TIP", 3], [-1.9, -1.2]), r"hull of ring TIP: not convex"),
        (edit(["hull", "ring", "TIP", 3], [80.0, 5.0]), r"hull of ring TIP: vertex 3 .*wanted in radians"),
        (edit(["bone_length", "index", "DIP"], [0.9, 0.4]), r"bone_length index DIP: .*low <= high, got \[0.9, 0.4\]"),
        (edit(["bone_length", "index", "DIP"], [-0.9, 0.4]), r"bone_length index DIP: .*lengths of at least 0, got"),
        (edit(["bone_length", "index", "DIP"], "long"), r"'bone_length.index.DIP': expected numbers, got long"),
        (edit(["spread", "ring-little"], [0.4, 0.1]), r"spread ring-little: .*low <= high, got \[0.4, 0.1\]"),
        (edit(["curvature", "ring-little"], [0.4]), r"'curvature.ring-little': .* got the shape \[1\]"),
        (edit(["support", "thumb", "PIP"], 7), r"'support.thumb.PIP': .* got the shape \[\]"),
    ],
)
def test_a_bad_limits_file_is_refused_by_name(fitted, tmp_path, change, message):
    file = tmp_path / "bad.json"
    limits.save(fitted, file)
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as caught:
        limits.load(file)
    assert "bad.json" in str(caught.value)


def test_corrupted_and_missing_files_are_refused(fitted, tmp_path):
    file = tmp_path / "bad.json"
    limits.save(fitted, file)
    text = file.read_text()
    for corrupted in (text[: len(text) // 2], "", "\x00\x01"):
        file.write_text(corrupted)
        with pytest.raises(ValueError, match="not valid JSON"):
            limits.load(file)
    file.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ValueError, match="not valid JSON"):
        limits.load(file)
    file.write_text("[1, 2]")
    with pytest.raises(ValueError, match="expected a limits file"):
        limits.load(file)
    with pytest.raises(FileNotFoundError, match=r"a preset of clinical, .* got 'clinicle'"):
        limits.load("clinicle")
