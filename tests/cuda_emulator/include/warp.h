// warp.h: what the lanes of a warp do together.
//
// Every lane named in the mask must come, with the same mask, to the same line.  A lane that reads from
// another outside the mask, or calls with a mask that leaves itself out, is an error.
#pragma once

namespace emulator {

inline void check_width(const char* name, int width, Where where) {
  if (width < 1 || width > kLanes || (width & (width - 1)) != 0) {
    fail("invalid width", where, "%s: width must be a power of two from 1 to 32, got %d", name, width);
  }
}

template <typename T>
T shuffle(const char* name, unsigned mask, T value, int source, Where where) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
  T result;
  warp_shuffle(name, mask, source, &value, &result, sizeof(T), where);
  return result;
}

// The values of all lanes; those outside the mask are zero.
template <typename T>
void gather(const char* name, unsigned mask, const T& mine, T (&all)[kLanes], Where where) {
  static_assert(std::is_trivially_copyable_v<T>, "lanes exchange plain bytes");
  warp_gather(name, mask, &mine, all, sizeof(T), where);
}

// As gather, for a whole warp: for the emulated bodies of instructions such as mma.sync and ldmatrix.
template <typename T>
void all_lanes(const T& mine, T (&all)[kLanes], Where where = Where::here()) {
  gather("all_lanes", 0xffffffffu, mine, all, where);
}

inline unsigned ballot(const char* name, unsigned mask, int predicate, Where where) {
  bool all[kLanes];
  gather(name, mask, predicate != 0, all, where);
  unsigned votes = 0;
  for (int i = 0; i < kLanes; ++i) votes |= unsigned(all[i]) << i;
  return votes;
}

template <typename T, typename Join>
T reduce(const char* name, unsigned mask, T value, T neutral, Join join, Where where) {
  T all[kLanes];
  gather(name, mask, value, all, where);
  T total = neutral;
  for (int i = 0; i < kLanes; ++i) {
    if (mask >> i & 1) total = join(total, all[i]);
  }
  return total;
}

}  // namespace emulator

inline void __syncwarp(unsigned mask = 0xffffffffu, emulator::Where where = emulator::Where::here()) {
  emulator::warp_barrier(mask, where);
}

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32,
              emulator::Where where = emulator::Where::here()) {
  emulator::check_width("__shfl_sync", width, where);
  const int from = (emulator::lane() & ~(width - 1)) | (source & (width - 1));
  return emulator::shuffle("__shfl_sync", mask, value, from, where);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 emulator::Where where = emulator::Where::here()) {
  emulator::check_width("__shfl_up_sync", width, where);
  const int lane = emulator::lane();
  const int from = (unsigned)(lane & (width - 1)) < delta ? lane : lane - (int)delta;
  return emulator::shuffle("__shfl_up_sync", mask, value, from, where);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   emulator::Where where = emulator::Where::here()) {
  emulator::check_width("__shfl_down_sync", width, where);
  const int lane = emulator::lane();
  const bool beyond = delta >= unsigned(width - (lane & (width - 1)));
  const int from = beyond ? lane : lane + int(delta);
  return emulator::shuffle("__shfl_down_sync", mask, value, from, where);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32,
                  emulator::Where where = emulator::Where::here()) {
  emulator::check_width("__shfl_xor_sync", width, where);
  const int lane = emulator::lane();
  const int other = lane ^ (lane_mask & (emulator::kLanes - 1));
  const int from = other > (lane | (width - 1)) ? lane : other;  // never from a later segment, as in CUDA
  return emulator::shuffle("__shfl_xor_sync", mask, value, from, where);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, emulator::Where where = emulator::Where::here()) {
  return emulator::ballot("__ballot_sync", mask, predicate, where);
}
inline int __any_sync(unsigned mask, int predicate, emulator::Where where = emulator::Where::here()) {
  return emulator::ballot("__any_sync", mask, predicate, where) != 0;
}
inline int __all_sync(unsigned mask, int predicate, emulator::Where where = emulator::Where::here()) {
  return emulator::ballot("__all_sync", mask, !predicate, where) == 0;
}
template <typename T>
unsigned __match_any_sync(unsigned mask, T value, emulator::Where where = emulator::Where::here()) {
  T all[emulator::kLanes];
  emulator::gather("__match_any_sync", mask, value, all, where);
  unsigned same = 0;
  for (int i = 0; i < emulator::kLanes; ++i) same |= unsigned((mask >> i & 1) && all[i] == value) << i;
  return same;
}
template <typename T>
T __reduce_add_sync(unsigned mask, T value, emulator::Where where = emulator::Where::here()) {
  const auto add = [](T a, T b) { return emulator::wrapping_add(a, b); };
  return emulator::reduce("__reduce_add_sync", mask, value, T(0), add, where);
}
template <typename T>
T __reduce_max_sync(unsigned mask, T value, emulator::Where where = emulator::Where::here()) {
  const auto larger = [](T a, T b) { return a < b ? b : a; };
  return emulator::reduce("__reduce_max_sync", mask, value, value, larger, where);
}
template <typename T>
T __reduce_min_sync(unsigned mask, T value, emulator::Where where = emulator::Where::here()) {
  const auto smaller = [](T a, T b) { return b < a ? b : a; };
  return emulator::reduce("__reduce_min_sync", mask, value, value, smaller, where);
}
// The lanes that happen to be together: here each is alone, which CUDA allows, too.
inline unsigned __activemask() { return 1u << emulator::lane(); }
