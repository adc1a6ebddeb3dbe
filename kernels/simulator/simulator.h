// The CUDA machine on the processor: blocks one after the other, each thread of a block a fiber.
//
// What it is strict about: a barrier or a warp operation that not every thread of the block (warp) reaches, an
// index outside a part of shared memory, an address outside a device allocation (guard pages, driver.cpp), a
// cp.async that is read before it was waited for (the copy happens at the wait, no sooner), a misaligned cp.async
// or ldmatrix row. Each ends the process with a message. What it varies: which threads run first. Each block of
// each launch gets one of five schedules (ascending, descending, shuffled, and two that let one warp run as far as
// it can before another starts), so that a missing barrier changes a result.
//
// What it does not show: time, memory ordering weaker than the program's, two blocks or two streams at once,
// registers, the instructions the compiler chooses.
//
// Tensor cores: products of bf16 are exact; the sixteen products and the old sum are cut, not rounded, to 24 bits
// below the largest of them, added exactly, and cut to 24 bits. That is at most as accurate as any generation.
#pragma once
#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <type_traits>
#include <vector>

#if !defined(__x86_64__)
#error "the fibers switch stacks in x86-64 assembly"
#endif

namespace simulator {

struct Index { unsigned x, y, z; };

struct Copy { u16* to; const u16* from; bool inside; unsigned group; };

// hopper.h: a barrier in shared memory, a copy of a box under way, a product under way.
struct AsyncBarrier { unsigned arrivals, pending, phase; int64_t bytes; unsigned owner, initialized_in; bool ready; };
struct BoxCopy { const void* from; unsigned to, column, row, barrier; };
struct Product { uint64_t a, b; bool a_transposed, b_transposed, add; unsigned group; };
enum class Landing { AtOnce, AtRandom, Late };

struct Fiber {
    void* stack_pointer = nullptr;
    void* stack = nullptr;
    Index thread{};
    unsigned lane = 0, warp = 0;
    bool done = false;
    const unsigned* waits_for = nullptr; // the generation of a barrier ...
    unsigned seen = 0;                   // ... and its value when the wait began
    unsigned groups = 0;                 // cp.async groups committed
    std::vector<Copy> copies;
    std::vector<Product> products; // wgmma not waited for
    unsigned product_groups = 0;
    float* sums_at = nullptr;      // where the sums of these products will be ...
    float sums[128];               // ... and what they are so far
    bool fenced = false;
    int registers = 0;             // as setmaxnreg has it; 0 before the first
};

struct Barrier { unsigned generation = 0, arrived = 0; };

struct Machine {
    Index grid{}, block{}, at{};
    Fiber* current = nullptr;
    void* scheduler = nullptr;
    std::vector<Fiber> fibers;
    const std::function<void()>* body = nullptr;
    Barrier whole;
    Barrier warps[32];
    Barrier warpgroups[8];
    uint64_t asked[8][128][2];
    std::map<unsigned, AsyncBarrier> async_barriers; // by their place in shared memory
    std::vector<BoxCopy> box_copies;
    Landing copies_land = Landing::AtOnce;
    unsigned warp_threads[32] = {};
    uint64_t exchange[32][32][4];
    const u16* rows[32];
    unsigned launches = 0;
    u8* shared = nullptr;
    unsigned shared_bytes = 0;
    uint64_t random = 88172645463325252ull;
    const char* kernel = "";
};

extern thread_local Machine* machine __attribute__((tls_model("initial-exec")));

[[noreturn]] inline void fail(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    std::fprintf(stderr, "simulator: kernel %s, block %u,%u, thread %u: ", machine->kernel, machine->at.x,
                 machine->at.y, machine->current ? machine->current->thread.x : 0u);
    std::vfprintf(stderr, format, arguments);
    std::fprintf(stderr, "\n");
    va_end(arguments);
    std::abort();
}

extern "C" void simulator_switch(void** save, void* to);

inline void pause_thread() {
    Fiber* fiber = machine->current;
    simulator_switch(&fiber->stack_pointer, machine->scheduler);
}

inline void arrive(Barrier& barrier, unsigned expected) {
    if (++barrier.arrived == expected) {
        barrier.arrived = 0;
        ++barrier.generation;
        return;
    }
    Fiber* fiber = machine->current;
    fiber->waits_for = &barrier.generation;
    fiber->seen = barrier.generation;
    pause_thread();
}

inline void warp_barrier() {
    const unsigned warp = machine->current->warp;
    arrive(machine->warps[warp], machine->warp_threads[warp]);
}

// Runs one block of a launch; `shuffle` picks the schedule.
void run_block(Index at, unsigned schedule);
void launch(const char* kernel, Index grid, Index block, unsigned shared_bytes, const std::function<void()>& body);

} // namespace simulator

