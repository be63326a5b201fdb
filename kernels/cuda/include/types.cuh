// Storage types, compute types and pointwise functions. Needs no other header and sm_80.
//
// A tensor of f16 or bf16 is stored as 16-bit structs and computed with as float; a bool is stored as a byte. `widen`
// and `narrow` convert. Functions of generated expressions are named `op_*`; they treat NaN, integer overflow and
// division by zero as crates/reference/src/expr.rs does.
#pragma once
// Functions of any integer compare with zero, unsigned ones too.
#pragma nv_diag_suppress 186

typedef signed char i8;
typedef short i16;
typedef int i32;
typedef long long i64;
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef float f32;
typedef double f64;

struct f16 { u16 bits; };
struct bf16 { u16 bits; };
struct b8 { u8 bits; };

#define INLINE __device__ __forceinline__

INLINE float nan_f32() { return __int_as_float(0x7fc00000); }
INLINE float inf_f32() { return __int_as_float(0x7f800000); }
INLINE double nan_f64() { return __longlong_as_double(0x7ff8000000000000ll); }
INLINE double inf_f64() { return __longlong_as_double(0x7ff0000000000000ll); }

// The type that values of a storage type are computed with.
template <class T> struct ComputeOf { typedef T type; };
template <> struct ComputeOf<f16> { typedef float type; };
template <> struct ComputeOf<bf16> { typedef float type; };
template <> struct ComputeOf<b8> { typedef bool type; };
template <class T> using Compute = typename ComputeOf<T>::type;

template <class T> INLINE T widen(T x) { return x; }
INLINE float widen(f16 x) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
}
INLINE float widen(bf16 x) { return __uint_as_float((u32)x.bits << 16); }
INLINE bool widen(b8 x) { return x.bits != 0; }

// Rounds to nearest, halves to even.
template <class T> struct Narrow {
    static INLINE T from(T x) { return x; }
};
template <> struct Narrow<f16> {
    static INLINE f16 from(float x) {
        f16 y;
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
        return y;
    }
};
template <> struct Narrow<bf16> {
    static INLINE bf16 from(float x) {
        bf16 y;
        asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
        return y;
    }
};
template <> struct Narrow<b8> {
    static INLINE b8 from(bool x) {
        b8 y;
        y.bits = x ? 1 : 0;
        return y;
    }
};
template <class T> INLINE T narrow(Compute<T> x) { return Narrow<T>::from(x); }

// Two values in one register, the first in the lower half.
template <class T> struct NarrowPair;
template <> struct NarrowPair<f16> {
    static INLINE u32 from(float low, float high) {
        u32 y;
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
        return y;
    }
};
template <> struct NarrowPair<bf16> {
    static INLINE u32 from(float low, float high) {
        u32 y;
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
        return y;
    }
};
template <class T> INLINE u32 narrow_pair(float low, float high) { return NarrowPair<T>::from(low, high); }

// N elements that lie together, moved in accesses of up to 16 bytes. Addresses must be multiples of the smaller of 16
// and the whole size. N is a power of two.
template <int BYTES> struct Raw { uint4 at[BYTES / 16]; };
template <> struct Raw<8> { uint2 at[1]; };
template <> struct Raw<4> { u32 at[1]; };
template <> struct Raw<2> { u16 at[1]; };
template <> struct Raw<1> { u8 at[1]; };

template <class T, int N> union Pack {
    Raw<(int)sizeof(T) * N> raw;
    T at[N];
};

template <int N, class T> INLINE Pack<T, N> load_pack(const T* from) {
    Pack<T, N> v;
    v.raw = *reinterpret_cast<const Raw<(int)sizeof(T) * N>*>(from);
    return v;
}
template <int N, class T> INLINE void store_pack(T* to, const Pack<T, N>& v) {
    *reinterpret_cast<Raw<(int)sizeof(T) * N>*>(to) = v.raw;
}

// N computed values as elements of T.
template <class T, int N> INLINE Pack<T, N> narrow_pack(const Compute<T>* x) {
    Pack<T, N> v;
#pragma unroll
    for (int i = 0; i < N; i++) v.at[i] = narrow<T>(x[i]);
    return v;
}
template <class T, int N> INLINE Pack<T, N> narrow_pairs(const float* x) {
    Pack<T, N> v;
    u32* words = reinterpret_cast<u32*>(&v);
#pragma unroll
    for (int i = 0; i < N / 2; i++) words[i] = narrow_pair<T>(x[2 * i], x[2 * i + 1]);
    if (N == 1) v.at[0] = narrow<T>(x[0]);
    return v;
}
template <int N> INLINE void store_narrow(f16* to, const float* x) { store_pack(to, narrow_pairs<f16, N>(x)); }
template <int N> INLINE void store_narrow(bf16* to, const float* x) { store_pack(to, narrow_pairs<bf16, N>(x)); }
// Rounds N computed values and stores them.
template <int N, class T> INLINE void store_narrow(T* to, const Compute<T>* x) {
    store_pack(to, narrow_pack<T, N>(x));
}

