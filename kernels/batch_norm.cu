// batch_norm.cu: batch normalisation over channels-last memory, with an optional ReLU
//
// Purpose: with the mean μ and the biased variance σ² of each channel's M values (M = N·H·W rows of C
//          channels),
//
//            y = w x̂ + b,   x̂ = (x − μ) / √(σ² + ε),   then max(y, 0) if a ReLU is fused.
//
//          Training takes μ and σ² of the batch and moves the running statistics towards them,
//          running ← (1 − momentum) running + momentum batch, the variance there being Σ (x − μ)² / (M − 1);
//          inference takes the running ones.  Of the gradient g of y only that counts for which y > 0, if
//          there is a ReLU: y is not read for it, but computed from x again, to the same bits.  Then
//
//            db = Σ g,   dw = Σ g x̂,   dx = w / √(σ² + ε) · (g − db/M − x̂ dw/M),
//
//          without the last two terms where the statistics are fixed (S. Ioffe and C. Szegedy, "Batch
//          Normalization", ICML 2015, algorithm 1 and section 3).
//          The textbook's Σ x² / M − μ² loses every digit by which μ² exceeds σ².  Here a thread keeps the
//          mean and the squared deviations from it as it goes (B. P. Welford, "Note on a method for
//          calculating corrected sums of squares and products", Technometrics 4, 1962), and what two threads
//          know is merged by the formula of T. F. Chan, G. H. Golub, R. J. LeVeque ("Algorithms for computing
//          the sample variance", The American Statistician 37, 1983), always in the same order: the same bits
//          in every run.
// Shapes:  x, y, g, dx [M, C]; w, b, mean, var, running_mean, running_var, dw, db [C]
// Threads: statistics and sums: the threads of a block's column share a channel (or a few neighbouring ones),
//          its rows go down M.  y and dx: one thread an element, later one thread for a few channels of many
//          rows.
// Cost:    with elements of s bytes: inference 3·M·C FLOPs and 2·s·M·C bytes; forward 10·M·C FLOPs (7 for
//          Welford's rule, its division among them, 3 for y) and 3·s·M·C bytes (x twice, y), v1 4·s·M·C;
//          backward 11·M·C FLOPs (4 for the sums, 7 for dx) and 5·s·M·C bytes (g and x twice, dx).  All but
//          nothing of it is arithmetic: bytes are what counts.
// Versions:
//   batch_norm_inference_v1         one thread an element
//   batch_norm_inference_v2         16 bytes a thread, which stays with its channels and keeps their lines
//   batch_norm_forward_v1           one thread a channel: mean, variance and y, one after the other
//   batch_norm_forward_v2_moments   one pass by 256 threads for 32 channels, then inference_v1: y by all
//                                   threads
//   batch_norm_forward_v3_partial   rows split over many blocks
//   batch_norm_forward_v3_merge     one warp a channel merges what the blocks found; then inference_v1
//   batch_norm_forward_v4_partial   16 bytes a thread, no idle lanes where there are few channels; then
//                                   v3_merge and inference_v2
//   batch_norm_backward_v1          one thread a channel: the sums, then dx
//   batch_norm_backward_v2_sums     256 threads for 32 channels
//   batch_norm_backward_v2_dx       one thread an element
//   batch_norm_backward_v3_partial  rows split over many blocks
//   batch_norm_backward_v3_merge    one warp a channel adds what the blocks found; then backward_v2_dx
//   batch_norm_backward_v4_partial  16 bytes a thread, no idle lanes; then v3_merge
//   batch_norm_backward_v4_dx       16 bytes a thread, which stays with its channels
#include "common.cuh"
#include "reduce.cuh"
#include "vector.cuh"

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

// ---- a channel's line y = slope · (x − mean) + b ----

template <typename A>
struct Line {
  A mean, scale, slope, b;  // scale = 1 / √(σ² + ε), slope = w · scale

