// pool.cu: max and average pooling, and their gradients
//
// Purpose: y[n, p, q, c] = the largest, or the average, of what window (p, q) sees of channel c: pixels
//          (p·stride_h + r·dilation_h − pad_h, q·stride_w + s·dilation_w − pad_w), where there are such.
//
//          Max.  indices holds each winner's place h·W + w, as PyTorch has it: of several the first in
//          row-major order; NaN wins over all else, the last of several.  A window that sees no pixel gives
//          −∞ and −1.  dx of a pixel is the sum of g over the windows whose index it is.
//
//          Average.  The divisor counts the samples in the image and its declared padding, or in the image
//          alone, or is given.  What a ceil-mode window sees beyond the padding never counts.  dx of a pixel
//          is the sum of g / divisor over the windows that see it.
//
//          Both gradients are gathered by the pixels: no atomics, and the same bits in every run.
// Shapes:  x, dx [N, H, W, C]; y, g, indices [N, P, Q, C]
// Threads: one a number of the result (v1); a row of threads a pixel of the result, each with vectors of
//          channels (v2); a block a patch of its pixels (v3); a block one pixel (v4)
// Cost:    max: N·P·Q·C·R·S comparisons; with numbers of e bytes, e·N·C·(H·W + P·Q) + 8·N·P·Q·C bytes, either
//          way.  Average: N·P·Q·C·R·S additions, e·N·C·(H·W + P·Q) bytes, either way
// Versions:
//   max_pool_forward_v1    a thread a number, in the order of arrays [N, C, P, Q]
//   max_pool_forward_v2    channels run fastest, 16 bytes a load; no test and no division within a window
//   max_pool_forward_v3    a block a patch of windows, so that those that overlap share its cache
//   max_pool_backward_v1   a thread a number, in the order n, c, h, w; tries all taps
//   max_pool_backward_v2   vectors of channels; asks only the windows that lie over the pixel
//   max_pool_backward_v3   a block a patch of pixels
//   avg_pool_forward_v1    a thread a number, in the order of arrays [N, C, P, Q]
//   avg_pool_forward_v2    channels run fastest, 16 bytes a load; no test and no division within a window
//   avg_pool_forward_v3    a block a patch of windows
//   avg_pool_forward_v4    a block a window, for few large ones: the average of a whole image
//   avg_pool_backward_v1   a thread a number, in the order n, c, h, w; tries all taps
//   avg_pool_backward_v2   vectors of channels; only the windows over the pixel, one division for a vector
//   avg_pool_backward_v3   a block a patch of pixels
#include "vector.cuh"
#include "window.cuh"

// One number of images, or the first of a vector of channels.
struct Spot {
  int n;
  int row;
  int column;
  int c;
};

// Number i of a batch in the order n, c, row, column.
template <typename Index>
__device__ __forceinline__ Spot spot_by_planes(Index i, int height, int width, int channels) {
  const Index plane = i / width / height;
  const int row = static_cast<int>(i / width % height), column = static_cast<int>(i % width);
  return {static_cast<int>(plane / channels), row, column, static_cast<int>(plane % channels)};
}

// This thread's spot, where a block is a patch: of vectors of channels along x, columns along y, rows along
// z.  Along x the grid counts the patches of all images, row by row, and along y the blocks that share the
// channels.
template <int kVector>
__device__ __forceinline__ Spot spot_in_patch(int height, int width) {
  const int rows = blockDim.z, columns = blockDim.y, patch = blockIdx.x;
  const Place at = place_of(patch, ceil_div(height, rows), ceil_div(width, columns));
  const int row = at.row * rows + static_cast<int>(threadIdx.z);
  const int column = at.column * columns + static_cast<int>(threadIdx.y);
  return {at.n, row, column, static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x) * kVector};
}

// ---- max ----

// Replaces the best so far if this value beats it.
template <typename A>
__device__ __forceinline__ void consider(A value, int pixel, A& best, int& place) {
  if (place < 0 || value > best || value != value) {
    best = value;
    place = pixel;
  }
}

