// arg: the position of the largest or smallest element along an axis, as i64.
//
// The input is [outer, n, inner] in memory; a warp takes an output. Among equals the first wins, or the last with LAST.
// NaN is above every number. ELEMENT: storage type. LARGEST, LAST: 0 or 1.
#include "types.cuh"
#include "launch.cuh"
#include "accumulate.cuh"

typedef Accumulator<ELEMENT> Acc;

struct Arg {
    u32 n, outputs;
    Divisor inner;
};

INLINE bool below(float x, float y) { return x < y || (y != y && x == x); }
INLINE bool below(double x, double y) { return x < y || (y != y && x == x); }
INLINE bool below(i64 x, i64 y) { return x < y; }
INLINE bool below(u64 x, u64 y) { return x < y; }

// Whether element x at place i beats the one at place j. A place of n stands for no element.
INLINE bool beats(Acc x, u32 i, Acc y, u32 j, u32 n) {
    if (i == n || j == n) return j == n && i != n;
    const bool better = LARGEST ? below(y, x) : below(x, y), worse = LARGEST ? below(x, y) : below(y, x);
    return better || (!worse && (LAST ? i > j : i < j));
}

extern "C" __global__ void __launch_bounds__(256)
arg(const ELEMENT* __restrict__ in, i64* __restrict__ out, const __grid_constant__ Arg a) {
    begin_kernel();
    const u32 output = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (output >= a.outputs) return;
    const u32 outer = output / a.inner, inner = output - outer * a.inner.value;
    const ELEMENT* from = in + outer * a.n * a.inner.value + inner;
    Acc best = (Acc)0;
    u32 place = a.n;
    for (u32 i = lane; i < a.n; i += 32) {
        const Acc x = (Acc)widen(from[i * a.inner.value]);
        if (beats(x, i, best, place, a.n)) best = x, place = i;
    }
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) {
        const Acc x = other_lane(best, mask);
        const u32 i = other_lane(place, mask);
        if (beats(x, i, best, place, a.n)) best = x, place = i;
    }
    if (lane == 0) out[output] = (i64)place;
}
