// resize: each resized axis of the output reads some elements of the input, by tables made on the host.
//
// AXES stored axes, those that are not resized joined with their neighbours; bit i of RESIZED is set when axis i is.
// The table of an axis begins at `tables[axis]`: where the taps of each output position begin (sizes + 1 numbers,
// counted from the table's first tap), then the taps' input positions, then their weights. A position without taps lies
// outside, and so does an element with such a coordinate: it takes the extrapolation value. With NEAREST 1 each
// position inside has one tap of weight 1, and elements of any type are moved as they are.
//
// A thread computes V neighbouring elements; V is 1 when the last axis is resized. ELEMENT: storage type.
#include "types.cuh"
#include "launch.cuh"
#include "accumulate.cuh"

typedef Accumulator<ELEMENT> Acc;

struct Resize {
    Divisor sizes[AXES];
    // Steps of the input.
    u32 steps[AXES];
    u32 tables[AXES], taps[AXES];
    u32 work;
    float outside;
};

#define IS_RESIZED(axis) ((RESIZED >> (axis)) & 1)

template <int AXIS> INLINE void sample(Acc* sum, Acc weight, const ELEMENT* from, const u32* index, const u32* tables,
                                       const Resize& r) {
    if constexpr (AXIS == AXES) {
        const Pack<ELEMENT, V> v = load_pack<V>(from);
#pragma unroll
        for (int k = 0; k < V; k++) sum[k] += weight * (Acc)widen(v.at[k]);
    } else if constexpr (IS_RESIZED(AXIS)) {
        const u32* starts = tables + r.tables[AXIS];
        const u32* places = starts + r.sizes[AXIS].value + 1;
        const u32 end = starts[index[AXIS] + 1];
        for (u32 tap = starts[index[AXIS]]; tap < end; tap++) {
            const Acc own = (Acc)__uint_as_float(places[r.taps[AXIS] + tap]);
            sample<AXIS + 1>(sum, weight * own, from + places[tap] * r.steps[AXIS], index, tables, r);
        }
    } else {
        sample<AXIS + 1>(sum, weight, from + index[AXIS] * r.steps[AXIS], index, tables, r);
    }
}

extern "C" __global__ void __launch_bounds__(256)
resize(const ELEMENT* __restrict__ in, const u32* __restrict__ tables, ELEMENT* __restrict__ out,
       const __grid_constant__ Resize r) {
    begin_kernel();
    const u32 work = blockIdx.x * 256 + threadIdx.x;
    if (work >= r.work) return;
    u32 index[AXES], rest = work * V;
    bool inside = true;
    const ELEMENT* nearest = in;
#pragma unroll
    for (int axis = AXES - 1; axis >= 0; axis--) {
        const u32 q = axis == 0 ? 0 : rest / r.sizes[axis];
        index[axis] = rest - q * r.sizes[axis].value;
        rest = q;
        if (IS_RESIZED(axis)) {
            const u32* starts = tables + r.tables[axis];
            const u32 first = starts[index[axis]];
            if (starts[index[axis] + 1] == first) {
                inside = false;
            } else if (NEAREST) {
                nearest += starts[r.sizes[axis].value + 1 + first] * r.steps[axis];
            }
        } else if (NEAREST) {
            nearest += index[axis] * r.steps[axis];
        }
    }
    if (NEAREST && inside) {
        store_pack(out + work * V, load_pack<V>(nearest));
        return;
    }
    Acc sum[V];
    Compute<ELEMENT> y[V];
#pragma unroll
    for (int k = 0; k < V; k++) sum[k] = (Acc)0;
    if (!NEAREST && inside) sample<0>(sum, (Acc)1, in, index, tables, r);
#pragma unroll
    for (int k = 0; k < V; k++) y[k] = inside ? (Compute<ELEMENT>)sum[k] : (Compute<ELEMENT>)r.outside;
    store_narrow<V>(out + work * V, y);
}
