// ptx.cuh: the instructions CUDA C++ has no name for, each a function.
//
// Beside every instruction stands what it does, in plain C++, from its definition in the PTX ISA: the
// tests' emulator (tests/cuda_emulator) compiles that body instead, so that a kernel written with these
// runs on a CPU as it is.
//
// Asynchronous copies: PTX ISA, "Data Movement and Conversion Instructions: cp.async".
// Tensor cores:        PTX ISA, "Warp-level matrix instructions": ldmatrix, mma.m16n8k8 and mma.m16n8k16.
//
// A tensor-core instruction takes matrices spread over the warp's 32 lanes, *fragments*.  One of A has 16
// rows of 32 bytes along the depth kk, 8 floats or 16 halves: four quarters of 8 rows × 16 bytes, a
// 32-bit register each.  One of B has 8 columns of as many bytes: two quarters.  In each, lane l holds
// word l % 4 of row (column) l / 4:
//
//              16 bytes  16 bytes             word 0   1   2   3
//   rows 0–7    | a[0] |  a[2] |       row 0:    l=0   1   2   3      a word is one float (TF32),
//   rows 8–15   | a[1] |  a[3] |       row 1:      4   5   6   7      or two 16-bit numbers, the first
//                                       ⋮                             in the lower half
//   columns 0–7 |  b0  |   b1  |       row 7:     28  29  30  31
//
// D, and the sums C, are 16 × 8 floats: of row l / 4, lane l holds columns 2·(l % 4) and one more in d[0]
// and d[1], and of the row 8 below in d[2] and d[3].
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

// Where the kernel called from, for the emulator's reports.
#ifdef CUDA_EMULATOR
#define CALLED_FROM emulator::Where where = emulator::Where::here()
#define AND_CALLED_FROM , CALLED_FROM
#else
#define CALLED_FROM
#define AND_CALLED_FROM
#endif

// Copies kBytes (4, 8 or 16) from global to shared memory without passing through registers, and goes on
// before they are there.  Only the first `valid` bytes are read, the rest become zeros: with valid = 0
// `from` may be null.
template <int kBytes>
__device__ __forceinline__ void cp_async(void* to, const void* from, int valid AND_CALLED_FROM) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16, "cp.async copies 4, 8 or 16 bytes");
#ifdef CUDA_EMULATOR
  emulator::copy_async(to, from, kBytes, valid, where);
#else
  const unsigned shared = static_cast<unsigned>(__cvta_generic_to_shared(to));
  if constexpr (kBytes == 16) {  // .cg: past the first-level cache, which only 16 bytes can do
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(from), "r"(valid)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared), "l"(from), "n"(kBytes),
                 "r"(valid)
                 : "memory");
  }
#endif
}

// Ends a group of this thread's copies; a group may be empty.
__device__ __forceinline__ void cp_async_commit(CALLED_FROM) {
#ifdef CUDA_EMULATOR
  emulator::copy_commit(where);
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until all but the last kPending groups of this thread's copies are there.  (For this thread:
// others see them after a barrier.)
template <int kPending>
__device__ __forceinline__ void cp_async_wait(CALLED_FROM) {
#ifdef CUDA_EMULATOR
  emulator::copy_wait(kPending, where);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

// The bits of a float for a tensor core, which takes it as TF32, 8 bits of exponent and 10 of mantissa, and
// ignores the 13 bits below: half of the last place it sees is added, so that the number is rounded to the
// nearest, halfway away from zero, instead of cut off.  Infinity and NaN stay what they are.  (Two
// instructions; cvt.rna.tf32.f32 is three, for it clears the ignored bits too.)
__device__ __forceinline__ unsigned to_tf32(unsigned bits) {
  const bool finite = fabsf(__uint_as_float(bits)) <= 3.402823466e+38f;
  return finite ? bits + 0x1000u : bits;
}

// Four 8×8 matrices of 2-byte elements (or 8×4 of 4-byte ones) from shared memory, one a register, in the
// fragment layout above.  Lane l gives the address of row l % 8, 16 bytes, of matrix l / 8.
__device__ __forceinline__ void ldmatrix_x4(unsigned (&matrix)[4], const void* row AND_CALLED_FROM) {
#ifdef CUDA_EMULATOR
  const void* rows[32];
  emulator::all_lanes(row, rows, where);
  const int line = threadIdx.x % 32 / 4, word = threadIdx.x % 4;
  for (int i = 0; i < 4; ++i) matrix[i] = static_cast<const unsigned*>(rows[8 * i + line])[word];
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(matrix[0]), "=r"(matrix[1]), "=r"(matrix[2]), "=r"(matrix[3])
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(row)))
               : "memory");
