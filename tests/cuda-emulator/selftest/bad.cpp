// Every mistake must be detected: as an error of the launch or as a wrong result.
#include "driver.h"

// Synchronises, expects `code` and words in the report, and resets the device.
static void expect(int code, const char* kernel, const char* words) {
    int got = synchronize();
    check(got == code, kernel, "gave " + std::to_string(got) + " (" + report() + ")");
    check(report().find(words) != std::string::npos, kernel, "reported: " + report());
    // The error is sticky, as on a GPU.
    check(synchronize() == code, kernel, "the error did not stay");
    call<void>("emulator_clear_error");
}

static void missing_barriers() {
    std::vector<float> x(512);
    for (int i = 0; i < 512; i++) x[i] = float(i);
    Buffer<float> in(x), partial(1), out(128), neighbours(32);
    CHECK_CODE(0, launch("block_sum_without_barrier", {1, 256}, partial.p, in.p, 256));
    check(!(partial.read()[0] == 255 * 128.0f), "block_sum_without_barrier was right");
    CHECK_CODE(0, launch("tile_sums", {1, 128}, out.p, in.p, 4, 0));
    bool all_right = true;
    for (float value : out.read()) all_right &= value == 511 * 256.0f;
    check(!all_right, "tile_sums without its second barrier was right");
    CHECK_CODE(0, launch("neighbours", {1, 32}, neighbours.p, 0));
    all_right = true;
    std::vector<float> got = neighbours.read();
    for (int i = 0; i < 32; i++) all_right &= got[i] == float((i + 1) % 32);
    check(!all_right, "neighbours without __syncwarp was right");
}

static void bad_addresses() {
    Buffer<float> x(100), out(1);
    Buffer<uint8_t> bytes(64);
    Buffer<uint32_t> vector(4);
    CHECK_CODE(0, launch("write_behind", {1, 1}, x.p, 100));
    expect(700, "write_behind", "write_behind: access to memory that is not there in block (0, 0, 0), thread (0, 0, 0)");
    CHECK_CODE(0, launch("read_behind", {1, 1}, out.p, x.p, 100));
    expect(700, "read_behind", "0 bytes behind the end of an allocation of 400 bytes");
    CHECK_CODE(0, launch("read_behind", {1, 1}, out.p, x.p, 1 << 26));
    expect(700, "read_behind", "thread (0, 0, 0)");
    CHECK_CODE(0, launch("read_behind", {1, 1}, out.p, Pointer(0), 100));
    expect(700, "read_behind", "address 0x190");
    CHECK_CODE(0, launch("write_before", {1, 1}, x.p));
    expect(700, "write_before", "before the start of an allocation of 400 bytes");
    CHECK_CODE(0, call("cuMemsetD8Async", x.p, (unsigned char)0, size_t(400), stream));
    CHECK_CODE(0, launch("read_vector", {1, 1}, vector.p, bytes.p, 4));
    expect(716, "read_vector", "misaligned");
    CHECK_CODE(1, call("cuMemsetD8Async", x.p, (unsigned char)0, size_t(401), stream));
    CHECK_CODE(1, call("cuMemsetD32Async", x.p + 4, 0u, size_t(100), stream));
    Buffer<float> freed(10);
    Pointer gone = freed.p;
    freed.p = 0;
    CHECK_CODE(0, call("cuMemFreeAsync", gone, stream));
    CHECK_CODE(0, launch("copy_one", {1, 1}, out.p, gone));
    expect(700, "copy_one", "of a freed allocation of 40 bytes");
    // Uninitialised memory: NaN.
    Buffer<float> fresh(7);
    CHECK_CODE(0, launch("copy_one", {1, 1}, out.p, fresh.p));
    check(isnan(out.read()[0]), "unwritten memory was a number");
}

