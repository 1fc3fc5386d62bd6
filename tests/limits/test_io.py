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
        (edit(["metadata", "version"], "0"), r"metadata.version is '0', and here it is '1': fit them again"),
        (edit(["metadata", "unit"], "millimetre"), r"metadata.unit is 'millimetre'.*divide lengths"),
        (edit(["metadata", "scale_bone"], [0, 9]), r"metadata.scale_bone is \(0, 9\)"),
        (edit(["metadata", "root"], 9), r"metadata.root is 9"),
        (edit(["metadata", "joint_order"], "rhd"), r"metadata.joint_order is 'rhd'.*reorder the joints"),
        (edit(["metadata", "hand"], "left"), r"metadata.hand is 'left'.*mirror the poses"),
        (edit(["metadata", "convention"], "flexion>0 dorsal"), r"metadata.convention is 'flexion>0 dorsal'"),
        (edit(["metadata", "count"], "many"), r"metadata.count is 'many'"),
        (edit(["metadata", "margin_degrees"], float("nan")), r"metadata.margin_degrees is nan"),
        (edit(["metadata", "outer"], 1), r"metadata.outer is 1"),
        (edit(["metadata", "percentiles"], [100.0, 0.0]), r"metadata.percentiles are \[100.0, 0.0\]"),
        (edit(["metadata", "source"], DELETE), r"'metadata.source' is missing"),
        (edit(["metadata", "colour"], "red"), r"no meaning here: colour"),
        (edit(["metadata"], []), r"'metadata' is missing or not an object"),
        (edit(["format"], "limits of speed"), r"not a limits file: format is 'limits of speed'"),
        (edit(["hull"], DELETE), r"'hull' is missing"),
        (edit(["hull", "ring"], DELETE), r"'hull' lacks ring"),
        (edit(["hull", "ring", "TIP"], DELETE), r"'hull.ring' lacks TIP"),
        (edit(["hull", "ring", "TIP", 3], [0.1, float("nan")]), r"'hull.ring.TIP' holds nan"),
        (edit(["hull", "ring", "TIP", 3], [0.1]), r"'hull.ring.TIP' is .*not numbers"),
        (edit(["hull", "ring", "TIP", 3], DELETE), r"polygons of 15 and of 16 vertices"),
        (edit(["hull", "ring", "TIP", 3], [-1.9, -1.2]), r"hull of ring TIP: not convex"),
        (edit(["hull", "ring", "TIP", 3], [80.0, 5.0]), r"hull of ring TIP: vertex 3 .*wanted in radians"),
        (edit(["bone_length", "index", "DIP"], [0.9, 0.4]), r"bone_length index DIP is \[0.9, 0.4\]: its lower end"),
        (edit(["bone_length", "index", "DIP"], [-0.9, 0.4]), r"bone_length index DIP .*no length is negative"),
        (edit(["bone_length", "index", "DIP"], "long"), r"'bone_length.index.DIP' is long, not numbers"),
        (edit(["spread", "ring-little"], [0.4, 0.1]), r"spread ring-little is \[0.4, 0.1\]: its lower end"),
        (edit(["curvature", "ring-little"], [0.4]), r"'curvature.ring-little' has the shape \[1\]"),
        (edit(["support", "thumb", "PIP"], 7), r"'support.thumb.PIP' has the shape \[\]"),
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
    with pytest.raises(ValueError, match="not a limits file"):
        limits.load(file)
    with pytest.raises(FileNotFoundError, match="no preset 'clinicle'; presets: clinical"):
        limits.load("clinicle")