#define KERNEL(threads, blocks) void
#define OPERAND(name) const Operand name
#define INLINE static inline
#define METHOD inline
#define UNROLL
#define threadIdx (simulator::machine->current->thread)
#define blockIdx (simulator::machine->at)
#define blockDim (simulator::machine->block)
#define gridDim (simulator::machine->grid)

template <class T> struct Span {
    T* first;
    u32 count;
    T& operator[](u32 at) const {
        if (at >= count) simulator::fail("shared memory index %u of %u", at, count);
        return first[at];
    }
};

template <class T> inline Span<T> shared(u32 offset, u32 count) {
    if (offset % sizeof(T) || offset + count * sizeof(T) > simulator::machine->shared_bytes) {
        simulator::fail("shared memory %u + %u x %zu of %u bytes", offset, count, sizeof(T),
                        simulator::machine->shared_bytes);
    }
    return {reinterpret_cast<T*>(simulator::machine->shared + offset), count};
}

template <class T> inline Span<T> part(Span<T> span, u32 first, u32 count) {
    if (first + count > span.count) simulator::fail("part %u + %u of %u", first, count, span.count);
    return {span.first + first, count};
}

inline float as_float(u32 bits) { float value; std::memcpy(&value, &bits, 4); return value; }
inline u32 as_bits(float value) { u32 bits; std::memcpy(&bits, &value, 4); return bits; }
inline u32 lowest_bit(u32 bits) { return static_cast<u32>(__builtin_ctz(bits)); }
inline float infinity() { return INFINITY; }
inline float exp2_fast(float x) { return exp2f(x); }

inline void block_barrier() {
    simulator::arrive(simulator::machine->whole, static_cast<unsigned>(simulator::machine->fibers.size()));
}

template <class T> inline T shuffle_xor(T value, u32 lanes) {
    auto& slots = simulator::machine->exchange[simulator::machine->current->warp];
    const unsigned lane = simulator::machine->current->lane;
    std::memcpy(slots[lane], &value, sizeof value);
    simulator::warp_barrier();
    std::memcpy(&value, slots[lane ^ lanes], sizeof value);
    simulator::warp_barrier();
    return value;
}

inline void warp_barrier() { simulator::warp_barrier(); }

inline float shuffle(float value, u32 lane) {
    auto& slots = simulator::machine->exchange[simulator::machine->current->warp];
    std::memcpy(slots[simulator::machine->current->lane], &value, sizeof value);
    simulator::warp_barrier();
    std::memcpy(&value, slots[lane % 32], sizeof value);
    simulator::warp_barrier();
    return value;
}

inline u32 shared_address(const void* at) {
    return static_cast<u32>(static_cast<const u8*>(at) - simulator::machine->shared);
}

inline u32 ballot(bool vote) {
    auto& slots = simulator::machine->exchange[simulator::machine->current->warp];
    slots[simulator::machine->current->lane][0] = vote;
    simulator::warp_barrier();
    u32 votes = 0;
    for (u32 lane = 0; lane < 32; ++lane) votes |= (slots[lane][0] ? 1u : 0u) << lane;
    simulator::warp_barrier();
    return votes;
}

inline u32 atomicAdd(u32* at, u32 value) { const u32 old = *at; *at += value; return old; }
inline u32 atomicOr(u32* at, u32 value) { const u32 old = *at; *at |= value; return old; }
inline u32 __popc(u32 bits) { return static_cast<u32>(__builtin_popcount(bits)); }

inline void copy_async(Span<u16> to, u32 at, const u16* from, bool inside) {
    u16* target = &to[at];
    (void)to[at + 7];
    if (reinterpret_cast<uintptr_t>(target) % 16) simulator::fail("cp.async to an address not aligned to 16 bytes");
    if (reinterpret_cast<uintptr_t>(from) % 16) simulator::fail("cp.async from an address not aligned to 16 bytes");
    auto* fiber = simulator::machine->current;
    fiber->copies.push_back({target, from, inside, fiber->groups});
}

inline void copies_commit() { ++simulator::machine->current->groups; }

template <int PENDING> inline void copies_wait() {
    auto* fiber = simulator::machine->current;
    size_t kept = 0;
    for (const auto& copy : fiber->copies) {
        if (copy.group + PENDING >= fiber->groups) {
            fiber->copies[kept++] = copy;
        } else if (copy.inside) {
            std::memcpy(copy.to, copy.from, 16);
        } else {
            std::memset(copy.to, 0, 16);
        }
    }
    fiber->copies.resize(kept);
}