// Float functions.
INLINE float op_max(float x, float y) {
    float z;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
    return z;
}
INLINE float op_min(float x, float y) {
    float z;
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
    return z;
}
INLINE double op_max(double x, double y) { return x != x || y != y ? nan_f64() : fmax(x, y); }
INLINE double op_min(double x, double y) { return x != x || y != y ? nan_f64() : fmin(x, y); }
INLINE float op_relu(float x) { return op_max(x, 0.0f); }
INLINE double op_relu(double x) { return x < 0.0 ? 0.0 : x; }
INLINE float op_abs(float x) { return fabsf(x); }
INLINE double op_abs(double x) { return fabs(x); }
INLINE float op_sign(float x) { return x == 0.0f || x != x ? x : copysignf(1.0f, x); }
INLINE double op_sign(double x) { return x == 0.0 || x != x ? x : copysign(1.0, x); }
INLINE bool op_isnan(float x) { return x != x; }
INLINE bool op_isnan(double x) { return x != x; }
INLINE bool op_isinf(float x) { return fabsf(x) == inf_f32(); }
INLINE bool op_isinf(double x) { return fabs(x) == inf_f64(); }

INLINE float op_recip(float x) { return 1.0f / x; }
INLINE double op_recip(double x) { return 1.0 / x; }
// For results that are rounded to 16 bits: shorter code, off by some float ulps.
INLINE float op_exp_short(float x) { return __expf(x); }
INLINE float op_sigmoid_short(float x) { return __fdividef(1.0f, 1.0f + __expf(-x)); }
INLINE float op_sigmoid(float x) {
    float e = expf(-fabsf(x));
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}
INLINE double op_sigmoid(double x) {
    double e = exp(-fabs(x));
    return (x < 0.0 ? e : 1.0) / (1.0 + e);
}
INLINE float op_softplus(float x) { return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))); }
INLINE double op_softplus(double x) { return fmax(x, 0.0) + log1p(exp(-fabs(x))); }

#define FLOAT_FUNCTION(name, single, twice)                 \
    INLINE float op_##name(float x) { return single(x); }   \
    INLINE double op_##name(double x) { return twice(x); }
FLOAT_FUNCTION(sqrt, sqrtf, sqrt)
FLOAT_FUNCTION(exp, expf, exp)
FLOAT_FUNCTION(log, logf, log)
FLOAT_FUNCTION(tanh, tanhf, tanh)
FLOAT_FUNCTION(erf, erff, erf)
FLOAT_FUNCTION(floor, floorf, floor)
FLOAT_FUNCTION(ceil, ceilf, ceil)
FLOAT_FUNCTION(round, rintf, rint)
FLOAT_FUNCTION(sin, sinf, sin)
FLOAT_FUNCTION(cos, cosf, cos)
FLOAT_FUNCTION(tan, tanf, tan)
FLOAT_FUNCTION(asin, asinf, asin)
FLOAT_FUNCTION(acos, acosf, acos)
FLOAT_FUNCTION(atan, atanf, atan)
FLOAT_FUNCTION(sinh, sinhf, sinh)
FLOAT_FUNCTION(cosh, coshf, cosh)
FLOAT_FUNCTION(asinh, asinhf, asinh)
FLOAT_FUNCTION(acosh, acoshf, acosh)
FLOAT_FUNCTION(atanh, atanhf, atanh)
#undef FLOAT_FUNCTION

INLINE float op_fmod(float x, float y) { return fmodf(x, y); }
INLINE double op_fmod(double x, double y) { return fmod(x, y); }
template <class T> INLINE T float_mod(T x, T y) {
    T r = op_fmod(x, y);
    return r != (T)0 && (r < (T)0) != (y < (T)0) ? r + y : r;
}
INLINE float op_mod(float x, float y) { return float_mod(x, y); }
INLINE double op_mod(double x, double y) { return float_mod(x, y); }
INLINE float op_pow(float x, float y) { return powf(x, y); }
INLINE double op_pow(double x, double y) { return pow(x, y); }

