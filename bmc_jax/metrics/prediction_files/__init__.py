"""The files in which challenges and other people's programs exchange predicted hands, written and read.

    kind            file                                joints
    freihand        pred.json, pred.zip: [xyz, verts]   FreiHAND order, metres, camera frame
    ho3d            pred.json, pred.zip: [xyz, verts]   MANO's order, metres, OpenGL's frame, as evaluation.txt lists
    hands19         .txt: image name and 63 numbers     BigHand's order, millimetres, OpenGL's frame
    dexter_object   .npz or .json with fields           FreiHAND order, metres, camera frame
    rhd             .npz or .json with fields           FreiHAND order, metres, camera frame

Fields are `joints [N, 21, 3]` and, where there are such, `names [N]`, `left [N]` (left hands, which stay left ones) and
`vertices [N, V, 3]`; a file of fields is read for every kind. Here, joints are always in FreiHAND order, in metres, in
the camera's frame x right, y down, z forward.
"""

from bmc_jax.metrics.prediction_files.check import count_message
from bmc_jax.metrics.prediction_files.kinds import KINDS, OFFICIAL, Predictions, in_order
from bmc_jax.metrics.prediction_files.reading import read
from bmc_jax.metrics.prediction_files.writing import write

__all__ = ["KINDS", "OFFICIAL", "Predictions", "count_message", "in_order", "read", "write"]
