// strided: copies by steps through the input: slices, broadcasts and permutations that keep the last axis.
//
// UNIT bytes are moved at a time; sizes and steps count units. AXES: output axes, neighbours joined.
#include "types.cuh"
#include "units.cuh"
#include "launch.cuh"

struct Strided {
    Divisor sizes[AXES];
    i32 steps[AXES];
    u32 offset, units;
};

extern "C" __global__ void __launch_bounds__(256)
strided(const Unit* __restrict__ in, Unit* __restrict__ out, const __grid_constant__ Strided s) {
    begin_kernel();
    const u32 at = blockIdx.x * 256 + threadIdx.x;
    if (at >= s.units) return;
    u32 rest = at;
    i32 from = (i32)s.offset;
#pragma unroll
    for (int axis = AXES - 1; axis > 0; axis--) {
        const u32 q = rest / s.sizes[axis];
        from += (i32)(rest - q * s.sizes[axis].value) * s.steps[axis];
        rest = q;
    }
    from += (i32)rest * s.steps[0];
    out[at] = in[from];
}