  // The difference first: x and the mean may share many digits, and it loses none.
  __device__ A at(A x) const { return fma(x - mean, slope, b); }
};

template <typename A>
__device__ __forceinline__ Line<A> line_of(const A* w, const A* b, A mean, A var, int c, A eps) {
  const A scale = A(1) / sqrt(var + eps);
  return {mean, scale, w ? w[c] * scale : scale, b ? b[c] : A(0)};
}

// A NaN stays one, as in NumPy's maximum.
template <typename A>
__device__ __forceinline__ A rectified(A y, bool relu) {
  return relu && y < A(0) ? A(0) : y;
}

// What of g counts at x.
template <typename A>
__device__ __forceinline__ A passed(A g, A x, const Line<A>& line, bool relu) {
  return !relu || line.at(x) > A(0) ? g : A(0);
}

// dx from what of g counts; dw and db matter only where the statistics were the batch's.
template <typename A>
__device__ __forceinline__ A pulled_back(A g, A x, const Line<A>& line, A dw, A db, A rows, bool training) {
  if (!training) return line.slope * g;
  return line.slope * (g - (db + (x - line.mean) * line.scale * dw) / rows);
}

// ---- what threads know of their rows, and how two of them know more ----

// Of kCount channels the mean of `count` values each, and the sum of their squared deviations from it.
template <typename A, int kCount>
struct Moments {
  A count;
  A mean[kCount];
  A square[kCount];

  // Welford: one value of each channel more.
  __device__ void add(const A (&x)[kCount]) {
    count += 1;
    const A share = A(1) / count;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const A before = x[i] - mean[i];
      mean[i] += before * share;
      square[i] += before * (x[i] - mean[i]);
    }
  }

  // Chan: the moments of both.
  __device__ void merge(const Moments& other) {
    if (other.count == 0) return;
    const A share = other.count / (count + other.count), weight = count * share;
    count += other.count;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const A apart = other.mean[i] - mean[i];
      mean[i] += apart * share;
      square[i] += other.square[i] + apart * (apart * weight);  // no weight, no overflow
    }
  }

  // What the lane `lanes` further on holds.
  __device__ Moments down(int lanes) const {
    Moments other;
    other.count = __shfl_down_sync(kAllLanes, count, lanes);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      other.mean[i] = __shfl_down_sync(kAllLanes, mean[i], lanes);
      other.square[i] = __shfl_down_sync(kAllLanes, square[i], lanes);
    }
    return other;
  }
};

// The statistics of a channel, once all its rows are known.
template <typename A>
__device__ __forceinline__ void keep_statistics(
    const Moments<A, 1>& known, A momentum, int c, A* mean, A* var, A* running_mean, A* running_var) {
  mean[c] = known.mean[0];
  var[c] = known.square[0] / known.count;
  const A unbiased = known.square[0] / (known.count - 1);
  if (running_mean) running_mean[c] = (1 - momentum) * running_mean[c] + momentum * known.mean[0];
  if (running_var) running_var[c] = (1 - momentum) * running_var[c] + momentum * unbiased;
}

// Of kCount channels Σ g and Σ g (x − μ).
template <typename A, int kCount>
struct Sums {
  A g[kCount];
  A gx[kCount];

  __device__ void merge(const Sums& other) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      g[i] += other.g[i];
      gx[i] += other.gx[i];
    }
  }

  __device__ Sums down(int lanes) const {
    Sums other;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      other.g[i] = __shfl_down_sync(kAllLanes, g[i], lanes);
      other.gx[i] = __shfl_down_sync(kAllLanes, gx[i], lanes);
    }
    return other;
  }
};

