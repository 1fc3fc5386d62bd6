"""The page of predicted hands in a real browser: no network access, no logged errors, and reactions to input."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from support import browser, examples, spotter

from bmc_jax.core.types import Prediction
from bmc_jax.data.images import Picture
from bmc_jax.inference import hand_crop, outputs, requests, viewer

SIZE = (120, 90)
NAMES = ("<b>&one.jpg", "two.jpg", "three.jpg")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A page of three hands, one of them a left hand, and its content."""
    options, trained = examples.tiny_config(), spotter.trained()
    image = spotter.picture(SIZE, (70, 50))
    seen = [
        hand_crop.cut(requests.Request(Path(name), left=name == "two.jpg"), Picture(image), options) for name in NAMES
    ]
    hands = examples.examples(3, seed=4)
    joints = hands.joints_3d / hands.scale[:, None, None]
    prediction = Prediction(hands.joints_2d, *[np.zeros(3)] * 3, joints)
    found = outputs.assessed(trained.limits, seen, *hand_crop.to_pictures(seen, prediction, options), 0.04)
    content = outputs.to_dict(
        outputs.of_checkpoint(trained),
        trained.limits,
        found,
        [(Path("bad.jpg"), "</script><script>alert(1)</script><!--")],
    )
    content["hands"][2]["within_limits"] = True
    pictures = [viewer.picture(image, one, found.joints_2d[i]) for i, one in enumerate(seen)]
    file = tmp_path_factory.mktemp("page") / "page.html"
    file.write_text(viewer.page(content, [0, 1, 2], pictures, "<three> & {{data}}"), encoding="utf-8")
    return file, content


@pytest.fixture(scope="module")
def tab():
    if browser.EXECUTABLE is None:
        pytest.skip("no Chromium on this machine")
    with browser.page() as opened:
        yield opened


@pytest.fixture
def opened(tab, made):
    tab.requests.clear()
    tab.errors.clear()
    tab.open(made[0])
    yield tab
    assert tab.errors == []


def state(tab):
    return {key: float(value) for key, value in tab.evaluate("({...document.querySelector('#hand').dataset})").items()}


def inked(tab):
    """Returns the number of drawn pixels in the 3D view."""
    return tab.evaluate(
        "(() => { const c = document.querySelector('#hand'); const d = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data; return d.filter((v, i) => i % 4 == 3 && v > 200).length })()"
    )


def test_a_script_that_is_not_the_pages_own_does_not_run(tab, made, tmp_path):
    page = made[0].read_text(encoding="utf-8")
    file = tmp_path / "page.html"
    file.write_text(page.replace("</main>", "</main><script>document.title = 'broken'</script>"), encoding="utf-8")
    tab.open(file)
    assert tab.evaluate("document.title") != "broken"
    assert "'unsafe-inline'" not in re.search("script-src ([^;]+)", page)[1]


def test_file_names_and_reasons_cannot_break_out_of_the_page(made):
    text = made[0].read_text(encoding="utf-8")
    inside = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1]
    assert json.loads(inside)["left_out"][0]["reason"] == "</script><script>alert(1)</script><!--"
    assert "<title>&lt;three&gt; &amp; {{data}}</title>" in text
    assert text.count("<script") == 2


def test_page_asks_nothing_of_any_network(opened, made):
    assert {url.partition(":")[0] for url in opened.requests} == {"file", "data"}
    assert [url for url in opened.requests if url.startswith("file")] == [made[0].as_uri()]
    text = made[0].read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//|@import|url\(""", text)


def test_page_shows_every_number_beside_its_limit(opened, made):
    hand, limits = made[1]["hands"][0], made[1]["limits"]
    rows = opened.evaluate("[...document.querySelectorAll('button.row')].map(row => row.innerText)")
    assert len(rows) == 15
    for row, angle, limit in zip(rows, hand["angles"], limits["angles"], strict=True):
        assert row.startswith(f"{limit['finger']} {limit['joint']}")
        assert ("beyond" in row) == (angle["beyond"] > 0)
    bad = opened.evaluate("[...document.querySelectorAll('button.row')].map(row => row.classList.contains('bad'))")
    assert bad == [angle["beyond"] > 0 for angle in hand["angles"]]
    assert any(bad)
    labels = opened.evaluate(
        "[...document.querySelectorAll('button.row .track')].map(t => t.getAttribute('aria-label'))"
    )
    low, high = limits["angles"][0]["flexion"]
    assert labels[0].endswith(f"allowed {low:.1f} to {high:.1f}")
    assert opened.evaluate("document.querySelectorAll('#rest .row').length") == 20 + 8
    assert "beyond the limits" in opened.evaluate("document.querySelector('#verdict').innerText")
    assert inked(opened) > 2000


def test_joints_are_drawn_on_the_picture_at_their_pixels(opened, made):
    drawn = opened.evaluate(
        "[...document.querySelectorAll('#photo title')].map(t => [t.textContent, +t.parentNode.getAttribute('cx'), "
        "+t.parentNode.getAttribute('cy')])"
    )
    assert [name for name, _, _ in drawn] == made[1]["joints"]
    # The centre of the first pixel is at 0 in pictures and at 0.5 in SVG.
    np.testing.assert_allclose([place for _, *place in drawn], np.array(made[1]["hands"][0]["joints_2d"]) + 0.5)
    opened.evaluate("document.querySelector('#overlay').click()")
    assert opened.evaluate("document.querySelectorAll('#photo circle').length") == 0
    assert opened.evaluate("document.querySelectorAll('#photo image').length") == 1


