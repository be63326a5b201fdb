// What the kernels of recurrent layers share: products of gates with the state, and what a cell makes of them.
//
//   x [T, B, I], w [D, G*H, I], r [D, G*H, H], bias [D, 2, G*H], lengths [B], h, c [D, B, H], peepholes [D, 3*H]
//   y [T + 1 or 2, D, B, H]: the state after each step, then the final h, then the final c
//
//   ELEMENT      0: f32, 1: f16, 2: bf16
//   KIND         0: plain, 1: GRU (update, reset, hidden), 2: LSTM (input, output, forget, cell)
//   CELLS, REVERSE              1 or 2 cells; 1: a single cell runs from last to first
//   LINEAR, COUPLED             GRU: the reset gate multiplies the product; LSTM: the forget gate is 1 - input gate
//   BIAS, LENGTHS, INITIAL_H, INITIAL_C, PEEPHOLES   1: the operand is there
//   MADE_AHEAD   1: the products with the input lie in scratch, f32 [T, B, D, G*H]; 0: they are made at each step
//   SEQUENCES    sequences of a tile: f32 1, 2, 4, 8 or 16; others 8, 16 or 32
//   WHOLE_R, WHOLE_W            1: rows of r and h (of w and x) are multiples of 16 bytes
//
// The prelude defines `gate_0`, `gate_1` and `gate_2`: a function of a clipped sum, of cell `d`.
//
// A warp makes the sums of 8 units for a tile of sequences. Lane l reads rows of unit l / 4, of which it takes every
// fourth chunk of 16 bytes, from chunk l % 4 on; so four lanes read 64 bytes that lie together. On tensor cores gates are
// paired: rows 0 to 7 of a 16 x 16 fragment are one gate of the units, rows 8 to 15 another, and the depth is taken in
// the order that makes a chunk of each lane two fragments. In the end lane l has all sums of unit l / 4 for its own
// sequences, the same with and without tensor cores.
#pragma once
#include "mma_numbers.cuh"

namespace recurrent {

struct Sizes {
  int time, batch, width, hidden;
};

constexpr int BYTES = ELEMENT == 0 ? 4 : 2;
constexpr int CHUNK = 16 / BYTES;  // elements
constexpr int DEPTH = 4 * CHUNK;   // elements of a row that a unit's four lanes take at once
constexpr int GATES = KIND == 0 ? 1 : KIND == 1 ? 3 : 4;
// A sum of each gate; a GRU's fourth is what the input gives the hidden gate, where the reset gate multiplies the rest.
constexpr int SUMS = KIND == 0 ? 1 : 4;
// Sequences whose sums a lane has in the end.
constexpr int OWN = SEQUENCES < 4 ? 1 : SEQUENCES / 4;
// Chunks whose loads overlap; registers hold no more where there are many sums.
constexpr int UNROLLED = ELEMENT == 0 && SEQUENCES > 8 ? 1 : 2;
// A step of a GRU whose reset gate multiplies h has two phases: what the gate keeps of h, and the rest.
constexpr int WHOLE_STEP = 0, KEEP = 1, REST = 2;
constexpr bool TWO_PHASES = KIND == 1 && !LINEAR;

static_assert(ELEMENT == 0 || SEQUENCES % 8 == 0, "fragments have 8 columns");

/// Sums to which `r` times h contributes, as bits; in phase REST without the hidden gate, which meets what was kept.
__device__ constexpr int state_sums(int phase) {
  return phase == KEEP ? 2 : phase == REST ? 1 : KIND == 0 ? 1 : KIND == 1 ? 7 : COUPLED ? 11 : 15;
}
constexpr int KEPT_SUMS = 4;
/// Sums to which `w` times x contributes.
__device__ constexpr int input_sums(int phase) {
  return phase == KEEP ? 2 : phase == REST ? 5 : KIND == 0 ? 1 : KIND == 1 ? 11 : COUPLED ? 11 : 15;
}
/// The gate whose rows of `w` a sum takes.
__device__ constexpr int input_gate(int sum) { return KIND == 1 && sum == 3 ? 2 : sum; }

__device__ __forceinline__ bool reversed(int d) { return REVERSE || d == 1; }

__device__ __forceinline__ int length_of(const int* lengths, int b, int time) {
  return LENGTHS ? max(0, min(lengths[b], time)) : time;
}

/// The time of a step of a sequence that is `length` long.
__device__ __forceinline__ int time_of(int d, int length, int step) {
  return reversed(d) ? length - 1 - step : step;
}

/// The lane's own sequence `e` within the tile, which counts no further than SEQUENCES where the tile has fewer than 4.
__device__ __forceinline__ int own_sequence(int lane, int e) {
  const int q = lane & 3;
  return ELEMENT == 0 ? q * OWN + e : (e >> 1) * 8 + q * 2 + (e & 1);
}

/// Chunk `chunk` of a row of `n` elements, zeros behind its end.
template <bool WHOLE> __device__ __forceinline__ uint4 load_chunk(const char* row, int chunk, int n) {
  const int k = chunk * CHUNK;
  if constexpr (WHOLE) {
    return k < n ? *(const uint4*)(row + chunk * 16) : make_uint4(0, 0, 0, 0);
  } else {
    u32 word[4] = {0, 0, 0, 0};
#pragma unroll
    for (int i = 0; i < CHUNK; i++) {
      if (k + i < n) {
        if constexpr (ELEMENT == 0) {
          word[i & 3] = ((const u32*)row)[k + i];
        } else {
          word[i >> 1] |= (u32)((const u16*)row)[k + i] << (16 * (i & 1));
        }
      }
    }
    return make_uint4(word[0], word[1], word[2], word[3]);
  }
}

__device__ __forceinline__ void multiply_fragment(float (&c)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  if constexpr (ELEMENT == 1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
  } else {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
  }
}

/// A warp's sums while they are added up.
struct Tile {
#if ELEMENT == 0
  float at[SUMS][SEQUENCES];
#else
  float at[(SUMS + 1) / 2][SEQUENCES / 8][4];
#endif

