"""Videos: the hand is followed and found again after it was lost; times, rotated frames and damaged files."""

import json
import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from support import examples, spotter

from bmc_jax import cli
from bmc_jax.data.images import Picture
from bmc_jax.inference import hand_crop, requests, video

av = pytest.importorskip("av", reason="PyAV is not installed")

SIZE = (160, 120)
BOX = (30.0, 30.0, 60.0, 60.0)


@pytest.fixture(autouse=True)
def spotting(monkeypatch):
    """Replaces the network by a function that finds the spot."""
    monkeypatch.setattr(video.forward, "load", spotter.trained)
    monkeypatch.setattr(video.forward, "in_batches", lambda run, state, batch, *_, **__: spotter.answer(batch))


@pytest.fixture
def quick(monkeypatch):
    """Skips the figure of the angles."""
    monkeypatch.setattr(video.charts, "angle_curves", lambda *_: Figure())


def path(count):
    """Returns the position of a moving spot in each frame."""
    return [(60.0 + 2.5 * i, 60.0 + 10 * np.sin(i / 3)) for i in range(count)]


def film(file, spots, *, size=SIZE, codec="h264", rate=10):
    """Writes a video of a spot at each of the positions; None for a frame without spot."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "rgb8" if codec == "gif" else "yuv420p"
        for spot in spots:
            image = spotter.picture(size, spot) if spot else Image.new("RGB", size, (40, 40, 40))
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())
    return file


def read(predicted):
    return json.loads((predicted.out / "joints.json").read_text())


def test_hand_is_followed_and_every_frame_keeps_its_time(tmp_path):
    spots = path(25)
    clip = film(tmp_path / "clip.mp4", spots)
    predicted = video.predict("run", clip, tmp_path / "out", box=BOX, formats=("json", "csv", "npz"))
    hands = read(predicted)["hands"]
    np.testing.assert_allclose([hand["joints_2d"][8] for hand in hands], spots, atol=0.6)
    assert [hand["followed"] for hand in hands] == [False] + [True] * 24
    np.testing.assert_allclose([hand["time"] for hand in hands], np.arange(25) / 10, atol=1e-3)
    # The box follows the hand: its centre is near the spot, and its size is that of the hand.
    middles = [[(hand["box"][i] + hand["box"][i + 2]) / 2 for i in (0, 1)] for hand in hands[2:]]
    np.testing.assert_allclose(middles, spots[1:-1], atol=2)
    names = {file.name for file in predicted.out.iterdir()}
    assert names >= {"joints.json", "joints.npz", "hands.csv", "video.mp4", "angles.png", "page.html"}
    with av.open(str(predicted.out / "video.mp4")) as written:
        frames = list(written.decode(video=0))
    assert len(frames) == 25
    np.testing.assert_allclose([float(frame.time) for frame in frames], np.arange(25) / 10, atol=1e-3)
    plain = np.asarray(spotter.picture(SIZE, spots[9])).astype(int)
    drawn = frames[9].to_ndarray(format="rgb24").astype(int)
    coloured = np.argwhere(np.ptp(drawn, axis=-1) > 60)[:, ::-1]
    assert len(coloured) > 50
    joints = np.array(hands[9]["joints_2d"])
    assert (coloured >= joints.min(axis=0) - 4).all()
    assert (coloured <= joints.max(axis=0) + 4).all()
    assert np.abs(drawn[:8] - plain[:8]).max() < 12
    with Image.open(predicted.out / "angles.png") as picture:
        assert picture.width > 1000


def test_lost_hand_is_looked_for_where_it_was_at_the_start(quick, tmp_path):
    spots = path(12)
    spots[5] = None
    hands = read(video.predict("run", film(tmp_path / "clip.mp4", spots), tmp_path / "out", box=BOX))["hands"]
    assert [hand["followed"] for hand in hands] == [False] + [True] * 5 + [False] + [True] * 5
    assert hands[6]["box"] == hands[0]["box"]
    np.testing.assert_allclose(hands[-1]["joints_2d"][8], spots[-1], atol=0.6)


@pytest.mark.parametrize(
    ("low", "high", "usual", "kept"),
    [
        ((40, 40), (80, 80), 44.0, True),
        ((55, 55), (70, 70), 44.0, False),  # too small for its crop
        ((10, 10), (100, 100), 44.0, False),  # too large
        ((90, 60), (130, 100), 44.0, False),  # beyond the border of the crop
        ((40, 40), (80, 80), 90.0, False),  # half of what is usual
        ((40, 40), (80, 80), 18.0, False),  # twice
    ],
)
def test_hand_is_lost_where_its_joints_are_not_a_hands(low, high, usual, kept):
    options = examples.tiny_config()
    request = requests.Request(Path("clip.mp4"), box=(38.0, 38.0, 82.0, 82.0))
    crop = hand_crop.cut(request, Picture(spotter.picture(SIZE, (60, 60))), options)
    joints = np.linspace(low, high, 21).astype(float)
    followed = video.follow(crop, joints, options, usual)
    assert (followed is not None) == kept
    if followed:
        np.testing.assert_allclose(followed.box, (40, 40, 80, 80))


def test_box_changes_its_size_slowly_and_never_collapses():
    """The stand-in network predicts hands with half of the true size in each crop."""
    options = examples.tiny_config()
    start = requests.Request(Path("clip.mp4"), box=(38.0, 38.0, 82.0, 82.0))
    request, sides = start, []
    for _ in range(40):
        crop = hand_crop.cut(request, Picture(spotter.picture(SIZE, (60, 60))), options)
        sides.append(request.box[2] - request.box[0])
        found = 60 + np.linspace(-0.25, 0.25, 21)[:, None] * 1.5 * sides[-1] * np.ones(2)
        request = video.follow(crop, found, options, 44.0) or start
    ratios = np.array(sides[1:]) / np.array(sides[:-1])
    assert min(sides) >= 22 - 1e-6
    assert ((np.abs(ratios - 1 / 1.1) < 1e-6) | (np.array(sides[1:]) == 44)).all()


@pytest.mark.parametrize(("side", "share"), [(6.0, 0.25), (250.0, 0.45)])
def test_followed_box_is_never_one_that_is_refused(side, share):
    options = examples.tiny_config()
    low, high = 60 - side / 2, 60 + side / 2
    start = requests.Request(Path("clip.mp4"), box=(low, low, high, high))
    request, followed = start, 0
    for _ in range(12):
        crop = hand_crop.cut(request, Picture(spotter.picture(SIZE, (60, 60))), options)
        found = 60 + np.linspace(-share, share, 21)[:, None] * 1.5 * (request.box[2] - request.box[0]) * np.ones(2)
        request = video.follow(crop, found, options, side) or start
        followed += request is not start
    assert 0 < followed < 12


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_telephones_turned_video_is_answered_upright(tmp_path, turn):
    spot = (100.0, 40.0)
    clip = film(tmp_path / "clip.mp4", [spot] * 3)
    matrix = {
        0: (1, 0, 0, 1),
        90: (0, 1, -1, 0),
        180: (-1, 0, 0, -1),
        270: (0, -1, 1, 0),
    }[turn]  # clockwise, as the MP4 file format has it
    content = bytearray(clip.read_bytes())
    place = content.index(b"tkhd") + 4 + 40
    a, b, c, d = (part * 65536 for part in matrix)
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    clip.write_bytes(content)
    (image, _), *_ = video.frames(clip, [])
    expected = np.rot90(np.asarray(spotter.picture(SIZE, spot)), -turn // 90)
    assert image.size == expected.shape[1::-1]
    assert np.abs(np.asarray(image).astype(int) - expected).max() < 12


@pytest.mark.parametrize(("name", "codec"), [("clip.gif", "gif"), ("clip.avi", "mpeg4"), ("clip.mkv", "h264")])
def test_other_containers_are_read(tmp_path, name, codec):
    clip = film(tmp_path / name, path(4), codec=codec)
    found = list(video.frames(clip, []))
    assert len(found) == 4
    np.testing.assert_allclose([time for _, time in found], np.arange(4) / 10, atol=0.02)


def test_odd_sides_are_cut_to_even_ones(quick, tmp_path):
    clip = film(tmp_path / "clip.gif", path(3), codec="gif", size=(161, 121))
    predicted = video.predict("run", clip, tmp_path / "out", box=BOX)
    with av.open(str(predicted.out / "video.mp4")) as written:
        assert (written.streams.video[0].width, written.streams.video[0].height) == (160, 120)
    assert read(predicted)["hands"][0]["size"] == [161, 121]


def test_long_video_is_thinned_on_the_page_alone(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(video.viewer, "MAX_HANDS", 5)
    predicted = video.predict("run", film(tmp_path / "clip.mp4", path(13)), tmp_path / "out", box=BOX)
    assert len(read(predicted)["hands"]) == 13
    text = (predicted.out / "page.html").read_text(encoding="utf-8")
    shown = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    assert [hand["frame"] for hand in shown["hands"]] == [0, 4, 8, 12]
    assert "4 of 13 hands" in shown["about"]


@pytest.mark.parametrize("name", ["clip.mkv", "clip.avi"])
def test_video_that_breaks_off_is_taken_as_far_as_it_goes(quick, tmp_path, capsys, name):
    clip = film(tmp_path / name, path(40), codec="mpeg4")
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 3 // 4])
    out = tmp_path / "out"
    assert cli.main(["predict", "run", str(clip), "--out", str(out), "--box", "30,30,60,60"]) == 1
    found = json.loads((out / "joints.json").read_text())
    count = len(found["hands"])
    assert 3 < count < 40
    said = capsys.readouterr()
    assert said.out.startswith(f"{count} frames, ")
    assert f"left out: {clip} is truncated after {count} frames" in said.err
    assert found["left_out"][0]["image"] == str(clip)


def test_whole_video_leaves_nothing_out(tmp_path):
    for name, codec in (("clip.mkv", "mpeg4"), ("clip.avi", "mpeg4"), ("clip.gif", "gif"), ("clip.mp4", "h264")):
        left_out = []
        assert len(list(video.frames(film(tmp_path / name, path(12), codec=codec), left_out))) == 12
        assert left_out == []


@pytest.mark.parametrize("content", [b"", b"no video", b"\0" * 500])
def test_file_that_is_no_video_is_named(tmp_path, content):
    (tmp_path / "clip.mp4").write_bytes(content)
    with pytest.raises(ValueError, match=r"clip.mp4: expected a video, got a file that FFmpeg cannot decode"):
        video.predict("run", tmp_path / "clip.mp4", tmp_path / "out")
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]


def test_missing_video_and_missing_library_are_named(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"expected the video .*gone.mp4, got no such file"):
        video.predict("run", tmp_path / "gone.mp4", tmp_path / "out")
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(ValueError, match=r"pipe.mp4: .*got a FIFO, a device or a socket; save the video"):
        video.predict("run", tmp_path / "pipe.mp4", tmp_path / "out")
    clip = film(tmp_path / "clip.mp4", path(2))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=r"pip install 'bmc-jax\[video\]'"):
        video.predict("run", clip, tmp_path / "out")


def test_video_takes_no_file_of_boxes(tmp_path, capsys):
    clip = film(tmp_path / "clip.mp4", path(2))
    assert cli.main(["predict", "run", str(clip), "--boxes", "boxes.json", "--out", str(tmp_path / "out")]) == 2
    assert "expected --box for a video" in capsys.readouterr().err
