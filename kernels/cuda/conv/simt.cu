// conv.cuda.simt: convolution over images on CUDA cores in f32, any channels and groups.
//
//   y[pixel, filter] = epilogue(sum over (r, s, c) of x[pixel's place + (r, s), c] * w[filter, (r, s, c)])
//
// x is NHWC, w is [K][R][S][C/groups], y is NHWC; elements of type ELEMENT, sums in f32. A block computes TILE_M pixels
// of TILE_N filters of one group, over all or a part of the depth; a thread THREAD_M x THREAD_N of them, in groups of 4
// that lie apart, so that neighbouring threads read neighbouring banks.
//
//   TILE_K  depth of a stage      LOAD  elements read at once, a divisor of C/groups
//   PARTIAL 1: sums go to scratch, for `split_finish`      VECTOR  outputs stored at once, 1, 2 or 4
#include "mma_epilogue.cuh"
#include "mma_split.cuh"

extern __shared__ __align__(128) unsigned char shared[];

struct Shape {
  int height, width, channels, filters;  // channels and filters of all groups
  int stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
  int pixels, depth;            // depth of one group
  int group_filters;
  int parts, stages, per_block;  // parts of the depth; stages of the whole depth, and of a block's part
  Divisor group_channels, window_w;
  Divisor plane, row, tiles_n;  // output pixels of an image and of a row; tiles along a group's filters
};

constexpr int THREADS_N = TILE_N / THREAD_N;
constexpr int THREADS = TILE_M / THREAD_M * THREADS_N;
constexpr int GROUPS_M = THREAD_M / 4, GROUPS_N = THREAD_N / 4;
constexpr int SLOTS = TILE_K / LOAD;
constexpr int ROWS = THREADS / SLOTS;
constexpr int LOADS_A = TILE_M / ROWS, LOADS_B = TILE_N / ROWS;
constexpr int PITCH_A = TILE_M + 4, PITCH_B = TILE_N + 4;
static_assert(THREADS % SLOTS == 0 && TILE_M % ROWS == 0 && TILE_N % ROWS == 0, "the threads load whole rows");

