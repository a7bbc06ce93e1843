// What the kernels need, for the two compilers that read them: clang, which
// makes PTX of them without any CUDA headers, and a C++ compiler, which makes
// their twins for the simulator.
#pragma once

#ifdef __CUDA__

#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
typedef unsigned long size_t;
struct uint3 { unsigned x, y, z; };
struct dim3 {
  unsigned x, y, z;
  __device__ dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
#include <__clang_cuda_builtin_vars.h>
#define KERNEL extern "C" __global__ void
#define INLINE static __device__ inline __attribute__((always_inline))
INLINE float root(float x) { return __nvvm_sqrt_rn_f(x); }
INLINE double root64(double x) { return __nvvm_sqrt_rn_d(x); }
INLINE float log2_of(float x) { return __nvvm_lg2_approx_f(x); }
INLINE unsigned bits_of(float x) { return __builtin_bit_cast(unsigned, x); }
INLINE float float_of(unsigned x) { return __builtin_bit_cast(float, x); }
INLINE unsigned high32(unsigned a, unsigned b) { return (unsigned)(((unsigned long long)a * b) >> 32); }

#else

#include <cmath>
#include <cstddef>
#include <cstring>
#define __shared__ static thread_local
struct index3 { unsigned x, y, z; };
extern thread_local index3 threadIdx, blockIdx, blockDim, gridDim;
void __syncthreads();
#define KERNEL extern "C" void
#define INLINE static inline
INLINE float root(float x) { return std::sqrt(x); }
INLINE double root64(double x) { return std::sqrt(x); }
INLINE float log2_of(float x) { return std::log2(x); }
INLINE unsigned bits_of(float x) { unsigned u; std::memcpy(&u, &x, 4); return u; }
INLINE float float_of(unsigned u) { float x; std::memcpy(&x, &u, 4); return x; }
INLINE unsigned high32(unsigned a, unsigned b) { return (unsigned)(((unsigned long long)a * b) >> 32); }

#endif
