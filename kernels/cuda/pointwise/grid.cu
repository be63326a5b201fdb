// pointwise: an expression over operands that broadcast.
//
// Generated before this text (kernels/src/grid.rs): the expression over a grid. A thread computes V neighbouring
// elements; the last axis of the grid holds a multiple of V, or is the only one.
#include "types.cuh"
#include "launch.cuh"

template <int N> INLINE void compute(Out* out, u32 at, const Operands& operands, const Grid& grid) {
    Compute<Out> y[N];
    evaluate<N>(y, at, operands, grid);
    store_narrow<N>(out + at, y);
}

extern "C" __global__ void __launch_bounds__(256)
pointwise(OPERAND_PARAMETERS Out* __restrict__ out, const __grid_constant__ Grid grid, u32 n) {
    begin_kernel();
    const Operands operands = OPERANDS;
    const u32 thread = blockIdx.x * 256 + threadIdx.x, packs = n / V;
    if (thread < packs) compute<V>(out, thread * V, operands, grid);
    if (V > 1 && packs * V + thread < n && thread < V) compute<1>(out, packs * V + thread, operands, grid);
}
