// stall.h: why a block cannot go on, in words.
#pragma once

#include "schedule.h"

namespace emulator {

inline std::string name_of(uint3 i) {
  return "(" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) + ")";
}

std::string place_of(const Thread& thread) {
  return "thread " + name_of(thread.index) + " of block " + name_of(block->index);
}

inline std::string describe(Where where) { return std::string(where.file) + ":" + std::to_string(where.line); }

inline std::string whereabouts(const Thread& thread) {
  if (thread.state == State::kReturned) return "returned";
  if (thread.state == State::kReady) return "still running";
  std::string text = std::string("in ") + thread.waits_in + " at " + describe(thread.waits_at);
  if (thread.state != State::kAtBlockBarrier) {
    char mask[32];
    snprintf(mask, sizeof mask, " with mask 0x%08x", thread.mask);
    text += mask;
  }
  return text;
}

// "threads 0-15 in __syncthreads at f.cu:7; threads 16-31 returned"
inline std::string whereabouts(const std::vector<Thread*>& threads) {
  std::vector<std::pair<std::string, std::vector<int>>> groups;
  for (const Thread* thread : threads) {
    const std::string text = whereabouts(*thread);
    auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.first == text; });
    if (group == groups.end()) group = groups.insert(groups.end(), {text, {}});
    group->second.push_back(thread->number);
  }
  std::string all;
  for (const auto& [text, numbers] : groups) {
    all += all.empty() ? "" : "; ";
    all += numbers.size() == 1 ? "thread " : "threads ";
    for (size_t i = 0; i < numbers.size(); ++i) {
      size_t last = i;
      while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
      all += (i ? ", " : "") + std::to_string(numbers[i]);
      if (last > i) all += "-" + std::to_string(numbers[last]);
      i = last;
    }
    all += " " + text;
  }
  return all;
}

// A warp that waits for lanes explains more than the barrier at which the others may wait: it comes first.
void report_stall() {
  for (const Thread* thread : block->threads) {
    const bool at_barrier = thread->state == State::kAtBlockBarrier || thread->state == State::kReturned;
    if (at_barrier || thread->state == State::kReady) continue;
    const auto first = block->threads.begin() + thread->warp() * kLanes;
    const auto last = std::min(first + kLanes, block->threads.end());
    const std::string all = whereabouts(std::vector<Thread*>(first, last));
    fail_for(*thread, "missing lanes", thread->waits_at, "%s waits for lanes of its mask 0x%08x that never come: %s",
             thread->waits_in, thread->mask, all.c_str());
  }
  const auto waiting = std::find_if(block->threads.begin(), block->threads.end(),
                                    [](const Thread* t) { return t->state == State::kAtBlockBarrier; });
  const std::string all = whereabouts(block->threads);
  fail_for(**waiting, "divergent barrier", (*waiting)->waits_at, "not all threads of the block come to %s: %s",
           (*waiting)->waits_in, all.c_str());
}

}  // namespace emulator
