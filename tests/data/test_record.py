"""Records: validated annotations, and labels that stay on their pixels."""

import io

import numpy as np
import pytest
from PIL import Image
from support.annotations import K, annotation, centroid, open_hand, picture, project

from bmc_jax import hand
from bmc_jax.core import validation
from bmc_jax.data import record as records
from bmc_jax.data.record import record, reprojection_error


def decoded(found):
    return np.asarray(Image.open(io.BytesIO(found["image"])))


def test_generated_hand_is_a_right_hand():
    assert validation.thumb_side(open_hand()[None])[0] > validation.UNDECIDED


@pytest.mark.parametrize("joint", [0, 4, 8, 20])
def test_label_is_on_its_pixel_also_when_shrunk_and_cut(joint):
    joints, zoom = open_hand(), 6.0
    wide = np.diag([zoom, zoom, 1.0]) @ K  # a 1,200 x 960 image, more than is stored
    points = project(joints, wide)
    image = np.asarray(Image.fromarray(picture([project(joints)[joint]])).resize((1200, 960), Image.Resampling.BICUBIC))
    painted = centroid(image)
    found = record(
        annotation(image=image, intrinsics=wide, joints_2d=np.where(np.arange(21)[:, None] == joint, painted, points))
    )
    assert max(decoded(found).shape) <= records.LARGEST
    np.testing.assert_allclose(centroid(decoded(found)), found["joints_2d"][joint], atol=0.1)


@pytest.mark.parametrize("left", [False, True])
def test_projection_of_the_record_is_its_2d_label(left):
    found = record(annotation(left=left))
    np.testing.assert_allclose(
        project(found["joints_3d"].astype(float), found["intrinsics"]), found["joints_2d"], atol=1e-3
    )
    assert reprojection_error(found) < 1e-3
    assert found["hand"] == ("left" if left else "right")


def test_left_hand_is_mirrored_to_the_pixel():
    right, left = record(annotation()), record(annotation(left=True))
    width = decoded(right).shape[1]
    np.testing.assert_allclose(decoded(left)[:, ::-1], decoded(right), atol=6)  # JPEG
    np.testing.assert_allclose(left["joints_2d"][:, 0], width - 1 - right["joints_2d"][:, 0], atol=1e-4)
    np.testing.assert_allclose(left["joints_3d"], right["joints_3d"] * [-1, 1, 1], atol=1e-7)
    np.testing.assert_allclose(centroid(decoded(left)), left["joints_2d"][8], atol=0.1)
    left_edge, _, right_edge, _ = left["box"]
    assert left_edge < right_edge
    np.testing.assert_allclose(left["box"][0], width - 1 - right["box"][2], atol=1e-4)


def test_whole_jpeg_of_a_right_hand_is_kept_byte_for_byte(tmp_path):
    Image.fromarray(picture([(50, 60)], 100, 80)).save(tmp_path / "one.jpg")
    box = (20.0, 10.0, 80.0, 70.0)
    found = record(annotation(image=tmp_path / "one.jpg", joints_3d=None, joints_2d=np.full((21, 2), 50.0), box=box))
    assert found["image"] == (tmp_path / "one.jpg").read_bytes()
    np.testing.assert_array_equal(found["intrinsics"], K.astype(np.float32))
    np.testing.assert_array_equal(found["box"], np.float32(box))


def test_grey_and_transparent_images_become_rgb(tmp_path):
    for mode in ("L", "RGBA", "P"):
        Image.fromarray(picture([(50, 60)])).convert(mode).save(tmp_path / f"{mode}.png")
        assert decoded(record(annotation(image=tmp_path / f"{mode}.png"))).shape[-1] == 3


def test_unknown_joints_are_zero_and_masked():
    joints = open_hand()
    joints[5:9] = np.nan
    visibility = np.full(21, 2)
    visibility[[1, 2]] = 1
    visibility[3] = 0
    found = record(annotation(joints_3d=joints, visibility=visibility))
    assert found["joints_3d_valid"].tolist() == [not 5 <= i < 9 for i in range(21)]
    assert not found["joints_3d"][5:9].any()
    assert found["visibility"].tolist() == [2, 1, 1, 0, *[2] * 17]
    assert not found["joints_2d"][3].any()
    assert found["scale"] == pytest.approx(np.linalg.norm(open_hand()[10] - open_hand()[9]))


def test_2d_labels_alone_have_no_depth_and_no_scale():
    found = record(annotation(joints_3d=None))
    assert not found["joints_3d_valid"].any()
    assert found["scale"] == 0
    assert np.isnan(reprojection_error(found))


def test_3d_labels_alone_are_projected():
    np.testing.assert_allclose(
        record(annotation(joints_2d=None))["joints_2d"], record(annotation())["joints_2d"], atol=1e-3
    )


def test_root_and_box_alone_are_sufficient():
    joints = np.full((21, 3), np.nan)
    joints[0] = open_hand()[0]
    found = record(annotation(joints_3d=joints, joints_2d=None, box=(60.0, 20.0, 140.0, 120.0)))
    assert found["joints_3d_valid"].sum() == 1
    assert found["visibility"].sum() == 2


