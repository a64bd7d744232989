// Attention of one query over stored keys and values, and the storing of a column in eight bits.

#pragma once

#include <cmath>
#include <limits>

#include "lanes.h"

namespace antiphon {
namespace {

constexpr int kMostVectors = 16;  // heads of up to 256 numbers

// Keys or values (batch, heads, slots, width): the numbers of a slot lie together, and slots may lie apart.
struct Columns {
    const char* numbers;
    const float* scales;  // (batch, heads, slots) for eight bits, else null
    int64_t batch_stride, head_stride, slot_stride;  // in numbers
    int64_t scale_batch_stride, scale_head_stride;
};

enum MaskKind : int32_t { kNoMask = 0, kAllowed = 1, kAdded = 2 };

struct Attention {
    const void* query;  // (batch, heads, width), by strides
    Columns keys, values;
    const void* mask;  // bool (true: look), or float32 to add
    void* out;         // (batch, heads, width), its rows by a stride
    int64_t query_batch_stride, query_head_stride;
    int64_t mask_batch_stride, mask_head_stride, mask_slot_stride;
    int64_t batch, heads, groups, slots, width;
    int64_t out_batch_stride;
    float scale;
    int32_t kind, mask_kind;
};

struct Float32Column {
    static constexpr int kBytes = 4;
    static inline Floats at(const char* from) { return load<Floats>(from); }
};

struct Bfloat16Column {
    static constexpr int kBytes = 2;
    static inline Floats at(const char* from) { return widened(load<Shorts>(from)); }
};

struct Int8Column {
    static constexpr int kBytes = 1;
    static inline Floats at(const char* from) {
#ifdef ANTIPHON_AVX512
        return reinterpret_cast<Floats>(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load<__m128i>(from))));
#else
        return __builtin_convertvector(__builtin_convertvector(load<SignedBytes>(from), Ints), Floats);
#endif
    }
};

// e to the power x for x <= 0, to two units in the last place; what float32 cannot hold is 0.
// Source: Cody and Waite's reduction by ln 2 in two parts, and the Taylor series up to the seventh power.
inline Floats exponential(Floats x) {
    constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
    Floats whole = x * 1.44269504f + kRound;
    Floats power = whole - kRound;
    Floats rest = x - power * 0.693359375f + power * 2.12194440e-4f;
    Floats sum = rest * (1.0f / 5040) + 1.0f / 720;
    sum = sum * rest + 1.0f / 120;
    sum = sum * rest + 1.0f / 24;
    sum = sum * rest + 1.0f / 6;
    sum = sum * rest + 0.5f;
    sum = sum * rest + 1.0f;
    sum = sum * rest + 1.0f;
    Ints scaled = reinterpret_cast<Ints>(sum) + (reinterpret_cast<Ints>(whole) << 23);
    return reinterpret_cast<Floats>(scaled & ~(x <= -87.0f));  // NaN is not below, and stays
}

void mask(const Attention& a, int64_t batch, int64_t head, float* scores) {
    int64_t place = batch * a.mask_batch_stride + head * a.mask_head_stride;
    for (int64_t slot = 0; slot < a.slots; ++slot, place += a.mask_slot_stride)
        if (a.mask_kind == kAdded)
            scores[slot] += static_cast<const float*>(a.mask)[place];
        else if (!static_cast<const uint8_t*>(a.mask)[place])
            scores[slot] = -std::numeric_limits<float>::infinity();
}

// `to` has room for three slots more than there are.
template <class Column, int VECTORS>
void scores(const Attention& a, int64_t batch, int64_t head, const float* query, float* to) {
    const int64_t group = head / a.groups;
    const char* key = a.keys.numbers + (batch * a.keys.batch_stride + group * a.keys.head_stride) * Column::kBytes;
    const int64_t step = a.keys.slot_stride * Column::kBytes;
    const int vectors = VECTORS ? VECTORS : static_cast<int>(a.width / kLanes);
    for (int64_t slot = 0; slot < a.slots; slot += 4) {
        Floats dots[4] = {};
#pragma GCC unroll 4
        for (int s = 0; s < 4; ++s) {
            if (slot + s >= a.slots) break;
#pragma GCC unroll 8
            for (int v = 0; v < vectors; ++v)
                dots[s] += load<Floats>(query + v * kLanes) * Column::at(key + s * step + v * kLanes * Column::kBytes);
        }
        sums(dots, to + slot);
        key += 4 * step;
    }
    if (a.keys.scales) {
        const float* scales = a.keys.scales + batch * a.keys.scale_batch_stride + group * a.keys.scale_head_stride;
        for (int64_t slot = 0; slot < a.slots; ++slot) to[slot] *= scales[slot];
    }
    if (a.mask_kind != kNoMask) mask(a, batch, head, to);
}

