"""Boxes of hands: matched by the trailing parts of paths, of hands' categories, from COCO files and result lists."""

import json
import os
import random
from pathlib import Path

import pytest

from bmc_jax.inference import boxes

BOX = [10, 20, 30, 40]


def write(file, names, **changes):
    """A COCO file with one hand in each of the named images, whose x is its image's number."""
    content = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
        "annotations": [{"image_id": number, "bbox": [number, *BOX[1:]]} for number in range(len(names))],
    }
    file.write_text(json.dumps(content | changes))
    return file


def matched(found):
    """The number of the entry that each image's box is of."""
    return {os.fspath(image): int(hand.box[0]) for image, hand in found.hands}


def test_image_has_the_boxes_of_its_own_folder(tmp_path):
    file = write(tmp_path / "boxes.json", ["camA/0.jpg", "camB/0.jpg", "1.jpg"])
    images = [tmp_path / name for name in ("camB/0.jpg", "camA/0.jpg", "camC/1.jpg", "camC/0.jpg")]
    found = boxes.find(images, file)
    assert matched(found) == {f"{tmp_path}/camB/0.jpg": 1, f"{tmp_path}/camA/0.jpg": 0, f"{tmp_path}/camC/1.jpg": 2}
    ((image, reason),) = found.left_out
    assert image == images[3]
    assert reason == (
        f"{file} does not list it; it lists camA/0.jpg, camB/0.jpg, in another folder; write the end of {image} there"
    )


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ("photos/a.jpg", True),
        ("photos\\\\a.jpg".replace("\\\\", "\\"), True),
        ("./photos//a.jpg", True),
        ("../photos/a.jpg", True),
        ("a", True),  # without its suffix
        ("photos/A.jpg", False),
        ("Photos/a.jpg", False),
        ("other/photos/a.jpg", False),
        ("hotos/a.jpg", False),
        ("/elsewhere/photos/a.jpg", False),
        ("a.png", False),
        ("", False),
    ],
)
def test_relative_path_is_matched_from_its_end(tmp_path, monkeypatch, listed, found):
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path / "photos")
    file = write(tmp_path / "boxes.json", [listed])
    for image in (Path("a.jpg"), Path("../photos/a.jpg"), tmp_path / "photos/a.jpg"):
        assert bool(boxes.find([image], file).hands) == found


def test_accents_are_matched_however_they_are_encoded(tmp_path):
    file = write(tmp_path / "boxes.json", ["caf\N{LATIN SMALL LETTER E WITH ACUTE}.jpg"])
    assert boxes.find([tmp_path / "cafe\N{COMBINING ACUTE ACCENT}.jpg"], file).hands


