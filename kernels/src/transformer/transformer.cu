// What a BERT's training step does between its matrix products: mod.rs has the formulas, scalar.rs each kernel in plain
// loops. The same text is compiled over f32.cuh and over bf16.cuh, which say what a Value is.
//
// Tokens of all texts lie one after the other without padding, a row of `width` values each; only inside attention
// is a text padded. No atomics: every sum has one order, so a step repeated gives the same bits.

constexpr u32 WARPS = THREADS / WARP;
constexpr u32 SQUARES = 16384u;

// Dropout's mask, the trainer's: a value falls away as (key, site, text, row, column) have it.
constexpr u64 GOLDEN = 0x9E3779B97F4A7C15ull;

INLINE u64 finish(u64 z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}
INLINE u64 mix(u64 value) { return finish(value + GOLDEN); }
INLINE u64 mask_state(u64 key, u64 site, u64 text, u64 row) { return mix(key ^ mix(site ^ mix(text ^ mix(row)))); }

// What a value is multiplied by; 1 where nothing falls away at all.
INLINE float kept(u64 state, u32 column, u32 threshold, float scale) {
    if (threshold == 0u) return 1.0f;
    const u32 drawn = static_cast<u32>(finish(state + (column + 1ull) * GOLDEN) >> 32);
    return drawn < threshold ? 0.0f : scale;
}

INLINE u32 lane_of() { return threadIdx.x % WARP; }
INLINE u64 row_of_warp() { return static_cast<u64>(blockIdx.x) * WARPS + threadIdx.x / WARP; }

INLINE float warp_sum(float value) {
    for (u32 lanes = 16u; lanes > 0u; lanes /= 2u) value += shuffle_xor(value, lanes);
    return value;
}
INLINE float warp_max(float value) {
    for (u32 lanes = 16u; lanes > 0u; lanes /= 2u) value = fmaxf(value, shuffle_xor(value, lanes));
    return value;
}

// A warp's row in shared memory; a lane touches its own columns alone.
INLINE Span<float> row_of_shared(u32 width) {
    return part(shared<float>(0, WARPS * width), threadIdx.x / WARP * width, width);
}

// Standardises `row` [width], whose values this lane has summed to `sum`. The output is worked out from the stored
// standard form, so that transformer_scale gives the same bits again.
INLINE void standardize(Span<float> row, float sum, u32 width, float epsilon, const float* weight, const float* bias,
                        u64 first, u64 state, u32 threshold, float mask_scale, Value* standard, float* inverse,
                        Value* hidden) {
    const float mean = warp_sum(sum) / static_cast<float>(width);
    float squares = 0.0f;
    for (u32 c = lane_of(); c < width; c += WARP) squares += (row[c] - mean) * (row[c] - mean);
    const float inverse_deviation = 1.0f / sqrtf(warp_sum(squares) / static_cast<float>(width) + epsilon);
    for (u32 c = lane_of(); c < width; c += WARP) {
        const Value stored = to_value((row[c] - mean) * inverse_deviation);
        standard[first + c] = stored;
        hidden[first + c] = to_value(fmaf(value_of(stored), weight[c], bias[c]) * kept(state, c, threshold, mask_scale));
    }
    if (lane_of() == 0u) *inverse = inverse_deviation;
}

// A warp a token: word + position + segment, standardised, scaled, masked at site 0.
KERNEL(THREADS, 2)
transformer_embed(const u32* ids, const u32* places, const u32* segments, const u32* text_of, const u64* keys, u32 tokens,
                  u32 width, float epsilon, const float* words, const float* positions, const float* types,
                  const float* weight, const float* bias, u64 mask_key, u32 threshold, float mask_scale, Value* standard,
                  float* inverse, Value* hidden) {
    const u64 token = row_of_warp();
    if (token >= tokens) return;
    const Span<float> row = row_of_shared(width);
    const float* word = words + static_cast<u64>(ids[token]) * width;
    const float* position = positions + static_cast<u64>(places[token]) * width;
    const float* type = types + static_cast<u64>(segments[token]) * width;
    float sum = 0.0f;
    for (u32 c = lane_of(); c < width; c += WARP) {
        row[c] = word[c] + position[c] + type[c];
        sum += row[c];
    }
    const u64 state = mask_state(mask_key, 0, keys[text_of[token]], places[token]);
    standardize(row, sum, width, epsilon, weight, bias, token * width, state, threshold, mask_scale, standard, inverse + token,
                hidden);
}