def wheel(tab, **more):
    x, y = tab.middle("#hand")
    tab.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=-200, **more)
    tab.evaluate("new Promise(requestAnimationFrame)")


def test_wheel_zooms_with_ctrl_or_after_a_click_and_scrolls_the_page_otherwise(opened):
    wheel(opened)
    assert state(opened)["zoom"] == 1
    wheel(opened, modifiers=2)
    zoomed = state(opened)["zoom"]
    assert zoomed > 1.2
    opened.drag("#hand", 0, 0)
    wheel(opened)
    assert state(opened)["zoom"] > 1.2 * zoomed


def test_mouse_turns_zooms_and_moves_the_hand(opened):
    assert state(opened) == {"yaw": 0, "pitch": 0, "zoom": 1, "x": 0, "y": 0}
    opened.drag("#hand", 80, 40)
    turned = state(opened)
    assert turned["yaw"] != 0
    assert turned["pitch"] != 0
    assert (turned["zoom"], turned["x"], turned["y"]) == (1, 0, 0)
    wheel(opened)
    assert state(opened)["zoom"] > 1.2
    opened.drag("#hand", 30, -20, modifiers=8)
    moved = state(opened)
    assert moved["x"] > 0 > moved["y"]
    assert moved["yaw"] == turned["yaw"]
    opened.evaluate("document.querySelector('[data-view=\"90,0\"]').click()")
    assert state(opened) == {"yaw": 1.5708, "pitch": 0, "zoom": 1, "x": 0, "y": 0}


def test_keys_do_all_that_the_mouse_does(opened):
    opened.evaluate("document.querySelector('#hand').focus()")
    opened.press("ArrowRight", 39)
    opened.press("ArrowDown", 40)
    opened.press("+", 187)
    opened.press("ArrowRight", 39, modifiers=8)
    got = state(opened)
    assert got["yaw"] < 0 < got["pitch"]
    assert got["zoom"] > 1
    assert got["x"] > 0
    opened.press("0", 48)
    assert state(opened) == {"yaw": 0, "pitch": 0, "zoom": 1, "x": 0, "y": 0}
    opened.evaluate("document.querySelector('#strip button').focus()")
    opened.press("ArrowRight", 39)
    assert opened.evaluate("document.body.dataset.shown") == "1"
    assert "two.jpg · left hand" in opened.evaluate("document.querySelector('#name').innerText")


def test_picker_changes_the_hand_and_marks_those_beyond(opened):
    assert "<b>&one.jpg" in opened.evaluate("document.querySelector('#name').innerText")
    before = opened.evaluate("document.querySelector('#angles').innerText")
    bad = opened.evaluate("[...document.querySelectorAll('#strip button')].map(b => b.classList.contains('bad'))")
    assert bad == [True, True, False]
    opened.evaluate("document.querySelectorAll('#strip button')[2].click()")
    assert opened.evaluate("document.querySelector('#angles').innerText") != before
    assert (
        opened.evaluate("document.querySelector('#verdict').innerText") == "a hand can do this: all within the limits"
    )
    pressed = opened.evaluate("[...document.querySelectorAll('#strip button')].map(b => b.ariaPressed)")
    assert pressed == ["false", "false", "true"]


def test_chosen_joint_is_marked(opened):
    circles = "document.querySelectorAll('#photo circle').length"
    before = opened.evaluate(circles)
    opened.evaluate("document.querySelectorAll('button.row')[4].click()")
    assert opened.evaluate("document.querySelectorAll('button.row')[4].ariaPressed") == "true"
    assert opened.evaluate(circles) == before + 1


@pytest.mark.parametrize("dark", [False, True])
def test_page_fits_a_telephone_and_answers_fingers(tab, made, dark):
    tab.open(made[0], width=360, height=740, dark=dark, touch=True)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    paper, ink = tab.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    light = [sum(map(int, re.findall(r"\d+", colour))) for colour in (paper, ink)]
    assert (light[0] < light[1]) == dark
    tab.evaluate("document.querySelector('#hand').scrollIntoView({block: 'center'})")
    x, y = tab.middle("#hand")
    tab.touch("touchStart", (x, y))
    tab.touch("touchMove", (x + 60, y + 10))
    tab.touch("touchEnd")
    assert state(tab)["yaw"] != 0
    tab.touch("touchStart", (x - 20, y), (x + 20, y))
    tab.touch("touchMove", (x - 60, y), (x + 60, y))
    tab.touch("touchEnd")
    assert state(tab)["zoom"] > 2
    place = tab.evaluate("scrollY")
    tab.touch("touchStart", (x, y))
    for up in range(30, 240, 30):
        tab.touch("touchMove", (x, y - up))
    tab.touch("touchEnd")
    assert tab.evaluate("scrollY") > place + 100
    assert tab.errors == []


def test_many_hands_are_thinned_evenly():
    assert viewer.selected(3) == [0, 1, 2]
    assert len(viewer.selected(1000)) == viewer.MAX_HANDS
    assert viewer.selected(1000)[0] == 0
    assert viewer.selected(1000)[-1] == 999
