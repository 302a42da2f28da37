// Device memory. Each allocation ends at a guard page, so that an access beyond it faults at once; writes before it are
// found in a guard zone of known bytes. New memory is poisoned, freed memory faults, and no address is reused.
#include <sys/mman.h>
#include <unistd.h>

#include <map>

#include "runtime.h"

namespace emulator {

namespace {
struct Allocation {
    uint8_t* start;
    size_t bytes;
    uint8_t* pages;  // first byte of the mapping; guard zone, memory and padding end at pages + mapped
    size_t mapped;
    bool on_host;
};
}  // namespace

// Alignment of allocations. A GPU has 256; here only what vector loads need, so that nearly every buffer ends at its
// page's end.
const size_t ALIGNMENT = 16;
const size_t PAGE = 4096, ZONE = 64;  // least size of the zone before an allocation
const size_t RESERVE = size_t(1) << 40;
// From this size on, poison is mapped copy-on-write instead of written, and takes memory only where it is overwritten.
const size_t LARGE = 8 << 20;

static std::map<const uint8_t*, Allocation> living;
static std::map<const uint8_t*, size_t> freed;  // for messages
static size_t total = size_t(4) << 30, used = 0;
static uint8_t* reserve_next = nullptr;
static size_t reserve_left = 0;

static uint8_t* reserve(size_t bytes) {
    if (bytes > reserve_left) {
        size_t wanted = bytes > RESERVE ? bytes : RESERVE;
        void* p = MAP_FAILED;
        // Tries less if address space is limited.
        for (; p == MAP_FAILED && wanted >= bytes; wanted /= 4) {
            p = mmap(nullptr, wanted, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (p != MAP_FAILED) reserve_left = wanted;
        }
        if (p == MAP_FAILED) return nullptr;
        reserve_next = static_cast<uint8_t*>(p);
    }
    uint8_t* p = reserve_next;
    reserve_next += bytes;
    reserve_left -= bytes;
    return p;
}

static int poison_file() {
    static int file = [] {
        int fd = memfd_create("poison", MFD_CLOEXEC);
        std::vector<uint8_t> poison(LARGE, POISON);
        if (fd >= 0 && write(fd, poison.data(), LARGE) != ssize_t(LARGE)) fd = -1;
        return fd;
    }();
    return file;
}

static bool map_poison(uint8_t* at, size_t bytes) {
    const int access = PROT_READ | PROT_WRITE, kind = MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE;
    size_t done = 0;
    if (bytes >= LARGE && poison_file() >= 0) {
        for (; done + LARGE <= bytes; done += LARGE) {
            if (mmap(at + done, LARGE, access, kind, poison_file(), 0) == MAP_FAILED) return false;
        }
    }
    if (done == bytes) return true;
    if (mmap(at + done, bytes - done, access, kind | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) return false;
    memset(at + done, POISON, bytes - done);
    return true;
}

void* allocate(size_t bytes, bool on_host) {
    if (!on_host && (bytes > total || used > total - bytes)) return nullptr;
    size_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    size_t mapped = (rounded + ZONE + PAGE - 1) / PAGE * PAGE;
    uint8_t* pages = reserve(mapped + PAGE);
    if (!pages || !map_poison(pages, mapped)) return nullptr;
    uint8_t* start = pages + mapped - rounded;
    living[start] = Allocation{start, bytes, pages, mapped, on_host};
    if (!on_host) used += bytes;
    return start;
}

bool release(void* p) {
    auto found = living.find(static_cast<uint8_t*>(p));
    if (found == living.end()) return false;
    const Allocation& a = found->second;
    // The addresses stay reserved, so that a later access faults.
    mmap(a.pages, a.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    if (!a.on_host) used -= a.bytes;
    freed[a.start] = a.bytes;
    living.erase(found);
    return true;
}

MemoryInfo memory_info() {
    size_t on_host = 0;
    for (const auto& entry : living) on_host += entry.second.on_host;
    return MemoryInfo{total, used, living.size(), on_host};
}
void set_total_memory(size_t bytes) { total = bytes; }

static const Allocation* find(const void* p) {
    auto next = living.upper_bound(static_cast<const uint8_t*>(p));
    if (next == living.begin()) return nullptr;
    const Allocation& a = std::prev(next)->second;
    // The end of an allocation is a valid address for an empty range.
    return p <= a.start + a.bytes ? &a : nullptr;
}

bool is_allocated(const void* p, size_t bytes) {
    const Allocation* a = find(p);
    return a && bytes <= size_t(a->start + a->bytes - static_cast<const uint8_t*>(p));
}

bool is_pinned(const void* p, size_t bytes) {
    const Allocation* a = find(p);
    return a && a->on_host && is_allocated(p, bytes);
}

static std::string distance(const void* p, const uint8_t* start, size_t bytes, const char* kind) {
    long long offset = static_cast<const uint8_t*>(p) - start;
    char text[160];
    const char* where = offset < 0 ? "before the start" : offset >= (long long)bytes ? "behind the end" : "inside";
    long long by = offset < 0 ? -offset : offset >= (long long)bytes ? offset - (long long)bytes : offset;
    snprintf(text, sizeof text, "%lld bytes %s of %s of %zu bytes at %p", by, where, kind, bytes, (const void*)start);
    return text;
}

std::string describe(const void* p) {
    const uint8_t* at = static_cast<const uint8_t*>(p);
    auto gone = freed.upper_bound(at);
    if (gone != freed.begin()) {
        --gone;
        if (at < gone->first + gone->second) return distance(p, gone->first, gone->second, "a freed allocation");
    }
    const Allocation* nearest = nullptr;
    size_t best = size_t(16) << 20;  // only allocations within this distance are reported
    auto next = living.upper_bound(at);
    if (next != living.end() && size_t(next->second.start - at) < best) {
        nearest = &next->second;
        best = size_t(next->second.start - at);
    }
    if (next != living.begin()) {
        const Allocation& a = std::prev(next)->second;
        const uint8_t* end = a.start + a.bytes;
        if (at < end || size_t(at - end) <= best) nearest = &a;
    }
    if (!nearest) return "no allocation is near";
    return distance(p, nearest->start, nearest->bytes, nearest->on_host ? "a host allocation" : "an allocation");
}

static std::string check(const Allocation& a) {
    for (const uint8_t* p = a.start - 8; p >= a.pages; p -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        if (word != ~uint64_t(0)) return distance(p, a.start, a.bytes, "an allocation") + " (within 8 bytes)";
    }
    for (const uint8_t* p = a.start + a.bytes; p < a.pages + a.mapped; p++) {
        if (*p != POISON) return distance(p, a.start, a.bytes, "an allocation");
    }
    return {};
}

std::string check_zones(const void* p) {
    const Allocation* a = find(p);
    return a ? check(*a) : std::string();
}

std::string check_all_zones() {
    for (const auto& entry : living) {
        std::string text = check(entry.second);
        if (!text.empty()) return text;
    }
    return {};
}

void repair_zones() {
    for (const auto& entry : living) {
        const Allocation& a = entry.second;
        memset(a.pages, POISON, size_t(a.start - a.pages));
        memset(a.start + a.bytes, POISON, size_t(a.pages + a.mapped - a.start) - a.bytes);
    }
}

}  // namespace emulator