// A warp a token: masked (raw + map_bias) + residual, standardised and scaled.
KERNEL(THREADS, 2)
transformer_add_norm(const Value* raw, const float* map_bias, const Value* residual, const u32* places, const u32* text_of,
                     const u64* keys, u32 tokens, u32 width, float epsilon, const float* weight, const float* bias,
                     u64 mask_key, u64 site, u32 threshold, float mask_scale, Value* standard, float* inverse,
                     Value* hidden) {
    const u64 token = row_of_warp();
    if (token >= tokens) return;
    const Span<float> row = row_of_shared(width);
    const u64 first = token * width, state = mask_state(mask_key, site, keys[text_of[token]], places[token]);
    float sum = 0.0f;
    for (u32 c = lane_of(); c < width; c += WARP) {
        const float mapped = (value_of(raw[first + c]) + map_bias[c]) * kept(state, c, threshold, mask_scale);
        row[c] = mapped + value_of(residual[first + c]);
        sum += row[c];
    }
    standardize(row, sum, width, epsilon, weight, bias, first, 0, 0u, 1.0f, standard, inverse + token, hidden);
}

// A warp a token: weight * standard + bias, masked at site 0 where there is a mask.
KERNEL(THREADS, 4)
transformer_scale(const Value* standard, const float* weight, const float* bias, const u32* places, const u32* text_of,
                  const u64* keys, u32 tokens, u32 width, u64 mask_key, u32 threshold, float mask_scale, Value* hidden) {
    const u64 token = row_of_warp();
    if (token >= tokens) return;
    const u64 first = token * width, state = mask_state(mask_key, 0, keys[text_of[token]], places[token]);
    for (u32 c = lane_of(); c < width; c += WARP) {
        const float scaled = fmaf(value_of(standard[first + c]), weight[c], bias[c]);
        hidden[first + c] = to_value(scaled * kept(state, c, threshold, mask_scale));
    }
}

// A warp a token: what is dropped of `from` at `site` is dropped of `to`, which may be the same.
KERNEL(THREADS, 4)
transformer_mask(const Value* from, const u32* places, const u32* text_of, const u64* keys, u32 tokens, u32 width,
                 u64 mask_key, u64 site, u32 threshold, float mask_scale, Value* to) {
    const u64 token = row_of_warp();
    if (token >= tokens) return;
#ifdef BUG_MASKED_ROW
    const u64 state = mask_state(mask_key, site, keys[text_of[token]], token);
#else
    const u64 state = mask_state(mask_key, site, keys[text_of[token]], places[token]);
#endif
    const u64 first = token * width;
    for (u32 c = lane_of(); c < width; c += WARP) {
        to[first + c] = to_value(value_of(from[first + c]) * kept(state, c, threshold, mask_scale));
    }
}

// A warp a token: the slope of a norm's output becomes that of its input.
KERNEL(THREADS, 4)
transformer_norm_backward(Value* slope, const Value* standard, const float* inverse, const float* weight, u32 tokens,
                          u32 width) {
    const u64 token = row_of_warp();
    if (token >= tokens) return;
    const u64 first = token * width;
    float sum = 0.0f, along = 0.0f;
    for (u32 c = lane_of(); c < width; c += WARP) {
        const float weighted = value_of(slope[first + c]) * weight[c];
        sum += weighted;
        along = fmaf(weighted, value_of(standard[first + c]), along);
    }
    const float mean = warp_sum(sum) / static_cast<float>(width);
    const float mean_along = warp_sum(along) / static_cast<float>(width);
    for (u32 c = lane_of(); c < width; c += WARP) {
        const float weighted = value_of(slope[first + c]) * weight[c];
        slope[first + c] = to_value((weighted - mean - value_of(standard[first + c]) * mean_along) * inverse[token]);
    }
}

// Block (x, y): columns from x * THREADS on, rows from y * rows_each on. partials [gridDim.y x columns]: the sums of
// left * right, or of left where `right` is none.
KERNEL(THREADS, 4)
transformer_column_sums(const Value* left, const Value* right, u32 rows, u32 columns, u32 rows_each, float* partials) {
    const u32 column = blockIdx.x * THREADS + threadIdx.x;
    if (column >= columns) return;
    const u64 first = static_cast<u64>(blockIdx.y) * rows_each;
#ifdef BUG_LAST_ROWS
    const u64 last = first + rows_each <= rows ? first + rows_each : first;
#else
    const u64 last = first + rows_each < rows ? first + rows_each : rows;
#endif
    float sum = 0.0f;
    for (u64 row = first; row < last; ++row) {
        const float value = value_of(left[row * columns + column]);
        sum = right ? fmaf(value, value_of(right[row * columns + column]), sum) : sum + value;
    }
    partials[static_cast<u64>(blockIdx.y) * columns + column] = sum;
}

