// H-InfoNCE, value and gradients; formulas and symbols as in mod.rs. Embeddings are rounded to bf16 once; products
// are taken on the tensor cores with f32 sums; levels, prefixes and the loss are f64.
//
//   round      f32 rows -> bf16 rows, padded with zeros
//   listed     one warp a query: the scores of its listed pairs
//   forward    scores of a tile recomputed, never written; per query the running max and sum of exp2 over the
//              documents it does not list
//   levels     one thread a query: loss, the shift c_i, the gradient of each listed pair
//   gradient   scores of a tile once more, G as bf16 into a workspace; then the listed pairs over it
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

#define WORDS (TILE_COLUMNS / 32u)

// Marks the documents of the tile from `column0` on that a query lists: bit c of row `row` of `marks`
// [TILE x WORDS]. Returns the first entry beyond the tile.
INLINE u32 mark_listed(Span<u32> marks, u32 row, const u32* listed, u32 entry, u32 last, u32 column0) {
    for (u32 word = 0; word < WORDS; ++word) marks[row * WORDS + word] = 0u;
#ifdef BUG_TILE_EDGE
    while (entry < last && listed[entry] < column0 + TILE_COLUMNS - 1u) {
#else
    while (entry < last && listed[entry] < column0 + TILE_COLUMNS) {
#endif
        const u32 column = listed[entry] - column0;
        if (column < TILE_COLUMNS) marks[row * WORDS + column / 32u] |= 1u << column % 32u;
        ++entry;
    }
    return entry;
}

// Block (x, y): query tile x, document tiles from y * tiles_per_block on. `maxima` and `sums` are
// [PARTS gridDim.y x Q]: one part for each block and each part of its tiles' columns.
KERNEL(PRODUCT_THREADS, PRODUCT_BLOCKS)
h_infonce_forward(OPERAND(queries), OPERAND(documents), u32 query_count, u32 document_count, u32 padded, float scale,
                  const u32* offsets, const u32* listed, u32 tiles_per_block, float* maxima, float* sums_out) {
    const Span<u32> marks = shared<u32>(PRODUCT_BYTES, TILE * WORDS);
    const u32 row0 = blockIdx.x * TILE, tile0 = blockIdx.y * tiles_per_block, marking = marking_row();
    const u32 tiles_there = (document_count + TILE_COLUMNS - 1u) / TILE_COLUMNS - tile0;
    const u32 tiles = tiles_there < tiles_per_block ? tiles_there : tiles_per_block;
    u32 entry = 0, last = 0;
    if (holds_sums() && marking < TILE && row0 + marking < query_count) {
        last = offsets[row0 + marking + 1u];
        entry = lower_bound(listed, offsets[row0 + marking], last, tile0 * TILE_COLUMNS);
    }
    float largest[ROWS_HELD], sum[ROWS_HELD];
    UNROLL
    for (u32 i = 0; i < ROWS_HELD; ++i) {
        largest[i] = -infinity();
        sum[i] = 0.0f;
    }
    auto begin = [&](u32 tile) {
        if (marking < TILE) entry = mark_listed(marks, marking, listed, entry, last, (tile0 + tile) * TILE_COLUMNS);
    };
    multiply_tiles<false, false>(queries, documents, padded, row0, tile0 * TILE_COLUMNS, tiles, begin, [&](Sums& sums, u32 tile) {
        const u32 column0 = (tile0 + tile) * TILE_COLUMNS;
#ifndef BUG_NO_BARRIER_AFTER_MARKS
        rows_barrier();
#endif
        UNROLL
        for (u32 i = 0; i < ROWS_HELD; ++i) {
            float top = -infinity();
            UNROLL
            for (u32 g = 0; g < GROUPS_HELD; ++g) {
#ifdef BUG_MASK
                const u32 marked = 0u;
#else
                const u32 marked = marks[sum_row(i) * WORDS + sum_word(g)];
#endif
                if (GROUPS_HELD == 1u || marked != 0u || column0 + (sum_word(g) + 1u) * 32u > document_count) {
                    UNROLL
                    for (u32 j = 0; j < 8u; ++j) {
                        const u32 column = sum_column(g, j);
                        const bool counts = column0 + column < document_count && !(marked >> column % 32u & 1u);
                        if (!counts) sums.value(i, g, j) = -infinity();
                    }
                }
                UNROLL
                for (u32 j = 0; j < 8u; ++j) top = fmaxf(top, sums.value(i, g, j));
            }
            top = fmaxf(largest[i], top * scale);
            if (top > -infinity()) {
                float total = sum[i] * exp2_fast(largest[i] - top);
                UNROLL
                for (u32 g = 0; g < GROUPS_HELD; ++g) {
                    float group = 0.0f;
                    UNROLL
                    for (u32 j = 0; j < 8u; ++j) group += exp2_fast(fmaf(sums.value(i, g, j), scale, -top));
                    total += group;
                }
                sum[i] = total;
                largest[i] = top;
            }
        }
    });
    if (!holds_sums()) return;
    // The four threads of a row put their parts together.
    UNROLL
    for (u32 i = 0; i < ROWS_HELD; ++i) {
        for (u32 lanes = 1u; lanes < 4u; lanes *= 2u) {
            const float other_largest = shuffle_xor(largest[i], lanes), other_sum = shuffle_xor(sum[i], lanes);
            const float top = fmaxf(largest[i], other_largest);
            if (top > -infinity()) {
                sum[i] = sum[i] * exp2_fast(largest[i] - top) + other_sum * exp2_fast(other_largest - top);
            }
            largest[i] = top;
        }
        const u32 query = row0 + sum_row(i);
        const u64 at = static_cast<u64>(blockIdx.y * PARTS + held_part()) * query_count + query;
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

// G of queries row_first + (0..row_count) and documents column_first + (0..column_count), which the operands begin
// with, as bf16 [.. x stride]; what lies beyond in the last tiles is 0. Every pair is written as if it were not
// listed, then each row's listed pairs over that, from `listed_gradients` [pairs]. Blocks as in the forward pass;
// where two of them share a multiprocessor, `tiles_per_block` is 1.
KERNEL(PRODUCT_THREADS, PRODUCT_BLOCKS)
h_infonce_gradient(OPERAND(queries), OPERAND(documents), u32 row_first, u32 row_count, u32 column_first,
                   u32 column_count, u32 padded, float scale, const u32* offsets, const u32* listed,
                   const float* listed_gradients, const float* largest, const float* shifts, u32 tiles_per_block,
                   u32 stride, u16* gradient) {
    const Span<float> tops = shared<float>(PRODUCT_BYTES, TILE), row_shifts = shared<float>(PRODUCT_BYTES + TILE * 4u, TILE);
    const u32 row0 = blockIdx.x * TILE, tile0 = blockIdx.y * tiles_per_block, marking = marking_row();
    // Of two blocks of a multiprocessor one multiplies while the other ends its tile: a second tile each would gain
    // nothing, and a loop takes registers.
    const u32 tiles_there = stride / TILE_COLUMNS - tile0;
    const u32 tiles = PRODUCT_BLOCKS > 1u ? 1u : tiles_there < tiles_per_block ? tiles_there : tiles_per_block;
    if (holds_sums() && marking < TILE) {
        const bool inside = row0 + marking < row_count;
        tops[marking] = inside ? largest[row_first + row0 + marking] : 0.0f;
        row_shifts[marking] = inside ? shifts[row_first + row0 + marking] : -infinity();
    }
    u32 entry = 0, last = 0;
    auto begin = [&](u32 tile) {
        if (marking >= TILE || row0 + marking >= row_count) return;
        const u32 query = row_first + row0 + marking;
        last = offsets[query + 1u];
        entry = lower_bound(listed, offsets[query], last, column_first + (tile0 + tile) * TILE_COLUMNS);
    };
    multiply_tiles<false, false>(queries, documents, padded, row0, tile0 * TILE_COLUMNS, tiles, begin, [&](Sums& sums, u32 tile) {
        const u32 column0 = (tile0 + tile) * TILE_COLUMNS;
        UNROLL
        for (u32 i = 0; i < ROWS_HELD; ++i) {
            const u32 row = row0 + sum_row(i);
            const float top = tops[sum_row(i)], shift = row_shifts[sum_row(i)];
            u16* const to = gradient + static_cast<u64>(row) * stride + column0;
            UNROLL
            for (u32 g = 0; g < GROUPS_HELD; ++g) {
                UNROLL
                for (u32 j = 0; j < 8u; j += 2u) {
                    const u32 column = sum_column(g, j);
                    float first = exp2_fast(fmaf(sums.value(i, g, j), scale, -top) + shift);
                    float second = exp2_fast(fmaf(sums.value(i, g, j + 1u), scale, -top) + shift);
                    if (column0 + column >= column_count) first = 0.0f;
                    if (column0 + column + 1u >= column_count) second = 0.0f;
                    *reinterpret_cast<u32*>(to + column) = two_bf16(first, second);
                }
            }
        }
#ifndef BUG_NO_BARRIER_BEFORE_LISTED
        rows_barrier();
#endif
        for (; entry < last; ++entry) {
            const u32 column = listed[entry] - column_first;
            if (column >= column0 + TILE_COLUMNS || column >= column_count) break;
            gradient[static_cast<u64>(row0 + marking) * stride + column] = f32_to_bf16(listed_gradients[entry]);
        }
    });
}

// C [rows x width] += factor * product; `fresh` writes instead of adding.
INLINE void pull_rows(Sums& sums, float* to, u32 row0, u32 rows, u32 column0, u32 width, float factor, u32 fresh) {
    UNROLL
    for (u32 i = 0; i < ROWS_HELD; ++i) {
        const u32 row = row0 + sum_row(i);
        if (row >= rows) continue;
        float* const line = to + static_cast<u64>(row) * width;
        UNROLL
        for (u32 g = 0; g < GROUPS_HELD; ++g) {
            UNROLL
            for (u32 j = 0; j < 8u; ++j) {
                const u32 column = column0 + sum_column(g, j);
                if (column >= width) continue;
                const float pulled = factor * sums.value(i, g, j);
                line[column] = fresh ? pulled : line[column] + pulled;
            }
        }
    }
}

// queries_out [row_count x width] += factor * gradient [row_count x depth] documents [depth x width]: depth is the
// number of documents of the square.
KERNEL(PRODUCT_THREADS, PRODUCT_BLOCKS)
h_infonce_pull_queries(OPERAND(gradient), OPERAND(documents), u32 row_count, u32 depth, u32 width, float factor, u32 fresh,
                       float* queries_out) {
    const u32 row0 = blockIdx.x * TILE, column0 = blockIdx.y * TILE_COLUMNS;
#ifdef BUG_SHORT_DEPTH
    depth -= depth > STEP ? STEP : 0u;
#endif
    multiply_tiles<false, true>(gradient, documents, depth, row0, column0, 1u, [](u32) {}, [&](Sums& sums, u32) {
        pull_rows(sums, queries_out, row0, row_count, column0, width, factor, fresh);
    });
}

// documents_out [row_count x width] += factor * gradient^T [row_count x depth] queries [depth x width]: depth is the
// number of queries of the square.
KERNEL(PRODUCT_THREADS, PRODUCT_BLOCKS)
h_infonce_pull_documents(OPERAND(gradient), OPERAND(queries), u32 row_count, u32 depth, u32 width, float factor, u32 fresh,
                         float* documents_out) {
    const u32 row0 = blockIdx.x * TILE, column0 = blockIdx.y * TILE_COLUMNS;
    multiply_tiles<true, true>(gradient, queries, depth, row0, column0, 1u, [](u32) {}, [&](Sums& sums, u32) {
        pull_rows(sums, documents_out, row0, row_count, column0, width, factor, fresh);
    });
}
