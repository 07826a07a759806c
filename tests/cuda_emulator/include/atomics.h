// atomics.h: read-modify-write on one word of memory, from a single loop around compare-and-swap.
//
// The accesses are made with the compiler's atomic builtins, so that ThreadSanitizer knows them for what they
// are. They are relaxed, as CUDA's: they order no other memory.
#pragma once

namespace emulator {

template <int size>
using bits_t = std::conditional_t<size == 2, unsigned short,
                                  std::conditional_t<size == 4, unsigned, unsigned long long>>;

template <typename To, typename From>
To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "a bit cast keeps the size");
  To to;
  __builtin_memcpy(static_cast<void*>(&to), &from, sizeof(To));
  return to;
}

// *address = change(*address), at once; returns what was there.
template <typename T, typename Change>
T atomically(T* address, Change change) {
  using Bits = bits_t<sizeof(T)>;
  Bits* word = reinterpret_cast<Bits*>(address);
  Bits seen = __atomic_load_n(word, __ATOMIC_RELAXED);
  Bits wanted;
  do {
    wanted = bit_cast<Bits>(change(bit_cast<T>(seen)));
  } while (!__atomic_compare_exchange_n(word, &seen, wanted, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return bit_cast<T>(seen);
}

template <typename T>
T wrapping_add(T a, T b) {  // CUDA's integer atomics wrap around
  if constexpr (std::is_integral_v<T>) {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
  } else {
    return static_cast<T>(a + b);
  }
}

template <typename T>
using same_t = std::common_type_t<T>;  // a parameter that takes no part in deducing T

}  // namespace emulator

template <typename T>
T atomicAdd(T* address, emulator::same_t<T> value) {
  return emulator::atomically(address, [=](T old) { return emulator::wrapping_add<T>(old, value); });
}
template <typename T>
T atomicSub(T* address, emulator::same_t<T> value) {
  return emulator::atomically(address, [=](T old) { return emulator::wrapping_add<T>(old, T(0) - value); });
}
template <typename T>
T atomicExch(T* address, emulator::same_t<T> value) {
  return emulator::atomically(address, [=](T) { return value; });
}
template <typename T>
T atomicMin(T* address, emulator::same_t<T> value) {
  return emulator::atomically(address, [=](T old) { return value < old ? value : old; });
}
template <typename T>
T atomicMax(T* address, emulator::same_t<T> value) {
  return emulator::atomically(address, [=](T old) { return old < value ? value : old; });
}
template <typename T>
T atomicAnd(T* address, emulator::same_t<T> value) {
  return emulator::atomically(address, [=](T old) { return old & value; });
}
template <typename T>
T atomicOr(T* address, emulator::same_t<T> value) {
  return emulator::atomically(address, [=](T old) { return old | value; });
}
template <typename T>
T atomicXor(T* address, emulator::same_t<T> value) {
  return emulator::atomically(address, [=](T old) { return old ^ value; });
}
template <typename T>
T atomicCAS(T* address, emulator::same_t<T> expected, emulator::same_t<T> value) {
  return emulator::atomically(address, [=](T old) { return old == expected ? value : old; });
}
inline unsigned atomicInc(unsigned* address, unsigned limit) {
  return emulator::atomically(address, [=](unsigned old) { return old >= limit ? 0 : old + 1; });
}
inline unsigned atomicDec(unsigned* address, unsigned limit) {
  return emulator::atomically(address,
                              [=](unsigned old) { return old == 0 || old > limit ? limit : old - 1; });
}