// gradient [columns] += the sum of partials [parts x columns], in their order.
KERNEL(THREADS, 4)
transformer_add_partials(const float* partials, u32 parts, u32 columns, float* gradient) {
    const u32 column = blockIdx.x * THREADS + threadIdx.x;
    if (column >= columns) return;
    float sum = 0.0f;
    for (u64 at = 0; at < parts; ++at) sum += partials[at * columns + column];
    gradient[column] += sum;
}

INLINE float distribution(float x) { return 0.5f * (1.0f + erff(x * 0.70710678f)); }

// activated = GELU(raw + bias), [rows x columns].
KERNEL(THREADS, 4)
transformer_gelu(const Value* raw, const float* bias, u32 rows, u32 columns, Value* activated) {
    const u64 row = blockIdx.x, first = row * columns;
    if (row >= rows) return;
    for (u32 c = threadIdx.x; c < columns; c += THREADS) {
        const float x = value_of(raw[first + c]) + bias[c];
        activated[first + c] = to_value(x * distribution(x));
    }
}

// The same again, and the slope of its output becomes that of its input.
KERNEL(THREADS, 4)
transformer_gelu_backward(const Value* raw, const float* bias, u32 rows, u32 columns, Value* activated, Value* slope) {
    const u64 row = blockIdx.x, first = row * columns;
    if (row >= rows) return;
    for (u32 c = threadIdx.x; c < columns; c += THREADS) {
        const float x = value_of(raw[first + c]) + bias[c], below = distribution(x);
        activated[first + c] = to_value(x * below);
        const float density = 0.3989423f * expf(-0.5f * x * x);
        slope[first + c] = to_value(value_of(slope[first + c]) * fmaf(x, density, below));
    }
}

// Block x: place x % padded of text x / padded of the group that begins with `first_text`. Rows of `parts` times
// heads * head_width values become [parts][texts x heads][padded x head_width], zeros beyond a text's end.
KERNEL(THREADS, 4)
transformer_split_heads(const Value* rows, const float* bias, const u32* offsets, u32 first_text, u32 texts, u32 padded,
                        u32 heads, u32 head_width, u32 parts, Value* split) {
    const u32 text = blockIdx.x / padded, place = blockIdx.x % padded, width = heads * head_width;
    const u32 begin = offsets[first_text + text], length = offsets[first_text + text + 1u] - begin;
    const u64 first = (static_cast<u64>(begin) + place) * parts * width;
    for (u32 c = threadIdx.x; c < parts * width; c += THREADS) {
        const u32 head = c % width / head_width;
        const u64 matrix = (static_cast<u64>(c / width) * texts + text) * heads + head;
        float value = 0.0f;
        if (place < length) value = value_of(rows[first + c]) + (bias ? bias[c] : 0.0f);
        split[(matrix * padded + place) * head_width + c % head_width] = to_value(value);
    }
}

// The way back; what lies beyond a text's end is left behind.
KERNEL(THREADS, 4)
transformer_merge_heads(const Value* split, const u32* offsets, u32 first_text, u32 texts, u32 padded, u32 heads,
                        u32 head_width, u32 parts, Value* rows) {
    const u32 text = blockIdx.x / padded, place = blockIdx.x % padded, width = heads * head_width;
    const u32 begin = offsets[first_text + text], length = offsets[first_text + text + 1u] - begin;
    if (place >= length) return;
    const u64 first = (static_cast<u64>(begin) + place) * parts * width;
    for (u32 c = threadIdx.x; c < parts * width; c += THREADS) {
        const u32 head = c % width / head_width;
        const u64 matrix = (static_cast<u64>(c / width) * texts + text) * heads + head;
        rows[first + c] = split[(matrix * padded + place) * head_width + c % head_width];
    }
}

// Where a row of scores lies: row `row` of head `head` of text `text`.
struct ScoreRow {
    u32 text, head, row, begin, length;
};

INLINE ScoreRow score_row(u64 at, const u32* offsets, u32 first_text, u32 heads, u32 padded) {
    const u64 matrix = at / padded;
    const u32 text = first_text + static_cast<u32>(matrix / heads), begin = offsets[text];
    return ScoreRow{text, static_cast<u32>(matrix % heads), static_cast<u32>(at % padded), begin, offsets[text + 1u] - begin};
}

