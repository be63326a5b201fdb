// Products on tensor cores of sm_90a, fed by the tensor memory accelerator. A block has GROUPS groups of four warps
// that multiply and a thread that orders copies; it goes from tile to tile, the copies STAGES stages ahead.
//
//   TILE_M x TILE_N   outputs of a tile: rows x columns
//   GROUPS            groups of four warps, each with TILE_M / GROUPS rows
//   STAGES            stages in shared memory
//   CLUSTER           blocks, 1 or 2, whose tiles lie above each other and that share the copies of B
//   SPLIT             blocks that form a cluster, share the depth of one tile and add up their sums; then CLUSTER is 1, SLABS
//                     is 0, and there are as many clusters as tiles
//   BLOCKS            blocks of a multiprocessor
//   TRADE             1: the thread that orders copies is in a group of four warps, which leaves its registers to the others;
//                     0: in a single warp
//   ELEMENT           1: f16, 2: bf16, 0: f32, of which the tensor cores read 11 bits (`WHOLE`)
//   VECTOR            outputs that are stored at once, a divisor of the columns of the output; 16 bytes with SLABS
//   SLABS             0: outputs are stored as they are computed; else tiles of outputs that each group has in shared
//                     memory, from where they are copied
//   RESIDUAL          1: an operand of the epilogue is copied to where the outputs will be (`staged`), ahead of time
//   CONSTANT_B        1: B may be read before the kernel's predecessor has ended
//
// Rows of both operands run along the depth. A stage is 128 bytes of TILE_M rows of A, then of TILE_N rows of B, the
// 16-byte chunks of 8 rows exchanged as both the copies and the products have it. What lies outside an operand is zero.
//
//   orders copies:  wait for empty[stage], then copy ─▶ the copies' last byte completes full[stage]
//   multiplies:     wait for full[stage], multiply ─▶ each warp of all blocks of the cluster arrives at empty[stage]
//
// With SLABS, one more warp for each group moves outputs:
//
//   moves:          copy the residual to slabs ─▶ ready[slab]; wait for written[slab], copy it to the output
//   multiplies:     wait for ready[slab], turn the residual into outputs ─▶ each warp arrives at written[slab]
#include "mma_epilogue.cuh"

constexpr int WARPS = GROUPS * 4;
constexpr int MOVERS = SLABS > 0 ? GROUPS : 0;
constexpr int THREADS = WARPS * 32 + (TRADE ? 128 : 32 + MOVERS * 32);
constexpr int BYTES = ELEMENT == 0 ? 4 : 2;
constexpr int ROW = 128;
constexpr int TILE_K = ROW / BYTES;
constexpr int A_BYTES = TILE_M * ROW;
constexpr int B_BYTES = TILE_N * ROW;
constexpr int STAGE_BYTES = A_BYTES + B_BYTES;
constexpr int FRAGMENTS_M = TILE_M / GROUPS / 64;
constexpr int FRAGMENTS_N = TILE_N / 8;

// A group's outputs in shared memory: boxes of 128 bytes of all its rows, beside each other, exchanged as stages are.
constexpr int GROUP_ROWS = TILE_M / GROUPS;
constexpr int OUTPUT_BYTES = Stored<OUTPUT_TYPE>::BYTES;
constexpr int BOX_COLUMNS = ROW / OUTPUT_BYTES;
constexpr int BOX_BYTES = GROUP_ROWS * ROW;
constexpr int SLAB_BYTES = TILE_N / BOX_COLUMNS * BOX_BYTES;
constexpr int BARRIERS = STAGES * STAGE_BYTES + GROUPS * SLABS * SLAB_BYTES;

// The products read 11 bits of f32 out of shared memory and cut off the rest, so factors lose a part of their size, on
// average 2^-11 E[1/m]. With the mantissa m between 1 and 2 spread evenly over its logarithm E[1/m] is 1/(2 ln 2). Through
// a deep network that loss would add up, where rounding errors cancel; sums are brought back to their size instead.
constexpr float LOSS = 0.72134752f / 2048;
constexpr float WHOLE = ELEMENT == 0 ? 1 + 2 * LOSS + 3 * LOSS * LOSS : 1;

