// copies.h: cp.async, done either at once or as late as the program allows.
//
// The hardware may copy at any time between the two, so a kernel must be right for both: copying at once
// finds a stage overwritten while others still read it, copying late finds a read before the wait.
#pragma once

#include <cstring>

#include "shared.h"
#include "traffic.h"

namespace emulator {

inline void check_copy(const Copy& copy) {
  const auto misaligned = [&](const void* address) {
    return reinterpret_cast<uintptr_t>(address) % copy.bytes != 0;
  };
  if (copy.bytes != 4 && copy.bytes != 8 && copy.bytes != 16) {
    fail("invalid copy", copy.where, "cp.async copies 4, 8 or 16 bytes, got %d", copy.bytes);
  }
  if (copy.valid_bytes < 0 || copy.valid_bytes > copy.bytes) {
    fail("invalid copy", copy.where, "cp.async: %d valid bytes of %d", copy.valid_bytes, copy.bytes);
  }
  if (!is_shared(copy.shared, copy.bytes)) {
    fail("out of bounds", copy.where, "cp.async writes %d bytes that are not all in one shared array",
         copy.bytes);
  }
  if (misaligned(copy.shared) || (copy.valid_bytes > 0 && misaligned(copy.global))) {
    fail("misaligned", copy.where, "cp.async of %d bytes: the %s address is no multiple of %d", copy.bytes,
         misaligned(copy.shared) ? "shared" : "global", copy.bytes);
  }
#ifdef EMULATOR_ADDRESS
  if (__asan_region_is_poisoned(const_cast<void*>(copy.global), copy.valid_bytes)) {
    fail("out of bounds", copy.where, "cp.async reads %d bytes that are not all in one global array",
         copy.valid_bytes);
  }
#endif
}

// memset and memcpy are calls here (-fno-builtin), which the sanitizers see as this thread's accesses.
inline void carry_out(const Copy& copy) {
  memset(static_cast<char*>(copy.shared) + copy.valid_bytes, 0, copy.bytes - copy.valid_bytes);
  memcpy(copy.shared, copy.global, copy.valid_bytes);
}

void copy_async(void* shared, const void* global, int bytes, int valid_bytes, Where where) {
  const Called called(__builtin_return_address(0));
  const Copy copy{shared, global, bytes, valid_bytes, where};
  check_copy(copy);
  count_copy(copy);
  if (launch.late_copies) {
    memset(shared, 0xff, bytes);  // from here on the old contents may be gone
  } else {
    carry_out(copy);
  }
  const Unseen unseen;
  current->uncommitted.push_back(copy);
}

void copy_commit(Where) {
  const Unseen unseen;
  current->groups.push_back(std::move(current->uncommitted));
  current->uncommitted.clear();
}

void copy_wait(int pending, Where where) {
  const Called called(__builtin_return_address(0));
  auto& groups = current->groups;
  if (pending < 0) fail("invalid copy", where, "waiting until %d groups of copies are left", pending);
  while (static_cast<int>(groups.size()) > pending) {
    if (launch.late_copies) {
      for (const Copy& copy : groups.front()) carry_out(copy);
    }
    const Unseen unseen;
    groups.erase(groups.begin());
  }
}

inline void check_all_waited() {
  const Copy* left = current->uncommitted.empty() ? nullptr : &current->uncommitted.front();
  for (const auto& group : current->groups) {
    if (!left && !group.empty()) left = &group.front();
  }
  if (left) fail("unwaited copy", left->where, "the thread ends without having waited for this cp.async");
}

}  // namespace emulator
