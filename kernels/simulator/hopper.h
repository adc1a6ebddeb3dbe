// What compute capability 9.0 adds, on the processor: src/cuda/hopper.cuh's names over the simulated machine.
//
// Asynchronous work is done as late or as early as the real machine might. A box is copied at once in some
// schedules, at a random time in others, in others only when no thread can go on; until then its place holds NaN.
// A product is computed when its thread waits for it; until then the thread's sums are NaN, and a copy into what it
// still reads ends the process. Also refused: a barrier used before it was initialized, made ready and passed by a
// block barrier; more arrivals or bytes than a phase expects; a product without a fence, in which the threads of a
// warpgroup disagree, that reads beyond shared memory, or out of a layout that no box has; sums or copies nobody
// waited for; registers that are not there; a matrix whose address, stride, size or extent the driver would not take,
// or which reaches beyond its allocation.
#pragma once

struct alignas(64) Operand {
    u64 mark;          // tells a matrix that the driver has seen from anything else
    const u16* values;
    u64 columns, rows; // the contiguous direction first
    u64 stride;        // bytes
    u64 box_columns, box_rows;
    u64 swizzle;       // the driver's number: 3 is 128 bytes
    u64 rest[8];
};

namespace simulator {

constexpr u64 OPERAND_MARK = 0x6d61747269782121ull;
constexpr unsigned WARPGROUP = 128;

inline unsigned offset_of(const void* at) { return static_cast<unsigned>(static_cast<const u8*>(at) - machine->shared); }

// The hardware's 128-byte swizzle of a byte's place in shared memory.
inline unsigned swizzled(unsigned at) { return at ^ (at >> 7 & 7u) << 4; }

inline AsyncBarrier& barrier_at(Span<u64> barriers, u32 at) {
    u64* place = &barriers[at];
    auto found = machine->async_barriers.find(offset_of(place));
    if (found == machine->async_barriers.end()) fail("a barrier that was not initialized");
    AsyncBarrier& barrier = found->second;
    if (barrier.owner != machine->current->thread.x && barrier.initialized_in == machine->whole.generation) {
        fail("a barrier of another thread, before a block barrier");
    }
    return barrier;
}

inline void complete_if_due(AsyncBarrier& barrier) {
    if (barrier.pending > 0 || barrier.bytes > 0) return;
    barrier.pending = barrier.arrivals;
    ++barrier.phase;
}

inline void arrive(AsyncBarrier& barrier) {
    if (barrier.pending == 0) fail("more arrivals than a barrier expects");
    --barrier.pending;
    complete_if_due(barrier);
}

// Copies a box and tells its barrier.
inline void land(const BoxCopy& copy) {
    const Operand& from = *static_cast<const Operand*>(copy.from);
    for (unsigned r = 0; r < from.box_rows; ++r) {
        for (unsigned c = 0; c < from.box_columns; ++c) {
            const int64_t row = int64_t{copy.row} + r, column = int64_t{copy.column} + c;
            const bool inside = row < static_cast<int64_t>(from.rows) && column < static_cast<int64_t>(from.columns);
            const unsigned plain = copy.to + (r * static_cast<unsigned>(from.box_columns) + c) * 2;
            u8* to = machine->shared + (from.swizzle == 3 ? swizzled(plain) : plain);
            const u16 value = inside ? from.values[static_cast<u64>(row) * from.stride / 2 + static_cast<u64>(column)] : u16{0};
            std::memcpy(to, &value, 2);
        }
    }
    AsyncBarrier& barrier = machine->async_barriers.at(copy.barrier);
    barrier.bytes -= static_cast<int64_t>(from.box_rows * from.box_columns * 2);
    if (barrier.bytes < 0) fail("more bytes than a barrier was told of");
    complete_if_due(barrier);
}

// Lets one copy land, the oldest or any; whether there was one.
inline bool land_one(unsigned which) {
    auto& copies = machine->box_copies;
    if (copies.empty()) return false;
    const BoxCopy copy = copies[which % copies.size()];
    copies.erase(copies.begin() + which % copies.size());
    land(copy);
    return true;
}

// One value of a product's operand: `row` of its rows, `k` of 16, as the descriptor says.
inline u16 operand_value(u64 descriptor, bool transposed, unsigned row, unsigned k) {
    const unsigned start = static_cast<unsigned>(descriptor & 0x3fff) << 4;
    const unsigned leading = static_cast<unsigned>(descriptor >> 16 & 0x3fff) << 4;
    const unsigned stride = static_cast<unsigned>(descriptor >> 32 & 0x3fff) << 4;
    unsigned at = start;
    if (transposed) {
        at += row / 64 * leading + row % 64 * 2 + k / 8 * stride + k % 8 * 128;
    } else {
        at += row / 8 * stride + row % 8 * 128 + k * 2;
    }
    at = descriptor >> 62 == 1 ? swizzled(at) : at;
    if (at + 2 > machine->shared_bytes) fail("a product reads at %u of %u bytes of shared memory", at, machine->shared_bytes);
    u16 value;
    std::memcpy(&value, machine->shared + at, 2);
    return value;
}

struct Line {
    double values[16];
    bool zero, finite;
};

inline Line operand_line(u64 descriptor, bool transposed, unsigned row) {
    Line line{{}, true, true};
    for (unsigned k = 0; k < 16; ++k) {
        const u16 bits = operand_value(descriptor, transposed, row, k);
        line.values[k] = static_cast<double>(as_float(static_cast<u32>(bits) << 16));
        line.zero &= (bits & 0x7fff) == 0;
        line.finite &= (bits & 0x7f80) != 0x7f80;
    }
    return line;
}

// What a thread has of a product: rows lane / 4 and eight further of its warp's sixteen, of each eight columns two.
inline void compute(const Product& product, float* sums) {
    const Fiber& fiber = *machine->current;
    Line left[2];
    for (unsigned h = 0; h < 2; ++h) {
        left[h] = operand_line(product.a, product.a_transposed, fiber.warp % 4 * 16 + fiber.lane / 4 + h * 8);
    }
    for (unsigned column = 0; column < 256; ++column) {
        if (column % 8 / 2 != fiber.lane % 4) continue;
        const Line right = operand_line(product.b, product.b_transposed, column);
        for (unsigned h = 0; h < 2; ++h) {
            float& sum = sums[column / 8 * 4 + h * 2 + column % 2];
            if (!product.add) sum = 0.0f;
            if ((left[h].zero && right.finite) || (right.zero && left[h].finite)) continue;
            double terms[17];
            for (unsigned k = 0; k < 16; ++k) terms[k] = left[h].values[k] * right.values[k];
            terms[16] = sum;
            sum = tensor_core_sum(terms);
        }
    }
}

// Whether a product that somebody still has to wait for reads the stage or box at `to`.
inline void refuse_if_read(unsigned to, unsigned bytes) {
    for (const Fiber& fiber : machine->fibers) {
        for (const Product& product : fiber.products) {
            for (u64 descriptor : {product.a, product.b}) {
                // A box is all one product reads of a row; whole boxes are freed at a time.
                const unsigned start = static_cast<unsigned>(descriptor & 0x3fff) << 4;
                if (start + 1024 > to && start < to + bytes) fail("a copy into what a product still reads");
            }
        }
    }
}

template <int PENDING> inline void wait_for_products() {
    Fiber& fiber = *machine->current;
    size_t kept = 0;
    std::vector<Product> products;
    products.swap(fiber.products);
    for (const Product& product : products) {
        if (product.group + PENDING >= fiber.product_groups) {
            products[kept++] = product;
        } else {
            compute(product, fiber.sums);
        }
    }
    products.resize(kept);
    fiber.products.swap(products);
    if (fiber.products.empty() && fiber.sums_at) {
        std::memcpy(fiber.sums_at, fiber.sums, sizeof fiber.sums);
        fiber.sums_at = nullptr;
        fiber.fenced = false;
    }
    warp_barrier();
}

// All threads of a warpgroup, told apart by what they ask for.
inline void warpgroup_agrees(u64 a, u64 b) {
    Machine& m = *machine;
    const unsigned group = m.current->warp / 4, index = m.current->thread.x % WARPGROUP;
    m.asked[group][index][0] = a;
    m.asked[group][index][1] = b;
    arrive(m.warpgroups[group], WARPGROUP);
    for (const auto& asked : m.asked[group]) {
        if (asked[0] != a || asked[1] != b) fail("threads of a warpgroup that ask for different products");
    }
    arrive(m.warpgroups[group], WARPGROUP);
}

inline void change_registers(int registers, bool give) {
    Machine& m = *machine;
    Fiber& fiber = *m.current;
    if (registers % 8 || registers < 24 || registers > 256) fail("setmaxnreg %d", registers);
    if (fiber.registers == 0) fiber.registers = 65536 / static_cast<int>(m.fibers.size()) / 8 * 8;
    if (give ? registers > fiber.registers : registers < fiber.registers) fail("setmaxnreg the wrong way");
    fiber.registers = registers;
    int all = 0;
    bool everyone = true;
    for (const Fiber& other : m.fibers) {
        all += other.registers;
        everyone &= other.registers != 0;
    }
    if (everyone && all > 65536) fail("%d registers of 65536", all);
}

} // namespace simulator

