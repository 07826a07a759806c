// runtime.cpp: the server: reads launches from one pipe, runs them, and answers through another.
//
// The emulator's own work is not instrumented, so sanitizers see the kernel's accesses only.  The messages are those
// of ../server.py.
#define EMULATOR_RUNTIME

#include <cerrno>
#include <memory>

#ifdef EMULATOR_TRAFFIC
#include "traffic.h"
#endif
#include "copies.h"
#include "schedule.h"
#include "shared.h"
#include "stall.h"

namespace emulator {

// --- Messages

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

void send_error(const std::string& kind, Where where, const std::string& text) {
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

// --- A launch

inline void run_thread() {
  current->fiber.arrived();
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

// Each block begins with fibers of its own.  For ThreadSanitizer all of them live on, on stacks of their own, until the
// launch ends or there are too many: else it would take the threads of two blocks for one.
constexpr size_t kMostFibers = 2048;

class Threads {
 public:
  Thread* next() {
    if (used_ == threads_.size()) threads_.push_back(std::make_unique<Thread>());
    Thread* thread = threads_[used_].get();
    *thread = Thread{};
    thread->fiber.start(stack_number(used_), run_thread);
    ++used_;
    return thread;
  }
  void finish() {
    for (size_t i = 0; i < used_; ++i) threads_[i]->fiber.finish();
    used_ = 0;
  }
  size_t used() const { return used_; }

 private:
  std::vector<std::unique_ptr<Thread>> threads_;
  size_t used_ = 0;
};

inline Threads threads;

inline void finish_threads() {
  threads.finish();
  takes(launch.end);   // what comes now is ordered after all that was
  gives(launch.begin);
}

inline void run_block(uint64_t number) {
  static unsigned long long serial = 0;
  const int count = static_cast<int>(launch.block.x * launch.block.y * launch.block.z);
#ifdef EMULATOR_THREADS
  if (threads.used() + count > kMostFibers) finish_threads();
#endif
  Block running;
  running.index = blockIdx = unravel(number, launch.grid);
  running.serial = ++serial;
  running.warps = std::vector<Warp>((count + kLanes - 1) / kLanes);
  block = &running;
  for (int i = 0; i < count; ++i) {
    Thread* thread = threads.next();
    thread->index = unravel(i, launch.block);
    thread->number = i;
    thread->fiber.set_name(place_of(*thread).c_str());
    running.threads.push_back(thread);
    running.warps[i / kLanes].present |= 1u << i % kLanes;
    set_state(*thread, State::kReady);
  }
  current = choose();
  threadIdx = current->index;
  main_fiber.switch_to(current->fiber);
#ifdef EMULATOR_TRAFFIC
  end_block();
#endif
  forget_shared_of_block();
#ifndef EMULATOR_THREADS
  threads.finish();
#endif
}

inline void run_blocks() {
  std::vector<uint64_t> numbers(uint64_t(launch.grid.x) * launch.grid.y * launch.grid.z);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = i;
  if (launch.order == Order::kReverse) std::reverse(numbers.begin(), numbers.end());
  if (launch.order == Order::kRandom) std::shuffle(numbers.begin(), numbers.end(), launch.random);
  gives(launch.begin);
  for (const uint64_t number : numbers) run_block(number);
  finish_threads();
  free_shared_of_launch();
}

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
#ifdef EMULATOR_TRAFFIC
  begin_counting();
  for (const Buffer& buffer : buffers) count_global(buffer.memory, buffer.size);
#endif
  run_blocks();
  fflush(stdout);

  write_all("K", 1);
  for (const Buffer& buffer : buffers) {
    if (buffer.returned) write_all(buffer.memory, buffer.size);
    free(buffer.memory);
  }
#ifdef EMULATOR_TRAFFIC
  send_counts();
#endif
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
  for (const Buffer& buffer : buffers) look(buffer.memory, buffer.size, "argument " + std::to_string(buffer.argument));
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
  emulator::open_pipes();
  emulator::main_fiber.take_current();
  emulator::send_kernels();
  while (true) emulator::serve_one();
}
