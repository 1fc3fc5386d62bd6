"""Pictures: what should be seen is drawn, where it should be, and what is not labelled is not."""

import io
import re

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from support import examples, paths

from bmc_jax.core import hand
from bmc_jax.visualization import charts, draw, html

COUNT = 3
BATCH = examples.examples(COUNT)
TEMPLATES = sorted((paths.ROOT / "bmc_jax/visualization/templates").glob("*.html"))
GREY = np.full((COUNT, 64, 64, 3), 128, np.uint8)


def pixels(figure):
    return np.asarray(Image.open(io.BytesIO(draw.png(figure, dpi=100))).convert("RGB")).astype(int)


def painted(image, colour):
    """Number of pixels close to a colour."""
    return int((np.abs(image - np.round(255 * np.array(to_rgb(colour)))).max(axis=-1) < 8).sum())


def around(figure, axes, point, reach=4):
    """Pixels of the figure around a point of the axes."""
    image = pixels(figure)
    u, v = axes.transData.transform(point)
    # The figure's own pixels count from the bottom.
    column, row = round(u), round(image.shape[0] - v)
    return image[row - reach : row + reach, column - reach : column + reach]


def straight_hands():
    """Joints of each finger on a column of their own, in a 64-pixel image."""
    columns = np.repeat([10.0, 20, 30, 40, 50], 4)
    rows = np.tile([45.0, 35, 25, 15], 5)
    joints = np.concatenate([[[32.0, 58.0]], np.stack([columns, rows], -1)])
    return np.broadcast_to(joints, (COUNT, 21, 2))


def test_every_finger_is_seen_in_its_colour():
    image = pixels(draw.contact_sheet(GREY, straight_hands()))
    legend = pixels(draw.contact_sheet(GREY, straight_hands(), np.zeros((COUNT, 21), bool)))
    for colour in draw.FINGER_COLOURS:
        assert painted(image, colour) > painted(legend, colour) + 100


def test_bones_without_a_label_are_not_drawn():
    valid = np.ones((COUNT, 21), bool)
    valid[:, 5:9] = False
    image = pixels(draw.contact_sheet(GREY, straight_hands(), valid))
    legend = pixels(draw.contact_sheet(GREY, straight_hands(), np.zeros((COUNT, 21), bool)))
    assert painted(image, draw.FINGER_COLOURS[1]) == painted(legend, draw.FINGER_COLOURS[1])
    assert painted(image, draw.FINGER_COLOURS[2]) > painted(legend, draw.FINGER_COLOURS[2])


def test_joint_is_drawn_at_its_pixel():
    figure = draw.contact_sheet(GREY[:1], straight_hands()[:1])
    axes = figure.axes[0]
    assert painted(around(figure, axes, straight_hands()[0, 8]), draw.PAPER) > 0
    assert painted(around(figure, axes, straight_hands()[0, 8] + 3), draw.PAPER) == 0
    low, high = (axes.transData.transform([x, x]) for x in (-0.5, 63.5))
    np.testing.assert_allclose([axes.bbox.x0, axes.bbox.x1], [low[0], high[0]], atol=1e-6)


def test_prediction_is_drawn_over_the_labels():
    figure = draw.contact_sheet(GREY, straight_hands(), predicted=straight_hands() - np.array([0, 8]))
    label, predicted = (around(figure, figure.axes[0], point) for point in ((10, 41), (10, 11)))
    assert painted(label, "#ffffff") > 0
    assert painted(label, draw.FINGER_COLOURS[0]) == 0
    assert painted(predicted, draw.FINGER_COLOURS[0]) > 0
    assert painted(predicted, "#ffffff") == 0


def test_three_views_have_one_scale():
    figure = draw.poses(BATCH.image, BATCH.joints_2d, BATCH.joints_3d * 1000, BATCH.joints_2d, BATCH.joints_3d * 1000)
    assert len(figure.axes) == 4 * COUNT
    for row in range(COUNT):
        views = figure.axes[4 * row + 1 : 4 * row + 4]
        spans = [np.ptp(limits) for axes in views for limits in (axes.get_xlim(), axes.get_ylim())]
        np.testing.assert_allclose(spans, spans[0], rtol=1e-5)
        relative = 1000 * (BATCH.joints_3d[row] - BATCH.joints_3d[row, :1])
        for axes, plane in zip(views, ([0, 1], [2, 1], [0, 2]), strict=True):
            for line, finger in zip(axes.lines, [*hand.FINGER_JOINTS, *hand.FINGER_JOINTS], strict=True):
                chain = relative[[hand.WRIST, *finger]][:, plane]
                np.testing.assert_allclose(line.get_xydata(), chain, atol=1e-3)
            assert sum(painted(around(figure, axes, relative[8, plane], 9), of) for of in draw.FINGER_COLOURS) > 0


def test_image_and_camera_view_have_up_on_the_same_side():
    figure = draw.poses(BATCH.image, BATCH.joints_2d, BATCH.joints_3d)
    image, front, side, above = figure.axes[:4]
    assert image.yaxis_inverted()
    assert front.yaxis_inverted()
    assert side.yaxis_inverted()
    assert not above.yaxis_inverted()


