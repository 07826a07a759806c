// messages.h: the two pipes to ../server.py, and the errors that go through one of them.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <string>

#include "report.h"
#include "threads.h"

namespace emulator {

inline int requests, replies;  // file descriptors

// What a kernel prints must not get among the replies: it goes where the errors go.
inline void open_pipes() {
  requests = dup(0);
  replies = dup(1);
  dup2(2, 1);
}

inline void read_all(void* data, size_t size) {
  char* place = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t got = read(requests, place, size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) _exit(0);  // nobody is left to work for
    place += got;
    size -= got;
  }
}

template <typename T>
T read_one() {
  T value;
  read_all(&value, sizeof value);
  return value;
}

inline void write_all(const void* data, size_t size) {
  const char* place = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t put = write(replies, place, size);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) _exit(0);
    place += put;
    size -= put;
  }
}

inline void write_text(const std::string& text) {
  const uint32_t size = static_cast<uint32_t>(text.size());
  write_all(&size, sizeof size);
  write_all(text.data(), size);
}

[[noreturn]] inline void send_error(const std::string& kind, Where where, const std::string& text) {
  fflush(stdout);
  write_all("E", 1);
  write_text(kind);
  write_text(where.file);
  write_text(std::to_string(where.line));
  write_text(text);
  _exit(1);
}

inline std::string formatted(const char* format, va_list values) {
  char text[4096];
  vsnprintf(text, sizeof text, format, values);
  return text;
}

inline std::string name_of(uint3 i) {
  return "(" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) + ")";
}

std::string place_of(const Thread& thread) {
  return "thread " + name_of(thread.index) + " of block " + name_of(block->index);
}

void fail_for(const Thread& thread, const char* kind, Where where, const char* format, ...) {
  va_list values;
  va_start(values, format);
  send_error(kind, where, formatted(format, values) + "; " + place_of(thread));
}

void fail(const char* kind, Where where, const char* format, ...) {
  va_list values;
  va_start(values, format);
  send_error(kind, where, formatted(format, values) + "; " + place_of(*current));
}

}  // namespace emulator
