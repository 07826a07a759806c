// lrn.cu: local response normalisation across channels
//
// Purpose: divides each number by a power of the energy of the channels around it,
//
//            y_c = x_c · d_c^−β,   d_c = k + (α/size) Σ_{j ∈ window(c)} x_j²
//
//          where window(c) are those of the `size` channels from c − ⌊size/2⌋ to c + ⌊(size − 1)/2⌋ that
//          exist.  A. Krizhevsky, I. Sutskever, G. Hinton, "ImageNet Classification with Deep Convolutional
//          Neural Networks", 2012, section 3.3.  (PyTorch divides α by size, the paper does not.)
//
//          Backward.  x_j is a factor of y_j, and it is in d_c for every c with j ∈ window(c).  There
//          ∂d_c/∂x_j = (2α/size) x_j and ∂y_c/∂d_c = −β x_c d_c^(−β−1), so by the chain rule
//
//            dx_j = g_j d_j^−β − (2αβ/size) x_j Σ_{c: j ∈ window(c)} t_c,   t_c = g_c x_c d_c^(−β−1)
//
//          and the sum runs over the window mirrored, from j − ⌊(size − 1)/2⌋ to j + ⌊size/2⌋.  d is computed
//          anew: x is read in any case, and to read d as well would be 4 bytes more a number.
// Shapes:  x, y, g, dx [N, H, W, C]: a pixel's channels are neighbours in memory
// Threads: one a number (v1); a row of threads a pixel (v2); a thread four channels (v3)
// Cost:    a number: forward `size` multiply-adds, 1 power, 8 bytes of floats; backward `size` multiply-adds
//          and `size` additions, 1 power, 12 bytes (v1: size·(size + 1) multiply-adds, size + 1 powers)
// Versions:
//   lrn_forward_v1    a thread a number, which sums its window from memory
//   lrn_forward_v2    a pixel's squares in shared memory: no test and no division; little gained before
//                     backward
//   lrn_forward_v3    windows by warp shuffles, 16 bytes a load, β = ¾ by square roots
//   lrn_backward_v1   a thread a number, which computes d for each channel whose window it is in
//   lrn_backward_v2   squares and t of a pixel in shared memory: 1 power a number in place of size + 1
//   lrn_backward_v3   both sums by warp shuffles, 16 bytes a load, β = ¾ by square roots
#include "vector.cuh"
#include "window.cuh"

__device__ __forceinline__ float power(float d, float exponent) { return powf(d, exponent); }
__device__ __forceinline__ double power(double d, double exponent) { return pow(d, exponent); }

// d_c of one pixel, `channels` at x; scale is α/size.
template <typename T>
__device__ __forceinline__ accumulator_t<T> divisor(const T* x, int c, int channels, int size,
                                                    accumulator_t<T> scale, accumulator_t<T> k) {
  accumulator_t<T> energy = 0;
  const int last = min(channels - 1, c + (size - 1) / 2);
  for (int j = max(0, c - size / 2); j <= last; ++j) energy += load(x[j]) * load(x[j]);
  return k + scale * energy;
}

// v1: one thread a number.  It reads its window, `size` loads of which all but one are from the cache, with
//     as many tests; it divides to find its channel; and powf alone is 64 instructions (sm_90).  An H100 has
//     the time for 80, at 33·10¹² a second, while it moves the 8 bytes that must move, at 3.3·10¹².
// instances: <float, int>, <float, long long>, <double, int>
// budget: 48 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4) lrn_forward_v1(
    const T* __restrict__ x,  // [N, H, W, C]
    T* __restrict__ y,        // [N, H, W, C]
    int C, int size, accumulator_t<T> scale, accumulator_t<T> beta, accumulator_t<T> k, Index count) {
  const Index i = thread_in_grid<Index>();
  if (i >= count) return;
  const int c = static_cast<int>(i % C);
  y[i] = store<T>(load(x[i]) * power(divisor(x + (i - c), c, C, size, scale, k), -beta));
}

// Writes the squares of one pixel's channels, `before` zeros in front and others behind them, to `row`
// places.
template <typename T>
__device__ __forceinline__ void write_squares(const T* x, bool inside, int channels, int before, int row,
                                              float* squares) {
  for (int i = threadIdx.x; i < row; i += blockDim.x) {
    const int c = i - before;
    const float value = inside && c >= 0 && c < channels ? load(x[c]) : 0;
    squares[i] = value * value;
  }
}

__device__ __forceinline__ float sum_of(const float* from, int count) {
  float sum = 0;
  for (int i = 0; i < count; ++i) sum += from[i];
  return sum;
}

