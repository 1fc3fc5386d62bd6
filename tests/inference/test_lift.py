"""Lifting of landmarks in files and pictures: sides, cameras, sizes, sequences and what is written."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from support.paths import SHARED

from bmc_jax import cli, hand, synthesis
from bmc_jax.core.choices import FOCAL
from bmc_jax.inference import lift
from bmc_jax.inference.lift import detector, webcam
from bmc_jax.inference.seen import Camera
from bmc_jax.metrics import alignment

SIZE = (640, 480)
K = np.array([[900.0, 0, 319.5], [0, 900.0, 239.5], [0, 0, 1]])
COUNT = 8
PHOTOGRAPHS = SHARED / "real_weak/images"


@pytest.fixture(scope="module")
def hands():
    """Rendered people's right hands `[COUNT, 21, 3]`, metres, before a camera."""
    joints = np.asarray(synthesis.poses(0, "any_view", "test", range(COUNT)), np.float64)
    return joints - joints.mean(axis=1, keepdims=True) + [0.02, -0.01, 0.5]


def project(joints):
    return joints[..., :2] / joints[..., 2:] * K[0, 0] + K[:2, 2]


def arrays(hands, **more):
    depth = K[0, 0] * (hands[..., 2] / hands[:, :1, 2] - 1)
    rows = np.concatenate([project(hands), depth[..., None]], axis=-1)
    return {"pixels": rows, "world": hands - hands.mean(1, keepdims=True), "size": np.array(SIZE), "K": K} | more


@pytest.fixture
def file(tmp_path, hands):
    np.savez(tmp_path / "landmarks.npz", **arrays(hands, left=np.zeros(COUNT, bool)))
    return tmp_path / "landmarks.npz"


def content(folder):
    return json.loads((Path(folder) / "joints.json").read_text())


def joints(folder, name="joints_3d"):
    return np.array([one[name] for one in content(folder)["hands"]])


def error(found, hands):
    return 1000 * np.linalg.norm(alignment.procrustes(found, hands) - hands, axis=-1).mean()


def test_exact_landmarks_give_the_hands_their_pixels_angles_and_page(file, tmp_path, hands):
    found = lift.lift_file(file, tmp_path / "out", lift.Options(formats=("json", "npz", "csv")))
    assert (found.hands, found.frames) == (COUNT, COUNT)
    assert error(joints(found.out), hands) < 4
    np.testing.assert_allclose(project(joints(found.out)), project(hands), atol=0.1)
    written = content(found.out)
    assert written["landmarks"]["depth"] == "the lifting network, the landmarks' z and the world landmarks"
    assert {one["intrinsics_from"] for one in written["hands"]} == {"K in the file"}
    assert {path.name for path in found.out.iterdir()} >= {"page.html", "joints.npz", "angles.csv"}


def test_a_left_hand_is_the_mirror_image_of_a_right_one(file, tmp_path, hands):
    mirrored = hand.mirror(hands, np.ones(COUNT, bool))
    k = K.copy()
    k[0, 2] = SIZE[0] - 1 - k[0, 2]
    given = arrays(hands, left=np.ones(COUNT, bool), K=k)
    given["pixels"][..., 0] = SIZE[0] - 1 - given["pixels"][..., 0]
    given["world"] = mirrored - mirrored.mean(1, keepdims=True)
    np.savez(tmp_path / "left.npz", **given)
    right, left = (lift.lift_file(one, tmp_path / one.stem).out for one in (file, tmp_path / "left.npz"))
    np.testing.assert_allclose(joints(left), hand.mirror(joints(right), np.ones(COUNT, bool)), atol=1e-4)
    assert {one["hand"] for one in content(left)["hands"]} == {"left"}


def test_sides_that_are_not_stated_are_seen_by_the_thumbs_and_2d_hands_need_them(tmp_path, hands, capsys):
    np.savez(tmp_path / "a.npz", **arrays(hands))
    assert cli.main(["lift", str(tmp_path / "a.npz"), "--out", str(tmp_path / "a")]) == 0
    assert "all right hands (detected)" in capsys.readouterr().out
    given = arrays(hands)
    np.savez(tmp_path / "b.npz", pixels=given["pixels"][..., :2], size=SIZE)
    with pytest.raises(ValueError, match=r"b\.npz does not state the side of its 2D hands; give --side"):
        lift.lift_file(tmp_path / "b.npz", tmp_path / "b")
    found = lift.lift_file(tmp_path / "b.npz", tmp_path / "b", side="right")
    assert found.depth == "the lifting network"
    assert "depth_deviation" in content(found.out)["hands"][0]
    assert error(joints(found.out), hands) < 15