INLINE u64 weight_mask(const ScoreRow& at, u64 mask_key, u64 site, const u64* keys) {
    return mask_state(mask_key, site, keys[at.text], static_cast<u64>(at.head) * at.length + at.row);
}

// A warp a row of scores [texts x heads x padded][padded]: its masked softmax into `weights`, zeros beyond the text's end.
// `fresh`: log_sums [tokens x heads] are written; else they are read.
KERNEL(THREADS, 4)
transformer_softmax(const float* scores, const u32* offsets, const u64* keys, u32 first_text, u32 texts, u32 padded,
                    u32 heads, u32 fresh, u64 mask_key, u64 site, u32 threshold, float mask_scale, float* log_sums,
                    Value* weights) {
    const u64 index = row_of_warp(), first = index * padded;
    if (index >= static_cast<u64>(texts) * heads * padded) return;
    const ScoreRow at = score_row(index, offsets, first_text, heads, padded);
    if (at.row >= at.length) {
        for (u32 c = lane_of(); c < padded; c += WARP) weights[first + c] = to_value(0.0f);
        return;
    }
#ifdef BUG_PADDING
    const u32 counted = padded;
#else
    const u32 counted = at.length;
#endif
    float* const log_sum = log_sums + (static_cast<u64>(at.begin) + at.row) * heads + at.head;
    float logarithm;
    if (fresh) {
        float top = -infinity(), sum = 0.0f;
        for (u32 c = lane_of(); c < counted; c += WARP) top = fmaxf(top, scores[first + c]);
        top = warp_max(top);
        for (u32 c = lane_of(); c < counted; c += WARP) sum += expf(scores[first + c] - top);
        logarithm = top + logf(warp_sum(sum));
        if (lane_of() == 0u) *log_sum = logarithm;
    } else {
        logarithm = *log_sum;
    }
    const u64 state = weight_mask(at, mask_key, site, keys);
    for (u32 c = lane_of(); c < padded; c += WARP) {
        float weight = 0.0f;
        if (c < counted) weight = expf(fminf(scores[first + c] - logarithm, 0.0f)) * kept(state, c, threshold, mask_scale);
        weights[first + c] = to_value(weight);
    }
}

// A warp a row: `slopes` (of the masked weights) become those of the scores, zeros beyond the text's end.
KERNEL(THREADS, 4)
transformer_softmax_backward(const float* scores, const float* log_sums, const float* slopes, const u32* offsets,
                             const u64* keys, u32 first_text, u32 texts, u32 padded, u32 heads, u64 mask_key, u64 site,
                             u32 threshold, float mask_scale, Value* score_slopes) {
    const u64 index = row_of_warp(), first = index * padded;
    if (index >= static_cast<u64>(texts) * heads * padded) return;
    const ScoreRow at = score_row(index, offsets, first_text, heads, padded);
    const u32 length = at.row < at.length ? at.length : 0u;
    const float logarithm = length > 0u ? log_sums[(static_cast<u64>(at.begin) + at.row) * heads + at.head] : 0.0f;
    const u64 state = weight_mask(at, mask_key, site, keys);
    float along = 0.0f;
    for (u32 c = lane_of(); c < length; c += WARP) {
        const float weight = expf(fminf(scores[first + c] - logarithm, 0.0f));
        along = fmaf(weight, slopes[first + c] * kept(state, c, threshold, mask_scale), along);
    }
    along = warp_sum(along);
    for (u32 c = lane_of(); c < padded; c += WARP) {
        float slope = 0.0f;
        if (c < length) {
            const float weight = expf(fminf(scores[first + c] - logarithm, 0.0f));
            slope = weight * (slopes[first + c] * kept(state, c, threshold, mask_scale) - along);
        }
        score_slopes[first + c] = to_value(slope);
    }
}

// Block x: text x. pooled [texts x width] = the sum of its tokens, each times its weight.
KERNEL(THREADS, 4)
transformer_pool(const Value* hidden, const float* token_weights, const u32* offsets, u32 width, float* pooled) {
    const u64 text = blockIdx.x, first = offsets[text], last = offsets[text + 1u];
    for (u32 c = threadIdx.x; c < width; c += THREADS) {
        float sum = 0.0f;
        for (u64 token = first; token < last; ++token) {
            const float weight = token_weights[token];
            if (weight != 0.0f) sum = fmaf(weight, value_of(hidden[token * width + c]), sum);
        }
        pooled[text * width + c] = sum;
    }
}

