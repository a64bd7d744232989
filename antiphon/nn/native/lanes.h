// Sixteen numbers at once, in the vector types that GCC and Clang share; AVX-512 where it says more.

#pragma once

#include <cstdint>
#include <cstring>
#include <new>

#if defined(__AVX512F__) && !defined(ANTIPHON_PLAIN)
#define ANTIPHON_AVX512 1
#include <immintrin.h>
#endif

namespace antiphon {

constexpr int kLanes = 16;

typedef float Floats __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));
typedef uint32_t Words __attribute__((vector_size(64)));
typedef uint16_t Shorts __attribute__((vector_size(32)));
typedef uint8_t Bytes __attribute__((vector_size(16)));
typedef int8_t SignedBytes __attribute__((vector_size(16)));

// The kinds of number that tensors come in; the same numbers as in products.py and attention.py.
enum Kind : int32_t { kFloat32 = 0, kBfloat16 = 1, kInt8 = 2, kInt4 = 3 };

template <class Vector>
static inline Vector load(const void* from) {
    Vector value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

template <class Vector>
static inline void store(void* to, Vector value) {
    std::memcpy(to, &value, sizeof value);
}

static inline Floats all(float value) { return value - Floats{}; }

static inline float sum(Floats v) {
#ifdef ANTIPHON_AVX512
    return _mm512_reduce_add_ps(reinterpret_cast<__m512>(v));
#else
    float lane[kLanes];
    store(lane, v);
    for (int width = kLanes / 2; width; width /= 2)
        for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
    return lane[0];
#endif
}

// The sums of four vectors at once, which takes half the steps of one after the other.
static inline void sums(const Floats vectors[4], float to[4]) {
#ifdef ANTIPHON_AVX512
    const auto pair = [](Floats a, Floats b) {
        const __m512 x = reinterpret_cast<__m512>(a), y = reinterpret_cast<__m512>(b);
        return _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(x, y), _mm512_unpackhi_ps(x, y)));
    };
    const __m512d x = pair(vectors[0], vectors[1]), y = pair(vectors[2], vectors[3]);
    const __m512 four = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)),
                                      _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
    const __m512 half = _mm512_add_ps(four, _mm512_shuffle_f32x4(four, four, 0x4e));
    const __m512 whole = _mm512_add_ps(half, _mm512_shuffle_f32x4(half, half, 0xb1));
    _mm_storeu_ps(to, _mm512_castps512_ps128(whole));
#else
    for (int i = 0; i < 4; ++i) to[i] = sum(vectors[i]);
#endif
}

static inline float from_bfloat16(uint16_t half) {
    uint32_t bits = static_cast<uint32_t>(half) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// To the nearest, ties to even; NaN stays NaN.
static inline uint16_t to_bfloat16(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if (value != value) return static_cast<uint16_t>(bits >> 16) | 0x40;
    return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static inline float read(const void* from, int64_t place, int32_t kind) {
    return kind == kBfloat16 ? from_bfloat16(static_cast<const uint16_t*>(from)[place])
                             : static_cast<const float*>(from)[place];
}

static inline void write(void* to, int64_t place, int32_t kind, float value) {
    if (kind == kBfloat16)
        static_cast<uint16_t*>(to)[place] = to_bfloat16(value);
    else
        static_cast<float*>(to)[place] = value;
}

static inline Floats widened(Shorts halves) {
    return reinterpret_cast<Floats>(__builtin_convertvector(halves, Words) << 16);
}

// Memory for one call's scratch numbers, kept for the thread's next call.
static inline float* scratch(size_t numbers) {
    struct Block {
        float* place = nullptr;
        size_t size = 0;
        ~Block() { ::operator delete[](place, std::align_val_t(64)); }
    };
    static thread_local Block block;
    if (numbers > block.size) {
        ::operator delete[](block.place, std::align_val_t(64));
        block.size = 0;
        block.place = static_cast<float*>(::operator new[](numbers * sizeof(float), std::align_val_t(64)));
        block.size = numbers;
    }
    return block.place;
}

}  // namespace antiphon
