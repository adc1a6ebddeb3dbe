// What a kernel may use of the machine, under one set of names. NVRTC compiles them to PTX; with SIMULATOR
// defined, kernels/simulator runs them on the processor, thread by thread. No header of the toolkit is needed.
// What compute capability 9.0 has beyond it is in hopper.cuh.
//
// bf16 values are carried as their 16 bits; all arithmetic is f32 or f64.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define WARP 32u
#define THREADS 256u

#ifdef SIMULATOR
#include "simulator.h"
#else

#define KERNEL(threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks)
#define OPERAND(name) const __grid_constant__ Operand name
#define INLINE __device__ __forceinline__
#define METHOD __device__ __forceinline__
#define UNROLL _Pragma("unroll")

// Part of the block's shared memory. The simulator checks every index; here it is a pointer.
template <class T> struct Span {
    T* first;
    METHOD T& operator[](u32 at) const { return first[at]; }
};

extern __shared__ __align__(1024) u8 shared_memory[];

// `count` values from byte `offset` of the block's shared memory on.
template <class T> INLINE Span<T> shared(u32 offset, u32 count) {
    return Span<T>{reinterpret_cast<T*>(shared_memory + offset)};
}

template <class T> INLINE Span<T> part(Span<T> span, u32 first, u32 count) { return Span<T>{span.first + first}; }

INLINE float as_float(u32 bits) { return __uint_as_float(bits); }
INLINE u32 as_bits(float value) { return __float_as_uint(value); }
INLINE u32 lowest_bit(u32 bits) { return static_cast<u32>(__ffs(static_cast<int>(bits))) - 1u; }
INLINE float infinity() { return __uint_as_float(0x7f800000u); }

INLINE float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

INLINE float shuffle_xor(float value, u32 lanes) { return __shfl_xor_sync(0xffffffffu, value, lanes); }
INLINE double shuffle_xor(double value, u32 lanes) { return __shfl_xor_sync(0xffffffffu, value, lanes); }
INLINE float shuffle(float value, u32 lane) { return __shfl_sync(0xffffffffu, value, static_cast<int>(lane)); }
INLINE u32 ballot(bool vote) { return __ballot_sync(0xffffffffu, vote); }
INLINE void block_barrier() { __syncthreads(); }
INLINE void warp_barrier() { __syncwarp(); }

INLINE u32 shared_address(const void* pointer) { return static_cast<u32>(__cvta_generic_to_shared(pointer)); }

// Starts copying eight values to `to[at]`; zeros when not `inside`, and then `from` is not read.
INLINE void copy_async(Span<u16> to, u32 at, const u16* from, bool inside) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(&to[at])), "l"(from),
                 "r"(inside ? 16 : 0));
}
INLINE void copies_commit() { asm volatile("cp.async.commit_group;"); }
template <int PENDING> INLINE void copies_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(PENDING)); }

// Four 8x8 matrices; lane l names row l % 8 of matrix l / 8, eight values from `from[at]` on.
INLINE void load_matrices(u32 (&to)[4], Span<u16> from, u32 at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(&from[at])));
}
INLINE void load_matrices_transposed(u32 (&to)[4], Span<u16> from, u32 at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(&from[at])));
}

// c [16x8] += a [16x16] b [16x8] on the tensor cores: bf16 in, f32 out.
INLINE void multiply_add(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Two bf16, to nearest, ties to even; the first in the low half.
INLINE u32 two_bf16(float first, float second) {
    u32 pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
    return pair;
}

INLINE float f16_to_f32(u16 bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}
#endif

INLINE float bf16_to_f32(u16 bits) { return as_float(static_cast<u32>(bits) << 16); }

// To nearest, ties to even; a value beyond the largest bf16 becomes infinite.
INLINE u16 f32_to_bf16(float value) {
    const u32 bits = as_bits(value);
    return static_cast<u16>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

#ifdef SIMULATOR
INLINE u32 two_bf16(float first, float second) {
    return static_cast<u32>(f32_to_bf16(first)) | static_cast<u32>(f32_to_bf16(second)) << 16;
}
#endif
