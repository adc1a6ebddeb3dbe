// The CUDA driver, NVRTC and (blas.h) cuBLAS, as far as the kernels crate calls them, over the simulated machine. Built
// as libcuda.so.1, libnvrtc.so and libcublas.so and put before the real ones in the library path, it lets the crate's own host code
// run the crate's own kernels on a machine without a GPU. Sources are "compiled" to their name: the kernels are
// those this library was built with, planted bugs included.
//
// Each device allocation ends (up to alignment) where a page begins that cannot be touched, and begins behind
// another; the bytes up to that page carry a mark that is checked when it is freed. Fresh memory is filled with
// NaN. Everything happens at once, in the calling thread: streams and events are names.
#include <sys/mman.h>

#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "../src/cuda/threads.cuh"
#include "../src/cuda/hopper.cuh"

// The kernels over both ways of multiplying, as the device's compiler sees them one at a time.
namespace portable {
#include "../src/cuda/product.cuh"
#include "../src/top_k/top_k.cu"
#include "../src/h_infonce/h_infonce.cu"
} // namespace portable
namespace hopper {
#include "../src/cuda/hopper_product.cuh"
#include "../src/top_k/top_k.cu"
#include "../src/h_infonce/h_infonce.cu"
} // namespace hopper
// The kernels over both kinds of values.
namespace floats {
#include "../src/transformer/f32.cuh"
#include "../src/transformer/transformer.cu"
} // namespace floats
namespace brains {
#include "../src/transformer/bf16.cuh"
#include "../src/transformer/transformer.cu"
} // namespace brains

