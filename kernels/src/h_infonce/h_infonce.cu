// H-InfoNCE, value and gradients; formulas and symbols as in mod.rs. Embeddings are rounded to bf16 once; products
// are taken on the tensor cores with f32 sums; levels, prefixes and the loss are f64.
//
//   round      f32 rows -> bf16 rows, padded with zeros
//   listed     one warp a query: the scores of its listed pairs
//   forward    scores of a tile recomputed, never written; per query the running max and sum of exp2 over the
//              documents it does not list
//   levels     one thread a query: loss, the shift c_i, the gradient of each listed pair
//   gradient   scores of a tile once more, G as bf16 into a workspace
//   pull       dQ += 1/tau G D and dD += 1/tau G^T Q, f32
//
// Scores are kept in units of log 2 (`scale` = log2(e) / tau), so that an exponential is one instruction. Sums run
// in an order that depends on the shape alone: the same input gives the same bits.

#define LEVELS 16
#define IGNORED 255
#define LN_2 0.69314718055994530942

KERNEL(256, 1)
h_infonce_round(const float* values, u64 stride, u32 rows, u32 columns, u32 padded, u16* rounded) {
    const u64 count = static_cast<u64>(rows) * padded, step = static_cast<u64>(gridDim.x) * THREADS;
    for (u64 i = static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x; i < count; i += step) {
        const u64 row = i / padded, column = i % padded;
        rounded[i] = column < columns ? f32_to_bf16(values[row * stride + column]) : static_cast<u16>(0);
    }
}

KERNEL(256, 1)
h_infonce_listed(const u16* queries, const u16* documents, u32 query_count, u32 padded, float scale,
                 const u32* offsets, const u32* listed, float* scores) {
    const u32 query = blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (query >= query_count) return;
    for (u32 entry = offsets[query]; entry < offsets[query + 1u]; ++entry) {
        const u64 q = static_cast<u64>(query) * padded, d = static_cast<u64>(listed[entry]) * padded;
        float sum = 0.0f;
        for (u32 column = lane; column < padded; column += WARP) {
            sum += bf16_to_f32(queries[q + column]) * bf16_to_f32(documents[d + column]);
        }
        for (u32 lanes = 16u; lanes > 0u; lanes /= 2u) sum += shuffle_xor(sum, lanes);
        if (lane == 0u) scores[entry] = sum * scale;
    }
}

// The first entry in first..last whose document is at least `document`.
INLINE u32 lower_bound(const u32* listed, u32 first, u32 last, u32 document) {
    while (first < last) {
        const u32 middle = first + (last - first) / 2u;
        if (listed[middle] < document) {
            first = middle + 1u;
        } else {
            last = middle;
        }
    }
    return first;
}

