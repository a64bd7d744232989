// A few new columns of a few rows through a stack of layers: a list of stages that the threads walk side by side.
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
enum Activation : int64_t { kIdentity = 0, kRelu = 1, kGelu = 2, kSilu = 3 };
// Layer normalisation; root mean square with its weight multiplied in float32; the same rounded before it is multiplied.
enum NormKind : int64_t { kLayer = 0, kRms = 1, kRmsRounded = 2 };
// Where a stage reads and writes: the column itself, and two buffers in turn.
enum Place : int64_t { kColumn = 0, kFirst = 1, kSecond = 2, kPlaces = 3 };

struct Norm {
    const char* weight;  // null: no normalisation
    const char* bias;
    double eps;
    int64_t kind;
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
    // of a projection: matrices whose outputs lie side by side, or (gated) a gate and what it is multiplied with; the
    // factors of the channels, or null; and whether the result is added to the column
    Matrix matrices[kMostMatrices];
    const char* factors;
    int64_t matrix_count, activation, gated, adds;
    // of an attention: whether keys and values of these columns come after their queries, to be turned and stored
    int64_t heads, key_heads, head_width, fresh, store, mask;
    double scale;
};

// Keys and values (batch, key heads, room, head width), of which the first `filled` count, these columns' included.
struct Store {
    char *keys, *values;
    float *key_scales, *value_scales;
    int64_t kind, room, filled;
};

struct Mask {
    const uint8_t* allowed;  // null: all
    int64_t batch_stride, head_stride, column_stride, slot_stride;
};

// Cosines and sines (batch, columns, head width) in the columns' kind; null: nothing is turned.
struct Rotation {
    const char *cosines, *sines;
    int64_t batch_stride;
};

struct Step {
    const Stage* stages;
    const Store* stores;
    const Mask* masks;
    Rotation rotation;
    const int64_t* slots;  // (batch, columns), where the columns are stored; null: in the last filled ones
    const uint8_t* live;   // (batch,), whose columns are stored; null: all
    const void* x;
    void* out;
    int64_t slot_stride, stage_count, batch, columns, width, widest, kind, threads;

