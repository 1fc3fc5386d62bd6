"""The biomechanical losses in plain PyTorch, for the comparison in `losses.py` of this folder.

The equations are those of `bmc_jax`, on the CPU, batched over examples and fingers. With hulls of different sizes, the
angle loss loops over the 15 joints and computes only the poses outside, as other PyTorch versions of these losses do.
With hulls of one size, it computes all at once without branches, which `torch.compile` needs for a single program.
"""

import math

import torch


def unit(vector):
    return vector / torch.linalg.norm(vector, dim=-1, keepdim=True)


def bones(joints):
    """Returns the bones `[N, 5, 4, 3]`."""
    fingers = joints[:, 1:].reshape(-1, 5, 4, 3)
    wrist = joints[:, None, None, 0].expand(-1, 5, 1, 3)
    return fingers - torch.cat([wrist, fingers[:, :, :-1]], dim=2)


def normals(root_bones):
    """Returns plane normals `[N, 4, 3]` and edge normals `[N, 5, 3]` (Eq. 2)."""
    plane = unit(torch.linalg.cross(root_bones[:, 1:], root_bones[:, :-1]))
    edge = torch.cat([plane[:, :1], unit(plane[:, 1:] + plane[:, :-1]), plane[:, -1:]], dim=1)
    return plane, edge


def interval(value, limits):
    return torch.relu(limits[..., 0] - value) + torch.relu(value - limits[..., 1])


def joint_angles(chain):
    """Returns the joint angles `[N, 5, 3, 2]` (Eq. 4-6)."""
    plane, edge = normals(chain[:, :, 0])
    z = unit(chain[:, :, 0])
    y = unit(torch.linalg.cross(torch.cat([plane[:, :2], edge[:, 2:]], dim=1), z))
    frame = torch.stack([torch.linalg.cross(y, z), y, z], dim=-2)
    angles = []
    for level in (1, 2, 3):
        local = unit((frame @ chain[:, :, level, :, None])[..., 0])
        flat = torch.linalg.norm(local[..., [0, 2]], dim=-1)
        angles.append(
            torch.stack([torch.atan2(local[..., 0], local[..., 2]), torch.atan2(local[..., 1], flat)], dim=-1)
        )
        x_axis = torch.stack([local[..., 2] / flat, torch.zeros_like(flat), -local[..., 0] / flat], dim=-1)
        frame = torch.stack([x_axis, torch.linalg.cross(local, x_axis), local], dim=-2) @ frame
    return torch.stack(angles, dim=-2)


def hull_distance(angles, hull):
    """Returns the distances of `[N, 2]` to a convex counter-clockwise polygon `[V, 2]`, flexion modulo a turn."""
    turns = torch.tensor([[-2 * math.pi, 0.0], [0.0, 0.0], [2 * math.pi, 0.0]], dtype=hull.dtype)
    start = hull[None] + turns[:, None]
    edge = (torch.roll(hull, -1, dims=0) - hull)[None].expand_as(start)
    offset = angles[:, None, None] - start
    outside = ~(edge[..., 0] * offset[..., 1] >= edge[..., 1] * offset[..., 0]).all(dim=-1).any(dim=-1)
    distance = torch.zeros(len(angles), dtype=angles.dtype)
    if outside.any():
        offset = offset[outside].flatten(1, 2)
        edge = edge.flatten(0, 1)
        along = ((offset * edge).sum(dim=-1) / (edge * edge).sum(dim=-1)).clamp(0, 1)
        nearest = torch.linalg.norm(offset - along[..., None] * edge, dim=-1).min(dim=-1).values
        distance[outside] = nearest
    return distance


def hull_distances(angles, hulls):
    """Returns the distances `[N, 15]` to convex counter-clockwise polygons `[15, V, 2]`, flexion modulo a turn."""
    turns = torch.tensor([[-2 * math.pi, 0.0], [0.0, 0.0], [2 * math.pi, 0.0]], dtype=hulls.dtype)
    offset = angles[:, :, None, None] - (hulls[:, None] + turns[:, None])
    edge = (torch.roll(hulls, -1, dims=1) - hulls)[:, None]
    outside = ~(edge[..., 0] * offset[..., 1] >= edge[..., 1] * offset[..., 0]).all(dim=-1).any(dim=-1)
    along = ((offset * edge).sum(dim=-1) / (edge * edge).sum(dim=-1)).clamp(0, 1)
    away = offset - along[..., None] * edge
    nearest = (away * away).sum(dim=-1).flatten(2).min(dim=-1).values
    return torch.where(outside, torch.where(outside, nearest, 1.0).sqrt(), 0.0)


def biomechanical(joints, limits, weights):
    """Returns L_BMC `[N]` (Eq. 9). `limits` has the tensors `bone_length`, `curvature`, `spread`, and `hulls`: 15
    polygons, or one tensor of them."""
    chain = bones(joints)
    root_bones = chain[:, :, 0]
    bone_length = interval(torch.linalg.norm(chain, dim=-1), limits["bone_length"]).mean(dim=(1, 2))

    _, edge = normals(root_bones)
    across = root_bones[:, 1:] - root_bones[:, :-1]
    curvature = ((edge[:, 1:] - edge[:, :-1]) * across).sum(dim=-1) / (across * across).sum(dim=-1)
    first, second = unit(root_bones[:, :-1]), unit(root_bones[:, 1:])
    sine = torch.linalg.norm(torch.linalg.cross(first, second), dim=-1)
    spread = torch.atan2(sine, (first * second).sum(dim=-1))
    palm = (interval(curvature, limits["curvature"]) + interval(spread, limits["spread"])).mean(dim=-1)

    angles = joint_angles(chain).flatten(1, 2)
    if isinstance(limits["hulls"], torch.Tensor):
        joint_angle = hull_distances(angles, limits["hulls"]).mean(dim=-1)
    else:
        joint_angle = sum(hull_distance(angles[:, i], hull) for i, hull in enumerate(limits["hulls"])) / 15
    return weights.bone_length * bone_length + weights.palm * palm + weights.joint_angle * joint_angle
