// softmax_cross_entropy.cu: the cross entropy of logits against class numbers, and its gradient
//
// Purpose: with the label t of row n, class weights w, label smoothing s and C classes, class c counts for
//
//            a_c = w_c ((1 − s) [c = t] + s/C),   and for nothing in a row whose label is to be ignored;
//            loss_n = −Σ_c a_c ln p_c,   dz_c = g_n (p_c Σ a − a_c),   p = softmax(z).
//
//          g_n is ∂L/∂loss_n; for the mean, which is weighted, 1 / Σ_n w_t over the labels that count.  A
//          class with a_c = 0 adds nothing, even if p_c is 0.  A label outside [0, C) makes its row's loss
//          and gradient NaN, for a kernel cannot raise an error.
//          ln p_c = (z_c − max) − ln Σ exp(z_c − max), so that no power overflows, and in this order: beside
//          a large maximum the logarithm would lose its digits.  From v2 on one pass finds maximum and sum,
//          and shrinks the sum whenever it meets a larger maximum (M. Milakov, N. Gimelshein, "Online
//          normalizer calculation for softmax", 2018).
// Shapes:  z, dz [N, C]; target [N]; weight [C]; totals [2]: Σ_n w_t, Σ_c w_c; loss, g [N]; result [1]
// Threads: a row to a thread, then to a warp, then to a block.
// Cost:    with elements of s bytes about 8·N·C FLOPs, 2·N·C exponentials, and bytes of memory 4·s·N·C (v1: z
//          three times, dz) or 3·s·N·C (from v2 on: z twice, dz), of which a row that stays in the cache
//          saves the later readings: 2·s·N·C.
// Versions:
//   softmax_cross_entropy_v1_totals  first: what the labels and the classes weigh together
//   softmax_cross_entropy_v1         one thread a row
//   softmax_cross_entropy_v1_reduce  last: the sum or the mean of the losses
//   softmax_cross_entropy_v2         one warp a row, maximum and sum in one pass
//   softmax_cross_entropy_v3         one block a row, 16 bytes a thread
#include <math_constants.h>

#include "common.cuh"
#include "reduce.cuh"
#include "vector.cuh"

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

// exp(z − top), and 1 where both are the same infinity.
template <typename A>
__device__ __forceinline__ A shrunk(A z, A top) {
  return z == top ? A(1) : exp(z - top);
}

// The maximum of some logits, and Σ exp(z − maximum).
template <typename A>
struct Online {
  A top, sum;

  __device__ void add(A z) { merge({z, A(1)}); }

  // A logit that is NaN is never a maximum, but makes the sum NaN.
  __device__ void merge(const Online& other) {
    const A larger = other.top > top ? other.top : top;
    sum = sum * shrunk(top, larger) + other.sum * shrunk(other.top, larger);
    top = larger;
  }
};

template <typename A>
__device__ __forceinline__ Online<A> nothing_yet() {
  return {-A(CUDART_INF_F), A(0)};
}

// The same for a warp: every lane gets what lane 0 found.
template <typename A>
__device__ __forceinline__ Online<A> warp_online(Online<A> online) {
#pragma unroll
  for (int lanes = kWarp / 2; lanes; lanes /= 2)
    online.merge({__shfl_down_sync(kAllLanes, online.top, lanes),
                  __shfl_down_sync(kAllLanes, online.sum, lanes)});
  return {__shfl_sync(kAllLanes, online.top, 0), __shfl_sync(kAllLanes, online.sum, 0)};
}

// How much the classes count for one row: a_c = w_c · (base + [c = label] · peak).
template <typename A>
struct Label {
  long long at;
  A base, peak, total;  // total = Σ a_c
  const A* weight;

  // p_c Σ a − a_c of a class whose probability has this logarithm; what it costs, −a_c ln p_c, is added to
  // `loss`.
  __device__ A pull(A log_p, int c, A& loss) const {
    const A a = (weight ? weight[c] : A(1)) * (c == at ? base + peak : base);
    if (a != A(0)) loss -= a * log_p;
    return exp(log_p) * total - a;
  }
};

template <typename A>
__device__ __forceinline__ A weight_of(long long label, const A* weight, int C, long long ignore_index) {
  if (label == ignore_index) return A(0);
  if (label < 0 || label >= C) return A(CUDART_NAN_F);
  return weight ? weight[label] : A(1);
}

