// conv.cuda.depthwise: one filter a channel over images, NHWC.
//
//   y[n, oy, ox, c] = epilogue(sum over (r, s) of x[n, oy * stride + r * dilation - pad, …, c] * w[r, s, c])
//
// w is [R][S][C]. A thread computes VECTOR channels of COLUMNS neighbouring outputs of a row, reading each input of
// that stretch once. WINDOW_H, WINDOW_W, STRIDE_W and DILATION_W are macros, so that all of it unrolls.
#include "mma_epilogue.cuh"

struct Shape {
  int height, width, channels;
  int stride_h, pad_h, pad_w, dilation_h;
  int out_height, out_width, threads;
  Divisor vectors, stretches, rows;  // vectors of the channels, stretches of a row, rows of an image
};

constexpr int SPAN = (COLUMNS - 1) * STRIDE_W + (WINDOW_W - 1) * DILATION_W + 1;

extern "C" __global__ void __launch_bounds__(128, 1)
conv_depthwise(const void* x, const void* w, void* y, Shape p EPILOGUE_PARAMS) {
  const unsigned index = blockIdx.x * 128 + threadIdx.x;
  if (index >= (unsigned)p.threads) {
    // A thread that has ended counts as having waited.
    return;
  }
  unsigned rest = index / p.vectors;
  const int c = (index - rest * p.vectors.value) * VECTOR;
  unsigned line = rest / p.stretches;
  const int first = (rest - line * p.stretches.value) * COLUMNS;
  const unsigned image = line / p.rows, oy = line - image * p.rows.value;
  const int top = (int)oy * p.stride_h - p.pad_h, left = first * STRIDE_W - p.pad_w;

  float sums[COLUMNS][VECTOR];
#pragma unroll
  for (int o = 0; o < COLUMNS; o++) {
#pragma unroll
    for (int e = 0; e < VECTOR; e++) sums[o][e] = 0;
  }
  wait_for_inputs();
  let_dependents_start();
#pragma unroll
  for (int r = 0; r < WINDOW_H; r++) {
    const int iy = top + r * p.dilation_h;
    if ((unsigned)iy >= (unsigned)p.height) continue;
    float weights[WINDOW_W][VECTOR];
#pragma unroll
    for (int s = 0; s < WINDOW_W; s++) {
      load_floats<ELEMENT, VECTOR>(weights[s], w, (long long)(r * WINDOW_W + s) * p.channels + c);
    }
    const long long start = ((long long)image * p.height + iy) * p.width;
#pragma unroll
    for (int j = 0; j < SPAN; j++) {
      const int ix = left + j;
      bool used = false;
#pragma unroll
      for (int s = 0; s < WINDOW_W; s++) {
        const int at = j - s * DILATION_W;
        used |= at >= 0 && at % STRIDE_W == 0 && at / STRIDE_W < COLUMNS;
      }
      if (!used || (unsigned)ix >= (unsigned)p.width) continue;
      float value[VECTOR];
      load_floats<ELEMENT, VECTOR>(value, x, (start + ix) * p.channels + c);
#pragma unroll
      for (int s = 0; s < WINDOW_W; s++) {
        const int at = j - s * DILATION_W;
        if (at >= 0 && at % STRIDE_W == 0 && at / STRIDE_W < COLUMNS) {
#pragma unroll
          for (int e = 0; e < VECTOR; e++) sums[at / STRIDE_W][e] += value[e] * weights[s][e];
        }
      }
    }
  }
#pragma unroll
  for (int o = 0; o < COLUMNS; o++) {
    const int ox = first + o;
    if (ox >= p.out_width) continue;
    const long long at = (((long long)image * p.out_height + oy) * p.out_width + ox) * p.channels + c;
    finish<VECTOR>(sums[o], y, at, c, image EPILOGUE_ARGS);
  }
}