  __device__ __forceinline__ void clear() {
#if ELEMENT == 0
#pragma unroll
    for (int g = 0; g < SUMS; g++) {
#pragma unroll
      for (int n = 0; n < SEQUENCES; n++) at[g][n] = 0;
    }
#else
#pragma unroll
    for (int p = 0; p < (SUMS + 1) / 2; p++) {
#pragma unroll
      for (int n = 0; n < SEQUENCES / 8; n++) {
#pragma unroll
        for (int e = 0; e < 4; e++) at[p][n][e] = 0;
      }
    }
#endif
  }

  /// Adds the products of rows and vectors over depths `from` to `to`, counted in DEPTH elements, to the sums in MASK.
  /// `row(sum, chunk)` is a chunk of the row of the lane's unit, `vector(n, chunk)` one of sequence `n` of the tile;
  /// on tensor cores the caller's lane is asked for sequences n * 8 + lane / 4, by `n`.
  template <int MASK, class Row, class Vector>
  __device__ __forceinline__ void multiply(int from, int to, Row row, Vector vector) {
    const int q = threadIdx.x & 3;
#pragma unroll UNROLLED
    for (int i = from; i < to; i++) {
      const int chunk = i * 4 + q;
      uint4 a[SUMS + (SUMS & 1)];
#pragma unroll
      for (int g = 0; g < SUMS + (SUMS & 1); g++) {
        a[g] = MASK >> g & 1 ? row(g, chunk) : make_uint4(0, 0, 0, 0);
      }
#if ELEMENT == 0
#pragma unroll
      for (int n = 0; n < SEQUENCES; n++) {
        const uint4 b = vector(n, chunk);
#pragma unroll
        for (int g = 0; g < SUMS; g++) {
          if (!(MASK >> g & 1)) continue;
          float sum = at[g][n];
          sum = fmaf(__uint_as_float(a[g].x), __uint_as_float(b.x), sum);
          sum = fmaf(__uint_as_float(a[g].y), __uint_as_float(b.y), sum);
          sum = fmaf(__uint_as_float(a[g].z), __uint_as_float(b.z), sum);
          at[g][n] = fmaf(__uint_as_float(a[g].w), __uint_as_float(b.w), sum);
        }
      }
#else
#pragma unroll
      for (int n = 0; n < SEQUENCES / 8; n++) {
        const uint4 b = vector(n, chunk);
#pragma unroll
        for (int p = 0; p < (SUMS + 1) / 2; p++) {
          if (!(MASK >> 2 * p & 3)) continue;
          const uint4 low = a[2 * p], high = a[2 * p + 1];
          multiply_fragment(at[p][n], low.x, high.x, low.y, high.y, b.x, b.y);
          multiply_fragment(at[p][n], low.z, high.z, low.w, high.w, b.z, b.w);
        }
      }
#endif
    }
  }

