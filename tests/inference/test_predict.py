"""Prediction on photographs: results are in the pixels of the original photograph for all ways to select the hand, and
files are written atomically."""

import csv
import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import examples, reference, spotter

from bmc_jax import cli, limits
from bmc_jax.core.choices import PREDICTION_FORMATS
from bmc_jax.core.types import Prediction
from bmc_jax.data.images import Picture
from bmc_jax.inference import hand_crop, outputs, predict, requests
from bmc_jax.limits import checking
from bmc_jax.training import forward

SIZE, SPOT = (120, 90), (70.0, 52.0)
BOX = (50.0, 30.0, 44.0, 36.0)


RUN = "runs/spotter"


@pytest.fixture
def spotting(monkeypatch):
    """Replaces the network by a function that finds the spot."""
    monkeypatch.setattr(forward, "load", spotter.trained)
    monkeypatch.setattr(forward, "program", lambda config, **looks: None)
    monkeypatch.setattr(forward, "in_batches", lambda run, state, batch, *_, **__: spotter.answer(batch))


@pytest.fixture
def photo(tmp_path):
    spotter.picture(SIZE, SPOT).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def content(predicted):
    return json.loads((predicted.out / "joints.json").read_text())


def coco(file, entries):
    """Writes a file of boxes from (file name, annotation, other fields of the image)."""
    images = [{"id": i, "file_name": name} | more for i, (name, _, more) in enumerate(entries)]
    hands = [{"id": 40 + i, "image_id": i, "category_id": 1} | hand for i, (_, hand, _) in enumerate(entries) if hand]
    file.write_text(json.dumps({"images": images, "annotations": hands, "categories": [{"id": 1, "name": "hand"}]}))
    return file


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("box", [None, BOX])
def test_joint_is_where_it_is_in_the_photograph(spotting, photo, tmp_path, passes, left, box):
    predicted = predict.predict(RUN, [photo], tmp_path / "out", passes=passes, left=left, box=box)
    (hand,) = content(predicted)["hands"]
    # Beyond the first crop of the middle square, two passes also see the grey of the picture.
    np.testing.assert_allclose(hand["joints_2d"][8], SPOT, atol=0.35)
    assert hand["hand"] == ("left" if left else "right")
    assert hand["size"] == list(SIZE)


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("passes", [1, 2])
def test_way_back_is_the_exact_inverse_of_the_crop(left, passes):
    options = examples.tiny_config()
    request = requests.Request(Path("photo.png"), left=left, box=(50, 30, 94, 66))
    crop = hand_crop.cut(request, Picture(spotter.picture(SIZE, SPOT)), options, passes=passes)
    pixels = np.random.default_rng(0).uniform(-5, 40, (21, 2))
    prediction = Prediction(pixels[None], *[np.zeros(1)] * 3, np.ones((1, 21, 3), np.float32))
    (found,), (joints,) = hand_crop.to_pictures([crop], prediction, options)
    # A crop of 32 pixels shows 1.5 times the box's longer side, 44 pixels; its middle 15.5 is at (72, 48).
    pixel = 1.5 * 44 / 32
    across = (pixels[:, 0] - 15.5) * (-1 if left else 1)
    np.testing.assert_allclose(
        found, np.stack([72 + pixel * across, 48 + pixel * (pixels[:, 1] - 15.5)], -1), atol=1e-9
    )
    np.testing.assert_array_equal(joints, np.ones((21, 3)) * [-1 if left else 1, 1, 1])


def test_rays_of_the_crop_are_those_of_the_photograph():
    k = np.array([[130.0, 2.0, 55.0], [0.0, 140.0, 47.0], [0, 0, 1]])
    point = np.array([0.05, -0.02, 0.6])
    for left in (False, True):
        request = requests.Request(Path("photo.png"), left=left, box=(50, 30, 94, 66), intrinsics=k)
        crop = hand_crop.cut(request, Picture(spotter.picture(SIZE, SPOT)), examples.tiny_config())
        pixel = k @ point
        shown = crop.to_square @ (pixel / pixel[2])
        seen = hand_crop.batch([crop]).intrinsics[0].astype(float) @ (point * [-1 if left else 1, 1, 1])
        np.testing.assert_allclose(seen[:2] / seen[2], shown[:2], rtol=1e-6)


