// matmul.cuda.simt: products of matrices on CUDA cores in f32, any sizes.
//
//   y[b, m, n] = epilogue(sum over k of a[b, m, k] * b[b, k, n])
//
// Elements of type ELEMENT, sums in f32. a is stored [M][K], or [K][M] with A_ALONG_M; b is stored [N][K], or [K][N] with
// B_ALONG_N. A block computes a TILE_M x TILE_N part of one product, over all or a part of the depth; a thread
// THREAD_M x THREAD_N of it, in groups of 4 that lie apart, so that neighbouring threads read neighbouring banks.
// TILE_K is the depth of a stage; PARTIAL 1: sums go to scratch, for `split_finish`; VECTOR outputs are stored at once,
// 1, 2 or 4. The prelude defines `batch_a` and `batch_b`, where the matrices of a batch begin.
#include "mma_epilogue.cuh"
#include "mma_split.cuh"

extern __shared__ __align__(128) unsigned char shared[];

struct Shape {
  int m, n, k, batches;
  int stages, per_block;   // stages of the whole depth, and of a block's part
  Divisor tiles_n, tiles;  // tiles along n, and of one product
};

constexpr int THREADS_N = TILE_N / THREAD_N;
constexpr int THREADS = TILE_M / THREAD_M * THREADS_N;
constexpr int GROUPS_M = THREAD_M / 4, GROUPS_N = THREAD_N / 4;
constexpr int PITCH_A = TILE_M + 4, PITCH_B = TILE_N + 4;
constexpr int LOADS_A = TILE_M * TILE_K / THREADS, LOADS_B = TILE_N * TILE_K / THREADS;
static_assert(TILE_M * TILE_K % THREADS == 0 && TILE_N * TILE_K % THREADS == 0, "the threads load whole tiles");

/// Where a thread's copy `i` goes: across and along the depth. Neighbouring threads read neighbouring elements.
template <int TILE, bool ALONG> __device__ __forceinline__ void spot(int i, int& across, int& k) {
  const int at = threadIdx.x + i * THREADS;
  across = ALONG ? at % TILE : at / TILE_K;
  k = ALONG ? at / TILE : at % TILE_K;
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
gemm_simt(const void* a, const void* b, void* y, Shape p EPILOGUE_PARAMS) {
  float* tiles_a = (float*)shared;                  // [2][TILE_K][PITCH_A]
  float* tiles_b = tiles_a + 2 * TILE_K * PITCH_A;  // [2][TILE_K][PITCH_B]
  const unsigned batch = blockIdx.x / p.tiles, tile = blockIdx.x - batch * p.tiles.value;
  const unsigned tile_m = tile / p.tiles_n;
  const int m0 = tile_m * TILE_M, n0 = (tile - tile_m * p.tiles_n.value) * TILE_N;
  const int start = blockIdx.z * p.per_block, count = min(p.stages - start, p.per_block);
  const long long from_a = batch_a(batch), from_b = batch_b(batch);
  float next_a[LOADS_A], next_b[LOADS_B];

  auto fetch = [&](int stage) {
#pragma unroll
    for (int i = 0; i < LOADS_A; i++) {
      int across, k;
      spot<TILE_M, A_ALONG_M>(i, across, k);
      const int m = m0 + across;
      k += (start + stage) * TILE_K;
      const long long at = A_ALONG_M ? (long long)k * p.m + m : (long long)m * p.k + k;
      next_a[i] = m < p.m && k < p.k ? load_float<ELEMENT>(a, from_a + at) : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < LOADS_B; i++) {
      int across, k;
      spot<TILE_N, B_ALONG_N>(i, across, k);
      const int n = n0 + across;
      k += (start + stage) * TILE_K;
      const long long at = B_ALONG_N ? (long long)k * p.n + n : (long long)n * p.k + k;
      next_b[i] = n < p.n && k < p.k ? load_float<ELEMENT>(b, from_b + at) : 0.0f;
    }
  };
  auto put = [&](int stage) {
    float* to_a = tiles_a + (stage & 1) * TILE_K * PITCH_A;
    float* to_b = tiles_b + (stage & 1) * TILE_K * PITCH_B;
    int across, k;
#pragma unroll
    for (int i = 0; i < LOADS_A; i++) {
      spot<TILE_M, A_ALONG_M>(i, across, k);
      to_a[k * PITCH_A + across] = next_a[i];
    }
#pragma unroll
    for (int i = 0; i < LOADS_B; i++) {
      spot<TILE_N, B_ALONG_N>(i, across, k);
      to_b[k * PITCH_B + across] = next_b[i];
    }
  };

  const int thread_m = threadIdx.x / THREADS_N * 4, thread_n = threadIdx.x % THREADS_N * 4;
  float sums[THREAD_M][THREAD_N];
#pragma unroll
  for (int i = 0; i < THREAD_M; i++) {
#pragma unroll
    for (int j = 0; j < THREAD_N; j++) sums[i][j] = 0;
  }
  wait_for_inputs();
  fetch(0);
  let_dependents_start();
  put(0);
  __syncthreads();
#pragma unroll 1
  for (int stage = 0; stage < count; stage++) {
    if (stage + 1 < count) fetch(stage + 1);
    const float* tile_a = tiles_a + (stage & 1) * TILE_K * PITCH_A + thread_m;
    const float* tile_b = tiles_b + (stage & 1) * TILE_K * PITCH_B + thread_n;
#pragma unroll
    for (int k = 0; k < TILE_K; k++) {
      float row_a[THREAD_M], row_b[THREAD_N];
#pragma unroll
      for (int g = 0; g < GROUPS_M; g++) {
        float4 f = *(const float4*)(tile_a + k * PITCH_A + g * (TILE_M / GROUPS_M));
        row_a[4 * g] = f.x, row_a[4 * g + 1] = f.y, row_a[4 * g + 2] = f.z, row_a[4 * g + 3] = f.w;
      }
#pragma unroll
      for (int g = 0; g < GROUPS_N; g++) {
        float4 f = *(const float4*)(tile_b + k * PITCH_B + g * (TILE_N / GROUPS_N));
        row_b[4 * g] = f.x, row_b[4 * g + 1] = f.y, row_b[4 * g + 2] = f.z, row_b[4 * g + 3] = f.w;
      }
#pragma unroll
      for (int i = 0; i < THREAD_M; i++) {
#pragma unroll
        for (int j = 0; j < THREAD_N; j++) sums[i][j] += row_a[i] * row_b[j];
      }
    }
    // The other half was last read before the barrier at the end of the stage before.
    if (stage + 1 < count) put(stage + 1);
    __syncthreads();
  }

#pragma unroll
  for (int i = 0; i < THREAD_M; i++) {
    const int m = m0 + i / 4 * (TILE_M / GROUPS_M) + thread_m + i % 4;
    if (m >= p.m) continue;
#pragma unroll
    for (int j = 0; j < THREAD_N; j += VECTOR) {
      const int n = n0 + j / 4 * (TILE_N / GROUPS_N) + thread_n + j % 4;
      if (n >= p.n) continue;
      float v[VECTOR];
#pragma unroll
      for (int e = 0; e < VECTOR; e++) v[e] = sums[i][j + e];
      const long long at = ((long long)batch * p.m + m) * p.n + n;
#if PARTIAL
      store_floats<0, VECTOR>(v, y, (long long)blockIdx.z * p.batches * p.m * p.n + at);
#else
      finish<VECTOR>(v, y, at, n, batch EPILOGUE_ARGS);
#endif
    }
  }
}
