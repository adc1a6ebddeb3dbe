// What compute capability 9.0 adds to threads.cuh: barriers in shared memory that count arrivals and bytes, copies
// of whole boxes of a matrix by the tensor memory accelerator, and products of a warpgroup (four warps) that run
// while its threads go on. Compiles for sm_90a alone.
//
// A box is 64 x 64 values, 8 KiB of shared memory from a multiple of 1,024 bytes on: row r of the box at r * 128
// bytes, its eight chunks of 16 bytes exchanged with one another, chunk c at (c ^ r % 8) * 16. That is the
// hardware's 128-byte swizzle: the eight chunks that a product reads at a time lie in different banks.
#ifdef SIMULATOR
#include "hopper.h"
#else

// A matrix of bf16 in global memory, cut into boxes: the driver's CUtensorMap. What lies outside reads as zero.
struct __align__(64) Operand {
    u64 opaque[16];
};

// Ends the kernel with an error.
INLINE void give_up() { asm volatile("trap;"); }

// Barriers: `barriers[at]` completes a phase when `arrivals` threads have arrived and all bytes announced are there.
INLINE void barrier_init(Span<u64> barriers, u32 at, u32 arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&barriers[at])), "r"(arrivals) : "memory");
}
// Makes initialized barriers known to the accelerator; other threads learn of them by a block barrier.
INLINE void barriers_ready() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
INLINE void barrier_arrive(Span<u64> barriers, u32 at) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(&barriers[at])) : "memory");
}
// Arrives, and announces bytes that a copy will bring.
INLINE void barrier_expect(Span<u64> barriers, u32 at, u32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&barriers[at])), "r"(bytes)
                 : "memory");
}
// Waits until the latest phase of this parity (0 for the first, 1 for the second, ...) is complete; before the
// first, parity 1 counts as complete.
INLINE void barrier_wait(Span<u64> barriers, u32 at, u32 parity) {
    asm volatile("{\n"
                 ".reg .pred complete;\n"
                 "AGAIN:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 complete, [%0], %1;\n"
                 "@!complete bra AGAIN;\n"
                 "}" ::"r"(shared_address(&barriers[at])), "r"(parity)
                 : "memory");
}

// Starts copying the box from column `column`, row `row` of the matrix on to `to[at]`; its bytes arrive at the barrier.
INLINE void copy_box(Span<u16> to, u32 at, const Operand& from, u32 column, u32 row, Span<u64> barriers, u32 barrier) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(
                     shared_address(&to[at])),
                 "l"(&from), "r"(column), "r"(row), "r"(shared_address(&barriers[barrier]))
                 : "memory");
}

#define EIGHT_SUMS(i) \
    "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), "+f"(c[i + 4]), "+f"(c[i + 5]), "+f"(c[i + 6]), "+f"(c[i + 7])
#define ALL_SUMS \
    EIGHT_SUMS(0), EIGHT_SUMS(8), EIGHT_SUMS(16), EIGHT_SUMS(24), EIGHT_SUMS(32), EIGHT_SUMS(40), EIGHT_SUMS(48), \
        EIGHT_SUMS(56), EIGHT_SUMS(64), EIGHT_SUMS(72), EIGHT_SUMS(80), EIGHT_SUMS(88), EIGHT_SUMS(96), EIGHT_SUMS(104), \
        EIGHT_SUMS(112), EIGHT_SUMS(120)

// Orders what the threads did to their sums before the products that follow.
INLINE void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

// Starts c [64 x 256] = a [64 x 16] b [256 x 16]^T, plus c where `add`; TRANSPOSED: rows contiguous, not depth.
template <bool A_TRANSPOSED, bool B_TRANSPOSED> INLINE void multiply_async(float (&c)[128], u64 a, u64 b, bool add) {
    asm volatile("{\n"
                 ".reg .pred add;\n"
                 "setp.ne.b32 add, %130, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
                 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
                 "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
                 "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
                 "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
                 "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
                 "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
                 "}, %128, %129, add, 1, 1, %131, %132;\n"
                 "}"
                 : ALL_SUMS
                 : "l"(a), "l"(b), "r"(add ? 1 : 0), "n"(A_TRANSPOSED ? 1 : 0), "n"(B_TRANSPOSED ? 1 : 0));
}

// Closes a group of products.
INLINE void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Waits for all groups but the last `PENDING`.
template <int PENDING> INLINE void products_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory"); }
// Waits for all groups; from here on the sums may be read.
INLINE void products_done(float (&c)[128]) { asm volatile("wgmma.wait_group.sync.aligned 0;" : ALL_SUMS::"memory"); }

// All threads of a warpgroup: registers they hand back, or take.
template <int REGISTERS> INLINE void registers_give() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS)); }
template <int REGISTERS> INLINE void registers_take() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS)); }
#endif

// Boxes in shared memory as a product reads them: 128-byte swizzle (layout 1), eight rows of a box 1,024 bytes
// after the last eight, and `box_bytes` from a box to the next along the contiguous direction.
INLINE u64 boxes_at(Span<u16> from, u32 at, u32 box_bytes) {
#ifdef BUG_SWIZZLE
    const u64 layout = 0;
#else
    const u64 layout = 1;
#endif
#ifdef BUG_BOX_STRIDE
    box_bytes /= 2u;
#endif
    return static_cast<u64>((shared_address(&from[at]) & 0x3ffffu) >> 4) | static_cast<u64>(box_bytes >> 4) << 16 |
           static_cast<u64>(1024u >> 4) << 32 | layout << 62;
}
