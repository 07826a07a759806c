// schedule.h: the threads of a block, whose turn it is, and the barriers at which they meet.
//
// A thread runs until it must wait.  It then chooses the next one that can run, by the order asked for, and switches
// to it.  When none can run though not all have returned, the kernel would hang on a GPU or do what nobody can
// foretell: that is reported.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "fibers.h"
#include "report.h"

#ifdef EMULATOR_THREADS
extern "C" void __tsan_ignore_thread_begin();
extern "C" void __tsan_ignore_thread_end();
#endif

namespace emulator {

// Copies that no sanitizer sees: they happen where lanes meet, and are no accesses of any one thread.
inline void copy_unseen(void* to, const void* from, size_t size) {
  volatile char* target = static_cast<char*>(to);
  const char* source = static_cast<const char*>(from);
  for (size_t i = 0; i < size; ++i) target[i] = source[i];
}
inline void fill_unseen(void* to, int byte, size_t size) {
  volatile char* target = static_cast<char*>(to);
  for (size_t i = 0; i < size; ++i) target[i] = static_cast<char>(byte);
}

// Happens-before, for ThreadSanitizer alone: what came before `gives` is seen after `takes` of the same place.
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

// The emulator's own bookkeeping, which no barrier orders, is no business of ThreadSanitizer's: while an object of this
// type lives, it looks away.
struct Unseen {
#ifdef EMULATOR_THREADS
  Unseen() { __tsan_ignore_thread_begin(); }
  ~Unseen() { __tsan_ignore_thread_end(); }
#else
  Unseen() {}
#endif
};

enum class Order { kForward, kReverse, kRandom };

enum class State { kReady, kAtBlockBarrier, kAtWarpBarrier, kAtShuffle, kAtGather, kReturned };

struct Copy {  // one cp.async, see copies.h
  void* shared;
  const void* global;
  int bytes;
  int valid_bytes;
  Where where;
};

struct Thread {
  Fiber fiber;
  uint3 index{};
  int number = 0;  // in the block
  State state = State::kReady;
  const char* waits_in = nullptr;  // the function
  Where waits_at{};
  unsigned mask = 0;
  int source_lane = 0;
  const void* gift = nullptr;
  void* result = nullptr;
  int size = 0;
  std::vector<Copy> uncommitted;
  std::vector<std::vector<Copy>> groups;

  int warp() const { return number / kLanes; }
  int lane() const { return number % kLanes; }
};

// What a barrier orders, for ThreadSanitizer.  The first thread to leave may come again before the last one has left:
// so the barrier's next use has another place.
struct Barrier {
  unsigned mask = 0;  // whose lanes it is for; each set of lanes orders only its own memory
  int uses = 0;
  char places[2][8];

  void* place() { return places[uses % 2]; }
};

struct Warp {
  unsigned present = 0;  // lanes that the block has
  unsigned ready = 0;
  std::vector<std::unique_ptr<Barrier>> barriers;

  Barrier& barrier(unsigned mask) {
    const Unseen unseen;
    for (const auto& barrier : barriers) {
      if (barrier->mask == mask) return *barrier;
    }
    barriers.push_back(std::make_unique<Barrier>());
    barriers.back()->mask = mask;
    return *barriers.back();
  }
};

struct Block {
  uint3 index{};
  unsigned long long serial = 0;  // no two blocks of a process have the same
  std::vector<Thread*> threads;
  std::vector<Warp> warps;
  int returned = 0;
  int waiting = 0;  // at a barrier of the block
  int votes = 0;
  int last_votes = 0;
  Barrier barrier;
};

struct Launch {
  const Kernel* kernel = nullptr;
  void* const* arguments = nullptr;
  dim3 grid, block;
  size_t shared_bytes = 0;
  Order order = Order::kForward;
  bool late_copies = false;
  std::mt19937_64 random;
  char begin[8], end[8], fences[8];
};

inline Launch launch;
inline Block* block = nullptr;
inline Thread* current = nullptr;
inline Fiber main_fiber;

}  // namespace emulator

// The names that kernels read: set anew for each fiber.
uint3 threadIdx;
uint3 blockIdx;
dim3 blockDim;
dim3 gridDim;

