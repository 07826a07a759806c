// threads.h: a launch, its blocks, their warps and threads.
#pragma once

#include <memory>
#include <random>
#include <vector>

#include "../include/runtime.h"
#include "fibers.h"
#include "sanitizers.h"

namespace emulator {

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
  Fiber* fiber = nullptr;
  uint3 index{};
  int number = 0;  // in the block
  State state = State::kReady;
  const char* waits_in = nullptr;  // the function
  Where waits_at{};
  unsigned mask = 0;           // in a meeting of lanes: who is to come,
  const void* gift = nullptr;  // what this one brings,
  void* result = nullptr;      // and where what it asks for goes
  int size = 0;
  int source_lane = 0;
  std::vector<Copy> uncommitted;
  std::vector<std::vector<Copy>> groups;

  int warp() const { return number / kLanes; }
  int lane() const { return number % kLanes; }
};

// What a barrier orders, for ThreadSanitizer.  The first thread to leave may come again before the last one
// has left: so the barrier's next use has another place.
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

struct Block {  // to be made by new: ThreadSanitizer forgets a barrier's address once it is freed
  uint3 index{};
  uint64_t number = 0;            // in the grid
  unsigned long long serial = 0;  // no two blocks of a process have the same
  std::vector<Thread> threads;
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
