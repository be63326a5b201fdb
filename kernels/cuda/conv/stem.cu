// conv.cuda.stem: convolution of images with few channels and windows of up to 8 columns on tensor cores, sm_80 and up.
//
//   y[pixel, filter] = epilogue(sum over (c, r, s) of x[c][pixel's place + (r, s)] * w[filter, (c, r, s)])
//
// x is plain, or NHWC with NHWC = 1, in the type INPUT; y is NHWC. A block keeps its TILE_N filters in shared memory and
// walks over tiles of TILE_H x TILE_W pixels. The part of x that a tile reads, its patch, lies in shared memory too, zeros
// where there is no image; the next patch arrives while one is multiplied. Where x is f32, INPUT = 0, it arrives as such,
// and is rounded when the patch before it is done with.
//
//   depth    (c, r) x PADDED columns, 4 or 8: 16 of them are a step. Two neighbouring columns are one word of the patch
//            and one register of a fragment.
//   patch    [c][ROWS][copy][ROW_PITCH]. A window begins at column ox * STRIDE_W + EXTRA, which is even: SHIFT = 1 makes it
//            begin one column before its first weight. With odd strides, every second window is read from a copy that
//            begins one column later.
//   columns  of EXTRA and SHIFT let chunks of LOAD elements of x be chunks of the patch
//   w        packed by the host in the order of the fragments' registers; column 2t + e of fragment j of four is filter
//            8t + 2j + e of 32, so that a thread ends up with 8 neighbouring outputs of a pixel
#define A_ALONG_M 0
#define B_ALONG_N 0
#define CLUSTER 1
#define PARTIAL 0
#define WGMMA 0
#define TILE_M (TILE_H * TILE_W)
#define TILE_K 32
#define STAGES 2
#define WARPS_N 1
// Stages are not what this kernel takes from there.
#pragma nv_diag_suppress 177
#include "mma.cuh"

struct Shape {
  int height, width, out_height, out_width, filters;
  int top, left;   // where the first patch begins, counted up and left from the image's first pixel
  unsigned tiles;  // of all images
  Divisor image_tiles, line_tiles;
};

constexpr int ROWS = (TILE_H - 1) * STRIDE_H + WINDOW_H;
constexpr int COLUMNS = EXTRA + (TILE_W - 1) * STRIDE_W + PADDED;
constexpr int CHUNKS = (COLUMNS + LOAD - 1) / LOAD;
constexpr int COPIES = STRIDE_W % 2 + 1;
constexpr int LINE = COPIES * ROW_PITCH;
constexpr int PATCH = CHANNELS * ROWS * LINE;
constexpr int WINDOW_ROWS = CHANNELS * WINDOW_H;
constexpr int STEPS = (WINDOW_ROWS * PADDED + 15) / 16;
constexpr int WEIGHT_BYTES = STEPS * TILE_N * 32;
constexpr bool WIDE = INPUT == 0;
/// Elements of a row of a patch before they are rounded.
constexpr int WIDE_ROW = (CHUNKS * LOAD + 1) / 2 * 2;
/// Threads of a multiprocessor: as many as registers allow.
constexpr int RESIDENT = VECTOR == 8 ? 512 : 384;

static_assert(ELEMENT != 0, "elements of 16 bits");
static_assert(INPUT == ELEMENT || WIDE && !NHWC && LOAD <= 4, "f32 comes plain, in chunks of up to 16 bytes");
static_assert(TILE_W % 8 == 0 && WARP_M % TILE_W == 0 && TILE_N % 32 == 0, "a warp has whole rows of the tile");
static_assert(SHIFT + WINDOW_W <= PADDED && EXTRA % 2 == 0, "windows begin at words");
static_assert(ROW_PITCH % 8 == 0 && ROW_PITCH >= CHUNKS * LOAD, "rows hold whole chunks");
static_assert(!NHWC || LOAD == 1, "channels lie between the columns");

/// Copies some bytes to shared memory, or writes zeros. `from` is valid in both cases.
template <int COUNT> __device__ __forceinline__ void copy_part(void* to, const void* from, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;"
               ::"r"(shared_address(to)), "l"(from), "n"(COUNT), "r"(valid ? COUNT : 0) : "memory");
}

struct Place { int image, row, column; };  // a tile's first pixel

__device__ __forceinline__ Place place_of(unsigned tile, const Shape& p) {
  const unsigned image = tile / p.image_tiles, rest = tile - image * p.image_tiles.value;
  const unsigned line = rest / p.line_tiles;
  return {(int)image, (int)line * TILE_H, (int)(rest - line * p.line_tiles.value) * TILE_W};
}