static void shared_memory() {
    Buffer<float> out(32);
    CHECK_CODE(0, launch("unwritten_shared", {1, 32}, out.p));
    std::vector<float> got = out.read();
    for (int i = 0; i < 32; i++) check(i == 3 ? isnan(got[i]) : got[i] == 1.0f, "unwritten_shared");
    CHECK_CODE(0, launch("write_behind_shared", {1, 32}, out.p, 33));
    expect(700, "write_behind_shared", "behind SHARED array 1 of 132 bytes");
    CHECK_CODE(0, launch("write_behind_shared", {1, 32}, out.p, 36));
    expect(700, "write_behind_shared", "byte 144 of SHARED array 1 of 132 bytes");
    CHECK_CODE(0, launch("write_behind_shared", {1, 32}, out.p, -1));
    expect(700, "write_behind_shared", "before SHARED array 1");
    CHECK_CODE(0, launch("too_much_shared", {1, 32}, out.p));
    expect(1, "too_much_shared", "49168 bytes in SHARED arrays");
    // Without the wait, the copies have not arrived.
    Buffer<uint16_t> a(std::vector<uint16_t>(64 * 96)), b(std::vector<uint16_t>(64 * 96));
    Buffer<float> c(64 * 64);
    CHECK_CODE(0, launch("matmul_f16", {1, 128, 2 * 64 * 40 * 2}, c.p, a.p, b.p, 96, 0));
    check(isnan(c.read()[0]), "matmul without cp_async_wait was right");
}

static void deadlocks() {
    Buffer<float> out(64);
    CHECK_CODE(0, launch("divergent_barrier", {1, 64}, out.p));
    expect(719, "divergent_barrier", "__syncthreads");
    CHECK_CODE(0, launch("divergent_shuffle", {1, 32}, out.p));
    expect(702, "divergent_shuffle", "deadlock");
    CHECK_CODE(0, launch("mma_by_half_a_warp", {1, 32}, out.p));
    expect(719, "mma_by_half_a_warp", "mma");
    CHECK_CODE(0, launch("divide", {1, 1}, out.p, 0));
    expect(719, "divide", "division by zero");
    CHECK_CODE(0, launch("deep", {1, 1}, out.p, 1));
    expect(700, "deep", "deep");
}

static void bad_launches() {
    Buffer<float> out(1024);
    CHECK_CODE(1, launch("add_one", {0, 32}, out.p, 0));
    CHECK_CODE(1, launch("add_one", {1, 0}, out.p, 0));
    CHECK_CODE(1, launch("add_one", {1, 1025}, out.p, 0));
    CHECK_CODE(1, launch("add_one", {1, 32, 49153}, out.p, 0));
    check(report().find("49153 bytes of dynamic shared memory, 49152 are allowed") != std::string::npos, "report");
    void* f = function("add_one");
    CHECK_CODE(0, call("cuFuncSetAttribute", f, 8, 101376));
    CHECK_CODE(0, launch("add_one", {1, 32, 101376}, out.p, 0));
    CHECK_CODE(1, call("cuFuncSetAttribute", f, 8, 101377));
    CHECK_CODE(0, call("cuFuncSetAttribute", f, 8, 49152));
    void* nothing;
    CHECK_CODE(500, call("cuModuleGetFunction", &nothing, module, "no_such_kernel"));
    // Failures on request.
    call<int>("emulator_fail_after", "launch", uint64_t(2), 701);
    CHECK_CODE(0, launch("add_one", {1, 32}, out.p, 0));
    CHECK_CODE(701, launch("add_one", {1, 32}, out.p, 0));
    CHECK_CODE(0, launch("add_one", {1, 32}, out.p, 0));
    call<int>("emulator_fail_after", "alloc", uint64_t(1), 2);
    Pointer p;
    CHECK_CODE(2, call("cuMemAllocAsync", &p, size_t(4), stream));
    call<int>("emulator_fail_after", "execution", uint64_t(1), 719);
    CHECK_CODE(0, launch("add_one", {1, 32}, out.p, 0));
    expect(719, "add_one", "failed on request");
    // Out of memory at the configured size.
    size_t free, total;
    CHECK_CODE(0, call("cuMemGetInfo_v2", &free, &total));
    CHECK_CODE(2, call("cuMemAllocAsync", &p, free + 1, stream));
}

void bad_kernels() {
    missing_barriers();
    bad_addresses();
    shared_memory();
    deadlocks();
    bad_launches();
    check(synchronize() == 0, "a clean end", report());
}
