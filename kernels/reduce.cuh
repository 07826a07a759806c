// reduce.cuh: sums over the threads of a warp and of a block, always in the same order.
//
// A warp's 32 lanes hand their values to each other by shuffles, from register to register, without shared
// memory or a barrier.  In a butterfly each lane adds the value of the lane whose number differs in one bit,
// and after log2(32) = 5 steps all of them hold the sum: a + b and b + a have the same bits, so all lanes
// hold the same ones.
#pragma once

#include "common.cuh"

// The sum over a warp, for every lane.  All lanes must call it.
template <typename A>
__device__ __forceinline__ A warp_sum(A value) {
#pragma unroll
  for (int bit = kWarp / 2; bit; bit /= 2) value += __shfl_xor_sync(kAllLanes, value, bit);
  return value;
}

// The sum over a block of whole warps, for every thread.  All threads must call it; of_warps has a place for
// each warp and may be used again after the next barrier.
template <typename A>
__device__ __forceinline__ A block_sum(A value, A* of_warps) {
  const int thread = threadIdx.x, warps = blockDim.x / kWarp;
  value = warp_sum(value);
  if (thread % kWarp == 0) of_warps[thread / kWarp] = value;
  __syncthreads();
  A sum = 0;
  for (int warp = 0; warp < warps; ++warp) sum += of_warps[warp];
  return sum;
}
