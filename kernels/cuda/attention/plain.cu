// attention.cuda/plain: attention on CUDA cores, a warp a query; any sizes up to VALUES * 32 of a value.
//
//   y = softmax(score(q . k)) . v, 32 keys at a time: each lane has one of them, then its part of the values
//
// VALUES: values of a result that a lane sums. The query lies in shared memory, D floats a warp.
#include "attention.cuh"

constexpr int WARPS = 4;
extern __shared__ float staged[];

extern "C" __global__ void __launch_bounds__(WARPS * 32, 1)
attention_plain(const void* q, const void* k, const void* v, MASK_PARAMETER void* y, Shape s) {
  wait_for_inputs();
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const long long row = (long long)blockIdx.x * WARPS + warp;
  if (row >= (long long)s.matrices * s.queries) return;
  const int matrix = (int)(row / s.queries), i = (int)(row - (long long)matrix * s.queries);
  float* query = staged + warp * s.d;
  const long long from = query_start(s, s.q, matrix) + (long long)i * s.q.row;
  for (int c = lane; c < s.d; c += 32) query[c] = load_float<ELEMENT>(q, from + c);
  __syncwarp();
  const long long keys = key_start(s, s.k, matrix), values = key_start(s, s.v, matrix);
  const long long masked = mask_row(s, matrix, i);
  const int seen = seen_keys(s, i);
  float top = -inf_f32(), sum = 0, out[VALUES];
#pragma unroll
  for (int c = 0; c < VALUES; c++) out[c] = 0;
  for (int k0 = 0; k0 < seen; k0 += 32) {
    const int j = k0 + lane;
    float x = -inf_f32();
    if (j < seen) {
      float product = 0;
      const long long key = keys + (long long)j * s.k.row;
      for (int c = 0; c < s.d; c++) product += query[c] * load_float<ELEMENT>(k, key + c);
      x = score(s, product, MASK_ARGUMENT, masked, j);
    }
    float most = x;
#pragma unroll
    for (int step = 16; step > 0; step >>= 1) most = fmaxf(most, __shfl_xor_sync(~0u, most, step));
    most = fmaxf(most, top);
    const float shrink = weight(top, most), w = weight(x, most);
    float added = w;
#pragma unroll
    for (int step = 16; step > 0; step >>= 1) added += __shfl_xor_sync(~0u, added, step);
    sum = sum * shrink + added;
    top = most;
#pragma unroll
    for (int c = 0; c < VALUES; c++) out[c] *= shrink;
    const int count = min(32, seen - k0);
    for (int n = 0; n < count; n++) {
      const float share = __shfl_sync(~0u, w, n);
      const long long value = values + (long long)(k0 + n) * s.v.row;
#pragma unroll
      for (int c = 0; c < VALUES; c++) {
        if (c * 32 + lane < s.dv) out[c] += share * load_float<ELEMENT>(v, value + c * 32 + lane);
      }
    }
  }
  const float factor = sum == 0 ? 0.0f : 1.0f / sum;
  const long long to = query_start(s, s.y, matrix) + (long long)i * s.y.row;
#pragma unroll
  for (int c = 0; c < VALUES; c++) {
    const float result[1] = {out[c] * factor};
    if (c * 32 + lane < s.dv) store_floats<ELEMENT, 1>(result, y, to + c * 32 + lane);
  }
}
