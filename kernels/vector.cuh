// vector.cuh: neighbouring numbers that are moved together, up to 16 bytes by one instruction.
//
// A warp that moves one float a thread needs four times the instructions, and keeps a quarter of the bytes in
// flight, of one that moves four.  The address must be a multiple of what one instruction moves: arrays are,
// and so is every kCount-th number of one whose rows are a multiple of kCount long.
#pragma once

#include "common.cuh"

template <typename T, int kCount>
struct alignas(sizeof(T) * kCount) Vector {
  T at[kCount];
};

// How many of kCount numbers one instruction moves.
template <typename T, int kCount>
constexpr int kMoved = sizeof(T) * kCount <= 16 ? kCount : static_cast<int>(16 / sizeof(T));

template <typename T, int kCount>
__device__ __forceinline__ void read(const T* from, T (&to)[kCount]) {
  constexpr int kPiece = kMoved<T, kCount>;
#pragma unroll
  for (int i = 0; i < kCount; i += kPiece) {
    const Vector<T, kPiece> moved = *reinterpret_cast<const Vector<T, kPiece>*>(from + i);
#pragma unroll
    for (int j = 0; j < kPiece; ++j) to[i + j] = moved.at[j];
  }
}

template <typename T, int kCount>
__device__ __forceinline__ void write(T* to, const T (&from)[kCount]) {
  constexpr int kPiece = kMoved<T, kCount>;
#pragma unroll
  for (int i = 0; i < kCount; i += kPiece) {
    Vector<T, kPiece> moved;
#pragma unroll
    for (int j = 0; j < kPiece; ++j) moved.at[j] = from[i + j];
    *reinterpret_cast<Vector<T, kPiece>*>(to + i) = moved;
  }
}

// The same as numbers to compute with: what is stored as halves becomes floats, and back.
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