template <typename A>
__device__ __forceinline__ A lowest() {
  return -static_cast<A>(__int_as_float(0x7f800000));  // −∞
}

// v1: one thread a number, in the order of arrays [N, C, P, Q]: a warp reads 32 numbers stride_w·C apart, 32
//     sectors of 32 bytes for 4 bytes of each.  A thread divides 3 times to find its place, and tests R·S
//     samples.
// instances: <float, int>, <float, long long>, <double, int>
// budget: 48 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4) max_pool_forward_v1(
    const T* __restrict__ x,          // [N, H, W, C]
    T* __restrict__ y,                // [N, P, Q, C]
    long long* __restrict__ indices,  // [N, P, Q, C] or null
    Pool2d pool, Index count) {
  const Index i = thread_in_grid<Index>();
  if (i >= count) return;
  const Spot at = spot_by_planes(i, pool.P, pool.Q, pool.C);
  auto best = lowest<accumulator_t<T>>();
  int place = -1;
  for (int r = 0; r < pool.R; ++r) {
    for (int s = 0; s < pool.S; ++s) {
      const int row = at.row * pool.stride_h + r * pool.dilation_h - pool.pad_h;
      const int column = at.column * pool.stride_w + s * pool.dilation_w - pool.pad_w;
      if (!is_inside(row, column, pool.H, pool.W)) continue;
      const Index from = number_of<Index>(at.n, row, column, pool.H, pool.W) * pool.C + at.c;
      consider(load(x[from]), row * pool.W + column, best, place);
    }
  }
  const Index to = number_of<Index>(at.n, at.row, at.column, pool.P, pool.Q) * pool.C + at.c;
  y[to] = store<T>(best);
  if (indices) indices[to] = place;
}

// The maxima of one window, of kVector channels.
template <typename T, typename Index, int kVector>
__device__ __forceinline__ void max_of_window(const T* x, T* y, long long* indices, const Pool2d& pool,
                                              Spot at) {
  const int top = at.row * pool.stride_h - pool.pad_h, left = at.column * pool.stride_w - pool.pad_w;
  const Range rows = samples_inside(top, pool.dilation_h, pool.R, pool.H);
  const Range across = samples_inside(left, pool.dilation_w, pool.S, pool.W);
  const T* image = x + static_cast<Index>(at.n) * pool.H * pool.W * pool.C + at.c;
  accumulator_t<T> best[kVector];
  int place[kVector];
#pragma unroll
  for (int k = 0; k < kVector; ++k) best[k] = lowest<accumulator_t<T>>(), place[k] = -1;
  for (int r = rows.first; r < rows.end; ++r) {
    for (int s = across.first; s < across.end; ++s) {
      const int pixel = (top + r * pool.dilation_h) * pool.W + left + s * pool.dilation_w;
      accumulator_t<T> seen[kVector];
      load_all<kVector>(image + static_cast<Index>(pixel) * pool.C, seen);
#pragma unroll
      for (int k = 0; k < kVector; ++k) consider(seen[k], pixel, best[k], place[k]);
    }
  }
  const Index to = number_of<Index>(at.n, at.row, at.column, pool.P, pool.Q) * pool.C + at.c;
  store_all<kVector>(y + to, best);
  if (!indices) return;
  long long places[kVector];
#pragma unroll
  for (int k = 0; k < kVector; ++k) places[k] = place[k];
  write(indices + to, places);
}

// v2: a row of threads takes a window, and each of them vectors of its channels, blockDim.x vectors apart:
//     full sectors, an eighth of the traffic, by a quarter of the accesses (of halves, an eighth).  The
//     samples that are pixels are one range an axis, found once a window: nothing is tested within.
//     C must be a multiple of kVector.
// instances: <float, int, 4>, <float, int, 1>, <float, long long, 4>
// budget: 64 registers, 0 B shared
template <typename T, typename Index, int kVector>
__global__ void __launch_bounds__(256, 4) max_pool_forward_v2(
    const T* __restrict__ x,          // [N, H, W, C]
    T* __restrict__ y,                // [N, P, Q, C]
    long long* __restrict__ indices,  // [N, P, Q, C] or null
    Pool2d pool, Index windows) {
  const Index window = row_in_grid<Index>();
  if (window >= windows) return;
  const Place at = place_of(window, pool.P, pool.Q);
  for (int c = threadIdx.x * kVector; c < pool.C; c += blockDim.x * kVector) {
    max_of_window<T, Index, kVector>(x, y, indices, pool, {at.n, at.row, at.column, c});
  }
}

