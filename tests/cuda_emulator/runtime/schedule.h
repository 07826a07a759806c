// schedule.h: whose turn it is.
//
// A thread runs until it must wait.  It then chooses the next one that can run, by the order asked for, and
// switches to it.  When none can run though not all have returned, the kernel would hang on a GPU or do what
// nobody can foretell: that is reported.
#pragma once

#include "threads.h"

namespace emulator {

inline int lowest(unsigned bits) { return __builtin_ctz(bits); }
inline int highest(unsigned bits) { return 31 - __builtin_clz(bits); }

inline int random_bit(unsigned bits) {
  int skip = static_cast<int>(launch.random() % __builtin_popcount(bits));
  for (; skip > 0; --skip) bits &= bits - 1;
  return lowest(bits);
}

// At random one warp goes on for a while, which may be long: bugs of double buffering show where it runs far ahead of
// the others, lost updates where it is stopped between two steps.
inline int random_warp() {
  const Unseen unseen;
  static int favourite = 0, patience = 0;
  const int count = static_cast<int>(block->warps.size());
  if (patience-- > 0 && favourite < count && block->warps[favourite].ready) return favourite;
  patience = 1 << launch.random() % 12;
  std::vector<int> able;
  for (int i = 0; i < count; ++i) {
    if (block->warps[i].ready) able.push_back(i);
  }
  if (able.empty()) return -1;
  return favourite = able[launch.random() % able.size()];
}

inline Thread* choose() {
  const int count = static_cast<int>(block->warps.size());
  const auto thread = [](int warp, int lane) { return &block->threads[warp * kLanes + lane]; };
  if (launch.order == Order::kRandom) {
    const int warp = random_warp();
    return warp < 0 ? nullptr : thread(warp, random_bit(block->warps[warp].ready));
  }
  for (int i = 0; i < count; ++i) {
    const int warp = launch.order == Order::kForward ? i : count - 1 - i;
    const unsigned ready = block->warps[warp].ready;
    if (ready) return thread(warp, launch.order == Order::kForward ? lowest(ready) : highest(ready));
  }
  return nullptr;
}

inline void set_state(Thread& thread, State state) {
  thread.state = state;
  unsigned& ready = block->warps[thread.warp()].ready;
  const unsigned bit = 1u << thread.lane();
  ready = state == State::kReady ? ready | bit : ready & ~bit;
}

[[noreturn]] void report_stall();  // stall.h

// Lets another thread run, until this one is chosen again.
inline void yield(bool for_good = false) {
  Thread* next = choose();
  Thread* self = current;
  if (!next && block->returned < static_cast<int>(block->threads.size())) report_stall();
  if (next == self) return;
  current = next;
  if (next) threadIdx = next->index;
  self->fiber->switch_to(next ? *next->fiber : main_fiber, for_good);
}

}  // namespace emulator
