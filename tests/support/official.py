"""The datasets' evaluations once more: one pose, one joint, one threshold at a time, as their pages describe them.

Written for the tests from the published formulas, and slow. Joints are lists of 21 points in metres, FreiHAND order.
"""

import bisect

import numpy as np
from scipy.linalg import orthogonal_procrustes

TIPS = (4, 8, 12, 16, 20)


def length(vector):
    return np.sqrt(np.sum(np.square(vector)))


def similarity(true, predicted):
    """Turn, what to scale by, and the two sizes and centres."""
    true_centre, centre = np.mean(true, axis=0), np.mean(predicted, axis=0)
    true_size = np.linalg.norm(true - true_centre) + 1e-8
    size = np.linalg.norm(predicted - centre) + 1e-8
    turn, scale = orthogonal_procrustes((true - true_centre) / true_size, (predicted - centre) / size)
    return turn, scale, true_size, size, true_centre, centre


def procrustes(true, predicted):
    turn, scale, true_size, size, true_centre, centre = similarity(true, predicted)
    return np.array([(turn @ ((point - centre) / size)) * scale * true_size + true_centre for point in predicted])


def by_joints(vertices, true, predicted):
    """Of a mesh that has not the true one's vertices."""
    turn, scale, true_size, _, true_centre, centre = similarity(true, predicted)
    middle = np.mean(vertices, axis=0)
    return np.array([(turn @ (v - middle)) * scale * true_size + (true_centre - centre) + middle for v in vertices])


def scaled_to(true, predicted, start, end):
    """The bone from `start` to `end` as long as the true one, if it has a length, and the wrist on the true one."""
    scaled = np.array(predicted, float)
    bone = length(scaled[end] - scaled[start])
    if bone > 0:
        scaled = scaled / bone
    scaled = scaled * length(true[end] - true[start])
    return scaled - scaled[0] + true[0]


def root(true, predicted):
    return np.array([point - predicted[0] + true[0] for point in predicted])


def centroid(true, predicted, scale):
    centre, true_centre = sum(predicted) / len(predicted), sum(true) / len(true)
    factor = 1.0
    if scale:
        reach = sum(length(point - centre) for point in predicted) / len(predicted)
        true_reach = sum(length(point - true_centre) for point in true) / len(true)
        factor = true_reach / reach if reach > 0 else true_reach
    return np.array([(point - centre) * factor + true_centre for point in predicted])


def measures(errors, low, high):
    """Mean, median and area of a list of errors for each joint, one joint after another; None for an unseen joint."""
    thresholds, found = np.linspace(low, high, 100).tolist(), []
    for seen in errors:
        if not seen:
            continue
        ascending = sorted(seen)
        # Those on a threshold count as below it.
        curve = [bisect.bisect_right(ascending, threshold) / len(seen) for threshold in thresholds]
        found.append((np.mean(seen), np.median(seen), np.trapezoid(curve, thresholds) / (high - low)))
    return [float(np.mean(column)) for column in zip(*found, strict=True)]


def evaluate(trues, predictions, align, low=0.0, high=0.05):
    """Mean and median in mm and area of whole poses, or of meshes, and the errors themselves."""
    errors = [[] for _ in trues[0]]
    for true, predicted in zip(trues, predictions, strict=True):
        for joint, (point, other) in enumerate(zip(true, align(true, predicted), strict=True)):
            errors[joint].append(float(length(point - other)))
    mean, median, area = measures(errors, low, high)
    return {"mean": 1000 * mean, "median": 1000 * median, "auc": area}, np.array(errors)


def hand3d_area(trues, predictions, align):
    """The area that hand3d prints as that from 20 to 50 mm: a curve for each joint at 20 thresholds from 0 to 50 mm,
    the mean of the curves, the last 12 values of it by trapezoids over their thresholds, and divided by what ones
    give."""
    thresholds = [0.05 * step / 19 for step in range(20)]
    curves = []
    for joint in range(len(trues[0])):
        errors = [
            length(true[joint] - align(true, predicted)[joint])
            for true, predicted in zip(trues, predictions, strict=True)
        ]
        curves.append([sum(error <= threshold for error in errors) / len(errors) for threshold in thresholds])
    mean = [sum(values) / len(values) for values in zip(*curves, strict=True)]
    area = whole = 0.0
    for step in range(8, 19):
        width = thresholds[step + 1] - thresholds[step]
        area, whole = area + width * (mean[step] + mean[step + 1]) / 2, whole + width
    return area / whole


def fingertips(trues, predictions, seen, align, low=0.02, high=0.05):
    """The same of the tips that are seen, in frames where at least two are."""
    errors = [[] for _ in TIPS]
    for true, predicted, known in zip(trues, predictions, seen, strict=True):
        which = [finger for finger, tip in enumerate(TIPS) if known[tip]]
        if len(which) < 2:
            continue
        points = np.array([true[TIPS[finger]] for finger in which])
        moved = align(points, np.array([predicted[TIPS[finger]] for finger in which]))
        for finger, point, other in zip(which, points, moved, strict=True):
            errors[finger].append(float(length(point - other)))
    mean, median, area = measures(errors, low, high)
    return {"mean": 1000 * mean, "median": 1000 * median, "auc": area}, np.concatenate(errors)


def f_score(true, predicted, threshold):
    def share(points, others):
        return sum(min(length(point - other) for other in others) < threshold for point in points) / len(points)

    one, two = share(predicted, true), share(true, predicted)
    return 2 * one * two / (one + two) if one + two > 0 else 0.0
