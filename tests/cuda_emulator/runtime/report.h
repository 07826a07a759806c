// report.h: errors, told to the other end of the pipe; the process ends with the first one.
#pragma once

#include <cstdarg>
#include <string>

#include "../include/runtime.h"

namespace emulator {

struct Thread;

std::string name_of(uint3 index);
std::string place_of(const Thread& thread);  // "thread (1, 0, 0) of block (0, 0, 0)"

[[noreturn]] void send_error(const std::string& kind, Where where, const std::string& text);

[[noreturn]] void fail_for(const Thread& thread, const char* kind, Where where, const char* format, ...)
    __attribute__((format(printf, 4, 5)));

}  // namespace emulator
