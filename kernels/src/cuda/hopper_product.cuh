// Tiles of matrix products for compute capability 9.0: product.cuh's interface and results, by the tensor memory
// accelerator and wgmma.
//
//   C[i][j] = sum over k of A(i, k) B(j, k)      128 x 256 a tile, by two warpgroups and one thread that loads
//
// Each operand lies with k contiguous or with its rows contiguous (STRIDED), in boxes of 64 x 64 either way: a stage
// of the ring is two boxes of A and four of B, 64 steps along k. The loading thread runs ahead of the warpgroups by
// up to four stages, from one tile into the next: `loaded` barriers tell them that a stage's bytes are there,
// `freed` barriers tell it that all eight warps have done with a stage. A warpgroup multiplies box g of A (its 64
// rows) with all of B; one group of products is always under way while the next stage is waited for.
//
// The sizes, for an H200 (132 multiprocessors, 4,096 bf16 operations a cycle each, 227 KiB of shared memory):
//   a stage    2 x 128 x 256 x 64 = 4.2 million operations, 1,024 cycles; (128 + 256) x 64 x 2 = 48 KiB, that is
//              48 bytes a cycle from the L2 cache and 85 operations a byte (tiles of 128 x 128: 64 bytes a cycle)
//   products   a wgmma of 64 x 256 x 16 takes 128 cycles and reads 2 KiB of A and 8 KiB of B: 80 bytes a cycle of
//              shared memory's 128, with the 48 that arrive just all of it (two 64 x 128 would read 96)
//   ring       4 stages, 192 KiB, 4,096 cycles ahead: some 2 microseconds, a few times the latency of memory
//   registers  128 sums a thread; 65,536 over 384 threads is 168 each, of which the loading warpgroup keeps 40, so
//              that the others have 232
//   occupancy  one block a multiprocessor. At d = 768 a tile is 12,288 cycles of products; 32,768 scores cost about
//              2,048 cycles of exp2 (16 a cycle) and as many of other instructions. The two warpgroups may be four
//              stages apart, so that part of that hides behind the other's products.

constexpr u32 TILE = 128u;
constexpr u32 TILE_COLUMNS = 256u;
constexpr u32 STEP = 64u;
constexpr u32 STAGES = 4u;
constexpr u32 BOX = 64u;
constexpr u32 BOX_VALUES = BOX * BOX;
constexpr u32 A_BOXES = TILE / BOX;
constexpr u32 B_BOXES = TILE_COLUMNS / BOX;
constexpr u32 STAGE_VALUES = (A_BOXES + B_BOXES) * BOX_VALUES;
constexpr u32 RING_BYTES = STAGES * STAGE_VALUES * 2u;
constexpr u32 PRODUCT_BYTES = RING_BYTES + 128u;
constexpr u32 MULTIPLYING = 256u;
constexpr u32 PRODUCT_THREADS = MULTIPLYING + 128u;
constexpr u32 PRODUCT_BLOCKS = 1u;
constexpr u32 ROWS_HELD = 2u;
constexpr u32 GROUPS_HELD = 8u;
constexpr u32 PARTS = 1u;

// The sums a thread holds: of the 16 rows of its warp two, of each eight columns two.
struct Sums {
    float at[128];
    METHOD float& value(u32 i, u32 g, u32 j) { return at[(g * 4u + j / 2u) * 4u + i * 2u + j % 2u]; }
};

INLINE bool holds_sums() { return threadIdx.x < MULTIPLYING; }
INLINE u32 held_part() { return 0u; }
INLINE u32 warp_row() { return threadIdx.x / WARP * 16u; }
INLINE u32 sum_row(u32 i) { return warp_row() + i * 8u + threadIdx.x % WARP / 4u; }
INLINE u32 sum_word(u32 g) { return g; }
INLINE u32 sum_column(u32 g, u32 j) { return g * 32u + j / 2u * 8u + threadIdx.x % 4u * 2u + j % 2u; }
INLINE u32 marking_row() { return threadIdx.x % WARP < 16u ? warp_row() + threadIdx.x % WARP : TILE; }
INLINE void rows_barrier() { warp_barrier(); }

struct Ring {
    Span<u16> values;
    Span<u64> loaded;
    Span<u64> freed;
};

INLINE Ring ring_of_block() {
    return Ring{shared<u16>(0, STAGES * STAGE_VALUES), shared<u64>(RING_BYTES, STAGES),
                shared<u64>(RING_BYTES + STAGES * 8u, STAGES)};
}

INLINE void prepare(const Ring& ring) {
    // A box out of place would be read as another; the driver's promise is only what everybody relies on.
    if (shared_address(&ring.values[0]) % 1024u != 0u) give_up();
    if (threadIdx.x == 0u) {
        for (u32 stage = 0; stage < STAGES; ++stage) {
            barrier_init(ring.loaded, stage, 1u);
            barrier_init(ring.freed, stage, MULTIPLYING / WARP);
        }
#ifndef BUG_BARRIERS_NOT_READY
        barriers_ready();
#endif
    }
    block_barrier();
}

