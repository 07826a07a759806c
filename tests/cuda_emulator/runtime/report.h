// report.h: errors; the process ends with the first one.
#pragma once

#include <string>

#include "../include/runtime.h"

namespace emulator {

struct Thread;

std::string place_of(const Thread& thread);  // "thread (1, 0, 0) of block (0, 0, 0)"

// As fail() of ../include/runtime.h, for a thread that need not be the one that runs.
[[noreturn]] void fail_for(const Thread& thread, const char* kind, Where where, const char* format, ...)
    __attribute__((format(printf, 4, 5)));

}  // namespace emulator