def test_exif_turned_photograph_is_answered_upright(spotting, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = np.asarray(spotter.picture(SIZE, SPOT))
    Image.fromarray(np.rot90(upright).copy()).save(tmp_path / "phone.png", exif=exif)
    (hand,) = content(predict.predict(RUN, [tmp_path / "phone.png"], tmp_path / "out"))["hands"]
    np.testing.assert_allclose(hand["joints_2d"][8], SPOT, atol=0.35)
    with Image.open(tmp_path / "out" / hand["overlay"]) as drawn:
        assert drawn.size == SIZE


def test_left_hand_is_the_mirror_image_of_a_right_hand(tmp_path, monkeypatch):
    run = spotter.run(tmp_path / "run")
    once = forward.program(examples.tiny_config())
    monkeypatch.setattr(forward, "program", lambda config, **looks: once)
    noise = np.random.default_rng(3).integers(0, 256, (90, 120, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "left.png")
    Image.fromarray(noise[:, ::-1].copy()).save(tmp_path / "right.png")
    k, mirrored_k = (130.0, 131.0, 50.0, 46.0), (130.0, 131.0, 119 - 50.0, 46.0)
    x, y, width, height = BOX
    mirrored_box = (119 - x - width, y, width, height)
    one = content(predict.predict(run, [tmp_path / "left.png"], tmp_path / "a", left=True, box=BOX, intrinsics=k))
    other = content(
        predict.predict(run, [tmp_path / "right.png"], tmp_path / "b", box=mirrored_box, intrinsics=mirrored_k)
    )
    (left,), (right,) = one["hands"], other["hands"]
    right_2d = np.array(right["joints_2d"]) * [-1, 1] + [119, 0]
    np.testing.assert_allclose(left["joints_2d"], right_2d, atol=0.05)
    np.testing.assert_allclose(left["joints_3d_scale"], np.array(right["joints_3d_scale"]) * [-1, 1, 1], atol=0.02)
    for name in ("angles", "bone_length", "curvature", "spread"):
        for a, b in zip(left[name], right[name], strict=True):
            np.testing.assert_allclose(list(a.values()), list(b.values()), atol=1.0)
    # The 3D joints project to the 2D joints.
    seen = np.array(left["joints_3d"]) @ np.array(left["intrinsics"]).T
    np.testing.assert_allclose(seen[:, :2] / seen[:, 2:], left["joints_2d"], atol=0.05)


def test_every_hand_of_a_coco_file_has_its_box_its_side_and_its_camera(spotting, tmp_path):
    for name, spot in (("one.png", SPOT), ("two.png", (30.0, 40.0))):
        spotter.picture(SIZE, spot).save(tmp_path / name)
    k = [[100.0, 0, 60], [0, 100, 45], [0, 0, 1]]
    boxes = coco(
        tmp_path / "boxes.json",
        [
            (f"{tmp_path.name}/one.png", {"bbox": [50, 30, 40, 40], "hand_side": "left"}, {"K": k}),
            ("two.png", {"bbox": [10, 20, 40, 40]}, {"width": 120, "height": 90}),
            ("elsewhere.png", {"bbox": [10, 20, 40, 40]}, {}),
        ],
    )
    predicted = predict.predict(RUN, [tmp_path / "one.png", tmp_path / "two.png"], tmp_path / "out", boxes=boxes)
    assert predicted.left_out == ()
    one, two = content(predicted)["hands"]
    assert (one["hand"], two["hand"]) == ("left", "right")
    assert one["box"] == [50, 30, 90, 70]
    assert one["box_from"] == f"{boxes}, annotation 40"
    assert (one["intrinsics"], one["intrinsics_from"]) == (k, f"K in {boxes}")
    assert two["intrinsics_from"].startswith("assumed: focal length 1 x the longer image side")
    assert two["intrinsics"] == [[120, 0, 59.5], [0, 120, 44.5], [0, 0, 1]]
    np.testing.assert_allclose(two["joints_2d"][8], (30, 40), atol=0.35)


def test_two_hands_of_one_image_share_its_overlay(spotting, photo, tmp_path):
    boxes = coco(tmp_path / "boxes.json", [("photo.png", {"bbox": [50, 30, 40, 40]}, {})])
    both = json.loads(boxes.read_text())
    both["annotations"].append({"id": 99, "image_id": 0, "category_id": 1, "bbox": [40, 20, 50, 50]})
    boxes.write_text(json.dumps(both))
    predicted = predict.predict(RUN, [photo], tmp_path / "out", boxes=boxes)
    assert [hand["overlay"] for hand in content(predicted)["hands"]] == ["overlays/photo.png"] * 2


def test_folder_with_bad_images_finishes_the_rest_and_lists_them(spotting, tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "c.jpg"):
        spotter.picture(SIZE, SPOT).save(folder / name)
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:300])
    (folder / "d.jpg").write_text("not a photograph")
    Image.new("RGB", (8, 8)).save(folder / "e.png")
    (folder / "notes.txt").write_text("no image at all, and not taken for one")
    status = cli.main(["predict", RUN, str(folder), "--out", str(tmp_path / "out"), "--format", "json", "csv"])
    assert status == 1
    printed = capsys.readouterr()
    assert printed.out == f"2 hands, 0 within all limits; written to {tmp_path / 'out'}\n"
    said = printed.err
    for name, reason in (("b.png", "damaged"), ("d.jpg", "expected an image"), ("e.png", "got 8x8;")):
        assert any(name in line and reason in line for line in said.splitlines() if line.startswith("left out: "))
    got = json.loads((tmp_path / "out/joints.json").read_text())
    assert [hand["image"].rpartition("/")[2] for hand in got["hands"]] == ["a.png", "c.jpg"]
    assert len(got["left_out"]) == 3
    assert {file.name for file in (tmp_path / "out/overlays").iterdir()} == {"a.png", "c.jpg"}
    assert "notes" not in said
    with (tmp_path / "out/left_out.csv").open() as opened:
        assert [row["image"].rpartition("/")[2] for row in csv.DictReader(opened)] == ["b.png", "d.jpg", "e.png"]


