// traffic.h: every access to global and shared memory, with the instruction that made it.
//
// The kernels are instrumented as for ThreadSanitizer, but the calls that this inserts end here.  A warp
// access is the k-th execution of one instruction by each of its lanes.  ../traffic.py counts the bytes,
// sectors and conflicts.
#pragma once

#include "messages.h"
#include "shared.h"

#ifndef EMULATOR_TRAFFIC

namespace emulator {

inline void begin_counting() {}
inline void count_global(const void*, size_t) {}
inline void count_copy(const Copy&) {}
inline void end_counting_block() {}
inline void send_counts() {}

}  // namespace emulator

#else

#include <map>
#include <tuple>

extern "C" const char __executable_start;

namespace emulator {

struct WarpAccess {
  uint64_t instruction;  // in the executable; or, for a cp.async, its place in `lines`, the highest bit set
  uint64_t block;
  uint32_t warp;
  int32_t array;  // of the launch's arrays; or, if negative, -1 - its place in `shared_names`
  uint32_t size;  // of each lane's access
  uint32_t written;
  uint32_t lanes;  // that took part
  uint32_t item;   // bytes of an element of a shared array
  uint64_t offsets[kLanes];
};

struct Region {
  const char* memory;
  size_t size;
};

inline std::vector<Region> global_arrays;
inline std::vector<std::string> shared_names, lines;
inline std::vector<WarpAccess> accesses;

using Instruction = uint64_t;
inline std::map<std::pair<Instruction, int>, int> executions;       // by a thread of the block
inline std::map<std::tuple<Instruction, int, int>, size_t> places;  // of the k-th by a warp, among `accesses`

inline void begin_counting() {
  global_arrays.clear();
  shared_names.clear();
  lines.clear();
  accesses.clear();
}

inline void count_global(const void* memory, size_t size) {
  global_arrays.push_back({static_cast<const char*>(memory), size});
}

inline void end_counting_block() {
  executions.clear();
  places.clear();
}

inline int number_of(std::vector<std::string>& names, const std::string& name) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found != names.end()) return static_cast<int>(found - names.begin());
  names.push_back(name);
  return static_cast<int>(names.size()) - 1;
}

// Fills in which array an address is in; false if in none, as what lies on a stack.
inline bool locate(const char* address, WarpAccess& access, uint64_t& offset) {
  for (size_t i = 0; i < global_arrays.size(); ++i) {
    const Region& region = global_arrays[i];
    if (address < region.memory || address >= region.memory + region.size) continue;
    access.array = static_cast<int32_t>(i);
    offset = address - region.memory;
    return true;
  }
  for (const SharedArray& array : shared_arrays) {
    if (address < array.memory || address >= array.memory + array.size) continue;
    access.array = -1 - number_of(shared_names, array.name);
    access.item = array.item;
    offset = address - array.memory;
    return true;
  }
  return false;
}

inline void count_access(const void* address, size_t size, bool written, Instruction instruction) {
  WarpAccess access{};
  uint64_t offset;
  if (!block || !locate(static_cast<const char*>(address), access, offset)) return;
  const int execution = executions[{instruction, current->number}]++;
  const auto [place, is_new] = places.try_emplace({instruction, execution, current->warp()}, accesses.size());
  if (is_new) {
    access.instruction = instruction;
    access.block = block->number;
    access.warp = current->warp();
    access.size = static_cast<uint32_t>(size);
    access.written = written;
    accesses.push_back(access);
  }
  accesses[place->second].lanes |= 1u << current->lane();
  accesses[place->second].offsets[current->lane()] = offset;
}

inline void count_copy(const Copy& copy) {
  const std::string line = std::string(copy.where.file) + ":" + std::to_string(copy.where.line);
  const Instruction instruction = 1ull << 63 | uint64_t(number_of(lines, line)) << 1;
  if (copy.valid_bytes > 0) count_access(copy.global, copy.valid_bytes, false, instruction);
  count_access(copy.shared, copy.bytes, true, instruction | 1);
}

inline void send_counts() {
  for (const auto* names : {&shared_names, &lines}) {
    std::string text;
    for (const std::string& name : *names) text += name + "\n";
    write_text(text);
  }
  const uint32_t count = static_cast<uint32_t>(accesses.size());
  write_all(&count, sizeof count);
  write_all(accesses.data(), count * sizeof(WarpAccess));
}

inline Instruction instruction_before(const void* return_address) {
  return static_cast<const char*>(return_address) - &__executable_start - 1;
}

}  // namespace emulator

// --- What the compiler's instrumentation calls

#define EMULATOR_CALLER emulator::instruction_before(__builtin_return_address(0))
#define EMULATOR_ACCESS(name, size, written)                                   \
  extern "C" void __tsan_##name(void* address) {                               \
    emulator::count_access(address, size, written, EMULATOR_CALLER);           \
  }
#define EMULATOR_ACCESSES(size)                      \
  EMULATOR_ACCESS(read##size, size, false)           \
  EMULATOR_ACCESS(write##size, size, true)           \
  EMULATOR_ACCESS(unaligned_read##size, size, false) \
  EMULATOR_ACCESS(unaligned_write##size, size, true)
EMULATOR_ACCESSES(1)
EMULATOR_ACCESSES(2)
EMULATOR_ACCESSES(4)
EMULATOR_ACCESSES(8)
EMULATOR_ACCESSES(16)

// An atomic operation reads and writes; ../include/atomics.h makes all of them from these two.
#define EMULATOR_ATOMIC(bits, Word)                                                                       \
  extern "C" Word __tsan_atomic##bits##_load(const volatile Word* address, int) {                         \
    emulator::count_access(const_cast<const Word*>(address), sizeof(Word), false, EMULATOR_CALLER);       \
    return *address;                                                                                      \
  }                                                                                                       \
  extern "C" int __tsan_atomic##bits##_compare_exchange_strong(volatile Word* address, Word*,              \
                                                               Word value, int, int) {                    \
    emulator::count_access(const_cast<const Word*>(address), sizeof(Word), true, EMULATOR_CALLER);        \
    *address = value; /* one thread runs at a time: nothing can have come between */                      \
    return 1;                                                                                             \
  }
EMULATOR_ATOMIC(16, uint16_t)
EMULATOR_ATOMIC(32, uint32_t)
EMULATOR_ATOMIC(64, uint64_t)

extern "C" void __tsan_read_range(void* address, size_t size) {
  emulator::count_access(address, size, false, EMULATOR_CALLER);
}
extern "C" void __tsan_write_range(void* address, size_t size) {
  emulator::count_access(address, size, true, EMULATOR_CALLER);
}
extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}

#endif  // EMULATOR_TRAFFIC
