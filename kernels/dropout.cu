// dropout.cu: dropout by a counter-based generator of random numbers, so that no mask is kept
//
// Purpose: y = x / (1 − p) where an element is kept, and 0 where it is dropped, with probability p; dx is the
//          same of g.  Whether element i is kept depends on (seed, offset, i) alone, not on the launch:
//          Philox4x32-10 turns the counter (i / 4, offset) under the key seed into four random words, and the
//          word i % 4 must be at least p·2³².  So backward draws the same numbers again instead of reading a
//          mask; an offset gives each call of one seed numbers of its own.
//          Philox is ten rounds of two 32×32→64-bit products, whose halves change places and are mixed with
//          the key: J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC
//          2011, section 5 and the constants of their library Random123.
//          N. Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR
//          2014.
// Shapes:  x, y [n]; counters [count, 4], keys [count, 2], words [count, 4]
// Threads: one an element, or one for 16 bytes of elements.
// Cost:    2·s·n bytes of memory, of elements of s bytes; no mask, which would be n bytes written and n read.
//          About 20 products of 64 bits and 60 other integer operations a counter: n counters in v1, n/4 in
//          v2.
// Versions:
//   philox_v1   the generator by itself, for its known answers
//   dropout_v1  one thread an element, which uses one word of the four
//   dropout_v2  16 bytes a thread, and all four words of a counter
#include "common.cuh"
#include "vector.cuh"

constexpr unsigned kFactor0 = 0xD2511F53u, kFactor1 = 0xCD9E8D57u;    // what a search by the authors found
constexpr unsigned kKeyStep0 = 0x9E3779B9u, kKeyStep1 = 0xBB67AE85u;  // 2³² times 1/the golden ratio, √3 − 1
constexpr int kRounds = 10;

// Four random words of a counter and a key.
__device__ __forceinline__ uint4 philox(uint4 counter, uint2 key) {
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const unsigned high0 = __umulhi(kFactor0, counter.x), low0 = kFactor0 * counter.x;
    const unsigned high1 = __umulhi(kFactor1, counter.z), low1 = kFactor1 * counter.z;
    counter = make_uint4(high1 ^ counter.y ^ key.x, low1, high0 ^ counter.w ^ key.y, low0);
    key = make_uint2(key.x + kKeyStep0, key.y + kKeyStep1);
  }
  return counter;
}

// The words of elements 4·quad to 4·quad + 3.
__device__ __forceinline__ uint4 words_of(
    unsigned long long quad, unsigned long long seed, unsigned long long offset) {
  const uint4 counter = make_uint4(static_cast<unsigned>(quad), static_cast<unsigned>(quad >> 32),
                                   static_cast<unsigned>(offset), static_cast<unsigned>(offset >> 32));
  return philox(counter, make_uint2(static_cast<unsigned>(seed), static_cast<unsigned>(seed >> 32)));
}

__device__ __forceinline__ unsigned word_of(uint4 words, int i) {
  return i == 0 ? words.x : i == 1 ? words.y : i == 2 ? words.z : words.w;
}

// A selection, not a product: a dropped infinity is 0.  `dropped` of the 2³² words drop, perhaps all of them.
template <typename T>
__device__ __forceinline__ T kept(T x, unsigned word, unsigned long long dropped, accumulator_t<T> scale) {
  return word >= dropped ? store<T>(load(x) * scale) : store<T>(accumulator_t<T>(0));
}

// v1: the generator, one counter a thread.
// instances: <unsigned, int>, <unsigned, long long>
// budget: 24 registers, 0 B shared
template <typename W, typename Index>
__global__ void __launch_bounds__(256) philox_v1(const W* __restrict__ counters,  // [count, 4]
                                                 const W* __restrict__ keys,      // [count, 2]
                                                 W* __restrict__ words,           // [count, 4]
                                                 Index count) {
  const Index i = thread_in_grid<Index>();
  if (i >= count) return;
  const W* counter = counters + 4 * i;
  const uint4 found = philox(make_uint4(counter[0], counter[1], counter[2], counter[3]),
                             make_uint2(keys[2 * i], keys[2 * i + 1]));
#pragma unroll
  for (int j = 0; j < 4; ++j) words[4 * i + j] = word_of(found, j);
}

// v1: one thread an element.  Four neighbours compute the same four words, and each uses one of them: some 80
//     integer instructions an element, enough to be what the kernel waits for, and not the memory.
// instances: <float, int>, <float, long long>, <double, int>, <__half, int>, <__nv_bfloat16, int>
// budget: 24 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256) dropout_v1(const T* x,  // [n]
                                                  T* y,        // [n]; may be x
                                                  Index n, unsigned long long seed, unsigned long long offset,
                                                  unsigned long long dropped, accumulator_t<T> scale) {
  const Index i = thread_in_grid<Index>();
  if (i >= n) return;
  y[i] = kept(x[i], word_of(words_of(i / 4, seed, offset), i % 4), dropped, scale);
}

// v2: 16 bytes a thread, and every word used: a quarter of v1's generators, and a quarter (of halves, an
//     eighth) of its loads and stores.  What is left after the last whole 16 bytes goes to the last thread,
//     one by one.
// instances: <float, int, 4>, <float, long long, 4>, <__half, int, 8>, <__nv_bfloat16, int, 8>
// budget: 32 registers, 0 B shared
template <typename T, typename Index, int kVector>
__global__ void __launch_bounds__(256) dropout_v2(const T* x,  // [n]
                                                  T* y,        // [n]; may be x
                                                  Index n, unsigned long long seed, unsigned long long offset,
                                                  unsigned long long dropped, accumulator_t<T> scale) {
  const Index first = kVector * thread_in_grid<Index>();
  if (first >= n) return;
  const bool whole = first + kVector <= n;
  T values[kVector];
  if (whole) read<T, kVector>(x + first, values);
#pragma unroll
  for (int i = 0; i < kVector; i += 4) {
    const uint4 words = words_of((first + i) / 4, seed, offset);
#pragma unroll
    for (int j = i; j < i + 4; ++j) {
      if (whole) values[j] = kept(values[j], word_of(words, j % 4), dropped, scale);
      else if (first + j < n) y[first + j] = kept(x[first + j], word_of(words, j % 4), dropped, scale);
    }
  }
  if (whole) write<T, kVector>(y + first, values);
}
