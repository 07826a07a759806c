// sanitizers.h: what ThreadSanitizer is told, and what it is not.
#pragma once

#include <cstddef>

#ifdef EMULATOR_THREADS
#include <sanitizer/tsan_interface.h>
extern "C" void __tsan_ignore_thread_begin();
extern "C" void __tsan_ignore_thread_end();
extern "C" void __tsan_func_entry(void* call);
extern "C" void __tsan_func_exit();
#endif

namespace emulator {

// Happens-before, for ThreadSanitizer alone: what came before `gives` is seen after `takes` of the same
// place.
inline void gives(void* place) {
#ifdef EMULATOR_THREADS
  __tsan_release(place);
#endif
  (void)place;
}
inline void takes(void* place) {
#ifdef EMULATOR_THREADS
  __tsan_acquire(place);
#endif
  (void)place;
}

// The emulator's own bookkeeping, which no barrier orders, is no business of ThreadSanitizer's: while an
// object of this type lives, it looks away.
struct Unseen {
#ifdef EMULATOR_THREADS
  Unseen() { __tsan_ignore_thread_begin(); }
  ~Unseen() { __tsan_ignore_thread_end(); }
#else
  Unseen() {}
#endif
};

// While one lives, the stacks that are shown contain the call that `from` returns to: the kernel's line, from
// where it called an access that the runtime makes in its name.
struct Called {
#ifdef EMULATOR_THREADS
  explicit Called(void* from) { __tsan_func_entry(from); }
  ~Called() { __tsan_func_exit(); }
#else
  explicit Called(void*) {}
#endif
};

// Copies that no sanitizer sees: what is done where lanes meet is no access of any one thread.
inline void copy_unseen(void* to, const void* from, size_t size) {
  volatile char* target = static_cast<char*>(to);
  const char* source = static_cast<const char*>(from);
  for (size_t i = 0; i < size; ++i) target[i] = source[i];
}
inline void fill_unseen(void* to, int byte, size_t size) {
  volatile char* target = static_cast<char*>(to);
  for (size_t i = 0; i < size; ++i) target[i] = static_cast<char>(byte);
}

}  // namespace emulator