#endif
}

// The same, each 8×8 matrix of 2-byte elements transposed: the rows in memory are the columns in the
// fragment.
__device__ __forceinline__ void ldmatrix_x4_trans(unsigned (&matrix)[4], const void* row AND_CALLED_FROM) {
#ifdef CUDA_EMULATOR
  const void* rows[32];
  emulator::all_lanes(row, rows, where);
  const int line = threadIdx.x % 32 / 4, column = 2 * (threadIdx.x % 4);
  for (int i = 0; i < 4; ++i) {
    const unsigned low = static_cast<const unsigned short*>(rows[8 * i + column])[line];
    const unsigned high = static_cast<const unsigned short*>(rows[8 * i + column + 1])[line];
    matrix[i] = low | high << 16;
  }
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(matrix[0]), "=r"(matrix[1]), "=r"(matrix[2]), "=r"(matrix[3])
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(row)))
               : "memory");
#endif
}

#ifdef CUDA_EMULATOR
// What one lane brings to an mma; and D = A·B + C, 16×8, from the fragments of all: each lane computes
// its own four.
struct Fragments {
  unsigned a[4];
  unsigned b[2];
};

// `number(register, part)` reads one of the kParts numbers in a register.
template <int kParts, typename Number>
void multiply_fragments(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, Number number,
                        emulator::Where where) {
  Fragments all[32];
  emulator::all_lanes(Fragments{{a[0], a[1], a[2], a[3]}, {b0, b1}}, all, where);
  const int lane = threadIdx.x % 32;
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    double sum = d[i];
    for (int kk = 0; kk < 8 * kParts; ++kk) {
      const int half = kk / (4 * kParts), place = kk % (4 * kParts) / kParts;
      const Fragments& of_row = all[row % 8 * 4 + place];
      const Fragments& of_column = all[column * 4 + place];
      sum += static_cast<double>(number(of_row.a[row / 8 + 2 * half], kk % kParts)) *
             number(of_column.b[half], kk % kParts);
    }
    d[i] = static_cast<float>(sum);
  }
}
#endif

// d += A·B on the tensor cores, A 16×8 and B 8×8 of TF32 (what to_tf32 makes), sums in float.
__device__ __forceinline__ void mma_m16n8k8_tf32(float (&d)[4], const unsigned (&a)[4], unsigned b0,
                                                 unsigned b1 AND_CALLED_FROM) {
#ifdef CUDA_EMULATOR
  const auto number = [](unsigned bits, int) { return __uint_as_float(bits & 0xffffe000u); };
  multiply_fragments<1>(d, a, b0, b1, number, where);
#else
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

// d += A·B on the tensor cores, A 16×16 and B 16×8 of __half, sums in float.
__device__ __forceinline__ void mma_m16n8k16_f16(float (&d)[4], const unsigned (&a)[4], unsigned b0,
                                                 unsigned b1 AND_CALLED_FROM) {
#ifdef CUDA_EMULATOR
  const auto number = [](unsigned bits, int part) {
    return __half2float(__ushort_as_half(static_cast<unsigned short>(bits >> 16 * part)));
  };
  multiply_fragments<2>(d, a, b0, b1, number, where);
#else
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

// The same of __nv_bfloat16.
__device__ __forceinline__ void mma_m16n8k16_bf16(float (&d)[4], const unsigned (&a)[4], unsigned b0,
                                                  unsigned b1 AND_CALLED_FROM) {
#ifdef CUDA_EMULATOR
  const auto number = [](unsigned bits, int part) { return __uint_as_float(bits >> 16 * part << 16); };
  multiply_fragments<2>(d, a, b0, b1, number, where);
#else
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}
