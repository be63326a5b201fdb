// check_output: how far an output is from exact values, and whether anything else was touched.
//
// Every element of an output is compared with its exact value and the bound of its error, in double precision; `exact` and
// `bound` start anew after every `period` elements, as the images of a batch may repeat. crates/reference/src/compare.rs
// says what counts as equal, and decides where this finds an element beyond its bound. Zones around output and scratch
// must hold one byte throughout, and the inputs add up to what they did before. Each block writes one Found; a block's
// sums have a fixed order, so equal outputs give equal bits.
//
// ELEMENT: storage type of the output. LARGEST: the largest value of that type.
#include "types.cuh"

struct Check {
    u64 elements, period, input_units;
    u32 zone_bytes, guard;
};

struct Found {
    // Largest error over its bound.
    double worst;
    // Sums of squares of errors and of exact values.
    double error, norm;
    // A sum over the inputs that any change is likely to change.
    u64 inputs;
    // Zones that do not hold the guard byte, a bit each.
    u64 zones;
};

INLINE bool is_finite(double x) { return fabs(x) < inf_f64(); }
INLINE bool is_nan(double x) { return x != x; }

INLINE void compare(Found& f, double got, double exact, double bound) {
    // Beyond the type, or might be within its bound.
    if (!is_nan(got) && !is_finite(got) && is_finite(exact) && (got > 0) == (exact > 0) && exact != 0
        && fabs(exact) + bound >= LARGEST)
        got = exact;
    const double difference = fabs(got - exact);
    const bool same = got == exact || (is_nan(got) && is_nan(exact));
    double ratio;
    if (same || (!is_nan(bound) && !is_finite(bound) && is_finite(got))) ratio = 0.0;
    else if (is_nan(difference) || is_nan(bound) || (difference > bound && bound == 0.0)) ratio = inf_f64();
    else ratio = difference / bound;
    if (ratio > f.worst) f.worst = ratio;
    if (same) {
        if (is_finite(exact)) f.norm += exact * exact;
    } else if (is_finite(difference)) {
        f.error += difference * difference;
        f.norm += exact * exact;
    } else {
        f.error = inf_f64();
    }
}

INLINE u64 mixed(u64 x, u64 place) {
    x = (x + place) * 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 31)) * 0xbf58476d1ce4e5b9ull;
    return x ^ (x >> 29);
}

INLINE void merge(Found& f, const Found& other) {
    if (other.worst > f.worst) f.worst = other.worst;
    f.error += other.error;
    f.norm += other.norm;
    f.inputs += other.inputs;
    f.zones |= other.zones;
}

// A remainder by a number of 64 bits would be a call.
INLINE u64 remainder(u32 x, u64 by) { return by > x ? x : x % (u32)by; }

extern "C" __global__ void __launch_bounds__(256)
check_output(const ELEMENT* __restrict__ output, const double* __restrict__ exact, const double* __restrict__ bound,
    const ulonglong2* __restrict__ inputs, const u8* __restrict__ zone0, const u8* __restrict__ zone1,
    const u8* __restrict__ zone2, const u8* __restrict__ zone3, Found* __restrict__ found,
    const __grid_constant__ Check c) {
    __shared__ Found all[256];
    const u32 first = blockIdx.x * 256 + threadIdx.x, step = gridDim.x * 256;
    Found f = {0.0, 0.0, 0.0, 0, 0};
    u64 at = remainder(first, c.period);
    const u64 turn = remainder(step, c.period);
    for (u64 i = first; i < c.elements; i += step) {
        compare(f, (double)widen(output[i]), exact[at], bound[at]);
        at += turn;
        if (at >= c.period) at -= c.period;
    }
    for (u64 i = first; i < c.input_units; i += step) {
        const ulonglong2 unit = inputs[i];
        f.inputs += mixed(unit.x, 2 * i) + mixed(unit.y, 2 * i + 1);
    }
    const u8* zones[4] = {zone0, zone1, zone2, zone3};
#pragma unroll
    for (u32 z = 0; z < 4; z++)
        for (u64 i = first; i < c.zone_bytes; i += step)
            if (zones[z][i] != c.guard) f.zones |= 1ull << z;
    all[threadIdx.x] = f;
    __syncthreads();
    for (u32 half = 128; half > 0; half /= 2) {
        if (threadIdx.x < half) merge(all[threadIdx.x], all[threadIdx.x + half]);
        __syncthreads();
    }
    if (threadIdx.x == 0) found[blockIdx.x] = all[0];
}
