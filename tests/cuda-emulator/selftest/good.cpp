// Correct kernels must give the results of plain loops under every seed.
#include "driver.h"

static uint32_t random_state = 12345;
static float random_float() {
    random_state = random_state * 1664525 + 1013904223;
    return float(int32_t(random_state)) * 0x1p-31f;
}

static std::vector<float> random_floats(size_t n) {
    std::vector<float> x(n);
    for (float& value : x) value = random_float();
    return x;
}

static void sums() {
    const int n = 10000;
    std::vector<float> x(n);
    for (int i = 0; i < n; i++) x[i] = float(i % 17);
    const unsigned blocks = (n + 255) / 256;
    Buffer<float> partial(blocks), in(x);
    CHECK_CODE(0, launch("block_sum", {blocks, 256}, partial.p, in.p, n));
    std::vector<float> got = partial.read();
    for (unsigned block = 0; block < blocks; block++) {
        float want = 0;
        for (int i = block * 256; i < n && i < int(block + 1) * 256; i++) want += x[i];
        if (!check(got[block] == want, "block_sum", std::to_string(got[block]))) break;
    }
    Buffer<float> out(128), tiles(std::vector<float>(x.begin(), x.begin() + 512));
    CHECK_CODE(0, launch("tile_sums", {1, 128}, out.p, tiles.p, 4, 1));
    float want = 0;
    for (int i = 0; i < 512; i++) want += x[i];
    for (float value : out.read()) check(value == want, "tile_sums");
    Buffer<float> neighbours(32);
    CHECK_CODE(0, launch("neighbours", {1, 32}, neighbours.p, 1));
    got = neighbours.read();
    for (int i = 0; i < 32; i++) check(got[i] == float((i + 1) % 32), "neighbours");
}

// f32 to 16 bits and back by definition: the nearest of all candidates, ties to even.
static double half_value(uint16_t bits) {
    int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    double magnitude = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);
    return bits & 0x8000 ? -magnitude : magnitude;
}
static uint16_t nearest_half(float x) {
    if (x != x) return 0x7fff;  // cvt.rn.f16.f32 has one NaN
    double magnitude = fabs(double(x));
    int low = 0, high = 0x7bff;  // the largest candidate that is not above x
    if (magnitude >= 65504) low = high;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (half_value(uint16_t(middle)) <= magnitude) low = middle;
        else high = middle - 1;
    }
    if (low < 0x7bff) {
        double below = magnitude - half_value(uint16_t(low)), above = half_value(uint16_t(low + 1)) - magnitude;
        if (above < below || (above == below && low % 2)) low++;
    }
    return uint16_t(low | (signbit(x) ? 0x8000 : 0));
}
static float brain_value(uint16_t bits) {
    uint32_t wide = uint32_t(bits) << 16;
    float x;
    memcpy(&x, &wide, 4);
    return x;
}

void conversions() {
    std::vector<float> x;
    for (uint32_t bits = 0; bits < 0x7c00; bits++) {
        // Each number, the midpoint between it and the next, and the f32 neighbours of that midpoint.
        float low = float(half_value(uint16_t(bits))), next = float(half_value(uint16_t(bits + 1)));
        float middle = (low + next) / 2;
        for (float value : {low, middle, nextafterf(middle, 0), nextafterf(middle, 1e9f), -middle}) x.push_back(value);
    }
    for (float value : {0.0f, -0.0f, 1e-45f, 1e-10f, 7e4f, -1e30f, INFINITY, -INFINITY, NAN, 3.3e38f}) x.push_back(value);
    const int n = int(x.size());
    Buffer<uint16_t> halves(n), brains(n);
    Buffer<float> wide(65536), in(x);
    CHECK_CODE(0, launch("conversions", {unsigned(n + 255) / 256, 256}, halves.p, brains.p, wide.p, in.p, n));
    std::vector<uint16_t> h = halves.read(), b = brains.read();
    std::vector<float> w = wide.read();
    for (int i = 0; i < n; i++) {
        if (!check(h[i] == nearest_half(x[i]), "from_float<f16>", std::to_string(x[i]) + " " + std::to_string(h[i]))) break;
        float below = fabsf(brain_value(b[i] & 0x7fff));
        bool right = x[i] != x[i]            ? b[i] == 0x7fff
                     : fabsf(x[i]) > 3.395e38f ? true
                                             : fabs(double(below) - fabs(double(x[i]))) <=
                                                   (double(brain_value((b[i] & 0x7fff) + 1)) - below) / 2;
        if (!check(right, "from_float<bf16>", std::to_string(x[i]))) break;
    }
    for (uint32_t bits = 0; bits < 65536; bits++) {
        bool special = (bits >> 10 & 31) == 31;
        bool right = !special ? double(w[bits]) == half_value(uint16_t(bits)) && signbit(w[bits]) == bits >> 15
                     : (bits & 1023) ? w[bits] != w[bits]
                                     : isinf(w[bits]) && signbit(w[bits]) == bits >> 15;
        if (!check(right, "to_float(f16)", std::to_string(bits))) break;
    }
}

