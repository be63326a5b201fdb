// lrn: x / (bias + alpha / size * sum x^2)^beta over neighbouring channels, then an epilogue.
//
// A thread computes one element. `inner` elements of one channel lie together: the pixels in plain order, 1 in channels
// last. ELEMENT: storage type. Generated before this text: the epilogue (kernels/src/grid.rs).
#include "types.cuh"
#include "launch.cuh"
#include "accumulate.cuh"

typedef Accumulator<ELEMENT> Acc;

struct Lrn {
    Divisor inner, channels;
    u32 elements;
    i32 before, after;
    float factor, beta, bias;
};

extern "C" __global__ void __launch_bounds__(256)
lrn(const ELEMENT* __restrict__ in, OPERAND_PARAMETERS Out* __restrict__ out, const __grid_constant__ Lrn lrn,
    const __grid_constant__ Grid grid) {
    begin_kernel();
    const u32 at = blockIdx.x * 256 + threadIdx.x;
    if (at >= lrn.elements) return;
    const u32 line = at / lrn.inner, outer = line / lrn.channels;
    const i32 channels = lrn.channels.value, channel = line - outer * lrn.channels.value;
    const i32 first = max(0, channel - lrn.before), last = min(channels - 1, channel + lrn.after);
    Acc sum = 0;
    for (i32 c = first; c <= last; c++) {
        const Acc x = widen(in[(i32)at + (c - channel) * (i32)lrn.inner.value]);
        sum += x * x;
    }
    const Acc x = (Acc)widen(in[at]) / op_pow((Acc)lrn.bias + (Acc)lrn.factor * sum, (Acc)lrn.beta);
    Compute<Out> y;
    const Operands operands = OPERANDS;
    finish<1>(&x, &y, at, operands, grid);
    store_narrow<1>(out + at, &y);
}
