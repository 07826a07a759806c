// mathematics.h: CUDA's arithmetic functions of the global namespace, and its bit tricks.
//
// The fast ones (__expf, __fdividef, …) are computed exactly here: a kernel's tolerance must come from
// elsewhere.
#pragma once

// The C library declares some names that are CUDA's intrinsics.
#define __expf emulator_expf
#define __exp10f emulator_exp10f
#define __exp2f emulator_exp2f
#define __logf emulator_logf
#define __log2f emulator_log2f
#define __log10f emulator_log10f
#define __powf emulator_powf
#define __sinf emulator_sinf
#define __cosf emulator_cosf
#define __tanf emulator_tanf
#define __sincosf emulator_sincosf
#define rsqrtf emulator_rsqrtf
#define rsqrt emulator_rsqrt

inline float __expf(float x) { return expf(x); }
inline float __exp2f(float x) { return exp2f(x); }
inline float __exp10f(float x) { return powf(10.0f, x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __log10f(float x) { return log10f(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __tanf(float x) { return tanf(x); }
inline void __sincosf(float x, float* sine, float* cosine) { *sine = sinf(x), *cosine = cosf(x); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float rsqrt(float x) { return rsqrtf(x); }
inline float rcbrtf(float x) { return 1.0f / cbrtf(x); }
inline float normcdff(float x) { return 0.5f * erfcf(-x * 0.70710678118654752f); }
inline double normcdf(double x) { return 0.5 * erfc(-x * 0.70710678118654752); }
inline void sincospif(float x, float* sine, float* cosine) {
  const double turn = 3.14159265358979323846 * fmod(double(x), 2.0);
  *sine = float(sin(turn)), *cosine = float(cos(turn));
}
inline float sinpif(float x) { return float(sin(3.14159265358979323846 * fmod(double(x), 2.0))); }
inline float cospif(float x) { return float(cos(3.14159265358979323846 * fmod(double(x), 2.0))); }

// Rounded to nearest, as the host's arithmetic is, and never contracted into one operation with a neighbour.
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fsub_rn(float x, float y) { return x - y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frsqrt_rn(float x) { return float(1.0 / sqrt(double(x))); }
inline float __fdividef(float x, float y) { return x / y; }
inline double __dadd_rn(double x, double y) { return x + y; }
inline double __dsub_rn(double x, double y) { return x - y; }
inline double __dmul_rn(double x, double y) { return x * y; }
inline double __ddiv_rn(double x, double y) { return x / y; }
inline double __drcp_rn(double x) { return 1.0 / x; }
inline double __dsqrt_rn(double x) { return sqrt(x); }
inline double __fma_rn(double x, double y, double z) { return fma(x, y, z); }
inline float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1.0f) : 0.0f; }  // of NaN, 0

// min and max: of two floats the one that is a number; of an int and an unsigned, unsigned, as in CUDA.
namespace emulator {
template <typename A, typename B>
using both_t = std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B>, decltype(A() + B())>;
}
template <typename A, typename B>
emulator::both_t<A, B> min(A a, B b) {
  using T = emulator::both_t<A, B>;
  if constexpr (std::is_floating_point_v<T>) {
    return std::is_same_v<T, float> ? T(fminf(float(a), float(b))) : T(fmin(double(a), double(b)));
  } else {
    return T(b) < T(a) ? T(b) : T(a);
  }
}
template <typename A, typename B>
emulator::both_t<A, B> max(A a, B b) {
  using T = emulator::both_t<A, B>;
  if constexpr (std::is_floating_point_v<T>) {
    return std::is_same_v<T, float> ? T(fmaxf(float(a), float(b))) : T(fmax(double(a), double(b)));
  } else {
    return T(a) < T(b) ? T(b) : T(a);
  }
}
inline unsigned umin(unsigned a, unsigned b) { return min(a, b); }
inline unsigned umax(unsigned a, unsigned b) { return max(a, b); }

// Integers
inline int __mul24(int a, int b) { return int(unsigned(a << 8 >> 8) * unsigned(b << 8 >> 8)); }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((unsigned long long)a * b >> 32); }
inline int __mulhi(int a, int b) { return int((long long)a * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)((unsigned __int128)a * b >> 64);
}
inline long long __mul64hi(long long a, long long b) { return (long long)((__int128)a * b >> 64); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(unsigned(x)); }
inline int __clzll(long long x) { return x == 0 ? 64 : __builtin_clzll((unsigned long long)x); }
inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; ++i) reversed |= (x >> i & 1) << (31 - i);
  return reversed;
}
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  const unsigned long long bytes = (unsigned long long)b << 32 | a;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned choice = selector >> (4 * i) & 0xf;
    const unsigned byte = unsigned(bytes >> (8 * (choice & 7))) & 0xff;
    result |= (choice & 8 ? (byte & 0x80 ? 0xffu : 0u) : byte) << (8 * i);
  }
  return result;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return unsigned(((unsigned long long)high << 32 | low) << (shift & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return unsigned(((unsigned long long)high << 32 | low) >> (shift & 31));
}
inline int __dp4a(int a, int b, int c) {
  const auto byte = [](int word, int i) { return int((signed char)(unsigned(word) >> (8 * i))); };
  for (int i = 0; i < 4; ++i) c += byte(a, i) * byte(b, i);
  return c;
}

// The bits of a number
inline int __float_as_int(float x) { return emulator::bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return emulator::bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return emulator::bit_cast<float>(x); }
inline float __uint_as_float(unsigned x) { return emulator::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return emulator::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return emulator::bit_cast<double>(x); }

// Conversions of whole numbers.  Out of range they stop at the ends of the range, as on the device.
namespace emulator {
template <typename To, typename From>
To rounded(From x) {
  constexpr int bits = 8 * sizeof(To) - std::is_signed_v<To>;
  const From beyond = static_cast<From>(ldexp(1.0, bits)), least = std::is_signed_v<To> ? -beyond : From(0);
  if (x != x) return std::is_same_v<From, double> ? To(1ull << (8 * sizeof(To) - 1)) : To(0);  // PTX says so
  if (x >= beyond) return To(~0ull >> (64 - bits));
  return x <= least ? static_cast<To>(least) : static_cast<To>(x);
}
}  // namespace emulator
inline int __float2int_rn(float x) { return emulator::rounded<int>(rint(x)); }
inline int __float2int_rz(float x) { return emulator::rounded<int>(trunc(x)); }
inline int __float2int_rd(float x) { return emulator::rounded<int>(floor(x)); }
inline int __float2int_ru(float x) { return emulator::rounded<int>(ceil(x)); }
inline unsigned __float2uint_rn(float x) { return emulator::rounded<unsigned>(rint(x)); }
inline unsigned __float2uint_rz(float x) { return emulator::rounded<unsigned>(trunc(x)); }
inline int __double2int_rn(double x) { return emulator::rounded<int>(rint(x)); }
inline int __double2int_rz(double x) { return emulator::rounded<int>(trunc(x)); }
inline float __double2float_rn(double x) { return float(x); }
inline float __int2float_rn(int x) { return float(x); }
inline float __uint2float_rn(unsigned x) { return float(x); }
inline double __int2double_rn(int x) { return double(x); }

// Loads and stores that only hint at caches
template <typename T>
T __ldg(const T* address) {
  return *address;
}
template <typename T>
T __ldcg(const T* address) {
  return *address;
}
template <typename T>
T __ldca(const T* address) {
  return *address;
}
template <typename T>
T __ldcs(const T* address) {
  return *address;
}
template <typename T>
void __stcg(T* address, T value) {
  *address = value;
}
template <typename T>
void __stcs(T* address, T value) {
  *address = value;
}

inline size_t __cvta_generic_to_shared(const void* address) { return reinterpret_cast<size_t>(address); }
inline void __trap(emulator::Where where = emulator::Where::here()) {
  emulator::fail("trap", where, "__trap()");
}
inline void __nanosleep(unsigned) {}
inline void __assert_held(bool held, const char* text, emulator::Where where = emulator::Where::here()) {
  if (!held) emulator::fail("assertion", where, "assert(%s) failed", text);
}
#ifndef assert
#define assert(condition) __assert_held(static_cast<bool>(condition), #condition)
#endif
#define __builtin_assume(condition) __assert_held(static_cast<bool>(condition), #condition)
