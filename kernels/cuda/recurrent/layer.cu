// recurrent.cuda/block and /cluster: all time steps in one launch, sm_80 and up; clusters sm_90 and up.
//
// BLOCKS blocks, a cluster if there are more than one, run SEQUENCES sequences of a cell. Each has a part of the units and
// keeps all of h in shared memory, twice: a step reads one copy and writes its part of the other in every block, so that
// one barrier a step suffices. A GRU whose reset gate multiplies h first fills a third copy with what it keeps, behind a
// barrier of its own.
//
//   HELD        1: the block's rows of r lie in shared memory; 0: they are read at each step
//   WARPS       warps of a block, at most
//   CONSTANT_R  1: r may be read before the kernel's predecessor has ended
#include "recurrent.cuh"

namespace recurrent {

extern __shared__ uint4 memory[];

constexpr bool STATE_C = KIND == 2;
constexpr int COPIES = TWO_PHASES ? 3 : 2;
constexpr int CONSTANTS = (BIAS ? SUMS : 0) + (PEEPHOLES ? 3 : 0);

__device__ __forceinline__ int block_rank() {
  unsigned rank = 0;
#if __CUDA_ARCH__ >= 900
  if constexpr (BLOCKS > 1) asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
#endif
  return (int)rank;
}

/// Waits for all threads that share states, and shows them what they wrote.
__device__ __forceinline__ void meet() {
#if __CUDA_ARCH__ >= 900
  if constexpr (BLOCKS > 1) {
    asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
    return;
  }
#endif
  __syncthreads();
}

/// Stores an element at the same place of every block's shared memory.
__device__ __forceinline__ void store_everywhere(char* to, float v) {
  if constexpr (BLOCKS == 1) {
    store_float(v, to, 0);
    return;
  }
#if __CUDA_ARCH__ >= 900
  const unsigned local = (unsigned)__cvta_generic_to_shared(to);
#pragma unroll
  for (int rank = 0; rank < BLOCKS; rank++) {
    unsigned remote;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(local), "r"(rank));
#if ELEMENT == 0
    asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(remote), "f"(v) : "memory");
#elif ELEMENT == 1
    asm volatile("st.shared::cluster.b16 [%0], %1;" ::"r"(remote), "h"(narrow<f16>(v).bits) : "memory");
#else
    asm volatile("st.shared::cluster.b16 [%0], %1;" ::"r"(remote), "h"(narrow<bf16>(v).bits) : "memory");
#endif
  }
#endif
}

/// A block's part of the work and of the shared memory. Rows of 16-byte chunks: `rows` of r, if they are held, are a
/// multiple of 128 bytes, and those of odd units exchange halves of 64 bytes; `copies` of h are half of 128 bytes more
/// than such a multiple. So the eight lanes of two rows meet all banks once.
struct Part {
  Sizes s;
  int d, first;           // the cell, the first sequence
  int first_unit, units;  // units of the block, a multiple of 8; those behind the last do not count
  int row, copy_row;      // bytes
  char *rows, *copies;
  float *c, *constants;   // [SEQUENCES][units], [CONSTANTS][units]

  __device__ __forceinline__ Part(const Sizes& sizes) : s(sizes) {
    d = blockIdx.y;
    first = blockIdx.x / BLOCKS * SEQUENCES;
    units = ((s.hidden + 7) / 8 + BLOCKS - 1) / BLOCKS * 8;
    first_unit = block_rank() * units;
    row = (s.hidden * BYTES + 127) / 128 * 128;
    copy_row = row + 64;
    rows = (char*)memory;
    copies = rows + (HELD ? (long long)GATES * units * row : 0);
    c = (float*)(copies + COPIES * SEQUENCES * copy_row);
    constants = c + (STATE_C ? SEQUENCES * units : 0);
  }

  __device__ __forceinline__ char* copy(int which) const { return copies + which * SEQUENCES * copy_row; }

  __device__ __forceinline__ static char* element(char* copy, int copy_row, int n, int j) {
    return copy + n * copy_row + j * BYTES;
  }

  __device__ __forceinline__ void hold(const void* r) const {
    const int chunks = (s.hidden + DEPTH - 1) / DEPTH * 4;
    for (int i = threadIdx.x; i < GATES * units * chunks; i += blockDim.x) {
      const int at = i / chunks, chunk = i - at * chunks, gate = at / units, u = at - gate * units;
      const long long from = ((long long)d * GATES + gate) * s.hidden + min(first_unit + u, s.hidden - 1);
      const uint4 v = load_chunk<WHOLE_R>((const char*)r + from * s.hidden * BYTES, chunk, s.hidden);
      *(uint4*)(rows + at * row + (chunk ^ (u & 1) << 2) * 16) = v;
    }
  }

