// runtime.h: what kernels ask of the runtime (../runtime/), which is compiled apart and never instrumented.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <type_traits>

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};

#ifndef EMULATOR_RUNTIME  // the runtime sets these at every switch of fibers; to a kernel they are constants
extern const uint3 threadIdx;
extern const uint3 blockIdx;
extern const dim3 blockDim;
extern const dim3 gridDim;
constexpr int warpSize = 32;
#endif

namespace emulator {

constexpr int kLanes = 32;

// A place in the source: where a function with a last parameter `Where where = Where::here()` was called.
struct Where {
  const char* file;
  int line;
  static constexpr Where here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

// Ends the run with an error for the calling thread.
[[noreturn]] void fail(const char* kind, Where where, const char* format, ...)
    __attribute__((format(printf, 3, 4)));

// Barriers of the block; each returns for how many of its threads `predicate` held.
int block_barrier(const char* name, int predicate, Where where);

// Meetings of the lanes in `mask`.  Only the barrier orders memory, as in CUDA.
void warp_barrier(unsigned mask, Where where);
void warp_shuffle(const char* name, unsigned mask, int source_lane, const void* mine, void* result, int size,
                  Where where);
void warp_gather(const char* name, unsigned mask, const void* mine, void* all, int size, Where where);
int lane();

void fence();  // orders the calling thread after all fences before it

// The shared memory of a block.  A slot stands for one `__shared__` declaration.
struct SharedSlot {
  const char* name;
  Where where;
  void* memory = nullptr;
  unsigned long long block = 0;  // the block that memory was last filled for
  constexpr SharedSlot(const char* name, Where where = Where::here()) : name(name), where(where) {}
};
void* shared_memory(SharedSlot& slot, size_t size, size_t item, size_t alignment);
void* dynamic_shared_memory(const char* name, size_t item);

template <typename T>
T& shared(SharedSlot& slot, size_t alignment = alignof(T)) {
  return *static_cast<T*>(shared_memory(slot, sizeof(T), sizeof(std::remove_all_extents_t<T>), alignment));
}

// cp.async: copies `bytes` (4, 8 or 16) from global to shared memory at some time before the copy_wait that
// covers them; after the first `valid_bytes`, zeros are written instead.
void copy_async(void* shared, const void* global, int bytes, int valid_bytes, Where where = Where::here());
void copy_commit(Where where = Where::here());
void copy_wait(int groups_left_pending, Where where = Where::here());

// What the server tells of a kernel's parameters.
struct Parameter {
  char kind;      // f, i, u, b (bool), h (half), B (bfloat16), S (struct), v (void)
  bool pointer;   // kind and size are then those of its elements
  bool constant;  // the elements are const
  int size;
  int alignment;
};

struct Kernel {
  const char* name;
  void (*function)();
  void (*call)(void (*function)(), void* const* arguments);  // casts the two back, and calls
  const Parameter* parameters;
  int parameter_count;
};

extern const Kernel kernels[];
extern const int kernel_count;

}  // namespace emulator

inline void __syncthreads(emulator::Where where = emulator::Where::here()) {
  emulator::block_barrier("__syncthreads", 0, where);
}
inline int __syncthreads_count(int predicate, emulator::Where where = emulator::Where::here()) {
  return emulator::block_barrier("__syncthreads_count", predicate, where);
}
inline int __syncthreads_or(int predicate, emulator::Where where = emulator::Where::here()) {
  return emulator::block_barrier("__syncthreads_or", predicate, where) != 0;
}
inline int __syncthreads_and(int predicate, emulator::Where where = emulator::Where::here()) {
  return emulator::block_barrier("__syncthreads_and", !predicate, where) == 0;
}
inline void __threadfence() { emulator::fence(); }
inline void __threadfence_block() { emulator::fence(); }
inline void __threadfence_system() { emulator::fence(); }