static_assert(TILE_M % (GROUPS * 64) == 0 && TILE_N % 32 == 0, "groups have 64 rows, and columns are exchanged in 32s");
static_assert(TILE_M <= 256 && TILE_N <= 256, "what a copy takes");
static_assert(CLUSTER == 1 || CLUSTER == 2 && TILE_N % 16 == 0, "half of B is a whole number of 8 rows");
static_assert(SPLIT == 1 || CLUSTER == 1 && SLABS == 0 && !TRADE, "blocks share one thing, and sums are kept in shared memory");
static_assert(SPLIT == 1 || STAGES * STAGE_BYTES >= TILE_M * TILE_N * 4, "sums take the place of stages");
static_assert(!TRADE || GROUPS * BLOCKS == 2, "groups whose registers are counted below");
static_assert(SLABS == 0 || TILE_N % BOX_COLUMNS == 0 && VECTOR * OUTPUT_BYTES == 16, "slabs are whole boxes of 16 bytes");
static_assert(SLABS > 0 || !RESIDUAL, "a residual is copied to slabs");
static_assert(VECTOR == 1 || VECTOR == 2 || VECTOR == 4 || VECTOR == 8, "vectors divide 8 columns");

/// A tensor map as the driver encodes it.
struct __align__(64) TensorMap {
  u64 words[16];
};

/// Where outputs go, and where the residual comes from.
#if SLABS > 0
struct Output {
  const TensorMap &y, &residual;
};
#if RESIDUAL
#define OUTPUT_PARAMS const __grid_constant__ TensorMap y, const __grid_constant__ TensorMap residual
#define OUTPUT Output{y, residual}
#else
#define OUTPUT_PARAMS const __grid_constant__ TensorMap y
#define OUTPUT Output{y, y}
#endif
#else
struct Output {
  void* y;
};
#define OUTPUT_PARAMS void* y
#define OUTPUT Output{y}
#endif

/// As `finish`, in shared memory at `place` where there are slabs.
__device__ __forceinline__ void finish_vector(float (&v)[VECTOR], const Output& output, void* place, long long at,
                                              int column, int image EPILOGUE_PARAMS) {
#if SLABS > 0
  finish_at<VECTOR>(v, place, place, 0, at, column, image EPILOGUE_ARGS);
#else
  finish<VECTOR>(v, output.y, at, column, image EPILOGUE_ARGS);
#endif
}

extern __shared__ __align__(1024) unsigned char shared[];

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

__device__ __forceinline__ unsigned shared_address(const void* p) {
  return (unsigned)__cvta_generic_to_shared(p);
}

/// Where stages begin; the host asks for 1024 bytes more than they and their barriers take.
__device__ __forceinline__ unsigned first_stage() {
  return (shared_address(shared) + 1023) & ~1023u;
}

__device__ __forceinline__ unsigned full_barrier(unsigned base, int stage) {
  return base + BARRIERS + stage * 16;
}

__device__ __forceinline__ unsigned empty_barrier(unsigned base, int stage) {
  return full_barrier(base, stage) + 8;
}

/// Completes when a slab can be written: its residual has come, or what it held has gone.
__device__ __forceinline__ unsigned ready_barrier(unsigned base, int group, int slab) {
  return base + BARRIERS + (STAGES + group * SLABS + slab) * 16;
}

/// Completes when a slab holds outputs.
__device__ __forceinline__ unsigned written_barrier(unsigned base, int group, int slab) {
  return ready_barrier(base, group, slab) + 8;
}

__device__ __forceinline__ unsigned slab_address(unsigned base, int group, int slab) {
  return base + STAGES * STAGE_BYTES + (group * SLABS + slab) * SLAB_BYTES;
}

