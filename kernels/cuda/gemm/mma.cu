// matmul.cuda.mma: products of matrices on tensor cores, sm_80 and up.
//
//   y[b, m, n] = epilogue(sum over k of a[b, m, k] * b[b, k, n])
//
// a is stored [M][K], or [K][M] with A_ALONG_M; b is stored [N][K], or [K][N] with B_ALONG_N. The stored rows of both
// are a multiple of 16 bytes. A block computes a TILE_M x TILE_N part of one product, over all or a part of the depth.
// The tile's macros are those of mma.cuh; CONSTANT_B 1 says that b may be read before the kernel's predecessor has ended.
#include "mma.cuh"
#include "mma_split.cuh"

/// Batch axes, outermost first, with the elements from one matrix to the next; absent axes have size 1.
struct Shape {
  int m, n, k;
  int stages, per_block;   // stages of the whole depth, and of a block's part
  Divisor tiles_n, tiles;  // tiles along n, and of one product
  Divisor axis_1, axis_2;  // sizes of the middle and the inner batch axis
  int a_steps[3], b_steps[3];
};

/// A thread's copies of one operand's tile: a 16-byte chunk of every ROWS-th stored row.
/// TILE: the tile's size across the depth; ALONG: whether stored rows run across the depth.
template <int TILE, bool ALONG> struct Reader {
  static constexpr int ROW = (ALONG ? TILE : TILE_K) * BYTES;
  static constexpr int CHUNKS = ROW / 16;
  static constexpr int ROWS = THREADS / CHUNKS;
  static constexpr int COPIES = (ALONG ? TILE_K : TILE) / ROWS;
  static_assert(THREADS % CHUNKS == 0 && ROWS % 8 == 0 && (ALONG ? TILE_K : TILE) % ROWS == 0, "whole rows are copied");

  const char* from;  // the thread's first chunk of the next stage
  long long step;    // bytes between its rows
  int k;             // depth of its first element in the next stage
  int across;        // its first element's place across the depth
  unsigned to;       // the chunk's place in a tile

  __device__ __forceinline__ Reader(const char* matrix, int start, int depth, int stored_row) {
    const int row = threadIdx.x / CHUNKS, chunk = threadIdx.x % CHUNKS;
    to = place<ROW>(row, chunk);
    k = depth + (ALONG ? row : chunk * CHUNK);
    across = start + (ALONG ? chunk * CHUNK : row);
    const long long at = ALONG ? (long long)k * stored_row + across : (long long)across * stored_row + k;
    from = matrix + at * BYTES;
    step = (long long)ROWS * stored_row * BYTES;
  }

  /// Copies a stage and moves on; `size` and `all` bound the matrix across and along the depth.
  __device__ __forceinline__ void copy(const char* matrix, unsigned tile, int size, int all, int stored_row) {
#pragma unroll
    for (int i = 0; i < COPIES; i++) {
      const bool valid = ALONG ? across < size && k + i * ROWS < all : across + i * ROWS < size && k < all;
      copy_chunk(tile + to + i * ROWS * ROW, valid ? from + i * step : matrix, valid);
    }
    from += (ALONG ? (long long)TILE_K * stored_row : (long long)TILE_K) * BYTES;
    k += TILE_K;
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, 1)
gemm_mma(const void* a, const void* b, void* y, Shape p EPILOGUE_PARAMS) {
  const unsigned batch = blockIdx.x / p.tiles, tile = blockIdx.x - batch * p.tiles.value;
  const unsigned tile_m = tile / p.tiles_n;
  const int m0 = tile_m * TILE_M, n0 = (tile - tile_m * p.tiles_n.value) * TILE_N;
  const unsigned outer = batch / p.axis_2, inner = batch - outer * p.axis_2.value;
  const unsigned first = outer / p.axis_1, middle = outer - first * p.axis_1.value;
  const char* a_matrix = (const char*)a +
      ((long long)first * p.a_steps[0] + (long long)middle * p.a_steps[1] + (long long)inner * p.a_steps[2]) * BYTES;
  const char* b_matrix = (const char*)b +
      ((long long)first * p.b_steps[0] + (long long)middle * p.b_steps[1] + (long long)inner * p.b_steps[2]) * BYTES;
  const int start = blockIdx.z * p.per_block;
  const int count = min(p.stages - start, p.per_block);
  const int row_a = A_ALONG_M ? p.m : p.k, row_b = B_ALONG_N ? p.n : p.k;
  Reader<TILE_M, A_ALONG_M> read_a(a_matrix, m0, start * TILE_K, row_a);
  Reader<TILE_N, B_ALONG_N> read_b(b_matrix, n0, start * TILE_K, row_b);
  const unsigned base = first_stage();

  if (!CONSTANT_B) wait_for_inputs();
#pragma unroll
  for (int i = 0; i < AHEAD; i++) {
    if (i < count) read_b.copy(b_matrix, base + i * STAGE_BYTES + A_BYTES, p.n, p.k, row_b);
  }
  if (CONSTANT_B) wait_for_inputs();
#pragma unroll
  for (int i = 0; i < AHEAD; i++) {
    if (i < count) read_a.copy(a_matrix, base + i * STAGE_BYTES, p.m, p.k, row_a);
    end_copies();
  }
  let_dependents_start();

  Sums sums;
  accumulate(sums, base, count, [&](unsigned stage) {
    read_b.copy(b_matrix, stage + A_BYTES, p.n, p.k, row_b);
    read_a.copy(a_matrix, stage, p.m, p.k, row_a);
  });
  store_tile(sums, [&](float (&v)[VECTOR], int row, int column) {
    const int m = m0 + row, n = n0 + column;
    if (m >= p.m || n >= p.n) return;
    const long long at = ((long long)batch * p.m + m) * p.n + n;
#if PARTIAL
    const long long all = (long long)(gridDim.x / p.tiles) * p.m * p.n;
    store_floats<0, VECTOR>(v, y, blockIdx.z * all + at);
#else
    finish<VECTOR>(v, y, at, n, batch EPILOGUE_ARGS);
#endif
  });
}
