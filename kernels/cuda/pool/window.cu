// pool: the largest, mean or p-norm of a window of up to three axes, then an epilogue.
//
// Input and output are [outer, z, y, x, inner] in memory: channels last has the channels inside, plain order outside.
// A thread computes V neighbouring inner elements of one output position.
//
// KIND: 0 largest, 1 mean of what lies inside the input, 2 mean with padding, 3 p-norm. ELEMENT: storage type. WINDOW_Z,
// WINDOW_Y, WINDOW_X: the window where it is small and so loaded at once, else undefined. TURNED: 1 where the output has
// the inner elements outside, [outer, inner, z, y, x]; V is 1 then.
// Generated before this text: the epilogue over the output (kernels/src/grid.rs).
#include "types.cuh"
#include "launch.cuh"
#include "accumulate.cuh"

static_assert(!TURNED || V == 1, "neighbouring inner elements are stored apart");

typedef Accumulator<ELEMENT> Acc;

// Axes z, y, x.
struct Pool {
    Divisor packs, out_x, out_y, out_z;
    i32 input[3], window[3], stride[3], pad[3], dilation[3];
    // One past the last position of the padding, counted from its first.
    i32 padded[3];
    u32 inner, work, p;
};

INLINE float window_size(const Pool& pool, int axis, u32 at) {
    const i32 left = pool.padded[axis] - (i32)at * pool.stride[axis];
    const i32 fit = (left + pool.dilation[axis] - 1) / pool.dilation[axis];
    return (float)max(0, min(pool.window[axis], fit));
}

// Templates, so that only what a kind needs must fit the type.
template <int KIND_, class A> INLINE void take(A& sum, A x, u32 p) {
    if constexpr (KIND_ == 0) {
        sum = larger(sum, x);
    } else if constexpr (KIND_ == 3) {
        const A size = op_abs(x);
        sum += p == 1 ? size : p == 2 ? size * size : op_pow(size, (A)p);
    } else {
        sum += x;
    }
}
template <int KIND_, class A> INLINE A result_of(A sum, A divisor, u32 p) {
    if constexpr (KIND_ == 0) {
        return sum;
    } else if constexpr (KIND_ == 3) {
        return p == 1 ? sum : p == 2 ? op_sqrt(sum) : op_pow(sum, (A)1 / (A)p);
    } else {
        return sum / divisor;
    }
}

// A window at once takes registers.
#ifdef WINDOW_X
constexpr int RESIDENT = 5;
#else
constexpr int RESIDENT = 8;
#endif

extern "C" __global__ void __launch_bounds__(128, RESIDENT)
pool(const ELEMENT* __restrict__ in, OPERAND_PARAMETERS Out* __restrict__ out, const __grid_constant__ Pool pool,
     const __grid_constant__ Grid grid) {
    begin_kernel();
    const u32 work = blockIdx.x * 128 + threadIdx.x;
    if (work >= pool.work) return;
    const u32 pixel = work / pool.packs, pack = work - pixel * pool.packs.value;
    const u32 row = pixel / pool.out_x, x = pixel - row * pool.out_x.value;
    const u32 slice = row / pool.out_y, y = row - slice * pool.out_y.value;
    const u32 outer = slice / pool.out_z, z = slice - outer * pool.out_z.value;

    Acc sum[V];
#pragma unroll
    for (int k = 0; k < V; k++) sum[k] = KIND == 0 ? lowest<ELEMENT>() : (Acc)0;
    i32 count = 0;
    const ELEMENT* from = in + pack * V;
#ifdef WINDOW_X
    constexpr int SIZE = WINDOW_Z * WINDOW_Y * WINDOW_X;
    Pack<ELEMENT, V> v[SIZE];
    bool inside[SIZE];
#pragma unroll
    for (int i = 0; i < SIZE; i++) {
        const i32 iz = (i32)z * pool.stride[0] - pool.pad[0] + i / (WINDOW_Y * WINDOW_X) * pool.dilation[0];
        const i32 iy = (i32)y * pool.stride[1] - pool.pad[1] + i / WINDOW_X % WINDOW_Y * pool.dilation[1];
        const i32 ix = (i32)x * pool.stride[2] - pool.pad[2] + i % WINDOW_X * pool.dilation[2];
        inside[i] = (u32)iz < (u32)pool.input[0] && (u32)iy < (u32)pool.input[1] && (u32)ix < (u32)pool.input[2];
        const u32 line = (outer * pool.input[0] + iz) * pool.input[1] + iy;
        if (inside[i]) v[i] = load_pack<V>(from + (line * pool.input[2] + ix) * pool.inner);
    }
#pragma unroll
    for (int i = 0; i < SIZE; i++) {
        if (!inside[i]) continue;
        count++;
#pragma unroll
        for (int k = 0; k < V; k++) take<KIND>(sum[k], (Acc)widen(v[i].at[k]), pool.p);
    }
#else
#pragma unroll 1
    for (i32 rz = 0; rz < pool.window[0]; rz++) {
        const i32 iz = (i32)z * pool.stride[0] - pool.pad[0] + rz * pool.dilation[0];
        if ((u32)iz >= (u32)pool.input[0]) continue;
#pragma unroll 1
        for (i32 ry = 0; ry < pool.window[1]; ry++) {
            const i32 iy = (i32)y * pool.stride[1] - pool.pad[1] + ry * pool.dilation[1];
            if ((u32)iy >= (u32)pool.input[1]) continue;
            const u32 line = (outer * pool.input[0] + iz) * pool.input[1] + iy;
            for (i32 rx = 0; rx < pool.window[2]; rx++) {
                const i32 ix = (i32)x * pool.stride[2] - pool.pad[2] + rx * pool.dilation[2];
                if ((u32)ix >= (u32)pool.input[2]) continue;
                const Pack<ELEMENT, V> v = load_pack<V>(from + (line * pool.input[2] + ix) * pool.inner);
                count++;
#pragma unroll
                for (int k = 0; k < V; k++) take<KIND>(sum[k], (Acc)widen(v.at[k]), pool.p);
            }
        }
    }
#endif
    Acc divisor = (Acc)count;
    if constexpr (KIND == 2) {
        divisor = (Acc)(window_size(pool, 0, z) * window_size(pool, 1, y) * window_size(pool, 2, x));
    }
    Compute<ELEMENT> result[V];
#pragma unroll
    for (int k = 0; k < V; k++) result[k] = (Compute<ELEMENT>)result_of<KIND>(sum[k], divisor, pool.p);
    Compute<Out> value[V];
    const Operands operands = OPERANDS;
    u32 at = work * V;
    if constexpr (TURNED) {
        const u32 positions = pool.out_z.value * pool.out_y.value * pool.out_x.value;
        at = (outer * pool.inner + pack) * positions + pixel - outer * positions;
    }
    finish<V>(result, value, at, operands, grid);
    store_narrow<V>(out + at, value);
}