def test_shares_of_the_image_are_pixels_of_its_size(file, tmp_path, hands):
    given = arrays(hands)
    rows = given["pixels"].copy()
    rows[..., :2] = (rows[..., :2] + 0.5) / SIZE
    rows[..., 2] /= SIZE[0]
    np.savez(tmp_path / "shares.npz", **arrays(hands, pixels=rows, left=np.zeros(COUNT, bool)))
    pixels, shares = (lift.lift_file(one, tmp_path / one.stem).out for one in (file, tmp_path / "shares.npz"))
    np.testing.assert_allclose(joints(shares), joints(pixels), atol=1e-4)


def photograph(path, focal=None, size=SIZE):
    exif = Image.Exif()
    if focal:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = focal
    Image.new("RGB", size, (90, 120, 90)).save(path, exif=exif)


def test_the_camera_is_that_of_the_file_the_options_the_image_or_assumed(tmp_path, hands):
    given = {name: value for name, value in arrays(hands[:2]).items() if name not in ("K", "size")}
    given |= {"left": np.zeros(2, bool), "images": np.array(["phone.jpg", "none.jpg"])}
    np.savez(tmp_path / "a.npz", **given)
    photograph(tmp_path / "phone.jpg", focal=26)
    photograph(tmp_path / "none.jpg")

    def cameras(name, *options):
        assert cli.main(["lift", str(tmp_path / "a.npz"), "--out", str(tmp_path / name), *options]) == 0
        return [(one["intrinsics"][0][0], one["intrinsics_from"]) for one in content(tmp_path / name)["hands"]]

    of_exif, assumed = cameras("exif")
    assert of_exif == (
        pytest.approx(26 * 800 / 43.27, rel=1e-3),
        "focal length of the image's EXIF, principal point in the middle",
    )
    assert assumed[0] == pytest.approx(FOCAL * 640)
    assert assumed[1].startswith("assumed")
    assert cameras("fov", "--fov", "90")[0] == (pytest.approx(320), "given: 90 degrees along the longer image side")
    assert cameras("given", "--intrinsics", "700,710,320,240")[1] == (700, "given")
    assert (tmp_path / "given/overlays/phone.jpg").is_file()


def test_a_given_camera_is_refused_for_images_of_different_sizes(tmp_path, hands):
    given = arrays(hands[:2], left=np.zeros(2, bool), images=np.array(["wide.jpg", "small.jpg"]))
    np.savez(tmp_path / "a.npz", **{name: value for name, value in given.items() if name not in ("K", "size")})
    photograph(tmp_path / "wide.jpg")
    photograph(tmp_path / "small.jpg", size=(320, 240))
    camera = lift.Options(camera=Camera(intrinsics=(700, 700, 320, 240)))
    with pytest.raises(ValueError, match=r"images of one size, and there are .*wide.jpg of 640x480 and .*of 320x240"):
        lift.lift_file(tmp_path / "a.npz", tmp_path / "out", camera)


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({"size": None, "K": None}, {}, "size of the images is not stated; give --size"),
        ({"images": np.array(["other.jpg"] * 2)}, {}, "640x480 pixels, and .*other.jpg has 320x240"),
        ({"images": np.array(["gone.jpg"] * 2)}, {"images": "."}, "expected an image .*gone.jpg"),
        ({"images": np.array(["../other.jpg"] * 2)}, {"images": "."}, "expected a path below the folder"),
        ({"ids": np.array([1, 2])}, {"image_ids": "images.json"}, "image id 2"),
        ({"frame": None}, {"smooth": 8}, None),
    ],
)
def test_contradictions_are_refused_with_the_file_and_a_remedy(tmp_path, hands, change, options, words):
    given = {name: value for name, value in (arrays(hands[:2]) | change).items() if value is not None}
    np.savez(tmp_path / "a.npz", **given)
    photograph(tmp_path / "other.jpg", size=(320, 240))
    image = {"id": 1, "file_name": "other.jpg", "width": 320, "height": 240}
    (tmp_path / "images.json").write_text(json.dumps({"images": [image], "annotations": [], "categories": []}))
    options = {name: tmp_path / value if isinstance(value, str) else value for name, value in options.items()}
    smooth = options.pop("smooth", None)
    settings = lift.Options(smooth=smooth)
    if words is None:
        assert lift.lift_file(tmp_path / "a.npz", tmp_path / "out", settings, **options).hands == 2
        return
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        lift.lift_file(tmp_path / "a.npz", tmp_path / "out", settings, **options)
    assert not (tmp_path / "out").exists()


