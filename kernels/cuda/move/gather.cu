// gather, gather_elements: parts or elements of the input picked by index along an axis.
//
// Negative indices count from the end; those outside are taken as the nearest inside. UNIT: bytes moved at a time.
// INDEX: i32 or i64. AXES: axes of the indices of `gather_elements`.
#include "types.cuh"
#include "units.cuh"
#include "launch.cuh"

INLINE u32 picked(INDEX index, u32 size) {
    const i64 i = index < 0 ? (i64)index + size : (i64)index;
    return (u32)max(0ll, min((i64)size - 1, i));
}

#ifdef AXES
struct GatherElements {
    Divisor sizes[AXES];
    u32 steps[AXES];
    u32 axis, size, units;
};

extern "C" __global__ void __launch_bounds__(256)
gather_elements(const Unit* __restrict__ in, const INDEX* __restrict__ indices, Unit* __restrict__ out,
                const __grid_constant__ GatherElements g) {
    begin_kernel();
    const u32 at = blockIdx.x * 256 + threadIdx.x;
    if (at >= g.units) return;
    u32 rest = at, from = 0;
#pragma unroll
    for (int axis = AXES - 1; axis >= 0; axis--) {
        const u32 q = axis == 0 ? 0 : rest / g.sizes[axis];
        const u32 i = axis == g.axis ? picked(indices[at], g.size) : rest - q * g.sizes[axis].value;
        from += i * g.steps[axis];
        rest = q;
    }
    out[at] = in[from];
}
#else
struct Gather {
    // Units of a part, and indices.
    Divisor inner, count;
    u32 size, units;
};

extern "C" __global__ void __launch_bounds__(256)
gather(const Unit* __restrict__ in, const INDEX* __restrict__ indices, Unit* __restrict__ out,
       const __grid_constant__ Gather g) {
    begin_kernel();
    const u32 at = blockIdx.x * 256 + threadIdx.x;
    if (at >= g.units) return;
    const u32 line = at / g.inner, outer = line / g.count;
    const u32 index = picked(indices[line - outer * g.count.value], g.size);
    out[at] = in[(outer * g.size + index) * g.inner.value + at - line * g.inner.value];
}
#endif
