// reduce_rows, reduce_columns: a reduction over any axes, then an epilogue.
//
// The input's stored axes are split into kept ones (the output, in order) and reduced ones, neighbours joined; an
// element's place is the sum of its index along each times a step. `reduce_rows` gives LANES threads to an output and
// suits reduced axes that lie inside: neighbours read neighbours, V at a time. `reduce_columns` has 32 threads beside
// each other for V outputs each, and 8 times those for parts of the reduction; it suits kept axes that lie inside.
//
// KIND: 0 sum, 1 mean, 2 max, 3 min, 4 product, 5 sum of squares, 6 sum of absolute values, 7 root of the sum of
// squares, 8 logarithm of the sum, 9 logarithm of the sum of exponentials. ELEMENT: storage type. KEPT, REDUCED: axes.
// Generated before this text: the epilogue over the output (kernels/src/grid.rs).
#include "types.cuh"
#include "launch.cuh"
#include "accumulate.cuh"

typedef Accumulator<ELEMENT> Acc;

struct Reduce {
    Divisor kept[KEPT], reduced[REDUCED];
    u32 kept_steps[KEPT], reduced_steps[REDUCED];
    u32 outputs, terms;
};

template <int AXES> INLINE u32 place(u32 index, const Divisor* sizes, const u32* steps) {
    u32 at = 0;
#pragma unroll
    for (int axis = AXES - 1; axis > 0; axis--) {
        const u32 rest = index / sizes[axis];
        at += (index - rest * sizes[axis].value) * steps[axis];
        index = rest;
    }
    return at + index * steps[0];
}

INLINE float quotient(float x, u32 n) { return x / (float)n; }
INLINE double quotient(double x, u32 n) { return x / (double)n; }
INLINE i64 quotient(i64 x, u32 n) { return x / (i64)n; }
INLINE u64 quotient(u64 x, u32 n) { return (u64)((i64)x / (i64)n); }

// One output in progress. Templates, so that only what a kind needs must fit the type.
template <int KIND_, class A> struct State {
    A value;

    static INLINE State none() {
        return {KIND_ == 2 ? Limits<A>::low() : KIND_ == 3 ? Limits<A>::high() : KIND_ == 4 ? (A)1 : (A)0};
    }
    INLINE void add(A x) {
        if constexpr (KIND_ == 2) value = larger(value, x);
        else if constexpr (KIND_ == 3) value = smaller(value, x);
        else if constexpr (KIND_ == 4) value = times(value, x);
        else if constexpr (KIND_ == 5 || KIND_ == 7) value = plus(value, times(x, x));
        else if constexpr (KIND_ == 6) value = plus(value, x < (A)0 ? times(x, (A)-1) : x);
        else value = plus(value, x);
    }
    INLINE void merge(const State& other) {
        if constexpr (KIND_ == 2) value = larger(value, other.value);
        else if constexpr (KIND_ == 3) value = smaller(value, other.value);
        else if constexpr (KIND_ == 4) value = times(value, other.value);
        else value = plus(value, other.value);
    }
    INLINE A result(u32 terms) const {
        if constexpr (KIND_ == 1) return quotient(value, terms);
        else if constexpr (KIND_ == 7) return op_sqrt(value);
        else if constexpr (KIND_ == 8) return op_log(value);
        else return value;
    }
};

template <class A> struct State<9, A> {
    ExpSum<A> value;

    static INLINE State none() { return {ExpSum<A>::none()}; }
    INLINE void add(A x) { value.template add<1>(&x); }
    INLINE void merge(const State& other) { value.merge(other.value); }
    INLINE A result(u32) const { return op_isinf(value.top) ? value.top : value.top + op_log(value.sum); }
};

template <int KIND_, class A> INLINE State<KIND_, A> other_lane(const State<KIND_, A>& x, int mask) {
    return {other_lane(x.value, mask)};
}

typedef State<KIND, Acc> Partial;

#ifdef LANES
extern "C" __global__ void __launch_bounds__(256)
reduce_rows(const ELEMENT* __restrict__ in, OPERAND_PARAMETERS Out* __restrict__ out, const __grid_constant__ Reduce r,
            const __grid_constant__ Grid grid) {
    __shared__ Partial shared[8];
    begin_kernel();
    const u32 output = blockIdx.x * (256 / LANES) + threadIdx.x / LANES, lane = threadIdx.x % LANES;
    const bool real = output < r.outputs;
    Partial state = Partial::none();
    if (real) {
        const ELEMENT* from = in + place<KEPT>(output, r.kept, r.kept_steps);
        for (u32 term = lane * V; term < r.terms; term += LANES * V) {
            const Pack<ELEMENT, V> v = load_pack<V>(from + place<REDUCED>(term, r.reduced, r.reduced_steps));
#pragma unroll
            for (int k = 0; k < V; k++) state.add((Acc)widen(v.at[k]));
        }
    }
    state = combine<LANES>(state, shared, [](Partial& x, const Partial& y) { x.merge(y); });
    if (real && lane == 0) {
        const Compute<ELEMENT> x = (Compute<ELEMENT>)state.result(r.terms);
        Compute<Out> y;
        const Operands operands = OPERANDS;
        finish<1>(&x, &y, output, operands, grid);
        store_narrow<1>(out + output, &y);
    }
}
#else
extern "C" __global__ void __launch_bounds__(256)
reduce_columns(const ELEMENT* __restrict__ in, OPERAND_PARAMETERS Out* __restrict__ out, const __grid_constant__ Reduce r,
               const __grid_constant__ Grid grid) {
    __shared__ Partial shared[7][V][32];
    begin_kernel();
    const u32 column = threadIdx.x % 32, part = threadIdx.x / 32;
    const u32 output = (blockIdx.x * 32 + column) * V;
    Partial state[V];
#pragma unroll
    for (int k = 0; k < V; k++) state[k] = Partial::none();
    if (output < r.outputs) {
        const ELEMENT* from = in + place<KEPT>(output, r.kept, r.kept_steps);
#pragma unroll 4
        for (u32 term = part; term < r.terms; term += 8) {
            const Pack<ELEMENT, V> v = load_pack<V>(from + place<REDUCED>(term, r.reduced, r.reduced_steps));
#pragma unroll
            for (int k = 0; k < V; k++) state[k].add((Acc)widen(v.at[k]));
        }
    }
    if (part > 0) {
#pragma unroll
        for (int k = 0; k < V; k++) shared[part - 1][k][column] = state[k];
    }
    __syncthreads();
    if (part > 0 || output >= r.outputs) return;
    Compute<ELEMENT> x[V];
#pragma unroll
    for (int k = 0; k < V; k++) {
        for (int other = 0; other < 7; other++) state[k].merge(shared[other][k][column]);
        x[k] = (Compute<ELEMENT>)state[k].result(r.terms);
    }
    Compute<Out> y[V];
    const Operands operands = OPERANDS;
    finish<V>(x, y, output, operands, grid);
    store_narrow<V>(out + output, y);
}
#endif