def changed(joint, value):
    joints = open_hand()
    joints[joint] = value
    return joints


def reordered():
    """RHD's order, taken for FreiHAND's."""
    return open_hand()[hand.TO_FREIHAND["rhd"]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"intrinsics": np.zeros((3, 3))}, r"K: expected .* with positive focal lengths, got"),
        ({"intrinsics": K * [[-1, 1, 1]]}, "positive focal lengths"),
        ({"intrinsics": K * np.nan}, "K: expected"),
        ({"intrinsics": K.T}, "K: expected"),
        ({"intrinsics": np.eye(4)}, "K: expected"),
        ({"joints_3d": open_hand() * 1000}, "expected a depth in .* m, got 600; .*divide millimetres by 1000"),
        ({"joints_3d": open_hand() * [1, 1, -1]}, "wrist: expected a depth above 0, got -0.6 m, behind the camera"),
        ({"joints_3d": changed(7, [0, 0, np.inf])}, "expected finite 3D joints"),
        ({"joints_3d": open_hand()[:20]}, r"expected 3D joints \[21, 3\] of a hand, got the shape \[20, 3\]"),
        ({"joints_3d": open_hand() * 0.1 + [0, 0, 0.5]}, "from the wrist to the middle MCP, got 0.009"),
        ({"joints_3d": open_hand() * [1, -1, 1]}, "onto the 2D joints, got .* px for a hand of .* px; correct K"),
        ({"joints_3d": open_hand(shift=(0.1, 0))}, "expected 3D joints that project onto the 2D joints"),
        ({"joints_2d": project(open_hand())[:5]}, r"expected 2D joints \[21, 2\] of a hand, got the shape \[5, 2\]"),
        ({"joints_2d": np.full((21, 2), np.inf)}, "expected finite 2D joints"),
        ({"joints_3d": None, "joints_2d": np.full((21, 2), np.nan)}, "expected a labelled joint or a box, got neither"),
        ({"joints_3d": None, "joints_2d": np.full((21, 2), 9.0)}, "box: expected a positive size, got 9, 9, 9, 9"),
        ({"box": (90.0, 20.0, 20.0, 15.0)}, "box: expected a positive size"),
        ({"box": (90.0, 20.0, 92.0, 22.0)}, "box: expected 4 pixels or more .* check that it is in pixels"),
        ({"box": (900.0, 900.0, 950.0, 950.0)}, r"box inside its image of 200x160 pixels, got \[900"),
        ({"scale": 34.0}, "scale, from middle MCP to middle PIP: expected .* m, got 34"),
    ],
)
def test_implausible_label_is_refused_with_its_place(changes, message):
    with pytest.raises(ValueError, match=rf"made.json: row 3: .*{message}"):
        record(annotation(**changes))


def test_another_joint_order_is_refused():
    with pytest.raises(ValueError, match="expected 3D joints that project onto the 2D joints"):
        record(annotation(joints_3d=reordered()))


def test_missing_image_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"made.json: row 3: expected the image .*absent.jpg"):
        record(annotation(image=tmp_path / "absent.jpg"))


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_truncated_image_is_named(tmp_path, ending):
    file = tmp_path / f"cut.{ending}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (160, 200, 3), np.uint8)).save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"made.json: row 3: .*cut.{ending}: expected an image, got a damaged"):
        record(annotation(image=file))


def test_every_feature_is_filled():
    assert set(record(annotation())) == set(records.features())


@pytest.mark.parametrize("box", [None, (0.0, 0.0, 199.0, 159.0)])  # part of the image, and all of it
@pytest.mark.parametrize("stored", [lambda upright: np.rot90(upright), lambda upright: upright])
def test_label_is_on_its_pixel_for_either_orientation(tmp_path, stored, box):
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = picture([project(open_hand())[8]])  # of 200x160 pixels, as the labels
    Image.fromarray(stored(upright).copy()).save(tmp_path / "phone.jpg", exif=exif, quality=95)
    found = record(annotation(image=tmp_path / "phone.jpg", image_size=(200, 160), box=box))
    with Image.open(io.BytesIO(found["image"])) as opened:
        assert opened.getexif().get(0x0112, 1) == 1
    np.testing.assert_allclose(centroid(decoded(found)), found["joints_2d"][8], atol=0.1)


@pytest.mark.parametrize("name", ["deep.png", "palette.png", "cmyk.jpg", "clear.png"])
def test_image_of_any_mode_has_the_record_of_its_colours(tmp_path, name):
    upright = picture([project(open_hand())[8]])
    image = Image.fromarray(upright)
    if name == "deep.png":
        image = Image.fromarray(upright[..., 0].astype(np.uint16) * 257)
    elif name == "clear.png":
        image = Image.fromarray(np.concatenate([upright | 128, upright[..., :1]], axis=-1))
        upright = np.round((upright | 128) * (upright[..., :1] / 255)).astype(np.uint8)
    else:
        image = image.quantize() if name == "palette.png" else image.convert("CMYK")
    image.save(tmp_path / name)
    found, plain = record(annotation(image=tmp_path / name)), record(annotation(image=upright))
    assert np.abs(decoded(found).astype(int) - decoded(plain)).mean() < 3
