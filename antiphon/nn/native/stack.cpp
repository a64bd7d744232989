// One new column of a few rows through a stack of layers: a list of stages that the threads walk side by side.
//
// Each thread computes its share of a stage's outputs and then waits for the others, once a stage. What is small (the
// normalisation of a few rows) every thread computes for itself, which takes less time than to wait once more.

#ifdef _OPENMP
#include <omp.h>
#endif

#include "attend.h"
#include "product.h"

namespace antiphon {
namespace {

constexpr int kMostMatrices = 3;

// The same numbers as in stack.py.
enum What : int64_t { kProject = 0, kAttend = 1, kNormalise = 2 };
enum Activation : int64_t { kIdentity = 0, kRelu = 1, kGelu = 2 };
// Where a stage reads and writes: the column itself, and two buffers in turn.
enum Place : int64_t { kColumn = 0, kFirst = 1, kSecond = 2, kPlaces = 3 };

struct Norm {
    const char* weight;  // null: no normalisation
    const char* bias;
    double eps;
};

struct Matrix {
    const uint8_t* weight;
    const uint16_t* scales;
    const void* bias;
    int64_t kind, weight_stride, scale_stride, group, inputs, outputs;
};

struct Stage {
    int64_t what, from, to;
    Norm norm;
    // of a projection: matrices whose outputs lie side by side, and whether the result is added to the column
    Matrix matrices[kMostMatrices];
    int64_t matrix_count, activation, adds;
    // of an attention: whether keys and values of this column come after its query, to be stored
    int64_t heads, key_heads, head_width, fresh, store, mask;
    double scale;
};

// Keys and values (rows, key heads, room, head width), of which the first `filled` count, this column's included.
struct Store {
    char *keys, *values;
    float *key_scales, *value_scales;
    int64_t kind, room, filled;
};

struct Mask {
    const uint8_t* allowed;  // null: all
    int64_t batch_stride, head_stride, slot_stride;
};

struct Step {
    const Stage* stages;
    const Store* stores;
    const Mask* masks;
    const void* x;
    void* out;
    int64_t stage_count, rows, width, widest, kind, threads;
};

struct Share {
    const Step& step;
    float* const* places;
    int64_t thread, threads;

