"""Builds: exact counts, the same records on any number of cores, and no incomplete dataset read as whole."""

import dataclasses
import fcntl
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from support import annotations, examples

from bmc_jax import synthesis
from bmc_jax.data import store
from bmc_jax.data.build import builder as building
from bmc_jax.data.build import shard, verify
from bmc_jax.data.readers import coco_hand, synthetic
from bmc_jax.data.readers.annotation import SkipRow


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(shard, "ROWS", 4)


@pytest.fixture
def source(tmp_path):
    return annotations.coco(tmp_path / "source", 10)


def build(source, out, **options):
    return building.build("coco_hand", source, out, **({"name": "mine", "workers": 1} | options))


def cut(source, number):
    """Truncate one of the images."""
    file = source / f"images/{number}.jpg"
    file.write_bytes(file.read_bytes()[:400])


def contents(folder, split="train"):
    return [store.records(folder, split)[i] for i in range(len(store.records(folder, split)))]


def test_every_row_becomes_one_record_with_its_labels(source, tmp_path):
    folder = build(source, tmp_path / "out")
    assert folder == tmp_path / "out/mine/1.0.0"
    found = contents(folder)
    assert sorted(int(one["id"]) for one in found) == list(range(10))
    assert [one["id"] for one in found] != [str(i) for i in range(10)]  # shuffled
    labels = json.loads((source / "annotations.json").read_text())["annotations"]
    for one in found:
        np.testing.assert_allclose(one["joints_3d"], labels[int(one["id"])]["joints_3d"], atol=1e-6)
        assert one["source"] == "coco_hand"
    assert "tensorflow" not in sys.modules


def test_summary_counts_and_measures(source, tmp_path):
    file = source / "annotations.json"
    content = json.loads(file.read_text())
    del content["annotations"][0]["joints_3d"]
    content["annotations"][1]["joints_3d"][7] = None
    file.write_text(json.dumps(content))
    summary = store.summary(build(source, tmp_path / "out"))
    counted = summary["splits"]["train"]
    assert [counted[name] for name in ("rows", "examples", "complete_3d", "partial_3d")] == [10, 10, 8, 1]
    assert counted["reprojection_px"]["count"] == 9
    assert counted["reprojection_px"]["max"] < 0.01
    assert counted["scale_m"]["median"] == pytest.approx(0.03, abs=1e-3)
    assert sum(part["examples"] for part in counted["shards"]) == 10
    assert counted["bytes"] == sum(
        (tmp_path / "out/mine/1.0.0" / part["file"]).stat().st_size for part in counted["shards"]
    )


def set_visibility(source, value):
    """Change the visibility of every keypoint of a file."""
    file = source / "annotations.json"
    content = json.loads(file.read_text())
    for one in content["annotations"]:
        one["keypoints"][2::3] = [value] * 21
        del one["joints_3d"]
    file.write_text(json.dumps(content))


def test_scores_instead_of_visibility_require_a_threshold(source, tmp_path):
    set_visibility(source, 0.73)
    with pytest.raises(ValueError, match=r"got 0.73; .*--visibility-threshold"):
        build(source, tmp_path / "refused")
    folder = build(source, tmp_path / "out", options={"visibility_threshold": 0.5})
    assert store.summary(folder)["splits"]["train"]["labelled_joints"] == 210
    assert all((one["visibility"] == 2).all() for one in contents(folder))