/// Elements of x as a patch receives them.
template <bool WIDE> struct Received { using Type = float; static constexpr int LINE = WIDE_ROW; };
template <> struct Received<false> { using Type = u16; static constexpr int LINE = ::LINE; };
using Element = Received<WIDE>::Type;

__device__ __forceinline__ void copy_patch(Element* patch, const Element* x, unsigned tile, const Shape& p) {
  constexpr int COUNT = CHANNELS * ROWS * CHUNKS;
  const Place at = place_of(tile, p);
  const int top = at.row * STRIDE_H - p.top, left = at.column * STRIDE_W - p.left;
  x += at.image * CHANNELS * p.height * p.width;
#pragma unroll 8
  for (int n = 0; n < (COUNT + THREADS - 1) / THREADS; n++) {
    const unsigned i = n * THREADS + threadIdx.x;
    if (COUNT % THREADS != 0 && i >= COUNT) break;
    const int c = NHWC ? i % CHANNELS : i / (CHUNKS * ROWS);
    const int row = NHWC ? i / (CHANNELS * CHUNKS) : i / CHUNKS % ROWS;
    const int column = NHWC ? i / CHANNELS % CHUNKS : i % CHUNKS * LOAD;
    const int down = top + row, right = left + column;
    const bool valid = (unsigned)down < (unsigned)p.height && (unsigned)right < (unsigned)p.width;
    const Element* from = x;
    if (valid) from += NHWC ? (down * p.width + right) * CHANNELS + c : (c * p.height + down) * p.width + right;
    Element* to = patch + (c * ROWS + row) * Received<WIDE>::LINE + column;
    if constexpr (LOAD * sizeof(Element) < 4) {
      *to = valid ? *from : (Element)0;
    } else {
      copy_part<LOAD * sizeof(Element)>(to, from, valid);
    }
  }
}

/// Rounds a patch, and fills the copies that begin one column later.
__device__ __forceinline__ void round_patch(u16* patch, const float* wide) {
  constexpr int WORDS = (COLUMNS + 1) / 2;
  for (int i = threadIdx.x; i < CHANNELS * ROWS * WORDS; i += THREADS) {
    const int row = i / WORDS, at = i % WORDS;
    const float* from = wide + row * WIDE_ROW + at * 2;
    const float2 pair = *(const float2*)from;
    unsigned* word = (unsigned*)(patch + row * LINE) + at;
    *word = pack<ELEMENT>(pair.x, pair.y);
    if (COPIES == 2 && at < (COLUMNS - 1) / 2) word[ROW_PITCH / 2] = pack<ELEMENT>(pair.y, from[2]);
  }
}

/// Fills the copies that begin one column later.
__device__ __forceinline__ void shift_patch(u16* patch) {
  constexpr int WORDS = (COLUMNS - 1) / 2;
  for (int i = threadIdx.x; i < CHANNELS * ROWS * WORDS; i += THREADS) {
    unsigned* word = (unsigned*)(patch + i / WORDS * LINE) + i % WORDS;
    word[ROW_PITCH / 2] = __byte_perm(word[0], word[1], 0x5432);
  }
}

/// Where row `row` of the window, of all channels, begins.
__device__ constexpr int window_row(int row) { return (row / WINDOW_H * ROWS + row % WINDOW_H) * LINE; }

/// The sums of the warp's pixels. `patch` is where the lane's first pixel finds its first word, `halves` which halves of
/// that word belong to the window: others may be NaN.
__device__ __forceinline__ void multiply_patch(Sums& sums, const u16* patch, unsigned halves) {
  const unsigned lane = threadIdx.x & 31;
#pragma unroll
  for (int i = 0; i < FRAGMENTS_M; i++) {
#pragma unroll
    for (int j = 0; j < FRAGMENTS_N; j++) {
#pragma unroll
      for (int e = 0; e < 4; e++) sums[i][j][e] = 0;
    }
  }
#pragma unroll
  for (int step = 0; step < STEPS; step++) {
    unsigned a[FRAGMENTS_M][4];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int row = (step * 16 + half * 8) / PADDED;
      int from = window_row(row);
      unsigned keep = row < WINDOW_ROWS ? halves : 0;
      // Of rows of 4, the upper lanes take the next.
      if (PADDED == 4 && row + 1 < WINDOW_ROWS) from += (lane >> 1 & 1) * (window_row(row + 1) - window_row(row));
      if (PADDED == 4 && row + 1 >= WINDOW_ROWS && lane & 2) keep = 0;
#pragma unroll
      for (int i = 0; i < FRAGMENTS_M; i++) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
          const int pixel = i * 16 + h * 8;
          const int to = pixel / TILE_W * STRIDE_H * LINE + pixel % TILE_W * STRIDE_W;
          a[i][half * 2 + h] = row < WINDOW_ROWS ? *(const unsigned*)(patch + from + to) & keep : 0;
        }
      }
    }