__device__ __forceinline__ unsigned cluster_rank() {
  unsigned rank = 0;
  if constexpr (CLUSTER > 1) asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

/// Which part of the depth is this block's.
__device__ __forceinline__ unsigned split_rank() {
  unsigned rank = 0;
  if constexpr (SPLIT > 1) asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

/// Waits for all threads of the blocks that work together.
__device__ __forceinline__ void synchronize_cluster() {
  if constexpr (CLUSTER * SPLIT > 1) {
    asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
  } else {
    __syncthreads();
  }
}

/// Whether a barrier has completed the phase of this parity; sleeps a while before it says no.
__device__ __forceinline__ bool has_completed(unsigned barrier, unsigned parity) {
  unsigned done;
  asm volatile("{\n.reg .pred p;\n"
               "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
               "selp.u32 %0, 1, 0, p;\n}"
               : "=r"(done) : "r"(barrier), "r"(parity) : "memory");
  return done != 0;
}

/// Waits for the phase of this parity. Ends the kernel with an error after some seconds, where only a mistake can lead.
__device__ __forceinline__ void wait_barrier(unsigned barrier, unsigned parity) {
  if (has_completed(barrier, parity)) return;
  const long long begin = clock64();
#pragma unroll 1
  while (!has_completed(barrier, parity)) {
    if (clock64() - begin > (1ll << 34)) asm volatile("trap;");
  }
}

/// Arrives at a barrier of this block and says how many bytes the phase waits for.
__device__ __forceinline__ void expect_bytes(unsigned barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

/// Arrives at a barrier of this block.
__device__ __forceinline__ void arrive(unsigned barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/// Arrives at the barrier that lies at this address in every block of the cluster.
__device__ __forceinline__ void arrive_everywhere(unsigned barrier) {
  if constexpr (CLUSTER == 1) {
    arrive(barrier);
  } else {
#pragma unroll
    for (int rank = 0; rank < CLUSTER; rank++) {
      asm volatile("{\n.reg .b32 there;\n"
                   "mapa.shared::cluster.u32 there, %0, %1;\n"
                   "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [there];\n}"
                   ::"r"(barrier), "r"(rank) : "memory");
    }
  }
}

/// Makes the barriers and shows them to the copies and to the other blocks. All threads call it.
__device__ __forceinline__ void make_barriers(unsigned base) {
  if (threadIdx.x == 0) {
#pragma unroll 1
    for (int i = 0; i < STAGES; i++) {
      asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(full_barrier(base, i)) : "memory");
      asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(empty_barrier(base, i)), "n"(WARPS * CLUSTER)
                   : "memory");
    }
#pragma unroll 1
    for (int i = 0; i < GROUPS * SLABS; i++) {
      asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(ready_barrier(base, 0, i)) : "memory");
      asm volatile("mbarrier.init.shared::cta.b64 [%0], 4;" ::"r"(written_barrier(base, 0, i)) : "memory");
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async;" ::: "memory");
  }
  synchronize_cluster();
}

/// Copies a box of a tensor of three axes, innermost first.
__device__ __forceinline__ void copy_box(unsigned to, const TensorMap& map, unsigned barrier, int x, int y, int z) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];"
               ::"r"(to), "l"(&map), "r"(barrier), "r"(x), "r"(y), "r"(z) : "memory");
}

/// Copies a box from shared memory to a tensor of three axes; what lies outside is left out.
__device__ __forceinline__ void store_box(const TensorMap& map, unsigned from, int x, int y, int z) {
  asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [%0, {%2, %3, %4}], [%1];"
               ::"l"(&map), "r"(from), "r"(x), "r"(y), "r"(z) : "memory");
}

/// Copies the same to every block of the cluster, and completes bytes of the barriers at the same place there.
__device__ __forceinline__ void copy_box_everywhere(unsigned to, const TensorMap& map, unsigned barrier, int x, int y,
                                                    int z) {
  const u16 blocks = (1 << CLUSTER) - 1;
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
               "[%0], [%1, {%3, %4, %5}], [%2], %6;"
               ::"r"(to), "l"(&map), "r"(barrier), "r"(x), "r"(y), "r"(z), "h"(blocks) : "memory");
}

/// Copies B's part of a stage, TILE_N rows along axis AXIS, by all blocks of the cluster together.
template <int AXIS>
__device__ __forceinline__ void copy_columns(unsigned stage, const TensorMap& map, unsigned barrier, int x, int y, int z) {
  if constexpr (CLUSTER == 1) {
    copy_box(stage + A_BYTES, map, barrier, x, y, z);
  } else {
    const int part = cluster_rank() * (TILE_N / CLUSTER);
    (AXIS == 1 ? y : z) += part;
    copy_box_everywhere(stage + A_BYTES + part * ROW, map, barrier, x, y, z);
  }
}

