// Value and gradient of L_BMC on one core, for benchmarks/losses.py: the limit of a CPU. The closed form is that of
// bmc_jax/core/poses_last.py, for 16 poses at a time in vector registers, without its rules for degenerate hands.

constexpr int LANES = 16, MAX_VERTICES = 64;
typedef float Real __attribute__((vector_size(4 * LANES)));
typedef int Mask __attribute__((vector_size(4 * LANES)));

struct Vec {
    Real x, y, z;
};

static inline Real all(float value) { return value - Real{}; }
static inline Vec operator+(Vec a, Vec b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
static inline Vec operator-(Vec a, Vec b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
static inline Vec operator*(Real s, Vec a) { return {s * a.x, s * a.y, s * a.z}; }
static inline Real dot(Vec a, Vec b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
static inline Vec cross(Vec a, Vec b) {
    return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
static inline Vec across(Vec a, Vec unit) { return a - dot(a, unit) * unit; }

static inline Real root(Real square) {
    Real result;
    for (int i = 0; i < LANES; i++) result[i] = __builtin_sqrtf(square[i]);
    return result;
}

static inline Real inverse_length(Vec a) { return 1.0f / root(dot(a, a) + 1e-30f); }

static inline Real arctangent(Real y, Real x) {
    Real height = y < 0 ? -y : y, width = x < 0 ? -x : x;
    Mask steep = height > width;
    Real ratio = (steep ? width : height) / ((steep ? height : width) + 1e-30f), square = ratio * ratio;
    const float series[] = {0.00292069f, -0.0163679f, 0.0432118f, -0.0755221f, 0.10666f, -0.142111f, 0.199938f, -0.333332f};
    Real sum = all(0);
    for (float coefficient : series) sum = sum * square + coefficient;
    Real angle = ratio + ratio * square * sum;
    angle = steep ? 1.57079633f - angle : angle;
    angle = x < 0 ? 3.14159265f - angle : angle;
    return y < 0 ? -angle : angle;
}

// Adds the excess over an interval to a value, and returns its slope times a weight.
static inline Real outside(Real value, const float *bounds, float weight, Real &total) {
    Mask low = value < bounds[0], high = value > bounds[1];
    total += weight * (low ? bounds[0] - value : high ? value - bounds[1] : all(0));
    return low ? all(-weight) : high ? all(weight) : all(0);
}

struct Edge {
    float x, y, along_x, along_y, share_x, share_y;
};

struct Hull {
    Edge edges[MAX_VERTICES];
    float middle;
};

static Hull prepare(const float *polygon, int vertices) {
    Hull hull;
    float least = polygon[0], most = polygon[0];
    for (int i = 0; i < vertices; i++) {
        const float *start = polygon + 2 * i, *end = polygon + 2 * ((i + 1) % vertices);
        float x = end[0] - start[0], y = end[1] - start[1], square = x * x + y * y;
        hull.edges[i] = {start[0], start[1], x, y, x / square, y / square};
        least = start[0] < least ? start[0] : least;
        most = start[0] > most ? start[0] : most;
    }
    hull.middle = (least + most) / 2;
    return hull;
}

// Adds the distance to a hull, and sets its slopes, times a weight.
static inline void outside(Real flexion, Real abduction, const Hull &hull, int vertices, float weight, Real &total,
                           Real &by_flexion, Real &by_abduction) {
    const float turn = 6.28318531f;
    Real off = flexion - hull.middle;
    flexion = off > turn / 2 ? flexion - turn : off < -turn / 2 ? flexion + turn : flexion;
    Real other = flexion > hull.middle ? all(-turn) : all(turn);
    Real nearest = all(1e30f), away_x = all(0), away_y = all(0);
    Mask inside[2] = {nearest > 0, nearest > 0};
    for (int i = 0; i < vertices; i++) {
        const Edge &edge = hull.edges[i];
        Real y = abduction - edge.y;
        for (int copy = 0; copy < 2; copy++) {
            Real x = flexion - edge.x + (copy ? other : all(0));
            Real share = x * edge.share_x + y * edge.share_y;
            share = share < 0 ? all(0) : share > 1 ? all(1) : share;
            Real dx = x - share * edge.along_x, dy = y - share * edge.along_y, square = dx * dx + dy * dy;
            inside[copy] &= y * edge.along_x >= x * edge.along_y;
            Mask closer = square < nearest;
            nearest = closer ? square : nearest;
            away_x = closer ? dx : away_x;
            away_y = closer ? dy : away_y;
        }
    }
    Mask out = ~(inside[0] | inside[1]);
    Real distance = root(nearest + 1e-30f), factor = out ? weight / distance : all(0);
    total += out ? weight * distance : all(0);
    by_flexion = factor * away_x;
    by_abduction = factor * away_y;
}

// joints, gradient [count, 21, 3]; value [count]; count is a multiple of 16. bone_length [5, 4, 2], curvature and spread
// [4, 2], hull [5, 3, vertices, 2]; weights of L_BL, L_RB and L_A.
extern "C" void value_and_gradient(const float *joints, int count, const float *bone_length, const float *curvature,
                                   const float *spread, const float *polygons, int vertices, const float *weights,
                                   float *value, float *gradient) {
    Hull hulls[15];
    for (int i = 0; i < 15; i++) hulls[i] = prepare(polygons + 2 * vertices * i, vertices);
    const float of_bone = weights[0] / 20, of_pair = weights[1] / 4, of_joint = weights[2] / 15;
    const Vec zero = {all(0), all(0), all(0)};

    for (int first = 0; first < count; first += LANES, joints += 63 * LANES, gradient += 63 * LANES) {
        Real coordinates[63], total = all(0);
        for (int i = 0; i < 63; i++)
            for (int lane = 0; lane < LANES; lane++) coordinates[i][lane] = joints[63 * lane + i];
        auto joint = [&](int i) { return Vec{coordinates[3 * i], coordinates[3 * i + 1], coordinates[3 * i + 2]}; };

        Vec bone[5][4], unit[5][4], by_bone[5][4];
        Real inverse[5][4];
        for (int finger = 0; finger < 5; finger++)
            for (int level = 0; level < 4; level++) {
                int end = 1 + 4 * finger + level;
                bone[finger][level] = joint(end) - joint(level ? end - 1 : 0);
                inverse[finger][level] = inverse_length(bone[finger][level]);
                unit[finger][level] = inverse[finger][level] * bone[finger][level];
                Real length = dot(unit[finger][level], bone[finger][level]);
                Real slope = outside(length, bone_length + 2 * (4 * finger + level), of_bone, total);
                by_bone[finger][level] = slope * unit[finger][level];
            }

        Vec plane[4], edge[5], by_plane[4], by_edge[5];
        Real plane_inverse[4], edge_inverse[5];
        for (int i = 0; i < 4; i++) {
            plane[i] = cross(bone[i + 1][0], bone[i][0]);
            plane_inverse[i] = inverse_length(plane[i]);
            plane[i] = plane_inverse[i] * plane[i];
            by_plane[i] = zero;
        }
        for (int i = 0; i < 5; i++) {
            by_edge[i] = zero;
            edge[i] = i == 0 ? plane[0] : i == 4 ? plane[3] : plane[i] + plane[i - 1];
            if (i % 4) {
                edge_inverse[i] = inverse_length(edge[i]);
                edge[i] = edge_inverse[i] * edge[i];
            }
        }
        for (int i = 0; i < 4; i++) {
            Vec ends = bone[i + 1][0] - bone[i][0], bend = edge[i + 1] - edge[i];
            Real inverse_square = 1.0f / dot(ends, ends), curved = dot(bend, ends) * inverse_square;
            Real slope = outside(curved, curvature + 2 * i, of_pair, total) * inverse_square;
            by_edge[i + 1] = by_edge[i + 1] + slope * ends;
            by_edge[i] = by_edge[i] - slope * ends;
            Vec by_ends = slope * (bend - (2.0f * curved) * ends);

            Vec axis = cross(unit[i][0], unit[i + 1][0]);
            Real sine = root(dot(axis, axis)), cosine = dot(unit[i][0], unit[i + 1][0]);
            axis = (outside(arctangent(sine, cosine), spread + 2 * i, of_pair, total) / (sine + 1e-30f)) * axis;
            by_bone[i + 1][0] = by_bone[i + 1][0] + by_ends + inverse[i + 1][0] * cross(axis, unit[i + 1][0]);
            by_bone[i][0] = by_bone[i][0] - by_ends - inverse[i][0] * cross(axis, unit[i][0]);
        }

        for (int finger = 0; finger < 5; finger++) {
            Vec z = unit[finger][0];
            Vec y = cross(finger < 2 ? plane[finger] : edge[finger], z);
            y = inverse_length(y) * y;
            Vec x = cross(y, z), palm_y = y, radial[3], palmar[3];
            Real flat_inverse[3], by_flexion[3], by_abduction[3];
            for (int level = 0; level < 3; level++) {
                Vec along = unit[finger][level + 1];
                Real right = dot(x, along), up = dot(y, along), ahead = dot(z, along), square = right * right + ahead * ahead;
                flat_inverse[level] = 1.0f / root(square + 1e-30f);
                outside(arctangent(right, ahead), arctangent(up, square * flat_inverse[level]), hulls[3 * finger + level],
                        vertices, of_joint, total, by_flexion[level], by_abduction[level]);
                radial[level] = y;
                palmar[level] = flat_inverse[level] * (ahead * x - right * z);
                x = palmar[level], y = cross(along, x), z = along;
            }
            Vec torque = zero;
            for (int level = 2; level >= 0; level--) {
                Vec along = unit[finger][level + 1], sideways = cross(along, palmar[level]);
                Real bend = (by_flexion[level] + dot(torque, radial[level])) * flat_inverse[level];
                Real lean = by_abduction[level] - dot(torque, palmar[level]);
                Vec force = bend * palmar[level] + lean * sideways;
                by_bone[finger][level + 1] = by_bone[finger][level + 1] + inverse[finger][level + 1] * force;
                torque = torque + lean * palmar[level] - bend * sideways;
            }
            by_bone[finger][0] = by_bone[finger][0] + inverse[finger][0] * cross(torque, unit[finger][0]);
            Vec &normal = finger < 2 ? by_plane[finger] : finger < 4 ? by_edge[finger] : by_plane[3];
            normal = normal - dot(torque, unit[finger][0]) * palm_y;
        }

        by_plane[0] = by_plane[0] + by_edge[0];
        by_plane[3] = by_plane[3] + by_edge[4];
        for (int i = 1; i < 4; i++) {
            Vec of_sum = edge_inverse[i] * across(by_edge[i], edge[i]);
            by_plane[i] = by_plane[i] + of_sum;
            by_plane[i - 1] = by_plane[i - 1] + of_sum;
        }
        for (int i = 0; i < 4; i++) {
            Vec of_cross = plane_inverse[i] * across(by_plane[i], plane[i]);
            by_bone[i + 1][0] = by_bone[i + 1][0] + cross(bone[i][0], of_cross);
            by_bone[i][0] = by_bone[i][0] + cross(of_cross, bone[i + 1][0]);
        }

        Vec by_joint[21] = {zero};
        for (int finger = 0; finger < 5; finger++) {
            by_joint[0] = by_joint[0] - by_bone[finger][0];
            for (int level = 0; level < 4; level++)
                by_joint[1 + 4 * finger + level] =
                    level < 3 ? by_bone[finger][level] - by_bone[finger][level + 1] : by_bone[finger][level];
        }
        for (int lane = 0; lane < LANES; lane++) {
            value[first + lane] = total[lane];
            for (int i = 0; i < 21; i++) {
                float *out = gradient + 63 * lane + 3 * i;
                out[0] = by_joint[i].x[lane], out[1] = by_joint[i].y[lane], out[2] = by_joint[i].z[lane];
            }
        }
    }
}
