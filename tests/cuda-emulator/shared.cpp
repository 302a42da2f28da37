// Shared memory of the running block. Every array ends at a guard page (up to alignment), begins after a guard zone
// that is checked when the block ends, and is poisoned for each block.
#include <sys/mman.h>

#include <new>

#include "runtime.h"

namespace emulator {

const int SLOTS = 25;  // slot 0 for the dynamic array
const size_t SLOT = 256 << 10, PAGE = 4096, ZONE = 256;
// Shared memory that needs no request, in bytes; also the limit of static arrays.
const size_t UNASKED = 48 << 10;

uint8_t* SharedMemory::place(int slot, size_t bytes, size_t alignment) {
    uint8_t* end = slots_ + slot * (SLOT + PAGE) + SLOT;
    uint8_t* start = end - (bytes + alignment - 1) / alignment * alignment;
    memset(start - ZONE, POISON, size_t(end - start) + ZONE);
    return start;
}

void SharedMemory::begin_block(const Launch& launch) {
    if (!slots_) {
        size_t bytes = SLOTS * (SLOT + PAGE);
        void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) throw std::bad_alloc();
        slots_ = static_cast<uint8_t*>(p);
        for (int i = 0; i < SLOTS; i++) mprotect(slots_ + i * (SLOT + PAGE) + SLOT, PAGE, PROT_NONE);
    }
    arrays_.clear();
    static_bytes_ = 0;
    dynamic_bytes_ = launch.dynamic_shared;
    limit_ = max(UNASKED, size_t(launch.kernel->max_dynamic_shared));
    dynamic_ = place(0, dynamic_bytes_, 128);
    arrays_.push_back(SharedArray{nullptr, dynamic_, dynamic_bytes_});
}

void* SharedMemory::array(const void* tag, size_t bytes) {
    for (const SharedArray& array : arrays_) {
        if (array.tag == tag) return array.start;
    }
    static_bytes_ += (bytes + 15) / 16 * 16;
    if (arrays_.size() == SLOTS) fault(CUDA_ERROR_INVALID_VALUE, "the emulator has no room for so many SHARED arrays");
    if (static_bytes_ > UNASKED || static_bytes_ + dynamic_bytes_ > limit_) {
        fault(CUDA_ERROR_INVALID_VALUE, "too much shared memory", nullptr, false,
              std::to_string(static_bytes_) + " bytes in SHARED arrays (at most 49152) and " +
                  std::to_string(dynamic_bytes_) + " dynamic ones (together at most " + std::to_string(limit_) + ")");
    }
    uint8_t* start = place(int(arrays_.size()), bytes, 16);
    arrays_.push_back(SharedArray{tag, start, bytes});
    return start;
}

static bool poisoned(const uint8_t* p, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        if (p[i] != POISON) return false;
    }
    return true;
}

std::string SharedMemory::end_block() {
    for (size_t i = 0; i < arrays_.size(); i++) {
        const SharedArray& array = arrays_[i];
        size_t slack = (slots_ + i * (SLOT + PAGE) + SLOT) - (array.start + array.bytes);
        std::string name = i ? "SHARED array " + std::to_string(i) : "the dynamic array";
        name += " of " + std::to_string(array.bytes) + " bytes";
        if (!poisoned(array.start - ZONE, ZONE)) return "before " + name;
        if (!poisoned(array.start + array.bytes, slack)) return "behind " + name;
    }
    return {};
}

bool SharedMemory::contains(const void* p, size_t bytes) const {
    const uint8_t* from = static_cast<const uint8_t*>(p);
    for (const SharedArray& array : arrays_) {
        if (from >= array.start && from + bytes <= array.start + array.bytes) return true;
    }
    return false;
}

std::string SharedMemory::describe(const void* p) const {
    const uint8_t* at = static_cast<const uint8_t*>(p);
    if (!slots_ || at < slots_ || at >= slots_ + SLOTS * (SLOT + PAGE)) return {};
    size_t i = size_t(at - slots_) / (SLOT + PAGE);
    if (i >= arrays_.size()) return "shared memory that this block has not declared";
    std::string name = i ? "SHARED array " + std::to_string(i) : "the dynamic shared array";
    long long offset = at - arrays_[i].start;
    return "byte " + std::to_string(offset) + " of " + name + " of " + std::to_string(arrays_[i].bytes) + " bytes";
}

void* shared_array(const void* tag, size_t bytes) { return worker->shared.array(tag, bytes); }
void* shared_dynamic() { return worker->shared.dynamic(); }

}  // namespace emulator