  /// Fills states and constants; nothing is shown to other threads yet.
  __device__ __forceinline__ void begin(const void* bias, const void* initial_h, const void* initial_c,
                                        const void* peepholes) const {
    const int words = COPIES * SEQUENCES * copy_row / 4, in_copy = copy_row / 4;
    for (int i = threadIdx.x; i < words; i += blockDim.x) {
      u32 word = 0;
      const int n = i / in_copy, k = (i - n * in_copy) * (4 / BYTES);
      if (INITIAL_H && n < SEQUENCES && first + n < s.batch) {
        const long long from = ((long long)d * s.batch + first + n) * s.hidden + k;
#if ELEMENT == 0
        if (k < s.hidden) word = ((const u32*)initial_h)[from];
#else
        if (k < s.hidden) word = ((const u16*)initial_h)[from];
        if (k + 1 < s.hidden) word |= (u32)((const u16*)initial_h)[from + 1] << 16;
#endif
      }
      ((u32*)copies)[i] = word;
    }
    if (STATE_C) {
      for (int i = threadIdx.x; i < SEQUENCES * units; i += blockDim.x) {
        const int n = i / units, j = first_unit + i - n * units;
        const bool there = INITIAL_C && first + n < s.batch && j < s.hidden;
        c[i] = there ? load_float<ELEMENT>(initial_c, ((long long)d * s.batch + first + n) * s.hidden + j) : 0.0f;
      }
    }
    for (int i = threadIdx.x; i < CONSTANTS * units; i += blockDim.x) {
      const int which = i / units, j = min(first_unit + i - which * units, s.hidden - 1);
      if (BIAS && which < SUMS) {
        constants[i] = bias_of(bias, d, which, j, s.hidden);
      } else {
        const int p = which - (BIAS ? SUMS : 0);
        constants[i] = load_float<ELEMENT>(peepholes, ((long long)d * 3 + p) * s.hidden + j);
      }
    }
  }

  /// A phase of step `step` for 8 units from the block's unit `u0` on, by a warp.
  template <int PHASE>
  __device__ __forceinline__ void phase(int step, int u0, const int (&lengths_own)[OWN], const int* lengths, const void* x,
                                        const void* w, const void* r, void* y, const float* products) const {
    constexpr int OF_STATE = state_sums(PHASE), OF_INPUT = input_sums(PHASE);
    constexpr int OF_KEPT = PHASE == REST ? KEPT_SUMS : 0, OF_ALL = OF_STATE | OF_KEPT | OF_INPUT;
    const int lane = threadIdx.x & 31, u = u0 + (lane >> 2), j = first_unit + u, unit = min(j, s.hidden - 1);
    char *now = copy(step & 1), *next = copy(PHASE == KEEP ? 2 : ~step & 1);
    float ahead[SUMS][OWN];
    if (MADE_AHEAD) {
#pragma unroll
      for (int e = 0; e < OWN; e++) {
        const int b = first + own_sequence(lane, e);
        const bool there = step < lengths_own[e] && j < s.hidden;
        const int t = time_of(d, lengths_own[e], step);
        const long long at = (((long long)t * s.batch + b) * CELLS + d) * GATES * s.hidden + j;
#pragma unroll
        for (int g = 0; g < SUMS; g++) {
          ahead[g][e] = 0;
          if ((OF_INPUT >> g & 1) && there) ahead[g][e] = products[at + input_gate(g) * s.hidden];
        }
      }
    }
    Tile sums;
    sums.clear();
    if (!MADE_AHEAD) {
      constexpr int VECTORS = ELEMENT == 0 ? SEQUENCES : SEQUENCES / 8;
      int from[VECTORS];
#pragma unroll
      for (int n = 0; n < VECTORS; n++) {
        const int b = min(first + (ELEMENT == 0 ? n : n * 8 + (lane >> 2)), s.batch - 1);
        const int length = length_of(lengths, b, s.time);
        // Sequences that have ended read somewhere.
        const int t = step < length ? time_of(d, length, step) : 0;
        from[n] = (t * s.batch + b) * s.width;
      }
      sums.template multiply<OF_INPUT>(
          0, (s.width + DEPTH - 1) / DEPTH,
          [&](int sum, int chunk) {
            const long long at = ((long long)d * GATES + input_gate(sum)) * s.hidden + unit;
            return load_chunk<WHOLE_W>((const char*)w + at * s.width * BYTES, chunk, s.width);
          },
          [&](int n, int chunk) {
            return load_chunk<WHOLE_W>((const char*)x + (long long)from[n] * BYTES, chunk, s.width);
          });
    }
    if (step > 0 || INITIAL_H) {
      auto row_of = [&](int gate, int chunk) {
        if constexpr (HELD) {
          return *(const uint4*)(rows + (gate * units + u) * row + (chunk ^ (u & 1) << 2) * 16);
        } else {
          const long long at = ((long long)d * GATES + gate) * s.hidden + unit;
          return load_chunk<WHOLE_R>((const char*)r + at * s.hidden * BYTES, chunk, s.hidden);
        }
      };
      const int steps = (s.hidden + DEPTH - 1) / DEPTH;
      const int in_copy = ELEMENT == 0 ? 0 : (lane >> 2) * copy_row;
      constexpr int ACROSS = ELEMENT == 0 ? 1 : 8;
      const char* state = now + in_copy;
      sums.template multiply<OF_STATE>(0, steps, row_of, [&](int n, int chunk) {
        return *(const uint4*)(state + n * ACROSS * copy_row + chunk * 16);
      });
      if constexpr (PHASE == REST) {
        const char* kept = copy(2) + in_copy;
        sums.template multiply<OF_KEPT>(0, steps, row_of, [&](int n, int chunk) {
          return *(const uint4*)(kept + n * ACROSS * copy_row + chunk * 16);
        });
      }
    }
    float own[SUMS][OWN];
    sums.template share<OF_ALL>(own);
    float biases[SUMS], peep[3] = {0, 0, 0};
#pragma unroll
    for (int g = 0; g < SUMS; g++) biases[g] = BIAS ? constants[g * units + u] : 0.0f;
    if (PEEPHOLES) {
#pragma unroll
      for (int p = 0; p < 3; p++) peep[p] = constants[((BIAS ? SUMS : 0) + p) * units + u];
    }
#pragma unroll
    for (int e = 0; e < OWN; e++) {
      const int n = own_sequence(lane, e), b = first + n;
      if (n >= SEQUENCES || b >= s.batch || j >= s.hidden) continue;
      const bool counts = step < lengths_own[e];
      if (PHASE == KEEP && !counts) continue;
      const float h = load_float<ELEMENT>(element(now, copy_row, n, j), 0);
      float v = h;
      if (counts) {
        float total[SUMS];
#pragma unroll
        for (int g = 0; g < SUMS; g++) {
          total[g] = OF_ALL >> g & 1 ? own[g][e] + biases[g] + (MADE_AHEAD ? ahead[g][e] : 0.0f) : 0.0f;
        }
        float old = STATE_C ? c[n * units + u] : 0.0f;
        v = next_state<PHASE>(d, total, h, old, peep);
        if (STATE_C) c[n * units + u] = old;
        if (PHASE != KEEP) {
          const long long t = time_of(d, lengths_own[e], step);
          store_float(v, y, ((t * CELLS + d) * s.batch + b) * s.hidden + j);
        }
      }
      store_everywhere(element(next, copy_row, n, j), v);
    }
  }

