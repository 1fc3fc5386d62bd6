"""Rendered images on disk: rendered once, found again, never wrong."""

import dataclasses

import jax
import numpy as np
import pytest
from support import examples

from bmc_jax import config, synthesis
from bmc_jax.data import rendered_file, sources
from bmc_jax.synthesis import domains

COUNT = 3
ASKED = {"seed": 0, "domain": domains.get("mannequin"), "split": "train", "count": COUNT, "size": 32}


class Renderer:
    """Made-up images, and how often they were asked for."""

    def __init__(self):
        self.times = 0

    def __call__(self):
        self.times += 1
        return jax.tree.map(np.asarray, examples.examples(COUNT))


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_the_second_who_asks_gets_what_the_first_made(tmp_path):
    make = Renderer()
    first, second = (rendered_file.kept(tmp_path, make, **ASKED) for _ in range(2))
    assert make.times == 1
    same(first, second)


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"split": "test"},
        {"count": 2},
        {"size": 64},
        {"domain": domains.get("real_like")},
        {"domain": dataclasses.replace(domains.get("mannequin"), detail=0.5)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_whoever_asks_for_something_else_gets_his_own(tmp_path, other):
    make = Renderer()
    rendered_file.kept(tmp_path, make, **ASKED)
    rendered_file.kept(tmp_path, make, **ASKED | other)
    assert make.times == 2


def test_images_of_another_renderer_are_not_taken(tmp_path, monkeypatch):
    make = Renderer()
    rendered_file.kept(tmp_path, make, **ASKED)
    package = tmp_path / "synthesis" / "__init__.py"
    package.parent.mkdir()
    package.write_text("brighter = True")
    monkeypatch.setattr(synthesis, "__file__", str(package))
    rendered_file.kept(tmp_path, make, **ASKED)
    assert make.times == 2


@pytest.mark.parametrize("left", [0, 1_000])
def test_a_damaged_file_is_made_anew(tmp_path, left):
    make = Renderer()
    first = rendered_file.kept(tmp_path, make, **ASKED)
    (file,) = (tmp_path / rendered_file.FOLDER).iterdir()
    file.write_bytes(file.read_bytes()[:left])
    same(rendered_file.kept(tmp_path, make, **ASKED), first)
    assert make.times == 2
    same(rendered_file.kept(tmp_path, make, **ASKED), first)
    assert make.times == 2


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / rendered_file.FOLDER).write_text("not a folder")
    with pytest.raises(OSError, match=r"data\.keep_rendered False"):
        rendered_file.kept(tmp_path, Renderer(), **ASKED)


def test_a_run_that_keeps_its_images_renders_them_once(tmp_path, monkeypatch):
    seen = []
    rendered = jax.tree.map(np.asarray, examples.examples(COUNT))

    def render(seed, domain, split, index, size):
        seen.append(len(index))
        return jax.tree.map(lambda leaf: leaf[: len(index)], rendered)

    monkeypatch.setattr(synthesis, "render", render)
    options = config.Config(data=config.Data(directory=str(tmp_path), keep_rendered=True, augment=False))
    first, second = (sources.rendered(options, "mannequin", "train", COUNT, number) for number in (0, 1))
    assert seen == [COUNT]
    assert list(second.source) == [1] * COUNT
    same(dataclasses.replace(first, source=second.source), second)
