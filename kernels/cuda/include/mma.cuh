// A block's tile of a product on tensor cores, sm_80 and up: shared memory, fragments, the sum over blocks.
//
//   TILE_M x TILE_N     outputs of a block: rows x columns
//   TILE_K              depth of one stage
//   WARPS_M x WARPS_N   warps
//   STAGES              stages in shared memory
//   WGMMA               1: products of warp groups out of shared memory (sm_90a), by the prelude's `multiply_group`;
//                       16-bit elements along k in rows of 128 bytes, WARPS_M a multiple of 4, WARPS_N 1
//   ELEMENT             1: f16, 2: bf16, 0: f32 rounded to tf32
//   A_ALONG_M, B_ALONG_N  1: rows of the stage run along m (n), not along k; 16-bit elements only
//   CLUSTER             blocks that share the depth and add up through distributed shared memory (sm_90); 1: none
//   PARTIAL             1: the sums go to scratch in f32, for the kernel `split_finish`
//   VECTOR              outputs that are stored at once, a divisor of the columns of the output
//
//            k                 n
//         +------+        +---------+
//       m |  A   |      k |    B    |     stage = A tile, then B tile; rows of 64, 128 or 256 bytes, whose 16-byte
//         +------+        +---------+     chunks are exchanged so that ldmatrix meets no bank twice
#include "mma_epilogue.cuh"

constexpr int THREADS = WARPS_M * WARPS_N * 32;
constexpr int BYTES = ELEMENT == 0 ? 4 : 2;
constexpr int CHUNK = 16 / BYTES;
constexpr int WARP_M = TILE_M / WARPS_M;
constexpr int WARP_N = TILE_N / WARPS_N;
constexpr int ROW_K = TILE_K * BYTES;
constexpr int ROW_A = A_ALONG_M ? TILE_M * BYTES : ROW_K;
constexpr int ROW_B = B_ALONG_N ? TILE_N * BYTES : ROW_K;
constexpr int A_BYTES = TILE_M * ROW_K;
constexpr int B_BYTES = TILE_N * ROW_K;
constexpr int STAGE_BYTES = A_BYTES + B_BYTES;
constexpr int PITCH = TILE_N + 8;
constexpr int FRAGMENTS_M = WARP_M / 16;
constexpr int FRAGMENTS_N = WARP_N / 8;

static_assert(WARP_M % 16 == 0 && WARP_N % 16 == 0, "a warp's tile is made of 16 x 16 parts");
static_assert(ROW_K == 64 || ROW_K == 128, "a row is 64 or 128 bytes");
static_assert(TILE_N % VECTOR == 0 && VECTOR <= 8, "vectors divide the tile");
static_assert(ELEMENT != 0 || (!A_ALONG_M && !B_ALONG_N), "32-bit elements lie along k");
static_assert(!PARTIAL || CLUSTER == 1, "one way to split");
static_assert(!WGMMA || (ELEMENT != 0 && !A_ALONG_M && !B_ALONG_N && ROW_K == 128 && WARPS_M % 4 == 0 && WARPS_N == 1),
              "what warp groups take");

/// Stages that are copied ahead of the one that is multiplied.
constexpr int AHEAD = WGMMA ? STAGES - 2 : STAGES - 1;

extern __shared__ __align__(1024) unsigned char shared[];

__device__ __forceinline__ unsigned shared_address(const void* p) {
  return (unsigned)__cvta_generic_to_shared(p);
}

/// Where 16-byte chunk `chunk` of a row lies in its tile.
template <int ROW> __device__ __forceinline__ unsigned place(unsigned row, unsigned chunk) {
  static_assert(ROW == 64 || ROW % 128 == 0, "");
  if constexpr (ROW == 64) return row * ROW + ((chunk ^ ((row >> 1) & 3)) << 4);
  return row * ROW + ((chunk ^ (row & 7)) << 4);
}

/// Copies 16 bytes to shared memory, or writes zeros. `from` is valid in both cases.
__device__ __forceinline__ void copy_chunk(unsigned to, const void* from, bool valid) {
  int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

__device__ __forceinline__ void end_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

template <int PENDING> __device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

template <bool TRANSPOSED> __device__ __forceinline__ void load_matrices(unsigned (&r)[4], unsigned from) {
  if constexpr (TRANSPOSED) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(from) : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(from) : "memory");
  }
}

__device__ __forceinline__ void multiply_fragments(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  if constexpr (ELEMENT == 1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else if constexpr (ELEMENT == 2) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

__device__ __forceinline__ void round_to_tf32(unsigned (&r)[4]) {
#pragma unroll
  for (int i = 0; i < 4; i++) asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r[i]) : "f"(__uint_as_float(r[i])));
}

typedef float Sums[FRAGMENTS_M][FRAGMENTS_N][4];