template <typename A>
__device__ __forceinline__ Label<A> label_of(long long label, const A* weight, const A* totals, int C,
                                             long long ignore_index, A smoothing) {
  const bool wrong = label != ignore_index && (label < 0 || label >= C);
  const A counts = label == ignore_index ? A(0) : wrong ? A(CUDART_NAN_F) : A(1);
  const A base = counts * smoothing / A(C), peak = counts * (A(1) - smoothing);
  const A total = base * totals[1] + peak * weight_of(label, weight, C, ignore_index);
  return {label, base, peak, total, weight};
}

// What the row's loss is multiplied by in the result.
template <typename A, typename Index>
__device__ __forceinline__ A upstream(const A* g, const A* totals, Index row, bool mean) {
  return mean ? A(1) / totals[0] : g ? g[row] : A(1);
}

// v1: one block, always in the same order: Σ_n w_t and Σ_c w_c.
// instances: <float, long long, int>, <float, int, int>, <float, long long, long long>,
//            <double, long long, int>
// budget: 32 registers, 128 B shared
template <typename T, typename L, typename Index>
__global__ void __launch_bounds__(kThreads) softmax_cross_entropy_v1_totals(
    const L* __restrict__ target,  // [N]
    const T* __restrict__ weight,  // [C] or null
    T* __restrict__ totals,        // [2]
    Index N, int C, long long ignore_index) {
  __shared__ T of_labels[kWarps];
  __shared__ T of_classes[kWarps];
  T labels = 0, classes = 0;
  for (Index row = threadIdx.x; row < N; row += kThreads)
    labels += weight_of(target[row], weight, C, ignore_index);
  for (int c = threadIdx.x; c < C; c += kThreads) classes += weight ? weight[c] : T(1);
  labels = block_sum(labels, of_labels);
  classes = block_sum(classes, of_classes);
  if (threadIdx.x > 0) return;
  totals[0] = labels;
  totals[1] = classes;
}

// v1: one thread a row passes along it for the maximum, for the sum, and for loss and gradient.  The threads
//     of a warp are C logits apart: each load of a warp touches 32 sectors of 32 bytes for 4 bytes of each.
// instances: <float, long long, int>, <float, int, int>, <float, long long, long long>,
//            <double, long long, int>, <__half, long long, int>, <__nv_bfloat16, long long, int>
// budget: 48 registers, 0 B shared
template <typename T, typename L, typename Index>
__global__ void __launch_bounds__(256) softmax_cross_entropy_v1(
    const T* __restrict__ z,                      // [N, C]
    const L* __restrict__ target,                 // [N]
    const accumulator_t<T>* __restrict__ weight,  // [C] or null
    const accumulator_t<T>* __restrict__ totals,  // [2]
    const accumulator_t<T>* __restrict__ g,       // [N] or null
    accumulator_t<T>* __restrict__ loss,          // [N]
    T* __restrict__ dz,                           // [N, C] or null
    Index N, int C, long long ignore_index, accumulator_t<T> smoothing, bool mean) {
  using A = accumulator_t<T>;
  const Index row = thread_in_grid<Index>();
  if (row >= N) return;
  const T* logits = z + row * C;
  A top = -A(CUDART_INF_F), sum = 0, lost = 0;
  for (int c = 0; c < C; ++c) top = max(top, load(logits[c]));
  for (int c = 0; c < C; ++c) sum += shrunk(load(logits[c]), top);
  const A log_sum = log(sum), factor = upstream(g, totals, row, mean);
  const auto label = label_of(target[row], weight, totals, C, ignore_index, smoothing);
  for (int c = 0; c < C; ++c) {
    const A pull = label.pull(load(logits[c]) - top - log_sum, c, lost);
    if (dz) dz[row * C + c] = store<T>(factor * pull);
  }
  loss[row] = lost;
}

// v1, its last kernel: one block adds the losses, always in the same order.
// instances: <float, int>, <float, long long>, <double, int>
// budget: 32 registers, 64 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(kThreads) softmax_cross_entropy_v1_reduce(
    const T* __restrict__ loss,    // [N]
    const T* __restrict__ totals,  // [2]
    T* __restrict__ result,        // [1]
    Index N, bool mean) {
  __shared__ T of_warps[kWarps];
  T sum = 0;
  for (Index row = threadIdx.x; row < N; row += kThreads) sum += loss[row];
  sum = block_sum(sum, of_warps);
  if (threadIdx.x == 0) result[0] = mean ? sum / totals[0] : sum;
}

