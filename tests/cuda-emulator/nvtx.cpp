// A minimal NVTX 3 profiler: the emulator's library also acts as an injection library and records the ranges while a
// test listens.
#include "driver.h"

#include <unistd.h>

using namespace emulator;

static std::mutex ranges_mutex;
static std::string ranges;
static bool listening = false;
static thread_local int depth = 0;

static void note(const std::string& text) {
    std::lock_guard<std::mutex> lock(ranges_mutex);
    if (listening) ranges += std::to_string(gettid()) + " " + text + "\n";
}

static int push(const char* name) {
    note("+" + std::string(name));
    return depth++;
}
static int pop() {
    note("-");
    return --depth;
}

namespace {
// Layouts of nvtxTypes.h.
struct Callbacks {
    size_t size;
    int (*get_table)(unsigned module, void**** table, unsigned* size);
};
struct VersionInfo {
    size_t size;
    uint32_t version, reserved;
    void (*set_version)(uint32_t);
};
}  // namespace

// Like a profiler, refuses a program whose tables do not follow the interface; the program then has no ranges.
DRIVER int InitializeInjectionNvtx2(const void* (*get_export_table)(uint32_t)) {
    const auto* info = static_cast<const VersionInfo*>(get_export_table(3));
    if (!info || info->size < sizeof *info || info->version < 3) return 0;
    info->set_version(3);
    const auto* callbacks = static_cast<const Callbacks*>(get_export_table(1));
    if (!callbacks || callbacks->size < sizeof *callbacks || get_export_table(77)) return 0;
    void*** table = nullptr;
    unsigned size = 0;
    if (callbacks->get_table(0, &table, &size) || !callbacks->get_table(1, &table, &size) || size < 16) return 0;
    if (table[0] || !table[9] || !table[11] || table[9] == table[11]) return 0;
    *table[9] = reinterpret_cast<void*>(push);
    *table[11] = reinterpret_cast<void*>(pop);
    return 1;
}

DRIVER void emulator_listen(uint64_t on) {
    std::lock_guard<std::mutex> lock(ranges_mutex);
    listening = on;
    if (on) ranges.clear();
}

DRIVER const char* emulator_ranges() {
    static thread_local std::string copy;
    std::lock_guard<std::mutex> lock(ranges_mutex);
    copy = ranges;
    return copy.c_str();
}
