// The second kernel of products split along their depth: adds the partial sums and applies the epilogue.
#include "mma_epilogue.cuh"

/// Scratch of a product split along its depth: `[splits][rows][columns]` in f32.
struct Split {
  int splits, vectors;  // parts; vectors of VECTOR outputs
  Divisor row, image;   // vectors of a row, rows of an image
};

// Compiling for sm_100a, the assembler of CUDA 13.0 would rather spill than take more than 32 registers.
#if __CUDA_ARCH__ >= 1000 && __CUDA_ARCH__ < 1200
#define FINISH_BOUNDS __launch_bounds__(256, 4)
#else
#define FINISH_BOUNDS __launch_bounds__(256)
#endif

extern "C" __global__ void FINISH_BOUNDS split_finish(const float* partial, void* y, Split p EPILOGUE_PARAMS) {
  wait_for_inputs();
  let_dependents_start();
  const unsigned i = blockIdx.x * 256 + threadIdx.x;
  if (i >= (unsigned)p.vectors) return;
  const unsigned row = i / p.row, column = (i - row * p.row.value) * VECTOR;
  const long long at = (long long)i * VECTOR, whole = (long long)p.vectors * VECTOR;
  float v[VECTOR];
#pragma unroll
  for (int j = 0; j < VECTOR; j++) v[j] = 0;
  for (int s = 0; s < p.splits; s++) {
    float part[VECTOR];
    load_floats<0, VECTOR>(part, partial, at + s * whole);
#pragma unroll
    for (int j = 0; j < VECTOR; j++) v[j] += part[j];
  }
  finish<VECTOR>(v, y, at, column, row / p.image EPILOGUE_ARGS);
}
