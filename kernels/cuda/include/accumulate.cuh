// What sums and extremes of a storage type are accumulated in, and how threads combine them.
#pragma once
#include "types.cuh"

// 16-bit floats in float, integers in 64 bits, where overflow wraps and is cut to the type at the end.
template <class T> struct AccumulatorOf { typedef float type; };
template <> struct AccumulatorOf<f64> { typedef f64 type; };
template <> struct AccumulatorOf<i8> { typedef i64 type; };
template <> struct AccumulatorOf<i16> { typedef i64 type; };
template <> struct AccumulatorOf<i32> { typedef i64 type; };
template <> struct AccumulatorOf<i64> { typedef i64 type; };
template <> struct AccumulatorOf<u8> { typedef u64 type; };
template <> struct AccumulatorOf<u16> { typedef u64 type; };
template <> struct AccumulatorOf<u32> { typedef u64 type; };
template <> struct AccumulatorOf<u64> { typedef u64 type; };
template <> struct AccumulatorOf<b8> { typedef u64 type; };
template <class T> using Accumulator = typename AccumulatorOf<T>::type;

INLINE float larger(float x, float y) { return op_max(x, y); }
INLINE double larger(double x, double y) { return op_max(x, y); }
INLINE i64 larger(i64 x, i64 y) { return x < y ? y : x; }
INLINE u64 larger(u64 x, u64 y) { return x < y ? y : x; }
INLINE float smaller(float x, float y) { return op_min(x, y); }
INLINE double smaller(double x, double y) { return op_min(x, y); }
INLINE i64 smaller(i64 x, i64 y) { return y < x ? y : x; }
INLINE u64 smaller(u64 x, u64 y) { return y < x ? y : x; }

// Sums and products; those of integers wrap.
template <class A> INLINE A plus(A x, A y) { return x + y; }
template <class A> INLINE A times(A x, A y) { return x * y; }
INLINE i64 plus(i64 x, i64 y) { return int_add(x, y); }
INLINE i64 times(i64 x, i64 y) { return int_mul(x, y); }

// The values that no value is below or above.
template <class A> struct Limits;
template <> struct Limits<float> {
    static INLINE float low() { return -inf_f32(); }
    static INLINE float high() { return inf_f32(); }
};
template <> struct Limits<double> {
    static INLINE double low() { return -inf_f64(); }
    static INLINE double high() { return inf_f64(); }
};
template <> struct Limits<i64> {
    static INLINE i64 low() { return (i64)0x8000000000000000ull; }
    static INLINE i64 high() { return 0x7fffffffffffffffll; }
};
template <> struct Limits<u64> {
    static INLINE u64 low() { return 0; }
    static INLINE u64 high() { return ~0ull; }
};
template <class T> INLINE Accumulator<T> lowest() { return Limits<Accumulator<T>>::low(); }

// The logarithm of a sum of exponentials in progress: sum * exp(top). Without terms, top is minus infinity.
template <class A> struct ExpSum {
    A top, sum;

    static INLINE ExpSum none() { return {Limits<A>::low(), (A)0}; }
    // `largest` is the largest of the N terms; NaN is not counted there, it makes the sum NaN.
    template <int N> INLINE void add(const A* x) {
        A next = top;
#pragma unroll
        for (int k = 0; k < N; k++) next = fmax(next, x[k]);
        if (next == Limits<A>::low()) {
#pragma unroll
            for (int k = 0; k < N; k++) sum = x[k] == x[k] ? sum : x[k];
            return;
        }
        sum *= op_exp(top - next);
#pragma unroll
        for (int k = 0; k < N; k++) sum += op_exp(x[k] - next);
        top = next;
    }
    INLINE void merge(const ExpSum& other) {
        const A next = fmax(top, other.top);
        if (next == Limits<A>::low()) {
            sum += other.sum;
            return;
        }
        sum = sum * op_exp(top - next) + other.sum * op_exp(other.top - next);
        top = next;
    }
};

template <class A> INLINE A other_lane(A x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
template <class A> INLINE ExpSum<A> other_lane(const ExpSum<A>& x, int mask) {
    return {other_lane(x.top, mask), other_lane(x.sum, mask)};
}

// Combines the values of groups of GROUP neighbouring threads: of a warp, or of the whole block of GROUP threads. Every
// thread of the block calls it, and all of a group get the result. `shared` has room for a value a warp.
template <int GROUP, class A, class Merge> INLINE A combine(A x, A* shared, Merge merge) {
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) {
        if (mask < GROUP) merge(x, other_lane(x, mask));
    }
    if (GROUP > 32) {
        // Someone may still read the values of the call before.
        __syncthreads();
        if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
        __syncthreads();
        x = shared[0];
#pragma unroll 1
        for (int warp = 1; warp < GROUP / 32; warp++) merge(x, shared[warp]);
    }
    return x;
}