// Lane l names row l % 8 of matrix l / 8; it receives from each matrix the pair of values 2 (l % 4) of row l / 4.
inline const u16* const* matrix_rows(const u16* row) {
    auto& slots = simulator::machine->exchange[simulator::machine->current->warp];
    auto& rows = simulator::machine->rows;
    slots[simulator::machine->current->lane][0] = reinterpret_cast<uint64_t>(row);
    simulator::warp_barrier();
    for (u32 lane = 0; lane < 32; ++lane) rows[lane] = reinterpret_cast<const u16*>(slots[lane][0]);
    return rows;
}

inline const u16* matrix_row(Span<u16> from, u32 at) {
    const u16* row = &from[at];
    (void)from[at + 7];
    if (reinterpret_cast<uintptr_t>(row) % 16) simulator::fail("ldmatrix row not aligned to 16 bytes");
    return row;
}

inline void load_matrices(u32 (&to)[4], Span<u16> from, u32 at) {
    const u16* const* rows = matrix_rows(matrix_row(from, at));
    const u32 lane = simulator::machine->current->lane;
    for (u32 matrix = 0; matrix < 4; ++matrix) std::memcpy(&to[matrix], rows[matrix * 8 + lane / 4] + lane % 4 * 2, 4);
    simulator::warp_barrier();
}

inline void load_matrices_transposed(u32 (&to)[4], Span<u16> from, u32 at) {
    const u16* const* rows = matrix_rows(matrix_row(from, at));
    const u32 lane = simulator::machine->current->lane;
    for (u32 matrix = 0; matrix < 4; ++matrix) {
        const u32 low = rows[matrix * 8 + lane % 4 * 2][lane / 4], high = rows[matrix * 8 + lane % 4 * 2 + 1][lane / 4];
        to[matrix] = low | high << 16;
    }
    simulator::warp_barrier();
}

// `2^power`, as a double, for powers a double has.
inline double power_of_two(int power) {
    const uint64_t bits = static_cast<uint64_t>(power + 1023) << 52;
    double value;
    std::memcpy(&value, &bits, 8);
    return value;
}

inline float tensor_core_sum(const double (&terms)[17]) {
    double largest = 0.0;
    for (double term : terms) largest = std::fmax(largest, std::fabs(term));
    if (!(largest < 1e300)) {
        double sum = 0.0;
        for (double term : terms) sum += term;
        return static_cast<float>(sum);
    }
    if (largest < 1e-290) return 0.0f;
    uint64_t bits;
    std::memcpy(&bits, &largest, 8);
    const int exponent = static_cast<int>(bits >> 52) - 1023;
    const double up = power_of_two(23 - exponent), down = power_of_two(exponent - 23);
    int64_t sum = 0;
    for (double term : terms) sum += static_cast<int64_t>(term * up);
    int64_t magnitude = sum < 0 ? -sum : sum, dropped = 0;
    while (magnitude >> 24 >> dropped) ++dropped;
    magnitude = magnitude >> dropped << dropped;
    return static_cast<float>(static_cast<double>(sum < 0 ? -magnitude : magnitude) * down);
}

inline void multiply_add(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    auto& slots = simulator::machine->exchange[simulator::machine->current->warp];
    const u32 lane = simulator::machine->current->lane;
    std::memcpy(slots[lane], a, 16);
    const u32 b[2] = {b0, b1};
    std::memcpy(&slots[lane][2], b, 8);
    simulator::warp_barrier();
    const u32 group = lane / 4, pair = lane % 4;
    auto word = [&](u32 owner, u32 index) { u32 value; std::memcpy(&value, reinterpret_cast<const u32*>(slots[owner]) + index, 4); return value; };
    auto half = [](u32 bits, u32 high) { return as_float(high ? bits & 0xffff0000u : bits << 16); };
    for (u32 i = 0; i < 4; ++i) {
        double terms[17];
        const u32 column = pair * 2 + i % 2;
        for (u32 k = 0; k < 16; ++k) {
            const float left = half(word(group * 4 + k % 8 / 2, i / 2 + k / 8 * 2), k % 2);
            const float right = half(word(column * 4 + k % 8 / 2, 4 + k / 8), k % 2);
            terms[k] = static_cast<double>(left) * static_cast<double>(right);
        }
        terms[16] = c[i];
        c[i] = tensor_core_sum(terms);
    }
    simulator::warp_barrier();
}

inline float f16_to_f32(u16 bits) {
    const u32 sign = static_cast<u32>(bits & 0x8000u) << 16, exponent = bits >> 10 & 31u, fraction = bits & 0x3ffu;
    if (exponent == 31u) return as_float(sign | 0x7f800000u | fraction << 13);
    if (exponent != 0u) return as_float(sign | (exponent + 112u) << 23 | fraction << 13);
    const float value = static_cast<float>(fraction) * 5.9604644775390625e-8f;
    return sign ? -value : value;
}