// v2: a row of threads takes a pixel and keeps its squares in shared memory, size − 1 zeros around them: a
//     number is squared once in place of `size` times, and the sum over a window has no test and no division.
//     That is little, for powf stays, and a warp now reads shared memory as often as it read the cache; this
//     version is there for what it saves backward.  (It is no running sum, which would add the next channel
//     and subtract the last: a large number would leave its rounding to all channels after it, an infinite
//     one NaN.)
//     Dynamic shared memory: blockDim.y · (C + size − 1) floats.
// instances: <float, int>, <float, long long>, <__half, int>, <__nv_bfloat16, int>
// budget: 40 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4) lrn_forward_v2(
    const T* __restrict__ x,  // [N, H, W, C]
    T* __restrict__ y,        // [N, H, W, C]
    int C, int size, float scale, float beta, float k, Index pixels) {
  extern __shared__ float smem[];
  const int row = C + size - 1;
  float* squares = smem + threadIdx.y * row;
  const Index pixel = row_in_grid<Index>();
  const bool inside = pixel < pixels;
  write_squares(x + (inside ? pixel * C : 0), inside, C, size / 2, row, squares);
  __syncthreads();
  if (!inside) return;
  for (int c = threadIdx.x; c < C; c += blockDim.x) {
    const float d = k + scale * sum_of(squares + c, size);
    y[pixel * C + c] = store<T>(load(x[pixel * C + c]) * powf(d, -beta));
  }
}

// A lane's four channels, where all pixels' channels make one line and a warp takes 32 vectors of it.  Warps
// overlap: the outermost lane on either side only helps its neighbour, and is another warp's to write.
template <typename Index>
struct Lane {
  Index vector;
  bool inside;  // the line
  bool first;   // of its pixel's vectors
  bool last;
  bool writes;
};

template <typename Index>
__device__ __forceinline__ Lane<Index> lane_on_line(Index vectors, int per_pixel) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const Index vector = thread_in_grid<Index>() / kWarp * (kWarp - 2) + lane - 1;
  const bool inside = vector >= 0 && vector < vectors;
  const int at = static_cast<int>(vector % per_pixel);
  return {vector, inside, at == 0, at == per_pixel - 1, inside && lane > 0 && lane < kWarp - 1};
}

// Four numbers; zeros outside the line.
template <typename T, typename Index>
__device__ __forceinline__ void load_four(const T* from, const Lane<Index>& lane, float (&to)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) to[i] = 0;
  if (lane.inside) load_all<4>(from + lane.vector * 4, to);
}

// The sums over the windows of kSize channels around each of a lane's four, by way of the neighbouring lanes.
// Those of the warp's outermost lanes lack a side.  All lanes must call it.
template <int kSize, typename Index>
__device__ __forceinline__ void window_sums(const float (&values)[4], const Lane<Index>& lane,
                                            float (&sums)[4]) {
  constexpr int kHalf = kSize / 2;
  static_assert(kSize % 2 == 1 && 2 * kHalf <= 4, "a window and its windows reach one lane further");
  float line[kHalf + 4 + kHalf];
#pragma unroll
  for (int i = 0; i < kHalf; ++i) {
    const float before = __shfl_up_sync(kAllLanes, values[4 - kHalf + i], 1);
    const float after = __shfl_down_sync(kAllLanes, values[i], 1);
    line[i] = lane.first ? 0 : before;
    line[kHalf + 4 + i] = lane.last ? 0 : after;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) line[kHalf + i] = values[i];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    sums[i] = 0;
#pragma unroll
    for (int j = 0; j < kSize; ++j) sums[i] += line[i + j];
  }
}

// d and d^−β of a lane's four channels x.  With β = ¾, d^−β = √d⁻¹ · √√d⁻¹: two roots in place of powf.
template <int kSize, bool kThreeQuarters, typename Index>
__device__ __forceinline__ void divisors(const float (&x)[4], const Lane<Index>& lane, float scale,
                                         float beta, float k, float (&d)[4], float (&inverse)[4]) {
  float squares[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) squares[i] = x[i] * x[i];
  window_sums<kSize>(squares, lane, d);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    d[i] = k + scale * d[i];
    if (kThreeQuarters) {
      const float root = rsqrtf(d[i]);
      inverse[i] = root * sqrtf(root);
    } else {
      inverse[i] = powf(d[i], -beta);
    }
  }
}

// v3: no shared memory and no barrier.  A thread takes four channels, 16 bytes a load, and gets its
//     neighbours' squares by 2·⌊size/2⌋ shuffles: for 5 channels 1 a number, where v2 reads shared memory 5
//     times.  30 lanes of 32 write.  β = ¾, as all networks have it, needs no powf: 224 instructions for four
//     numbers in place of 480, which leaves memory as the only limit.  C must be a multiple of 4, and size
//     the template's.
// instances: <float, int, 5, true>, <float, int, 5, false>, <float, long long, 5, true>,
//   <float, long long, 5, false>, <__half, int, 5, true>, <__nv_bfloat16, int, 5, true>
// budget: 40 registers, 0 B shared
template <typename T, typename Index, int kSize, bool kThreeQuarters>
__global__ void __launch_bounds__(256, 4) lrn_forward_v3(
    const T* __restrict__ x,  // [N, H, W, C]
    T* __restrict__ y,        // [N, H, W, C]
    int C, float scale, float beta, float k, Index vectors) {  // vectors: N·H·W·C/4
  const Lane<Index> lane = lane_on_line(vectors, C / 4);
  float value[4], d[4], inverse[4];
  load_four(x, lane, value);
  divisors<kSize, kThreeQuarters>(value, lane, scale, beta, k, d, inverse);
#pragma unroll
  for (int i = 0; i < 4; ++i) value[i] *= inverse[i];
  if (lane.writes) store_all<4>(y + lane.vector * 4, value);
}