  /// Final states after `steps` steps, and zeros behind the ends of sequences, for 8 units.
  __device__ __forceinline__ void end(int steps, int u0, const int (&lengths_own)[OWN], void* y) const {
    const int lane = threadIdx.x & 31, u = u0 + (lane >> 2), j = first_unit + u;
#pragma unroll
    for (int e = 0; e < OWN; e++) {
      const int n = own_sequence(lane, e), b = first + n;
      if (n >= SEQUENCES || b >= s.batch || j >= s.hidden) continue;
      const long long of_time = (long long)CELLS * s.batch * s.hidden, at = ((long long)d * s.batch + b) * s.hidden + j;
      for (int t = lengths_own[e]; t < s.time; t++) store_float(0, y, t * of_time + at);
      store_float(load_float<ELEMENT>(element(copy(steps & 1), copy_row, n, j), 0), y, s.time * of_time + at);
      if (STATE_C) store_float(c[n * units + u], y, (s.time + 1) * of_time + at);
    }
  }
};

}  // namespace recurrent

extern "C" __global__ void __launch_bounds__(WARPS * 32, 1)
recurrent_layer(const void* x, const void* w, const void* r, const void* bias, const int* lengths, const void* initial_h,
                const void* initial_c, const void* peepholes, void* y, const float* products, recurrent::Sizes s) {
  using namespace recurrent;
  const Part part(s);
  if (HELD && CONSTANT_R) part.hold(r);
  wait_for_inputs();
  if (HELD && !CONSTANT_R) part.hold(r);
  part.begin(bias, initial_h, initial_c, peepholes);

  const int warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  int own[OWN], steps = LENGTHS ? 0 : s.time;
#pragma unroll
  for (int e = 0; e < OWN; e++) {
    const int b = part.first + own_sequence(threadIdx.x & 31, e);
    own[e] = b < s.batch ? length_of(lengths, b, s.time) : 0;
  }
  if (LENGTHS) {
    for (int b = part.first; b < min(part.first + SEQUENCES, s.batch); b++) {
      steps = max(steps, length_of(lengths, b, s.time));
    }
  }
  const int end = min(part.units, s.hidden - part.first_unit);
  // No block writes to one that has not begun.
  meet();
  for (int step = 0; step < steps; step++) {
    if constexpr (TWO_PHASES) {
      for (int u = warp * 8; u < end; u += warps * 8) {
        part.phase<KEEP>(step, u, own, lengths, x, w, r, y, products);
      }
      meet();
    }
    for (int u = warp * 8; u < end; u += warps * 8) {
      part.phase<TWO_PHASES ? REST : WHOLE_STEP>(step, u, own, lengths, x, w, r, y, products);
    }
    meet();
  }
  let_dependents_start();
  for (int u = warp * 8; u < end; u += warps * 8) part.end(steps, u, own, y);
}
