"""Every JSON of poses, predictions and limits, with values of wrong types and sizes: read, or refused by name."""

import json
from pathlib import Path

import numpy as np
import pytest
from support import hands, hostile_json

from bmc_jax import limits
from bmc_jax.data import pose_files
from bmc_jax.metrics import ground_truth, prediction_files

P = hands.adults()[:3]
POINTS = [[dict(zip("xyz", point, strict=True)) for point in pose] for pose in P.tolist()]
SIDES = {"handedness": [[{"categoryName": "Left", "score": 0.9}]]}
FIELDS = {"joints": P.tolist(), "left": [True, False, False]}
#: Content of a file, and what reads it.
FILES = {
    "poses": (P.tolist(), pose_files.read),
    "fields of poses": (FIELDS | {"order": "freihand", "unit": "m"}, pose_files.read),
    "MediaPipe": ([SIDES | {"landmarks": POINTS[:1], "worldLandmarks": POINTS[:1]}] * 2, pose_files.read),
    "OpenPose": ({"people": [{"hand_left_keypoints_3d": [0.5] * 84, "hand_right_keypoints_3d": []}]}, pose_files.read),
    "WiLoR": ([[{"is_right": 1.0, "wilor_preds": {"pred_keypoints_3d": [P[0].tolist()]}}]], pose_files.read),
    "pair": ([P.tolist(), np.ones((3, 4, 3)).tolist()], lambda file: prediction_files.read("freihand", file)),
    "fields": (
        FIELDS | {"names": ["a", "b", "c"], "vertices": np.ones((3, 4, 3)).tolist()},
        lambda file: prediction_files.read("rhd", file),
    ),
    "truth": (P.tolist(), lambda file: ground_truth.read("freihand", file)),
    "limits": (
        json.loads((Path(limits.__file__).parent / "presets/clinical.json").read_text(encoding="utf-8")),
        limits.load,
    ),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", FILES)
def test_content_of_wrong_types_is_read_or_refused_by_name(tmp_path, name):
    content, read = FILES[name]
    file = tmp_path / "evaluation_xyz.json"
    for changed in hostile_json.texts(content, 40 if name == "limits" else 120):
        file.write_text(changed, encoding="utf-8")
        message = refusal(read, file)
        assert message is None or str(file) in message


def refusal(read, file):
    """The message with which a file is refused; None if it is read."""
    try:
        read(file)
    except ValueError as error:
        return str(error)
