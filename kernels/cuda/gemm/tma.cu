// matmul.cuda.tma and 1x1 windows of conv.cuda.tma: products of matrices on tensor cores of sm_90a.
//
//   y[b, m, n] = epilogue(sum over k of a[b, m, k] * b[b, n, k])
//
// Both operands are stored with rows along the depth, a multiple of 16 bytes, and described by tensor maps of depth, rows
// and matrices with boxes of a stage's part. The macros are those of tma.cuh.
#include "tma.cuh"

struct Shape {
  int m, n;
  int stages;                // of the depth
  int tiles;                 // of all products; CLUSTER of them above each other count as one
  int a_batches, b_batches;  // 1 where every product has its own matrix, 0 where all share one
  Divisor tiles_n, product;  // tiles along n, and of one product
  Divisor plane;             // rows of an image
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
struct Tile {
  int batch, m, n;
};

/// Everything that a block reads and writes; the rest of its work is `run`'s.
template <class Finish> struct Job {
  const TensorMap &a, &b;
  const Shape& p;
  const Output output;
  Finish finish;

  __device__ __forceinline__ Tile tile(unsigned i) const {
    const unsigned batch = i / p.product, rest = i - batch * p.product.value, line = rest / p.tiles_n;
    return {(int)batch, (int)(line * CLUSTER + cluster_rank()) * TILE_M, (int)(rest - line * p.tiles_n.value) * TILE_N};
  }
  __device__ __forceinline__ int begin(int stage) const { return stage * TILE_K; }
  __device__ __forceinline__ void advance(int& k) const { k += TILE_K; }
  __device__ __forceinline__ void copy_a(unsigned stage, unsigned barrier, const Tile& t, int k) const {
    copy_box(stage, a, barrier, k, t.m, t.batch * p.a_batches);
  }
  __device__ __forceinline__ void copy_b(unsigned stage, unsigned barrier, const Tile& t, int k) const {
    copy_columns<1>(stage, b, barrier, k, t.n, t.batch * p.b_batches);
  }
  __device__ __forceinline__ int batch(const Tile& t) const { return t.batch; }
  __device__ __forceinline__ bool inside(int m, int n) const { return m < p.m && n < p.n; }
  __device__ __forceinline__ void store(const Tile& t, float (&v)[VECTOR], int row, int column, void* place) const {
    const int m = t.m + row, n = t.n + column;
    if (inside(m, n)) finish(v, place, ((long long)t.batch * p.m + m) * p.n + n, n, m);
  }
};
#endif

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
gemm_tma(const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b, OUTPUT_PARAMS,
         const __grid_constant__ Shape p EPILOGUE_PARAMS) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  const Output output = OUTPUT;
  auto end = [&](float (&v)[VECTOR], void* place, long long at, int n, int m) {
    finish_vector(v, output, place, at, n, m / p.plane EPILOGUE_ARGS);
  };
  run(Job<decltype(end)>{a, b, p, output, end});
#endif
}
