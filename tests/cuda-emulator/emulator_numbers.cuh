// Number formats, bit operations and functions of CUDA's math library that the host's library lacks. Included by
// emulator.cuh.
#pragma once

// ---- bits ----

template <class To, class From>
inline To emulator_bits(From x) {
    static_assert(sizeof(To) == sizeof(From));
    To y;
    memcpy(&y, &x, sizeof y);
    return y;
}
inline float __uint_as_float(uint32 x) { return emulator_bits<float>(x); }
inline uint32 __float_as_uint(float x) { return emulator_bits<uint32>(x); }
inline float __int_as_float(int x) { return emulator_bits<float>(x); }
inline int __float_as_int(float x) { return emulator_bits<int>(x); }
inline int __popc(uint32 x) { return __builtin_popcount(x); }
inline int __popcll(uint64 x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(uint32(x)) : 32; }
inline int __clzll(int64 x) { return x ? __builtin_clzll(uint64(x)) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(int64 x) { return __builtin_ffsll(x); }
inline uint32 __brev(uint32 x) {
    uint32 y = 0;
    for (int i = 0; i < 32; i++) y |= (x >> i & 1) << (31 - i);
    return y;
}
// __byte_perm: selects four of the eight bytes of (y, x) by four nibbles.
inline uint32 __byte_perm(uint32 x, uint32 y, uint32 selector) {
    uint64 bytes = uint64(y) << 32 | x;
    uint32 result = 0;
    for (int i = 0; i < 4; i++) {
        uint32 s = selector >> (4 * i);
        uint32 byte = bytes >> (8 * (s & 7)) & 0xff;
        if (s & 8) byte = byte & 0x80 ? 0xff : 0;
        result |= byte << (8 * i);
    }
    return result;
}
inline uint32 __funnelshift_l(uint32 low, uint32 high, uint32 n) {
    return uint32((uint64(high) << 32 | low) << (n & 31) >> 32);
}
inline uint32 __funnelshift_r(uint32 low, uint32 high, uint32 n) { return uint32((uint64(high) << 32 | low) >> (n & 31)); }
inline uint32 __umulhi(uint32 x, uint32 y) { return uint32(uint64(x) * y >> 32); }
inline int __mulhi(int x, int y) { return int(int64(x) * y >> 32); }
inline uint64 __umul64hi(uint64 x, uint64 y) { return uint64((unsigned __int128)x * y >> 64); }
// __dp4a: the sum of the products of four signed bytes.
inline int __dp4a(int a, int b, int sum) {
    for (int i = 0; i < 4; i++) sum += int(int8(a >> (8 * i))) * int(int8(b >> (8 * i)));
    return sum;
}

// ---- arithmetic ----

#define EMULATOR_MIN_MAX(T, A, B)                              \
    inline T min(A x, B y) { return T(x) < T(y) ? T(x) : T(y); } \
    inline T max(A x, B y) { return T(x) < T(y) ? T(y) : T(x); }
EMULATOR_MIN_MAX(int, int, int)
EMULATOR_MIN_MAX(unsigned, unsigned, unsigned)
EMULATOR_MIN_MAX(unsigned, int, unsigned)
EMULATOR_MIN_MAX(unsigned, unsigned, int)
EMULATOR_MIN_MAX(long, long, long)
EMULATOR_MIN_MAX(size_t, size_t, size_t)
EMULATOR_MIN_MAX(int64, int64, int64)
EMULATOR_MIN_MAX(uint64, uint64, uint64)
#undef EMULATOR_MIN_MAX

// Never contracted to FMA; the emulator is compiled without contraction.
inline double __dadd_rn(double x, double y) { return x + y; }
inline double __dsub_rn(double x, double y) { return x - y; }
inline double __dmul_rn(double x, double y) { return x * y; }

// fminf and fmaxf: the number if the other operand is NaN, as on the device. The C library's versions are function
// calls.
inline float emulator_fminf(float x, float y) { return x != x ? y : (y < x ? y : x); }
inline float emulator_fmaxf(float x, float y) { return x != x ? y : (y > x ? y : x); }
#define fminf emulator_fminf
#define fmaxf emulator_fmaxf
inline float min(float x, float y) { return fminf(x, y); }
inline float max(float x, float y) { return fmaxf(x, y); }
inline double min(double x, double y) { return fmin(x, y); }
inline double max(double x, double y) { return fmax(x, y); }

inline float emulator_rsqrtf(float x) { return 1.0f / sqrtf(x); }
// sinpif and cospif, exact at multiples of a half, where sinf(pi x) is not.
inline float emulator_sinpif(float x) {
    double r = fmod(double(x), 2.0);
    if (r == 0.0 || r == 1.0 || r == -1.0) return copysignf(0.0f, x);
    return float(sin(3.14159265358979323846 * r));
}
inline float emulator_cospif(float x) {
    double r = fabs(fmod(double(x), 2.0));
    if (r == 0.5 || r == 1.5) return 0.0f;
    return float(cos(3.14159265358979323846 * r));
}
inline void emulator_sincosf(float x, float* s, float* c) { *s = sinf(x), *c = cosf(x); }
inline void emulator_sincospif(float x, float* s, float* c) { *s = emulator_sinpif(x), *c = emulator_cospif(x); }
// Macros, because some C libraries declare functions with these names.
#define rsqrtf emulator_rsqrtf
#define sinpif emulator_sinpif
#define cospif emulator_cospif
#define sincosf emulator_sincosf
#define sincospif emulator_sincospif
#define normcdff(x) (0.5f * erfcf(-(x) * 0.70710678118654752f))
// The device's fast versions are a little less accurate than these.
#define __expf(x) expf(x)
#define __exp10f(x) powf(10.0f, x)
#define exp10f(x) powf(10.0f, x)
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __log10f(x) log10f(x)
#define __powf(x, y) powf(x, y)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __tanf(x) tanf(x)
#define __saturatef(x) fminf(fmaxf(x, 0.0f), 1.0f)
#define __fdividef(x, y) ((x) / (y))
#define __fdiv_rn(x, y) ((x) / (y))
#define __frcp_rn(x) (1.0f / (x))
#define __frsqrt_rn(x) rsqrtf(x)
#define __fsqrt_rn(x) sqrtf(x)
#define __fmaf_rn(x, y, z) fmaf(x, y, z)
#define __fmul_rn(x, y) ((x) * (y))
#define __fadd_rn(x, y) ((x) + (y))
#define __fsub_rn(x, y) ((x) - (y))

// On the device conversions saturate and NaN becomes 0; in C++ both are undefined.
template <class T>
inline T emulator_convert(float x) {
    const float low = float(static_cast<T>(T(-1) < T(0) ? T(1) << (8 * sizeof(T) - 1) : 0));
    const T most = T(-1) < T(0) ? T(~(T(1) << (8 * sizeof(T) - 1))) : T(-1);
    if (x != x) return 0;
    if (x <= low) return T(low);
    if (x >= float(most)) return most;
    return T(x);
}
inline int __float2int_rn(float x) { return emulator_convert<int>(rintf(x)); }
inline int __float2int_rz(float x) { return emulator_convert<int>(truncf(x)); }
inline int __float2int_rd(float x) { return emulator_convert<int>(floorf(x)); }
inline int __float2int_ru(float x) { return emulator_convert<int>(ceilf(x)); }
inline uint32 __float2uint_rn(float x) { return emulator_convert<uint32>(rintf(x)); }
inline float __int2float_rn(int x) { return float(x); }
inline float __uint2float_rn(uint32 x) { return float(x); }

// ---- IEEE binary16 and bfloat16 ----

struct __align__(2) f16 {
    uint16 bits;
};
struct __align__(2) bf16 {
    uint16 bits;
};

inline float to_float(float x) { return x; }
inline float to_float(f16 x) {
#ifdef __F16C__
    typedef short short8 __attribute__((vector_size(16)));
    return __builtin_ia32_vcvtph2ps(short8{short(x.bits)})[0];
#else
    uint32 sign = uint32(x.bits & 0x8000) << 16, exponent = x.bits >> 10 & 31, mantissa = x.bits & 1023;
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000 | mantissa << 13 | (mantissa ? 0x400000 : 0));
    if (exponent == 0) return __uint_as_float(sign | __float_as_uint(float(mantissa) * 0x1p-24f));
    return __uint_as_float(sign | (exponent + 112) << 23 | mantissa << 13);
#endif
}
inline float to_float(bf16 x) { return __uint_as_float(uint32(x.bits) << 16); }

template <class T>
inline T from_float(float x);
template <>
inline float from_float<float>(float x) {
    return x;
}
// Rounds to nearest even with the clamp of device.cuh; NaN becomes the NaN that the instruction returns.
template <>
inline f16 from_float<f16>(float x) {
    if (x != x) return f16{0x7fff};
    x = fminf(fmaxf(x, -65504.0f), 65504.0f);
    uint32 bits = __float_as_uint(x), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude < 0x38800000) {
        // Subnormals (below 2^-14) are multiples of 2^-24; adding 0.5 rounds to the end of the mantissa.
        return f16{uint16(sign | (__float_as_uint(__uint_as_float(magnitude) + 0.5f) - 0x3f000000))};
    }
    uint32 rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    return f16{uint16(sign | ((rounded >> 13) - (112 << 10)))};
}
template <>
inline bf16 from_float<bf16>(float x) {
    uint32 bits = __float_as_uint(x);
    if (x != x) return bf16{0x7fff};
    return bf16{uint16((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
