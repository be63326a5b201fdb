// interleave, deinterleave: plain order to channels last and back when channels are few.
//
// A thread moves all CHANNELS channels of PIXELS neighbouring pixels through registers. Elements have UNIT bytes.
#include "types.cuh"
#include "units.cuh"
#include "launch.cuh"

struct Interleave {
    // Packs of pixels of an image; images are `pixels` apart along a channel.
    Divisor packs;
    u32 pixels, work;
};

template <bool BACK> INLINE void move(const Unit* in, Unit* out, const Interleave& m) {
    const u32 work = blockIdx.x * 128 + threadIdx.x;
    if (work >= m.work) return;
    const u32 image = work / m.packs, pixel = (work - image * m.packs.value) * PIXELS;
    const u32 planes = image * CHANNELS * m.pixels + pixel, line = (image * m.pixels + pixel) * CHANNELS;
    Pack<Unit, PIXELS> plane[CHANNELS], mixed[CHANNELS];
#pragma unroll
    for (int c = 0; c < CHANNELS; c++) {
        if (BACK) mixed[c] = load_pack<PIXELS>(in + line + c * PIXELS);
        else plane[c] = load_pack<PIXELS>(in + planes + c * m.pixels);
    }
#pragma unroll
    for (int i = 0; i < CHANNELS * PIXELS; i++) {
        if (BACK) plane[i % CHANNELS].at[i / CHANNELS] = mixed[i / PIXELS].at[i % PIXELS];
        else mixed[i / PIXELS].at[i % PIXELS] = plane[i % CHANNELS].at[i / CHANNELS];
    }
#pragma unroll
    for (int c = 0; c < CHANNELS; c++) {
        if (BACK) store_pack(out + planes + c * m.pixels, plane[c]);
        else store_pack(out + line + c * PIXELS, mixed[c]);
    }
}

extern "C" __global__ void __launch_bounds__(128, 8)
interleave(const Unit* __restrict__ in, Unit* __restrict__ out, const __grid_constant__ Interleave m) {
    begin_kernel();
    move<false>(in, out, m);
}

extern "C" __global__ void __launch_bounds__(128, 8)
deinterleave(const Unit* __restrict__ in, Unit* __restrict__ out, const __grid_constant__ Interleave m) {
    begin_kernel();
    move<true>(in, out, m);
}