// Merge what a block's threads of one column hold (the same threadIdx.x); row 0 gets the whole.  A block is
// kThreads = blockDim.x · blockDim.y threads, blockDim.x a power of two up to a warp, so that a warp holds
// whole rows.
template <typename Known>
__device__ __forceinline__ void merge_rows(Known& known) {
  __shared__ Known of_warps[kWarps][kWarp];
  const int columns = blockDim.x, thread = threadIdx.y * columns + threadIdx.x;
  for (int lanes = kWarp / 2; lanes >= columns; lanes /= 2) known.merge(known.down(lanes));
  if (thread % kWarp < columns) of_warps[thread / kWarp][threadIdx.x] = known;
  __syncthreads();
  if (threadIdx.y > 0) return;
  for (int warp = 1; warp < kWarps; ++warp) known.merge(of_warps[warp][threadIdx.x]);
}

// Merge what a warp's lanes hold; lane 0 gets the whole.
template <typename Known>
__device__ __forceinline__ void merge_lanes(Known& known) {
#pragma unroll
  for (int lanes = kWarp / 2; lanes; lanes /= 2) known.merge(known.down(lanes));
}

// The moments of channels c to c + kCount − 1 over the rows first + threadIdx.y, + blockDim.y, … before
// `last`.
template <int kCount, typename T, typename Index>
__device__ __forceinline__ Moments<accumulator_t<T>, kCount> moments_of(
    const T* x, Index first, Index last, int C, int c) {
  Moments<accumulator_t<T>, kCount> moments = {};
  if (c >= C) return moments;
#pragma unroll 4
  for (Index row = first + threadIdx.y; row < last; row += blockDim.y) {
    accumulator_t<T> values[kCount];
    load_all<kCount>(x + row * C + c, values);
    moments.add(values);
  }
  return moments;
}

// The sums of what counts of g, likewise.
template <int kCount, typename T, typename Index>
__device__ __forceinline__ Sums<accumulator_t<T>, kCount> sums_of(
    const T* g, const T* x, const Line<accumulator_t<T>> (&lines)[kCount], Index first, Index last, int C,
    int c, bool relu) {
  using A = accumulator_t<T>;
  Sums<A, kCount> sums = {};
  if (c >= C) return sums;
#pragma unroll 4
  for (Index row = first + threadIdx.y; row < last; row += blockDim.y) {
    A xs[kCount], gs[kCount];
    load_all<kCount>(x + row * C + c, xs);
    load_all<kCount>(g + row * C + c, gs);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const A counts = passed(gs[i], xs[i], lines[i], relu);
      sums.g[i] += counts;
      sums.gx[i] += counts * (xs[i] - lines[i].mean);
    }
  }
  return sums;
}

// The lines of channels c to c + kCount − 1; beyond the last channel there is nothing to read.
template <int kCount, typename A>
__device__ __forceinline__ void lines_of(
    const A* w, const A* b, const A* mean, const A* var, int C, int c, A eps, Line<A> (&lines)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i)
    lines[i] = c < C ? line_of(w, b, mean[c + i], var[c + i], c + i, eps) : Line<A>{};
}

// ---- inference ----

// v1: one thread an element, neighbours next to each other in memory.  Each divides by C to find its channel,
//     reads four numbers of it beside x (from the cache), and computes a root and a division that M threads
//     have in common.
// instances: <float, int>, <float, long long>, <double, int>, <__half, int>, <__nv_bfloat16, int>
// budget: 24 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256) batch_norm_inference_v1(
    const T* __restrict__ x,                    // [M, C]
    T* __restrict__ y,                          // [M, C]
    const accumulator_t<T>* __restrict__ w,     // [C] or null
    const accumulator_t<T>* __restrict__ b,     // [C] or null
    const accumulator_t<T>* __restrict__ mean,  // [C]
    const accumulator_t<T>* __restrict__ var,   // [C]
    Index M, int C, accumulator_t<T> eps, bool relu) {
  const Index i = thread_in_grid<Index>();
  if (i >= M * C) return;
  const int c = i % C;
  const auto line = line_of(w, b, mean[c], var[c], c, eps);
  y[i] = store<T>(rectified(line.at(load(x[i])), relu));
}

