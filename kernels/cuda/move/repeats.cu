// repeats: whether data repeats: every unit of UNIT bytes equals the one `period` units before it.
//
// Sets `differs` where one does not; the caller cleared it. All threads that write it write the same.
#include "types.cuh"
#include "units.cuh"
#include "launch.cuh"

struct Repeats {
    u32 units, period;
};

template <class T> __device__ __forceinline__ bool same(T a, T b) { return a == b; }
__device__ __forceinline__ bool same(uint4 a, uint4 b) {
    return a.x == b.x && a.y == b.y && a.z == b.z && a.w == b.w;
}

extern "C" __global__ void __launch_bounds__(256)
repeats(const Unit* __restrict__ data, u32* __restrict__ differs, const __grid_constant__ Repeats r) {
    begin_kernel();
    bool equal = true;
    // Counts to 2^32 at most, so the index needs more bits than that.
    for (unsigned long long i = r.period + blockIdx.x * 256ull + threadIdx.x; i < r.units; i += gridDim.x * 256ull)
        equal = equal && same(data[i], data[i - r.period]);
    if (!equal) *differs = 1;
}
