// matmul.cuda.gemv: a few vectors times a matrix whose rows run along the depth; bound by reading the matrix.
//
//   y[m, n] = epilogue(sum over k of a[m, k] * b[n, k]),  M at most ROWS
//
// WARPS warps of a block share the depth of OUTPUTS neighbouring columns. Vectors of VECTOR elements of type ELEMENT;
// VECTOR divides K.
#include "mma_epilogue.cuh"

extern __shared__ __align__(128) unsigned char shared[];

struct Shape {
  int m, n, k;
};

extern "C" __global__ void __launch_bounds__(WARPS * 32)
gemm_gemv(const void* a, const void* b, void* y, Shape p EPILOGUE_PARAMS) {
  float* parts = (float*)shared;  // [WARPS][ROWS][OUTPUTS]
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int n0 = blockIdx.x * OUTPUTS, m0 = blockIdx.y * ROWS;
  float sums[ROWS][OUTPUTS];
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
#pragma unroll
    for (int j = 0; j < OUTPUTS; j++) sums[r][j] = 0;
  }
  bool waited = !CONSTANT_B;
  if (waited) wait_for_inputs();
  for (int k = threadIdx.x * VECTOR; k < p.k; k += WARPS * 32 * VECTOR) {
    float w[OUTPUTS][VECTOR];
#pragma unroll
    for (int j = 0; j < OUTPUTS; j++) {
      // Columns past the last read the last one; nobody stores their sums.
      load_floats<ELEMENT, VECTOR>(w[j], b, (long long)min(n0 + j, p.n - 1) * p.k + k);
    }
    if (!waited) {
      wait_for_inputs();
      waited = true;
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      float x[VECTOR];
      load_floats<ELEMENT, VECTOR>(x, a, (long long)min(m0 + r, p.m - 1) * p.k + k);
#pragma unroll
      for (int j = 0; j < OUTPUTS; j++) {
#pragma unroll
        for (int e = 0; e < VECTOR; e++) sums[r][j] += x[e] * w[j][e];
      }
    }
  }
  if (!waited) wait_for_inputs();
  let_dependents_start();
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
#pragma unroll
    for (int j = 0; j < OUTPUTS; j++) {
      float s = sums[r][j];
#pragma unroll
      for (int step = 16; step > 0; step >>= 1) s += __shfl_xor_sync(0xffffffffu, s, step);
      if (lane == 0) parts[(warp * ROWS + r) * OUTPUTS + j] = s;
    }
  }
  __syncthreads();
  if (threadIdx.x < ROWS * OUTPUTS) {
    const int m = m0 + threadIdx.x / OUTPUTS, n = n0 + threadIdx.x % OUTPUTS;
    float v[1] = {0};
#pragma unroll
    for (int i = 0; i < WARPS; i++) v[0] += parts[i * ROWS * OUTPUTS + threadIdx.x];
    if (m < p.m && n < p.n) finish<1>(v, y, (long long)m * p.n + n, n, 0 EPILOGUE_ARGS);
  }
}
