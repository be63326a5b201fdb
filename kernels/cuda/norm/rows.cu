// norm_rows: (x - mean) / sqrt(variance + epsilon) over groups of elements, then an epilogue, which holds scale and bias.
//
// Group `g` of `outer` starts at outer * outer_step + g * group_step; its element `i` is i / inner * step + i % inner
// further on. So rows that lie together are groups, and channels of channels-last images as well. LANES threads take a
// group, V elements at a time, in three passes of which the last two mostly read from a cache.
//
// ELEMENT: storage type. CENTRE: 0 leaves out the mean (root mean square). TOGETHER: 1 if a group lies together.
// Generated before this text: the epilogue (kernels/src/grid.rs).
#include "types.cuh"
#include "launch.cuh"
#include "accumulate.cuh"

typedef Accumulator<ELEMENT> Acc;

struct Norm {
    u32 n, rows;
    Divisor groups, inner;
    u32 outer_step, group_step, step;
    float epsilon;
};

INLINE u32 place(u32 i, const Norm& norm) {
    if (TOGETHER) return i;
    const u32 line = i / norm.inner;
    return line * norm.step + (i - line * norm.inner.value);
}

extern "C" __global__ void __launch_bounds__(256)
norm_rows(const ELEMENT* __restrict__ in, OPERAND_PARAMETERS Out* __restrict__ out, const __grid_constant__ Norm norm,
          const __grid_constant__ Grid grid) {
    __shared__ Acc shared[8];
    begin_kernel();
    const u32 row = blockIdx.x * (256 / LANES) + threadIdx.x / LANES, lane = threadIdx.x % LANES;
    const bool real = row < norm.rows;
    const u32 n = real ? norm.n : 0;
    const u32 outer = row / norm.groups, group = row - outer * norm.groups.value;
    const u32 base = outer * norm.outer_step + group * norm.group_step;
    const auto add = [](Acc& x, Acc y) { x += y; };
    Acc mean = 0;
    if (CENTRE) {
        Acc sum = 0;
        for (u32 i = lane * V; i < n; i += LANES * V) {
            const Pack<ELEMENT, V> v = load_pack<V>(in + base + place(i, norm));
#pragma unroll
            for (int k = 0; k < V; k++) sum += (Acc)widen(v.at[k]);
        }
        mean = combine<LANES>(sum, shared, add) / (Acc)norm.n;
    }
    Acc squares = 0;
    for (u32 i = lane * V; i < n; i += LANES * V) {
        const Pack<ELEMENT, V> v = load_pack<V>(in + base + place(i, norm));
#pragma unroll
        for (int k = 0; k < V; k++) {
            const Acc x = (Acc)widen(v.at[k]) - mean;
            squares += x * x;
        }
    }
    const Acc variance = combine<LANES>(squares, shared, add) / (Acc)norm.n;
    const Acc scale = (Acc)1 / op_sqrt(variance + (Acc)norm.epsilon);
    const Operands operands = OPERANDS;
    for (u32 i = lane * V; i < n; i += LANES * V) {
        const u32 at = base + place(i, norm);
        const Pack<ELEMENT, V> v = load_pack<V>(in + at);
        Acc x[V];
        Compute<Out> y[V];
#pragma unroll
        for (int k = 0; k < V; k++) x[k] = ((Acc)widen(v.at[k]) - mean) * scale;
        finish<V>(x, y, at, operands, grid);
        store_narrow<V>(out + at, y);
    }
}