inline void give_up() { simulator::fail("gives up"); }

inline void barrier_init(Span<u64> barriers, u32 at, u32 arrivals) {
    auto& m = *simulator::machine;
    m.async_barriers[simulator::offset_of(&barriers[at])] = {arrivals, arrivals, 0, 0, m.current->thread.x, m.whole.generation, false};
}

inline void barriers_ready() {
    for (auto& entry : simulator::machine->async_barriers) {
        if (entry.second.owner == simulator::machine->current->thread.x) entry.second.ready = true;
    }
}

inline void barrier_arrive(Span<u64> barriers, u32 at) { simulator::arrive(simulator::barrier_at(barriers, at)); }

inline void barrier_expect(Span<u64> barriers, u32 at, u32 bytes) {
    auto& barrier = simulator::barrier_at(barriers, at);
    barrier.bytes += bytes;
    simulator::arrive(barrier);
}

inline void barrier_wait(Span<u64> barriers, u32 at, u32 parity) {
    auto& barrier = simulator::barrier_at(barriers, at);
    while ((barrier.phase & 1u) == parity) {
        simulator::machine->current->waits_for = &barrier.phase;
        simulator::machine->current->seen = barrier.phase;
        simulator::pause_thread();
    }
}

inline void copy_box(Span<u16> to, u32 at, const Operand& from, u32 column, u32 row, Span<u64> barriers, u32 which) {
    auto& m = *simulator::machine;
    if (from.mark != simulator::OPERAND_MARK) simulator::fail("a copy from what is no matrix");
    const auto& barrier = simulator::barrier_at(barriers, which);
    if (!barrier.ready) simulator::fail("a copy to a barrier that was not made ready");
    const u32 bytes = static_cast<u32>(from.box_columns * from.box_rows * 2);
    u16* place = &to[at];
    (void)to[at + bytes / 2 - 1];
    const unsigned offset = simulator::offset_of(place);
    if (offset % 1024) simulator::fail("a box at %u of shared memory, no multiple of 1024", offset);
    simulator::refuse_if_read(offset, bytes);
    std::memset(place, 0xff, bytes);
    m.box_copies.push_back({&from, offset, column, row, simulator::offset_of(&barriers[which])});
    if (m.copies_land == simulator::Landing::AtOnce) simulator::land_one(0);
}

