// kernel_table.h: C++ itself describes each kernel's parameters, from the type of the function.
#pragma once

#include <utility>

#include "cuda_bf16.h"
#include "cuda_fp16.h"

namespace emulator {

template <typename T>
constexpr char kind_of() {
  if (std::is_void_v<T>) return 'v';
  if (std::is_same_v<T, bool>) return 'b';
  if (std::is_same_v<T, __half>) return 'h';
  if (std::is_same_v<T, __nv_bfloat16>) return 'B';
  if (std::is_floating_point_v<T>) return 'f';
  if (std::is_integral_v<T> || std::is_enum_v<T>) return std::is_signed_v<T> ? 'i' : 'u';
  return 'S';
}

template <typename T>
constexpr Parameter describe() {
  using Pointee = std::remove_pointer_t<T>;
  using Element = std::remove_cv_t<Pointee>;
  static_assert(!std::is_pointer_v<Element>, "a kernel's argument cannot be a pointer to pointers");
  if constexpr (std::is_void_v<Element>) {
    return {'v', true, std::is_const_v<Pointee>, 1, 1};
  } else {
    constexpr bool pointer = std::is_pointer_v<T>, constant = std::is_const_v<Pointee>;
    return {kind_of<Element>(), pointer, constant, sizeof(Element), alignof(Element)};
  }
}

template <typename... A>
struct Signature {
  static constexpr Parameter parameters[sizeof...(A) + 1] = {describe<A>()..., {}};

  static void call(void (*function)(), void* const* arguments) {
    constexpr std::make_integer_sequence<int, sizeof...(A)> numbers;
    call(reinterpret_cast<void (*)(A...)>(function), arguments, numbers);
  }

 private:
  template <int... i>
  static void call(void (*function)(A...), void* const* arguments, std::integer_sequence<int, i...>) {
    function(*static_cast<std::remove_cv_t<A>*>(arguments[i])...);
  }
};

template <typename... A>
Kernel describe(const char* name, void (*function)(A...)) {
  using S = Signature<A...>;
  return {name, reinterpret_cast<void (*)()>(function), S::call, S::parameters, sizeof...(A)};
}

}  // namespace emulator