  /// The sums in MASK of the lane's unit and own sequences. All lanes of the warp call it together.
  template <int MASK> __device__ __forceinline__ void share(float (&own)[SUMS][OWN]) {
#pragma unroll
    for (int g = 0; g < SUMS; g++) {
#if ELEMENT == 0
      if (MASK >> g & 1) add_lanes(at[g], own[g]);
#else
      if (MASK >> g & 1) {
#pragma unroll
        for (int e = 0; e < OWN; e++) own[g][e] = at[g >> 1][e >> 1][(g & 1) * 2 + (e & 1)];
      }
#endif
    }
  }

#if ELEMENT == 0
  /// Adds up over a unit's four lanes: each gives half of its sums away, twice, as long as there is more than one.
  static __device__ __forceinline__ void add_lanes(float (&sums)[SEQUENCES], float (&own)[OWN]) {
    const int q = threadIdx.x & 3;
    int count = SEQUENCES;
#pragma unroll
    for (int other = 2; other > 0; other >>= 1) {
      if (SEQUENCES >= 4) {
        count /= 2;
#pragma unroll
        for (int n = 0; n < SEQUENCES / 2; n++) {
          if (n >= count) continue;
          const float low = sums[n], high = sums[n + count];
          const float kept = q & other ? high : low, given = q & other ? low : high;
          sums[n] = kept + __shfl_xor_sync(~0u, given, other);
        }
      } else {
#pragma unroll
        for (int n = 0; n < SEQUENCES; n++) sums[n] += __shfl_xor_sync(~0u, sums[n], other);
      }
    }
    if constexpr (SEQUENCES >= 4) {
#pragma unroll
      for (int e = 0; e < OWN; e++) own[e] = sums[e];
    } else {
      own[0] = SEQUENCES == 2 && q == 1 ? sums[SEQUENCES - 1] : sums[0];
    }
  }
#endif
};

/// What the biases of unit `j` of cell `d` add to a sum.
__device__ __forceinline__ float bias_of(const void* bias, int d, int sum, int j, int hidden) {
  if (!BIAS || KIND == 1 && sum == 3 && !LINEAR) return 0;
  const int gate = input_gate(sum);
  const long long at = ((long long)d * 2 * GATES + gate) * hidden + j, state = at + (long long)GATES * hidden;
  if (KIND == 1 && LINEAR && sum == 2) return load_float<ELEMENT>(bias, state);
  if (KIND == 1 && LINEAR && sum == 3) return load_float<ELEMENT>(bias, at);
  return load_float<ELEMENT>(bias, at) + load_float<ELEMENT>(bias, state);
}

/// What a step makes of a unit's complete sums, its h and its c: the new h, or what the reset gate keeps of h. `peep`
/// are the weights from c to the input, output and forget gate.
template <int PHASE>
__device__ __forceinline__ float next_state(int d, const float (&sums)[SUMS], float h, float& c, const float (&peep)[3]) {
  if constexpr (KIND == 0) {
    return gate_0(d, sums[0]);
  } else if constexpr (KIND == 1) {
    if constexpr (PHASE == KEEP) return gate_0(d, sums[1]) * h;
    const float update = gate_0(d, sums[0]);
    float hidden = sums[2];
    if constexpr (PHASE == WHOLE_STEP) hidden = sums[3] + gate_0(d, sums[1]) * sums[2];
    return (1.0f - update) * gate_1(d, hidden) + update * h;
  } else {
    const float input = gate_0(d, sums[0] + (PEEPHOLES ? peep[0] * c : 0.0f));
    const float forget = COUPLED ? 1.0f - input : gate_0(d, sums[2] + (PEEPHOLES ? peep[2] * c : 0.0f));
    c = forget * c + input * gate_1(d, sums[3]);
    const float output = gate_0(d, sums[1] + (PEEPHOLES ? peep[1] * c : 0.0f));
    return output * gate_2(d, c);
  }
}

__device__ __forceinline__ void store_float(float v, void* to, long long at) {
  const float value[1] = {v};
  store_floats<ELEMENT, 1>(value, to, at);
}

}  // namespace recurrent
