// Exact top-k: scan in bf16 with a proven error bound, score what may rank by definition, keep the best k.
//
//   prepare   documents -> bf16 rows, and per tile of 128 documents the largest bf16 residual
//   scan      128 queries x 128 or 256 documents a tile on the tensor cores; scores never leave the chip: what
//             reaches the query's threshold, less the error bound, is appended to its buffer as an id
//   rescore   the new ids of a buffer get their score: similarity/mod.rs's sum, to the bit
//   select    a buffer keeps its best k (score, then lower id); its threshold becomes the k-th score
//   rewind    forgets what a scan appended, when a buffer was too small for it
//
// Buffers: `ids` and `scores` [Q x capacity], `counts` [Q] entries, of which the first `settled` have a score.
// Documents are f32, f16, bf16 or int8 (`kind` 0 to 3), a row `stride` values after the other. Ids are counted
// from `first` on. The host side is cuda.rs.

// Documents that share a bound on residual and length.
#define BOUND_ROWS 128u

INLINE float document_value(const void* values, u32 kind, u64 at) {
    if (kind == 0u) return static_cast<const float*>(values)[at];
    if (kind == 1u) return f16_to_f32(static_cast<const u16*>(values)[at]);
    if (kind == 2u) return bf16_to_f32(static_cast<const u16*>(values)[at]);
    return static_cast<float>(static_cast<const signed char*>(values)[at]);
}

// One block for each BOUND_ROWS documents: writes `scanned` [rows x padded] and `residuals` [blocks], rounded up and weighted. Rows of NaN
// weight are scored by definition whatever their residual.
KERNEL(256, 1)
top_k_prepare(const void* values, u32 kind, u64 stride, u32 columns, u32 rows, u32 padded, const float* weights,
              u16* scanned, float* residuals) {
    const Span<float> largest = shared<float>(0, THREADS / WARP);
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    float worst = 0.0f;
    for (u32 i = warp; i < BOUND_ROWS; i += THREADS / WARP) {
        const u32 row = blockIdx.x * BOUND_ROWS + i;
        if (row >= rows) break;
        double squares = 0.0;
        for (u32 column = lane; column < padded; column += WARP) {
            const float value = column < columns ? document_value(values, kind, row * stride + column) : 0.0f;
            const u16 rounded = f32_to_bf16(value);
            const double left_out = static_cast<double>(value) - static_cast<double>(bf16_to_f32(rounded));
            squares += left_out * left_out;
            scanned[static_cast<u64>(row) * padded + column] = rounded;
        }
        for (u32 lanes = 16u; lanes > 0u; lanes /= 2u) squares += shuffle_xor(squares, lanes);
        const double residual = sqrt(squares) * fabs(static_cast<double>(weights[row])) * (1.0 + 1e-6);
        if (residual > 0.0) worst = fmaxf(worst, static_cast<float>(residual) * 1.000001f);
    }
    if (lane == 0u) largest[warp] = worst;
    block_barrier();
    if (threadIdx.x == 0u) {
        for (u32 i = 1; i < THREADS / WARP; ++i) worst = fmaxf(worst, largest[i]);
        residuals[blockIdx.x] = worst;
    }
}

