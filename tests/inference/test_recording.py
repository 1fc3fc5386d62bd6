"""Recordings for the Rerun viewer hold the pictures and hands at their places in time."""

import json

import numpy as np
import pytest
from PIL import Image
from support import spotter

from bmc_jax import cli, hand
from bmc_jax.inference import outputs, recording
from bmc_jax.training import forward

SIZE = (120, 90)
rerun = pytest.importorskip("rerun", reason="the extra rerun is not installed")
chunk = pytest.importorskip("rerun.chunk", reason="this rerun-sdk does not read recordings")


@pytest.fixture(autouse=True)
def spotting(monkeypatch):
    """Without a network, its place taken by what finds the spot."""
    monkeypatch.setattr(forward, "load", spotter.trained)
    monkeypatch.setattr(forward, "program", lambda config, **looks: None)
    monkeypatch.setattr(forward, "in_batches", lambda run, state, batch, *_, **__: spotter.answer(batch))


def logged(file, timeline):
    """Each entity's columns at each time: `{entity: {time: {column: value}}}`."""
    found = {}
    for part in chunk.RrdReader(str(file)).stream():
        batch = part.to_record_batch()
        names = [name for name in batch.schema.names if ":" in name]
        if timeline in batch.schema.names:
            times = batch.column(timeline).cast("int64").to_pylist()
            for row, time in enumerate(times):
                values = {name: batch.column(name)[row].as_py() for name in names}
                entry = found.setdefault(part.entity_path, {}).setdefault(time, {})
                entry |= {name: value for name, value in values.items() if value is not None}
    return found


def test_photographs_are_numbered_and_have_their_hands(tmp_path):
    for i in range(2):
        spotter.picture(SIZE, (70.0 + i, 52.0)).save(tmp_path / f"{i}.png")
    boxes = [(0, [50, 30, 44, 36], "right"), (0, [48, 30, 44, 36], "left"), (1, [50, 30, 44, 36], "right")]
    content = {
        "images": [{"id": i, "file_name": f"{i}.png"} for i in range(2)],
        "categories": [{"id": 1, "name": "hand"}],
        "annotations": [
            {"id": i, "image_id": image, "category_id": 1, "bbox": box, "hand_side": side}
            for i, (image, box, side) in enumerate(boxes)
        ],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    pictures = [str(tmp_path / f"{i}.png") for i in range(2)]
    out = tmp_path / "out"
    chosen = ["--boxes", str(tmp_path / "boxes.json"), "--out", str(out), "--rerun"]
    assert cli.main(["predict", "runs/spotter", *pictures, *chosen]) == 0
    hands = json.loads((out / "joints.json").read_text())["hands"]
    found = logged(out / recording.FILE, "picture")
    assert set(found["/world/camera/picture"]) == {0, 1}
    strips = found["/world/hand_0"][1]["LineStrips3D:strips"]
    joints = np.array(hands[2]["joints_3d"])
    np.testing.assert_allclose(strips, joints[[[0, *finger] for finger in hand.FINGER_JOINTS]], atol=1e-6)
    flat = found["/world/camera/picture/hand_1"][0]["LineStrips2D:strips"]
    np.testing.assert_allclose(
        np.array(flat)[:, 1:], np.array(hands[1]["joints_2d"])[hand.FINGER_JOINTS] + 0.5, atol=1e-3
    )
    assert found["/world/camera/picture/hand_1"][0]["LineStrips2D:labels"][0].startswith("left")
    assert "LineStrips3D:strips" not in found["/world/hand_1"][1]  # the second picture has one hand
    angles = [angle["flexion"] for angle in hands[2]["angles"]]
    np.testing.assert_allclose(found["/angles/hand_0"][1]["Scalars:scalars"], angles, atol=0.01)
    k = np.reshape(found["/world/camera"][0]["Pinhole:image_from_camera"], (3, 3), order="F")
    np.testing.assert_allclose(k[:2, 2], np.array(hands[0]["intrinsics"])[:2, 2] + 0.5, atol=1e-3)


def test_frames_of_a_video_keep_their_seconds(tmp_path):
    av = pytest.importorskip("av", reason="PyAV is not installed")
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("h264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for i in range(3):
            container.mux(stream.encode(av.VideoFrame.from_image(spotter.picture((160, 120), (70.0 + i, 60.0)))))
        container.mux(stream.encode())
    out = tmp_path / "out"
    assert cli.main(["predict", "runs/spotter", str(tmp_path / "clip.mp4"), "--out", str(out), "--rerun"]) == 0
    by_time, by_number = (logged(out / recording.FILE, name) for name in ("time", "picture"))
    for entity in ("/world/camera/picture", "/world/hand_0"):
        np.testing.assert_allclose(sorted(by_time[entity]), [0, 1e8, 2e8], atol=1e6)  # nanoseconds
        assert sorted(by_number[entity]) == [0, 1, 2]


def test_without_the_option_nothing_is_recorded(tmp_path):
    Image.new("RGB", SIZE).save(tmp_path / "photo.png")
    with recording.Recording(tmp_path, ["json"]) as record:
        record.picture(Image.new("RGB", SIZE), 0)
    assert [file.name for file in tmp_path.iterdir()] == ["photo.png"]


def test_missing_package_is_named_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(outputs.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"need rerun-sdk; pip install 'bmc-jax\[rerun\]'"):
        outputs.validate(["json", "rrd"], None)