// Marks the documents of the tile from `column0` on that query `query` lists: bit c of row `row` of `marks`
// [TILE x 4 words]. Returns the first entry beyond the tile.
INLINE u32 mark_listed(Span<u32> marks, u32 row, const u32* listed, u32 entry, u32 last, u32 column0) {
    for (u32 word = 0; word < 4u; ++word) marks[row * 4u + word] = 0u;
#ifdef BUG_TILE_EDGE
    while (entry < last && listed[entry] < column0 + TILE - 1u) {
#else
    while (entry < last && listed[entry] < column0 + TILE) {
#endif
        const u32 column = listed[entry] - column0;
        if (column < TILE) marks[row * 4u + column / 32u] |= 1u << column % 32u;
        ++entry;
    }
    return entry;
}

// Block (x, y): query tile x, document tiles from y * tiles_per_block on. `maxima` and `sums` are
// [4 gridDim.y x Q]: one part for each block and each quarter of its tiles' columns.
KERNEL(256, 2)
h_infonce_forward(const u16* queries, const u16* documents, u32 query_count, u32 document_count, u32 padded,
                  float scale, const u32* offsets, const u32* listed, u32 tiles_per_block, float* maxima,
                  float* sums_out) {
    const Span<u32> marks = shared<u32>(RING_BYTES, TILE * 4u);
    const u32 row0 = blockIdx.x * TILE, tile0 = blockIdx.y * tiles_per_block;
    const u32 tiles_there = (document_count + TILE - 1u) / TILE - tile0;
    const u32 tiles = tiles_there < tiles_per_block ? tiles_there : tiles_per_block;
    u32 entry = 0, last = 0;
    if (threadIdx.x < TILE && row0 + threadIdx.x < query_count) {
        last = offsets[row0 + threadIdx.x + 1u];
        entry = lower_bound(listed, offsets[row0 + threadIdx.x], last, tile0 * TILE);
    }
    float largest[8], sum[8];
    UNROLL
    for (u32 i = 0; i < 8u; ++i) {
        largest[i] = -infinity();
        sum[i] = 0.0f;
    }
    const Operand a{queries, padded, query_count, padded}, b{documents, padded, document_count, padded};
    multiply_tiles<false, false>(a, b, padded, row0, tile0 * TILE, tiles, [&](Sums& sums, u32 tile) {
        const u32 column0 = (tile0 + tile) * TILE;
        if (threadIdx.x < TILE) entry = mark_listed(marks, threadIdx.x, listed, entry, last, column0);
#ifndef BUG_NO_BARRIER_AFTER_MARKS
        block_barrier();
#endif
        UNROLL
        for (u32 i = 0; i < 8u; ++i) {
            const u32 m = i / 2u, h = i % 2u;
            const u32 marked = marks[sum_row(m, h) * 4u + warp_column() / 32u];
            float scores[8], top = largest[i];
            UNROLL
            for (u32 j = 0; j < 8u; ++j) {
                const u32 column = sum_column(j / 2u, j % 2u);
#ifdef BUG_MASK
                const bool counts = column0 + column < document_count;
#else
                const bool counts = column0 + column < document_count && !(marked >> column % 32u & 1u);
#endif
                scores[j] = counts ? sums.at[m][j / 2u][h * 2u + j % 2u] * scale : -infinity();
                top = fmaxf(top, scores[j]);
            }
            if (top > -infinity()) {
                float total = sum[i] * exp2_fast(largest[i] - top);
                UNROLL
                for (u32 j = 0; j < 8u; ++j) total += exp2_fast(scores[j] - top);
                sum[i] = total;
                largest[i] = top;
            }
        }
    });
    // The four threads of a row put their parts together.
    for (u32 i = 0; i < 8u; ++i) {
        for (u32 lanes = 1u; lanes < 4u; lanes *= 2u) {
            const float other_largest = shuffle_xor(largest[i], lanes), other_sum = shuffle_xor(sum[i], lanes);
            const float top = fmaxf(largest[i], other_largest);
            if (top > -infinity()) {
                sum[i] = sum[i] * exp2_fast(largest[i] - top) + other_sum * exp2_fast(other_largest - top);
            }
            largest[i] = top;
        }
        const u32 query = row0 + sum_row(i / 2u, i % 2u);
        const u64 at = static_cast<u64>(blockIdx.y * 4u + warp_column() / 32u) * query_count + query;
        if (threadIdx.x % 4u == 0u && query < query_count) {
            maxima[at] = largest[i];
            sums_out[at] = sum[i];
        }
    }
}

INLINE double log_add_exp(double a, double b) {
    const double low = a < b ? a : b, high = a < b ? b : a;
    return high == -static_cast<double>(infinity()) ? high : high + log1p(exp(low - high));
}

// What the anchors above `label` add to the gradient of a score of that label.
INLINE double push(const double* below, const double* pull, int label, double score) {
    double sum = 0.0;
    for (int l = label + 1; l < LEVELS; ++l) {
        if (pull[l] > 0.0) sum += pull[l] * exp(score - below[l]);
    }
    return sum;
}

// levels.rs, one query a thread. `scores` in units of log 2 become, in place, d loss / d s of the listed pairs.
// `largest` and `shifts` [Q]: a document that is not listed has the gradient exp2((s - largest) + shift).
KERNEL(128, 1)
h_infonce_levels(u32 query_count, u32 parts, const float* maxima, const float* sums, const u32* offsets,
                 const u8* labels, const float* weights, u32 anchors, double factor, float* scores, float* largest_out,
                 float* shifts, double* losses) {
    const u32 query = blockIdx.x * 128u + threadIdx.x;
    if (query >= query_count) return;
    const double nothing = -static_cast<double>(infinity());
    float top = -infinity();
    for (u32 i = 0; i < parts; ++i) top = fmaxf(top, maxima[static_cast<u64>(i) * query_count + query]);
    double unlisted = 0.0;
    for (u32 i = 0; i < parts; ++i) {
        const u64 at = static_cast<u64>(i) * query_count + query;
        if (maxima[at] > -infinity()) {
            unlisted += static_cast<double>(sums[at]) * exp2(static_cast<double>(maxima[at]) - static_cast<double>(top));
        }
    }
    if (!(top > -infinity())) top = 0.0f;
    const u32 first = offsets[query], last = offsets[query + 1u];
    double largest[LEVELS], level_sums[LEVELS], below[LEVELS], pull[LEVELS];
    for (int l = 0; l < LEVELS; ++l) {
        largest[l] = nothing;
        level_sums[l] = 0.0;
        pull[l] = 0.0;
    }
    for (u32 e = first; e < last; ++e) {
        if (labels[e] != IGNORED) largest[labels[e]] = fmax(largest[labels[e]], LN_2 * static_cast<double>(scores[e]));
    }
    for (u32 e = first; e < last; ++e) {
        if (labels[e] != IGNORED) level_sums[labels[e]] += exp(LN_2 * static_cast<double>(scores[e]) - largest[labels[e]]);
    }
    double running = unlisted > 0.0 ? LN_2 * static_cast<double>(top) + log(unlisted) : nothing;
    for (int l = 0; l < LEVELS; ++l) {
        below[l] = l == 0 ? nothing : running;
        if (level_sums[l] > 0.0) running = log_add_exp(running, largest[l] + log(level_sums[l]));
    }
    double loss = 0.0;
    for (u32 e = first; e < last; ++e) {
        const u32 label = labels[e];
        if (label == IGNORED || !(anchors >> label & 1u) || below[label] == nothing) continue;
        const double weight = factor * static_cast<double>(weights[e]);
        const double gap = below[label] - LN_2 * static_cast<double>(scores[e]);
        const double small = exp(-fabs(gap));
        loss += weight * (fmax(gap, 0.0) + log1p(small));
        pull[label] += weight * (gap >= 0.0 ? 1.0 / (1.0 + small) : small / (1.0 + small));
    }
    for (u32 e = first; e < last; ++e) {
        const u32 label = labels[e];
        if (label == IGNORED) {
            scores[e] = 0.0f;
            continue;
        }
        const double score = LN_2 * static_cast<double>(scores[e]);
        double own = 0.0;
        if ((anchors >> label & 1u) && below[label] != nothing) {
            const double gap = below[label] - score, small = exp(-fabs(gap));
            own = factor * static_cast<double>(weights[e]) * (gap >= 0.0 ? 1.0 / (1.0 + small) : small / (1.0 + small));
        }
        scores[e] = static_cast<float>(push(below, pull, static_cast<int>(label), score) - own);
    }
    losses[query] = loss;
    largest_out[query] = top;
    shifts[query] = static_cast<float>(log2(push(below, pull, 0, LN_2 * static_cast<double>(top))));
}

// G of queries row_first + (0..row_count) and documents column_first + (0..column_count), as bf16 [.. x stride];
// what lies beyond in the last tiles is 0. `listed_gradients` [pairs].
KERNEL(256, 2)
h_infonce_gradient(const u16* queries, const u16* documents, u32 row_first, u32 row_count, u32 column_first,
                   u32 column_count, u32 padded, float scale, const u32* offsets, const u32* listed,
                   const float* listed_gradients, const float* largest, const float* shifts, u32 stride, u16* gradient) {
    const Span<u32> marks = shared<u32>(RING_BYTES, TILE * 4u);
    const u32 row0 = blockIdx.x * TILE, column0 = blockIdx.y * TILE;
    const Operand a{queries + static_cast<u64>(row_first) * padded, padded, row_count, padded};
    const Operand b{documents + static_cast<u64>(column_first) * padded, padded, column_count, padded};
    multiply_tiles<false, false>(a, b, padded, row0, column0, 1u, [&](Sums& sums, u32) {
        if (threadIdx.x < TILE) {
            u32 entry = 0, last = 0;
            if (row0 + threadIdx.x < row_count) {
                last = offsets[row_first + row0 + threadIdx.x + 1u];
                entry = lower_bound(listed, offsets[row_first + row0 + threadIdx.x], last, column_first + column0);
            }
            mark_listed(marks, threadIdx.x, listed, entry, last, column_first + column0);
        }
        block_barrier();
        UNROLL
        for (u32 i = 0; i < 8u; ++i) {
            const u32 m = i / 2u, h = i % 2u, row = row0 + sum_row(m, h), query = row_first + row;
            const bool inside = row < row_count;
            const float top = inside ? largest[query] : 0.0f, shift = inside ? shifts[query] : -infinity();
            const u32 marked = marks[sum_row(m, h) * 4u + warp_column() / 32u];
            UNROLL
            for (u32 n = 0; n < 4u; ++n) {
                u32 pair = 0;
                UNROLL
                for (u32 j = 0; j < 2u; ++j) {
                    const u32 column = sum_column(n, j);
                    float value = exp2_fast(sums.at[m][n][h * 2u + j] * scale - top + shift);
                    if (marked >> column % 32u & 1u) {
                        const u32 document = column_first + column0 + column;
                        value = listed_gradients[lower_bound(listed, offsets[query], offsets[query + 1u], document)];
                    }
                    if (!inside || column0 + column >= column_count) value = 0.0f;
                    pair |= static_cast<u32>(f32_to_bf16(value)) << j * 16u;
                }
                const u64 at = static_cast<u64>(row) * stride + column0 + sum_column(n, 0);
                *reinterpret_cast<u32*>(gradient + at) = pair;
            }
        }
    });
}

// C [rows x width] += factor * product; `fresh` writes instead of adding.
INLINE void pull_rows(Sums& sums, float* to, u32 row0, u32 rows, u32 column0, u32 width, float factor, u32 fresh) {
    UNROLL
    for (u32 m = 0; m < 4u; ++m) {
        UNROLL
        for (u32 n = 0; n < 4u; ++n) {
            UNROLL
            for (u32 i = 0; i < 4u; ++i) {
                const u32 row = row0 + sum_row(m, i / 2u), column = column0 + sum_column(n, i % 2u);
                if (row >= rows || column >= width) continue;
                float* at = to + static_cast<u64>(row) * width + column;
                const float pulled = factor * sums.at[m][n][i];
                *at = fresh ? pulled : *at + pulled;
            }
        }
    }
}

// queries_out [row_count x width] += factor * gradient [row_count x column_count] documents [column_count x padded]
KERNEL(256, 2)
h_infonce_pull_queries(const u16* gradient, u32 stride, const u16* documents, u32 row_count, u32 column_count,
                       u32 width, u32 padded, float factor, u32 fresh, float* queries_out) {
    const u32 row0 = blockIdx.x * TILE, column0 = blockIdx.y * TILE;
    const u32 depth = (column_count + 7u) / 8u * 8u;
#ifdef BUG_SHORT_DEPTH
    const Operand a{gradient, stride, row_count, depth - 8u}, b{documents, padded, padded, column_count};
#else
    const Operand a{gradient, stride, row_count, depth}, b{documents, padded, padded, column_count};
#endif
    multiply_tiles<false, true>(a, b, depth, row0, column0, 1u, [&](Sums& sums, u32) {
        pull_rows(sums, queries_out, row0, row_count, column0, width, factor, fresh);
    });
}

// documents_out [column_count x width] += factor * gradient^T [column_count x row_count] queries [row_count x padded]
KERNEL(256, 2)
h_infonce_pull_documents(const u16* gradient, u32 stride, const u16* queries, u32 row_count, u32 column_count,
                         u32 width, u32 padded, float factor, u32 fresh, float* documents_out) {
    const u32 row0 = blockIdx.x * TILE, column0 = blockIdx.y * TILE;
    const u32 columns = (column_count + 7u) / 8u * 8u;
    const Operand a{gradient, stride, columns, row_count}, b{queries, padded, padded, row_count};
    multiply_tiles<true, true>(a, b, row_count, row0, column0, 1u, [&](Sums& sums, u32) {
        pull_rows(sums, documents_out, row0, column_count, column0, width, factor, fresh);
    });
}