    int64_t rows() const { return batch * columns; }
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

// What the dtype `kind` makes of numbers.
inline Floats rounded(Floats value, int64_t kind) {
    if (kind != kBfloat16) return value;
    const Words bits = reinterpret_cast<Words>(value);
    const Words nearest = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
    return value == value ? reinterpret_cast<Floats>(nearest) : value;
}

inline Floats numbers(const char* from, int64_t place, int64_t kind) {
    return kind == kBfloat16 ? widened(load<Shorts>(from + 2 * place)) : load<Floats>(from + 4 * place);
}

// Root mean square normalisation of one row.
void scaled(const Norm& norm, const Share& share, const float* x, float* to) {
    const int64_t width = share.step.width;
    Floats squares = {};
    for (int64_t i = 0; i < width; i += kLanes) squares += load<Floats>(x + i) * load<Floats>(x + i);
    const float scale = 1.0f / std::sqrt(sum(squares) / width + static_cast<float>(norm.eps));
    for (int64_t i = 0; i < width; i += kLanes) {
        Floats value = load<Floats>(x + i) * scale;
        if (norm.kind == kRmsRounded) value = rounded(value, share.step.kind);
        store(to + i, rounded(value * numbers(norm.weight, i, share.step.kind), share.step.kind));
    }
}

// Normalisation of one row.
void normalised(const Norm& norm, const Share& share, const float* x, float* to) {
    if (norm.kind != kLayer) return scaled(norm, share, x, to);
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
        store(to + i, rounded(value, share.step.kind));
    }
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

// x times the logistic function of x, whose exponential is of what is not above 0.
inline Floats silu(Floats x) {
    const Floats small = exponential(x < 0.0f ? x : -x), share = 1.0f / (1.0f + small);
    return x * (x < 0.0f ? small * share : share);
}

inline Floats activated(int64_t activation, Floats x) {
    if (activation == kGelu) return gelu(x);
    if (activation == kSilu) return silu(x);
    return activation == kRelu ? (x < 0.0f ? Floats{} : x) : x;
}

template <class Format>
void multiplied(const Matrix& m, const float* x, float* prepared, float* out, int64_t out_stride, const Share& share,
                int64_t begin, int64_t end) {
    const int64_t rows = share.step.rows();
    for (int64_t r = 0; r < rows; ++r) ordered<Format>(x + r * m.inputs, kFloat32, m.inputs, prepared + r * m.inputs);
    Product p{prepared, m.weight, m.scales, m.bias, out, m.inputs, m.outputs, m.weight_stride, m.scale_stride, m.group,
              out_stride, static_cast<int32_t>(share.step.kind), kFloat32};
    strips<Format>(p, rows, begin, end);
}

void multiply(const Matrix& m, const float* x, float* prepared, float* out, int64_t out_stride, const Share& share,
              int64_t begin, int64_t end) {
    if (m.kind == kInt4)
        multiplied<Int4Weight>(m, x, prepared, out, out_stride, share, begin, end);
    else if (m.kind == kInt8)
        multiplied<Int8Weight>(m, x, prepared, out, out_stride, share, begin, end);
    else if (m.kind == kBfloat16)
        multiplied<Bfloat16Weight>(m, x, prepared, out, out_stride, share, begin, end);
    else
        multiplied<Float32Weight>(m, x, prepared, out, out_stride, share, begin, end);
}

// What a stage does with `count` outputs of one row, from output `first` on; `multiplier` is null unless it is gated.
void finish(const Stage& stage, const Share& share, float* at, const float* multiplier, float* column, int64_t first,
            int64_t count) {
    const int64_t kind = share.step.kind;
    for (int64_t i = 0; i < count; i += kLanes) {
        const int64_t here = count - i < kLanes ? count - i : kLanes;
        const size_t bytes = here * sizeof(float);
        Floats value = {}, other = {};
        std::memcpy(&value, at + i, bytes);
        value = rounded(value, kind);
        if (stage.activation != kIdentity) value = rounded(activated(stage.activation, value), kind);
        if (multiplier) {
            std::memcpy(&other, multiplier + i, bytes);
            value = rounded(value * rounded(other, kind), kind);
        }
        if (stage.factors) value = rounded(value * numbers(stage.factors, first + i, kind), kind);
        std::memcpy(at + i, &value, bytes);
        if (!stage.adds) continue;
        std::memcpy(&other, column + i, bytes);
        value = rounded(other + value, kind);
        std::memcpy(column + i, &value, bytes);
    }
}

void project(const Stage& stage, const Share& share) {
    const int64_t rows = share.step.rows(), inputs = stage.matrices[0].inputs;
    float* prepared = scratch(2 * rows * inputs);
    const float* x = share.places[stage.from];
    if (stage.norm.weight) {
        float* normed = prepared + rows * inputs;
        for (int64_t r = 0; r < rows; ++r) normalised(stage.norm, share, x + r * inputs, normed + r * inputs);
        x = normed;
    }
    const int64_t parts = stage.gated ? 1 : stage.matrix_count;
    int64_t outputs = 0, strip_count = 0;
    for (int64_t i = 0; i < parts; ++i) {
        outputs += stage.matrices[i].outputs;
        strip_count += (stage.matrices[i].outputs + kStrip - 1) / kStrip;
    }
    float *to = share.places[stage.to], *column = share.places[kColumn];
    float* multiplier = stage.gated ? to + rows * outputs : nullptr;
    int64_t first = share.first(strip_count), last = share.last(strip_count), before = 0;
    for (int64_t i = 0; i < parts; ++i) {
        const Matrix& m = stage.matrices[i];
        const int64_t begin = first < 0 ? 0 : first * kStrip;
        const int64_t end = last * kStrip < m.outputs ? last * kStrip : m.outputs;
        if (begin < end) {
            multiply(m, x, prepared, to + before, outputs, share, begin, end);
            if (stage.gated) multiply(stage.matrices[1], x, prepared, multiplier, outputs, share, begin, end);
            for (int64_t r = 0; r < rows; ++r) {
                const int64_t place = r * outputs + before + begin;
                finish(stage, share, to + place, stage.gated ? multiplier + place : nullptr, column + place,
                       before + begin, end - begin);
            }
        }
        const int64_t strips_here = (m.outputs + kStrip - 1) / kStrip;
        first -= strips_here, last -= strips_here;
        before += m.outputs;
    }
}

// Keeps one head's key or value of a column.
void keep(const float* from, const Store& store, char* numbers, float* scales, int64_t width, int64_t row_head,
          int64_t place) {
    const int64_t slot = row_head * store.room + place;
    if (store.kind == kInt8)
        stored(from, 0, kFloat32, width, reinterpret_cast<int8_t*>(numbers) + slot * width, scales + slot);
    else
        for (int64_t i = 0; i < width; ++i) write(numbers, slot * width + i, static_cast<int32_t>(store.kind), from[i]);
}

// One head of a column by its position, in place; products are rounded before they are added, as separate steps do it.
void turn(const Share& share, int64_t batch, int64_t column, int64_t width, float* head) {
    const Rotation& rotation = share.step.rotation;
    if (!rotation.cosines) return;
    const int32_t kind = static_cast<int32_t>(share.step.kind);
    const int64_t place = batch * rotation.batch_stride + column * width, half = width / 2;
    for (int64_t i = 0; i < half; ++i) {
        const int64_t later = place + half + i;
        const float first = head[i], second = head[half + i];
        const float kept = share.rounded(first * read(rotation.cosines, place + i, kind));
        const float kept_later = share.rounded(second * read(rotation.cosines, later, kind));
        head[i] = share.rounded(kept - share.rounded(second * read(rotation.sines, place + i, kind)));
        head[half + i] = share.rounded(kept_later + share.rounded(first * read(rotation.sines, later, kind)));
    }
}

// Turns and stores the keys and stores the values of one head, of all columns of one row.
void keep_columns(const Stage& stage, const Share& share, float* row, int64_t row_width, int64_t batch,
                  int64_t key_head) {
    const Step& step = share.step;
    const Store& store = step.stores[stage.store];
    const int64_t width = stage.head_width, row_head = batch * stage.key_heads + key_head;
    for (int64_t t = 0; t < step.columns; ++t) {
        float* key = row + t * row_width + (stage.heads + key_head) * width;
        turn(share, batch, t, width, key);
        if (step.live && !step.live[batch]) continue;
        const int64_t slot =
            step.slots ? step.slots[batch * step.slot_stride + t] : store.filled - step.columns + t;
        keep(key, store, store.keys, store.key_scales, width, row_head, slot);
        keep(key + stage.key_heads * width, store, store.values, store.value_scales, width, row_head, slot);
    }
}

// A thread stores the keys and values of its own heads and then attends to them: there is nothing to wait for.
void attend_heads(const Stage& stage, const Share& share) {
    const Step& step = share.step;
    const Store& store = step.stores[stage.store];
    const Mask& mask = step.masks[stage.mask];
    const int64_t width = stage.head_width, groups = stage.heads / stage.key_heads, columns = step.columns;
    const int64_t query_width = stage.heads * width, key_width = stage.key_heads * width;
    const int64_t row_width = query_width + (stage.fresh ? 2 * key_width : 0);
    const auto held = [&](const char* numbers, const float* scales) {
        return Columns{numbers, scales, key_width * store.room, width * store.room, width,
                       stage.key_heads * store.room, store.room};
    };
    const int64_t tasks = step.batch * stage.key_heads;
    for (int64_t task = share.first(tasks); task < share.last(tasks); ++task) {
        const int64_t batch = task / stage.key_heads, key_head = task % stage.key_heads;
        float* row = share.places[stage.from] + batch * columns * row_width;
        if (stage.fresh) keep_columns(stage, share, row, row_width, batch, key_head);
        for (int64_t t = 0; t < columns; ++t) {
            // the queries of column t of all rows lie as far apart as whole rows, and so does what they find
            float *query = share.places[stage.from] + t * row_width, *to = share.places[stage.to] + t * query_width;
            const uint8_t* allowed = mask.allowed ? mask.allowed + t * mask.column_stride : nullptr;
            const Attention a{query, held(store.keys, store.key_scales), held(store.values, store.value_scales),
                              allowed, to, columns * row_width, width, mask.batch_stride, mask.head_stride,
                              mask.slot_stride, step.batch, stage.heads, groups, store.filled, width,
                              columns * query_width, static_cast<float>(stage.scale), kFloat32,
                              allowed ? kAllowed : kNoMask};
            for (int64_t head = key_head * groups; head < (key_head + 1) * groups; ++head) {
                if (stage.fresh) turn(share, batch, t, width, row + t * row_width + head * width);
                attend(a, static_cast<int32_t>(store.kind), batch, head);
                float* at = to + batch * columns * query_width + head * width;
                for (int64_t i = 0; i < width; ++i) at[i] = share.rounded(at[i]);
            }
        }
    }
}

void normalise(const Stage& stage, const Share& share) {
    for (int64_t r = share.first(share.step.rows()); r < share.last(share.step.rows()); ++r) {
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
    const int64_t numbers = step.rows() * step.width, wide = step.rows() * step.widest;
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
