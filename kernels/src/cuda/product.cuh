// Tiles of matrix products on the tensor cores, shared by every kernel that multiplies.
//
//   C[i][j] = sum over k of A(i, k) B(j, k)      128 x 128 a tile, by 256 threads
//
// Each operand lies with k contiguous (`PLAIN`: element (i, k) at values[i stride + k]) or with its rows
// contiguous (`STRIDED`: at values[k stride + i]), which covers Q D^T, G D and G^T Q without a transposition in
// memory. Steps of 32 along k travel through a ring of four stages in shared memory (cp.async); the ring runs on
// from one tile into the next, so that only the first tile of a block waits for it to fill. Chunks of eight
// values are swizzled so that the eight rows of an ldmatrix lie in different banks.
//
// Alignment: `values` and `stride` are multiples of eight values. Rows beyond `rows` and depths beyond `depth`
// read as zero; both limits of the contiguous direction are multiples of eight.

#define TILE 128u
#define STEP 32u
#define STAGES 4u
#define STAGE_VALUES (2u * TILE * STEP)
#define RING_BYTES (STAGES * STAGE_VALUES * 2u)

struct Operand {
    const u16* values;
    u64 stride;
    u32 rows;
    u32 depth;
};

// The sums a thread holds: 4 x 4 fragments of 16 x 8.
struct Sums {
    float at[4][4][4];
};

// Where in the tile: the row of fragment m, half h, and the column of fragment n, value j.
INLINE u32 warp_row() { return threadIdx.x / WARP / 4u * 64u; }
INLINE u32 warp_column() { return threadIdx.x / WARP % 4u * 32u; }
INLINE u32 sum_row(u32 m, u32 h) { return warp_row() + m * 16u + h * 8u + threadIdx.x % WARP / 4u; }
INLINE u32 sum_column(u32 n, u32 j) { return warp_column() + n * 8u + threadIdx.x % 4u * 2u + j; }

template <bool STRIDED> INLINE u32 chunk_at(u32 row, u32 k) {
    if (STRIDED) return k * TILE + ((row / 8u) ^ (k % 8u)) * 8u;
    return row * STEP + ((k / 8u) ^ (row / 2u % 4u)) * 8u;
}

template <bool STRIDED> INLINE void load_step(Operand from, u32 row0, u32 k0, Span<u16> to) {
    UNROLL
    for (u32 i = 0; i < TILE * STEP / 8u / THREADS; ++i) {
        const u32 chunk = threadIdx.x + i * THREADS;
        const u32 row = STRIDED ? chunk % (TILE / 8u) * 8u : chunk / (STEP / 8u);
        const u32 k = STRIDED ? chunk / (TILE / 8u) : chunk % (STEP / 8u) * 8u;
        const bool inside = row0 + row < from.rows && k0 + k < from.depth;
        const u64 at = STRIDED ? (k0 + k) * from.stride + row0 + row : (row0 + row) * from.stride + k0 + k;
        copy_async(to, chunk_at<STRIDED>(row, k), from.values + (inside ? at : 0), inside);
    }
}

// The 16 x 16 fragment of A at row `row`, depth `k` of a stage.
template <bool STRIDED> INLINE void load_left(u32 (&to)[4], Span<u16> from, u32 row, u32 k) {
    const u32 lane = threadIdx.x % WARP;
    if (STRIDED) {
        load_matrices_transposed(to, from, chunk_at<true>(row + lane / 8u % 2u * 8u, k + lane % 8u + lane / 16u * 8u));
    } else {
        load_matrices(to, from, chunk_at<false>(row + lane % 16u, k + lane / 16u * 8u));
    }
}

// Two 8 x 16 fragments of B from row `row` on: the first in to[0..1], the second in to[2..3].
template <bool STRIDED> INLINE void load_right(u32 (&to)[4], Span<u16> from, u32 row, u32 k) {
    const u32 lane = threadIdx.x % WARP;
    if (STRIDED) {
        load_matrices_transposed(to, from, chunk_at<true>(row + lane / 16u * 8u, k + lane % 8u + lane / 8u % 2u * 8u));
    } else {
        load_matrices(to, from, chunk_at<false>(row + lane % 8u + lane / 16u * 8u, k + lane / 8u % 2u * 8u));
    }
}

template <bool A_STRIDED, bool B_STRIDED> INLINE void multiply_step(Sums& sums, Span<u16> a, Span<u16> b) {
    UNROLL
    for (u32 k = 0; k < STEP; k += 16u) {
        u32 left[4][4], right[2][4];
        UNROLL
        for (u32 m = 0; m < 4u; ++m) load_left<A_STRIDED>(left[m], a, warp_row() + m * 16u, k);
        UNROLL
        for (u32 n = 0; n < 2u; ++n) load_right<B_STRIDED>(right[n], b, warp_column() + n * 16u, k);
        UNROLL
        for (u32 m = 0; m < 4u; ++m) {
            UNROLL
            for (u32 n = 0; n < 4u; ++n) {
                multiply_add(sums.at[m][n], left[m], right[n / 2u][n % 2u * 2u], right[n / 2u][n % 2u * 2u + 1u]);
            }
        }
    }
}

INLINE void clear(Sums& sums) {
    UNROLL
    for (u32 m = 0; m < 4u; ++m) {
        UNROLL
        for (u32 n = 0; n < 4u; ++n) {
            UNROLL
            for (u32 i = 0; i < 4u; ++i) sums.at[m][n][i] = 0.0f;
        }
    }
}

// Multiplies `tiles` tiles, one after the other: `a_row`, and `b_row` advancing by a tile each time. `finish` is
// called by all threads with the sums of a tile and its number. The ring takes the first RING_BYTES of the
// block's shared memory.
template <bool A_STRIDED, bool B_STRIDED, class Finish>
INLINE void multiply_tiles(Operand a, Operand b, u32 depth, u32 a_row, u32 b_row, u32 tiles, Finish finish) {
    const Span<u16> ring = shared<u16>(0, STAGES * STAGE_VALUES);
    const u32 steps = (depth + STEP - 1u) / STEP, total = steps * tiles;
    u32 loading = 0, loading_k = 0, loading_row = b_row;
    auto load = [&]() {
        if (loading < total) {
            const u32 stage = loading % STAGES * STAGE_VALUES;
            load_step<A_STRIDED>(a, a_row, loading_k, part(ring, stage, TILE * STEP));
            load_step<B_STRIDED>(b, loading_row, loading_k, part(ring, stage + TILE * STEP, TILE * STEP));
            loading_k += STEP;
            if (loading_k >= steps * STEP) {
                loading_k = 0;
                loading_row += TILE;
            }
        }
        ++loading;
        copies_commit();
    };
    for (u32 stage = 0; stage < STAGES - 1u; ++stage) load();
    Sums sums;
    u32 at = 0;
    for (u32 tile = 0; tile < tiles; ++tile) {
        clear(sums);
        for (u32 step = 0; step < steps; ++step, ++at) {
#ifndef BUG_NO_WAIT
            copies_wait<STAGES - 2>();
#endif
#ifndef BUG_NO_BARRIER_IN_RING
            block_barrier();
#endif
            load();
            const u32 stage = at % STAGES * STAGE_VALUES;
            multiply_step<A_STRIDED, B_STRIDED>(sums, part(ring, stage, TILE * STEP),
                                                part(ring, stage + TILE * STEP, TILE * STEP));
        }
        finish(sums, tile);
    }
    copies_wait<0>();
}
