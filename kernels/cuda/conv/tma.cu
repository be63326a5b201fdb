// conv.cuda.tma: convolutions over images as matrix products on tensor cores of sm_90a.
//
//   y[pixel, filter] = epilogue(sum over (r, s, c) of x[pixel's place + (r, s), c] * w[filter, (r, s, c)])
//
// x is NHWC, described by an im2col tensor map: a copy takes TILE_M pixels, as the window's first element meets them, and
// moves all of them by an element's place in the window; what lies outside the image is zero. w is [K][R][S][C]. C is a
// multiple of 16 bytes; a stage is a part of the channels at one place of the window. The macros are those of tma.cuh.
#include "tma.cuh"

struct Shape {
  int pixels, filters;
  int stages;               // of the depth: places of the window, each with all channels
  int tiles;                // CLUSTER of them above each other count as one
  int channels, window_width;
  int stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
  Divisor tiles_n;          // tiles along the filters
  Divisor plane, row;       // output pixels of an image and of a row
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
struct Tile {
  int m, n;
  int image, top, left;  // where the window of the first pixel begins
};

struct Depth {
  int c, place;     // the first channel, and the window's element
  int down, right;  // how far that lies from the first
};

/// Everything that a block reads and writes; the rest of its work is `run`'s.
template <class Finish> struct Job {
  const TensorMap &a, &b;
  const Shape& p;
  const Output output;
  Finish finish;

  __device__ __forceinline__ Tile tile(unsigned i) const {
    const unsigned line = i / p.tiles_n;
    Tile t;
    t.m = (line * CLUSTER + cluster_rank()) * TILE_M;
    t.n = (i - line * p.tiles_n.value) * TILE_N;
    const unsigned image = t.m / p.plane, pixel = t.m - image * p.plane.value;
    const unsigned above = pixel / p.row, before = pixel - above * p.row.value;
    t.image = image;
    t.top = (int)above * p.stride_h - p.pad_h;
    t.left = (int)before * p.stride_w - p.pad_w;
    return t;
  }
  __device__ __forceinline__ Depth begin(int stage) const {
    if constexpr (SPLIT == 1) return {0, 0, 0, 0};
    const int parts = (p.channels + TILE_K - 1) / TILE_K, place = stage / parts, row = place / p.window_width;
    return {(stage - place * parts) * TILE_K, place, row * p.dilation_h, (place - row * p.window_width) * p.dilation_w};
  }
  __device__ __forceinline__ void advance(Depth& d) const {
    d.c += TILE_K;
    if (d.c < p.channels) return;
    d.c = 0;
    d.place++;
    d.right += p.dilation_w;
    if (d.right == p.window_width * p.dilation_w) d.right = 0, d.down += p.dilation_h;
  }
  __device__ __forceinline__ void copy_a(unsigned stage, unsigned barrier, const Tile& t, const Depth& d) const {
    copy_pixels(stage, a, barrier, d.c, t.left, t.top, t.image, d.right, d.down);
  }
  __device__ __forceinline__ void copy_b(unsigned stage, unsigned barrier, const Tile& t, const Depth& d) const {
    copy_columns<2>(stage, b, barrier, d.c, d.place, t.n);
  }
  __device__ __forceinline__ int batch(const Tile&) const { return 0; }
  __device__ __forceinline__ bool inside(int m, int n) const { return m < p.pixels && n < p.filters; }
  __device__ __forceinline__ void store(const Tile& t, float (&v)[VECTOR], int row, int column, void* place) const {
    const int m = t.m + row, n = t.n + column;
    if (inside(m, n)) finish(v, place, (long long)m * p.filters + n, n, m);
  }
};
#endif

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
conv_tma(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w, OUTPUT_PARAMS,
         const __grid_constant__ Shape p EPILOGUE_PARAMS) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  const Output output = OUTPUT;
  auto end = [&](float (&v)[VECTOR], void* place, long long at, int n, int m) {
    finish_vector(v, output, place, at, n, m / p.plane EPILOGUE_ARGS);
  };
  run(Job<decltype(end)>{x, w, p, output, end});
#endif
}