// v1: one thread a number.  It computes d for itself and for each of the `size` channels whose window it is
//     in: for 5 channels 30 loads of x and 6 powf.
// instances: <float, int>, <float, long long>, <double, int>
// budget: 64 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4) lrn_backward_v1(
    const T* __restrict__ x,  // [N, H, W, C]
    const T* __restrict__ g,  // [N, H, W, C]
    T* __restrict__ dx,       // [N, H, W, C]
    int C, int size, accumulator_t<T> scale, accumulator_t<T> beta, accumulator_t<T> k, Index count) {
  const Index i = thread_in_grid<Index>();
  if (i >= count) return;
  const int c = static_cast<int>(i % C), last = min(C - 1, c + size / 2);
  const T* pixel = x + (i - c);
  const T* upstream = g + (i - c);
  accumulator_t<T> sum = 0;
  for (int j = max(0, c - (size - 1) / 2); j <= last; ++j) {
    const accumulator_t<T> d = divisor(pixel, j, C, size, scale, k);
    sum += load(upstream[j]) * load(pixel[j]) * power(d, -beta) / d;
  }
  const accumulator_t<T> direct = load(g[i]) * power(divisor(pixel, c, C, size, scale, k), -beta);
  dx[i] = store<T>(direct - 2 * scale * beta * load(x[i]) * sum);
}

// v2: a row of threads a pixel.  With its squares in shared memory each channel's d is computed once, and its
//     t is kept there too, to be summed over the mirrored windows: for 5 channels 1 powf in place of 6, and
//     10 reads of shared memory in place of 30 loads.
//     Dynamic shared memory: blockDim.y · (3·C + 2·(size − 1)) floats.
// instances: <float, int>, <float, long long>, <__half, int>, <__nv_bfloat16, int>
// budget: 40 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4) lrn_backward_v2(
    const T* __restrict__ x,  // [N, H, W, C]
    const T* __restrict__ g,  // [N, H, W, C]
    T* __restrict__ dx,       // [N, H, W, C]
    int C, int size, float scale, float beta, float k, Index pixels) {
  extern __shared__ float smem[];
  const int row = C + size - 1;
  float* squares = smem + threadIdx.y * (2 * row + C);
  float* terms = squares + row;
  float* direct = terms + row;
  const Index pixel = row_in_grid<Index>();
  const bool inside = pixel < pixels;
  write_squares(x + (inside ? pixel * C : 0), inside, C, size / 2, row, squares);
  for (int i = threadIdx.x; i < row; i += blockDim.x) terms[i] = 0;
  __syncthreads();
  for (int c = threadIdx.x; c < C && inside; c += blockDim.x) {
    const float d = k + scale * sum_of(squares + c, size);
    direct[c] = load(g[pixel * C + c]) * powf(d, -beta);
    terms[(size - 1) / 2 + c] = direct[c] * load(x[pixel * C + c]) / d;
  }
  __syncthreads();
  for (int c = threadIdx.x; c < C && inside; c += blockDim.x) {
    const float sum = sum_of(terms + c, size);
    dx[pixel * C + c] = store<T>(direct[c] - 2 * scale * beta * load(x[pixel * C + c]) * sum);
  }
}

// v3: both sums by shuffles, for 5 channels 2 a number in place of 10 reads of shared memory and two
//     barriers; 16 bytes a load; β = ¾ by roots.  dx needs t of 2 channels on either side, and these the
//     squares of 2 more: 4 channels, which one lane has, so again 30 lanes of 32 write.  An odd window is its
//     own mirror image.  C must be a multiple of 4, and size the template's.
// instances: <float, int, 5, true>, <float, int, 5, false>, <float, long long, 5, true>,
//   <float, long long, 5, false>, <__half, int, 5, true>, <__nv_bfloat16, int, 5, true>
// budget: 40 registers, 0 B shared
template <typename T, typename Index, int kSize, bool kThreeQuarters>
__global__ void __launch_bounds__(256, 4) lrn_backward_v3(
    const T* __restrict__ x,  // [N, H, W, C]
    const T* __restrict__ g,  // [N, H, W, C]
    T* __restrict__ dx,       // [N, H, W, C]
    int C, float scale, float beta, float k, Index vectors) {  // vectors: N·H·W·C/4
  const Lane<Index> lane = lane_on_line(vectors, C / 4);
  float value[4], upstream[4], d[4], inverse[4], terms[4], sums[4];
  load_four(x, lane, value);
  load_four(g, lane, upstream);
  divisors<kSize, kThreeQuarters>(value, lane, scale, beta, k, d, inverse);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    upstream[i] *= inverse[i];
    terms[i] = upstream[i] * value[i] / d[i];
  }
  window_sums<kSize>(terms, lane, sums);
#pragma unroll
  for (int i = 0; i < 4; ++i) upstream[i] -= 2 * scale * beta * value[i] * sums[i];
  if (lane.writes) store_all<4>(dx + lane.vector * 4, upstream);
}
