// conv.cuda.mma: convolution over images as a matrix product on tensor cores, sm_80 and up.
//
//   y[pixel, filter] = epilogue(sum over (r, s, c) of x[pixel's place + (r, s), c] * w[filter, (r, s, c)])
//
// x is NHWC with C a multiple of 8 (16-bit) or 4 (f32), w is [K][R][S][C], y is NHWC. A block computes TILE_M pixels of
// TILE_N filters, over all or a part of the depth R*S*C; pixels are gathered by 16-byte asynchronous copies that write
// zeros where the window leaves the image. The tile's macros are those of mma.cuh; POINTWISE 1 is for windows of one
// element without padding. Weights of the first stages are fetched before the kernel waits for its predecessor.
#define A_ALONG_M 0
#define B_ALONG_N 0
#include "mma.cuh"
#include "mma_split.cuh"

struct Shape {
  int height, width, channels, filters;
  int window_width;
  int stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
  int pixels, depth;         // of the product: images * output height * output width; R * S * C
  int stages, per_block;     // stages of the whole depth, and of a block's part
  int step_r, step_s, step_c;  // TILE_K as rows, columns and channels of the window
  Divisor plane, row, tiles_n;  // output pixels of an image and of a row; tiles along the filters
};

constexpr int CHUNKS = ROW_K / 16;
constexpr int ROWS = THREADS / CHUNKS;
constexpr int COPIES_A = TILE_M / ROWS;
constexpr int COPIES_B = TILE_N / ROWS;
static_assert(TILE_M % ROWS == 0 && TILE_N % ROWS == 0, "the threads copy whole rows");

/// Where a thread reads: its 16-byte chunk of every ROWS-th row of both tiles, moving along the depth.
struct Reader {
  const char *x, *w;
  int place[COPIES_A];             // element of x under the window's first element
  int top[COPIES_A], left[COPIES_A];  // that element's row and column
  int filter[COPIES_B];            // element of w where the filter begins
  int k_a, r, s, c;                // depth of the next copy of A, and what it is in the window
  int k_b;                         // depth of the next copy of B
  unsigned to;                     // the chunk's place in a tile
};

__device__ __forceinline__ void copy_b(Reader& t, const Shape& p, unsigned stage) {
#pragma unroll
  for (int i = 0; i < COPIES_B; i++) {
    bool valid = t.filter[i] >= 0 && t.k_b < p.depth;
    const char* from = t.w + (long long)(valid ? t.filter[i] + t.k_b : 0) * BYTES;
    copy_chunk(stage + A_BYTES + t.to + i * ROWS * ROW_K, from, valid);
  }
  t.k_b += TILE_K;
}

__device__ __forceinline__ void copy_a(Reader& t, const Shape& p, unsigned stage) {
#if POINTWISE
#pragma unroll
  for (int i = 0; i < COPIES_A; i++) {
    bool valid = t.top[i] >= 0 && t.k_a < p.depth;
    copy_chunk(stage + t.to + i * ROWS * ROW_K, t.x + (long long)(valid ? t.place[i] + t.k_a : 0) * BYTES, valid);
  }
#else
  const int down = t.r * p.dilation_h, right = t.s * p.dilation_w;
  const int offset = (down * p.width + right) * p.channels + t.c;
#pragma unroll
  for (int i = 0; i < COPIES_A; i++) {
    bool valid = (unsigned)(t.top[i] + down) < (unsigned)p.height && (unsigned)(t.left[i] + right) < (unsigned)p.width &&
                 t.k_a < p.depth;
    copy_chunk(stage + t.to + i * ROWS * ROW_K, t.x + (long long)(valid ? t.place[i] + offset : 0) * BYTES, valid);
  }
  t.c += p.step_c;
  t.s += p.step_s;
  t.r += p.step_r;
  if (t.c >= p.channels) t.c -= p.channels, t.s++;
  if (t.s >= p.window_width) t.s -= p.window_width, t.r++;
#endif
  t.k_a += TILE_K;
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
conv_mma(const void* x, const void* w, void* y, Shape p EPILOGUE_PARAMS) {
  const unsigned tile_m = blockIdx.x / p.tiles_n;
  const int m0 = tile_m * TILE_M, n0 = (blockIdx.x - tile_m * p.tiles_n.value) * TILE_N;
  const int first = blockIdx.z * p.per_block;
  const int count = min(p.stages - first, p.per_block);

  Reader t;
  const unsigned chunk = threadIdx.x % CHUNKS, row = threadIdx.x / CHUNKS;
  // Rows of one thread are a multiple of 8 apart, so that their chunks move alike.
  static_assert(ROWS % 8 == 0, "");
  t.x = (const char*)x;
  t.w = (const char*)w;
  t.to = place<ROW_K>(row, chunk);
  t.k_a = t.k_b = first * TILE_K + chunk * CHUNK;
#pragma unroll
  for (int i = 0; i < COPIES_B; i++) {
    int n = n0 + row + i * ROWS;
    t.filter[i] = n < p.filters ? n * p.depth : -1;
  }
  const unsigned base = first_stage();
#pragma unroll
  for (int i = 0; i < AHEAD; i++) {
    if (i < count) copy_b(t, p, base + i * STAGE_BYTES);
  }
#if POINTWISE
  t.r = t.s = t.c = 0;
#else
  const int window = t.k_a / p.channels;
  t.c = t.k_a - window * p.channels;
  t.r = window / p.window_width;
  t.s = window - t.r * p.window_width;
#endif
#pragma unroll
  for (int i = 0; i < COPIES_A; i++) {
    const int m = m0 + row + i * ROWS;
    const unsigned image = m / p.plane, pixel = m - image * p.plane.value;
    const unsigned line = pixel / p.row, column = pixel - line * p.row.value;
    t.top[i] = (int)line * p.stride_h - p.pad_h;
    t.left[i] = (int)column * p.stride_w - p.pad_w;
    t.place[i] = (((int)image * p.height + t.top[i]) * p.width + t.left[i]) * p.channels;
    // Rows past the last pixel lie above every image, wherever the window's element is.
    if (m >= p.pixels) t.top[i] = -(1 << 30);
  }

  wait_for_inputs();
#pragma unroll
  for (int i = 0; i < AHEAD; i++) {
    if (i < count) copy_a(t, p, base + i * STAGE_BYTES);
    end_copies();
  }
  let_dependents_start();

  Sums sums;
  accumulate(sums, base, count, [&](unsigned stage) {
    copy_b(t, p, stage);
    copy_a(t, p, stage);
  });
  store_tile(sums, [&](float (&v)[VECTOR], int row, int column) {
    const int m = m0 + row, n = n0 + column;
    if (m >= p.pixels || n >= p.filters) return;
    const long long at = (long long)m * p.filters + n;
#if PARTIAL
    store_floats<0, VECTOR>(v, y, (long long)blockIdx.z * p.pixels * p.filters + at);
#else
    finish<VECTOR>(v, y, at, n, m / p.plane EPILOGUE_ARGS);
#endif
  });
}