inline void products_begin() { simulator::machine->current->fenced = true; }

template <bool A_TRANSPOSED, bool B_TRANSPOSED> inline void multiply_async(float (&c)[128], u64 a, u64 b, bool add) {
    auto& fiber = *simulator::machine->current;
    simulator::warpgroup_agrees(a, b);
    if (!fiber.fenced) simulator::fail("a product without a fence before it");
    if (a >> 62 > 1 || b >> 62 > 1 || (a >> 49 & 7) || (b >> 49 & 7)) simulator::fail("a layout that no box has");
    if (fiber.sums_at && fiber.sums_at != c) simulator::fail("other sums, while products are under way");
    if (!fiber.sums_at) {
        std::memcpy(fiber.sums, c, sizeof fiber.sums);
        fiber.sums_at = c;
    }
    std::memset(c, 0xff, sizeof c);
    fiber.products.push_back({a, b, A_TRANSPOSED, B_TRANSPOSED, add, fiber.product_groups});
}

inline void products_commit() { ++simulator::machine->current->product_groups; }
template <int PENDING> inline void products_wait() { simulator::wait_for_products<PENDING>(); }
inline void products_done(float (&)[128]) { simulator::wait_for_products<0>(); }
template <int REGISTERS> inline void registers_give() { simulator::change_registers(REGISTERS, true); }
template <int REGISTERS> inline void registers_take() { simulator::change_registers(REGISTERS, false); }