// The scores become weights that are still to be divided by their sum, which is returned.
float softened(float* scores, int64_t slots) {
    float most = -std::numeric_limits<float>::infinity();
    for (int64_t s = 0; s < slots; ++s) most = scores[s] > most ? scores[s] : most;
    // a row that sees nothing: its weights are 0, not NaN
    if (most == -std::numeric_limits<float>::infinity()) most = 0.0f;
    Floats total = {};
    for (int64_t s = slots; s % kLanes; ++s) scores[s] = -std::numeric_limits<float>::infinity();
    for (int64_t s = 0; s < slots; s += kLanes) {
        Floats weights = exponential(load<Floats>(scores + s) - most);
        store(scores + s, weights);
        total += weights;
    }
    return sum(total);
}

template <class Column, int VECTORS>
void weighted(const Attention& a, int64_t batch, int64_t head, float* weights, float total) {
    const int64_t group = head / a.groups;
    const char* value =
        a.values.numbers + (batch * a.values.batch_stride + group * a.values.head_stride) * Column::kBytes;
    if (a.values.scales) {
        const float* scales = a.values.scales + batch * a.values.scale_batch_stride + group * a.values.scale_head_stride;
        for (int64_t slot = 0; slot < a.slots; ++slot) weights[slot] *= scales[slot];
    }
    const int64_t step = a.values.slot_stride * Column::kBytes;
    const int vectors = VECTORS ? VECTORS : static_cast<int>(a.width / kLanes);
    Floats sums[VECTORS ? VECTORS : kMostVectors] = {};
    for (int64_t slot = 0; slot < a.slots; ++slot, value += step) {
#pragma GCC unroll 8
        for (int v = 0; v < vectors; ++v) sums[v] += weights[slot] * Column::at(value + v * kLanes * Column::kBytes);
    }
    const float share = total == 0.0f ? 0.0f : 1.0f / total;
    for (int v = 0; v < vectors; ++v) {
        float lanes[kLanes];
        store(lanes, sums[v] * share);
        for (int i = 0; i < kLanes; ++i)
            write(a.out, batch * a.out_batch_stride + head * a.width + v * kLanes + i, a.kind, lanes[i]);
    }
}

template <class Column, int VECTORS>
void attend_one(const Attention& a, int64_t batch, int64_t head) {
    float* query = scratch(a.width + a.slots + kLanes);
    float* weights = query + a.width;
    const int64_t begin = batch * a.query_batch_stride + head * a.query_head_stride;
    for (int64_t i = 0; i < a.width; ++i) query[i] = read(a.query, begin + i, a.kind) * a.scale;
    scores<Column, VECTORS>(a, batch, head, query, weights);
    weighted<Column, VECTORS>(a, batch, head, weights, softened(weights, a.slots));
}

template <class Column>
void attend_of_width(const Attention& a, int64_t batch, int64_t head) {
    if (a.width == 4 * kLanes)
        attend_one<Column, 4>(a, batch, head);
    else if (a.width == 8 * kLanes)
        attend_one<Column, 8>(a, batch, head);
    else
        attend_one<Column, 0>(a, batch, head);
}

// One head of one row.
inline void attend(const Attention& a, int32_t store_kind, int64_t batch, int64_t head) {
    if (store_kind == kInt8)
        attend_of_width<Int8Column>(a, batch, head);
    else if (store_kind == kBfloat16)
        attend_of_width<Bfloat16Column>(a, batch, head);
    else
        attend_of_width<Float32Column>(a, batch, head);
}

// One column's numbers as whole numbers of -127 to 127 and their scale.
inline void stored(const void* from, int64_t begin, int32_t kind, int64_t width, int8_t* codes, float* scale) {
    uint32_t most = 0;  // magnitudes as bits: they order like numbers, and NaN is above infinity
    for (int64_t i = 0; i < width; ++i) {
        float value = read(from, begin + i, kind);
        uint32_t bits;
        std::memcpy(&bits, &value, sizeof bits);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    float largest;
    std::memcpy(&largest, &most, sizeof largest);
    *scale = largest / 127.0f;
    const bool fit = *scale > 0.0f && *scale < std::numeric_limits<float>::infinity();
    for (int64_t i = 0; i < width; ++i)
        codes[i] = fit ? static_cast<int8_t>(std::nearbyintf(read(from, begin + i, kind) / *scale)) : 0;
}

}  // namespace
}  // namespace antiphon