def test_two_hands_of_a_side_in_a_frame_are_no_sequence(tmp_path, hands):
    shares = (project(hands[:2]) + 0.5) / SIZE
    hands_of_it = [[dict(zip("xy", point, strict=True)) for point in one.tolist()] for one in shares]
    frame = {"hand_landmarks": hands_of_it, "handedness": ["Right", "Right"], "width": 640, "height": 480}
    (tmp_path / "a.json").write_text(json.dumps([frame] * 3))
    with pytest.raises(ValueError, match="at most one left and one right hand in each frame"):
        lift.lift_file(tmp_path / "a.json", tmp_path / "out", lift.Options(smooth=8))


def test_3d_joints_are_repaired_at_their_own_size_before_a_virtual_camera(tmp_path, hands):
    np.save(tmp_path / "poses.npy", hands)
    found = lift.lift_file(tmp_path / "poses.npy", tmp_path / "out")
    moved = joints(found.out) - joints(found.out).mean(1, keepdims=True)
    np.testing.assert_allclose(moved, hands - hands.mean(1, keepdims=True), atol=2e-3)
    assert "virtual camera" in content(found.out)["hands"][0]["intrinsics_from"]


def test_left_out_hands_are_named_and_the_status_is_1(tmp_path, hands, capsys):
    given = arrays(hands, left=np.zeros(COUNT, bool))
    given["pixels"][3, 5] = np.nan
    np.savez(tmp_path / "a.npz", **given)
    assert cli.main(["lift", str(tmp_path / "a.npz"), "--out", str(tmp_path / "out")]) == 1
    out, err = capsys.readouterr()
    assert f"{COUNT - 1} hands in {COUNT - 1} pictures" in out
    assert "left out: hand 3 has no index MCP" in err
    assert cli.main(["lift", str(tmp_path / "a.npz"), "--out", str(tmp_path / "out")]) == 2
    assert "--force" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "runs/a", "--out", "o"], "expected a checkpoint and images"),
        (["predict", "runs/a", "a.jpg", "--out", "o", "--fov", "60"], "--fov needs --landmarks mediapipe"),
        (["predict", "a.jpg", "--landmarks", "mediapipe", "--out", "o", "--smooth", "8"], "--smooth is for the frames"),
        (["predict", "a.jpg", "--landmarks", "mediapipe", "--out", "o", "--boxes", "b"], "--boxes needs a checkpoint"),
        (
            ["predict", "a.jpg", "--landmarks", "mediapipe", "--webcam", "0", "--out", "o"],
            "no pictures beside --webcam",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(capsys, monkeypatch, tmp_path, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    assert words in capsys.readouterr().err


def test_models_are_taken_from_a_task_file_or_a_wheel_and_others_are_refused(tmp_path, monkeypatch):
    pytest.importorskip("mediapipe", reason="mediapipe is not installed")
    monkeypatch.delenv(detector.MODEL_VARIABLE, raising=False)
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
        archive.writestr("a.txt", "a")
    (tmp_path / "no.task").write_bytes(b"no archive")
    with zipfile.ZipFile(tmp_path / "bad.task", "w") as archive:
        for name in detector.MODELS:
            archive.writestr(name, b"no model")
    for name, words in (
        ("gone.task", "there is no file"),
        ("no.task", "holds no models"),
        ("other.whl", "does not hold the models"),
        ("bad.task", "cannot use the models"),
        (None, "does not carry its models; give --model FILE"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=words):
            detector.HandDetector(None if name is None else tmp_path / name)


@pytest.fixture
def model():
    pytest.importorskip("mediapipe", reason="mediapipe is not installed")
    if detector.MODEL_VARIABLE not in os.environ:
        pytest.skip(f"{detector.MODEL_VARIABLE} names no file of MediaPipe's models")
    if not PHOTOGRAPHS.is_dir():
        pytest.skip("no photographs of hands beside the repository")


def scene(folder):
    """A picture of two hands, the second one mirrored, and their places."""
    names = sorted(PHOTOGRAPHS.glob("*.jpg"))
    right, left = (Image.open(names[i]).resize((320, 320)) for i in (3, 20))
    picture = Image.new("RGB", (900, 500), (110, 110, 110))
    picture.paste(right, (60, 90))
    picture.paste(left.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (520, 90))
    picture.save(folder / "scene.png")
    return folder / "scene.png"


def test_mediapipe_finds_both_sides_and_pictures_without_a_hand_are_left_out(model, tmp_path, capfd):
    Image.new("RGB", (200, 200)).save(tmp_path / "empty.png")
    out = tmp_path / "out"
    arguments = ["predict", str(scene(tmp_path)), str(tmp_path / "empty.png"), "--landmarks", "mediapipe"]
    assert cli.main([*arguments, "--out", str(out)]) == 1
    sides = {one["hand"]: np.mean(one["joints_2d"], axis=0)[0] for one in content(out)["hands"]}
    assert sides["right"] < 400 < sides["left"]
    captured = capfd.readouterr()
    assert "empty.png: MediaPipe finds no hand in it" in captured.err
    assert "INFO" not in captured.err
    assert (out / "overlays/scene.png").is_file()


def test_a_video_and_a_video_in_place_of_a_webcam_are_lifted_frame_by_frame(model, tmp_path):
    av = pytest.importorskip("av", reason="PyAV is not installed")
    picture = Image.open(scene(tmp_path)).resize((450, 250))
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("h264", rate=10)
        stream.width, stream.height, stream.pix_fmt = *picture.size, "yuv420p"
        for _ in range(6):
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    clip = str(tmp_path / "clip.mp4")
    assert cli.main(["predict", clip, "--landmarks", "mediapipe", "--smooth", "4", "--out", str(tmp_path / "a")]) == 0
    assert (
        cli.main(["predict", "--landmarks", "mediapipe", "--webcam", clip, "--no-window", "--out", str(tmp_path / "b")])
        == 0
    )
    for name in ("a", "b"):
        found = content(tmp_path / name)["hands"]
        assert {one["frame"] for one in found} == set(range(6))
        assert {one["hand"] for one in found} == {"left", "right"}
        assert {"video.mp4", "angles.png", "page.html"} <= {path.name for path in (tmp_path / name).iterdir()}


def test_an_interrupted_webcam_writes_what_it_has_seen(tmp_path, hands, monkeypatch):
    pytest.importorskip("av", reason="PyAV is not installed")

    class Detect:
        def __init__(self, *_, **__):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def __call__(self, image, seconds):
            depth = K[0, 0] * (hands[0, :, 2] / hands[0, 0, 2] - 1)
            return [detector.DetectedHand(project(hands[0]), depth, hands[0], False, 1.0)]

    def frames():
        for number in range(3):
            yield Image.new("RGB", SIZE), number / 10
        raise KeyboardInterrupt

    monkeypatch.setattr(lift, "HandDetector", Detect)
    found = lift.lift_video(lift.Clip(Path("webcam 0"), frames(), live=True), tmp_path / "out")
    assert (found.hands, found.frames) == (3, 3)
    with pytest.raises(KeyboardInterrupt):
        lift.lift_video(lift.Clip(Path("clip.mp4"), frames()), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_window_shows_each_hand_from_the_front_and_the_side(hands):
    picture = webcam.beside(Image.new("RGB", SIZE), list(project(hands[:2])), list(hands[:2]))
    assert picture.size == (SIZE[0] + SIZE[1], SIZE[1])
    panel = np.asarray(picture)[:, SIZE[0] :]
    for quarter in (panel[:240, :240], panel[:240, 240:], panel[240:, :240], panel[240:, 240:]):
        assert len(np.unique(quarter.reshape(-1, 3), axis=0)) > 5


def test_a_window_without_a_screen_is_refused(monkeypatch):
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    monkeypatch.setattr(webcam.sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="no screen for a window; add --no-window"):
        webcam.Window()


def test_a_webcam_that_is_not_there_is_refused():
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    with pytest.raises(ValueError, match="webcam 99 cannot be opened"):
        next(webcam.frames("99"))
