// Attention of one query a row, the heads shared by the threads; and the storing of columns.

#include "attend.h"

extern "C" void antiphon_attend(const antiphon::Attention* attention, int32_t store_kind, int32_t threads) {
    const antiphon::Attention& a = *attention;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t task = 0; task < a.batch * a.heads; ++task)
        antiphon::attend(a, store_kind, task / a.heads, task % a.heads);
}

// Columns (batch, heads, slots, width) into codes and scales, both by strides.
extern "C" void antiphon_store(const void* from, int32_t kind, const int64_t* strides, int8_t* codes,
                               const int64_t* code_strides, float* scales, const int64_t* scale_strides,
                               const int64_t* shape) {
    using namespace antiphon;
    for (int64_t b = 0; b < shape[0]; ++b)
        for (int64_t h = 0; h < shape[1]; ++h)
            for (int64_t s = 0; s < shape[2]; ++s)
                stored(from, b * strides[0] + h * strides[1] + s * strides[2], kind, shape[3],
                       codes + b * code_strides[0] + h * code_strides[1] + s * code_strides[2],
                       scales + b * scale_strides[0] + h * scale_strides[1] + s * scale_strides[2]);
}
