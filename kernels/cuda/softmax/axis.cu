// softmax_rows, softmax_columns: exp(x) / sum exp(x) along one axis or its logarithm, then an epilogue.
//
// The tensor is [outer, n, inner] in memory. `softmax_rows` (inner is 1) gives LANES threads to a row, V elements at a
// time; `softmax_columns` one thread to a column. Both read the input twice, the second time mostly from a cache.
//
// ELEMENT: storage type. LOGARITHM: 0 or 1. Generated before this text: the epilogue (kernels/src/grid.rs).
#include "types.cuh"
#include "launch.cuh"
#include "accumulate.cuh"

typedef Accumulator<ELEMENT> Acc;

struct Softmax {
    u32 n, rows;
    Divisor inner;
};

INLINE Acc share(Acc x, const ExpSum<Acc>& total, Acc scale) {
    return LOGARITHM ? x - total.top - scale : op_exp(x - total.top) * scale;
}
INLINE Acc scale_of(const ExpSum<Acc>& total) { return LOGARITHM ? op_log(total.sum) : (Acc)1 / total.sum; }

#ifdef LANES
extern "C" __global__ void __launch_bounds__(256)
softmax_rows(const ELEMENT* __restrict__ in, OPERAND_PARAMETERS Out* __restrict__ out, const __grid_constant__ Softmax s,
             const __grid_constant__ Grid grid) {
    __shared__ ExpSum<Acc> shared[8];
    begin_kernel();
    const u32 row = blockIdx.x * (256 / LANES) + threadIdx.x / LANES, lane = threadIdx.x % LANES;
    const bool real = row < s.rows;
    const u32 base = row * s.n;
    ExpSum<Acc> total = ExpSum<Acc>::none();
    if (real) {
        for (u32 i = lane * V; i < s.n; i += LANES * V) {
            const Pack<ELEMENT, V> v = load_pack<V>(in + base + i);
            Acc x[V];
#pragma unroll
            for (int k = 0; k < V; k++) x[k] = widen(v.at[k]);
            total.template add<V>(x);
        }
    }
    total = combine<LANES>(total, shared, [](ExpSum<Acc>& x, const ExpSum<Acc>& y) { x.merge(y); });
    if (!real) return;
    const Acc scale = scale_of(total);
    const Operands operands = OPERANDS;
    for (u32 i = lane * V; i < s.n; i += LANES * V) {
        const Pack<ELEMENT, V> v = load_pack<V>(in + base + i);
        Acc x[V];
        Compute<Out> y[V];
#pragma unroll
        for (int k = 0; k < V; k++) x[k] = share(widen(v.at[k]), total, scale);
        finish<V>(x, y, base + i, operands, grid);
        store_narrow<V>(out + base + i, y);
    }
}
#else
extern "C" __global__ void __launch_bounds__(128)
softmax_columns(const ELEMENT* __restrict__ in, OPERAND_PARAMETERS Out* __restrict__ out,
                const __grid_constant__ Softmax s, const __grid_constant__ Grid grid) {
    begin_kernel();
    const u32 column = blockIdx.x * 128 + threadIdx.x;
    if (column >= s.rows) return;
    const u32 outer = column / s.inner, inner = column - outer * s.inner.value;
    const u32 base = outer * s.n * s.inner.value + inner;
    ExpSum<Acc> total = ExpSum<Acc>::none();
    for (u32 i = 0; i < s.n; i++) {
        const Acc x = widen(in[base + i * s.inner.value]);
        total.template add<1>(&x);
    }
    const Acc scale = scale_of(total);
    const Operands operands = OPERANDS;
    for (u32 i = 0; i < s.n; i++) {
        const u32 at = base + i * s.inner.value;
        const Acc x = share(widen(in[at]), total, scale);
        Compute<Out> y;
        finish<1>(&x, &y, at, operands, grid);
        store_narrow<1>(out + at, &y);
    }
}
#endif
