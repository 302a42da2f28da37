// list_rows: gathers token and position of the rows that the host has selected for the next steps.
//
// Shapes   token,position [R] i32 out · row [R] i32 · all_tokens,all_positions [S K] i32
// Launch   grid ceil(R/128), block 128
// Traffic  20*R B; saves the host a readback
// Edge     a row outside of S K is left unchanged
// Oracle   engine/cpu/list_rows.rs
#include "device.cuh"

extern "C" __global__ void __launch_bounds__(128)
    list_rows(int* __restrict__ token, int* __restrict__ position, const int* __restrict__ row, const int* __restrict__ all_tokens,
              const int* __restrict__ all_positions, int count, int num_rows) {
    const int r = blockIdx.x * 128 + threadIdx.x;
    if (r >= count || row[r] < 0 || row[r] >= num_rows) return;
    token[r] = all_tokens[row[r]];
    position[r] = all_positions[row[r]];
}
EXPORT(list_rows)
