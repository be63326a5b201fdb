// concat: COUNT operands joined row by row.
//
// Operand `i` gives `parts[i]` units of UNIT bytes to each row, from unit `starts[i]` on. Generated before this text:
// PARAMETERS, the operands' addresses as parameters p0, p1, ..., each followed by a comma, and POINTERS, their list.
// The second axis of the launch counts operands.
#include "types.cuh"
#include "units.cuh"
#include "launch.cuh"

struct Concat {
    Divisor parts[COUNT];
    u32 starts[COUNT];
    u32 rows, row;
};

extern "C" __global__ void __launch_bounds__(256)
concat(PARAMETERS Unit* __restrict__ out, const __grid_constant__ Concat c) {
    begin_kernel();
    const Unit* const operands[COUNT] = {POINTERS};
    const u32 operand = blockIdx.y, at = blockIdx.x * 256 + threadIdx.x;
    if (at >= c.rows * c.parts[operand].value) return;
    const Unit* from = operands[0];
#pragma unroll
    for (int i = 1; i < COUNT; i++) from = operand == i ? operands[i] : from;
    const u32 row = at / c.parts[operand];
    out[row * c.row + c.starts[operand] + at - row * c.parts[operand].value] = from[at];
}