/// Copies pixels of an image of several, channels innermost: TILE_M of them as windows over it begin, from one on, each
/// moved by the same number of rows and columns.
__device__ __forceinline__ void copy_pixels(unsigned to, const TensorMap& map, unsigned barrier, int channel, int column,
                                            int row, int image, int right, int down) {
  asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes "
               "[%0], [%1, {%3, %4, %5, %6}], [%2], {%7, %8};"
               ::"r"(to), "l"(&map), "r"(barrier), "r"(channel), "r"(column), "r"(row), "r"(image), "h"((u16)right),
               "h"((u16)down) : "memory");
}

/// Fetches a tensor map before it is used.
__device__ __forceinline__ void fetch_map(const TensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

/// Leaves registers of a group that orders copies to those that multiply: a thread has 168 of them in a block of three
/// groups, 128 in two blocks of two.
__device__ __forceinline__ void leave_registers() {
  if constexpr (TRADE) asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
}

__device__ __forceinline__ void take_registers() {
  if constexpr (TRADE) asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(GROUPS == 2 ? 232 : 216));
}

/// A place in a ring of SIZE stages or slabs: a stage, and the parity of its phase.
template <int SIZE> struct Ring {
  int stage;
  unsigned parity;

  __device__ __forceinline__ void advance() {
    if (++stage == SIZE) stage = 0, parity ^= 1;
  }
};

typedef Ring<STAGES> Place;

typedef float Sums[FRAGMENTS_M][FRAGMENTS_N][4];

/// Describes a tile of rows of 128 bytes, whose chunks are exchanged in groups of 8 rows, from a shared address on.
__device__ __forceinline__ u64 describe(unsigned address) {
  const u64 exchange_128 = 1ull << 62, group_step = (1024ull >> 4) << 32, unused = 1ull << 16;
  return exchange_128 | group_step | unused | ((address & 0x3ffff) >> 4);
}

template <int PENDING> __device__ __forceinline__ void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

/// Multiplies `count` stages, at least one, and gives each back when its products are done.
__device__ __forceinline__ void accumulate(Sums& sums, unsigned base, Place& place, int count) {
  const unsigned group = threadIdx.x >> 7;
  const bool first_lane = (threadIdx.x & 31) == 0;
  int before = 0;
#pragma unroll 1
  for (int i = 0; i < count; i++) {
    wait_barrier(full_barrier(base, place.stage), place.parity);
    __syncwarp();
    const unsigned stage = base + place.stage * STAGE_BYTES;
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
    for (int k = 0; k < ROW / 32; k++) {
#pragma unroll
      for (int j = 0; j < FRAGMENTS_M; j++) {
        const unsigned rows = (group * FRAGMENTS_M + j) * 64;
        multiply_group(sums[j], describe(stage + rows * ROW + k * 32), describe(stage + A_BYTES + k * 32),
                       k > 0 || i > 0);
      }
    }
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    wait_products<1>();
    if (i > 0 && first_lane) arrive_everywhere(empty_barrier(base, before));
    before = place.stage;
    place.advance();
  }
  wait_products<0>();
  if (first_lane) arrive_everywhere(empty_barrier(base, before));
}

__device__ __forceinline__ float other_lane(float x, int mask) {
  return __shfl_xor_sync(0xffffffffu, x, mask);
}

/// Four neighbouring lanes hold two columns each of four times 8 columns; afterwards each holds one of the four wholly.
__device__ __forceinline__ void exchange(float (&v)[8], int lane) {
  // Of the 4 x 4 pairs, lanes down and parts across, both steps turn blocks of 2 x 2.
  const bool odd = lane & 1, upper = lane & 2;
#pragma unroll
  for (int i = 0; i < 8; i += 4) {
#pragma unroll
    for (int e = i; e < i + 2; e++) {
      const float got = other_lane(odd ? v[e] : v[e + 2], 1);
      v[e] = odd ? got : v[e];
      v[e + 2] = odd ? v[e + 2] : got;
    }
  }
#pragma unroll
  for (int e = 0; e < 4; e++) {
    const float got = other_lane(upper ? v[e] : v[e + 4], 2);
    v[e] = upper ? got : v[e];
    v[e + 4] = upper ? v[e + 4] : got;
  }
}

