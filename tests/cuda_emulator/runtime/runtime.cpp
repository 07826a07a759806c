// runtime.cpp: the server: it reads launches from one pipe, runs them, and answers through another.
//
// The emulator's own work is compiled apart and not instrumented, so a sanitizer sees the kernel's accesses
// only.
#define EMULATOR_RUNTIME

#include "launch.h"
#include "messages.h"
#include "stall.h"
#include "traffic.h"

namespace emulator {

// --- A request

struct Buffer {  // one array among the arguments, of exactly its size: a sanitizer sees one byte beyond
  char* memory = nullptr;
  uint64_t size = 0;
  bool returned = false;
  int argument = 0;  // the first of those that it is

  void receive() {
    size = read_one<uint64_t>();
    returned = read_one<uint8_t>();
    void* place;
    if (posix_memalign(&place, 256, size)) abort();
    memory = static_cast<char*>(place);
    read_all(memory, size);
  }
};

inline std::vector<Buffer> buffers;

struct Argument {
  std::vector<char> value;

  void receive(int number) {
    const int kind = read_one<uint8_t>();
    if (kind == 'v') {
      value.resize(read_one<uint32_t>());
      read_all(value.data(), value.size());
      return;
    }
    const void* address = nullptr;
    if (kind == 'p') {
      Buffer& buffer = buffers[read_one<uint32_t>()];
      if (!buffer.argument) buffer.argument = number;
      address = buffer.memory;
    }
    value.resize(sizeof address);
    memcpy(value.data(), &address, sizeof address);
  }
};

inline void serve_one() {
  launch.kernel = &kernels[read_one<uint32_t>()];
  uint32_t numbers[9];
  read_all(numbers, sizeof numbers);
  gridDim = launch.grid = {numbers[0], numbers[1], numbers[2]};
  blockDim = launch.block = {numbers[3], numbers[4], numbers[5]};
  launch.shared_bytes = numbers[6];
  launch.order = static_cast<Order>(numbers[7]);
  launch.late_copies = numbers[8] != 0;
  launch.random.seed(read_one<uint64_t>());

  buffers = std::vector<Buffer>(read_one<uint32_t>());
  for (Buffer& buffer : buffers) buffer.receive();
  std::vector<Argument> arguments(launch.kernel->parameter_count);
  std::vector<void*> places;
  for (size_t i = 0; i < arguments.size(); ++i) {
    arguments[i].receive(static_cast<int>(i) + 1);
    places.push_back(arguments[i].value.data());
  }
  launch.arguments = places.data();
  begin_counting();
  for (const Buffer& buffer : buffers) count_global(buffer.memory, buffer.size);
  run_blocks();
  fflush(stdout);

  write_all("K", 1);
  for (const Buffer& buffer : buffers) {
    if (buffer.returned) write_all(buffer.memory, buffer.size);
    free(buffer.memory);
  }
  send_counts();
}

inline void send_kernels() {
  const uint32_t count = kernel_count;
  write_all(&count, sizeof count);
  for (int i = 0; i < kernel_count; ++i) {
    std::string text;
    for (int j = 0; j < kernels[i].parameter_count; ++j) {
      const Parameter& p = kernels[i].parameters[j];
      text += std::string(1, p.kind) + (p.pointer ? " *" : " -") + (p.constant ? " const " : " - ") +
              std::to_string(p.size) + " " + std::to_string(p.alignment) + "\n";
    }
    write_text(text);
  }
}

// --- The end

#ifdef EMULATOR_ADDRESS
// Which array a bad address is closest to, if that is close.
inline void tell_array() {
  const char* address = static_cast<const char*>(__asan_get_report_address());
  ptrdiff_t least = 4096;
  std::string closest;
  const auto look = [&](const char* memory, ptrdiff_t size, const std::string& name) {
    const ptrdiff_t before = memory - address, after = address - (memory + size);
    if (before > 0 ? before >= least : after < 0 || after >= least) return;
    least = before > 0 ? before : after;
    closest = std::to_string(least) + (before > 0 ? " bytes before" : " bytes after the end of") + " the " +
              std::to_string(size) + " bytes of " + name;
  };
  for (const Buffer& b : buffers) look(b.memory, b.size, "argument " + std::to_string(b.argument));
  for (const SharedArray& array : shared_arrays) look(array.memory, array.size, array.name);
  if (!closest.empty()) fprintf(stderr, "EMULATOR: %s\n", closest.c_str());
}
#endif

// A sanitizer is about to end the process: it knows the line, but not the CUDA thread and its arrays.
inline void tell_the_rest() {
  fprintf(stderr, "\n");
#ifdef EMULATOR_ADDRESS
  tell_array();
#endif
#ifndef EMULATOR_THREADS  // ThreadSanitizer names both threads
  if (block && current) fprintf(stderr, "EMULATOR: %s\n", place_of(*current).c_str());
#endif
  fflush(stderr);
}

}  // namespace emulator

#if defined(EMULATOR_ADDRESS) || defined(EMULATOR_THREADS)
extern "C" void __sanitizer_set_death_callback(void (*callback)());
#endif
#ifdef EMULATOR_ADDRESS
extern "C" void __ubsan_on_report() { emulator::tell_the_rest(); }  // UBSan has an end of its own
#endif

int main() {
#if defined(EMULATOR_ADDRESS) || defined(EMULATOR_THREADS)
  __sanitizer_set_death_callback(emulator::tell_the_rest);
#endif
  const emulator::Unseen unseen;
  emulator::open_pipes();
  emulator::main_fiber.take_current();
  emulator::send_kernels();
  while (true) emulator::serve_one();
}