// v2: a thread stays with kVector channels and goes down the rows: the root, the division and the four
//     numbers are paid once and kept in registers, nothing is divided by C, and one instruction moves 16
//     bytes where v1's moves 4 (or 2, of halves).  C must be a multiple of kVector.
// instances: <float, int, 1>, <float, int, 4>, <float, long long, 1>, <float, long long, 4>,
//            <__half, int, 8>, <__nv_bfloat16, int, 8>
// budget: 48 registers, 0 B shared
template <typename T, typename Index, int kVector>
__global__ void __launch_bounds__(kThreads) batch_norm_inference_v2(
    const T* __restrict__ x,                    // [M, C]
    T* __restrict__ y,                          // [M, C]
    const accumulator_t<T>* __restrict__ w,     // [C] or null
    const accumulator_t<T>* __restrict__ b,     // [C] or null
    const accumulator_t<T>* __restrict__ mean,  // [C]
    const accumulator_t<T>* __restrict__ var,   // [C]
    Index M, int C, accumulator_t<T> eps, bool relu) {
  using A = accumulator_t<T>;
  const int c = (blockIdx.x * blockDim.x + threadIdx.x) * kVector;
  if (c >= C) return;
  Line<A> lines[kVector];
  lines_of<kVector>(w, b, mean, var, C, c, eps, lines);
  for (Index row = blockIdx.y * blockDim.y + threadIdx.y; row < M; row += gridDim.y * blockDim.y) {
    A values[kVector];
    load_all<kVector>(x + row * C + c, values);
#pragma unroll
    for (int i = 0; i < kVector; ++i) values[i] = rectified(lines[i].at(values[i]), relu);
    store_all<kVector>(y + row * C + c, values);
  }
}

// ---- forward ----

// v1: one thread a channel reads it three times: for the mean, for the deviations from it, and for y.
//     Neighbouring threads read neighbouring channels, so memory is used well, but C threads are all there
//     are: 64 of an H100's 270,336.
// instances: <float, int>, <float, long long>, <double, int>, <__half, int>, <__nv_bfloat16, int>
// budget: 32 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256) batch_norm_forward_v1(
    const T* __restrict__ x,                      // [M, C]
    T* __restrict__ y,                            // [M, C]
    const accumulator_t<T>* __restrict__ w,       // [C] or null
    const accumulator_t<T>* __restrict__ b,       // [C] or null
    accumulator_t<T>* __restrict__ mean,          // [C]
    accumulator_t<T>* __restrict__ var,           // [C]
    accumulator_t<T>* __restrict__ running_mean,  // [C] or null
    accumulator_t<T>* __restrict__ running_var,   // [C] or null
    Index M, int C, accumulator_t<T> momentum, accumulator_t<T> eps, bool relu) {
  using A = accumulator_t<T>;
  const int c = thread_in_grid<int>();
  if (c >= C) return;
  A sum = 0, square = 0;
  for (Index row = 0; row < M; ++row) sum += load(x[row * C + c]);
  const A m = sum / A(M);
  for (Index row = 0; row < M; ++row) {
    const A apart = load(x[row * C + c]) - m;
    square += apart * apart;
  }
  keep_statistics<A>({A(M), {m}, {square}}, momentum, c, mean, var, running_mean, running_var);
  const auto line = line_of(w, b, m, square / A(M), c, eps);
  for (Index row = 0; row < M; ++row)
    y[row * C + c] = store<T>(rectified(line.at(load(x[row * C + c])), relu));
}