    int64_t first(int64_t tasks) const { return tasks * thread / threads; }
    int64_t last(int64_t tasks) const { return tasks * (thread + 1) / threads; }
    // what the model's dtype makes of a number
    float rounded(float value) const {
        return step.kind == kBfloat16 ? from_bfloat16(to_bfloat16(value)) : value;
    }
};

inline Floats numbers(const char* from, int64_t place, int64_t kind) {
    return kind == kBfloat16 ? widened(load<Shorts>(from + 2 * place)) : load<Floats>(from + 4 * place);
}

// Layer normalisation of one row.
void normalised(const Norm& norm, const Share& share, const float* x, float* to) {
    const int64_t width = share.step.width;
    Floats total = {}, squares = {};
    for (int64_t i = 0; i < width; i += kLanes) total += load<Floats>(x + i);
    const float mean = sum(total) / width;
    for (int64_t i = 0; i < width; i += kLanes) {
        const Floats apart = load<Floats>(x + i) - mean;
        squares += apart * apart;
    }
    const float scale = 1.0f / std::sqrt(sum(squares) / width + static_cast<float>(norm.eps));
    for (int64_t i = 0; i < width; i += kLanes) {
        Floats value = (load<Floats>(x + i) - mean) * scale * numbers(norm.weight, i, share.step.kind);
        if (norm.bias) value += numbers(norm.bias, i, share.step.kind);
        store(to + i, value);
    }
    if (share.step.kind == kBfloat16)
        for (int64_t i = 0; i < width; ++i) to[i] = share.rounded(to[i]);
}

// x times the share of a normal distribution that lies below x, to 3e-7 of it everywhere.
// Source: the share below -x is exp(-x x / 2) s P(s) with s = 1 / (1 + 0.3 x); P was fitted for 0 <= x <= 14 by least
// squares of the relative error, which is below 5e-9.
inline Floats gelu(Floats x) {
    constexpr float kP[] = {0.11968740820884705f,  0.11955723911523819f, 0.11036118865013123f, 0.07778386026620865f,
                            0.09795569628477097f,  -0.08284755051136017f, 0.1959741860628128f, -0.2314002811908722f,
                            0.11380651593208313f, -0.0208782609552145f};
    const Floats size = x < 0.0f ? -x : x;
    const Floats s = 1.0f / (1.0f + 0.3f * size);
    Floats below = all(kP[9]);
    for (int i = 8; i >= 0; --i) below = below * s + kP[i];
    below *= s * exponential(-0.5f * x * x);
    return x * (x < 0.0f ? below : 1.0f - below);
}

void activated(int64_t activation, float* at, int64_t count) {
    if (activation == kIdentity) return;
    for (int64_t i = 0; i < count; i += kLanes) {
        const int64_t here = count - i < kLanes ? count - i : kLanes;
        Floats x = {};
        std::memcpy(&x, at + i, here * sizeof(float));
        x = activation == kGelu ? gelu(x) : (x < 0.0f ? Floats{} : x);
        std::memcpy(at + i, &x, here * sizeof(float));
    }
}

template <class Format>
void multiplied(const Matrix& m, const float* x, float* prepared, float* out, int64_t out_stride, const Share& share,
                int64_t begin, int64_t end) {
    const int64_t rows = share.step.rows;
    for (int64_t r = 0; r < rows; ++r) ordered<Format>(x + r * m.inputs, kFloat32, m.inputs, prepared + r * m.inputs);
    Product p{prepared, m.weight, m.scales, m.bias, out, m.inputs, m.outputs, m.weight_stride, m.scale_stride, m.group,
              out_stride, static_cast<int32_t>(share.step.kind), kFloat32};
    strips<Format>(p, rows, begin, end);
}

void project(const Stage& stage, const Share& share) {
    const int64_t rows = share.step.rows, inputs = stage.matrices[0].inputs;
    float* prepared = scratch(2 * rows * inputs);
    const float* x = share.places[stage.from];
    if (stage.norm.weight) {
        float* normed = prepared + rows * inputs;
        for (int64_t r = 0; r < rows; ++r) normalised(stage.norm, share, x + r * inputs, normed + r * inputs);
        x = normed;
    }
    int64_t outputs = 0, strip_count = 0;
    for (int64_t i = 0; i < stage.matrix_count; ++i) {
        outputs += stage.matrices[i].outputs;
        strip_count += (stage.matrices[i].outputs + kStrip - 1) / kStrip;
    }
    float *to = share.places[stage.to], *column = share.places[kColumn];
    int64_t first = share.first(strip_count), last = share.last(strip_count);
    for (int64_t i = 0; i < stage.matrix_count; ++i) {
        const Matrix& m = stage.matrices[i];
        const int64_t begin = first < 0 ? 0 : first * kStrip;
        const int64_t end = last * kStrip < m.outputs ? last * kStrip : m.outputs;
        if (begin < end) {
            if (m.kind == kInt4)
                multiplied<Int4Weight>(m, x, prepared, to, outputs, share, begin, end);
            else if (m.kind == kInt8)
                multiplied<Int8Weight>(m, x, prepared, to, outputs, share, begin, end);
            else
                multiplied<Bfloat16Weight>(m, x, prepared, to, outputs, share, begin, end);
            for (int64_t r = 0; r < rows; ++r) {
                float *at = to + r * outputs + begin, *sum = column + r * outputs + begin;
                if (share.step.kind == kBfloat16)
                    for (int64_t o = 0; o < end - begin; ++o) at[o] = share.rounded(at[o]);
                activated(stage.activation, at, end - begin);
                if (share.step.kind == kBfloat16 && stage.activation != kIdentity)
                    for (int64_t o = 0; o < end - begin; ++o) at[o] = share.rounded(at[o]);
                if (stage.adds)
                    for (int64_t o = 0; o < end - begin; ++o) sum[o] = share.rounded(sum[o] + at[o]);
            }
        }
        const int64_t strips_here = (m.outputs + kStrip - 1) / kStrip;
        first -= strips_here, last -= strips_here;
        to += m.outputs, column += m.outputs;
    }
}

// Keeps one head's key or value of this column.
void keep(const float* from, const Store& store, char* numbers, float* scales, int64_t width, int64_t row_head) {
    const int64_t slot = row_head * store.room + store.filled - 1;
    if (store.kind == kInt8)
        stored(from, 0, kFloat32, width, reinterpret_cast<int8_t*>(numbers) + slot * width, scales + slot);
    else
        for (int64_t i = 0; i < width; ++i) write(numbers, slot * width + i, static_cast<int32_t>(store.kind), from[i]);
}

// A thread stores the keys and values of its own heads and then attends to them: there is nothing to wait for.
void attend_heads(const Stage& stage, const Share& share) {
    const Store& store = share.step.stores[stage.store];
    const Mask& mask = share.step.masks[stage.mask];
    const int64_t width = stage.head_width, groups = stage.heads / stage.key_heads;
    const int64_t query_width = stage.heads * width, key_width = stage.key_heads * width;
    const int64_t row = query_width + (stage.fresh ? 2 * key_width : 0);
    const float* from = share.places[stage.from];
    float* to = share.places[stage.to];
    auto columns = [&](const char* numbers, const float* scales) {
        return Columns{numbers, scales, key_width * store.room, width * store.room, width,
                       stage.key_heads * store.room, store.room};
    };
    const Attention a{from, columns(store.keys, store.key_scales), columns(store.values, store.value_scales),
                      mask.allowed, to, row, width, mask.batch_stride, mask.head_stride, mask.slot_stride,
                      share.step.rows, stage.heads, groups, store.filled, width, static_cast<float>(stage.scale),
                      kFloat32, mask.allowed ? kAllowed : kNoMask};
    const int64_t tasks = share.step.rows * stage.key_heads;
    for (int64_t task = share.first(tasks); task < share.last(tasks); ++task) {
        const int64_t batch = task / stage.key_heads, key_head = task % stage.key_heads;
        if (stage.fresh) {
            const float* key = from + batch * row + query_width + key_head * width;
            keep(key, store, store.keys, store.key_scales, width, task);
            keep(key + key_width, store, store.values, store.value_scales, width, task);
        }
        for (int64_t head = key_head * groups; head < (key_head + 1) * groups; ++head) {
            attend(a, static_cast<int32_t>(store.kind), batch, head);
            float* at = to + batch * query_width + head * width;
            if (share.step.kind == kBfloat16)
                for (int64_t i = 0; i < width; ++i) at[i] = share.rounded(at[i]);
        }
    }
}

void normalise(const Stage& stage, const Share& share) {
    for (int64_t r = share.first(share.step.rows); r < share.last(share.step.rows); ++r) {
        float* x = share.places[kColumn] + r * share.step.width;
        normalised(stage.norm, share, x, x);
    }
}

void walk(const Share& share) {
    for (int64_t i = 0; i < share.step.stage_count; ++i) {
        const Stage& stage = share.step.stages[i];
        if (stage.what == kProject)
            project(stage, share);
        else if (stage.what == kAttend)
            attend_heads(stage, share);
        else
            normalise(stage, share);
#pragma omp barrier
    }
}

}  // namespace
}  // namespace antiphon

extern "C" void antiphon_step(const antiphon::Step* given) {
    using namespace antiphon;
    const Step& step = *given;
    const int64_t numbers = step.rows * step.width, wide = step.rows * step.widest;
    float* memory = static_cast<float*>(::operator new[]((numbers + 2 * wide) * sizeof(float), std::align_val_t(64)));
    float* const places[kPlaces] = {memory, memory + numbers, memory + numbers + wide};
    const int32_t kind = static_cast<int32_t>(step.kind);
    for (int64_t i = 0; i < numbers; ++i) places[kColumn][i] = read(step.x, i, kind);
#pragma omp parallel num_threads(step.threads) if (step.threads > 1)
    {
#ifdef _OPENMP
        walk(Share{step, places, omp_get_thread_num(), omp_get_num_threads()});
#else
        walk(Share{step, places, 0, 1});
#endif
    }
    for (int64_t i = 0; i < numbers; ++i) write(step.out, i, kind, places[kColumn][i]);
    ::operator delete[](memory, std::align_val_t(64));
}
