// launch.h: a launch from its first block to its last.
#pragma once

#include <algorithm>

#include "barriers.h"
#include "copies.h"
#include "shared.h"
#include "traffic.h"

namespace emulator {

inline void run_thread() {
  current->fiber->arrived();
  takes(launch.begin);
  launch.kernel->call(launch.kernel->function, launch.arguments);
  check_all_waited();
  gives(launch.end);
  set_state(*current, State::kReturned);
  ++block->returned;
  yield(true);
  __builtin_unreachable();
}

inline uint3 unravel(uint64_t i, dim3 size) {
  return {unsigned(i % size.x), unsigned(i / size.x % size.y), unsigned(i / size.x / size.y)};
}

// The fibers that threads run on, kept for the next block.
//
// For ThreadSanitizer a fiber is one thread, whatever it runs: so within a launch the blocks get different
// ones, up to kMost.  With more threads the first ones' fibers serve again, and blocks that share theirs are
// taken to be ordered.
class Fibers {
 public:
  void begin_launch(size_t threads_of_block) {
#ifdef EMULATOR_THREADS
    in_use_ = kMost / threads_of_block * threads_of_block;
#else
    in_use_ = threads_of_block;
#endif
    next_ = 0;
  }
  Fiber* next() {
    const size_t i = next_++ % in_use_;
    if (i == fibers_.size()) fibers_.push_back(std::make_unique<Fiber>());
    return fibers_[i].get();
  }
  void end_launch() {
    for (size_t i = kKept; i < fibers_.size(); ++i) fibers_[i]->finish();
  }

 private:
  static constexpr size_t kMost = 1024, kKept = 256;  // for each ThreadSanitizer needs nearly a megabyte
  std::vector<std::unique_ptr<Fiber>> fibers_;
  size_t in_use_ = 0, next_ = 0;
};

inline Fibers fibers;

inline void start_threads() {
  for (int i = 0; i < static_cast<int>(block->threads.size()); ++i) {
    Thread& thread = block->threads[i];
    thread.index = unravel(i, launch.block);
    thread.number = i;
    thread.fiber = fibers.next();
    thread.fiber->start(run_thread, place_of(thread).c_str());
    block->warps[thread.warp()].present |= 1u << thread.lane();
    set_state(thread, State::kReady);
  }
}

inline void run_block(uint64_t number) {
  static unsigned long long serial = 0;
  const size_t count = size_t(launch.block.x) * launch.block.y * launch.block.z;
  const auto running = std::make_unique<Block>();
  block = running.get();
  block->index = blockIdx = unravel(number, launch.grid);
  block->number = number;
  block->serial = ++serial;
  block->threads = std::vector<Thread>(count);
  block->warps = std::vector<Warp>((count + kLanes - 1) / kLanes);
  start_threads();
  current = choose();
  threadIdx = current->index;
  main_fiber.switch_to(*current->fiber);
  end_counting_block();
  forget_shared_of_block();
  block = nullptr;
}

inline void run_blocks() {
  std::vector<uint64_t> numbers(uint64_t(launch.grid.x) * launch.grid.y * launch.grid.z);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = i;
  if (launch.order == Order::kReverse) std::reverse(numbers.begin(), numbers.end());
  if (launch.order == Order::kRandom) std::shuffle(numbers.begin(), numbers.end(), launch.random);
  fibers.begin_launch(size_t(launch.block.x) * launch.block.y * launch.block.z);
  gives(launch.begin);
  for (const uint64_t number : numbers) run_block(number);
  takes(launch.end);  // the next launch is ordered after all of this one
  fibers.end_launch();
  free_shared_of_launch();
}

}  // namespace emulator