#pragma unroll
    for (int pair = 0; pair < FRAGMENTS_N / 2; pair++) {
      const uint4 b = ((const uint4*)shared)[(step * (FRAGMENTS_N / 2) + pair) * 32 + lane];
#pragma unroll
      for (int i = 0; i < FRAGMENTS_M; i++) {
        multiply_fragments(sums[i][pair * 2], a[i], b.x, b.y);
        multiply_fragments(sums[i][pair * 2 + 1], a[i], b.z, b.w);
      }
    }
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT / THREADS)
conv_stem(const void* x, const void* w, void* y, Shape p EPILOGUE_PARAMS) {
  const unsigned lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const char* weights = (const char*)w + (long long)blockIdx.y * WEIGHT_BYTES;
  for (int i = threadIdx.x * 16; i < WEIGHT_BYTES; i += THREADS * 16) copy_part<16>(shared + i, weights + i, true);

  // The lane's pixel of a fragment's first eight, and its columns of the window's PADDED.
  const int pixel = lane >> 2, column = (lane & (PADDED == 8 ? 3 : 1)) * 2;
  const int odd = STRIDE_W % 2 * (pixel & 1);
  const int first = warp * (WARP_M / TILE_W) * STRIDE_H * LINE + odd * ROW_PITCH + EXTRA + pixel * STRIDE_W - odd + column;
  unsigned halves = ~0u;
  if (column < SHIFT || column >= SHIFT + WINDOW_W) halves &= 0xffff0000u;
  if (column + 1 >= SHIFT + WINDOW_W) halves &= 0xffffu;

  u16* patch = (u16*)(shared + WEIGHT_BYTES);
  // Where the next patch arrives: beside this one, each in turn; f32 always at the same place.
  Element* next_patch = (Element*)(patch + PATCH);
  unsigned tile = blockIdx.x;
  wait_for_inputs();
  copy_patch(WIDE ? next_patch : (Element*)patch, (const Element*)x, tile, p);
  end_copies();
#pragma unroll 1
  while (true) {
    wait_copies<0>();
    // The patch has landed for every thread, and every thread is done with the one that is overwritten next.
    __syncthreads();
    if constexpr (WIDE) {
      round_patch(patch, (const float*)next_patch);
      __syncthreads();
    }
    const unsigned next = tile + gridDim.x;
    const bool last = next >= p.tiles;
    if (last) {
      let_dependents_start();
    } else {
      copy_patch(next_patch, (const Element*)x, next, p);
    }
    end_copies();
    if constexpr (COPIES == 2 && !WIDE) {
      shift_patch(patch);
      __syncthreads();
    }
    Sums sums;
    multiply_patch(sums, patch + first, halves);

    const Place at = place_of(tile, p);
    const int image_row = at.row + warp * (WARP_M / TILE_W), image_column = at.column + pixel;
    const int n0 = blockIdx.y * TILE_N + (lane & 3) * 8;
#pragma unroll
    for (int half = 0; half < FRAGMENTS_M * 2; half++) {
      const int oy = image_row + half * 8 / TILE_W, ox = image_column + half * 8 % TILE_W;
      if (oy >= p.out_height || ox >= p.out_width) continue;
      const int m = (at.image * p.out_height + oy) * p.out_width + ox;
#pragma unroll
      for (int e = 0; e < TILE_N / 4; e += VECTOR) {
        const int n = n0 + e / 8 * 32 + e % 8;
        if (n >= p.filters) continue;
        float v[VECTOR];
#pragma unroll
        for (int i = 0; i < VECTOR; i++) v[i] = sums[half / 2][(e + i) / 2][half % 2 * 2 + (e + i) % 2];
        finish<VECTOR>(v, y, (long long)m * p.filters + n, n, at.image EPILOGUE_ARGS);
      }
    }
    if (last) return;
    tile = next;
    if constexpr (!WIDE) {
      u16* landed = (u16*)next_patch;
      next_patch = (Element*)patch;
      patch = landed;
    }
  }
}