// v3: a block takes a patch of 8 rows × 4 columns of windows and 8 vectors, where one of v2 has 8 windows of
//     a row.  What overlapping windows share then is found in the cache of the block's multiprocessor.  For
//     3×3 at stride 1 a patch sees 10·6 pixels, 1.9 for each of its windows, and 8 windows of a row 3·10,
//     3.75: half the traffic with the second-level cache.  Where windows do not overlap nothing changes.
// instances: <float, int, 4>, <float, int, 1>, <float, long long, 4>, <float, long long, 1>,
//   <__half, int, 8>, <__half, int, 1>, <__nv_bfloat16, int, 8>, <__nv_bfloat16, int, 1>
// budget: 64 registers, 0 B shared
template <typename T, typename Index, int kVector>
__global__ void __launch_bounds__(256, 4) max_pool_forward_v3(
    const T* __restrict__ x,          // [N, H, W, C]
    T* __restrict__ y,                // [N, P, Q, C]
    long long* __restrict__ indices,  // [N, P, Q, C] or null
    Pool2d pool) {
  const Spot at = spot_in_patch<kVector>(pool.P, pool.Q);
  if (at.row >= pool.P || at.column >= pool.Q || at.c >= pool.C) return;
  max_of_window<T, Index, kVector>(x, y, indices, pool, at);
}

// v1: one thread a number of dx, in the order n, c, h, w: 4 bytes of each sector again.  All R·S taps are
//     tried for a window that sees the pixel, each by a division.
// instances: <float, int>, <float, long long>, <double, int>
// budget: 48 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4) max_pool_backward_v1(
    const T* __restrict__ g,                // [N, P, Q, C]
    const long long* __restrict__ indices,  // [N, P, Q, C]
    T* __restrict__ dx,                     // [N, H, W, C]
    Pool2d pool, Index count) {
  const Index i = thread_in_grid<Index>();
  if (i >= count) return;
  const Spot at = spot_by_planes(i, pool.H, pool.W, pool.C);
  accumulator_t<T> sum = 0;
  for (int r = pool.R - 1; r >= 0; --r) {  // downwards, so that the windows ascend
    const int p = window_seeing(at.row + pool.pad_h, r * pool.dilation_h, pool.stride_h, pool.P);
    for (int s = pool.S - 1; s >= 0 && p >= 0; --s) {
      const int q = window_seeing(at.column + pool.pad_w, s * pool.dilation_w, pool.stride_w, pool.Q);
      const Index window = number_of<Index>(at.n, p, q, pool.P, pool.Q) * pool.C + at.c;
      if (q >= 0 && indices[window] == at.row * pool.W + at.column) sum += load(g[window]);
    }
  }
  dx[number_of<Index>(at.n, at.row, at.column, pool.H, pool.W) * pool.C + at.c] = store<T>(sum);
}

