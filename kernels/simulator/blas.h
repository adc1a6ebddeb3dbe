// cuBLAS as far as the kernels crate calls it: products of column-major matrices, f32 or bf16 in and out, each sum exact to
// f64 and rounded once. Refused: sizes, strides and kinds that the library would refuse, and matrices that reach
// beyond their allocation, which it would not.
#pragma once

namespace simulator {

constexpr int FLOATS = 0, BRAINS = 14, SUM_IN_FLOATS = 68;

inline size_t bytes_of_kind(int kind) { return kind == FLOATS ? 4 : 2; }

inline double value_at(const void* values, int kind, size_t at) {
    if (kind == FLOATS) return static_cast<const float*>(values)[at];
    return bf16_to_f32(static_cast<const u16*>(values)[at]);
}

// Column-major: element (row, column) at column * stride + row, rows and columns exchanged when `transposed`.
struct Factor {
    const void* values;
    int kind, stride;
    long long step;
    bool transposed;
    double at(size_t matrix, size_t row, size_t column) const {
        const size_t inside = transposed ? row * static_cast<size_t>(stride) + column : column * static_cast<size_t>(stride) + row;
        return value_at(values, kind, matrix * static_cast<size_t>(step) + inside);
    }
};

inline bool reaches_beyond(const void* values, int kind, int lines, int line, int stride, long long step, int batch) {
    const size_t count = static_cast<size_t>(batch - 1) * static_cast<size_t>(step) + static_cast<size_t>(lines - 1) * static_cast<size_t>(stride) + static_cast<size_t>(line);
    return !allocated(reinterpret_cast<uint64_t>(values), count * bytes_of_kind(kind));
}

inline int multiply(int of_a, int of_b, int m, int n, int k, float alpha, const void* a, int a_kind, int a_stride,
                    long long a_step, const void* b, int b_kind, int b_stride, long long b_step, float beta, void* c,
                    int c_kind, int c_stride, long long c_step, int batch, int sum_kind) {
    const auto known = [](int kind) { return kind == FLOATS || kind == BRAINS; };
    if (m <= 0 || n <= 0 || k <= 0 || batch <= 0 || sum_kind != SUM_IN_FLOATS) return 7;
    if (!known(a_kind) || a_kind != b_kind || !known(c_kind) || (a_kind == FLOATS && c_kind != FLOATS)) return 15;
    const int a_line = of_a ? k : m, a_lines = of_a ? m : k, b_line = of_b ? n : k, b_lines = of_b ? k : n;
    if (of_a > 1 || of_b > 1 || a_stride < a_line || b_stride < b_line || c_stride < m) return 7;
    if (reaches_beyond(a, a_kind, a_lines, a_line, a_stride, a_step, batch) ||
        reaches_beyond(b, b_kind, b_lines, b_line, b_stride, b_step, batch) ||
        reaches_beyond(c, c_kind, n, m, c_stride, c_step, batch)) {
        std::fprintf(stderr, "simulator: a product that reaches beyond its allocation\n");
        std::abort();
    }
    const Factor left{a, a_kind, a_stride, a_step, of_a == 1}, right{b, b_kind, b_stride, b_step, of_b == 1};
    for (size_t matrix = 0; matrix < static_cast<size_t>(batch); ++matrix) {
        for (size_t column = 0; column < static_cast<size_t>(n); ++column) {
            for (size_t row = 0; row < static_cast<size_t>(m); ++row) {
                double sum = 0.0;
                for (size_t depth = 0; depth < static_cast<size_t>(k); ++depth) sum += left.at(matrix, row, depth) * right.at(matrix, depth, column);
                const size_t at = matrix * static_cast<size_t>(c_step) + column * static_cast<size_t>(c_stride) + row;
                double result = static_cast<double>(alpha) * sum;
                if (beta != 0.0f) result += static_cast<double>(beta) * value_at(c, c_kind, at);
                if (c_kind == FLOATS) {
                    static_cast<float*>(c)[at] = static_cast<float>(result);
                } else {
                    static_cast<u16*>(c)[at] = f32_to_bf16(static_cast<float>(result));
                }
            }
        }
    }
    return 0;
}

} // namespace simulator

// Signatures of cublas_v2.h; success is 0.
extern "C" {
int cublasCreate_v2(void** handle) { static int one; *handle = &one; return 0; }
int cublasDestroy_v2(void*) { return 0; }
int cublasSetStream_v2(void*, void*) { return 0; }
int cublasGemmStridedBatchedEx(void*, int of_a, int of_b, int m, int n, int k, const void* alpha, const void* a, int a_kind, int a_stride,
                               long long a_step, const void* b, int b_kind, int b_stride, long long b_step, const void* beta, void* c,
                               int c_kind, int c_stride, long long c_step, int batch, int sum_kind, int) {
    return simulator::multiply(of_a, of_b, m, n, k, *static_cast<const float*>(alpha), a, a_kind, a_stride, a_step, b, b_kind, b_stride,
                               b_step, *static_cast<const float*>(beta), c, c_kind, c_stride, c_step, batch, sum_kind);
}
}
