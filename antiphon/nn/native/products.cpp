// Products of a few rows with one weight, shared by the threads.

#include "product.h"

namespace antiphon {
namespace {

template <class Format>
void product(Product p, const void* x, int64_t x_stride, int32_t x_kind, int64_t rows, int32_t threads) {
    float* prepared = scratch(rows * p.inputs);
    const int64_t item = x_kind == kBfloat16 ? 2 : 4;
    for (int64_t r = 0; r < rows; ++r)
        ordered<Format>(static_cast<const char*>(x) + r * x_stride * item, x_kind, p.inputs, prepared + r * p.inputs);
    p.x = prepared;
    const int64_t count = (p.outputs + kStrip - 1) / kStrip;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t strip = 0; strip < count; ++strip) {
        int64_t begin = strip * kStrip, end = begin + kStrip < p.outputs ? begin + kStrip : p.outputs;
        strips<Format>(p, rows, begin, end);
    }
}

}  // namespace
}  // namespace antiphon

extern "C" void antiphon_product(int32_t weight_kind, const void* x, int64_t x_stride, int32_t x_kind, int64_t rows,
                                 const void* weight, int64_t weight_stride, const void* scales, int64_t scale_stride,
                                 int64_t group, int64_t inputs, int64_t outputs, const void* bias, void* out,
                                 int32_t threads) {
    using namespace antiphon;
    Product p{nullptr, static_cast<const uint8_t*>(weight), static_cast<const uint16_t*>(scales), bias, out,
              inputs, outputs, weight_stride, scale_stride, group, outputs, x_kind, x_kind};
    if (weight_kind == kInt4)
        product<Int4Weight>(p, x, x_stride, x_kind, rows, threads);
    else if (weight_kind == kInt8)
        product<Int8Weight>(p, x, x_stride, x_kind, rows, threads);
    else if (weight_kind == kBfloat16)
        product<Bfloat16Weight>(p, x, x_stride, x_kind, rows, threads);
    else
        product<Float32Weight>(p, x, x_stride, x_kind, rows, threads);
}
