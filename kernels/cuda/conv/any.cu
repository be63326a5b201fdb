// conv.cuda.any: convolution and transposed convolution over one to three axes, plain layout, one output a thread.
// The last resort: any sizes, groups, steps. Elements of type ELEMENT, sums in f32.
//
//   y[n, k, o] = epilogue(sum over (c, t) of x[n, c, o * stride + t * dilation - pad] * w[k, c, t])
//   transposed: y[n, k, o] = epilogue(sum over (c, t, i with i * stride + t * dilation - pad = o) of x[n, c, i] * w[c, k, t])
//
// The prelude defines `epilogue_at` over the output's plain index.
#include "mma_numbers.cuh"

struct Shape {
  long long outputs;
  int filters, group_filters, group_channels;  // filters of all groups, and of one
  int input[3], output[3], window[3], strides[3], pads[3], dilations[3];
};

/// The input's position along an axis for an output and a window element, or -1.
__device__ __forceinline__ long long source_of(const Shape& p, int axis, int o, int t) {
#if TRANSPOSED
  const long long at = (long long)o + p.pads[axis] - (long long)t * p.dilations[axis];
  if (at < 0 || at % p.strides[axis] != 0) return -1;
  const long long i = at / p.strides[axis];
#else
  const long long i = (long long)o * p.strides[axis] + (long long)t * p.dilations[axis] - p.pads[axis];
#endif
  return i < 0 || i >= p.input[axis] ? -1 : i;
}

extern "C" __global__ void __launch_bounds__(128, 1) conv_any(const void* x, const void* w, void* y, Shape p EPILOGUE_PARAMS) {
  wait_for_inputs();
  const long long index = (long long)blockIdx.x * 128 + threadIdx.x;
  if (index >= p.outputs) return;
  long long rest = index;
  int o[3];
#pragma unroll
  for (int axis = 2; axis >= 0; axis--) {
    o[axis] = (int)(rest % p.output[axis]);
    rest /= p.output[axis];
  }
  const int filter = (int)(rest % p.filters);
  const long long image = rest / p.filters;
  const int group = filter / p.group_filters;
  const int window = p.window[0] * p.window[1] * p.window[2];
  const long long plane = (long long)p.input[0] * p.input[1] * p.input[2];
  const long long channels = (long long)p.filters / p.group_filters * p.group_channels;
  float sum = 0;
  for (int a = 0; a < p.window[0]; a++) {
    const long long i0 = source_of(p, 0, o[0], a);
    if (i0 < 0) continue;
    for (int b = 0; b < p.window[1]; b++) {
      const long long i1 = source_of(p, 1, o[1], b);
      if (i1 < 0) continue;
      for (int c = 0; c < p.window[2]; c++) {
        const long long i2 = source_of(p, 2, o[2], c);
        if (i2 < 0) continue;
        const int t = (a * p.window[1] + b) * p.window[2] + c;
        const long long from =
            (image * channels + (long long)group * p.group_channels) * plane + (i0 * p.input[1] + i1) * p.input[2] + i2;
#if TRANSPOSED
        const long long weight =
            ((long long)group * p.group_channels * p.group_filters + filter % p.group_filters) * window + t;
        const long long step = (long long)p.group_filters * window;
#else
        const long long weight = (long long)filter * p.group_channels * window + t;
        const long long step = window;
#endif
        for (int k = 0; k < p.group_channels; k++) {
          sum += load_float<ELEMENT>(x, from + k * plane) * load_float<ELEMENT>(w, weight + k * step);
        }
      }
    }
  }
  const float out[1] = {epilogue_at(sum, index EPILOGUE_ARGS)};
  store_floats<OUTPUT_TYPE, 1>(out, y, index);
}