// Integer functions. Sums and products go through unsigned numbers, where overflow wraps.
template <class T> INLINE T int_add(T x, T y) { return (T)((u64)x + (u64)y); }
template <class T> INLINE T int_sub(T x, T y) { return (T)((u64)x - (u64)y); }
template <class T> INLINE T int_mul(T x, T y) { return (T)((u64)x * (u64)y); }
template <class T> INLINE T int_neg(T x) { return (T)(0 - (u64)x); }
template <class T> INLINE T int_abs(T x) { return x < (T)0 ? int_neg(x) : x; }
template <class T> INLINE T int_sign(T x) { return (T)((x > (T)0) - (x < (T)0)); }
template <class T> INLINE T int_relu(T x) { return x < (T)0 ? (T)0 : x; }
template <class T> INLINE T int_max(T x, T y) { return x < y ? y : x; }
template <class T> INLINE T int_min(T x, T y) { return y < x ? y : x; }
template <class T> INLINE bool minus_one(T x) { return (T)-1 < (T)0 && x == (T)-1; }
template <class T> INLINE T int_div(T x, T y) {
    return y == (T)0 ? (T)0 : minus_one(y) ? int_neg(x) : (T)(x / y);
}
template <class T> INLINE T int_fmod(T x, T y) { return y == (T)0 || minus_one(y) ? (T)0 : (T)(x % y); }
template <class T> INLINE T int_mod(T x, T y) {
    T r = int_fmod(x, y);
    return r != (T)0 && (r < (T)0) != (y < (T)0) ? int_add(r, y) : r;
}
template <class T> INLINE T int_shl(T x, T y) {
    return y < (T)0 || y >= (T)(8 * sizeof(T)) ? (T)0 : (T)((u64)x << (u32)y);
}
template <class T> INLINE T int_shr(T x, T y) {
    if (y < (T)0 || y >= (T)(8 * sizeof(T))) return x < (T)0 ? (T)-1 : (T)0;
    return (T)(x >> (u32)y);
}
template <class T> INLINE T int_pow(T base, T exponent) {
    i64 x = (i64)base, y = (i64)exponent;
    if (y == 0 || x == 1) return (T)1;
    if (x == -1) return y % 2 == 0 ? (T)1 : (T)-1;
    if (y < 0) return (T)0;
    u64 power = (u64)x, out = 1;
    for (; y > 0; y >>= 1) {
        if (y & 1) out *= power;
        power *= power;
    }
    return (T)out;
}

// Conversions: floats to integers toward zero, saturating, NaN as zero; anything to bool as `x != 0`.
template <class T> struct FromFloat;
#define FROM_FLOAT(T, low, high)                                                                              \
    template <> struct FromFloat<T> {                                                                         \
        static INLINE T from(float x) { return (T)max(low, min(high, x != x ? 0 : __float2int_rz(x))); }      \
        static INLINE T from(double x) { return (T)max(low, min(high, x != x ? 0 : __double2int_rz(x))); }    \
    };
FROM_FLOAT(i8, -128, 127)
FROM_FLOAT(u8, 0, 255)
FROM_FLOAT(i16, -32768, 32767)
FROM_FLOAT(u16, 0, 65535)
#undef FROM_FLOAT
#define FROM_FLOAT(T, single, twice)                                              \
    template <> struct FromFloat<T> {                                             \
        static INLINE T from(float x) { return x != x ? (T)0 : single(x); }       \
        static INLINE T from(double x) { return x != x ? (T)0 : twice(x); }       \
    };
FROM_FLOAT(i32, __float2int_rz, __double2int_rz)
FROM_FLOAT(u32, __float2uint_rz, __double2uint_rz)
FROM_FLOAT(i64, __float2ll_rz, __double2ll_rz)
FROM_FLOAT(u64, __float2ull_rz, __double2ull_rz)
#undef FROM_FLOAT
template <class T> INLINE T int_from_float(float x) { return FromFloat<T>::from(x); }
template <class T> INLINE T int_from_float(double x) { return FromFloat<T>::from(x); }

// Rounded as if stored and loaded again.
template <class T> INLINE float rounded(float x) { return widen(narrow<T>(x)); }

// Division by a number known at launch, of numbers below 2^31. The host fills it (kernels/src/arguments.rs).
struct Divisor {
    u32 value;
    u32 multiplier;
    u32 shift;
};
INLINE u32 operator/(u32 n, const Divisor& d) { return (__umulhi(n, d.multiplier) + n) >> d.shift; }