static uint16_t brain(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return uint16_t(bits >> 16);
}

static void matmul(const char* kernel, bool is_half, bool transposed) {
    const int k = 96;
    auto narrow = [&](float x) { return is_half ? nearest_half(x) : brain(x); };
    auto widen = [&](uint16_t bits) { return is_half ? half_value(bits) : double(brain_value(bits)); };
    std::vector<uint16_t> a, b;
    for (float x : random_floats(64 * k)) a.push_back(narrow(x));
    for (float x : random_floats(64 * k)) b.push_back(narrow(x));
    Buffer<uint16_t> a_device(a), b_device(b);
    Buffer<float> c(64 * 64);
    CHECK_CODE(0, launch(kernel, {1, 128, 2 * 64 * 40 * 2}, c.p, a_device.p, b_device.p, k, 1));
    std::vector<float> got = c.read();
    for (int i = 0; i < 64 * 64; i++) {
        double want = 0;
        for (int j = 0; j < k; j++) {
            want += widen(a[i / 64 * k + j]) * widen(transposed ? b[j * 64 + i % 64] : b[i % 64 * k + j]);
        }
        bool right = fabs(got[i] - want) <= 2e-5;
        if (!check(right, kernel, std::to_string(i) + ": " + std::to_string(got[i]) + ", not " + std::to_string(want))) break;
    }
}

static void warps() {
    Buffer<int> out(32 * 12);
    CHECK_CODE(0, launch("shuffles", {1, 32}, out.p));
    std::vector<int> got = out.read();
    for (int lane = 0; lane < 32; lane++) {
        const int* row = &got[lane * 12];
        const int want[12] = {
            50,
            lane < 3 ? lane : lane - 3,
            lane % 8 < 5 ? lane + 3 : lane,
            lane ^ 16,
            0x49249249,
            1,
            496,
            lane | 7,
            lane ^ 1,
            lane < 16 ? lane ^ 1 : 40,
            11,
            3,
        };
        for (int i = 0; i < 12; i++) {
            check(row[i] == want[i], "shuffles", std::to_string(lane) + " " + std::to_string(i) + ": " + std::to_string(row[i]));
        }
    }
    Buffer<uint32_t> counters(std::vector<uint32_t>(4)), partial(40), total(1);
    Buffer<float> sum(std::vector<float>(1));
    CHECK_CODE(0, launch("atomics", {40, 64}, counters.p, sum.p, partial.p, total.p));
    std::vector<uint32_t> counts = counters.read();
    check(counts[0] == 2560 && counts[1] == 2559 && counts[2] == 40, "atomics");
    check(sum.read()[0] == 1280.0f, "atomicAdd of floats");
    check(total.read()[0] == 820, "the last block");
}

static void arguments() {
    struct {
        int rows, columns;
        float scale;
    } sizes{3, 5, 0.5f};
    Buffer<float> out(1);
    CHECK_CODE(0, launch("arguments", {}, out.p, uint8_t(200), sizes, 0.25, (long long)(1000)));
    check(out.read()[0] == 1207.75f, "arguments");
    void* f = function("arguments");
    size_t offset = 0, size = 0;
    const size_t want[5][2] = {{0, 8}, {8, 1}, {12, 12}, {24, 8}, {32, 8}};
    for (size_t i = 0; i < 5; i++) {
        CHECK_CODE(0, call("cuFuncGetParamInfo", f, i, &offset, &size));
        check(offset == want[i][0] && size == want[i][1], "cuFuncGetParamInfo");
    }
    CHECK_CODE(1, call("cuFuncGetParamInfo", f, size_t(5), &offset, &size));
}

void good_kernels() {
    sums();
    matmul("matmul_f16", true, false);
    matmul("matmul_bf16", false, false);
    matmul("matmul_transposed_f16", true, true);
    matmul("matmul_transposed_bf16", false, true);
    warps();
    arguments();
}
