// transpose: a permutation that moves the last axis, by tiles in shared memory.
//
// `columns` is the input's last axis and `rows` the output's last; the other axes, BATCH of them, only choose where a
// tile lies. A block moves a tile of TILE x TILE elements, read along columns and written along rows, PACK elements
// (4 bytes or one element) at a time. Elements have UNIT bytes.
#include "types.cuh"
#include "units.cuh"
#include "launch.cuh"

#define TILE (32 * PACK)

struct Transpose {
    // Outermost first, as the output has them; tiles of a batch are counted within.
    Divisor batch[BATCH], tiles_across, tiles_down;
    u32 batch_in[BATCH], batch_out[BATCH];
    // Elements from row to row of the input, and from column to column of the output.
    u32 row_step, column_step, rows, columns;
};

extern "C" __global__ void __launch_bounds__(256)
transpose(const Unit* __restrict__ in, Unit* __restrict__ out, const __grid_constant__ Transpose t) {
    __shared__ Unit tile[TILE][TILE + (PACK == 1 ? 1 : 2)];
    begin_kernel();
    u32 rest = blockIdx.x / t.tiles_across;
    const u32 column0 = (blockIdx.x - rest * t.tiles_across.value) * TILE;
    u32 index = rest / t.tiles_down;
    const u32 row0 = (rest - index * t.tiles_down.value) * TILE;
    u32 from = 0, to = 0;
#pragma unroll
    for (int axis = BATCH - 1; axis >= 0; axis--) {
        const u32 q = axis == 0 ? 0 : index / t.batch[axis];
        const u32 i = index - q * t.batch[axis].value;
        from += i * t.batch_in[axis];
        to += i * t.batch_out[axis];
        index = q;
    }
    const u32 lane = threadIdx.x % 32 * PACK;
    for (u32 line = threadIdx.x / 32; line < TILE; line += 8) {
        const u32 row = row0 + line, column = column0 + lane;
        if (row < t.rows && column < t.columns) {
            const Pack<Unit, PACK> v = load_pack<PACK>(in + from + row * t.row_step + column);
#pragma unroll
            for (int k = 0; k < PACK; k++) tile[line][lane + k] = v.at[k];
        }
    }
    __syncthreads();
    for (u32 line = threadIdx.x / 32; line < TILE; line += 8) {
        const u32 column = column0 + line, row = row0 + lane;
        if (row < t.rows && column < t.columns) {
            Pack<Unit, PACK> v;
#pragma unroll
            for (int k = 0; k < PACK; k++) v.at[k] = tile[lane + k][line];
            store_pack(out + to + column * t.column_step + row, v);
        }
    }
}