def test_only_a_bad_image_is_an_error_and_leaves_nothing(spotting, tmp_path, capsys):
    (tmp_path / "bad.png").write_text("no image")
    assert cli.main(["predict", RUN, str(tmp_path / "bad.png"), "--out", str(tmp_path / "out")]) == 2
    assert "bad.png: expected an image" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["bad.png"]


def test_nothing_is_overwritten_without_force(spotting, photo, tmp_path):
    out = tmp_path / "out"
    predict.predict(RUN, [photo], out, formats=("csv",))
    before = {file.name for file in out.iterdir()}
    with pytest.raises(FileExistsError, match=r"out exists already; give another --out, or --force"):
        predict.predict(RUN, [photo], out)
    assert {file.name for file in out.iterdir()} == before
    predict.predict(RUN, [photo], out, formats=("npz",), force=True)
    assert {file.name for file in out.iterdir()} == {"joints.npz", "overlays", "page.html"}
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"expected predictions alone for --force, got thesis.tex"):
        predict.predict(RUN, [photo], out, force=True)
    assert (out / "thesis.tex").is_file()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out", "photo.png"]


def test_what_fails_in_the_end_leaves_the_earlier_prediction(spotting, photo, tmp_path, monkeypatch):
    predict.predict(RUN, [photo], tmp_path / "out")

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(outputs, "write", full)
    with pytest.raises(OSError, match="no space left"):
        predict.predict(RUN, [photo], tmp_path / "out", force=True)
    assert (tmp_path / "out/joints.json").is_file()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out", "photo.png"]