/// Where a slab's vector lies, by its row and column within the group's.
__device__ __forceinline__ void* slab_place(unsigned char* slab, int row, int column) {
  const int box = column / BOX_COLUMNS, chunk = column % BOX_COLUMNS / VECTOR;
  return slab + box * BOX_BYTES + row * ROW + ((chunk ^ (row & 7)) << 4);
}

/// The warp's share of a tile is added up in units of 4 fragments of 8 rows; each is added up by one of the blocks that share
/// the depth.
__device__ __forceinline__ bool adds_up(int i, int half, int j, int warp) {
  return SPLIT == 1 || (unsigned)(((i * 2 + half) * (FRAGMENTS_N / 4) + j / 4) * 4 + warp) % SPLIT == split_rank();
}

/// Where a block leaves a thread's pair of sums.
__device__ __forceinline__ unsigned pair_address(unsigned base, int i, int half, int j) {
  return base + (((i * FRAGMENTS_N + j) * 2 + half) * WARPS * 32 + threadIdx.x) * 8;
}

/// Leaves the sums that other blocks add up in shared memory, in place of stages, and waits until all blocks have.
__device__ __forceinline__ void share_sums(const Sums& sums, unsigned base) {
  const int warp = (threadIdx.x >> 5) & 3;
  // No other warp still multiplies what is overwritten.
  asm volatile("bar.sync 1, %0;" ::"n"(WARPS * 32) : "memory");
#pragma unroll
  for (int i = 0; i < FRAGMENTS_M; i++) {
#pragma unroll
    for (int j = 0; j < FRAGMENTS_N; j++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        if (adds_up(i, half, j, warp)) continue;
        asm volatile("st.shared.v2.f32 [%0], {%1, %2};"
                     ::"r"(pair_address(base, i, half, j)), "f"(sums[i][j][2 * half]), "f"(sums[i][j][2 * half + 1])
                     : "memory");
      }
    }
  }
  synchronize_cluster();
}

__device__ __forceinline__ float2 whole(float2 pair) {
  if constexpr (ELEMENT == 0) return make_float2(pair.x * WHOLE, pair.y * WHOLE);
  return pair;
}

/// A pair of sums added up over the cluster in order of rank.
__device__ __forceinline__ float2 add_pairs(const Sums& sums, unsigned base, int i, int half, int j) {
  const float2 own = make_float2(sums[i][j][2 * half], sums[i][j][2 * half + 1]);
  if constexpr (SPLIT == 1) return whole(own);
  const unsigned local = pair_address(base, i, half, j), self = split_rank();
  float2 all = make_float2(0, 0);
#pragma unroll
  for (unsigned rank = 0; rank < SPLIT; rank++) {
    float2 part = own;
    if (rank != self) {
      asm volatile("{\n.reg .b32 there;\n"
                   "mapa.shared::cluster.u32 there, %2, %3;\n"
                   "ld.shared::cluster.v2.f32 {%0, %1}, [there];\n}"
                   : "=f"(part.x), "=f"(part.y) : "r"(local), "r"(rank) : "memory");
    }
    all.x += part.x;
    all.y += part.y;
  }
  return whole(all);
}

