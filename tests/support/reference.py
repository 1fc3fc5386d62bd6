"""Equations 1 to 9 of the paper, transcribed term by term for one hand: slow, in float64, with loops and arccos.

Written from the paper's text alone, to judge the package by. Joints are `[21, 3]` in FreiHAND order. Counting is the
paper's: fingers F1..F5 and their root bones b_1..b_5 from the thumb, planes n_1..n_4 between neighbours.
"""

import math

import numpy as np

FINGERS, LEVELS = range(1, 6), range(4)


def norm(vector):
    """The paper's norm(x) = x / ||x||."""
    return vector / np.linalg.norm(vector)


def alpha(v1, v2):
    """The paper's angle between two vectors."""
    cosine = np.dot(v1, v2) / (np.linalg.norm(v1) * np.linalg.norm(v2))
    return np.arccos(np.clip(cosine, -1, 1))


def interval(x, a, b):
    """The paper's I(x; a, b)."""
    return max(a - x, 0) + max(x - b, 0)


def bone(joints, finger, level):
    """From parent to child; level 0 is the MCP (root) bone, 3 the TIP bone."""
    child = 4 * (finger - 1) + level + 1
    parent = 0 if level == 0 else child - 1
    return np.asarray(joints[child], np.float64) - np.asarray(joints[parent], np.float64)


def bone_lengths(joints):
    return np.array([[np.linalg.norm(bone(joints, finger, level)) for level in LEVELS] for finger in FINGERS])


def plane_normal(joints, i):
    """n_i of Eq. 2."""
    return norm(np.cross(bone(joints, i + 1, 0), bone(joints, i, 0)))


def edge_normal(joints, i):
    """e_i of Eq. 2."""
    if i == 1:
        return plane_normal(joints, 1)
    if i == 5:
        return plane_normal(joints, 4)
    return norm(plane_normal(joints, i) + plane_normal(joints, i - 1))


def palm_curvature(joints, power=2):
    """c_i of Eq. 1, divided by the distance of the bones' ends to the given power."""
    values = []
    for i in range(1, 5):
        difference = bone(joints, i + 1, 0) - bone(joints, i, 0)
        turn = np.dot(edge_normal(joints, i + 1) - edge_normal(joints, i), difference)
        values.append(turn / np.linalg.norm(difference) ** power)
    return np.array(values)


def palm_spread(joints):
    """phi_i of Eq. 3."""
    return np.array([alpha(bone(joints, i, 0), bone(joints, i + 1, 0)) for i in range(1, 5)])


def palm_frame(joints, finger):
    """Axes x, y, z of a finger's PIP bone (Eq. 4). Its parent p(i) is the root bone of the same number."""
    z = norm(bone(joints, finger, 0))
    if finger in (1, 2):
        x = -plane_normal(joints, finger)
    elif finger in (3, 4):
        x = -norm(plane_normal(joints, finger) + plane_normal(joints, finger - 1))
    else:
        x = -plane_normal(joints, 4)
    y = norm(np.cross(z, x))
    return np.array([x, y, z])


def flexion_abduction(local):
    """Eq. 5 for a bone in the coordinates of its frame, the octant looked up by the signs of its components."""
    on_xz = np.array([local[0], 0.0, local[2]])
    flexion = alpha(on_xz, np.array([0.0, 0.0, 1.0]))
    if local[0] < 0:
        flexion = -flexion
    abduction = alpha(on_xz, local)
    if local[1] < 0:
        abduction = -abduction
    return np.array([flexion, abduction])


