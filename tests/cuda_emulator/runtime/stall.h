// stall.h: why a block cannot go on, in words.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "report.h"
#include "threads.h"

namespace emulator {

inline std::string describe(Where where) {
  return std::string(where.file) + ":" + std::to_string(where.line);
}

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

// "0-15, 17"
inline std::string ranges(const std::vector<int>& numbers) {
  std::string text;
  for (size_t i = 0; i < numbers.size(); ++i) {
    size_t last = i;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    text += (i ? ", " : "") + std::to_string(numbers[i]);
    if (last > i) text += "-" + std::to_string(numbers[last]);
    i = last;
  }
  return text;
}

// "threads 0-15 in __syncthreads at f.cu:7; threads 16-31 returned"
inline std::string whereabouts(const Thread* first, const Thread* end) {
  std::vector<std::pair<std::string, std::vector<int>>> groups;
  for (const Thread* thread = first; thread != end; ++thread) {
    const std::string text = whereabouts(*thread);
    auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.first == text; });
    if (group == groups.end()) group = groups.insert(groups.end(), {text, {}});
    group->second.push_back(thread->number);
  }
  std::string all;
  for (const auto& [text, numbers] : groups) {
    all += all.empty() ? "" : "; ";
    all += (numbers.size() == 1 ? "thread " : "threads ") + ranges(numbers) + " " + text;
  }
  return all;
}

// A warp that waits for lanes explains more than the barrier at which the others may wait: it comes first.
void report_stall() {
  const Thread* const first = block->threads.data();
  const Thread* const end = first + block->threads.size();
  for (const Thread* thread = first; thread != end; ++thread) {
    const bool at_barrier = thread->state == State::kAtBlockBarrier || thread->state == State::kReturned;
    if (at_barrier || thread->state == State::kReady) continue;
    const Thread* const warp = first + thread->warp() * kLanes;
    const std::string all = whereabouts(warp, std::min(warp + kLanes, end));
    fail_for(*thread, "missing lanes", thread->waits_at,
             "%s waits for lanes of its mask 0x%08x that never come: %s", thread->waits_in, thread->mask,
             all.c_str());
  }
  const Thread& waiting =
      *std::find_if(first, end, [](const Thread& thread) { return thread.state == State::kAtBlockBarrier; });
  fail_for(waiting, "divergent barrier", waiting.waits_at, "not all threads of the block come to %s: %s",
           waiting.waits_in, whereabouts(first, end).c_str());
}

}  // namespace emulator
