// shared.h: the shared memory of a block: each array on its own, of exactly its size, full of NaN.
#pragma once

#include <algorithm>

#include "report.h"
#include "threads.h"

namespace emulator {

constexpr size_t kMostStatic = 48 << 10;   // bytes of one block: what every device has
constexpr size_t kMostShared = 227 << 10;  // what the largest has, dynamic memory included

struct SharedArray {
  char* memory;
  size_t size;
  const char* name;
  uint32_t item;  // bytes of an element
};

inline std::vector<SharedArray> shared_arrays;  // of the block that runs
inline size_t static_bytes = 0;                 // of the block that runs

#ifdef EMULATOR_THREADS
// ThreadSanitizer remembers accesses by address, and nothing orders one block after another: so within a
// launch no address is used twice.
class Arena {
 public:
  char* take(size_t size, size_t alignment) {
    next_ = (next_ + alignment - 1) / alignment * alignment;
    if (chunks_.empty() || next_ + size > kChunk) {
      const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
      void* pages = mmap(nullptr, kChunk, PROT_READ | PROT_WRITE, flags, -1, 0);
      if (pages == MAP_FAILED) abort();
      chunks_.push_back(static_cast<char*>(pages));
      next_ = 0;
    }
    next_ += size;
    return chunks_.back() + next_ - size;
  }
  void clear() {
    for (char* chunk : chunks_) munmap(chunk, kChunk);
    chunks_.clear();
  }

 private:
  static constexpr size_t kChunk = 1 << 20;
  std::vector<char*> chunks_;
  size_t next_ = 0;
};
inline Arena arena;
#endif

// Blocks run one after another, so the next one may have the same memory: but never with its contents.
inline void* fresh_memory(void* old, size_t size, size_t alignment) {
  alignment = std::max<size_t>(alignment, 16);
#ifdef EMULATOR_THREADS
  (void)old;
  void* memory = arena.take(size, alignment);
#else
  void* memory = old;
  if (!memory && posix_memalign(&memory, alignment, size)) abort();
#endif
  fill_unseen(memory, 0xff, size);
  return memory;
}

inline std::vector<SharedSlot*> used_slots;  // in this launch

void* shared_memory(SharedSlot& slot, size_t size, size_t item, size_t alignment) {
  if (slot.block == block->serial) return slot.memory;
  const Unseen unseen;
  if (!slot.memory) used_slots.push_back(&slot);
  slot.memory = fresh_memory(slot.memory, size, alignment);
  slot.block = block->serial;
  static_bytes += size;
  if (static_bytes > kMostStatic) {
    fail("shared memory", slot.where, "the block's static shared memory, %zu bytes with %s, exceeds %zu",
         static_bytes, slot.name, kMostStatic);
  }
  if (static_bytes + launch.shared_bytes > kMostShared) {
    fail("shared memory", slot.where, "the block's shared memory, %zu bytes and %zu dynamic, exceeds %zu",
         static_bytes, launch.shared_bytes, kMostShared);
  }
  shared_arrays.push_back({static_cast<char*>(slot.memory), size, slot.name, static_cast<uint32_t>(item)});
  return slot.memory;
}

inline SharedSlot dynamic_slot("dynamic shared memory", Where{"", 0});

void* dynamic_shared_memory(const char* name, size_t item) {
  if (dynamic_slot.block == block->serial) return dynamic_slot.memory;
  const Unseen unseen;
  if (!dynamic_slot.memory) used_slots.push_back(&dynamic_slot);
  dynamic_slot.memory = fresh_memory(dynamic_slot.memory, launch.shared_bytes, 16);
  dynamic_slot.block = block->serial;
  shared_arrays.push_back(
      {static_cast<char*>(dynamic_slot.memory), launch.shared_bytes, name, static_cast<uint32_t>(item)});
  return dynamic_slot.memory;
}

inline void forget_shared_of_block() {
  shared_arrays.clear();
  static_bytes = 0;
}

inline void free_shared_of_launch() {
  for (SharedSlot* slot : used_slots) {
#ifndef EMULATOR_THREADS
    free(slot->memory);
#endif
    slot->memory = nullptr;
  }
  used_slots.clear();
#ifdef EMULATOR_THREADS
  arena.clear();
#endif
}

inline bool is_shared(const void* address, size_t bytes) {
  const char* first = static_cast<const char*>(address);
  return std::any_of(shared_arrays.begin(), shared_arrays.end(), [&](const SharedArray& array) {
    return first >= array.memory && first + bytes <= array.memory + array.size;
  });
}

}  // namespace emulator