def test_every_format_says_the_same(spotting, photo, tmp_path):
    predicted = predict.predict(RUN, [photo], tmp_path / "out", formats=PREDICTION_FORMATS, scale=0.04)
    (hand,), about = content(predicted)["hands"], content(predicted)
    assert about["scale"] == {"metres": 0.04, "from": "given"}
    np.testing.assert_allclose(hand["joints_3d"], 0.04 * np.array(hand["joints_3d_scale"]), atol=1e-6)
    with np.load(predicted.out / "joints.npz") as arrays:
        np.testing.assert_allclose(arrays["joints_2d"][0], hand["joints_2d"], atol=1e-4)
        np.testing.assert_allclose(arrays["joints_3d"][0], hand["joints_3d"], atol=1e-6)
        flexion = [angle["flexion"] for angle in hand["angles"]]
        np.testing.assert_allclose(np.degrees(arrays["angles"][0, ..., 0].reshape(15)), flexion, atol=0.01)
        assert json.loads(str(arrays["about"]))["joints"] == about["joints"]
    with (predicted.out / "joints.csv").open() as opened:
        rows = list(csv.DictReader(opened))
    assert [row["name"] for row in rows] == about["joints"]
    np.testing.assert_allclose([[float(row["u"]), float(row["v"])] for row in rows], hand["joints_2d"])
    np.testing.assert_allclose([float(row["z_metres"]) for row in rows], np.array(hand["joints_3d"])[:, 2])
    with (predicted.out / "angles.csv").open() as opened:
        assert [float(row["flexion"]) for row in csv.DictReader(opened)] == flexion
    with (predicted.out / "hands.csv").open() as opened:
        (row,) = csv.DictReader(opened)
    assert (row["image"], row["hand"], row["box_from"]) == (str(photo), "right", requests.WHOLE)


def test_assumed_scale_gives_a_palm_of_its_length():
    metres, words = outputs.assumed_scale(spotter.LIMITS)
    low, high = np.asarray(spotter.LIMITS.bone_length)[2, 0]
    assert metres * (low + high) / 2 == pytest.approx(0.092)
    assert "assumed: 0.092 m from wrist to middle MCP" in words