// v2: x is read once for both statistics, by Welford's rule, and by 8 times as many threads: a block of 32 ×
//     8 has 32 channels, each of its 8 rows takes every eighth row of x, and the 8 moments of a channel are
//     merged in shared memory.  y is left to as many threads as there are elements.  3 passes over memory, v1
//     has 4; and where v1's sum of M values grows, and rounds by ever more, a mean stays as large as the
//     values.
// instances: <float, int>, <float, long long>, <double, int>, <__half, int>, <__nv_bfloat16, int>
// budget: 40 registers, 6144 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(kThreads) batch_norm_forward_v2_moments(
    const T* __restrict__ x,                      // [M, C]
    accumulator_t<T>* __restrict__ mean,          // [C]
    accumulator_t<T>* __restrict__ var,           // [C]
    accumulator_t<T>* __restrict__ running_mean,  // [C] or null
    accumulator_t<T>* __restrict__ running_var,   // [C] or null
    Index M, int C, accumulator_t<T> momentum) {
  const int c = blockIdx.x * blockDim.x + threadIdx.x;
  auto moments = moments_of<1>(x, Index(0), M, C, c);
  merge_rows(moments);
  if (threadIdx.y > 0 || c >= C) return;
  keep_statistics(moments, momentum, c, mean, var, running_mean, running_var);
}

// v3: v2 has C/32 blocks: 2 for 64 channels, on a device that runs 132 · 8 of them at once.  Here each block
//     takes `rows` rows only, there are `parts` blocks a channel, and what they find is merged by a kernel
//     that follows: two numbers a channel written and read again for at least 64 rows.
// instances: <float, int>, <float, long long>, <__half, int>, <__nv_bfloat16, int>
// budget: 32 registers, 3072 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(kThreads) batch_norm_forward_v3_partial(
    const T* __restrict__ x,                   // [M, C]
    accumulator_t<T>* __restrict__ of_mean,    // [C, parts]
    accumulator_t<T>* __restrict__ of_square,  // [C, parts]
    Index M, int C, int parts, Index rows) {
  const int c = blockIdx.x * blockDim.x + threadIdx.x, part = blockIdx.y;
  const Index first = part * rows;
  auto moments = moments_of<1>(x, first, first + min(rows, M - first), C, c);
  merge_rows(moments);
  if (threadIdx.y > 0 || c >= C) return;
  of_mean[static_cast<Index>(c) * parts + part] = moments.mean[0];
  of_square[static_cast<Index>(c) * parts + part] = moments.square[0];
}

// v3, its second kernel: one warp a channel.  The lanes share the parts, each in order, and merge what they
// have by shuffles: 5 steps, and no barrier.
// instances: <float, int>, <float, long long>
// budget: 48 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256) batch_norm_forward_v3_merge(
    const T* __restrict__ of_mean,    // [C, parts]
    const T* __restrict__ of_square,  // [C, parts]
    T* __restrict__ mean,             // [C]
    T* __restrict__ var,              // [C]
    T* __restrict__ running_mean,     // [C] or null
    T* __restrict__ running_var,      // [C] or null
    Index M, int C, int parts, Index rows, T momentum) {
  const int thread = thread_in_grid<int>(), c = thread / kWarp, lane = thread % kWarp;
  if (c >= C) return;
  Moments<T, 1> moments = {};
  for (int part = lane; part < parts; part += kWarp) {
    const Index i = static_cast<Index>(c) * parts + part, first = part * rows;
    moments.merge({T(min(rows, M - first)), {of_mean[i]}, {of_square[i]}});
  }
  merge_lanes(moments);
  if (lane > 0) return;
  keep_statistics(moments, momentum, c, mean, var, running_mean, running_var);
}

// v4: 16 bytes a thread: a quarter (of halves, an eighth) of v3's loads for the same bytes, and one division
//     a row for all of a thread's channels.  A block is only as wide as C needs, a power of two, and as many
//     more rows high; then a warp holds several rows and merges them by shuffles first.  For C = 16 half of
//     v3's lanes idle.
// instances: <float, int, 1>, <float, int, 4>, <float, long long, 1>, <float, long long, 4>,
//            <__half, int, 8>, <__nv_bfloat16, int, 8>
// budget: 56 registers, 17408 B shared
template <typename T, typename Index, int kVector>
__global__ void __launch_bounds__(kThreads, 4) batch_norm_forward_v4_partial(
    const T* __restrict__ x,                   // [M, C]
    accumulator_t<T>* __restrict__ of_mean,    // [C, parts]
    accumulator_t<T>* __restrict__ of_square,  // [C, parts]
    Index M, int C, int parts, Index rows) {
  const int c = (blockIdx.x * blockDim.x + threadIdx.x) * kVector, part = blockIdx.y;
  const Index first = part * rows;
  auto moments = moments_of<kVector>(x, first, first + min(rows, M - first), C, c);
  merge_rows(moments);
  if (threadIdx.y > 0 || c >= C) return;
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    of_mean[static_cast<Index>(c + i) * parts + part] = moments.mean[i];
    of_square[static_cast<Index>(c + i) * parts + part] = moments.square[i];
  }
}