// The gradients of one pixel, of kVector channels.
template <typename T, typename Index, int kVector>
__device__ __forceinline__ void gather_chosen(const T* g, const long long* indices, T* dx,
                                              const Pool2d& pool, Spot at) {
  const int extent_h = (pool.R - 1) * pool.dilation_h + 1, extent_w = (pool.S - 1) * pool.dilation_w + 1;
  const Range rows = windows_over(at.row + pool.pad_h, extent_h, pool.stride_h, pool.P);
  const Range across = windows_over(at.column + pool.pad_w, extent_w, pool.stride_w, pool.Q);
  const int pixel = at.row * pool.W + at.column;
  accumulator_t<T> sum[kVector] = {};
  for (int p = rows.first; p < rows.end; ++p) {
#pragma unroll 2
    for (int q = across.first; q < across.end; ++q) {
      const Index window = number_of<Index>(at.n, p, q, pool.P, pool.Q) * pool.C + at.c;
      accumulator_t<T> upstream[kVector];
      long long chosen[kVector];
      load_all<kVector>(g + window, upstream);
      read(indices + window, chosen);
#pragma unroll
      for (int k = 0; k < kVector; ++k) {
        if (chosen[k] == pixel) sum[k] += upstream[k];
      }
    }
  }
  store_all<kVector>(dx + number_of<Index>(at.n, at.row, at.column, pool.H, pool.W) * pool.C + at.c, sum);
}

// v2: a row of threads a pixel, vectors of channels.  The windows that lie over a pixel are one range an
//     axis: 4 divisions a pixel in place of R + R·S a number.  (With a dilation some of them step over the
//     pixel; then their index is another.)  C must be a multiple of kVector.
// instances: <float, int, 4>, <float, int, 1>, <float, long long, 4>
// budget: 64 registers, 0 B shared
template <typename T, typename Index, int kVector>
__global__ void __launch_bounds__(256, 4) max_pool_backward_v2(
    const T* __restrict__ g,                // [N, P, Q, C]
    const long long* __restrict__ indices,  // [N, P, Q, C]
    T* __restrict__ dx,                     // [N, H, W, C]
    Pool2d pool, Index pixels) {
  const Index pixel = row_in_grid<Index>();
  if (pixel >= pixels) return;
  const Place at = place_of(pixel, pool.H, pool.W);
  for (int c = threadIdx.x * kVector; c < pool.C; c += blockDim.x * kVector) {
    gather_chosen<T, Index, kVector>(g, indices, dx, pool, {at.n, at.row, at.column, c});
  }
}

// v3: a block a patch of pixels.  A window here costs 12 bytes a channel, for g and the index, three times as
//     much as forward: for 3×3 at stride 1, 22.5 bytes a number come from the second-level cache in place of
//     45.
// instances: <float, int, 4>, <float, int, 1>, <float, long long, 4>, <float, long long, 1>,
//   <__half, int, 8>, <__half, int, 1>, <__nv_bfloat16, int, 8>, <__nv_bfloat16, int, 1>
// budget: 64 registers, 0 B shared
template <typename T, typename Index, int kVector>
__global__ void __launch_bounds__(256, 4) max_pool_backward_v3(
    const T* __restrict__ g,                // [N, P, Q, C]
    const long long* __restrict__ indices,  // [N, P, Q, C]
    T* __restrict__ dx,                     // [N, H, W, C]
    Pool2d pool) {
  const Spot at = spot_in_patch<kVector>(pool.H, pool.W);
  if (at.row >= pool.H || at.column >= pool.W || at.c >= pool.C) return;
  gather_chosen<T, Index, kVector>(g, indices, dx, pool, at);
}

// ---- average ----

// How many samples of the window that starts at pixel `start` count along an axis.
__device__ __forceinline__ int counted(int start, int samples, int before, int after, int size,
                                       bool with_padding) {
  const int first = with_padding ? -before : 0, end = with_padding ? size + after : size;
  return min(start + samples, end) - max(start, first);
}

// What the sum of window (p, q) is divided by; `given`, if it is not 0.
__device__ __forceinline__ int divisor_of(const Pool2d& pool, bool with_padding, int given, int p, int q) {
  if (given) return given;
  const int top = p * pool.stride_h - pool.pad_h, left = q * pool.stride_w - pool.pad_w;
  return counted(top, pool.R, pool.pad_h, pool.pad_bottom, pool.H, with_padding) *
         counted(left, pool.S, pool.pad_w, pool.pad_right, pool.W, with_padding);
}

