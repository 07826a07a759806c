// common.cuh: what every kernel may use: the shapes passed by value, index arithmetic, and one way to read a
// number.
//
// The structs hold ints only, so that the host can pack them from their field names alone
// (minicnn/backend/launch.py).
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

// A convolution: x [N, H, W, C], w [K, R, S, C/G], y [N, P, Q, K], all channels-last.
struct Conv2d {
  int N;
  int H;
  int W;
  int C;
  int K;
  int R;
  int S;
  int P;
  int Q;
  int G;  // groups
  int stride_h;
  int stride_w;
  int pad_h;  // rows above the image; below it, whatever P leaves
  int pad_w;
  int dilation_h;
  int dilation_w;
};

// A sliding window without kernels: x [N, H, W, C], y [N, P, Q, C].
struct Pool2d {
  int N;
  int H;
  int W;
  int C;
  int R;
  int S;
  int P;
  int Q;
  int stride_h;
  int stride_w;
  int pad_h;
  int pad_w;
  int pad_bottom;  // rows of padding below that count as pixels where an average counts its padding
  int pad_right;
  int dilation_h;
  int dilation_w;
};

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;  // of a warp, for shuffles

__host__ __device__ constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }

// The place of this thread among all of the grid's.
template <typename Index>
__device__ __forceinline__ Index thread_in_grid() {
  return static_cast<Index>(blockIdx.x) * static_cast<Index>(blockDim.x) + static_cast<Index>(threadIdx.x);
}

// The type sums are kept in: half precision is only stored, never summed.
template <typename T>
struct Accumulator {
  using type = T;
};
template <>
struct Accumulator<__half> {
  using type = float;
};
template <>
struct Accumulator<__nv_bfloat16> {
  using type = float;
};
template <typename T>
using accumulator_t = typename Accumulator<T>::type;

// A stored number as one to compute with, and back; the rounding is to nearest even.
__device__ __forceinline__ float load(float value) { return value; }
__device__ __forceinline__ double load(double value) { return value; }
__device__ __forceinline__ float load(__half value) { return __half2float(value); }
__device__ __forceinline__ float load(__nv_bfloat16 value) { return __bfloat162float(value); }

template <typename T, typename A>
__device__ __forceinline__ T store(A value) {
  return static_cast<T>(value);
}
template <>
__device__ __forceinline__ __half store<__half, float>(float value) {
  return __float2half_rn(value);
}
template <>
__device__ __forceinline__ __nv_bfloat16 store<__nv_bfloat16, float>(float value) {
  return __float2bfloat16_rn(value);
}
