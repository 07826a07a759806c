// fibers.h: one stack of its own for every CUDA thread, and the switch between two stacks.
//
// Sanitizers follow a program by its stacks, so they are told of each switch.  ThreadSanitizer gets a thread
// of its own for every fiber, and no switch orders anything: only barriers do (schedule.h).
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#ifdef EMULATOR_ADDRESS
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef EMULATOR_THREADS
#include <sanitizer/tsan_interface.h>
#endif

#ifdef __x86_64__
// Saves the registers a callee must keep and the stack pointer, and goes on where the other stack left off.
extern "C" void emulator_switch_stack(void** from, void* to);
asm(R"(
.text
.globl emulator_switch_stack
.type emulator_switch_stack, @function
emulator_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulator_switch_stack, .-emulator_switch_stack
)");
#else
#include <ucontext.h>
#endif

namespace emulator {

constexpr size_t kStackBytes = 256 << 10;

// Pages take up memory once touched; the lowest one never may be, so that an overflow is a fault.
inline char* new_stack() {
  void* pages = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (pages == MAP_FAILED) {
    fprintf(stderr, "emulator: no memory for one more stack\n");
    abort();
  }
  mprotect(pages, getpagesize(), PROT_NONE);
  return static_cast<char*>(pages);
}

class Fiber {
 public:
  // Makes this fiber begin with `entry`, which must never return.
  void start(void (*entry)(), const char* name) {
    if (!stack_) stack_ = new_stack();
    low_ = stack_;
#ifdef __x86_64__
    void** top = reinterpret_cast<void**>(stack_ + kStackBytes);
    top[-1] = nullptr;  // where entry would return to
    top[-2] = reinterpret_cast<void*>(entry);
    for (int saved = 3; saved <= 8; ++saved) top[-saved] = nullptr;  // rbp = 0 ends a walk up the frames
    pointer_ = top - 8;
#else
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack_;
    context_.uc_stack.ss_size = kStackBytes;
    context_.uc_link = nullptr;
    makecontext(&context_, entry, 0);
#endif
#ifdef EMULATOR_THREADS
    if (!thread_) thread_ = __tsan_create_fiber(0);
    __tsan_set_fiber_name(thread_, name);
#endif
    (void)name;
  }

  void take_current() {  // the process's own stack
#ifdef EMULATOR_THREADS
    thread_ = __tsan_get_current_fiber();
#endif
  }

  // Frees what ThreadSanitizer keeps, which is much; the stack stays for another start.
  void finish() {
#ifdef EMULATOR_THREADS
    if (thread_) __tsan_destroy_fiber(thread_);
    thread_ = nullptr;
#endif
  }

  void switch_to(Fiber& next, bool for_good = false) {
#ifdef EMULATOR_ADDRESS
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_stack_, next.low_, next.size_);
#endif
#ifdef EMULATOR_THREADS
    __tsan_switch_to_fiber(next.thread_, __tsan_switch_to_fiber_no_sync);
#endif
    (void)for_good;
    previous = this;
#ifdef __x86_64__
    emulator_switch_stack(&pointer_, next.pointer_);
#else
    swapcontext(&context_, &next.context_);
#endif
    arrived();
  }

  // To be called first on every stack switched to.
  void arrived() {
#ifdef EMULATOR_ADDRESS
    const void* low;
    size_t size;
    __sanitizer_finish_switch_fiber(fake_stack_, &low, &size);
    previous->low_ = static_cast<const char*>(low);  // of the process's own stack this is how it is learnt
    previous->size_ = size;
#endif
  }

 private:
  static inline Fiber* previous = nullptr;
  char* stack_ = nullptr;  // the process's own fiber has none
  const char* low_ = nullptr;
  size_t size_ = kStackBytes;
#ifdef __x86_64__
  void* pointer_ = nullptr;
#else
  ucontext_t context_;
#endif
#ifdef EMULATOR_ADDRESS
  void* fake_stack_ = nullptr;
#endif
#ifdef EMULATOR_THREADS
  void* thread_ = nullptr;
#endif
};

}  // namespace emulator
