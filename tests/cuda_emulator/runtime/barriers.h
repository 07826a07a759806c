// barriers.h: where threads meet: the barriers of a block, and what the lanes of a warp do together.
#pragma once

#include <algorithm>
#include <cstring>

#include "report.h"
#include "schedule.h"

namespace emulator {

// --- The block

inline bool same(Where a, Where b) { return a.line == b.line && !strcmp(a.file, b.file); }

inline void open_block_barrier() {
  for (Thread& thread : block->threads) set_state(thread, State::kReady);
  block->last_votes = block->votes;
  block->waiting = block->votes = 0;
  ++block->barrier.uses;
}

// All have come: but to the same line?
inline bool is_one_barrier() {
  const Where first = block->threads[0].waits_at;
  return std::all_of(block->threads.begin(), block->threads.end(),
                     [&](const Thread& thread) { return same(thread.waits_at, first); });
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

// --- The lanes of a warp

int lane() { return current->lane(); }

inline bool meets(const Thread& thread, const Thread& other) {
  if (other.state != thread.state || other.mask != thread.mask) return false;
  if (thread.state == State::kAtWarpBarrier) return true;  // branches may have one each, unlike the others
  return !strcmp(other.waits_in, thread.waits_in) && same(other.waits_at, thread.waits_at);
}

inline bool has(unsigned mask, int lane) { return mask >> lane & 1; }

inline void give_one(Thread& taker, const Thread* lanes, unsigned mask) {
  if (!has(mask, taker.source_lane)) {
    fail_for(taker, "invalid lane", taker.waits_at, "%s reads from lane %d, not one of the lanes 0x%08x",
             taker.waits_in, taker.source_lane, mask);
  }
  copy_unseen(taker.result, lanes[taker.source_lane].gift, taker.size);
}

inline void give_all(Thread& taker, const Thread* lanes, unsigned mask) {
  for (int i = 0; i < kLanes; ++i) {
    char* place = static_cast<char*>(taker.result) + i * taker.size;
    if (has(mask, i)) {
      copy_unseen(place, lanes[i].gift, taker.size);
    } else {
      fill_unseen(place, 0, taker.size);
    }
  }
}

// Gives each lane what it asked for, and lets it go.
inline void open_meeting(Thread* lanes, unsigned mask) {
  for (int i = 0; i < kLanes; ++i) {
    if (!has(mask, i)) continue;
    if (lanes[i].state == State::kAtShuffle) give_one(lanes[i], lanes, mask);
    if (lanes[i].state == State::kAtGather) give_all(lanes[i], lanes, mask);
  }
  for (int i = 0; i < kLanes; ++i) {
    if (has(mask, i)) set_state(lanes[i], State::kReady);
  }
}

// Waits until all lanes of the mask have come; the last one opens.
inline void meet(State kind, const char* name, unsigned mask, Where where) {
  Thread& self = *current;
  Warp& warp = block->warps[self.warp()];
  if (!has(mask, self.lane())) {
    fail("invalid mask", where, "%s: the calling lane %d is not in its own mask 0x%08x", name, self.lane(),
         mask);
  }
  self.waits_in = name;
  self.waits_at = where;
  self.mask = mask;
  set_state(self, kind);
  Thread* const lanes = &block->threads[self.warp() * kLanes];
  const unsigned expected = mask & warp.present;
  bool complete = true;
  for (int i = 0; i < kLanes; ++i) complete = complete && (!has(expected, i) || meets(self, lanes[i]));

  Barrier* const barrier = kind == State::kAtWarpBarrier ? &warp.barrier(mask) : nullptr;
  void* const place = barrier ? barrier->place() : nullptr;
  if (place) gives(place);
  if (complete && barrier) ++barrier->uses;
  if (complete) open_meeting(lanes, expected);
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
    fail("missing lanes", where, "an instruction of the whole warp, but this one has only the lanes 0x%08x",
         present);
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
