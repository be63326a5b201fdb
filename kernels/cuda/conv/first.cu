// conv.cuda.first: convolution of images with few channels on tensor cores, sm_80 and up: first layers.
//
//   y[pixel, filter] = epilogue(sum over (c, r, s) of x[pixel's place + (r, s), c] * w[filter, (c, r, s)])
//
// x has any steps between channels, rows and columns (plain and NHWC alike) and any number of channels; w is
// [K][C][R][S], each filter padded with zeros to `row` elements, a multiple of 16 bytes; y is NHWC. A block holds the
// whole depth of its tile in STAGES stages, gathered element by element, then multiplies. INPUT is the type of x: ELEMENT,
// or 0 where elements of f32 are to be rounded to 16 bits.
#define A_ALONG_M 0
#define B_ALONG_N 0
#define CLUSTER 1
#define PARTIAL 0
#define WGMMA 0
#include "mma.cuh"

struct Shape {
  int height, width, channels, filters;
  int window_h, window_w;
  int stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
  int pixels, depth, row;
  int image_step, channel_step, row_step, column_step;  // elements of x
  Divisor plane, line, tiles_n;  // output pixels of an image and of a row; tiles along the filters
};

constexpr int CHUNKS = ROW_K / 16;
constexpr int ROWS = THREADS / CHUNKS;
constexpr int COPIES_A = TILE_M / ROWS;
constexpr int COPIES_B = TILE_N / ROWS;
static_assert(INPUT == ELEMENT || INPUT == 0, "an image is read as it is, or rounded");
static_assert(TILE_M % ROWS == 0 && TILE_N % ROWS == 0 && ROWS % 8 == 0, "the threads copy whole rows");

/// Element `at` of x in the 16 bits that are multiplied.
__device__ __forceinline__ unsigned element(const void* x, int at) {
  if constexpr (INPUT == ELEMENT) return ((const u16*)x)[at];
  const float value = ((const float*)x)[at];
  return ELEMENT == 1 ? narrow<f16>(value).bits : narrow<bf16>(value).bits;
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
conv_first(const void* x, const void* w, void* y, Shape p EPILOGUE_PARAMS) {
  const unsigned tile_m = blockIdx.x / p.tiles_n;
  const int m0 = tile_m * TILE_M, n0 = (blockIdx.x - tile_m * p.tiles_n.value) * TILE_N;
  const unsigned chunk = threadIdx.x % CHUNKS, row = threadIdx.x / CHUNKS;
  const unsigned base = shared_address(shared), to = place<ROW_K>(row, chunk);
#pragma unroll
  for (int stage = 0; stage < STAGES; stage++) {
    const int k = stage * TILE_K + chunk * CHUNK;
#pragma unroll
    for (int i = 0; i < COPIES_B; i++) {
      const int n = n0 + row + i * ROWS;
      const bool valid = n < p.filters && k < p.row;
      const char* from = (const char*)w + (valid ? (long long)n * p.row + k : 0) * BYTES;
      copy_chunk(base + stage * STAGE_BYTES + A_BYTES + to + i * ROWS * ROW_K, from, valid);
    }
  }
  end_copies();

  int top[COPIES_A], left[COPIES_A], origin[COPIES_A];
#pragma unroll
  for (int i = 0; i < COPIES_A; i++) {
    const int m = m0 + row + i * ROWS;
    const unsigned image = m / p.plane, pixel = m - image * p.plane.value;
    const unsigned line = pixel / p.line, column = pixel - line * p.line.value;
    top[i] = (int)line * p.stride_h - p.pad_h;
    left[i] = (int)column * p.stride_w - p.pad_w;
    origin[i] = (int)image * p.image_step + top[i] * p.row_step + left[i] * p.column_step;
    // Rows past the last pixel lie above every image, wherever the window's element is.
    if (m >= p.pixels) top[i] = -(1 << 30);
  }
  wait_for_inputs();
#pragma unroll 1
  for (int stage = 0; stage < STAGES; stage++) {
    int k = stage * TILE_K + chunk * CHUNK;
    int window = p.window_h * p.window_w;
    int c = k / window, s = k - c * window, r = s / p.window_w;
    s -= r * p.window_w;
    unsigned words[COPIES_A][4];
#pragma unroll
    for (int i = 0; i < COPIES_A; i++) {
#pragma unroll
      for (int e = 0; e < 4; e++) words[i][e] = 0;
    }
#pragma unroll
    for (int e = 0; e < CHUNK; e++) {
      const int down = r * p.dilation_h, right = s * p.dilation_w;
      const int offset = c * p.channel_step + down * p.row_step + right * p.column_step;
#pragma unroll
      for (int i = 0; i < COPIES_A; i++) {
        const bool valid = k + e < p.depth && (unsigned)(top[i] + down) < (unsigned)p.height &&
                           (unsigned)(left[i] + right) < (unsigned)p.width;
        if constexpr (BYTES == 2) {
          const unsigned value = valid ? element(x, origin[i] + offset) : 0;
          words[i][e / 2] |= value << (16 * (e & 1));
        } else {
          words[i][e & 3] = valid ? ((const unsigned*)x)[origin[i] + offset] : 0;
        }
      }
      if (++s == p.window_w) {
        s = 0;
        if (++r == p.window_h) r = 0, c++;
      }
    }
#pragma unroll
    for (int i = 0; i < COPIES_A; i++) {
      *(uint4*)(shared + stage * STAGE_BYTES + to + i * ROWS * ROW_K) =
          make_uint4(words[i][0], words[i][1], words[i][2], words[i][3]);
    }
  }
  let_dependents_start();
  wait_copies<0>();
  __syncthreads();

  Sums sums;
#pragma unroll
  for (int i = 0; i < FRAGMENTS_M; i++) {
#pragma unroll
    for (int j = 0; j < FRAGMENTS_N; j++) {
#pragma unroll
      for (int e = 0; e < 4; e++) sums[i][j][e] = 0;
    }
  }
#pragma unroll 1
  for (int stage = 0; stage < STAGES; stage++) multiply_stage(sums, base + stage * STAGE_BYTES);
  __syncthreads();

  store_tile(sums, [&](float (&v)[VECTOR], int row, int column) {
    const int m = m0 + row, n = n0 + column;
    if (m >= p.pixels || n >= p.filters) return;
    finish<VECTOR>(v, y, (long long)m * p.filters + n, n, m / p.plane EPILOGUE_ARGS);
  });
}
