// matmul.cuda.any: products of matrices of any sizes and steps, one output a thread: the last resort.
//
//   y[b, m, n] = epilogue(sum over k of a[b, m, k] * b[b, k, n])
//
// Elements of type ELEMENT, sums in f32. The prelude defines `batch_a` and `batch_b`, where the matrices of a batch
// begin, and `epilogue_at` over the output's plain index.
#include "mma_numbers.cuh"

struct Shape {
  long long outputs;
  int m, n, k;
  int a_m, a_k, b_k, b_n;  // steps of the operands
};

extern "C" __global__ void __launch_bounds__(128, 1) gemm_any(const void* a, const void* b, void* y, Shape p EPILOGUE_PARAMS) {
  wait_for_inputs();
  const long long index = (long long)blockIdx.x * 128 + threadIdx.x;
  if (index >= p.outputs) return;
  const int n = (int)(index % p.n);
  const long long rest = index / p.n;
  const int m = (int)(rest % p.m);
  const long long batch = rest / p.m;
  const long long from_a = batch_a(batch) + (long long)m * p.a_m, from_b = batch_b(batch) + (long long)n * p.b_n;
  float sum = 0;
  for (int k = 0; k < p.k; k++) {
    sum += load_float<ELEMENT>(a, from_a + (long long)k * p.a_k) * load_float<ELEMENT>(b, from_b + (long long)k * p.b_k);
  }
  const float out[1] = {epilogue_at(sum, index EPILOGUE_ARGS)};
  store_floats<OUTPUT_TYPE, 1>(out, y, index);
}
