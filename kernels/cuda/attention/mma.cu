// attention.cuda/mma: attention on tensor cores, 16-bit floats, sm_80 and up.
//
// A warp has 16 queries, a block WARPS * 16 of one head, which all meet KEYS keys at a time. Scores and sums of values stay in
// registers: what a warp holds of the scores is, rounded, the left operand of the product with the values. While one block of
// keys and values is multiplied the next is copied.
//
//   HEAD, HEAD_V  D and Dv, rounded up to a multiple of 16; D and Dv are multiples of 8
//   WARPS, KEYS   as above, KEYS a multiple of 16
#include "attention.cuh"

constexpr int THREADS = WARPS * 32;
constexpr int ROWS = WARPS * 16;
// Eight more elements a row, so that eight rows of a matrix lie in different banks.
constexpr int PITCH = (HEAD + 8) * 2, PITCH_V = (HEAD_V + 8) * 2;
constexpr int K_BYTES = KEYS * PITCH, STAGE = K_BYTES + KEYS * PITCH_V;

static_assert(HEAD % 16 == 0 && HEAD_V % 16 == 0 && KEYS % 16 == 0, "whole fragments");

extern __shared__ __align__(16) unsigned char shared[];

__device__ __forceinline__ void copy_chunk(unsigned to, const void* from, bool valid) {
  int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

/// Copies `COUNT` rows of `size` elements, `stride` apart, zeros from row `rows` and column `size` on.
template <int COUNT, int COLUMNS>
__device__ __forceinline__ void copy_rows(unsigned to, const char* from, int rows, int size, int stride) {
  constexpr int CHUNKS = COLUMNS / 8;
  for (int i = threadIdx.x; i < COUNT * CHUNKS; i += THREADS) {
    const int row = i / CHUNKS, chunk = i % CHUNKS;
    const bool valid = row < rows && chunk * 8 < size;
    const char* at = from + ((long long)row * stride + chunk * 8) * 2;
    copy_chunk(to + row * (COLUMNS + 8) * 2 + chunk * 16, valid ? at : from, valid);
  }
}

template <bool TRANSPOSED> __device__ __forceinline__ void load_matrices(unsigned (&r)[4], unsigned from) {
  if constexpr (TRANSPOSED) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(from) : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(from) : "memory");
  }
}

