"""JSON files are checked when they are read: whatever is in them, the error names file, field and value."""

import json
from typing import Any, NotRequired, TypedDict

import numpy as np
import pytest
from matplotlib.figure import Figure
from support import examples, hostile, results

from bmc_jax import limits
from bmc_jax.experiments import report as experiment_report
from bmc_jax.inference import evaluate, report, training_data
from bmc_jax.metrics import evaluation
from bmc_jax.runtime import json_files
from bmc_jax.training import config_io, run_folder


class Inner(TypedDict):
    number: float
    pair: NotRequired[tuple[int, int] | None]


class Outer(TypedDict):
    name: str
    parts: list[Inner]
    flags: dict[str, bool]


GOOD = {"name": "x", "parts": [{"number": 1, "pair": [2, 3]}, {"number": 0.5, "pair": None}], "flags": {"a": True}}


def read(tmp_path, content, kind=Outer):
    file = tmp_path / "x.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return json_files.read(file, kind, "write it again")


def test_what_is_as_expected_is_returned_with_fields_that_nobody_asked_for(tmp_path):
    content = GOOD | {"more": None}
    assert read(tmp_path, content) == content
    assert read(tmp_path, [1, "a"], list) == [1, "a"]
    assert read(tmp_path, None, Any) is None


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"name": 7}, "expected a string at name, got 7"),
        ({"name": None}, "expected a string at name, got null"),
        ({"parts": {}}, "expected a list at parts, got an object of 0"),
        ({"parts": [[1]]}, r"expected an object at parts\[0\], got a list of 1"),
        ({"parts": [{}]}, r"expected the field parts\[0\].number, got none"),
        ({"parts": [{"number": True}]}, r"expected a finite number at parts\[0\].number, got true"),
        ({"parts": [{"number": float("inf")}]}, r"expected a finite number at parts\[0\].number, got Infinity"),
        ({"parts": [{"number": 10**400}]}, r"expected a finite number at parts\[0\].number, got 1000000.*\.\.\."),
        ({"parts": [{"number": 1, "pair": [1]}]}, r"expected a list of 2 at parts\[0\].pair, got a list of 1"),
        ({"parts": [{"number": 1, "pair": [1, 2**63]}]}, r"expected a 64-bit integer at parts\[0\].pair\[1\]"),
        ({"parts": [{"number": 1, "pair": [1, 2.0]}]}, r"expected a 64-bit integer at parts\[0\].pair\[1\]"),
        ({"flags": {"a": 1}}, "expected true or false at flags.a, got 1"),
    ],
)
def test_file_field_value_and_remedy_are_named(tmp_path, change, found):
    with pytest.raises(ValueError, match=rf"x\.json is damaged: {found}.*; write it again"):
        read(tmp_path, GOOD | change)