// v2: one warp a row: 32 neighbouring logits a load, 4 sectors where v1 touches 32, and the row is read
//     twice, not three times, for maximum and sum are found together.  Each lane keeps its own; shuffles
//     merge them at the end.
// instances: <float, long long, int>, <float, int, int>, <float, long long, long long>,
//            <double, long long, int>, <__half, long long, int>, <__nv_bfloat16, long long, int>
// budget: 64 registers, 0 B shared
template <typename T, typename L, typename Index>
__global__ void __launch_bounds__(256, 4) softmax_cross_entropy_v2(
    const T* __restrict__ z,                      // [N, C]
    const L* __restrict__ target,                 // [N]
    const accumulator_t<T>* __restrict__ weight,  // [C] or null
    const accumulator_t<T>* __restrict__ totals,  // [2]
    const accumulator_t<T>* __restrict__ g,       // [N] or null
    accumulator_t<T>* __restrict__ loss,          // [N]
    T* __restrict__ dz,                           // [N, C] or null
    Index N, int C, long long ignore_index, accumulator_t<T> smoothing, bool mean) {
  using A = accumulator_t<T>;
  const int lane = threadIdx.x % kWarp;
  const Index row = thread_in_grid<Index>() / kWarp;
  if (row >= N) return;
  const T* logits = z + row * C;
  auto online = nothing_yet<A>();
  for (int c = lane; c < C; c += kWarp) online.add(load(logits[c]));
  online = warp_online(online);
  const A log_sum = log(online.sum), factor = upstream(g, totals, row, mean);
  const auto label = label_of(target[row], weight, totals, C, ignore_index, smoothing);
  A lost = 0;
  for (int c = lane; c < C; c += kWarp) {
    const A pull = label.pull(load(logits[c]) - online.top - log_sum, c, lost);
    if (dz) dz[row * C + c] = store<T>(factor * pull);
  }
  lost = warp_sum(lost);
  if (lane == 0) loss[row] = lost;
}

// v3: one block a row: a batch of 256 keeps 256 blocks busy, where v2 makes 32, fewer than an H100's 132
//     multiprocessors.  16 bytes a thread, and the sum is shrunk once for 4 logits (8 halves), not for each:
//     6 exponentials where v2 takes 8 (10 for 16).  C must be a multiple of kVector.
// instances: <float, long long, int, 1>, <float, long long, int, 4>, <float, int, int, 1>,
//            <float, int, int, 4>, <float, long long, long long, 1>, <float, long long, long long, 4>,
//            <__half, long long, int, 8>, <__nv_bfloat16, long long, int, 8>
// budget: 40 registers, 96 B shared
template <typename T, typename L, typename Index, int kVector>
__global__ void __launch_bounds__(kThreads, 6) softmax_cross_entropy_v3(
    const T* __restrict__ z,                      // [N, C]
    const L* __restrict__ target,                 // [N]
    const accumulator_t<T>* __restrict__ weight,  // [C] or null
    const accumulator_t<T>* __restrict__ totals,  // [2]
    const accumulator_t<T>* __restrict__ g,       // [N] or null
    accumulator_t<T>* __restrict__ loss,          // [N]
    T* __restrict__ dz,                           // [N, C] or null
    Index N, int C, long long ignore_index, accumulator_t<T> smoothing, bool mean) {
  using A = accumulator_t<T>;
  __shared__ A tops[kWarps];
  __shared__ A sums[kWarps];
  __shared__ A losses[kWarps];
  const int thread = threadIdx.x, warp = thread / kWarp;
  const Index row = blockIdx.x;
  const T* logits = z + row * C;
  auto online = nothing_yet<A>();
  for (int c = thread * kVector; c < C; c += kThreads * kVector) {
    A values[kVector];
    load_all<kVector>(logits + c, values);
    Online<A> some = {values[0], A(0)};
#pragma unroll
    for (int i = 1; i < kVector; ++i) some.top = max(some.top, values[i]);
#pragma unroll
    for (int i = 0; i < kVector; ++i) some.sum += shrunk(values[i], some.top);
    online.merge(some);
  }
  online = warp_online(online);
  if (thread % kWarp == 0) {
    tops[warp] = online.top;
    sums[warp] = online.sum;
  }
  __syncthreads();
  online = nothing_yet<A>();
  for (int i = 0; i < kWarps; ++i) online.merge({tops[i], sums[i]});
  const A log_sum = log(online.sum), factor = upstream(g, totals, row, mean);
  const auto label = label_of(target[row], weight, totals, C, ignore_index, smoothing);
  A lost = 0;
  for (int c = thread * kVector; c < C; c += kThreads * kVector) {
    A values[kVector];
    load_all<kVector>(logits + c, values);
#pragma unroll
    for (int i = 0; i < kVector; ++i)
      values[i] = factor * label.pull(values[i] - online.top - log_sum, c + i, lost);
    if (dz) store_all<kVector>(dz + row * C + c, values);
  }
  lost = block_sum(lost, losses);
  if (thread == 0) loss[row] = lost;
}