// ---- backward ----

// v1: one thread a channel, as forward_v1: once down the rows for the two sums, once for dx.
// instances: <float, int>, <float, long long>, <double, int>, <__half, int>, <__nv_bfloat16, int>
// budget: 48 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256) batch_norm_backward_v1(
    const T* __restrict__ g,                    // [M, C]
    const T* __restrict__ x,                    // [M, C]
    const accumulator_t<T>* __restrict__ w,     // [C] or null
    const accumulator_t<T>* __restrict__ b,     // [C] or null
    const accumulator_t<T>* __restrict__ mean,  // [C]
    const accumulator_t<T>* __restrict__ var,   // [C]
    T* __restrict__ dx,                         // [M, C]
    accumulator_t<T>* __restrict__ dw,          // [C]
    accumulator_t<T>* __restrict__ db,          // [C]
    Index M, int C, accumulator_t<T> eps, bool relu, bool training) {
  using A = accumulator_t<T>;
  const int c = thread_in_grid<int>();
  if (c >= C) return;
  const auto line = line_of(w, b, mean[c], var[c], c, eps);
  A sum_g = 0, sum_gx = 0;
  for (Index row = 0; row < M; ++row) {
    const A value = load(x[row * C + c]), counts = passed(load(g[row * C + c]), value, line, relu);
    sum_g += counts;
    sum_gx += counts * (value - line.mean);
  }
  sum_gx *= line.scale;
  db[c] = sum_g;
  dw[c] = sum_gx;
  for (Index row = 0; row < M; ++row) {
    const A value = load(x[row * C + c]), counts = passed(load(g[row * C + c]), value, line, relu);
    dx[row * C + c] = store<T>(pulled_back(counts, value, line, sum_gx, sum_g, A(M), training));
  }
}

// v2: 8 times as many threads for the sums, as in forward_v2, and dx by as many as there are elements.
// instances: <float, int>, <float, long long>, <double, int>, <__half, int>, <__nv_bfloat16, int>
// budget: 40 registers, 4096 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(kThreads) batch_norm_backward_v2_sums(
    const T* __restrict__ g,                    // [M, C]
    const T* __restrict__ x,                    // [M, C]
    const accumulator_t<T>* __restrict__ w,     // [C] or null
    const accumulator_t<T>* __restrict__ b,     // [C] or null
    const accumulator_t<T>* __restrict__ mean,  // [C]
    const accumulator_t<T>* __restrict__ var,   // [C]
    accumulator_t<T>* __restrict__ dw,          // [C]
    accumulator_t<T>* __restrict__ db,          // [C]
    Index M, int C, accumulator_t<T> eps, bool relu) {
  const int c = blockIdx.x * blockDim.x + threadIdx.x;
  Line<accumulator_t<T>> lines[1];
  lines_of<1>(w, b, mean, var, C, c, eps, lines);
  auto sums = sums_of<1>(g, x, lines, Index(0), M, C, c, relu);
  merge_rows(sums);
  if (threadIdx.y > 0 || c >= C) return;
  db[c] = sums.g[0];
  dw[c] = sums.gx[0] * lines[0].scale;
}