@pytest.mark.parametrize("content", hostile.BYTES, ids=range(len(hostile.BYTES)))
def test_what_is_no_json_or_another_is_named(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.json is damaged: "):
        json_files.read(tmp_path / "x.json", Outer)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of an evaluated run."""
    folder, options = tmp_path_factory.mktemp("run"), examples.tiny_config()
    config_io.write(options, folder)
    limits.save(limits.load("clinical"), folder / limits.FILE)
    (folder / evaluate.FOLDER).mkdir()
    joints = np.ones((2, 21, 3), np.float32)
    kept = {"joints_3d": joints, "labels_3d": joints, "mean_3d": joints[0], "scale": joints[:, 0, 0]}
    for name in (*options.data.test, "photographs_street"):
        np.savez(evaluate.predictions_file(folder, name), **kept)
    return folder


@pytest.fixture
def nothing_drawn(monkeypatch):
    """Pages without their pictures, which take long."""

    class Nothing:
        def __getattr__(self, _):
            return lambda *_, **__: Figure()

    for module, names in ((report, ("charts", "draw")), (experiment_report, ("plots",))):
        for name in names:
            monkeypatch.setattr(module, name, Nothing())
    monkeypatch.setattr(report.html, "picture", lambda *_: NO_PICTURE)
    monkeypatch.setattr(report, "_hands", lambda folder, name, *_: [report.predictions(folder, name) and NO_PICTURE])


NO_PICTURE = report.html.Picture("", "")
MEASURES = {
    "count": 2,
    "count_3d": 2,
    "network": dict.fromkeys(evaluation.METRICS, 1.5),
    "mean_pose": dict.fromkeys(evaluation.METRICS, 2.5),
    "reduction_percent": {"joints_2d_px": 50.0},
    "labels": {"within_limits": 99.5},
    "intervals": {"joints_2d_px": [1.25, 1.75]},
}
METRICS = results.measured(
    5, dict.fromkeys(examples.tiny_config().data.test, MEASURES | results.official(joints_root_mean_mm=1.5))
)
PHOTOGRAPHS = (
    MEASURES
    | {key: METRICS[key] for key in ("experiment", "step", "limits", "environment")}
    | {"name": "street", "description": "x", "labels_predicted": True}
)
ARM = {"words": "x", "seeds": [0, 1], "values": {"depth_mm": [1.0, 2.0]}, "mean": {"depth_mm": 1.5}}
ARM |= {"sd": {"depth_mm": 0.5}, "paper": {"depth_mm": 1.0}, "fraction": 0.1, "closed": {"depth_mm": 3.0}}
ARM |= {"step": {"after": "a", "seeds": [0, 1], "depth_mm": {"change": -0.5, "p": 0.25}}}
COMPARISON = {
    "experiment": "x",
    "command": "bmc experiment x",
    "environment": {"hardware": "a chip", "commit": "abc"},
    "configurations": {"a": "123"},
    "claims": [{"words": "x", "arm": "b", "than": "a", "measure": "depth_mm", "by": 0.0, "gap_to": "", "on": ""}],
    "others": {"real_like": {"theirs": {"depth_mm": 1.0}}},
    "sets": {"real_like": {"a": ARM, "b": ARM}},
}


def config(folder):
    config_io.read(folder)


def data(folder):
    run_folder.require_own(folder, config_io.read(folder))
    training_data.read(config_io.read(folder), folder)


def page(folder):
    report.report([folder], folder / "report.html")


def comparison_page(folder):
    experiment_report.write(folder, folder / "experiment.html")


@pytest.mark.parametrize(
    ("name", "content", "use"),
    [
        ("config.json", config_io.to_dict(examples.tiny_config()), config),
        ("data.json", [{"name": "mannequin", "split": "train", "count": 16}] * 2, data),
        ("metrics.json", METRICS, page),
        ("photographs.json", PHOTOGRAPHS, page),
        ("experiment.json", COMPARISON, comparison_page),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_content_of_a_file_ends_in_another_error_than_the_one_that_names_it(
    folder, nothing_drawn, monkeypatch, name, content, use
):
    monkeypatch.setattr(experiment_report, "_target", lambda *_: None)
    monkeypatch.setattr(run_folder.sources, "digest", lambda _: [{"name": "mannequin", "split": "train", "count": 16}])
    monkeypatch.setattr(training_data, "_rendered_scale", lambda *_: 0.04)
    file = folder / name
    before = file.read_bytes() if file.exists() else None
    errors = []
    try:
        file.write_text(json.dumps(content), encoding="utf-8")
        use(folder)
        for variant in hostile.variants(content, 100):
            file.write_bytes(variant)
            try:
                use(folder)
            except FileNotFoundError:  # of a file that is named in this one
                pass
            except ValueError as error:
                errors.append(str(error))
            except Exception as error:
                raise AssertionError(variant[:2000]) from error
    finally:
        file.unlink() if before is None else file.write_bytes(before)
    assert len(errors) > 40
    assert [error for error in errors if name not in error] == []