def test_verdict_knows_how_far_each_quantity_is_beyond():
    poses = examples.examples(20, seed=9)
    joints = poses.joints_3d.astype(float) / poses.scale[:, None, None]
    wide = limits.widen(spotter.LIMITS, degrees=60.0, fraction=1.0)
    loose, strict = (checking.assess(joints, some, left=np.zeros(20, bool)) for some in (wide, spotter.LIMITS))
    assert loose.within.any()
    assert not strict.within.any()
    for i, joint in enumerate(joints):
        lengths = reference.bone_lengths(joint)
        low, high = np.moveaxis(np.asarray(spotter.LIMITS.bone_length, float), -1, 0)
        np.testing.assert_allclose(strict.bone_length[i], lengths, rtol=1e-5)
        beyond = np.maximum(np.maximum(low - lengths, lengths - high), 0)
        np.testing.assert_allclose(strict.excess.bone_length[i], np.where(beyond > 1e-4, beyond, 0), atol=1e-5)
        spread = reference.palm_spread(joint)
        low, high = np.moveaxis(np.asarray(spotter.LIMITS.spread, float), -1, 0)
        beyond = np.maximum(np.maximum(low - spread, spread - high), 0)
        np.testing.assert_allclose(strict.excess.spread[i], np.where(beyond > 1e-4, beyond, 0), atol=1e-4)
    mirrored = checking.assess(joints * [-1, 1, 1], spotter.LIMITS, left=np.ones(20, bool))
    np.testing.assert_array_equal(mirrored.angles, strict.angles)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"box": (50, 30, 0, 40)}, r"photo.png: the hand's box is 50, 30, 50, 70 .*, which has no size"),
        ({"box": (200, 30, 40, 40)}, r"the hand's box is 200, 30, 240, 70 .*, outside the 120x90 pixels"),
        ({"box": (50, 30, float("nan"), 40)}, r"which has no size"),
        ({"intrinsics": (-100.0, 100, 60, 45)}, r"photo.png: K .*with positive focal lengths .* got \[\[-100"),
        ({"intrinsics": (float("inf"), 100, 60, 45)}, r"photo.png: K .*with positive focal lengths .* got \[\[inf"),
        ({"scale": -0.04}, r"scale: expected 0.005 to 0.25 m from middle MCP to middle PIP, got -0.04 m"),
        ({"scale": 44.6}, r"got 44.6 m"),
        ({"scale": float("nan")}, r"got nan m"),
        ({"formats": ("json", "xml")}, r"formats: expected one or more of json, csv, npz, .* got \['json', 'xml'\]"),
        ({"formats": ()}, r"formats: expected one or more .* got \[\]"),
    ],
)
def test_bad_argument_is_named(spotting, photo, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        predict.predict(RUN, [photo], tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("hand", "more", "message"),
    [
        (
            {"bbox": [1, 2, 3]},
            {},
            r"annotation 40 \(photo.png\) has the bbox \[1, 2, 3\]; expected x, y, width, height",
        ),
        ({}, {}, r"annotation 40 \(photo.png\) has the bbox None"),
        (None, {}, r"boxes.json has no hand for it"),
        (
            {"bbox": [1, 2, 30, 30], "hand_type": "interacting"},
            {},
            r"has the hand_type 'interacting'; expected 'right'",
        ),
        (
            {"bbox": [1, 2, 30, 30], "hand_side": "left", "hand_type": "right"},
            {},
            r"is left by its hand_side and right",
        ),
        ({"bbox": [1, 2, "x", 30]}, {}, r"has the bbox 'x'; expected a number"),
        ({"bbox": [1, 2, 30, 30], "score": "high"}, {}, r"has the score 'high'; expected a number"),
        ({"bbox": [1, 2, 30, 30]}, {"width": 120, "height": "90"}, r"has the height '90'; expected a number"),
        ({"bbox": [1, 2, 30, 30]}, {"K": [[10**400, 0, 1], [0, 1, 1], [0, 0, 1]]}, r"K .*below 1e\+09, got \[\[inf"),
        ({"bbox": [0.2, 0.3, 0.4, 0.4]}, {}, r"box is 0.2, 0.3, 0.6, 0.7 .*, below 4 pixels; .*not in shares"),
        ({"bbox": [-20000, -20000, 40000, 40000]}, {}, r"over 2 times the 120x90 pixels of the image"),
        ({"bbox": [1, 2, 30, 30], "hand_side": "up"}, {}, r"has the hand_side 'up'; expected 'right' or 'left'"),
        ({"bbox": [1, 2, 30, 30]}, {"K": [[1, 2], [3]]}, r"K is \[\[1, 2\], \[3\]\]; expected a 3x3 matrix"),
        ({"bbox": [1, 2, 30, 30]}, {"K": [[1, 2], [3, 4]]}, r"K .*with positive focal lengths"),
        ({"bbox": [1, 2, 30, 30]}, {"width": 640, "height": 480}, r"a box and K for 120x90 pixels, got 640x480"),
    ],
)
def test_bad_box_is_named(spotting, photo, tmp_path, hand, more, message):
    boxes = coco(tmp_path / "boxes.json", [("photo.png", hand if hand is None else {"id": 40} | hand, more)])
    with pytest.raises(ValueError, match=message):
        predict.predict(RUN, [photo], tmp_path / "out", boxes=boxes)


def test_image_that_the_boxes_do_not_list_is_named(spotting, photo, tmp_path):
    boxes = coco(tmp_path / "boxes.json", [("other.png", {"bbox": [1, 2, 30, 30]}, {})])
    with pytest.raises(ValueError, match=r"photo.png: .*boxes.json does not list it"):
        predict.predict(RUN, [photo], tmp_path / "out", boxes=boxes)


def test_contradicting_arguments_are_refused(spotting, photo, tmp_path):
    spotter.picture((64, 64), (30, 30)).save(tmp_path / "other.png")
    with pytest.raises(ValueError, match="box: expected one image and no file of boxes, got 2 images"):
        predict.predict(RUN, [photo, tmp_path / "other.png"], tmp_path / "out", box=BOX)
    with pytest.raises(ValueError, match=r"for images of one size, got .*photo.png of 120x90 and .*of 64x64"):
        predict.predict(RUN, [photo, tmp_path / "other.png"], tmp_path / "out", intrinsics=(100, 100, 60, 45))
    with pytest.raises(ValueError, match=r"expected each image once, got .*photo.png more than once"):
        requests.files([photo, photo])
    (tmp_path / "clip.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match=r"got the video .*clip.mp4; give it as the only input"):
        requests.files([photo, tmp_path / "clip.mp4"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"in the folder .*empty, got none"):
        requests.files([tmp_path / "empty"])
    with pytest.raises(FileNotFoundError, match=r"the image .*gone.png does not exist"):
        requests.files([tmp_path / "gone.png"])


@pytest.mark.parametrize(
    "bbox",
    [
        [0, 0, 20000, 20000],
        [-1e9, -1e9, 2e9, 2e9],
        [1e30, 1e30, 1e30, 1e30],
        [50, 30, 1e-300, 1e-300],
        [10**400, 30, 40, 40],
        [50, 30, -40, -40],
        [float("nan"), 30, 40, 40],
        [50, 30, float("inf"), 40],
        [50, [30], 40, 40],
        {"x": 50},
        None,
    ],
    ids=lambda bbox: str(bbox)[:20],
)
def test_bad_box_leaves_the_others(spotting, photo, tmp_path, capsys, bbox):
    boxes = coco(tmp_path / "boxes.json", [("photo.png", {"bbox": [50, 30, 40, 40]}, {})])
    both = json.loads(boxes.read_text())
    both["annotations"].append({"id": 99, "image_id": 0, "category_id": 1, "bbox": bbox})
    boxes.write_text(json.dumps(both))
    out = tmp_path / "out"
    assert cli.main(["predict", RUN, str(photo), "--boxes", str(boxes), "--out", str(out)]) == 1
    assert capsys.readouterr().err.count("left out: ") == 1
    got = json.loads((out / "joints.json").read_text())
    assert len(got["hands"]) == 1
    np.testing.assert_allclose(got["hands"][0]["joints_2d"][8], SPOT, atol=0.35)
    assert [one["image"] for one in got["left_out"]] == [str(photo)]


def test_what_cannot_be_read_in_a_folder_is_named(spotting, tmp_path, capsys):
    folder = tmp_path / "photos"
    for inside in ("", "sub", ".hidden", "empty", "predicted"):
        (folder / inside).mkdir(parents=True)
        if inside != "empty":
            spotter.picture(SIZE, SPOT).save(folder / inside / "a.png")
    (folder / "b.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    os.mkfifo(folder / "c.png")
    with open(os.fsencode(folder) + b"/caf\xe9.png", "wb") as file:
        file.write((folder / "a.png").read_bytes())
    (folder / "predicted/a.png").unlink()
    out = folder / "predicted"
    assert cli.main(["predict", RUN, str(folder), "--out", str(out), "--format", "json", "csv"]) == 1
    reasons = {
        str(folder / "sub"): "is a subfolder; give it too",
        str(folder / "b.HEIC"): "decoder of HEIC" if not importlib.util.find_spec("pillow_heif") else "a damaged file",
        str(folder / "c.png"): "got a FIFO, a device or a socket",
        f"{folder}/caf\\xe9.png": "is not UTF-8; rename the file",
    }
    said = capsys.readouterr().err
    with (out / "left_out.csv").open(encoding="utf-8") as opened:
        assert {row["image"]: row["reason"] for row in csv.DictReader(opened)}.keys() == reasons.keys()
    for name, reason in reasons.items():
        assert any(name in line and reason in line for line in said.splitlines())
    assert len(json.loads((out / "joints.json").read_text())["hands"]) == 1
    assert cli.main(["predict", RUN, str(folder), "--out", str(out), "--force"]) == 1
    assert "predicted is a subfolder" not in capsys.readouterr().err


def test_hand_with_an_infinite_prediction_leaves_the_others(spotting, photo, tmp_path, monkeypatch):
    boxes = coco(tmp_path / "boxes.json", [("photo.png", {"bbox": [50, 30, 40, 40]}, {})])
    both = json.loads(boxes.read_text())
    both["annotations"].append({"id": 99, "image_id": 0, "category_id": 1, "bbox": [40, 20, 50, 50]})
    boxes.write_text(json.dumps(both))

    def broken(run, state, batch, *_, **__):
        found = spotter.answer(batch)
        found.joints_3d[0, 3] = np.inf
        return found

    monkeypatch.setattr(forward, "in_batches", broken)
    predicted = predict.predict(RUN, [photo], tmp_path / "out", boxes=boxes)
    assert [hand["box_from"] for hand in content(predicted)["hands"]] == [f"{boxes}, annotation 99"]
    ((file, reason),) = predicted.left_out
    assert file == photo
    assert "the prediction is not finite for" in reason
    assert "annotation 40" in reason


def test_hands_category_and_score_choose_the_boxes(spotting, photo, tmp_path, capsys):
    boxes = tmp_path / "boxes.json"
    detected = [(1, 0.9, 50), (1, 0.2, 51), (2, 0.9, 52), (3, 0.3, 53), (1, None, 54)]
    annotations = [
        {"id": number, "image_id": 7, "category_id": category, "bbox": [left, 30, 40, 40]}
        | ({"score": score} if score is not None else {})
        for number, (category, score, left) in enumerate(detected)
    ]
    names = {1: "Hand", 2: "person", 3: "left_hand"}
    content = {
        "images": [{"id": 7, "file_name": "photo.png"}],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in names.items()],
    }
    boxes.write_text(json.dumps(content))
    arguments = ["predict", RUN, str(photo), "--boxes", str(boxes), "--out", str(tmp_path / "out"), "--force"]
    assert cli.main(arguments) == 0
    hands = json.loads((tmp_path / "out/joints.json").read_text())["hands"]
    assert [(hand["box"][0], hand["hand"]) for hand in hands] == [(50, "right"), (53, "left"), (54, "right")]
    assert hands[0]["box_from"] == f"{boxes}, annotation 0, score 0.9"
    said = capsys.readouterr().out
    assert "not used: 1 box with a score below 0.3" in said
    assert "not used: 1 box of another category" in said
    assert cli.main([*arguments, "--score", "0.5"]) == 0
    hands = json.loads((tmp_path / "out/joints.json").read_text())["hands"]
    assert [hand["box"][0] for hand in hands] == [50, 54]


def test_answer_that_is_not_finite_is_never_written(spotting, photo, tmp_path, monkeypatch):
    broken = spotter.answer(examples.examples(1))
    monkeypatch.setattr(forward, "in_batches", lambda *_, **__: broken)
    broken.joints_3d[0, 3] = np.nan
    with pytest.raises(FloatingPointError, match=r"photo.png: the prediction is not finite"):
        predict.predict(RUN, [photo], tmp_path / "out")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--box", "1,2,3"], "expected 4 finite numbers separated by commas, got '1,2,3'"),
        (["--box", "a,b,c,d"], "expected 4 finite numbers separated by commas, got 'a,b,c,d'"),
        (["--hand", "both"], "invalid choice"),
        (["--format", "xml"], "invalid choice"),
        (["--box", "1,2,inf,4"], "expected 4 finite numbers separated by commas, got '1,2,inf,4'"),
        (["--turns", "1000000000"], "--turns: expected a whole number from 1 to 32, got '1000000000'"),
        (["--turns", "many"], "expected a whole number from 1 to 32, got 'many'"),
        (["--score", "nan"], "--score: expected a number from 0 to 1, got 'nan'"),
    ],
)
def test_command_line_refuses_what_it_does_not_know(capsys, wrong, message):
    with pytest.raises(SystemExit):
        cli.main(["predict", "run", "photo.png", "--out", "out", *wrong])
    assert message in capsys.readouterr().err