// Stages go round: the phases of a stage's barriers alternate between parity 0 and 1.
struct Turn {
    u32 stage, parity;
    METHOD void next() {
        if (++stage < STAGES) return;
        stage = 0;
#ifndef BUG_PARITY
        parity ^= 1u;
#endif
    }
};

template <bool STRIDED> INLINE void load_box(Span<u16> to, u32 at, const Operand& from, u32 row, u32 k, const Ring& ring, u32 stage) {
    copy_box(to, at, from, STRIDED ? row : k, STRIDED ? k : row, ring.loaded, stage);
}

// What the loading thread does: all boxes of all tiles.
template <bool A_STRIDED, bool B_STRIDED>
INLINE void load_tiles(const Operand& a, const Operand& b, u32 depth, u32 a_row, u32 b_row, u32 tiles, const Ring& ring) {
    Turn turn{0u, 1u};
    for (u32 tile = 0; tile < tiles; ++tile, b_row += TILE_COLUMNS) {
        for (u32 k = 0; k < depth; k += STEP) {
#ifndef BUG_NO_WAIT_FOR_FREED
            barrier_wait(ring.freed, turn.stage, turn.parity);
#endif
#ifdef BUG_BYTES
            barrier_expect(ring.loaded, turn.stage, STAGE_VALUES);
#else
            barrier_expect(ring.loaded, turn.stage, STAGE_VALUES * 2u);
#endif
            u32 at = turn.stage * STAGE_VALUES;
            for (u32 box = 0; box < A_BOXES; ++box, at += BOX_VALUES) {
                load_box<A_STRIDED>(ring.values, at, a, a_row + box * BOX, k, ring, turn.stage);
            }
            for (u32 box = 0; box < B_BOXES; ++box, at += BOX_VALUES) {
#ifdef BUG_BOX
                load_box<B_STRIDED>(ring.values, at, b, b_row + box * (BOX - 1u), k, ring, turn.stage);
#else
                load_box<B_STRIDED>(ring.values, at, b, b_row + box * BOX, k, ring, turn.stage);
#endif
            }
            turn.next();
        }
    }
}

// 16 steps along k further in a box, in values: within its rows, or sixteen rows on.
template <bool STRIDED> INLINE u32 along(u32 k) { return STRIDED ? k * BOX : k; }

// Starts the products of a stage.
template <bool A_STRIDED, bool B_STRIDED> INLINE void multiply_stage(Sums& sums, const Ring& ring, u32 stage, bool add) {
    const u32 a = stage * STAGE_VALUES + threadIdx.x / 128u * BOX_VALUES, b = stage * STAGE_VALUES + A_BOXES * BOX_VALUES;
#ifndef BUG_NO_FENCE
    products_begin();
#endif
    UNROLL
    for (u32 k = 0; k < STEP; k += 16u) {
        multiply_async<A_STRIDED, B_STRIDED>(sums.at, boxes_at(ring.values, a + along<A_STRIDED>(k), BOX_VALUES * 2u),
                                             boxes_at(ring.values, b + along<B_STRIDED>(k), BOX_VALUES * 2u), add || k > 0u);
    }
    products_commit();
}

INLINE void free_stage(const Ring& ring, u32 stage) {
    if (threadIdx.x % WARP == 0u) barrier_arrive(ring.freed, stage);
}

// As in product.cuh: `begin` while a tile's products are under way, `finish` with its sums, by the threads that
// hold them; the others return at once when all is loaded.
template <bool A_STRIDED, bool B_STRIDED, class Begin, class Finish>
INLINE void multiply_tiles(const Operand& a, const Operand& b, u32 depth, u32 a_row, u32 b_row, u32 tiles, Begin begin,
                           Finish finish) {
    const Ring ring = ring_of_block();
    prepare(ring);
    if (!holds_sums()) {
        registers_give<40>();
        if (threadIdx.x == MULTIPLYING) load_tiles<A_STRIDED, B_STRIDED>(a, b, depth, a_row, b_row, tiles, ring);
        return;
    }
    registers_take<232>();
    Sums sums;
    Turn turn{0u, 0u};
    u32 last = 0;
    for (u32 tile = 0; tile < tiles; ++tile) {
        for (u32 k = 0; k < depth; k += STEP) {
#ifndef BUG_NO_WAIT_FOR_LOADED
            barrier_wait(ring.loaded, turn.stage, turn.parity);
#endif
            multiply_stage<A_STRIDED, B_STRIDED>(sums, ring, turn.stage, k > 0u);
#ifdef BUG_FREED_EARLY
            free_stage(ring, turn.stage);
            if (k == 0u) begin(tile);
#else
            if (k == 0u) {
                begin(tile);
                warp_barrier(); // its branches have ended before the next products
            } else {
                products_wait<1>();
                free_stage(ring, last);
            }
#endif
            last = turn.stage;
            turn.next();
        }
#ifndef BUG_NO_WAIT_FOR_PRODUCTS
        products_done(sums.at);
#endif
#ifndef BUG_FREED_EARLY
        free_stage(ring, last);
#endif
        finish(sums, tile);
        rows_barrier();
    }
}