// Block (x, y): query tile x against `tiles_per_block` document tiles from y * tiles_per_block on.
// A query's error in a tile is on_residual * residual + on_norm * norm; its products times weight and factor
// approximate the scores.
KERNEL(PRODUCT_THREADS, PRODUCT_BLOCKS)
top_k_scan(OPERAND(queries), OPERAND(documents), u32 query_count, u32 padded, const float* factors,
           const float* on_residuals, const float* on_norms, const float* thresholds, u32 rows, const float* weights,
           const float* residuals, const float* norms, u32 first, u32 tiles_per_block, u32 capacity, u32* ids,
           u32* counts, u32* overflow) {
    const Span<float> factor = shared<float>(PRODUCT_BYTES, TILE), on_residual = shared<float>(PRODUCT_BYTES + 512u, TILE),
                      on_norm = shared<float>(PRODUCT_BYTES + 1024u, TILE),
                      threshold = shared<float>(PRODUCT_BYTES + 1536u, TILE);
    const u32 query0 = blockIdx.x * TILE, tile0 = blockIdx.y * tiles_per_block;
    const u32 tiles_there = (rows + TILE_COLUMNS - 1u) / TILE_COLUMNS - tile0;
    const u32 tiles = tiles_there < tiles_per_block ? tiles_there : tiles_per_block;
    const u32 lane = threadIdx.x % WARP, last_bound = (rows - 1u) / BOUND_ROWS;
    if (threadIdx.x < TILE) {
        const u32 query = query0 + threadIdx.x;
        const bool inside = query < query_count;
        factor[threadIdx.x] = inside ? factors[query] : 0.0f;
        on_residual[threadIdx.x] = inside ? on_residuals[query] : 0.0f;
        on_norm[threadIdx.x] = inside ? on_norms[query] : 0.0f;
        threshold[threadIdx.x] = inside ? thresholds[query] : infinity();
    }
    // The weight of column `lane` of each word: asked for early, exchanged among the lanes when needed.
    float word_weights[GROUPS_HELD];
    auto begin = [&](u32 tile) {
        UNROLL
        for (u32 g = 0; g < GROUPS_HELD; ++g) {
            const u32 row = (tile0 + tile) * TILE_COLUMNS + sum_word(g) * 32u + lane;
            word_weights[g] = row < rows ? weights[row] : 0.0f;
        }
    };
    multiply_tiles<false, false>(queries, documents, padded, query0, tile0 * TILE_COLUMNS, tiles, begin, [&](Sums& sums, u32 tile) {
        const u32 column0 = (tile0 + tile) * TILE_COLUMNS;
        UNROLL
        for (u32 g = 0; g < GROUPS_HELD; ++g) {
            const u32 there = (column0 + sum_word(g) * 32u) / BOUND_ROWS;
            const u32 bound = there < last_bound ? there : last_bound;
            const float residual = residuals[bound], norm = norms[bound];
            float weight[8];
            UNROLL
            for (u32 j = 0; j < 8u; ++j) weight[j] = shuffle(word_weights[g], sum_column(g, j) % 32u);
            UNROLL
            for (u32 i = 0; i < ROWS_HELD; ++i) {
                const u32 query = sum_row(i);
                const float error = (on_residual[query] * residual + on_norm[query] * norm) * 1.000001f;
#ifdef BUG_NO_MARGIN
                const float limit = threshold[query];
#else
                const float limit = threshold[query] - error;
#endif
                u32 reached = 0;
                UNROLL
                for (u32 j = 0; j < 8u; ++j) {
                    const float score = sums.value(i, g, j) * weight[j] * factor[query];
                    reached |= score < limit ? 0u : 1u << j; // NaN passes
                }
                while (reached != 0u) {
                    const u32 row = column0 + sum_column(g, lowest_bit(reached));
                    reached &= reached - 1u;
#ifdef BUG_MASK
                    if (query0 + query >= query_count || row > rows) continue;
#else
                    if (query0 + query >= query_count || row >= rows) continue;
#endif
                    const u32 at = atomicAdd(&counts[query0 + query], 1u);
                    if (at < capacity) {
                        ids[static_cast<u64>(query0 + query) * capacity + at] = first + row;
                    } else {
                        atomicOr(overflow, 1u);
                    }
                }
            }
        }
    });
}

// Column j to sum j mod 16, ascending; then halves folded: by sixteen lanes, one candidate each half of a warp.
// `metric` 0 is the inner product, 1 the cosine. One block a query.
KERNEL(256, 1)
top_k_rescore(const float* queries, u32 columns, const double* query_norms, const void* values, u32 kind, u64 stride,
              const float* scales, const double* norms, u32 first, u32 metric, u32 capacity, const u32* ids,
              float* scores, const u32* settled, const u32* counts) {
    const u32 query = blockIdx.x, lane = threadIdx.x % 16u, count = counts[query];
    // Both halves of a warp go the same number of rounds: the shuffles need all lanes.
    for (u32 base = settled[query]; base < count; base += THREADS / 16u) {
        const u32 entry = base + threadIdx.x / 16u;
        const u64 at = static_cast<u64>(query) * capacity + (entry < count ? entry : base);
        const u32 row = ids[at] - first;
        double sum = 0.0;
        for (u32 column = lane; column < columns; column += 16u) {
            const double left = static_cast<double>(queries[static_cast<u64>(query) * columns + column]);
            sum += left * static_cast<double>(document_value(values, kind, row * stride + column));
        }
        for (u32 lanes = 8u; lanes > 0u; lanes /= 2u) sum += shuffle_xor(sum, lanes);
        if (kind == 3u) sum *= static_cast<double>(scales[row]);
        if (metric == 1u) {
            const double query_norm = query_norms[query], norm = norms[row];
            sum = query_norm == 0.0 || norm == 0.0 ? 0.0 : sum / (query_norm * norm);
        }
        if (lane == 0u && entry < count) scores[at] = static_cast<float>(sum) + 0.0f;
    }
}