// A warp a token: its weight times the slope of its text's pooled vector.
KERNEL(THREADS, 4)
transformer_spread(const float* pooled_slopes, const float* token_weights, const u32* text_of, u32 tokens, u32 width,
                   Value* slope) {
    const u64 token = row_of_warp();
    if (token >= tokens) return;
    const float* from = pooled_slopes + static_cast<u64>(text_of[token]) * width;
    for (u32 c = lane_of(); c < width; c += WARP) slope[token * width + c] = to_value(token_weights[token] * from[c]);
}

// Block x: run x of `rows`. partials [runs x width] = the sum of the rows named from run_starts[x] to run_starts[x + 1].
KERNEL(THREADS, 4)
transformer_gather_sums(const Value* slope, const u32* rows, const u32* run_starts, u32 width, float* partials) {
    const u32 first = run_starts[blockIdx.x];
#ifdef BUG_RUN_END
    const u32 last = run_starts[blockIdx.x + 1u] - 1u;
#else
    const u32 last = run_starts[blockIdx.x + 1u];
#endif
    for (u32 c = threadIdx.x; c < width; c += THREADS) {
        float sum = 0.0f;
        for (u32 at = first; at < last; ++at) sum += value_of(slope[static_cast<u64>(rows[at]) * width + c]);
        partials[static_cast<u64>(blockIdx.x) * width + c] = sum;
    }
}

// Block x: group x. gradient row targets[x] += the sum of the runs from group_starts[x] to group_starts[x + 1].
KERNEL(THREADS, 4)
transformer_scatter_sums(const float* partials, const u32* group_starts, const u32* targets, u32 width, float* gradient) {
    const u64 first = group_starts[blockIdx.x], last = group_starts[blockIdx.x + 1u];
    float* const row = gradient + static_cast<u64>(targets[blockIdx.x]) * width;
    for (u32 c = threadIdx.x; c < width; c += THREADS) {
        float sum = 0.0f;
        for (u64 at = first; at < last; ++at) sum += partials[at * width + c];
        row[c] += sum;
    }
}

// Block x: partials[x] = the sum of the squares of `SQUARES` values, in f64.
KERNEL(THREADS, 4)
transformer_square_sums(const float* values, u32 count, double* partials) {
    const Span<double> sums = shared<double>(0, WARPS);
    const u64 first = static_cast<u64>(blockIdx.x) * SQUARES;
    double sum = 0.0;
    for (u64 at = first + threadIdx.x; at < first + SQUARES && at < count; at += THREADS) {
        sum += static_cast<double>(values[at]) * static_cast<double>(values[at]);
    }
    for (u32 lanes = 16u; lanes > 0u; lanes /= 2u) sum += shuffle_xor(sum, lanes);
    if (lane_of() == 0u) sums[threadIdx.x / WARP] = sum;
#ifndef BUG_NO_BARRIER_IN_SQUARES
    block_barrier();
#endif
    if (threadIdx.x != 0u) return;
    double total = 0.0;
    for (u32 warp = 0; warp < WARPS; ++warp) total += sums[warp];
    partials[blockIdx.x] = total;
}

// Block x: AdamW over span x, which is {first value, first gradient, values, class}; constants [classes x 8] are
// {keep, mean share, square keep, square share, rate, inverse root, epsilon, factor}. `copies` are the weights as the
// products read them.
KERNEL(THREADS, 4)
transformer_adamw(const u32* spans, const float* constants, const float* gradients, float* values, float* means,
                  float* squares, Value* copies) {
    const u32* span = spans + static_cast<u64>(blockIdx.x) * 4u;
    const float* step = constants + span[3] * 8u;
    for (u32 i = threadIdx.x; i < span[2]; i += THREADS) {
        const u64 at = static_cast<u64>(span[0]) + i, moment = static_cast<u64>(span[1]) + i;
        const float gradient = gradients[moment] * step[7];
        const float mean = means[moment] + step[1] * (gradient - means[moment]);
        const float square = squares[moment] * step[2] + step[3] * gradient * gradient;
#ifdef BUG_NO_DECAY
        const float value = values[at] - step[4] * (mean / (sqrtf(square) * step[5] + step[6]));
#else
        const float value = values[at] * step[0] - step[4] * (mean / (sqrtf(square) * step[5] + step[6]));
#endif
        means[moment] = mean;
        squares[moment] = square;
        values[at] = value;
        copies[at] = to_value(value);
    }
}

// The weights as the products read them.
KERNEL(THREADS, 4)
transformer_round(const float* values, u64 count, Value* copies) {
    const u64 stride = static_cast<u64>(gridDim.x) * THREADS;
    for (u64 at = static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x; at < count; at += stride) copies[at] = to_value(values[at]);
}