def test_hulls_state_the_share_of_angles_inside():
    limits = examples.narrow_limits()
    angles = np.zeros((4, 5, 3, 2), np.float32)
    angles[0, 2, 1] = [0.5, 0.0]
    figure = draw.angle_hulls(limits, angles, title="limits of a test")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[7] == "middle DIP bone · 75.0 % in"
    assert all(title.endswith("100.0 % in") for title in titles[:7] + titles[8:])
    assert painted(pixels(figure), draw.OUTSIDE) > 0


def test_hulls_are_drawn_without_samples():
    figure = draw.angle_hulls(examples.narrow_limits())
    assert figure.axes[0].get_title() == "thumb PIP bone"
    low, high = figure.axes[0].get_xlim()
    assert low < -np.degrees(0.1) < np.degrees(0.1) < high


def test_curves_use_logarithms_only_where_values_allow():
    rows = [{"step": step, "loss": 10.0 ** (-step / 20), "palm": 0.0, "rate": 1e-3} for step in range(1, 101)]
    figure = charts.training_curves(rows, title="tiny")
    scales = {axes.get_title(): axes.get_yscale() for axes in figure.axes}
    assert scales == {"loss": "log", "palm": "linear", "rate": "linear"}
    logged = figure.axes[0].lines[0].get_xydata()
    np.testing.assert_allclose(logged, [[row["step"], row["loss"]] for row in rows])
    assert painted(around(figure, figure.axes[0], logged[50]), draw.INSIDE) > 0


def test_one_logged_step_is_a_dot():
    figure = charts.training_curves([{"step": 1, "loss": 0.5}])
    assert painted(around(figure, figure.axes[0], (1, 0.5)), draw.INSIDE) > 0


def test_pck_legend_has_the_area():
    thresholds = np.linspace(0, 50, 100)
    figure = charts.pck({"hands": thresholds / 50, "hands, mean pose": np.zeros(100)}, thresholds)
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["hands · AUC 0.50", "hands, mean pose · AUC 0.00"]
    assert figure.axes[0].lines[0].get_color() == figure.axes[0].lines[1].get_color()


def test_bars_have_their_values():
    figure = charts.bars({"Z, mm": {"one": {"network": 1.25, "mean": 3.0}, "two": {"network": 2.0, "mean": 4.0}}})
    assert [text.get_text() for text in figure.axes[0].texts] == ["1.2", "3.0", "2.0", "4.0"]
    assert [bar.get_width() for bar in figure.axes[0].patches] == [1.25, 3.0, 2.0, 4.0]
    for place, colour in enumerate((draw.INSIDE, "#b8c4d0")):
        assert painted(around(figure, figure.axes[0], (0.6, place)), colour) > 20


def test_templates_escape_what_they_are_given():
    figure = draw.Figure(figsize=(1, 1))
    text = html.render(
        "limits_motion.html",
        title="<script>1</script>",
        subtitle="a & b",
        findings=[],
        motion=type("Motion", (), {"sentence": lambda self: "<img src=x>", "notes": ('"><b>',)})(),
        curves=html.picture(figure, '"><script>'),
        head=("<th>",),
        rows=[("<td onclick='x'>",)],
    )
    assert "a &amp; b" in text
    for breakout in ("<script", "<img src=x", "<b>", "<td onclick", "<th><th>"):
        assert breakout not in text
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in text


@pytest.mark.parametrize("file", TEMPLATES, ids=[file.name for file in TEMPLATES])
def test_templates_escape_all_values_and_allow_no_network_and_no_other_script(file):
    source = file.read_text(encoding="utf-8")
    assert not re.search(r"\|\s*safe\b|autoescape|Markup| on\w+=|javascript:", source)
    if "<head>" in source:
        policy = re.search(r'http-equiv="Content-Security-Policy"\s+content="([^"]+)"', source)[1]
        assert policy.startswith("default-src 'none'; img-src data:;")
        assert policy.endswith("base-uri 'none'; form-action 'none'")
        assert "script-src 'unsafe" not in policy
    else:
        assert '{% extends "base.html" %}' in source or file.name == "parts.html"


def test_template_without_a_value_is_an_error():
    with pytest.raises(html.jinja2.UndefinedError, match="title"):
        html.render("base.html", subtitle="")


def test_saving_makes_the_folder_and_leaves_nothing_else(tmp_path):
    draw.save(draw.angle_hulls(examples.narrow_limits()), tmp_path / "new/hulls.png", dpi=40)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["hulls.png"]
    with Image.open(tmp_path / "new/hulls.png") as image:
        assert image.format == "PNG"


@pytest.mark.parametrize("count", [1, 7])
def test_sheet_of_any_number_of_images(count):
    figure = draw.contact_sheet(
        GREY[:1].repeat(count, 0), straight_hands()[:1].repeat(count, 0), captions=["name"] * count, title="hands"
    )
    assert len(figure.axes) == count
    assert pixels(figure).shape[1] > 170 * min(count, 6)