__device__ __forceinline__ void multiply(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  if constexpr (ELEMENT == 1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
attention_mma(const void* q, const void* k, const void* v, MASK_PARAMETER void* y, Shape s) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int blocks = (s.queries + ROWS - 1) / ROWS;
  const int matrix = blockIdx.x / blocks, q0 = blockIdx.x % blocks * ROWS;
  const char* keys = (const char*)k + key_start(s, s.k, matrix) * 2;
  const char* values = (const char*)v + key_start(s, s.v, matrix) * 2;
  const unsigned queries = (unsigned)__cvta_generic_to_shared(shared), stages = queries + ROWS * PITCH;
  const int end = seen_keys(s, min(q0 + ROWS, s.queries) - 1), tiles = (end + KEYS - 1) / KEYS;

  auto copy_tile = [&](int tile) {
    const unsigned to = stages + (tile & 1) * STAGE;
    const int at = tile * KEYS;
    copy_rows<KEYS, HEAD>(to, keys + (long long)at * s.k.row * 2, s.keys - at, s.d, s.k.row);
    copy_rows<KEYS, HEAD_V>(to + K_BYTES, values + (long long)at * s.v.row * 2, s.keys - at, s.dv, s.v.row);
  };

  wait_for_inputs();
  const long long start = query_start(s, s.q, matrix) + (long long)q0 * s.q.row;
  copy_rows<ROWS, HEAD>(queries, (const char*)q + start * 2, s.queries - q0, s.d, s.q.row);
  if (tiles > 0) copy_tile(0);
  asm volatile("cp.async.commit_group;" ::: "memory");

  // Queries of this thread: `i` and `i + 8`.
  const int i = q0 + warp * 16 + (lane >> 2);
  const long long masked[2] = {mask_row(s, matrix, min(i, s.queries - 1)), mask_row(s, matrix, min(i + 8, s.queries - 1))};
  const int seen[2] = {seen_keys(s, i), seen_keys(s, i + 8)};
  float top[2] = {-inf_f32(), -inf_f32()}, sum[2] = {0, 0};
  float out[HEAD_V / 8][4];
#pragma unroll
  for (int j = 0; j < HEAD_V / 8; j++) {
#pragma unroll
    for (int e = 0; e < 4; e++) out[j][e] = 0;
  }

#pragma unroll 1
  for (int tile = 0; tile < tiles; tile++) {
    if (tile + 1 < tiles) copy_tile(tile + 1);
    asm volatile("cp.async.commit_group;" ::: "memory");
    asm volatile("cp.async.wait_group 1;" ::: "memory");
    __syncthreads();
    const unsigned stage = stages + (tile & 1) * STAGE;

    float x[KEYS / 8][4];
#pragma unroll
    for (int j = 0; j < KEYS / 8; j++) {
#pragma unroll
      for (int e = 0; e < 4; e++) x[j][e] = 0;
    }
#pragma unroll
    for (int c = 0; c < HEAD / 16; c++) {
      unsigned a[4];
      load_matrices<false>(a, queries + (warp * 16 + (lane & 15)) * PITCH + (2 * c + (lane >> 4)) * 16);
#pragma unroll
      for (int j = 0; j < KEYS / 16; j++) {
        unsigned b[4];
        const int row = j * 16 + (lane & 7) + ((lane >> 4) << 3);
        load_matrices<false>(b, stage + row * PITCH + (2 * c + ((lane >> 3) & 1)) * 16);
        multiply(x[2 * j], a, b[0], b[1]);
        multiply(x[2 * j + 1], a, b[2], b[3]);
      }
    }

    float most[2] = {top[0], top[1]};
#pragma unroll
    for (int j = 0; j < KEYS / 8; j++) {
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const int key = tile * KEYS + j * 8 + (lane & 3) * 2 + (e & 1), r = e >> 1;
        x[j][e] = key < seen[r] ? score(s, x[j][e], MASK_ARGUMENT, masked[r], key) : -inf_f32();
        most[r] = fmaxf(most[r], x[j][e]);
      }
    }
    float shrink[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
      most[r] = fmaxf(most[r], __shfl_xor_sync(~0u, most[r], 1));
      most[r] = fmaxf(most[r], __shfl_xor_sync(~0u, most[r], 2));
      shrink[r] = weight(top[r], most[r]);
      top[r] = most[r];
      sum[r] *= shrink[r];
    }
#pragma unroll
    for (int j = 0; j < KEYS / 8; j++) {
#pragma unroll
      for (int e = 0; e < 4; e++) {
        x[j][e] = weight(x[j][e], top[e >> 1]);
        sum[e >> 1] += x[j][e];
      }
    }
#pragma unroll
    for (int j = 0; j < HEAD_V / 8; j++) {
#pragma unroll
      for (int e = 0; e < 4; e++) out[j][e] *= shrink[e >> 1];
    }
#pragma unroll
    for (int c = 0; c < KEYS / 16; c++) {
      const unsigned a[4] = {pack<ELEMENT>(x[2 * c][0], x[2 * c][1]), pack<ELEMENT>(x[2 * c][2], x[2 * c][3]),
                             pack<ELEMENT>(x[2 * c + 1][0], x[2 * c + 1][1]), pack<ELEMENT>(x[2 * c + 1][2], x[2 * c + 1][3])};
#pragma unroll
      for (int j = 0; j < HEAD_V / 16; j++) {
        unsigned b[4];
        load_matrices<true>(b, stage + K_BYTES + (c * 16 + (lane & 15)) * PITCH_V + (2 * j + (lane >> 4)) * 16);
        multiply(out[2 * j], a, b[0], b[1]);
        multiply(out[2 * j + 1], a, b[2], b[3]);
      }
    }
    // The next copy overwrites this stage.
    __syncthreads();
  }
  asm volatile("cp.async.wait_group 0;" ::: "memory");
  let_dependents_start();

#pragma unroll
  for (int r = 0; r < 2; r++) {
    float all = sum[r];
    all += __shfl_xor_sync(~0u, all, 1);
    all += __shfl_xor_sync(~0u, all, 2);
    const float factor = all == 0 ? 0.0f : 1.0f / all;
    const int query = i + r * 8;
#pragma unroll
    for (int j = 0; j < HEAD_V / 8; j++) {
      const int column = j * 8 + (lane & 3) * 2;
      const float pair[2] = {out[j][2 * r] * factor, out[j][2 * r + 1] * factor};
      if (query < s.queries && column < s.dv) {
        store_floats<ELEMENT, 2>(pair, y, query_start(s, s.y, matrix) + (long long)query * s.y.row + column);
      }
    }
  }
}