/// Where stages begin.
__device__ __forceinline__ unsigned first_stage() {
  // Warp groups want tiles at multiples of 1024; the host asks for as much more memory.
  return WGMMA ? (shared_address(shared) + 1023) & ~1023u : shared_address(shared);
}

/// Adds the product of a stage. A row of 32 bytes along k is 16 elements of 16 bits or 8 of 32: the fragments of both
/// come out of the same ldmatrix.
__device__ __forceinline__ void multiply_stage(Sums& sums, unsigned stage) {
  const unsigned lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const unsigned row_m = (warp / WARPS_N) * WARP_M, row_n = (warp % WARPS_N) * WARP_N;
  const unsigned a_tile = stage, b_tile = stage + A_BYTES;
#pragma unroll
  for (int k = 0; k < ROW_K / 32; k++) {
    unsigned a[FRAGMENTS_M][4], b[FRAGMENTS_N / 2][4];
#pragma unroll
    for (int i = 0; i < FRAGMENTS_M; i++) {
      if constexpr (A_ALONG_M) {
        unsigned row = k * 16 + (lane & 7) + ((lane >> 4) << 3);
        unsigned chunk = (row_m + i * 16) / 8 + ((lane >> 3) & 1);
        load_matrices<true>(a[i], a_tile + place<ROW_A>(row, chunk));
      } else {
        load_matrices<false>(a[i], a_tile + place<ROW_A>(row_m + i * 16 + (lane & 15), 2 * k + (lane >> 4)));
      }
      if constexpr (ELEMENT == 0) round_to_tf32(a[i]);
    }
#pragma unroll
    for (int j = 0; j < FRAGMENTS_N / 2; j++) {
      if constexpr (B_ALONG_N) {
        unsigned row = k * 16 + (lane & 15);
        load_matrices<true>(b[j], b_tile + place<ROW_B>(row, (row_n + j * 16) / 8 + (lane >> 4)));
      } else {
        unsigned row = row_n + j * 16 + (lane & 7) + ((lane >> 4) << 3);
        load_matrices<false>(b[j], b_tile + place<ROW_B>(row, 2 * k + ((lane >> 3) & 1)));
      }
      if constexpr (ELEMENT == 0) round_to_tf32(b[j]);
    }
#pragma unroll
    for (int i = 0; i < FRAGMENTS_M; i++) {
#pragma unroll
      for (int j = 0; j < FRAGMENTS_N; j++) {
        multiply_fragments(sums[i][j], a[i], b[j / 2][(j & 1) * 2], b[j / 2][(j & 1) * 2 + 1]);
      }
    }
  }
}

#if WGMMA
/// Orders what copies wrote before what warp groups read.
__device__ __forceinline__ void show_copies() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

__device__ __forceinline__ void begin_products() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}

__device__ __forceinline__ void end_products() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}

template <int PENDING> __device__ __forceinline__ void wait_products() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
#endif
}

/// Describes a tile of rows of 128 bytes, whose chunks are exchanged in groups of 8 rows, from a shared address on.
__device__ __forceinline__ u64 describe(unsigned address) {
  const u64 exchange_128 = 1ull << 62, group_step = (1024ull >> 4) << 32, unused = 1ull << 16;
  return exchange_128 | group_step | unused | ((address & 0x3ffff) >> 4);
}

/// Starts the product of a stage, which is added to the sums unless it is the first.
__device__ __forceinline__ void start_stage(Sums& sums, unsigned stage, bool first) {
  const unsigned group = threadIdx.x >> 7;
  begin_products();
#pragma unroll
  for (int k = 0; k < ROW_K / 32; k++) {
#pragma unroll
    for (int i = 0; i < FRAGMENTS_M; i++) {
      const unsigned rows = (group * FRAGMENTS_M + i) * 64;
      multiply_group(sums[i], describe(stage + rows * ROW_K + k * 32), describe(stage + A_BYTES + k * 32),
                     k > 0 || !first);
    }
  }
  end_products();
}
#endif

/// Where fragment `i` of the calling warp begins.
__device__ __forceinline__ unsigned fragment_row(int i) {
  const unsigned warp = threadIdx.x >> 5;
  if constexpr (WGMMA) return ((warp >> 2) * FRAGMENTS_M + i) * 64 + (warp & 3) * 16;
  return (warp / WARPS_N) * WARP_M + i * 16;
}