/// Hands each vector of the tile to `store(values, row, column, place)`, rows and columns counted within the tile, with its
/// place in the slab if there is one. Lanes of four store 64 bytes of 16-bit outputs together.
template <class Store>
__device__ __forceinline__ void store_tile(const Sums& sums, unsigned base, unsigned char* slab, Store store) {
  const int lane = threadIdx.x & 31, warp = (threadIdx.x >> 5) & 3, group = threadIdx.x >> 7;
#pragma unroll
  for (int i = 0; i < FRAGMENTS_M; i++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int row = (group * FRAGMENTS_M + i) * 64 + warp * 16 + half * 8 + (lane >> 2);
#pragma unroll
      for (int j = 0; j < FRAGMENTS_N; j += 4) {
        if (!adds_up(i, half, j, warp)) continue;
        float v[8];
#pragma unroll
        for (int f = 0; f < 4; f++) {
          const float2 pair = add_pairs(sums, base, i, half, j + f);
          v[2 * f] = pair.x;
          v[2 * f + 1] = pair.y;
        }
        exchange(v, lane);
#pragma unroll
        for (int e = 0; e < 8; e += VECTOR) {
          float part[VECTOR];
#pragma unroll
          for (int f = 0; f < VECTOR; f++) part[f] = v[e + f];
          const int column = (j + (lane & 3)) * 8 + e;
          store(part, row, column, SLABS > 0 ? slab_place(slab, row - group * GROUP_ROWS, column) : nullptr);
        }
      }
    }
  }
}

/// The first stage of the depth, and how many from there on are this block's: the host makes sure that there is one.
struct Part {
  int first, count;
};

template <class Job> __device__ __forceinline__ Part part_of_depth(const Job& job) {
  if constexpr (SPLIT == 1) return {0, job.p.stages};
  const int each = (job.p.stages + SPLIT - 1) / SPLIT, first = split_rank() * each;
  return {first, min(each, job.p.stages - first)};
}

/// Orders the copies of all tiles of a block. Weights (CONSTANT_B) are copied before the kernel waits for its predecessor.
template <class Job> __device__ __forceinline__ void order_copies(const Job& job, unsigned base, int first, int step) {
  // What is copied before the first stage is given back.
  const Part part = part_of_depth(job);
  const int ahead = min(STAGES, part.count);
  const auto start = job.tile(first);
  auto depth = job.begin(part.first);
  if (!CONSTANT_B) wait_for_inputs();
#pragma unroll 1
  for (int i = 0; i < ahead; i++) {
    expect_bytes(full_barrier(base, i), STAGE_BYTES);
    job.copy_b(base + i * STAGE_BYTES, full_barrier(base, i), start, depth);
    job.advance(depth);
  }
  if (CONSTANT_B) wait_for_inputs();
  let_dependents_start();
  // The first time round, every stage is empty.
  Place place = {0, 1};
#pragma unroll 1
  for (int tile = first; tile < job.p.tiles; tile += step) {
    const auto t = job.tile(tile);
    depth = job.begin(part.first);
#pragma unroll 1
    for (int i = 0; i < part.count; i++) {
      const unsigned stage = base + place.stage * STAGE_BYTES, full = full_barrier(base, place.stage);
      if (tile > first || i >= ahead) {
        wait_barrier(empty_barrier(base, place.stage), place.parity);
        expect_bytes(full, STAGE_BYTES);
        job.copy_b(stage, full, t, depth);
      }
      job.copy_a(stage, full, t, depth);
      job.advance(depth);
      place.advance();
    }
  }
}

#if SLABS > 0
/// Copies a group's part of the residual of a tile to a slab.
template <class Job>
__device__ __forceinline__ void copy_residual(const Job& job, unsigned base, int tile, int group, int slab) {
  const auto t = job.tile(tile);
  const unsigned barrier = ready_barrier(base, group, slab), to = slab_address(base, group, slab);
  expect_bytes(barrier, SLAB_BYTES);
#pragma unroll 1
  for (int box = 0; box < TILE_N / BOX_COLUMNS; box++) {
    copy_box(to + box * BOX_BYTES, job.output.residual, barrier, t.n + box * BOX_COLUMNS, t.m + group * GROUP_ROWS,
             job.batch(t));
  }
}