// v1: one thread a number, in the order of arrays [N, C, P, Q]: 4 bytes of each sector, 3 divisions, R·S
//     tests.
// instances: <float, int>, <float, long long>, <double, int>
// budget: 48 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4) avg_pool_forward_v1(
    const T* __restrict__ x,  // [N, H, W, C]
    T* __restrict__ y,        // [N, P, Q, C]
    Pool2d pool, bool count_include_pad, int divisor_override, Index count) {
  const Index i = thread_in_grid<Index>();
  if (i >= count) return;
  const Spot at = spot_by_planes(i, pool.P, pool.Q, pool.C);
  accumulator_t<T> sum = 0;
  for (int r = 0; r < pool.R; ++r) {
    for (int s = 0; s < pool.S; ++s) {
      const int row = at.row * pool.stride_h + r - pool.pad_h;
      const int column = at.column * pool.stride_w + s - pool.pad_w;
      if (!is_inside(row, column, pool.H, pool.W)) continue;
      sum += load(x[number_of<Index>(at.n, row, column, pool.H, pool.W) * pool.C + at.c]);
    }
  }
  const int divisor = divisor_of(pool, count_include_pad, divisor_override, at.row, at.column);
  y[number_of<Index>(at.n, at.row, at.column, pool.P, pool.Q) * pool.C + at.c] = store<T>(sum / divisor);
}

// The average of one window, of kVector channels.
template <typename T, typename Index, int kVector>
__device__ __forceinline__ void average_of_window(const T* x, T* y, const Pool2d& pool, int divisor,
                                                  Spot at) {
  const int top = at.row * pool.stride_h - pool.pad_h, left = at.column * pool.stride_w - pool.pad_w;
  const Range rows = samples_inside(top, 1, pool.R, pool.H), across = samples_inside(left, 1, pool.S, pool.W);
  const T* image = x + static_cast<Index>(at.n) * pool.H * pool.W * pool.C + at.c;
  accumulator_t<T> sum[kVector] = {};
  for (int r = rows.first; r < rows.end; ++r) {
    for (int s = across.first; s < across.end; ++s) {
      accumulator_t<T> seen[kVector];
      load_all<kVector>(image + (static_cast<Index>(top + r) * pool.W + left + s) * pool.C, seen);
#pragma unroll
      for (int k = 0; k < kVector; ++k) sum[k] += seen[k];
    }
  }
#pragma unroll
  for (int k = 0; k < kVector; ++k) sum[k] /= divisor;
  store_all<kVector>(y + number_of<Index>(at.n, at.row, at.column, pool.P, pool.Q) * pool.C + at.c, sum);
}

// v2: a row of threads a window, as for the maximum: full sectors, an eighth of the traffic by a quarter of
//     the accesses, nothing tested within the window.  C must be a multiple of kVector.
// instances: <float, int, 4>, <float, int, 1>, <float, long long, 4>
// budget: 64 registers, 0 B shared
template <typename T, typename Index, int kVector>
__global__ void __launch_bounds__(256, 4) avg_pool_forward_v2(
    const T* __restrict__ x,  // [N, H, W, C]
    T* __restrict__ y,        // [N, P, Q, C]
    Pool2d pool, bool count_include_pad, int divisor_override, Index windows) {
  const Index window = row_in_grid<Index>();
  if (window >= windows) return;
  const Place at = place_of(window, pool.P, pool.Q);
  const int divisor = divisor_of(pool, count_include_pad, divisor_override, at.row, at.column);
  for (int c = threadIdx.x * kVector; c < pool.C; c += blockDim.x * kVector) {
    average_of_window<T, Index, kVector>(x, y, pool, divisor, {at.n, at.row, at.column, c});
  }
}

