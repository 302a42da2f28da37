// A stand-in for libcublasLt.so: plain loops that do what the descriptors say, in the order of the stream.
//
// Only what an engine needs for products of 16-bit matrices is there; anything else is CUBLAS_STATUS_NOT_SUPPORTED, so that
// a descriptor with a mistake in it does not go unnoticed. Two things are as nasty as the library may be:
// - the algorithm it recommends depends on the number of columns, and each adds in another order: whoever asks anew for
//   every size gets results that depend on the size;
// - products with 31 features have no algorithm.
// Enumerators are those of cublasLt.h.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "emulator.cuh"

#define LIBRARY extern "C" __attribute__((visibility("default")))

extern "C" int cuLaunchHostFunc(void* stream, void (*function)(void*), void* data);
extern "C" int emulator_is_allocated(const void* start, size_t bytes);

enum Status { SUCCESS = 0, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
enum { R_32F = 0, R_16F = 2, R_16BF = 14 };  // cudaDataType
enum { COMPUTE_32F = 68 };
enum { EPILOGUE_DEFAULT = 1, EPILOGUE_BIAS = 4 };
enum { DESC_TRANSA = 3, DESC_TRANSB = 4, DESC_EPILOGUE = 7, DESC_BIAS_POINTER = 8 };
enum { PREF_MAX_WORKSPACE = 1, PREF_REDUCTION_SCHEMES = 3 };

struct Description {
    int transposed_a = 0, transposed_b = 0;
    unsigned epilogue = EPILOGUE_DEFAULT;
    const void* bias = nullptr;
};

// Column-major.
struct Layout {
    int type;
    uint64_t rows, cols;
    int64_t ld;
    size_t bytes() const { return rows && cols ? 2 * (size_t(cols - 1) * ld + rows) : 0; }
};

struct Preference {
    size_t workspace = 0;
    unsigned schemes = 7;
};

struct Algorithm {
    uint64_t parts;  // of the sum over k, added up at the end
    uint64_t workspace;
    uint64_t rest[6];
};

struct Heuristic {
    Algorithm algorithm;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};

// Everything a product needs when its turn comes. Never freed: a graph may replay it at any time.
struct Product {
    Description description;
    Layout a, b, d;
    const void *a_data, *b_data, *c_data;
    void* d_data;
    float alpha, beta;
    uint64_t parts;
};

static uint64_t products = 0;

static float load(const void* data, int type, size_t at) {
    const uint16 bits = static_cast<const uint16*>(data)[at];
    return type == R_16F ? to_float(f16{bits}) : to_float(bf16{bits});
}

static uint16 narrow(float x, int type) {
    if (type == R_16BF) return from_float<bf16>(x).bits;
    // Unlike the engine's kernels, the library lets what is too large become infinity.
    if (x >= 65520.0f) return 0x7c00;
    if (x <= -65520.0f) return 0xfc00;
    return from_float<f16>(x).bits;
}

// Element (i, j) of op(m), as f32.
static float element(const void* data, const Layout& m, bool transposed, uint64_t i, uint64_t j) {
    return load(data, m.type, transposed ? i * m.ld + j : j * m.ld + i);
}

static void run(void* data) {
    const Product& p = *static_cast<Product*>(data);
    const bool ta = p.description.transposed_a, tb = p.description.transposed_b;
    const uint64_t k = ta ? p.a.rows : p.a.cols;
    for (auto [start, bytes] : {std::pair(p.a_data, p.a.bytes()), {p.b_data, p.b.bytes()}, {p.d_data, p.d.bytes()}}) {
        if (emulator_is_allocated(start, bytes)) continue;
        fprintf(stderr, "cuBLASLt stand-in: a product's matrix is no longer there when its turn comes\n");
        abort();
    }
    // All columns of the result at a time: the compiler can work on several of them at once, each in its own order.
    const uint64_t cols = p.d.cols;
    std::vector<float> b(k * cols), partial(4 * cols);
    for (uint64_t n = 0; n < k; n++) {
        for (uint64_t j = 0; j < cols; j++) b[n * cols + j] = element(p.b_data, p.b, tb, n, j);
    }
    uint16* d = static_cast<uint16*>(p.d_data);
    for (uint64_t i = 0; i < p.d.rows; i++) {
        std::fill(partial.begin(), partial.end(), 0.0f);
        for (uint64_t n = 0; n < k; n++) {
            const float a = element(p.a_data, p.a, ta, i, n);
            float* sums = partial.data() + n % p.parts * cols;
            const float* row = b.data() + n * cols;
            for (uint64_t j = 0; j < cols; j++) sums[j] += a * row[j];
        }
        for (uint64_t j = 0; j < cols; j++) {
            float sum = p.alpha * ((partial[j] + partial[cols + j]) + (partial[2 * cols + j] + partial[3 * cols + j]));
            const size_t at = j * p.d.ld + i;
            if (p.beta != 0) sum += p.beta * load(p.c_data, p.d.type, at);
            if (p.description.epilogue == EPILOGUE_BIAS) sum += load(p.description.bias, p.d.type, i);
            d[at] = narrow(sum, p.d.type);
        }
    }
}

LIBRARY uint64_t cublaslt_products() { return products; }

LIBRARY int cublasLtCreate(void** handle) {
    *handle = new int(0);
    return SUCCESS;
}
LIBRARY int cublasLtDestroy(void* handle) {
    delete static_cast<int*>(handle);
    return SUCCESS;
}
LIBRARY size_t cublasLtGetVersion() { return 130000; }

LIBRARY int cublasLtMatmulDescCreate(void** description, int compute, int scale) {
    if (compute != COMPUTE_32F || scale != R_32F) return NOT_SUPPORTED;
    *description = new Description;
    return SUCCESS;
}
LIBRARY int cublasLtMatmulDescDestroy(void* description) {
    delete static_cast<Description*>(description);
    return SUCCESS;
}
LIBRARY int cublasLtMatmulDescSetAttribute(void* handle, int attribute, const void* value, size_t bytes) {
    Description& description = *static_cast<Description*>(handle);
    auto set = [&](auto& field) {
        if (bytes != sizeof field) return INVALID_VALUE;
        memcpy(&field, value, bytes);
        return SUCCESS;
    };
    switch (attribute) {
        case DESC_TRANSA: return set(description.transposed_a);
        case DESC_TRANSB: return set(description.transposed_b);
        case DESC_EPILOGUE: return set(description.epilogue);
        case DESC_BIAS_POINTER: return set(description.bias);
        default: return NOT_SUPPORTED;
    }
}

LIBRARY int cublasLtMatrixLayoutCreate(void** layout, int type, uint64_t rows, uint64_t cols, int64_t ld) {
    if (uint64_t(ld) < rows) return INVALID_VALUE;
    *layout = new Layout{type, rows, cols, ld};
    return SUCCESS;
}
LIBRARY int cublasLtMatrixLayoutDestroy(void* layout) {
    delete static_cast<Layout*>(layout);
    return SUCCESS;
}

LIBRARY int cublasLtMatmulPreferenceCreate(void** preference) {
    *preference = new Preference;
    return SUCCESS;
}
LIBRARY int cublasLtMatmulPreferenceDestroy(void* preference) {
    delete static_cast<Preference*>(preference);
    return SUCCESS;
}
LIBRARY int cublasLtMatmulPreferenceSetAttribute(void* handle, int attribute, const void* value, size_t bytes) {
    Preference& preference = *static_cast<Preference*>(handle);
    if (attribute == PREF_MAX_WORKSPACE && bytes == sizeof preference.workspace) {
        memcpy(&preference.workspace, value, bytes);
    } else if (attribute == PREF_REDUCTION_SCHEMES && bytes == sizeof preference.schemes) {
        memcpy(&preference.schemes, value, bytes);
    } else {
        return NOT_SUPPORTED;
    }
    return SUCCESS;
}

// d = op(a) op(b), all of one 16-bit type, with an epilogue that is known.
static int check(const Description& description, const Layout& a, const Layout& b, const Layout& c, const Layout& d) {
    const uint64_t m = description.transposed_a ? a.cols : a.rows, k = description.transposed_a ? a.rows : a.cols;
    const uint64_t n = description.transposed_b ? b.rows : b.cols, inner = description.transposed_b ? b.cols : b.rows;
    if (inner != k || d.rows != m || d.cols != n || c.rows != m || c.cols != n || c.ld != d.ld) return INVALID_VALUE;
    if ((a.type != R_16F && a.type != R_16BF) || b.type != a.type || c.type != a.type || d.type != a.type) return NOT_SUPPORTED;
    if (description.epilogue != EPILOGUE_DEFAULT && description.epilogue != EPILOGUE_BIAS) return NOT_SUPPORTED;
    return SUCCESS;
}

LIBRARY int cublasLtMatmulAlgoGetHeuristic(void*, void* description, void* a, void* b, void* c, void* d, void* preference,
                                           int asked, Heuristic* found, int* count) {
    const Layout& out = *static_cast<Layout*>(d);
    const Preference& allowed = *static_cast<Preference*>(preference);
    *count = 0;
    if (asked < 1) return INVALID_VALUE;
    int code = check(*static_cast<Description*>(description), *static_cast<Layout*>(a), *static_cast<Layout*>(b),
                     *static_cast<Layout*>(c), out);
    if (code != SUCCESS) return code;
    if (out.rows == 31) return NOT_SUPPORTED;
    *found = Heuristic{};
    found->algorithm.parts = 1 + out.cols % 4;
    // Sums in pieces are only one of the ways here; where they are allowed, working memory is used.
    found->algorithm.workspace = found->workspace = allowed.schemes != 0 ? allowed.workspace + 1 : min(allowed.workspace, size_t(1) << 20);
    found->state = SUCCESS;
    *count = 1;
    return SUCCESS;
}

LIBRARY int cublasLtMatmul(void*, void* description, const float* alpha, const void* a_data, void* a, const void* b_data, void* b,
                           const float* beta, const void* c_data, void* c, void* d_data, void* d, const Algorithm* algorithm,
                           void* workspace, size_t workspace_bytes, void* stream) {
    Product product = {*static_cast<Description*>(description), *static_cast<Layout*>(a), *static_cast<Layout*>(b),
                       *static_cast<Layout*>(d), a_data, b_data, c_data, d_data, *alpha, *beta, 0};
    if (int code = check(product.description, product.a, product.b, *static_cast<Layout*>(c), product.d)) return code;
    if (!algorithm || algorithm->parts < 1 || algorithm->parts > 4) return INVALID_VALUE;
    if (workspace_bytes < algorithm->workspace || !emulator_is_allocated(workspace, workspace_bytes)) return INVALID_VALUE;
    if (product.description.epilogue == EPILOGUE_BIAS && !emulator_is_allocated(product.description.bias, 2 * product.d.rows)) {
        return INVALID_VALUE;
    }
    if (!emulator_is_allocated(a_data, product.a.bytes()) || !emulator_is_allocated(b_data, product.b.bytes()) ||
        !emulator_is_allocated(d_data, product.d.bytes())) {
        return INVALID_VALUE;
    }
    product.parts = algorithm->parts;
    products++;
    return cuLaunchHostFunc(stream, run, new Product(product)) == 0 ? SUCCESS : INVALID_VALUE;
}