namespace emulator {

// --- Whose turn it is

inline int lowest(unsigned bits) { return __builtin_ctz(bits); }
inline int highest(unsigned bits) { return 31 - __builtin_clz(bits); }

inline int random_bit(unsigned bits) {
  for (int skip = static_cast<int>(launch.random() % __builtin_popcount(bits)); skip > 0; --skip) bits &= bits - 1;
  return lowest(bits);
}

// At random one warp mostly goes on as far as it can, far ahead of all others: bugs of double buffering need that.
inline int random_warp() {
  const Unseen unseen;
  static int favourite = 0;
  const int count = static_cast<int>(block->warps.size());
  if (favourite < count && block->warps[favourite].ready && launch.random() % 16 != 0) return favourite;
  std::vector<int> able;
  for (int i = 0; i < count; ++i) {
    if (block->warps[i].ready) able.push_back(i);
  }
  if (able.empty()) return -1;
  return favourite = able[launch.random() % able.size()];
}

inline Thread* choose() {
  const int count = static_cast<int>(block->warps.size());
  const auto thread = [](int warp, int lane) { return block->threads[warp * kLanes + lane]; };
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

[[noreturn]] void report_stall();

// Lets another thread run, until this one is chosen again.
inline void yield(bool for_good = false) {
  Thread* next = choose();
  Thread* self = current;
  if (!next && block->returned < static_cast<int>(block->threads.size())) report_stall();
  if (next == self) return;
  current = next;
  if (next) threadIdx = next->index;
  self->fiber.switch_to(next ? next->fiber : main_fiber, for_good);
}

// --- Barriers of the block

inline void open_block_barrier() {
  for (Thread* thread : block->threads) set_state(*thread, State::kReady);
  block->last_votes = block->votes;
  block->waiting = block->votes = 0;
  ++block->barrier.uses;
}

// All have come: but to the same line?
inline bool is_one_barrier() {
  const Thread& first = *block->threads[0];
  return std::all_of(block->threads.begin(), block->threads.end(), [&](const Thread* other) {
    return other->waits_at.line == first.waits_at.line && !strcmp(other->waits_at.file, first.waits_at.file);
  });
}

int block_barrier(const char* name, int predicate, Where where) {
  Thread& self = *current;
  self.waits_in = name;
  self.waits_at = where;
  set_state(self, State::kAtBlockBarrier);
  block->votes += predicate != 0;
  void* const place = block->barrier.place();
  gives(place);
  if (++block->waiting == static_cast<int>(block->threads.size())) {
    if (!is_one_barrier()) report_stall();
    open_block_barrier();
  }
  yield();
  takes(place);
  return block->last_votes;
}

// --- Meetings of lanes

int lane() { return current->lane(); }

inline bool meets(const Thread& thread, const Thread& other) {
  return other.state == thread.state && other.mask == thread.mask && !strcmp(other.waits_in, thread.waits_in) &&
         (thread.state == State::kAtWarpBarrier ||  // may be passed by branches apart, unlike the others
          (other.waits_at.line == thread.waits_at.line && !strcmp(other.waits_at.file, thread.waits_at.file)));
}

inline void hand_over(Thread* const* lanes, unsigned mask) {
  for (int i = 0; i < kLanes; ++i) {
    if (!(mask >> i & 1)) continue;
    Thread& taker = *lanes[i];
    if (taker.state == State::kAtShuffle) {
      if (!(mask >> taker.source_lane & 1)) {
        fail_for(taker, "invalid lane", taker.waits_at, "%s reads from lane %d, which is not among the lanes 0x%08x",
                 taker.waits_in, taker.source_lane, mask);
      }
      copy_unseen(taker.result, lanes[taker.source_lane]->gift, taker.size);
    } else if (taker.state == State::kAtGather) {
      for (int j = 0; j < kLanes; ++j) {
        char* place = static_cast<char*>(taker.result) + j * taker.size;
        if (mask >> j & 1) {
          copy_unseen(place, lanes[j]->gift, taker.size);
        } else {
          fill_unseen(place, 0, taker.size);
        }
      }
    }
  }
}

// Waits until all lanes of the mask have come; the last one hands each what it asked for.
inline void meet(State kind, const char* name, unsigned mask, Where where) {
  Thread& self = *current;
  Warp& warp = block->warps[self.warp()];
  self.waits_in = name;
  self.waits_at = where;
  self.mask = mask;
  if (!(mask >> self.lane() & 1)) {
    fail("invalid mask", where, "%s: the calling lane %d is not in its own mask 0x%08x", name, self.lane(), mask);
  }
  set_state(self, kind);
  Thread* const* lanes = &block->threads[self.warp() * kLanes];
  const unsigned expected = mask & warp.present;
  bool complete = true;
  for (int i = 0; i < kLanes; ++i) {
    if (expected >> i & 1) complete = complete && meets(self, *lanes[i]);
  }
  void* const place = kind == State::kAtWarpBarrier ? warp.barrier(mask).place() : nullptr;
  if (place) gives(place);
  if (complete) {
    if (place) ++warp.barrier(mask).uses;
    hand_over(lanes, expected);
    for (int i = 0; i < kLanes; ++i) {
      if (expected >> i & 1) set_state(*lanes[i], State::kReady);
    }
  }
  yield();
  if (place) takes(place);
}

void warp_barrier(unsigned mask, Where where) { meet(State::kAtWarpBarrier, "__syncwarp", mask, where); }

void warp_shuffle(const char* name, unsigned mask, int source, const void* mine, void* result, int size,
                  Where where) {
  current->source_lane = source;
  current->gift = mine;
  current->result = result;
  current->size = size;
  meet(State::kAtShuffle, name, mask, where);
}

void warp_gather(const char* name, unsigned mask, const void* mine, void* all, int size, Where where) {
  Thread& self = *current;
  const unsigned present = block->warps[self.warp()].present;
  if (!strcmp(name, "all_lanes") && present != 0xffffffffu) {
    fail("missing lanes", where, "an instruction of the whole warp, but this warp has only the lanes 0x%08x", present);
  }
  self.gift = mine;
  self.result = all;
  self.size = size;
  meet(State::kAtGather, name, mask, where);
}

void fence() {
  takes(launch.fences);
  gives(launch.fences);
}

}  // namespace emulator