namespace simulator {

thread_local Machine* machine __attribute__((tls_model("initial-exec"))) = nullptr;

asm(R"(
.text
.globl simulator_switch
.type simulator_switch,@function
simulator_switch:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
)");

constexpr size_t STACK_BYTES = 64 << 10;
constexpr size_t PAGE = 4096;

static void thread_entry() {
    (*machine->body)();
    Fiber* fiber = machine->current;
    if (!fiber->copies.empty()) fail("ends with cp.async copies nobody waited for");
    if (!fiber->products.empty() || fiber->sums_at) fail("ends with products nobody waited for");
    fiber->done = true;
    pause_thread();
    std::abort();
}

static void prepare(Fiber& fiber, unsigned index, Index block) {
    if (!fiber.stack) fiber.stack = std::aligned_alloc(64, STACK_BYTES);
    fiber.thread = {index % block.x, index / block.x, 0};
    fiber.lane = index % 32;
    fiber.warp = index / 32;
    fiber.done = false;
    fiber.waits_for = nullptr;
    fiber.groups = 0;
    fiber.copies.clear();
    fiber.products.clear();
    fiber.product_groups = 0;
    fiber.sums_at = nullptr;
    fiber.fenced = false;
    fiber.registers = 0;
    void** top = reinterpret_cast<void**>(static_cast<char*>(fiber.stack) + STACK_BYTES);
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(thread_entry);
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    fiber.stack_pointer = top;
}

// Lets a thread run until it waits or ends; whether it could run at all.
static bool step(Fiber& fiber) {
    if (fiber.done || (fiber.waits_for && *fiber.waits_for == fiber.seen)) return false;
    fiber.waits_for = nullptr;
    machine->current = &fiber;
    simulator_switch(&machine->scheduler, fiber.stack_pointer);
    machine->current = nullptr;
    return true;
}

static bool step_warp(unsigned warp) {
    const unsigned threads = static_cast<unsigned>(machine->fibers.size());
    bool any = false;
    for (unsigned i = warp * 32; i < threads && i < warp * 32 + 32; ++i) any |= step(machine->fibers[i]);
    return any;
}

static unsigned draw(unsigned below) {
    uint64_t& state = machine->random;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return static_cast<unsigned>(state % below);
}

void run_block(Index at, unsigned number) {
    Machine& m = *machine;
    const unsigned schedule = number % 5;
    m.copies_land = number % 3 == 0 ? Landing::AtOnce : number % 3 == 1 ? Landing::AtRandom : Landing::Late;
    m.async_barriers.clear();
    m.box_copies.clear();
    for (Barrier& warpgroup : m.warpgroups) warpgroup = Barrier();
    const unsigned threads = m.block.x, warps = (threads + 31) / 32;
    m.at = at;
    m.fibers.resize(threads);
    m.whole = Barrier();
    for (unsigned w = 0; w < 32; ++w) {
        m.warps[w] = Barrier();
        m.warp_threads[w] = 0;
    }
    for (unsigned i = 0; i < threads; ++i) {
        prepare(m.fibers[i], i, m.block);
        ++m.warp_threads[i / 32];
    }
    std::memset(m.shared, 0xff, m.shared_bytes);
    std::vector<unsigned> order(warps);
    for (unsigned w = 0; w < warps; ++w) order[w] = schedule == 1 || schedule == 4 ? warps - 1 - w : w;
    for (;;) {
        if (schedule == 2) {
            for (unsigned w = warps; w-- > 1;) std::swap(order[w], order[draw(w + 1)]);
        }
        bool any = false, left = false;
        for (unsigned w : order) {
            const bool ran = step_warp(w);
            any |= ran;
            while (ran && schedule >= 3 && step_warp(w)) {
            }
            if (m.copies_land == Landing::AtRandom && draw(4) == 0) any |= land_one(draw(64));
        }
        for (const Fiber& fiber : m.fibers) left |= !fiber.done;
        if (!left) {
            m.current = nullptr;
            if (!m.box_copies.empty()) fail("ends with copies nobody waited for");
            return;
        }
        if (!any) any = land_one(draw(64));
        if (!any) {
            m.current = nullptr;
            fail("a barrier or warp operation that not all threads reach");
        }
    }
}

// Shared memory ends where a page begins that cannot be touched.
static u8* guarded_shared(unsigned bytes) {
    constexpr size_t MOST = 256 << 10;
    static thread_local u8* end = nullptr;
    if (!end) {
        u8* base = static_cast<u8*>(mmap(nullptr, MOST + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        end = base + MOST;
        mprotect(end, PAGE, PROT_NONE);
    }
    return end - (bytes + 1023) / 1024 * 1024; // as aligned as the device's
}

void launch(const char* kernel, Index grid, Index block, unsigned shared_bytes, const std::function<void()>& body) {
    if (!machine) machine = new Machine(); // one a host thread, kept: thread-local storage itself must stay small
    Machine& own = *machine;
    own.kernel = kernel;
    own.grid = grid;
    own.block = block;
    own.shared_bytes = shared_bytes;
    own.shared = guarded_shared(shared_bytes);
    own.body = &body;
    unsigned number = ++own.launches;
    for (unsigned y = 0; y < grid.y; ++y) {
        for (unsigned x = 0; x < grid.x; ++x) run_block({x, y, 0}, number++);
    }
    own.current = nullptr;
}

using Kernel = std::function<void(void**)>;

template <class... A, size_t... I>
static void call(void (*kernel)(A...), void** values, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_reference_t<A>*>(values[I])...);
}

template <class... A> static Kernel wrap(void (*kernel)(A...)) {
    return [kernel](void** values) { call(kernel, values, std::index_sequence_for<A...>()); };
}

#define ENTRY(path, name) {#name, wrap(path::name)}
#define ENTRIES(path)                                                                                                  \
    {ENTRY(path, top_k_prepare),        ENTRY(path, top_k_scan),         ENTRY(path, top_k_rescore),                   \
     ENTRY(path, top_k_select),         ENTRY(path, top_k_rewind),       ENTRY(path, h_infonce_round),                 \
     ENTRY(path, h_infonce_listed),     ENTRY(path, h_infonce_forward),  ENTRY(path, h_infonce_levels),                \
     ENTRY(path, h_infonce_gradient),   ENTRY(path, h_infonce_pull_queries), ENTRY(path, h_infonce_pull_documents)}
using Module = std::map<std::string, Kernel>;
static Module portable_kernels = ENTRIES(portable), hopper_kernels = ENTRIES(hopper);
#define TRANSFORMER_ENTRIES(path)                                                                                      \
    {ENTRY(path, transformer_embed),         ENTRY(path, transformer_add_norm),     ENTRY(path, transformer_scale),    \
     ENTRY(path, transformer_mask),          ENTRY(path, transformer_norm_backward), ENTRY(path, transformer_gelu),    \
     ENTRY(path, transformer_column_sums),   ENTRY(path, transformer_add_partials), ENTRY(path, transformer_pool),     \
     ENTRY(path, transformer_gelu_backward), ENTRY(path, transformer_split_heads),  ENTRY(path, transformer_spread),   \
     ENTRY(path, transformer_merge_heads),   ENTRY(path, transformer_softmax),      ENTRY(path, transformer_adamw),    \
     ENTRY(path, transformer_softmax_backward), ENTRY(path, transformer_gather_sums), ENTRY(path, transformer_round),  \
     ENTRY(path, transformer_scatter_sums),  ENTRY(path, transformer_square_sums)}
static Module float_kernels = TRANSFORMER_ENTRIES(floats), brain_kernels = TRANSFORMER_ENTRIES(brains);

// What an image is called, and its kernels.
static const std::map<std::string, Module*> images = {
    {"portable", &portable_kernels}, {"hopper", &hopper_kernels}, {"floats", &float_kernels}, {"brains", &brain_kernels}};

struct Allocation { u8* base; size_t mapped, bytes; u8* mark; };
static std::mutex allocations_lock;
static std::map<uint64_t, Allocation> allocations;
constexpr u8 MARK = 0xa5;

static uint64_t allocate(size_t bytes) {
    const size_t rounded = (bytes + 15) / 16 * 16, inner = (rounded + PAGE - 1) / PAGE * PAGE;
    u8* base = static_cast<u8*>(mmap(nullptr, inner + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base == MAP_FAILED) return 0;
    mprotect(base + PAGE, inner, PROT_READ | PROT_WRITE);
    u8* first = base + PAGE + inner - rounded;
    std::memset(first, 0xff, bytes);
    std::memset(first + bytes, MARK, rounded - bytes);
    std::lock_guard<std::mutex> hold(allocations_lock);
    allocations[reinterpret_cast<uint64_t>(first)] = {base, inner + 2 * PAGE, rounded - bytes, first + bytes};
    return reinterpret_cast<uint64_t>(first);
}

static int release(uint64_t at) {
    std::lock_guard<std::mutex> hold(allocations_lock);
    auto found = allocations.find(at);
    if (found == allocations.end()) return 1;
    const Allocation& a = found->second;
    for (size_t i = 0; i < a.bytes; ++i) {
        if (a.mark[i] != MARK) {
            std::fprintf(stderr, "simulator: something wrote %zu bytes behind an allocation\n", i + 1);
            std::abort();
        }
    }
    munmap(a.base, a.mapped);
    allocations.erase(found);
    return 0;
}

static bool allocated(uint64_t at, uint64_t bytes) {
    std::lock_guard<std::mutex> hold(allocations_lock);
    auto next = allocations.upper_bound(at);
    if (next == allocations.begin()) return false;
    return at + bytes <= reinterpret_cast<uint64_t>(std::prev(next)->second.mark);
}

} // namespace simulator

#include "blas.h"

// The faces: signatures of cuda.h and nvrtc.h, success is 0.
extern "C" {
using Handle = void*;
static int one_of_each;
static thread_local Handle current_context = nullptr;

int cuInit(unsigned) { return 0; }
int cuDeviceGetCount(int* count) { *count = 1; return 0; }
int cuDeviceGet(int* device, int) { *device = 0; return 0; }
int cuDeviceGetName(char* name, int length, int) { std::snprintf(name, static_cast<size_t>(length), "simulated GPU"); return 0; }
int cuDeviceTotalMem_v2(size_t* bytes, int) { *bytes = size_t(1) << 30; return 0; }
int cuDeviceGetAttribute(int* value, int attribute, int) {
    // 16 multiprocessors, 75 and 76 compute capability, 97 shared memory a block may ask for.
    *value = attribute == 16 ? 2 : attribute == 75 ? 9 : attribute == 76 ? 0 : attribute == 97 ? 232448 : 0;
    return 0;
}
int cuDevicePrimaryCtxRetain(Handle* context, int) { *context = &one_of_each; return 0; }
int cuDevicePrimaryCtxRelease_v2(int) { return 0; }
int cuCtxGetCurrent(Handle* context) { *context = current_context; return 0; }
int cuCtxSetCurrent(Handle context) { current_context = context; return 0; }
int cuCtxSynchronize() { return 0; }
int cuMemGetInfo_v2(size_t* free, size_t* total) {
    const char* bytes = std::getenv("SIMULATED_MEMORY");
    *total = size_t(1) << 30;
    *free = bytes ? std::strtoull(bytes, nullptr, 10) : *total;
    return 0;
}
int cuStreamCreate(Handle* stream, unsigned) { *stream = &one_of_each; return 0; }
int cuStreamDestroy_v2(Handle) { return 0; }
int cuStreamSynchronize(Handle) { return 0; }
int cuStreamWaitEvent(Handle, Handle, unsigned) { return 0; }
int cuStreamIsCapturing(Handle, int* status) { *status = 0; return 0; }
int cuEventCreate(Handle* event, unsigned) { *event = &one_of_each; return 0; }
int cuEventDestroy_v2(Handle) { return 0; }
int cuEventRecord(Handle, Handle) { return 0; }
int cuEventSynchronize(Handle) { return 0; }
int cuEventQuery(Handle) { return 0; }
int cuEventElapsedTime(float* milliseconds, Handle, Handle) { *milliseconds = 1.0f; return 0; }
int cuEventElapsedTime_v2(float* milliseconds, Handle, Handle) { *milliseconds = 1.0f; return 0; }
int cuMemAlloc_v2(uint64_t* at, size_t bytes) { *at = simulator::allocate(bytes); return *at ? 0 : 2; }
int cuMemFree_v2(uint64_t at) { return simulator::release(at); }
int cuMemHostAlloc(void** at, size_t bytes, unsigned) { *at = std::malloc(bytes); return *at ? 0 : 2; }
int cuMemFreeHost(void* at) { std::free(at); return 0; }
int cuMemsetD8Async(uint64_t at, unsigned char value, size_t bytes, Handle) { std::memset(reinterpret_cast<void*>(at), value, bytes); return 0; }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, Handle) { std::memcpy(reinterpret_cast<void*>(to), from, bytes); return 0; }
int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, Handle) { std::memcpy(to, reinterpret_cast<void*>(from), bytes); return 0; }
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, Handle) { std::memmove(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes); return 0; }
int cuGetErrorName(int, const char** name) { *name = "CUDA_ERROR_SIMULATED"; return 0; }
int cuGetErrorString(int, const char** text) { *text = "the simulator refused"; return 0; }
int cuModuleLoadData(Handle* module, const void* image) {
    auto found = simulator::images.find(static_cast<const char*>(image));
    if (found == simulator::images.end()) return 200;
    *module = found->second;
    return 0;
}
int cuModuleUnload(Handle) { return 0; }
int cuModuleGetFunction(Handle* function, Handle module, const char* name) {
    auto& kernels = *static_cast<simulator::Module*>(module);
    auto found = kernels.find(name);
    if (found == kernels.end()) return 500;
    *function = const_cast<std::pair<const std::string, simulator::Kernel>*>(&*found);
    return 0;
}
// A matrix for copy_box: bf16, two dimensions, the conditions of the driver's documentation.
int cuTensorMapEncodeTiled(void* map, unsigned type, unsigned rank, void* address, const uint64_t* sizes, const uint64_t* strides,
                           const unsigned* box, const unsigned* steps, unsigned interleave, unsigned swizzle, unsigned, unsigned fill) {
    const auto at = reinterpret_cast<uint64_t>(address);
    if (reinterpret_cast<uint64_t>(map) % 64 || type != 9 || rank != 2 || at % 16 || strides[0] % 16 || strides[0] >> 40) return 1;
    for (int i = 0; i < 2; ++i) {
        if (sizes[i] == 0 || sizes[i] >> 32 || box[i] == 0 || box[i] > 256 || steps[i] != 1) return 1;
    }
    if (box[0] * 2 % 16 || interleave != 0 || fill != 0 || (swizzle != 0 && swizzle != 3) || (swizzle == 3 && box[0] * 2 > 128)) return 1;
    if (!simulator::allocated(at, (sizes[1] - 1) * strides[0] + sizes[0] * 2)) {
        std::fprintf(stderr, "simulator: a matrix that reaches beyond its allocation\n");
        std::abort();
    }
    *static_cast<Operand*>(map) = {simulator::OPERAND_MARK, static_cast<const u16*>(address), sizes[0], sizes[1], strides[0], box[0], box[1], swizzle, {}};
    return 0;
}
int cuFuncSetAttribute(Handle, int, int) { return 0; }
int cuFuncGetAttribute(int* value, int, Handle) { *value = 0; return 0; }
int cuLaunchKernel(Handle function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared_bytes, Handle, void** values, void**) {
    if (gx == 0 || gy == 0 || gz != 1 || gy > 65535 || by != 1 || bz != 1 || bx == 0 || bx > 1024 || shared_bytes > 232448) return 1;
    auto* entry = static_cast<std::pair<const std::string, simulator::Kernel>*>(function);
    simulator::launch(entry->first.c_str(), {gx, gy, gz}, {bx, by, bz}, shared_bytes, [&] { entry->second(values); });
    return 0;
}