// v2, its second kernel: one thread an element, as inference_v1.
// instances: <float, int>, <float, long long>, <double, int>, <__half, int>, <__nv_bfloat16, int>
// budget: 32 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256) batch_norm_backward_v2_dx(
    const T* __restrict__ g,                    // [M, C]
    const T* __restrict__ x,                    // [M, C]
    const accumulator_t<T>* __restrict__ w,     // [C] or null
    const accumulator_t<T>* __restrict__ b,     // [C] or null
    const accumulator_t<T>* __restrict__ mean,  // [C]
    const accumulator_t<T>* __restrict__ var,   // [C]
    const accumulator_t<T>* __restrict__ dw,    // [C]
    const accumulator_t<T>* __restrict__ db,    // [C]
    T* __restrict__ dx,                         // [M, C]
    Index M, int C, accumulator_t<T> eps, bool relu, bool training) {
  using A = accumulator_t<T>;
  const Index i = thread_in_grid<Index>();
  if (i >= M * C) return;
  const int c = i % C;
  const auto line = line_of(w, b, mean[c], var[c], c, eps);
  const A value = load(x[i]), counts = passed(load(g[i]), value, line, relu);
  dx[i] = store<T>(pulled_back(counts, value, line, dw[c], db[c], A(M), training));
}

// v3: rows split over `parts` blocks a channel, as in forward_v3.
// instances: <float, int>, <float, long long>, <__half, int>, <__nv_bfloat16, int>
// budget: 40 registers, 2048 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(kThreads) batch_norm_backward_v3_partial(
    const T* __restrict__ g,                    // [M, C]
    const T* __restrict__ x,                    // [M, C]
    const accumulator_t<T>* __restrict__ w,     // [C] or null
    const accumulator_t<T>* __restrict__ b,     // [C] or null
    const accumulator_t<T>* __restrict__ mean,  // [C]
    const accumulator_t<T>* __restrict__ var,   // [C]
    accumulator_t<T>* __restrict__ of_g,        // [C, parts]
    accumulator_t<T>* __restrict__ of_gx,       // [C, parts]
    Index M, int C, int parts, Index rows, accumulator_t<T> eps, bool relu) {
  const int c = blockIdx.x * blockDim.x + threadIdx.x, part = blockIdx.y;
  const Index first = part * rows;
  Line<accumulator_t<T>> lines[1];
  lines_of<1>(w, b, mean, var, C, c, eps, lines);
  auto sums = sums_of<1>(g, x, lines, first, first + min(rows, M - first), C, c, relu);
  merge_rows(sums);
  if (threadIdx.y > 0 || c >= C) return;
  of_g[static_cast<Index>(c) * parts + part] = sums.g[0];
  of_gx[static_cast<Index>(c) * parts + part] = sums.gx[0];
}

// v3, its second kernel: one warp a channel, whose lanes share the parts and add what they have by shuffles.
// instances: <float, int>, <float, long long>
// budget: 48 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256) batch_norm_backward_v3_merge(
    const T* __restrict__ of_g,   // [C, parts]
    const T* __restrict__ of_gx,  // [C, parts]
    const T* __restrict__ var,    // [C]
    T* __restrict__ dw,           // [C]
    T* __restrict__ db,           // [C]
    int C, int parts, T eps) {
  const int thread = thread_in_grid<int>(), c = thread / kWarp, lane = thread % kWarp;
  if (c >= C) return;
  T sum_g = 0, sum_gx = 0;
  for (int part = lane; part < parts; part += kWarp) {
    sum_g += of_g[static_cast<Index>(c) * parts + part];
    sum_gx += of_gx[static_cast<Index>(c) * parts + part];
  }
  sum_g = warp_sum(sum_g);
  sum_gx = warp_sum(sum_gx);
  if (lane > 0) return;
  db[c] = sum_g;
  dw[c] = sum_gx / sqrt(var[c] + eps);
}

