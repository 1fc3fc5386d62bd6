"""Values that options accept. The module imports nothing, so that `bmc --help` loads no library.

Where a room maps such a name to its meaning, a test compares the mapping's keys with the tuple here.
"""

JOINT_ORDERS = ("freihand", "mediapipe", "openpose", "coco-wholebody", "paper", "rhd", "ho3d", "mano", "interhand")
"""Keys of `hand.TO_FREIHAND`."""
LENGTH_UNITS = ("m", "cm", "mm")
SIDES = ("right", "left")
LEFT_HANDS = ("error", "drop", "mirror", "keep")
"""What `limits.fit` does with left hands, see `validation.screen`."""
PRESETS = ("clinical", "eaton", "functional", "lin2000", "people")
"""Limits in `limits/presets`."""
LIFT_LIMITS = "people"
"""Default limits of lifting and repair: those of whole hands, which bring poses nearest to the truth."""
FOCAL = 1.2
"""Focal length over the longer image side that lifting assumes of images without K and EXIF, such as the frames of
telephones' and webcams' videos, whose is 0.75 to 1.5."""
HULL_DISTANCES = ("euclidean", "circle_l1", "circle_l1_squared")
"""Modes of `hull.distance`."""
PENALTIES = ("absolute", "squared", "relative")
"""Functions of the excess over limits that `losses.constraints` averages."""
OUTPUT_REPAIRS = ("none", "rays", "free")
"""What evaluation does to the network's poses, see `config.Biomechanics.repair`."""
SPLITS = ("train", "validation", "test")
READERS = (
    "freihand", "rhd", "ho3d", "ho3d_v1", "dexter_object", "interhand", "coco_wholebody", "coco_hand", "synthetic",
)  # fmt: skip
"""Modules of `data.readers` that read a dataset."""
CACHES = ("device", "host", "none")
"""Places where training images wait for their batch, the fastest first."""
PROTOCOLS = ("freihand", "ho3d", "hands19", "dexter_object", "rhd")
"""Keys of `metrics.PROTOCOLS`."""
ALIGNMENTS = ("absolute", "root", "root_scale", "scale_translation", "centroid", "centroid_scale", "procrustes")
"""Keys of `metrics.ALIGNMENTS`."""
PREDICTION_FORMATS = ("json", "csv", "npz")
LEAST_SCORE = 0.3
"""Default of the least score of a hand's box that is used, of the boxes that have one."""
MOST_TURNS = 32
"""Most rotated copies of an image that are averaged. The compiled program holds the network once for each."""
MOST_IMAGES = 200_000
"""Most images of a set that are evaluated, since they are all in memory: more than any dataset here has."""
