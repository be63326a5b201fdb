// recurrent.cuda/step: a launch a time step, sm_80 and up.
//
// A block makes the sums of 8 units for SEQUENCES sequences of a cell; its WARPS warps share the depth. States are read
// where the step before wrote them: in y, where the final c also lies between steps. A GRU whose reset gate multiplies
// h takes two launches, `recurrent_keep` leaving what is kept of h in the place of the final h, which `recurrent_end`
// fills after the last step.
#include "recurrent.cuh"

namespace recurrent {

extern __shared__ float partial[];  // [WARPS][SUMS][OWN][32]

// Vectors of a tile that a lane multiplies.
constexpr int VECTORS = ELEMENT == 0 ? SEQUENCES : SEQUENCES / 8;

/// Adds the products of the rows of `unit` with vectors of `n` elements to the sums in MASK, over the warp's part of the
/// depth. `starts`: the first elements of the vectors.
template <int MASK, bool WHOLE, bool OF_INPUT>
__device__ __forceinline__ void add(Tile& sums, const void* weights, const void* vectors, const int (&starts)[VECTORS],
                                    int d, int unit, int hidden, int n) {
  const int all = (n + DEPTH - 1) / DEPTH, part = (all + WARPS - 1) / WARPS;
  const int from = (threadIdx.x >> 5) * part, to = min(all, from + part);
  sums.template multiply<MASK>(
      from, to,
      [&](int sum, int chunk) {
        const long long row = ((long long)d * GATES + (OF_INPUT ? input_gate(sum) : sum)) * hidden + unit;
        return load_chunk<WHOLE>((const char*)weights + row * n * BYTES, chunk, n);
      },
      [&](int i, int chunk) { return load_chunk<WHOLE>((const char*)vectors + (long long)starts[i] * BYTES, chunk, n); });
}

template <int PHASE>
__device__ __forceinline__ void step_of(const void* x, const void* w, const void* r, const void* bias, const int* lengths,
                                        const void* initial_h, const void* initial_c, const void* peepholes, void* y,
                                        const float* products, const Sizes& s, int step) {
  constexpr int OF_STATE = state_sums(PHASE) | (PHASE == REST ? KEPT_SUMS : 0), OF_INPUT = input_sums(PHASE);
  constexpr int MADE = OF_STATE | (MADE_AHEAD ? 0 : OF_INPUT);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int d = blockIdx.z, first_unit = blockIdx.x * 8, first = blockIdx.y * SEQUENCES;
  const int final_h = s.time * CELLS + d, final_c = final_h + CELLS;
  const bool known = step > 0 || INITIAL_H;
  let_dependents_start();
  wait_for_inputs();

  // Whether any sequence of the tile is as long as that.
  bool some = true;
  if (LENGTHS) {
    const int b = first + lane;
    some = __any_sync(~0u, lane < SEQUENCES && b < s.batch && step < length_of(lengths, min(b, s.batch - 1), s.time));
  }
  if (some) {
    Tile sums;
    sums.clear();
    const int unit = min(first_unit + (lane >> 2), s.hidden - 1);
    // Where the vectors of the sequences begin that the lane multiplies; sequences that do not count read somewhere.
    int from_state[VECTORS], from_input[VECTORS], from_kept[VECTORS];
#pragma unroll
    for (int n = 0; n < VECTORS; n++) {
      const int b = min(first + (ELEMENT == 0 ? n : n * 8 + (lane >> 2)), s.batch - 1);
      const int length = length_of(lengths, b, s.time);
      const int t = step < length ? time_of(d, length, step) : 0;
      const int before = step == 0 || step >= length ? 0 : time_of(d, length, step - 1);
      from_state[n] = ((step == 0 ? d : before * CELLS + d) * s.batch + b) * s.hidden;
      from_input[n] = (t * s.batch + b) * s.width;
      from_kept[n] = (final_h * s.batch + b) * s.hidden;
    }
    if (!MADE_AHEAD) add<OF_INPUT, WHOLE_W, true>(sums, w, x, from_input, d, unit, s.hidden, s.width);
    if (known) {
      const void* state = step == 0 ? initial_h : y;
      add<state_sums(PHASE), WHOLE_R, false>(sums, r, state, from_state, d, unit, s.hidden, s.hidden);
      if constexpr (PHASE == REST) add<KEPT_SUMS, WHOLE_R, false>(sums, r, y, from_kept, d, unit, s.hidden, s.hidden);
    }
    float own[SUMS][OWN];
    sums.template share<MADE>(own);
#pragma unroll
    for (int g = 0; g < SUMS; g++) {
      if (!(MADE >> g & 1)) continue;
#pragma unroll
      for (int e = 0; e < OWN; e++) partial[((warp * SUMS + g) * OWN + e) * 32 + lane] = own[g][e];
    }
  }
  __syncthreads();

  for (int i = threadIdx.x; i < 32 * OWN; i += WARPS * 32) {
    // Neighbouring threads have neighbouring units.
    const int from = (i & 7) * 4 + (i >> 3 & 3), e = i >> 5;
    const int j = first_unit + (from >> 2), in_tile = own_sequence(from, e), b = first + in_tile;
    if (j >= s.hidden || in_tile >= SEQUENCES || b >= s.batch) continue;
    const long long cell = ((long long)d * s.batch + b) * s.hidden + j;
    auto row = [&](int n) { return ((long long)n * s.batch + b) * s.hidden + j; };
    const int length = length_of(lengths, b, s.time);
    if (step >= length) {
      if (PHASE == KEEP) continue;
      store_float(0, y, row(step * CELLS + d));
      if (step > 0) continue;
      // A sequence without steps ends as it begins.
      if (!TWO_PHASES) store_float(INITIAL_H ? load_float<ELEMENT>(initial_h, cell) : 0.0f, y, row(final_h));
      if (KIND == 2) store_float(INITIAL_C ? load_float<ELEMENT>(initial_c, cell) : 0.0f, y, row(final_c));
      continue;
    }
    const int t = time_of(d, length, step);
    float total[SUMS];
#pragma unroll
    for (int g = 0; g < SUMS; g++) {
      total[g] = 0;
      if (!((OF_STATE | OF_INPUT) >> g & 1)) continue;
      if (MADE >> g & 1) {
#pragma unroll
        for (int n = 0; n < WARPS; n++) total[g] += partial[((n * SUMS + g) * OWN + e) * 32 + from];
      }
      if (MADE_AHEAD && (OF_INPUT >> g & 1)) {
        const long long at = ((long long)t * s.batch + b) * CELLS + d;
        total[g] += products[(at * GATES + input_gate(g)) * s.hidden + j];
      }
      total[g] += bias_of(bias, d, g, j, s.hidden);
    }
    float h = 0, c = 0, peep[3] = {0, 0, 0};
    if (KIND == 1 && known) {
      h = step == 0 ? load_float<ELEMENT>(initial_h, cell)
                    : load_float<ELEMENT>(y, row(time_of(d, length, step - 1) * CELLS + d));
    }
    if (KIND == 2) {
      if (step > 0) c = load_float<ELEMENT>(y, row(final_c));
      if (step == 0 && INITIAL_C) c = load_float<ELEMENT>(initial_c, cell);
      if (PEEPHOLES) {
#pragma unroll
        for (int p = 0; p < 3; p++) peep[p] = load_float<ELEMENT>(peepholes, ((long long)d * 3 + p) * s.hidden + j);
      }
    }
    const float next = next_state<PHASE>(d, total, h, c, peep);
    if (PHASE == KEEP) {
      store_float(next, y, row(final_h));
      continue;
    }
    store_float(next, y, row(t * CELLS + d));
    if (KIND == 2) store_float(c, y, row(final_c));
    if (!TWO_PHASES && step == length - 1) store_float(next, y, row(final_h));
  }
}

}  // namespace recurrent