/// Moves a group's residuals and outputs of all tiles, SLABS tiles ahead of the products.
template <class Job>
__device__ __forceinline__ void move_outputs(const Job& job, unsigned base, int first, int step, int group) {
  wait_for_inputs();
  if constexpr (RESIDUAL) {
#pragma unroll 1
    for (int i = 0, tile = first; i < SLABS && tile < job.p.tiles; i++, tile += step) {
      copy_residual(job, base, tile, group, i);
    }
  }
  Ring<SLABS> place = {0, 0};
#pragma unroll 1
  for (int tile = first; tile < job.p.tiles; tile += step) {
    wait_barrier(written_barrier(base, group, place.stage), place.parity);
    const auto t = job.tile(tile);
    const unsigned from = slab_address(base, group, place.stage);
    const int m = t.m + group * GROUP_ROWS;
#pragma unroll 1
    for (int box = 0; box < TILE_N / BOX_COLUMNS; box++) {
      const int n = t.n + box * BOX_COLUMNS;
      if (job.inside(m, n)) store_box(job.output.y, from + box * BOX_BYTES, n, m, job.batch(t));
    }
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
    const int next = tile + SLABS * step;
    if (next < job.p.tiles) {
      asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
      if constexpr (RESIDUAL) {
        copy_residual(job, base, next, group, place.stage);
      } else {
        arrive(ready_barrier(base, group, place.stage));
      }
    }
    place.advance();
  }
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

/// Turns a tile's sums into outputs in the group's next slab.
template <class Store>
__device__ __forceinline__ void fill_slab(const Sums& sums, unsigned base, Ring<SLABS>& place, Store store) {
  const int group = threadIdx.x >> 7;
  // Without a residual, every slab is ready the first time round.
  wait_barrier(ready_barrier(base, group, place.stage), RESIDUAL ? place.parity : place.parity ^ 1);
  __syncwarp();
  store_tile(sums, base, shared + (slab_address(base, group, place.stage) - shared_address(shared)), store);
  // Shows what was written to the copies.
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncwarp();
  if ((threadIdx.x & 31) == 0) arrive(written_barrier(base, group, place.stage));
  place.advance();
}
#endif

/// What a block does: every `gridDim`-th tile. A job has
///   p.tiles, p.stages             tiles, those of a cluster counted as one, and stages of the depth
///   a, b                          tensor maps
///   tile(i)                       where tile i lies
///   begin(i), advance(depth)      stage i's place along the depth, and the next one's
///   copy_a, copy_b                copy their part of a stage: (stage, barrier, tile, depth)
///   store(tile, values, row, column, place)  stores VECTOR outputs
///   output, batch(tile)           maps of the outputs, and which product a tile belongs to
///   inside(row, column)           whether there is such an output
template <class Job> __device__ __forceinline__ void run(const Job& job) {
  const unsigned base = first_stage();
  const int first = blockIdx.x / (CLUSTER * SPLIT), step = gridDim.x / (CLUSTER * SPLIT);
  make_barriers(base);
  if (threadIdx.x >= WARPS * 32) {
    leave_registers();
    if (threadIdx.x == WARPS * 32) {
      fetch_map(job.a);
      fetch_map(job.b);
      order_copies(job, base, first, step);
    }
#if SLABS > 0
    const int mover = (int)(threadIdx.x >> 5) - WARPS - 1;
    if (mover >= 0 && mover < MOVERS && (threadIdx.x & 31) == 0) {
      fetch_map(job.output.y);
      fetch_map(job.output.residual);
      move_outputs(job, base, first, step, mover);
    }
#endif
    __syncwarp();
    // While the others share their sums.
    if constexpr (SPLIT > 1) synchronize_cluster();
  } else {
    take_registers();
    wait_for_inputs();
    let_dependents_start();
    Place place = {0, 0};
#if SLABS > 0
    Ring<SLABS> slab = {0, 0};
#endif
#pragma unroll 1
    for (int tile = first; tile < job.p.tiles; tile += step) {
      Sums sums;
      accumulate(sums, base, place, part_of_depth(job).count);
      const auto t = job.tile(tile);
      auto store = [&](float (&v)[VECTOR], int row, int column, void* at) { job.store(t, v, row, column, at); };
#if SLABS > 0
      fill_slab(sums, base, slab, store);
#else
      if constexpr (SPLIT > 1) share_sums(sums, base);
      store_tile(sums, base, nullptr, store);
#endif
    }
  }
  // No block leaves while another may copy to its shared memory, read it or arrive at its barriers.
  if constexpr (CLUSTER * SPLIT > 1) synchronize_cluster();
}

#endif