// v3: a block a patch of windows: for 3×3 at stride 1, as Inception has it, 7.5 bytes a number come from the
//     second-level cache in place of 15.
// instances: <float, int, 4>, <float, int, 1>, <float, long long, 4>, <float, long long, 1>,
//   <__half, int, 8>, <__half, int, 1>, <__nv_bfloat16, int, 8>, <__nv_bfloat16, int, 1>
// budget: 64 registers, 0 B shared
template <typename T, typename Index, int kVector>
__global__ void __launch_bounds__(256, 4) avg_pool_forward_v3(
    const T* __restrict__ x,  // [N, H, W, C]
    T* __restrict__ y,        // [N, P, Q, C]
    Pool2d pool, bool count_include_pad, int divisor_override) {
  const Spot at = spot_in_patch<kVector>(pool.P, pool.Q);
  if (at.row >= pool.P || at.column >= pool.Q || at.c >= pool.C) return;
  const int divisor = divisor_of(pool, count_include_pad, divisor_override, at.row, at.column);
  average_of_window<T, Index, kVector>(x, y, pool, divisor, at);
}

// v4: a block takes a window and 32 vectors of its channels.  Each of its 8 rows of threads sums every 8th
//     sample, and the first row adds the 8 sums.  Most networks end in the average of whole images, such as
//     32 of 7×7×2048: with a vector a thread that is 16,384 threads of the 135,000 that an H100 runs at once
//     (64 registers each), and each loads 49 times.  Here it is 8 times as many, and 7 loads.
//     C must be a multiple of kVector.
// instances: <float, int, 4>, <float, long long, 4>, <__half, int, 8>, <__nv_bfloat16, int, 8>
// budget: 48 registers, 8192 B shared
template <typename T, typename Index, int kVector>
__global__ void __launch_bounds__(256, 4) avg_pool_forward_v4(
    const T* __restrict__ x,  // [N, H, W, C]
    T* __restrict__ y,        // [N, P, Q, C]
    Pool2d pool, bool count_include_pad, int divisor_override) {
  constexpr int kLanes = 32, kRows = 8;
  __shared__ accumulator_t<T> partial[kRows][kVector][kLanes];
  const Place at = place_of(static_cast<Index>(blockIdx.x), pool.P, pool.Q);
  const int c = (blockIdx.y * kLanes + threadIdx.x) * kVector;
  const int top = at.row * pool.stride_h - pool.pad_h, left = at.column * pool.stride_w - pool.pad_w;
  const Range rows = samples_inside(top, 1, pool.R, pool.H), across = samples_inside(left, 1, pool.S, pool.W);
  const int width = across.end - across.first, samples = (rows.end - rows.first) * width;
  const Index corner = number_of<Index>(at.n, top + rows.first, left + across.first, pool.H, pool.W);
  accumulator_t<T> sum[kVector] = {};
  for (int i = threadIdx.y; i < samples && c < pool.C; i += kRows) {
    accumulator_t<T> seen[kVector];
    load_all<kVector>(x + (corner + static_cast<Index>(i / width) * pool.W + i % width) * pool.C + c, seen);
#pragma unroll
    for (int k = 0; k < kVector; ++k) sum[k] += seen[k];
  }
#pragma unroll
  for (int k = 0; k < kVector; ++k) partial[threadIdx.y][k][threadIdx.x] = sum[k];
  __syncthreads();
  if (threadIdx.y > 0 || c >= pool.C) return;
  const int divisor = divisor_of(pool, count_include_pad, divisor_override, at.row, at.column);
#pragma unroll
  for (int k = 0; k < kVector; ++k) {
#pragma unroll
    for (int row = 1; row < kRows; ++row) sum[k] += partial[row][k][threadIdx.x];
    sum[k] /= divisor;
  }
  store_all<kVector>(y + static_cast<Index>(blockIdx.x) * pool.C + c, sum);
}