@pytest.mark.parametrize("name", ["../../escape", "/tmp/escape", "a/b", "a\\b", "..", ".hidden", "a b", "a\0b"])
def test_invalid_name_is_refused_before_writing(source, tmp_path, name):
    with pytest.raises(ValueError, match=r"--name: expected letters, digits"):
        build(source, tmp_path / "deep/out", name=name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_name_may_have_digits_dots_and_dashes(source, tmp_path):
    folder = build(source, tmp_path, name="2026-11_photos.v2")
    assert len(contents(folder)) == 10


def test_split_without_a_labelled_joint_is_refused(source, tmp_path):
    set_visibility(source, 0)
    with pytest.raises(
        ValueError, match=r"expected usable rows of train, got only skipped.*no keypoint is labelled.*'count': 10"
    ):
        build(source, tmp_path / "out")


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_only_test_splits_may_have_no_labels(source, tmp_path, monkeypatch, split):
    real = coco_hand.annotation

    def unlabelled(row):
        return dataclasses.replace(
            real(row), joints_2d=None, joints_3d=None, visibility=None, box=(60.0, 20.0, 140.0, 120.0)
        )

    monkeypatch.setattr(coco_hand, "annotation", unlabelled)
    if split == "test":
        assert store.summary(build(source, tmp_path, options={"split": split}))["splits"][split]["examples"] == 10
    else:
        with pytest.raises(ValueError, match=f"expected labelled joints in {split}, got none in 10 hands"):
            build(source, tmp_path, options={"split": split})


def test_other_splits_keep_their_order(source, tmp_path):
    folder = build(source, tmp_path / "out", options={"split": "test"})
    assert [one["id"] for one in contents(folder, "test")] == [str(i) for i in range(10)]


def test_records_do_not_depend_on_the_number_of_processes(source, tmp_path):
    alone, together = (build(source, tmp_path / f"{n}", workers=n) for n in (1, 2))
    assert store.summary(alone)["hash"] == store.summary(together)["hash"]
    for one, other in zip(contents(alone), contents(together), strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_hash_depends_on_the_content_only(source, tmp_path):
    before = store.summary(build(source, tmp_path / "before"))["hash"]
    file = source / "annotations.json"
    content = json.loads(file.read_text())
    content["annotations"][3]["keypoints"][0] += 0.5
    file.write_text(json.dumps(content))
    assert store.summary(build(source, tmp_path / "after"))["hash"] != before


def test_interrupted_build_continues_to_the_same_result(source, tmp_path, monkeypatch, capsys):
    whole = build(source, tmp_path / "whole")
    calls, real = [], shard.write

    def write(part, file):
        calls.append(file)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(part, file)

    monkeypatch.setattr(shard, "write", write)
    with pytest.raises(KeyboardInterrupt):
        build(source, tmp_path / "out")
    with pytest.raises(
        ValueError, match="expected a complete build, got an interrupted one; run its `bmc data build` again"
    ):
        store.find("mine", tmp_path / "out")
    build(source, tmp_path / "out")
    assert len(calls) == 4  # the third shard alone was missing
    assert "continuing after 7 of 10 rows" in capsys.readouterr().out
    assert store.summary(whole)["hash"] == store.summary(store.find("mine", tmp_path / "out"))["hash"]
    assert not list((tmp_path / "out/mine").glob("*.building"))


def test_partial_shard_is_written_again(source, tmp_path, monkeypatch):
    real = os.replace

    def replace(old, new):
        if "array_record-00001" in os.fspath(new):
            raise KeyboardInterrupt
        real(old, new)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        build(source, tmp_path / "out")
    monkeypatch.setattr(os, "replace", real)
    folder = build(source, tmp_path / "out")
    assert verify.verify(folder) == []
    assert not list(folder.glob("*partial*"))


def alive(group):
    """Whether a group of processes has any left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_killed_build_leaves_no_process_and_continues(tmp_path):
    source, out = annotations.coco(tmp_path / "source", 200), tmp_path / "out"
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from bmc_jax.data.build import builder, shard\n"
        "if __name__ == '__main__':\n"
        "    shard.ROWS = 4\n"
        "    builder.build('coco_hand', sys.argv[1], sys.argv[2], name='mine', workers=2)\n"
    )
    process = subprocess.Popen([sys.executable, script, source, out], stderr=subprocess.DEVNULL, start_new_session=True)
    while not list(out.glob("mine/1.0.0.building/train-*.json")):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while alive(process.pid):  # its workers end by themselves
        assert time.monotonic() < deadline
        time.sleep(0.05)
    folder = build(source, out)  # the lock went with the process
    assert verify.verify(folder) == []
    assert len(store.records(folder, "train")) == 200


def test_built_dataset_is_not_changed(source, tmp_path, monkeypatch, capsys):
    folder = build(source, tmp_path / "out")
    assert "not changed" not in capsys.readouterr().out
    monkeypatch.setattr(shard, "write", lambda *_: pytest.fail("written again"))
    assert build(source, tmp_path / "out") == folder
    assert f"{folder} is complete and not changed; if its source has changed, delete" in capsys.readouterr().out
    with pytest.raises(
        ValueError, match=r"expected this build of mine, got another; build this one with another --name.*\n.*focal"
    ):
        build(source, tmp_path / "out", options={"focal": 2.0})


def test_started_build_is_not_mixed_with_another(source, tmp_path):
    cut(source, 3)
    with pytest.raises(ValueError, match="damaged"):
        build(source, tmp_path / "out")
    with pytest.raises(
        ValueError, match=r"1.0.0.building: expected this build of mine, got another; continue that build"
    ):
        build(source, tmp_path / "out", faults="skip")


def test_build_without_a_finished_shard_is_replaced(source, tmp_path):
    set_visibility(source, 0.73)
    with pytest.raises(ValueError, match="--visibility-threshold"):
        build(source, tmp_path)
    assert len(contents(build(source, tmp_path, options={"visibility_threshold": 0.5}))) == 10


def test_split_of_faults_only_is_refused_with_an_example(source, tmp_path):
    set_visibility(source, 0.73)
    with pytest.raises(ValueError, match=r"got only skipped ones: {}, 10 with faults, such as .*0.73"):
        build(source, tmp_path, faults="skip")


def test_two_builds_at_once_are_refused(source, tmp_path):
    (tmp_path / "out/mine").mkdir(parents=True)
    with open(tmp_path / "out/mine/.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4711")
        lock.flush()
        with pytest.raises(ValueError, match="expected no other build in this folder, got process 4711; wait for it"):
            build(source, tmp_path / "out")


def test_full_disk_is_reported_and_finished_shards_are_kept(source, tmp_path, monkeypatch):
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = np.random.default_rng(0).integers(0, 256, (annotations.HEIGHT, annotations.WIDTH, 3), np.uint8)
    for number in range(10):
        Image.fromarray(noise).save(source / f"images/{number}.jpg", quality=95)
    monkeypatch.setattr(shard, "ROWS", 9)
    with monkeypatch.context() as patched:
        calls, real = [], shard.write

        def write(part, file):
            calls.append(file)
            if len(calls) == 2:
                resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # the system refuses to write more
            try:
                return real(part, file)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

        patched.setattr(shard, "write", write)
        with pytest.raises(
            OSError, match=r"1.0.0.building: expected to write shards, .*free space on that disk and run the same"
        ):
            build(source, tmp_path / "out")
    assert len(list((tmp_path / "out").glob("mine/*/train-*.json"))) == 1
    assert len(store.records(build(source, tmp_path / "out"), "train")) == 10


def test_fault_stops_at_its_row_unless_skipped(source, tmp_path):
    cut(source, 6)
    with pytest.raises(
        ValueError, match=r"annotation 6 \(6.jpg\): .*6.jpg: expected an image, got a damaged .*--faults skip"
    ):
        build(source, tmp_path / "out")
    counted = store.summary(build(source, tmp_path / "other", faults="skip"))["splits"]["train"]
    assert (counted["rows"], counted["examples"], counted["faults"]["count"]) == (10, 9, 1)
    assert "6.jpg" in counted["faults"]["first"][0]


def test_fault_in_a_process_is_reported(source, tmp_path):
    cut(source, 6)
    with pytest.raises(ValueError, match=r"6.jpg: expected an image, got a damaged file"):
        build(source, tmp_path / "out", workers=2)


def test_skipped_rows_are_counted_by_reason(source, tmp_path, monkeypatch):
    real = coco_hand.annotation

    def annotation(row):
        if int(row.id) % 3 == 0:
            raise SkipRow("no hand in it")
        return real(row)

    monkeypatch.setattr(coco_hand, "annotation", annotation)
    counted = store.summary(build(source, tmp_path / "out"))["splits"]["train"]
    assert counted["examples"] == 6
    assert counted["skipped"]["no hand in it"]["count"] == 4
    assert set(counted["skipped"]["no hand in it"]["first"]) == {"0", "3", "6", "9"}


def test_labels_left_out_are_counted_by_reason(source, tmp_path):
    file = source / "annotations.json"
    content = json.loads(file.read_text())
    for number in (2, 5, 6):
        content["annotations"][number]["keypoints"][:2] = [0, 0]
    content["annotations"][6]["keypoints"][3:5] = [-40, 20]
    file.write_text(json.dumps(content))
    counted = store.summary(build(source, tmp_path / "out", options={"split": "test"}))["splits"]["test"]
    assert counted["labels_left_out"] == {
        "keypoints at (0, 0)": {"count": 3, "first": ["2", "5", "6"]},
        "keypoints outside of their image": {"count": 1, "first": ["6"]},
    }
    assert counted["labelled_joints"] == 206


def test_empty_shards_are_read(source, tmp_path, monkeypatch):
    monkeypatch.setattr(shard, "ROWS", 1)
    cut(source, 2)
    folder = build(source, tmp_path / "out", faults="skip")
    assert len(contents(folder)) == 9
    assert verify.verify(folder) == []


def test_build_without_an_example_is_an_error(source, tmp_path, monkeypatch):
    monkeypatch.setattr(coco_hand, "annotation", lambda row: (_ for _ in ()).throw(SkipRow("no hand in it")))
    with pytest.raises(ValueError, match=r"expected usable rows of train, got only skipped.*no hand in it"):
        build(source, tmp_path / "out")


def test_left_hands_stated_as_right_are_refused(tmp_path):
    folder = annotations.coco(tmp_path / "source", 4, hand_side="left")
    with pytest.raises(
        ValueError, match=r"right hands in train .* got 4 of 4 hands with the thumb on a left hand's side"
    ):
        build(folder, tmp_path / "out")


def test_verify_finds_a_changed_byte_and_a_missing_file(source, tmp_path):
    folder = build(source, tmp_path / "out")
    first, second = sorted(folder.glob("*.array_record-*"))[:2]
    content = bytearray(first.read_bytes())
    content[200] ^= 1
    first.write_bytes(content)
    second.unlink()
    problems = verify.verify(folder)
    assert len(problems) == 2
    assert "00000" in problems[0]
    assert "expected the SHA-256 in the summary" in problems[0]
    assert "expected a shard, got no file" in problems[1]


def test_newest_version_is_found(source, tmp_path):
    folder = build(source, tmp_path / "out")
    for version in ("1.2.0", "1.10.0", "2.0.0.building"):
        (folder.parent / version).mkdir()
    for version in ("1.2.0", "1.10.0"):
        (folder.parent / version / store.SUMMARY).write_text("{}")
    assert store.find("mine", tmp_path / "out").name == "1.10.0"
    assert store.find(folder) == folder
    with pytest.raises(ValueError, match=r"expected a built dataset 'absent'.*bmc data build"):
        store.find("absent", tmp_path)
    with pytest.raises(ValueError, match="expected one of the splits train, got 'validation'"):
        store.records(folder, "validation")


def test_rendered_hands_are_built_block_by_block(tmp_path, monkeypatch):
    calls = []

    def render(seed, domain, split, indices, size):
        calls.append((domain.name, split, list(indices), size))
        return examples.examples(len(indices), seed=int(indices[0]))

    monkeypatch.setattr(synthetic, "BLOCK", 4)
    monkeypatch.setattr(synthesis, "render", render)
    options = {"domain": "mannequin", "train": 6, "test": 2, "size": 128}
    folder = building.build("synthetic", "", tmp_path, options=options)
    assert folder.parent.name == "synthetic_mannequin"
    assert [(split, indices) for _, split, indices, _ in calls] == [
        ("train", [0, 1, 2, 3]),
        ("train", [4, 5]),
        ("test", [0, 1]),
    ]
    summary = store.summary(folder)
    assert {split: counted["complete_3d"] for split, counted in summary["splits"].items()} == {"train": 6, "test": 2}
    assert [one["id"] for one in contents(folder)] == [f"train/{i}" for i in range(6)]


@pytest.mark.slow
def test_beam_writes_the_same_records(source, tmp_path):
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed: pip install 'bmc-jax[beam]'")
    command = [sys.executable, "-m", "bmc_jax", "data", "build", "coco_hand", "--source", source, "--name", "mine"]
    for options in (["--out", tmp_path / "plain"], ["--out", tmp_path / "beam", "--beam", "runner=DirectRunner"]):
        subprocess.run([*command, *options], check=True, capture_output=True)
    plain, beam = (store.find("mine", tmp_path / name) for name in ("plain", "beam"))
    assert store.summary(plain)["hash"] == store.summary(beam)["hash"]
    assert verify.verify(beam) == []
