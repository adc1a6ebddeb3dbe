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
//
// hopper_product.cuh is the same for compute capability 9.0, with other tiles. What a kernel may know of either:
//   TILE x TILE_COLUMNS                the tile
//   PRODUCT_THREADS, PRODUCT_BLOCKS    of a block, and blocks a multiprocessor holds: for KERNEL
//   PRODUCT_BYTES                      shared memory it takes, from the start of the block's
//   holds_sums()                       whether this thread has sums; the others take no part after multiply_tiles
//   ROWS_HELD, GROUPS_HELD             a thread's sums: so many rows of so many groups of eight columns, each group
//                                      out of a word of 32 columns; the four threads of a quad hold a row together
//   sum_row(i), sum_word(g), sum_column(g, j)     where in the tile
//   PARTS, held_part()                 into how many parts warps divide the columns, and which is this thread's
//   marking_row(), rows_barrier()      one thread for each row of the tile (TILE for all others), and a barrier of
//                                      all threads that share a row's sums

constexpr u32 TILE = 128u;
constexpr u32 TILE_COLUMNS = 128u;
constexpr u32 STEP = 32u;
constexpr u32 STAGES = 4u;
constexpr u32 STAGE_VALUES = (TILE + TILE_COLUMNS) * STEP;
constexpr u32 PRODUCT_BYTES = STAGES * STAGE_VALUES * 2u;
constexpr u32 PRODUCT_THREADS = THREADS;
constexpr u32 PRODUCT_BLOCKS = 2u;
constexpr u32 ROWS_HELD = 8u;
constexpr u32 GROUPS_HELD = 1u;
constexpr u32 PARTS = 4u;

struct Operand {
    const u16* values;
    u32 stride;
    u32 rows;
    u32 depth;
};

// The sums a thread holds: 4 x 4 fragments of 16 x 8.
struct Sums {
    float at[4][4][4];
    METHOD float& value(u32 i, u32, u32 j) { return at[i / 2u][j / 2u][i % 2u * 2u + j % 2u]; }
};

INLINE bool holds_sums() { return true; }
INLINE u32 warp_row() { return threadIdx.x / WARP / 4u * 64u; }
INLINE u32 warp_column() { return threadIdx.x / WARP % 4u * 32u; }
INLINE u32 held_part() { return warp_column() / 32u; }
INLINE u32 sum_row(u32 i) { return warp_row() + i * 8u + threadIdx.x % WARP / 4u; }
INLINE u32 sum_word(u32) { return warp_column() / 32u; }
INLINE u32 sum_column(u32, u32 j) { return warp_column() + j / 2u * 8u + threadIdx.x % 4u * 2u + j % 2u; }
INLINE u32 marking_row() { return threadIdx.x < TILE ? threadIdx.x : TILE; }
INLINE void rows_barrier() { block_barrier(); }

template <bool STRIDED> INLINE u32 chunk_at(u32 row, u32 k) {
    if (STRIDED) return k * TILE + ((row / 8u) ^ (k % 8u)) * 8u;
    return row * STEP + ((k / 8u) ^ (row / 2u % 4u)) * 8u;
}

template <bool STRIDED> INLINE void load_step(const Operand& from, u32 row0, u32 k0, Span<u16> to) {
    UNROLL
    for (u32 i = 0; i < TILE * STEP / 8u / THREADS; ++i) {
        const u32 chunk = threadIdx.x + i * THREADS;
        const u32 row = STRIDED ? chunk % (TILE / 8u) * 8u : chunk / (STEP / 8u);
        const u32 k = STRIDED ? chunk / (TILE / 8u) : chunk % (STEP / 8u) * 8u;
        const bool inside = row0 + row < from.rows && k0 + k < from.depth;
        const u64 line = STRIDED ? k0 + k : row0 + row, at = line * from.stride + (STRIDED ? row0 + row : k0 + k);
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

// Multiplies `tiles` tiles, one after the other: `a_row`, and `b_row` advancing by a tile each time. Every thread
// that holds sums calls `begin` with the number of a tile while its products are under way, and `finish` with its
// sums once they are complete. A block barrier lies before the first call, and one of the threads that share rows
// between a `finish` and the next `begin`; none between a `begin` and its `finish`.
template <bool A_STRIDED, bool B_STRIDED, class Begin, class Finish>
INLINE void multiply_tiles(const Operand& a, const Operand& b, u32 depth, u32 a_row, u32 b_row, u32 tiles, Begin begin,
                           Finish finish) {
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
                loading_row += TILE_COLUMNS;
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
        begin(tile);
        finish(sums, tile);
    }
    copies_wait<0>();
}