extern "C" __global__ void __launch_bounds__(THREADS, 1)
conv_simt(const void* x, const void* w, void* y, Shape p EPILOGUE_PARAMS) {
  float* tiles_a = (float*)shared;                // [2][TILE_K][PITCH_A]
  float* tiles_b = tiles_a + 2 * TILE_K * PITCH_A;  // [2][TILE_K][PITCH_B]
  const unsigned tile_m = blockIdx.x / p.tiles_n;
  const int m0 = tile_m * TILE_M, n0 = (blockIdx.x - tile_m * p.tiles_n.value) * TILE_N;
  const int group = blockIdx.y, part = blockIdx.z;
  const int start = part * p.per_block, count = min(p.stages - start, p.per_block);

  const int slot = threadIdx.x % SLOTS, row = threadIdx.x / SLOTS;
  int top[LOADS_A], left[LOADS_A], origin[LOADS_A];
#pragma unroll
  for (int i = 0; i < LOADS_A; i++) {
    const int m = m0 + row + i * ROWS;
    const unsigned image = m / p.plane, pixel = m - image * p.plane.value;
    const unsigned line = pixel / p.row, column = pixel - line * p.row.value;
    top[i] = (int)line * p.stride_h - p.pad_h;
    left[i] = (int)column * p.stride_w - p.pad_w;
    origin[i] = (((int)image * p.height + top[i]) * p.width + left[i]) * p.channels + group * (int)p.group_channels.value;
    // Rows past the last pixel lie above every image, wherever the window's element is.
    if (m >= p.pixels) top[i] = -(1 << 30);
  }
  float next_a[LOADS_A][LOAD], next_b[LOADS_B][LOAD];

  auto fetch_b = [&](int stage) {
    const int k = (start + stage) * TILE_K + slot * LOAD;
#pragma unroll
    for (int i = 0; i < LOADS_B; i++) {
      const int n = n0 + row + i * ROWS;
#pragma unroll
      for (int e = 0; e < LOAD; e++) next_b[i][e] = 0;
      if (n < p.group_filters && k < p.depth) {
        load_floats<ELEMENT, LOAD>(next_b[i], w, (long long)(group * p.group_filters + n) * p.depth + k);
      }
    }
  };
  auto fetch_a = [&](int stage) {
    const int k = (start + stage) * TILE_K + slot * LOAD;
    const unsigned window = k / p.group_channels, c = k - window * p.group_channels.value;
    const unsigned r = window / p.window_w, s = window - r * p.window_w.value;
    const int down = r * p.dilation_h, right = s * p.dilation_w;
    const int offset = (down * p.width + right) * p.channels + c;
#pragma unroll
    for (int i = 0; i < LOADS_A; i++) {
#pragma unroll
      for (int e = 0; e < LOAD; e++) next_a[i][e] = 0;
      if (k < p.depth && (unsigned)(top[i] + down) < (unsigned)p.height &&
          (unsigned)(left[i] + right) < (unsigned)p.width) {
        load_floats<ELEMENT, LOAD>(next_a[i], x, (long long)origin[i] + offset);
      }
    }
  };
  auto put = [&](int stage) {
    float* a = tiles_a + (stage & 1) * TILE_K * PITCH_A;
    float* b = tiles_b + (stage & 1) * TILE_K * PITCH_B;
#pragma unroll
    for (int e = 0; e < LOAD; e++) {
#pragma unroll
      for (int i = 0; i < LOADS_A; i++) a[(slot * LOAD + e) * PITCH_A + row + i * ROWS] = next_a[i][e];
#pragma unroll
      for (int i = 0; i < LOADS_B; i++) b[(slot * LOAD + e) * PITCH_B + row + i * ROWS] = next_b[i][e];
    }
  };

  const int thread_m = threadIdx.x / THREADS_N * 4, thread_n = threadIdx.x % THREADS_N * 4;
  float sums[THREAD_M][THREAD_N];
#pragma unroll
  for (int i = 0; i < THREAD_M; i++) {
#pragma unroll
    for (int j = 0; j < THREAD_N; j++) sums[i][j] = 0;
  }
  fetch_b(0);
  wait_for_inputs();
  fetch_a(0);
  let_dependents_start();
  put(0);
  __syncthreads();
#pragma unroll 1
  for (int stage = 0; stage < count; stage++) {
    if (stage + 1 < count) {
      fetch_b(stage + 1);
      fetch_a(stage + 1);
    }
    const float* a = tiles_a + (stage & 1) * TILE_K * PITCH_A + thread_m;
    const float* b = tiles_b + (stage & 1) * TILE_K * PITCH_B + thread_n;
#pragma unroll
    for (int k = 0; k < TILE_K; k++) {
      float row_a[THREAD_M], row_b[THREAD_N];
#pragma unroll
      for (int g = 0; g < GROUPS_M; g++) {
        float4 f = *(const float4*)(a + k * PITCH_A + g * (TILE_M / GROUPS_M));
        row_a[4 * g] = f.x, row_a[4 * g + 1] = f.y, row_a[4 * g + 2] = f.z, row_a[4 * g + 3] = f.w;
      }
#pragma unroll
      for (int g = 0; g < GROUPS_N; g++) {
        float4 f = *(const float4*)(b + k * PITCH_B + g * (TILE_N / GROUPS_N));
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
    if (m >= p.pixels) continue;
#pragma unroll
    for (int j = 0; j < THREAD_N; j += VECTOR) {
      const int n = n0 + j / 4 * (TILE_N / GROUPS_N) + thread_n + j % 4;
      if (n >= p.group_filters) continue;
      float v[VECTOR];
#pragma unroll
      for (int e = 0; e < VECTOR; e++) v[e] = sums[i][j + e];
      const int column = group * p.group_filters + n;
      const long long at = (long long)m * p.filters + column;
#if PARTIAL
      store_floats<0, VECTOR>(v, y, (long long)part * p.pixels * p.filters + at);
#else
      finish<VECTOR>(v, y, at, column, m / p.plane EPILOGUE_ARGS);
#endif
    }
  }
}
