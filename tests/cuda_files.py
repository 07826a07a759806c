"""Two small CUDA files and a header, for the tests of what reads, compiles and launches them; see the fixture."""

SCALE = """\
// scale.cu: y = by · x
//
// Purpose: something to launch.
// Versions:
//   scale_v1   one thread an element
//   scale_v2   four elements a thread, for one load
//              is cheaper than four
//   spread_v1  a struct, a scalar of the sums' type and a pointer that may be null

#include "shapes.cuh"

// v1: one thread an element.
// instances: <float, int>, <float, long long>, <__half, int>
// budget: 24 registers, 0 B shared
template <typename T, typename Index>
__global__ void scale_v1(const T* __restrict__ x,  // [N, C]
                         T* __restrict__ y,        // [N, C]
                         Index size, float by) {   // the size is N·C
  const Index i = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < size) y[i] = static_cast<T>(static_cast<float>(x[i]) * by);
}

// v2: four at a time.
// instances: <float, int, 4, true>, <float,
//   int, 1, false>
// budget: 40 registers, 132 B shared
// needs: sm_80
template <typename T, typename Index, int kVector, bool kFlag = false>
__global__ void __launch_bounds__(at_most(64, 128))
    scale_v2(const T* __restrict__ x,  // [N, C]
             T* y,                     // [N, C]
             Index size, float by) {
  __shared__ float factor[33];
  factor[threadIdx.x % 33] = by;
  __syncthreads();
  for (Index i = threadIdx.x * kVector; i < size; i += 64 * kVector)
    for (int j = 0; j < kVector && i + j < size; ++j) y[i + j] = x[i + j] * factor[threadIdx.x % 33];
}

// v1: whatever.
// instances: <__half>
// budget: 16 registers, 0 B shared
template <typename T>
__global__ void spread_v1(const T* x,       // [N, C/G, 2*H]
                          const int* rows,  // [N] or null
                          float* y,         // [N]
                          accumulator_t<T> by, Shape shape, bool negative) {
  y[0] = (negative ? -by : by) * shape.N + (rows ? rows[0] : 0) + static_cast<float>(x[0]);
}
"""

SHAPES = """\
#pragma once
#include <cuda_fp16.h>
struct Shape {
  int N;
  int G;  // groups
};
template <typename T>
using accumulator_t = float;
__host__ __device__ constexpr int at_most(int a, int b) { return a < b ? a : b; }
"""

OTHER = """\
// other.cu: another file
//
// Versions:
//   fill_v1   nothing more
//   pair_v1   two numbers a row

// v1: all of it.
// instances: <int>
// budget: 16 registers, 0 B shared
template <typename Index>
__global__ void fill_v1(float* y,  // [N]
                        Index N, unsigned long long seed) {
  for (Index i = 0; i < N; ++i) y[i] = static_cast<float>(seed);
}

// v1: y may be x.
// instances: <int>
// budget: 16 registers, 0 B shared
template <typename Index>
__global__ void pair_v1(const float* x,  // [N, 2]
                        float* y,        // [N, 2]
                        Index N) {
  for (Index i = 0; i < 2 * N; ++i) y[i] = x[i];
}
"""

FILES = {"scale.cu": SCALE, "shapes.cuh": SHAPES, "other.cu": OTHER, "README.md": ""}