// Greater for what ranks first: the score, then the lower id.
INLINE u64 rank_key(float score, u32 id) {
    const u32 bits = as_bits(score);
    const u32 ordered = bits >> 31 ? ~bits : bits | 0x80000000u;
#ifdef BUG_TIES
    return static_cast<u64>(ordered) << 32 | id;
#else
    return static_cast<u64>(ordered) << 32 | static_cast<u32>(~id);
#endif
}

INLINE u32 block_sum(u32 value, Span<u32> warps) {
    for (u32 lanes = 16u; lanes > 0u; lanes /= 2u) value += as_bits(shuffle_xor(as_float(value), lanes));
    if (threadIdx.x % WARP == 0u) warps[threadIdx.x / WARP] = value;
    block_barrier();
    u32 sum = 0;
    for (u32 i = 0; i < THREADS / WARP; ++i) sum += warps[i];
#ifndef BUG_NO_BARRIER_IN_SUM
    block_barrier();
#endif
    return sum;
}

// One block a query; its keys lie in shared memory. The k-th greatest key is found bit by bit.
KERNEL(256, 1)
top_k_select(u32 k, u32 capacity, u32* ids, float* scores, u32* settled, u32* counts, float* thresholds) {
    const Span<u64> keys = shared<u64>(0, capacity);
    const Span<u32> warps = shared<u32>(capacity * 8u, THREADS / WARP);
    const u32 query = blockIdx.x, count = counts[query];
    const u64 row = static_cast<u64>(query) * capacity;
    for (u32 i = threadIdx.x; i < count; i += THREADS) keys[i] = rank_key(scores[row + i], ids[row + i]);
    block_barrier();
    if (count >= k) {
        u64 last = 0;
        for (u32 bit = 64u; bit-- > 0u;) {
            const u64 tried = last | 1ull << bit;
            u32 reached = 0;
            for (u32 i = threadIdx.x; i < count; i += THREADS) reached += keys[i] >= tried ? 1u : 0u;
            if (block_sum(reached, warps) >= k) last = tried;
        }
        // In order, a chunk at a time: what is kept is never written behind what is still to be read.
        u32 kept = 0;
        for (u32 base = 0; base < count; base += THREADS) {
            const u32 i = base + threadIdx.x;
            const bool keep = i < count && keys[i] >= last;
            const u32 id = keep ? ids[row + i] : 0u;
            const float score = keep ? scores[row + i] : 0.0f;
            const u32 votes = ballot(keep);
            const u32 before = static_cast<u32>(__popc(votes & ((1u << threadIdx.x % WARP) - 1u)));
            if (threadIdx.x % WARP == 0u) warps[threadIdx.x / WARP] = static_cast<u32>(__popc(votes));
            block_barrier();
            u32 at = kept + before;
            for (u32 w = 0; w < THREADS / WARP; ++w) {
                if (w < threadIdx.x / WARP) at += warps[w];
                kept += warps[w];
            }
            if (keep) {
                ids[row + at] = id;
                scores[row + at] = score;
            }
            block_barrier();
        }
        if (threadIdx.x == 0u) {
            const u32 ordered = static_cast<u32>(last >> 32);
            const float score = as_float(ordered >> 31 ? ordered & 0x7fffffffu : ~ordered);
            thresholds[query] = fmaxf(thresholds[query], score);
        }
    }
    if (threadIdx.x == 0u) {
        const u32 left = count >= k ? k : count;
        counts[query] = left;
        settled[query] = left;
    }
}

KERNEL(256, 1)
top_k_rewind(u32 queries, const u32* settled, u32* counts) {
    const u32 query = blockIdx.x * THREADS + threadIdx.x;
    if (query < queries) counts[query] = settled[query];
}
