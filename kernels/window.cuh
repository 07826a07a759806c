// window.cuh: what the kernels of a sliding window share: pixels and windows by number, and which of them
// meet.
//
// Along one axis, sample r of window p sees pixel p·stride + r·dilation − pad.
#pragma once

#include "common.cuh"

// A pixel of an image, or a window.
struct Place {
  int n;
  int row;
  int column;
};

// Number i of a batch of height × width, counted row by row.
template <typename Index>
__device__ __forceinline__ Place place_of(Index i, int height, int width) {
  const Index rows = i / width;
  return {static_cast<int>(rows / height), static_cast<int>(rows % height), static_cast<int>(i % width)};
}

template <typename Index>
__device__ __forceinline__ Index number_of(int n, int row, int column, int height, int width) {
  return (static_cast<Index>(n) * height + row) * width + column;
}

// The number of this thread's row among all rows of threads in the grid.
template <typename Index>
__device__ __forceinline__ Index row_in_grid() {
  return static_cast<Index>(blockIdx.x) * static_cast<Index>(blockDim.y) + static_cast<Index>(threadIdx.y);
}

__device__ __forceinline__ bool is_inside(int row, int column, int height, int width) {
  return row >= 0 && row < height && column >= 0 && column < width;
}

// The window whose sample `ahead` pixels after its first is padded pixel `at`; negative if there is none.
__device__ __forceinline__ int window_seeing(int at, int ahead, int stride, int windows) {
  const int distance = at - ahead;
  const int window = distance / stride;
  return window * stride == distance && window < windows ? window : -1;
}

// Those of consecutive things that count: [first, end).
struct Range {
  int first;
  int end;
};

// The samples of a window that are pixels, if its first is at pixel `start` of `size`.
__device__ __forceinline__ Range samples_inside(int start, int dilation, int samples, int size) {
  return {start < 0 ? ceil_div(-start, dilation) : 0, min(samples, ceil_div(size - start, dilation))};
}

// The windows between whose first and last sample padded pixel `at` lies.
__device__ __forceinline__ Range windows_over(int at, int extent, int stride, int windows) {
  return {at < extent ? 0 : ceil_div(at - extent + 1, stride), min(windows, at / stride + 1)};
}