#define RECURRENT_PARAMETERS                                                                                             \
  const void *x, const void *w, const void *r, const void *bias, const int *lengths, const void *initial_h,              \
      const void *initial_c, const void *peepholes, void *y, const float *products, recurrent::Sizes s, int step
#define RECURRENT_ARGUMENTS x, w, r, bias, lengths, initial_h, initial_c, peepholes, y, products, s, step

extern "C" __global__ void __launch_bounds__(WARPS * 32, 1) recurrent_step(RECURRENT_PARAMETERS) {
  recurrent::step_of<recurrent::TWO_PHASES ? recurrent::REST : recurrent::WHOLE_STEP>(RECURRENT_ARGUMENTS);
}

#if KIND == 1 && !LINEAR
extern "C" __global__ void __launch_bounds__(WARPS * 32, 1) recurrent_keep(RECURRENT_PARAMETERS) {
  recurrent::step_of<recurrent::KEEP>(RECURRENT_ARGUMENTS);
}

// One thread an element of the final h.
extern "C" __global__ void __launch_bounds__(256)
recurrent_end(const int* lengths, const void* initial_h, void* y, recurrent::Sizes s) {
  using namespace recurrent;
  wait_for_inputs();
  let_dependents_start();
  const int count = CELLS * s.batch * s.hidden, i = blockIdx.x * 256 + threadIdx.x;
  if (i >= count) return;
  const int d = i / (s.batch * s.hidden), b = i / s.hidden % s.batch, length = length_of(lengths, b, s.time);
  float h = INITIAL_H ? load_float<ELEMENT>(initial_h, i) : 0.0f;
  if (length > 0) h = load_float<ELEMENT>(y, (long long)time_of(d, length, length - 1) * count + i);
  store_float(h, y, (long long)s.time * count + i);
}
#endif