def rotation_about(axis, angle):
    """Rodrigues' rotation matrix."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def turned_frame(frame, flexion, abduction):
    """Eq. 6: turned by the flexion about its y axis (z to x), then by the abduction about its new x (z to y)."""
    about_y = rotation_about(frame[1], flexion)
    x, y, z = (about_y @ axis for axis in frame)
    about_x = rotation_about(x, -abduction)
    return np.array([about_x @ x, about_x @ y, about_x @ z])


def frames_and_angles(joints):
    """`[5, 3, 3, 3]` axes and `[5, 3, 2]` angles of the PIP, DIP and TIP bones (Eq. 4-6)."""
    frames, angles = np.zeros((5, 3, 3, 3)), np.zeros((5, 3, 2))
    for finger in FINGERS:
        frame = palm_frame(joints, finger)
        for level in (1, 2, 3):
            local = frame @ bone(joints, finger, level)
            angle = flexion_abduction(local)
            frames[finger - 1, level - 1], angles[finger - 1, level - 1] = frame, angle
            frame = turned_frame(frame, *angle)
    return frames, angles


def joints_from_angles(root_bones, lengths, angles):
    """The inverse of Eq. 4-6: root bones `[5, 3]`, lengths of the other bones `[5, 3]` and their angles `[5, 3, 2]`."""
    joints = np.zeros((21, 3))
    for finger in FINGERS:
        joints[4 * finger - 3] = root_bones[finger - 1]
    for finger in FINGERS:
        frame = palm_frame(joints, finger)
        for level in (1, 2, 3):
            frame = turned_frame(frame, *angles[finger - 1, level - 1])
            child = 4 * (finger - 1) + level + 1
            joints[child] = joints[child - 1] + lengths[finger - 1, level - 1] * frame[2]
    return joints


def sample_hand(generator, flexion=(-0.6, 1.9), abduction=(-0.6, 0.6)):
    """Joints in scale units of a right hand, any side up, 15 units from the camera; and the angles they were made with.

    A fan of root bones, cupped, each bone's length and each angle at random: not a natural pose, but every part of the
    range that is asked for.
    """
    across = np.cumsum([-0.9, 0.7, 0.2, 0.2, 0.25]) + generator.uniform(-0.06, 0.06, 5)
    cup = np.array([0.5, 0.0, 0.05, 0.15, 0.3]) * generator.uniform(0, 1) + generator.uniform(-0.05, 0.05, 5)
    # Palm to the camera (z forward), fingers up (y down): the thumb of a right hand is on the camera's right.
    fan = np.stack([-np.sin(across) * np.cos(cup), -np.cos(across) * np.cos(cup), -np.sin(cup)], axis=-1)
    root_bones = fan * generator.uniform([[1.0]] + [[2.0]] * 4, [[1.5]] + [[2.8]] * 4)
    lengths = generator.uniform([1.0, 0.6, 0.5], [1.3, 0.9, 0.7], (5, 3))
    lengths[2, 0] = 1.0
    angles = np.stack([generator.uniform(*flexion, (5, 3)), generator.uniform(*abduction, (5, 3))], axis=-1)
    axis = norm(generator.normal(size=3))
    turn = rotation_about(axis, generator.uniform(0, math.pi))
    return joints_from_angles(root_bones @ turn.T, lengths, angles) + np.array([0.5, -0.3, 15.0]), angles


def distance_to_polygon(point, vertices):
    """0 inside the counter-clockwise convex polygon, else the distance to its boundary, flexion taken modulo 2 pi."""
    best = math.inf
    for turns in (-1, 0, 1):
        shifted = np.array([point[0] + 2 * math.pi * turns, point[1]])
        inside = True
        for start, end in zip(vertices, np.roll(vertices, -1, axis=0), strict=True):
            edge, offset = end - start, shifted - start
            if edge[0] * offset[1] - edge[1] * offset[0] < 0:
                inside = False
            length_squared = np.dot(edge, edge)
            along = 0.0 if length_squared == 0 else np.clip(np.dot(offset, edge) / length_squared, 0, 1)
            best = min(best, np.linalg.norm(offset - along * edge))
        if inside:
            return 0.0
    return best


def bone_length_loss(joints, limits):
    lengths, total = bone_lengths(joints), 0.0
    for finger in range(5):
        for level in range(4):
            total += interval(lengths[finger, level], *limits.bone_length[finger, level])
    return total / 20


def palm_loss(joints, limits):
    curvature, spread, total = palm_curvature(joints), palm_spread(joints), 0.0
    for i in range(4):
        total += interval(curvature[i], *limits.curvature[i]) + interval(spread[i], *limits.spread[i])
    return total / 4


def joint_angle_loss(joints, limits):
    """Eq. 7."""
    _, angles = frames_and_angles(joints)
    total = 0.0
    for finger in range(5):
        for level in range(3):
            total += distance_to_polygon(angles[finger, level], np.asarray(limits.hull[finger, level], np.float64))
    return total / 15


def biomechanical_loss(joints, limits, weights):
    """Eq. 9."""
    return (
        weights.bone_length * bone_length_loss(joints, limits)
        + weights.palm * palm_loss(joints, limits)
        + weights.joint_angle * joint_angle_loss(joints, limits)
    )