// v1: one thread a number of dx, in the order n, c, h, w: 4 bytes of each sector.  All R·S taps are tried,
//     each by a division, and each g that is found is divided.
// instances: <float, int>, <float, long long>, <double, int>
// budget: 48 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4) avg_pool_backward_v1(
    const T* __restrict__ g,  // [N, P, Q, C]
    T* __restrict__ dx,       // [N, H, W, C]
    Pool2d pool, bool count_include_pad, int divisor_override, Index count) {
  const Index i = thread_in_grid<Index>();
  if (i >= count) return;
  const Spot at = spot_by_planes(i, pool.H, pool.W, pool.C);
  accumulator_t<T> sum = 0;
  for (int r = 0; r < pool.R; ++r) {
    const int p = window_seeing(at.row + pool.pad_h, r, pool.stride_h, pool.P);
    for (int s = 0; s < pool.S && p >= 0; ++s) {
      const int q = window_seeing(at.column + pool.pad_w, s, pool.stride_w, pool.Q);
      if (q < 0) continue;
      const Index window = number_of<Index>(at.n, p, q, pool.P, pool.Q);
      sum += load(g[window * pool.C + at.c]) / divisor_of(pool, count_include_pad, divisor_override, p, q);
    }
  }
  dx[number_of<Index>(at.n, at.row, at.column, pool.H, pool.W) * pool.C + at.c] = store<T>(sum);
}

// The gradients of one pixel, of kVector channels.
template <typename T, typename Index, int kVector>
__device__ __forceinline__ void gather_shares(const T* g, T* dx, const Pool2d& pool, bool count_include_pad,
                                              int divisor_override, Spot at) {
  const Range rows = windows_over(at.row + pool.pad_h, pool.R, pool.stride_h, pool.P);
  const Range across = windows_over(at.column + pool.pad_w, pool.S, pool.stride_w, pool.Q);
  accumulator_t<T> sum[kVector] = {};
  for (int p = rows.first; p < rows.end; ++p) {
    for (int q = across.first; q < across.end; ++q) {
      const int divisor = divisor_of(pool, count_include_pad, divisor_override, p, q);
      const accumulator_t<T> share = accumulator_t<T>(1) / divisor;
      accumulator_t<T> upstream[kVector];
      load_all<kVector>(g + number_of<Index>(at.n, p, q, pool.P, pool.Q) * pool.C + at.c, upstream);
#pragma unroll
      for (int k = 0; k < kVector; ++k) sum[k] += upstream[k] * share;
    }
  }
  store_all<kVector>(dx + number_of<Index>(at.n, at.row, at.column, pool.H, pool.W) * pool.C + at.c, sum);
}

// v2: a row of threads a pixel, vectors of channels.  The windows over a pixel are one range an axis, and one
//     division a window serves all channels of a vector.  C must be a multiple of kVector.
// instances: <float, int, 4>, <float, int, 1>, <float, long long, 4>
// budget: 64 registers, 0 B shared
template <typename T, typename Index, int kVector>
__global__ void __launch_bounds__(256, 4) avg_pool_backward_v2(
    const T* __restrict__ g,  // [N, P, Q, C]
    T* __restrict__ dx,       // [N, H, W, C]
    Pool2d pool, bool count_include_pad, int divisor_override, Index pixels) {
  const Index pixel = row_in_grid<Index>();
  if (pixel >= pixels) return;
  const Place at = place_of(pixel, pool.H, pool.W);
  for (int c = threadIdx.x * kVector; c < pool.C; c += blockDim.x * kVector) {
    gather_shares<T, Index, kVector>(g, dx, pool, count_include_pad, divisor_override,
                                     {at.n, at.row, at.column, c});
  }
}

// v3: a block a patch of pixels: for 3×3 at stride 1, 7.5 bytes a number from the second-level cache in place
//     of 15.
// instances: <float, int, 4>, <float, int, 1>, <float, long long, 4>, <float, long long, 1>,
//   <__half, int, 8>, <__half, int, 1>, <__nv_bfloat16, int, 8>, <__nv_bfloat16, int, 1>
// budget: 64 registers, 0 B shared
template <typename T, typename Index, int kVector>
__global__ void __launch_bounds__(256, 4) avg_pool_backward_v3(
    const T* __restrict__ g,  // [N, P, Q, C]
    T* __restrict__ dx,       // [N, H, W, C]
    Pool2d pool, bool count_include_pad, int divisor_override) {
  const Spot at = spot_in_patch<kVector>(pool.H, pool.W);
  if (at.row >= pool.H || at.column >= pool.W || at.c >= pool.C) return;
  gather_shares<T, Index, kVector>(g, dx, pool, count_include_pad, divisor_override, at);
}