def test_absolute_path_and_its_symbolic_link_are_matched(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a.jpg").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    file = write(tmp_path / "boxes.json", [f"{tmp_path}/real/a.jpg"])
    assert boxes.find([tmp_path / "link/a.jpg"], file).hands


def test_ambiguous_images_are_left_out_with_the_names(tmp_path):
    file = write(tmp_path / "boxes.json", ["0.jpg", "cam/0.jpg", "1.jpg"])
    images = [tmp_path / name for name in ("cam/0.jpg", "a/1.jpg", "b/1.jpg")]
    found = boxes.find(images, file)
    assert found.hands == []
    assert [reason.partition("boxes.json ")[2] for _, reason in found.left_out] == [
        "lists it more than once, as 0.jpg, cam/0.jpg; list it once",
        *["lists 1.jpg, which matches several of the images; add the folder to the name there"] * 2,
    ]


def test_category_states_the_side_and_must_not_contradict(tmp_path):
    categories = [{"id": 1, "name": "left_hand"}, {"id": 2, "name": "right_hand"}]
    annotations = [
        {"image_id": 0, "category_id": 1, "bbox": BOX},
        {"image_id": 0, "category_id": 2, "bbox": BOX, "hand_type": "right", "handedness": "Right"},
        {"image_id": 0, "category_id": 2, "bbox": BOX, "hand_side": "left"},
        {"image_id": 0, "category_id": 3, "bbox": BOX},
    ]
    file = write(tmp_path / "boxes.json", ["a.jpg"], categories=categories, annotations=annotations)
    found = boxes.find([tmp_path / "a.jpg"], file)
    assert [hand.side for _, hand in found.hands] == ["left", "right"]
    (_, contradiction), (_, unknown) = found.left_out
    assert "annotation number 2 (a.jpg) is left by its hand_side and right by its category; correct" in contradiction
    assert "annotation number 3 (a.jpg) has the category_id 3; expected one of the file's categories" in unknown


def test_file_without_hands_among_its_categories_names_them(tmp_path):
    categories = [{"id": number, "name": name} for number, name in enumerate(("person", "handbag"))]
    file = write(tmp_path / "boxes.json", ["a.jpg"], categories=categories)
    with pytest.raises(ValueError, match=r"boxes.json: expected a category of hands, got person, handbag; name"):
        boxes.find([tmp_path / "a.jpg"], file)


def test_image_whose_boxes_are_not_used_says_why(tmp_path):
    annotations = [{"image_id": 0, "bbox": BOX, "score": 0.1}, {"image_id": 0, "bbox": BOX, "score": 0.29}]
    file = write(tmp_path / "boxes.json", ["a.jpg"], annotations=annotations)
    found = boxes.find([tmp_path / "a.jpg"], file)
    assert found.left_out == [(tmp_path / "a.jpg", f"{file} has no hand for it, only boxes with a score below 0.3")]
    assert +found.unused == {"with a score below 0.3": 2}
    assert len(boxes.find([tmp_path / "a.jpg"], file, score=0.0).hands) == 2


def test_boxes_of_groups_are_not_used(tmp_path):
    annotations = [{"image_id": 0, "bbox": BOX, "iscrowd": 1}, {"image_id": 0, "bbox": BOX, "iscrowd": 0}]
    found = boxes.find([tmp_path / "a.jpg"], write(tmp_path / "boxes.json", ["a.jpg"], annotations=annotations))
    assert (len(found.hands), +found.unused) == (1, {"of a group, not one hand (iscrowd)": 1})


def test_boxes_of_images_that_the_file_does_not_list_are_counted(tmp_path):
    annotations = [{"image_id": 0, "bbox": BOX}, {"image_id": "0", "bbox": BOX}, {"image_id": 9, "bbox": BOX}]
    found = boxes.find([tmp_path / "a.jpg"], write(tmp_path / "boxes.json", ["a.jpg"], annotations=annotations))
    assert (len(found.hands), +found.unused) == (1, {"of an image that is not listed": 2})


def test_result_list_has_its_images_in_another_file(tmp_path):
    results, images = tmp_path / "results.json", tmp_path / "images.json"
    results.write_text(json.dumps([{"image_id": 1, "category_id": 1, "bbox": BOX, "score": 0.8}]))
    with pytest.raises(ValueError, match=r"expected a list of images, .* got numbers alone; .* --image-ids FILE"):
        boxes.find([tmp_path / "b.jpg"], results)
    write(images, ["a.jpg", "b.jpg"])
    ((image, hand),) = boxes.find([tmp_path / "b.jpg"], results, image_ids=images).hands
    assert (image.name, hand.box, hand.where) == ("b.jpg", (10, 20, 40, 60), "annotation number 0, score 0.8")
    write(images, ["a.jpg", "b.jpg"], categories=[{"id": 1, "name": "person"}])
    with pytest.raises(ValueError, match=r"images.json: expected a category of hands, got person"):
        boxes.find([tmp_path / "b.jpg"], results, image_ids=images)


@pytest.mark.parametrize("naming", [{"image_id": "a.jpg"}, {"image_id": "a"}, {"image_id": 5, "file_name": "a.jpg"}])
def test_result_list_may_name_its_images_itself(tmp_path, naming):
    (tmp_path / "results.json").write_text(json.dumps([naming | {"bbox": BOX}]))
    assert len(boxes.find([tmp_path / "a.jpg"], tmp_path / "results.json").hands) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not a JSON file"),
        ("[" * 100_000, "is not a JSON file"),
        (b"\xff\xfe{", "is not a JSON file"),
        ("7", "expected a COCO file or a list of results, got 7"),
        ("{}", "expected a COCO file, got no list of annotations"),
        ("[[]]", r"annotations\[0\]: expected an object with image_id, got \[\]"),
        ('[{"image_id": {}, "bbox": []}]', r"annotations\[0\].image_id: expected a number or a string, got {}"),
        ('{"images": [{"id": 1}], "annotations": []}', r"images\[0\].file_name: expected a string, got None"),
        (
            '{"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}], "annotations": []}',
            "expected a different id for each image, got 1 twice; renumber them",
        ),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1}]}',
            r"categories\[0\].name: expected a string, got None",
        ),
        ('{"images": [], "annotations": [], "categories": "hand"}', "got no list of categories"),
    ],
)
def test_file_of_another_form_is_named(tmp_path, content, message):
    file = tmp_path / "boxes.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=rf"boxes.json.*{message}"):
        boxes.find([tmp_path / "a.jpg"], file)


def test_values_of_any_type_end_in_a_reason(tmp_path):
    generator = random.Random(0)
    values = [None, True, -1, 10**400, 1e400, float("nan"), "", "a\0b", "\ud800", [], [[]] * 3, {}, [1, 2, 3, 4]]
    fields = {
        "images": ("id", "file_name", "width", "height", "K"),
        "annotations": ("id", "image_id", "bbox", "category_id", "score", "hand_side", "hand_type"),
        "categories": ("id", "name"),
    }
    plain = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": BOX}],
        "categories": [{"id": 1, "name": "hand"}],
    }
    for _ in range(300):
        content = json.loads(json.dumps(plain))
        for _ in range(generator.randint(1, 3)):
            part = generator.choice(list(fields))
            if generator.random() < 0.1:
                content[part] = generator.choice(values)
            elif isinstance(content[part], list) and content[part] and isinstance(content[part][0], dict):
                content[part][0][generator.choice(fields[part])] = generator.choice(values)
        (tmp_path / "boxes.json").write_text(json.dumps(content))
        try:
            found = boxes.find([tmp_path / "a.jpg"], tmp_path / "boxes.json")
        except ValueError as error:
            assert "boxes.json" in str(error)  # noqa: PT017, not every file is refused
        else:
            assert found.hands or found.left_out
