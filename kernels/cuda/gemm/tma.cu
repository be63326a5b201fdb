// matmul.cuda.tma and 1x1 windows of conv.cuda.tma: products of matrices on tensor cores of sm_90a.
//
//   y[b, m, n] = epilogue(sum over k of a[b, m, k] * b[b, n, k])
//
// Both operands are stored with rows along the depth, a multiple of 16 bytes, and described by tensor maps of depth, rows
// and matrices with boxes of a stage's part. The macros are those of tma.cuh; CONSTANT_B 1 says that b may be read before
// the kernel's predecessor has ended.
#include "tma.cuh"

struct Shape {
  int m, n;
  int stages;               // of the depth
  int tiles;                // of all products; CLUSTER of them above each other count as one
  int a_batches, b_batches; // 1 where every product has its own matrix, 0 where all share one
  Divisor tiles_n, product; // tiles along n, and of one product
  Divisor plane;            // rows of an image
};

/// Where a tile lies.
struct Tile {
  int batch, m, n;

  __device__ __forceinline__ Tile(const Shape& p, unsigned tile, unsigned rank) {
    batch = tile / p.product;
    const unsigned rest = tile - batch * p.product.value, line = rest / p.tiles_n;
    m = (line * CLUSTER + rank) * TILE_M;
    n = (rest - line * p.tiles_n.value) * TILE_N;
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
gemm_tma(const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b, void* y, Shape p EPILOGUE_PARAMS) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  const unsigned base = first_stage();
  const unsigned rank = cluster_rank();
  const int first = blockIdx.x / CLUSTER, step = gridDim.x / CLUSTER;
  make_barriers(base);

  if (threadIdx.x >= WARPS * 32) {
    leave_registers();
    if (threadIdx.x == WARPS * 32) {
      fetch_map(a);
      fetch_map(b);
      // What is copied before the first stage is given back.
      const int ahead = min(STAGES, p.stages);
      const Tile start(p, first, rank);
      if (!CONSTANT_B) wait_for_inputs();
#pragma unroll 1
      for (int i = 0; i < ahead; i++) {
        expect_bytes(full_barrier(base, i), STAGE_BYTES);
        copy_columns(base + i * STAGE_BYTES, b, full_barrier(base, i), i * TILE_K, start.n, start.batch * p.b_batches);
      }
      if (CONSTANT_B) wait_for_inputs();
      let_dependents_start();
      // The first time round, every stage is empty.
      Place place = {0, 1};
#pragma unroll 1
      for (int tile = first; tile < p.tiles; tile += step) {
        const Tile t(p, tile, rank);
#pragma unroll 1
        for (int i = 0; i < p.stages; i++) {
          const unsigned stage = base + place.stage * STAGE_BYTES, full = full_barrier(base, place.stage);
          if (tile > first || i >= ahead) {
            wait_barrier(empty_barrier(base, place.stage), place.parity);
            expect_bytes(full, STAGE_BYTES);
            copy_columns(stage, b, full, i * TILE_K, t.n, t.batch * p.b_batches);
          }
          copy_box(stage, a, full, i * TILE_K, t.m, t.batch * p.a_batches);
          place.advance();
        }
      }
    }
    __syncwarp();
  } else {
    take_registers();
    wait_for_inputs();
    let_dependents_start();
    Place place = {0, 0};
#pragma unroll 1
    for (int tile = first; tile < p.tiles; tile += step) {
      Sums sums;
      accumulate(sums, base, place, p.stages);
      const Tile t(p, tile, rank);
      store_tile(sums, [&](float (&v)[VECTOR], int row, int column) {
        const int m = t.m + row, n = t.n + column;
        if (m >= p.m || n >= p.n) return;
        const long long at = ((long long)t.batch * p.m + m) * p.n + n;
        finish<VECTOR>(v, y, at, n, m / p.plane EPILOGUE_ARGS);
      });
    }
  }
  // No block leaves while another may copy to its shared memory or arrive at its barriers.
  if constexpr (CLUSTER > 1) synchronize_cluster();
#endif
}