int nvrtcVersion(int* major, int* minor) { *major = 13; *minor = 0; return 0; }
const char* nvrtcGetErrorString(int) { return "the simulator refused"; }
// A program is the way of multiplying, or the kind of values, whose header its source includes; the real headers' order
// is the driver's too.
int nvrtcCreateProgram(Handle* program, const char* source, const char*, int, const char**, const char**) {
    const auto has = [source](const char* text) { return std::strstr(source, text) != nullptr; };
    *program = const_cast<char*>(has("typedef float Value") ? "floats"
                                 : has("typedef u16 Value") ? "brains"
                                 : has("wgmma")             ? "hopper"
                                                            : "portable");
    return 0;
}
int nvrtcCompileProgram(Handle program, int count, const char* const* options) {
    bool hopper = false;
    for (int i = 0; i < count; ++i) hopper |= std::strcmp(options[i], "--gpu-architecture=sm_90a") == 0;
    return hopper == (*static_cast<const char*>(program) == 'h') ? 0 : 6;
}
int nvrtcDestroyProgram(Handle*) { return 0; }
int nvrtcGetProgramLogSize(Handle, size_t* bytes) { *bytes = 1; return 0; }
int nvrtcGetProgramLog(Handle, char* log) { *log = 0; return 0; }
int nvrtcGetPTXSize(Handle program, size_t* bytes) { *bytes = std::strlen(static_cast<const char*>(program)) + 1; return 0; }
int nvrtcGetPTX(Handle program, char* image) { std::strcpy(image, static_cast<const char*>(program)); return 0; }
}
