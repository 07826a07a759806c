// numbers.cuh: neighbouring stored numbers, halves perhaps, as numbers to compute with, and back.
#pragma once

#include "vector.cuh"

template <int kCount, typename T>
__device__ __forceinline__ void load_all(const T* from, accumulator_t<T> (&to)[kCount]) {
  T stored[kCount];
  read<T, kCount>(from, stored);
#pragma unroll
  for (int i = 0; i < kCount; ++i) to[i] = load(stored[i]);
}

template <int kCount, typename T>
__device__ __forceinline__ void store_all(T* to, const accumulator_t<T> (&from)[kCount]) {
  T stored[kCount];
#pragma unroll
  for (int i = 0; i < kCount; ++i) stored[i] = store<T>(from[i]);
  write<T, kCount>(to, stored);
}
