// Rows of a decode step: the slot of a row, and adjacent rows of one slot (the beams of a search), which share reads of its cross-attention
// cache.
#pragma once
#include "device.cuh"

namespace decode_rows {

const int MAX_CLIPS = 32;

// Slots of clips, passed by value: a copy to the device could not be part of a captured graph.
struct Slots {
    int slot[MAX_CLIPS];
};

// Rows are numbered slot * beams + beam; a negative number is an unused row.
__device__ __forceinline__ int slot_of(const int* rows, int r, int beams) { return rows[r] < 0 ? -1 : rows[r] / beams; }

// Rows of the group that begins with row r; 0 if r is within a group. Adjacent rows of one slot form groups of at most `most`, and one block
// computes a group.
__device__ __forceinline__ int group_of(const int* rows, int r, int num_rows, int slot, int beams, int most) {
    int before = 0, members = 1;
    while (most > 1 && r - before > 0 && slot_of(rows, r - before - 1, beams) == slot) before++;
    if (before % most != 0) return 0;
    while (members < most && r + members < num_rows && slot_of(rows, r + members, beams) == slot) members++;
    return members;
}

}  // namespace decode_rows