// v4: 16 bytes a thread and no idle lanes, as in forward_v4.
// instances: <float, int, 1>, <float, int, 4>, <float, long long, 1>, <float, long long, 4>,
//            <__half, int, 8>, <__nv_bfloat16, int, 8>
// budget: 72 registers, 16384 B shared
template <typename T, typename Index, int kVector>
__global__ void __launch_bounds__(kThreads) batch_norm_backward_v4_partial(
    const T* __restrict__ g,                    // [M, C]
    const T* __restrict__ x,                    // [M, C]
    const accumulator_t<T>* __restrict__ w,     // [C] or null
    const accumulator_t<T>* __restrict__ b,     // [C] or null
    const accumulator_t<T>* __restrict__ mean,  // [C]
    const accumulator_t<T>* __restrict__ var,   // [C]
    accumulator_t<T>* __restrict__ of_g,        // [C, parts]
    accumulator_t<T>* __restrict__ of_gx,       // [C, parts]
    Index M, int C, int parts, Index rows, accumulator_t<T> eps, bool relu) {
  const int c = (blockIdx.x * blockDim.x + threadIdx.x) * kVector, part = blockIdx.y;
  const Index first = part * rows;
  Line<accumulator_t<T>> lines[kVector];
  lines_of<kVector>(w, b, mean, var, C, c, eps, lines);
  auto sums = sums_of<kVector>(g, x, lines, first, first + min(rows, M - first), C, c, relu);
  merge_rows(sums);
  if (threadIdx.y > 0 || c >= C) return;
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    of_g[static_cast<Index>(c + i) * parts + part] = sums.g[i];
    of_gx[static_cast<Index>(c + i) * parts + part] = sums.gx[i];
  }
}

// v4, its last kernel: 16 bytes a thread, which stays with its channels, as inference_v2.  dx is a line in g
//     and x, slope · g + of_x · (x − μ) + constant, with three numbers a channel: 5 FLOPs and no division,
//     where v2_dx has 7, a root and two divisions.
// instances: <float, int, 1>, <float, int, 4>, <float, long long, 1>, <float, long long, 4>,
//            <__half, int, 8>, <__nv_bfloat16, int, 8>
// budget: 64 registers, 0 B shared
template <typename T, typename Index, int kVector>
__global__ void __launch_bounds__(kThreads) batch_norm_backward_v4_dx(
    const T* __restrict__ g,                    // [M, C]
    const T* __restrict__ x,                    // [M, C]
    const accumulator_t<T>* __restrict__ w,     // [C] or null
    const accumulator_t<T>* __restrict__ b,     // [C] or null
    const accumulator_t<T>* __restrict__ mean,  // [C]
    const accumulator_t<T>* __restrict__ var,   // [C]
    const accumulator_t<T>* __restrict__ dw,    // [C]
    const accumulator_t<T>* __restrict__ db,    // [C]
    T* __restrict__ dx,                         // [M, C]
    Index M, int C, accumulator_t<T> eps, bool relu, bool training) {
  using A = accumulator_t<T>;
  const int c = (blockIdx.x * blockDim.x + threadIdx.x) * kVector;
  if (c >= C) return;
  Line<A> lines[kVector];
  lines_of<kVector>(w, b, mean, var, C, c, eps, lines);
  A of_x[kVector], constant[kVector];
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    of_x[i] = training ? -lines[i].slope * lines[i].scale * dw[c + i] / A(M) : A(0);
    constant[i] = training ? -lines[i].slope * db[c + i] / A(M) : A(0);
  }
  for (Index row = blockIdx.y * blockDim.y + threadIdx.y; row < M; row += gridDim.y * blockDim.y) {
    A xs[kVector], gs[kVector];
    load_all<kVector>(x + row * C + c, xs);
    load_all<kVector>(g + row * C + c, gs);
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      const A counts = passed(gs[i], xs[i], lines[i], relu);
      gs[i] = fma(lines[i].slope, counts, fma(of_x[i], xs[i] - lines[i].mean, constant[i]));
    }
    store_all<kVector>(dx + row * C + c, gs);
  }
}