/// Multiplies `count` stages, at least one. The first AHEAD of them are being copied, each in its group of copies; `copy(stage)` starts
/// the copy of the next one. All copies have been used by all threads when it returns.
template <class Copy> __device__ __forceinline__ void accumulate(Sums& sums, unsigned base, int count, Copy copy) {
  static_assert(AHEAD >= 1, "copies run ahead");
#if !WGMMA
#pragma unroll
  for (int i = 0; i < FRAGMENTS_M; i++) {
#pragma unroll
    for (int j = 0; j < FRAGMENTS_N; j++) {
#pragma unroll
      for (int e = 0; e < 4; e++) sums[i][j][e] = 0;
    }
  }
#endif
  int read = 0, write = AHEAD;
#pragma unroll 1
  for (int i = 0; i < count; i++) {
    // After the barrier stage i has landed for every thread, and every thread is done with the stage that is overwritten
    // next: i - 1, or i - 2 where products of i - 1 may still run.
    wait_copies<AHEAD - 1>();
#if WGMMA
    show_copies();
    __syncthreads();
    start_stage(sums, base + read * STAGE_BYTES, i == 0);
#else
    __syncthreads();
#endif
    if (i + AHEAD < count) copy(base + write * STAGE_BYTES);
    end_copies();
#if WGMMA
    wait_products<1>();
#else
    multiply_stage(sums, base + read * STAGE_BYTES);
#endif
    read = read + 1 == STAGES ? 0 : read + 1;
    write = write + 1 == STAGES ? 0 : write + 1;
  }
#if WGMMA
  wait_products<0>();
#endif
  wait_copies<0>();
  __syncthreads();
}

__device__ __forceinline__ unsigned cluster_rank() {
  unsigned rank = 0;
#if __CUDA_ARCH__ >= 900
  if constexpr (CLUSTER > 1) asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
#endif
  return rank;
}

/// Waits for all threads of the blocks that work together.
__device__ __forceinline__ void synchronize_cluster() {
#if __CUDA_ARCH__ >= 900
  if constexpr (CLUSTER > 1) {
    asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
    return;
  }
#endif
  __syncthreads();
}

/// Four floats from the shared memory of block `rank` of the cluster.
__device__ __forceinline__ float4 load_remote(unsigned local, unsigned rank) {
  float4 v = make_float4(0, 0, 0, 0);
#if __CUDA_ARCH__ >= 900
  unsigned remote;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(local), "r"(rank));
  asm volatile("ld.shared::cluster.v4.f32 {%0,%1,%2,%3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "r"(remote) : "memory");
#endif
  return v;
}

/// VECTOR sums of the staged tile from `index` on, added up over the cluster in order of rank.
__device__ __forceinline__ void read_sums(float (&v)[VECTOR], const float* staged, int index) {
  if constexpr (CLUSTER > 1) {
    // The staged tile is read in fours; a narrower vector picks its part.
    constexpr int READ = VECTOR < 4 ? 4 : VECTOR;
    float all[READ];
    const int first = VECTOR < 4 ? index & ~3 : index;
    unsigned local = shared_address(staged + first);
#pragma unroll
    for (int i = 0; i < READ; i++) all[i] = 0;
#pragma unroll
    for (int rank = 0; rank < CLUSTER; rank++) {
#pragma unroll
      for (int i = 0; i < READ; i += 4) {
        float4 f = load_remote(local + i * 4, rank);
        all[i] += f.x, all[i + 1] += f.y, all[i + 2] += f.z, all[i + 3] += f.w;
      }
    }
    if constexpr (VECTOR >= 4) {
#pragma unroll
      for (int i = 0; i < VECTOR; i++) v[i] = all[i];
    } else {
#pragma unroll
      for (int i = 0; i < VECTOR; i++) {
        int j = index - first + i;
        v[i] = j == 0 ? all[0] : j == 1 ? all[1] : j == 2 ? all[2] : all[3];
      }
    }
  } else {
    load_floats<0, VECTOR>(v, staged, index);
  }
}

/// Stages the sums in shared memory, adds them up over the cluster and hands each vector to
/// `store(values, row, column)`, rows and columns counted within the tile.
/// All copies have landed and been used by all threads of the block before.
template <class Store> __device__ __forceinline__ void store_tile(const Sums& sums, Store store) {
  float* staged = (float*)shared;
  const unsigned lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const unsigned column = (warp % WARPS_N) * WARP_N + (lane & 3) * 2;
#pragma unroll
  for (int i = 0; i < FRAGMENTS_M; i++) {
    float* row = staged + (fragment_row(i) + (lane >> 2)) * PITCH + column;
#pragma unroll
    for (int j = 0; j < FRAGMENTS_N; j++) {
      *(float2*)(row + j * 8) = make_float2(sums[i][j][0], sums[i][j][1]);
      *(float2*)(row + j * 8 + 8 * PITCH) = make_float2(sums[i][j][2], sums[i][j][3]);
    }
  }
  synchronize_cluster();
  constexpr int PER_ROW = TILE_N / VECTOR;
  for (int i = cluster_rank() * THREADS + threadIdx.x; i < TILE_M * PER_ROW; i += THREADS * CLUSTER) {
    float v[VECTOR];
    int r = i / PER_ROW, c = i % PER_ROW * VECTOR;
    read_sums(v, staged, r * PITCH + c);
    store(v, r, c);
  }
  // No block leaves while another may read its shared memory.
  if constexpr (CLUSTER > 1) synchronize_cluster();
}
