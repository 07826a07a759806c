// cuda_emulator.h: what a .cu file sees instead of CUDA's own headers.
//
// The file is compiled, unmodified, as ordinary C++ with this header before its first line.  The kernels then
// run as fibers of a process of their own: see ../README.md.
#pragma once

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 12
#error "the CUDA emulator needs g++ 12 or later"
#endif

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <type_traits>

#define CUDA_EMULATOR 1
#define __CUDACC__ 1
#define __CUDA_ARCH__ 800

#define __global__ inline
#define __device__
#define __host__
#define __constant__
#define __managed__
#define __grid_constant__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
#ifndef __restrict__
#define __restrict__ __restrict
#endif

#include "runtime.h"
#include "vectors.h"
#include "atomics.h"
#include "warp.h"
#include "mathematics.h"
