// pad: adds borders.
//
// AXES output axes, those without borders joined. MODE: 0 constant, 1 mirrored without the edge, 2 edge repeated,
// 3 wrapped round. UNIT bytes are moved at a time; `fill` is a unit of the constant.
#include "types.cuh"
#include "units.cuh"
#include "launch.cuh"

struct PadBorders {
    Divisor sizes[AXES];
    i32 input[AXES], before[AXES];
    u32 steps[AXES];
    u32 units, fill[4];
};

extern "C" __global__ void __launch_bounds__(256)
pad(const Unit* __restrict__ in, Unit* __restrict__ out, const __grid_constant__ PadBorders p) {
    begin_kernel();
    const u32 at = blockIdx.x * 256 + threadIdx.x;
    if (at >= p.units) return;
    u32 rest = at, from = 0;
    bool inside = true;
#pragma unroll
    for (int axis = AXES - 1; axis >= 0; axis--) {
        const u32 q = axis == 0 ? 0 : rest / p.sizes[axis];
        i32 i = (i32)(rest - q * p.sizes[axis].value) - p.before[axis];
        rest = q;
        const i32 n = p.input[axis];
        if (i < 0 || i >= n) {
            if (MODE == 0) inside = false;
            if (MODE == 1) i = i < 0 ? -i : 2 * (n - 1) - i;
            if (MODE == 2) i = i < 0 ? 0 : n - 1;
            if (MODE == 3) i = i < 0 ? i + n : i - n;
        }
        from += (u32)i * p.steps[axis];
    }
    Unit value;
    if (inside) {
        value = in[from];
    } else {
        u32 words[4] = {p.fill[0], p.fill[1], p.fill[2], p.fill[3]};
        value = *reinterpret_cast<const Unit*>(words);
    }
    out[at] = value;
}
