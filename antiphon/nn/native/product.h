// x @ weight.T for a few rows x: every weight is read once, widened to float32 exactly, and used for all rows.
//
// A weight row is read in chunks of 32 numbers that unpack into two vectors. The order in which the numbers of a chunk
// come out of a format's unpacking is cheaper to give to x, once a call, than to undo for every weight.

#pragma once

#include "lanes.h"

namespace antiphon {
namespace {

constexpr int kChunk = 2 * kLanes;
constexpr int kMostRows = 8;
constexpr int64_t kStrip = 16;  // weight rows that stay in the nearest cache while all blocks of rows pass
constexpr int kLine = 64;       // bytes that memory gives at once
constexpr int kTilesAhead = 2;  // fetched early: worth 3 to 5 times for codes, whose rows are short

struct Product {
    const float* x;  // (rows, inputs), each chunk in the format's order
    const uint8_t* weight;
    const uint16_t* scales;  // bfloat16 (outputs, groups), or null
    const void* bias;        // of kind bias_kind, or null
    void* out;               // (rows, outputs)
    int64_t inputs, outputs, weight_stride, scale_stride, group, out_stride;
    int32_t bias_kind, out_kind;
};

struct Float32Weight {
    static constexpr int kBytes = 128;
    struct Group {
        void set(float) {}
    };
    static constexpr int source(int i) { return i; }
    static inline void unpack(const uint8_t* from, const Group&, Floats& first, Floats& second) {
        first = load<Floats>(from);
        second = load<Floats>(from + kBytes / 2);
    }
};

struct Bfloat16Weight {
    static constexpr int kBytes = 64;
    struct Group {
        void set(float) {}
    };
    // even places, then odd ones
    static constexpr int source(int i) { return i < kLanes ? 2 * i : 2 * (i - kLanes) + 1; }
    static inline void unpack(const uint8_t* from, const Group&, Floats& first, Floats& second) {
        Words pairs = load<Words>(from);
        first = reinterpret_cast<Floats>(pairs << 16);
        second = reinterpret_cast<Floats>(pairs & 0xffff0000u);
    }
};

struct Int8Weight {
    static constexpr int kBytes = 32;
    struct Group {
        Floats scale, zero;
        void set(float s) { scale = all(s), zero = all(-128.0f * s); }
    };
    static constexpr int source(int i) { return i; }
    static inline Floats converted(const uint8_t* from) {
#ifdef ANTIPHON_AVX512
        return reinterpret_cast<Floats>(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(load<__m128i>(from))));
#else
        return __builtin_convertvector(__builtin_convertvector(load<Bytes>(from), Ints), Floats);
#endif
    }
    static inline Floats part(const uint8_t* from, const Group& group) {
        return converted(from) * group.scale + group.zero;
    }
    static inline void unpack(const uint8_t* from, const Group& group, Floats& first, Floats& second) {
        first = part(from, group);
        second = part(from + kLanes, group);
    }
};

struct Int4Weight {
    static constexpr int kBytes = 16;
    // Four words of eight codes, each word in four lanes: lane 4 q + w takes code q (then 4 + q) of word w.
    static constexpr int source(int i) {
        return 8 * (i % 4) + (i % kLanes) / 4 + (i < kLanes ? 0 : 4);
    }
    static inline Words words(const uint8_t* from) {
        static constexpr Words shifts = {0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12};
#ifdef ANTIPHON_AVX512
        __m128i four = load<__m128i>(from);
        return reinterpret_cast<Words>(_mm512_broadcast_i32x4(four)) >> shifts;
#else
        Words spread;
        for (int i = 0; i < 4; ++i) std::memcpy(reinterpret_cast<char*>(&spread) + 16 * i, from, 16);
        return spread >> shifts;
#endif
    }
#ifdef ANTIPHON_AVX512
    // the sixteen values a code can mean lie in one register, and a code is the index
    struct Group {
        __m512 values;
        void set(float s) {
            const __m512 levels = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
            values = _mm512_mul_ps(_mm512_set1_ps(s), levels);
        }
    };
    static inline void unpack(const uint8_t* from, const Group& group, Floats& first, Floats& second) {
        Words codes = words(from);
        first = reinterpret_cast<Floats>(_mm512_permutexvar_ps(reinterpret_cast<__m512i>(codes), group.values));
        second = reinterpret_cast<Floats>(_mm512_permutexvar_ps(reinterpret_cast<__m512i>(codes >> 16), group.values));
    }
#else
    struct Group {
        Floats scale, zero;
        void set(float s) { scale = all(s), zero = all(-8.0f * s); }
    };
    static inline Floats part(Words codes, const Group& group) {
        Ints code = reinterpret_cast<Ints>(codes & 15u);
        return __builtin_convertvector(code, Floats) * group.scale + group.zero;
    }
    static inline void unpack(const uint8_t* from, const Group& group, Floats& first, Floats& second) {
        Words codes = words(from);
        first = part(codes, group);
        second = part(codes >> 16, group);
    }
#endif
};

// ROWS rows times OUTS weight rows. Every sum runs over the inputs in one order, whatever ROWS and OUTS are, so that a
// row's result depends neither on its neighbours nor on the number of threads.
template <class Format, int ROWS, int OUTS>
inline void tile(const Product& p, int64_t row, int64_t output) {
    Floats sums[OUTS][ROWS] = {};
    const uint8_t* from = p.weight + output * p.weight_stride;
    const float* x = p.x + row * p.inputs;
    for (int64_t begin = 0, number = 0; begin < p.inputs; begin += p.group, ++number) {
        int64_t end = begin + p.group < p.inputs ? begin + p.group : p.inputs;
        typename Format::Group groups[OUTS];
#pragma GCC unroll 8
        for (int o = 0; o < OUTS; ++o)
            groups[o].set(p.scales ? from_bfloat16(p.scales[(output + o) * p.scale_stride + number]) : 1.0f);
        for (int64_t i = begin; i < end; i += kChunk, from += Format::kBytes) {
            Floats first[OUTS], second[OUTS];
#pragma GCC unroll 8
            for (int o = 0; o < OUTS; ++o) {
                const uint8_t* ahead = from + (kTilesAhead * OUTS + o) * p.weight_stride;
                __builtin_prefetch(ahead);
                if (Format::kBytes > kLine) __builtin_prefetch(ahead + kLine);
                Format::unpack(from + o * p.weight_stride, groups[o], first[o], second[o]);
            }
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; ++r) {
                const Floats low = load<Floats>(x + r * p.inputs + i), high = load<Floats>(x + r * p.inputs + i + kLanes);
#pragma GCC unroll 8
                for (int o = 0; o < OUTS; ++o) sums[o][r] += first[o] * low;
#pragma GCC unroll 8
                for (int o = 0; o < OUTS; ++o) sums[o][r] += second[o] * high;
            }
        }
    }
#pragma GCC unroll 8
    for (int o = 0; o < OUTS; ++o)
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) {
            float value = sum(sums[o][r]);
            if (p.bias) value += read(p.bias, output + o, p.bias_kind);
            write(p.out, (row + r) * p.out_stride + output + o, p.out_kind, value);
        }
}

