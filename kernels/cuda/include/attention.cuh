// What the kernels of attention share: sizes, and what becomes of a product of query and key.
//
//   q [B, H, Sq, D], k [B, H / group, Sk, D], v [B, H / group, Sk, Dv] and y [B, H, Sq, Dv] with strides of their first three
//   axes, mask over [B, H, Sq, Sk] with steps
//
//   ELEMENT  0: f32, 1: f16, 2: bf16
//   CAUSAL   1: query i sees keys up to i + offset
//   CAP      1: scores pass through cap * tanh(score / cap)
//   MASK     1: there is a mask, which is added
#pragma once
#include "mma_numbers.cuh"

/// Elements before the first, and between neighbours along the first three axes.
struct Strides {
  int offset, batch, head, row;
};

struct Shape {
  int matrices, heads, group, queries, keys, d, dv;
  Strides q, k, v, y;
  int mask_steps[4];
  int offset;
  float scale, cap;
};

#if MASK
#define MASK_PARAMETER const void *mask,
#define MASK_ARGUMENT mask
#else
#define MASK_PARAMETER
#define MASK_ARGUMENT nullptr
#endif

/// Keys that query `i` may see.
__device__ __forceinline__ int seen_keys(const Shape& s, int i) {
  return CAUSAL ? max(0, min(s.keys, i + s.offset + 1)) : s.keys;
}

/// Where a matrix of queries, or of results, begins.
__device__ __forceinline__ long long query_start(const Shape& s, const Strides& of, int matrix) {
  return of.offset + (long long)(matrix / s.heads) * of.batch + (long long)(matrix % s.heads) * of.head;
}

/// Where the matrix of keys, or of values, that a matrix of queries reads begins.
__device__ __forceinline__ long long key_start(const Shape& s, const Strides& of, int matrix) {
  return of.offset + (long long)(matrix / s.heads) * of.batch + (long long)(matrix % s.heads / s.group) * of.head;
}

/// Where the mask of a query begins.
__device__ __forceinline__ long long mask_row(const Shape& s, int matrix, int i) {
  return (long long)(matrix / s.heads) * s.mask_steps[0] + (long long)(matrix % s.heads) * s.mask_steps[1] +
         (long long)i * s.mask_steps[2];
}

/// The score of a key that may be seen.
__device__ __forceinline__ float score(const Shape& s, float product, const void* mask, long long row, int j) {
  float x = product * s.scale;
  if (CAP) x = s.cap * tanhf(x / s.cap);
  if (MASK) x += load_float<ELEMENT>(mask, row + (long long)j * s.mask_steps[3]);
  return x;
}

/// exp(x - top), zero for x of minus infinity.
__device__ __forceinline__ float weight(float x, float top) {
  return exp2f((x - (top == -inf_f32() ? 0.0f : top)) * 1.4426950408889634f);
}