template <class Format, int ROWS>
void outputs(const Product& p, int64_t row, int64_t begin, int64_t end) {
#ifdef ANTIPHON_AVX512
    constexpr int kOuts = ROWS <= 4 ? 4 : 2;
#else
    constexpr int kOuts = ROWS <= 2 ? 2 : 1;
#endif
    for (; begin + kOuts <= end; begin += kOuts) tile<Format, ROWS, kOuts>(p, row, begin);
    for (; begin < end; ++begin) tile<Format, ROWS, 1>(p, row, begin);
}

template <class Format>
void some_rows(const Product& p, int64_t row, int64_t rows, int64_t begin, int64_t end) {
    switch (rows) {
        case 1: return outputs<Format, 1>(p, row, begin, end);
        case 2: return outputs<Format, 2>(p, row, begin, end);
        case 3: return outputs<Format, 3>(p, row, begin, end);
        case 4: return outputs<Format, 4>(p, row, begin, end);
        case 5: return outputs<Format, 5>(p, row, begin, end);
        case 6: return outputs<Format, 6>(p, row, begin, end);
        case 7: return outputs<Format, 7>(p, row, begin, end);
        default: return outputs<Format, 8>(p, row, begin, end);
    }
}

template <class Format>
void ordered(const void* x, int32_t kind, int64_t inputs, float* to) {
    for (int64_t chunk = 0; chunk < inputs; chunk += kChunk) {
        float numbers[kChunk];
        if (kind == kBfloat16)
            for (int i = 0; i < kChunk; ++i) numbers[i] = from_bfloat16(static_cast<const uint16_t*>(x)[chunk + i]);
        else
            std::memcpy(numbers, static_cast<const float*>(x) + chunk, sizeof numbers);
        for (int i = 0; i < kChunk; ++i) to[chunk + i] = numbers[Format::source(i)];
    }
}

// The outputs from begin to end of all rows.
template <class Format>
void strips(const Product& p, int64_t rows, int64_t begin, int64_t end) {
    const int64_t blocks = (rows + kMostRows - 1) / kMostRows, height = (rows + blocks - 1) / blocks;
    for (; begin < end; begin += kStrip)
        for (int64_t row = 0; row < rows; row += height)
            some_rows<Format>(p, row, row + height < rows ? height : rows - row, begin,
                              begin + kStrip < end ? begin + kStrip : end);
}

}  // namespace
}  // namespace antiphon
