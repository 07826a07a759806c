"""The emulator itself: every kind of bug, planted, must be found at its line, and right programs must pass.

A line with a bug ends in ``// BUG name``.  Each test says what would let its bug through.
"""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from cuda_emulator import Emulator, EmulatorError, Traffic, available
from cuda_emulator.__main__ import main

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))

F32, I32 = np.float32, np.int32

BUGS = """
#include "pipeline.cuh"

struct Pair { int first; float second; };

// Memory

__global__ void read_beyond(const float* x, float* y) {
  y[threadIdx.x] = x[threadIdx.x + 1];  // BUG read_beyond
}
__global__ void write_beyond(float* y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i <= n) y[i] = 1;  // BUG write_beyond
}
template <typename T>
__global__ void in_a_helper(T* y) {
  put(y, 32 + threadIdx.x, T(1));  // BUG in_a_helper
}
__global__ void shared_beyond(float* y) {
  __shared__ float tile[32];
  __shared__ float other[32];
  float* place = tile + threadIdx.x;
  place[1] = y[threadIdx.x];  // BUG shared_beyond
  other[threadIdx.x] = tile[threadIdx.x];
  y[threadIdx.x] = other[threadIdx.x];
}
__global__ void dynamic_beyond(float* y) {
  extern __shared__ float memory[];
  memory[threadIdx.x] = y[threadIdx.x];  // BUG dynamic_beyond
}
__global__ void misaligned(const float* x, float* y) {
  const float4 v = *reinterpret_cast<const float4*>(x + 1);  // BUG misaligned
  y[0] = v.x + v.w;
}
__global__ void overflow(float* y, int n) {
  const int i = n * n;  // BUG overflow
  y[i & 31] = 1;
}
__global__ void uninitialised(float* y) {
  __shared__ float tile[33];
  tile[threadIdx.x] = y[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = tile[threadIdx.x + 1];
}
__global__ void null_pointer(const float* x, float* y) {
  y[threadIdx.x] = x[threadIdx.x];  // BUG null_pointer
}
__global__ void recursion(float* y, int depth) {
  y[threadIdx.x] += deep(depth);
}
__global__ void endless(float* y) {
  volatile float* flag = y;
  while (*flag == 0) {
  }
}
__global__ void traps(float* y) {
  assert(y[0] == 1);  // BUG traps
}

// Races

__global__ void no_barrier(float* y) {
  __shared__ float tile[64];
  tile[threadIdx.x] = float(threadIdx.x);  // BUG no_barrier: write
  y[threadIdx.x] = tile[63 - threadIdx.x];  // BUG no_barrier: read
}
// Warp w reads what warp w + 1 wrote; a warp that is ahead overwrites it.
__global__ void one_buffer(float* y, int steps) {
  __shared__ float tile[96];
  float sum = 0;
  for (int step = 0; step < steps; ++step) {
    tile[threadIdx.x] = float(step);  // BUG one_buffer: write
    __syncthreads();
    if (threadIdx.x < 64) sum += tile[threadIdx.x + 32];  // BUG one_buffer: read
  }
  y[threadIdx.x] = sum;
}
// Right if the warps run one after another, in whatever order.
__global__ void lost_update(float* y) {
  __shared__ float sum;
  if (threadIdx.x == 0) sum = 0;
  __syncthreads();
  const float before = sum;  // BUG lost_update: read
  __syncwarp();
  if (threadIdx.x % 32 == 0) sum = before + 1;  // BUG lost_update: write
  __syncthreads();
  if (threadIdx.x == 0) y[0] = sum;
}
// No order of the threads shows it: each runs to its end before the next.  The barriers order no other block's.
__global__ void no_atomic(float* y) {
  __syncthreads();
  __syncwarp();
  y[0] += 1;  // BUG no_atomic
  for (int i = 0; i < 2; ++i) {
    __syncwarp();
    __syncthreads();
  }
}
__global__ void no_fence(float* partial, unsigned* finished) {
  if (threadIdx.x > 0) return;
  partial[blockIdx.x] = 1;
  if (atomicAdd(finished, 1u) == gridDim.x - 1) partial[0] += partial[1];  // BUG no_fence
}
__global__ void shuffle_is_no_barrier(float* y) {
  __shared__ float tile[32];
  tile[threadIdx.x] = float(threadIdx.x);  // BUG shuffle_is_no_barrier
  const float mine = __shfl_sync(0xffffffffu, 1.0f, 0);
  y[threadIdx.x] = tile[31 - threadIdx.x] * mine;
}

// Meetings

__global__ void some_return(float* y) {
  if (threadIdx.x >= 40) return;
  __syncthreads();  // BUG some_return
  y[threadIdx.x] = 1;
}
__global__ void two_barriers(float* y) {
  if (threadIdx.x < 32) {
    __syncthreads();  // BUG two_barriers
  } else {
    __syncthreads();
  }
  y[threadIdx.x] = 1;
}
__global__ void missing_lane(float* y) {
  float v = y[threadIdx.x];
  if (threadIdx.x < 16) v += __shfl_down_sync(0xffffffffu, v, 8);  // BUG missing_lane
  y[threadIdx.x] = v;
}
__global__ void two_shuffles(float* y) {
  float v = y[threadIdx.x];
  if (threadIdx.x < 16) {
    v = __shfl_xor_sync(0xffffffffu, v, 1);  // BUG two_shuffles
  } else {
    v = __shfl_xor_sync(0xffffffffu, v, 1);
  }
  y[threadIdx.x] = v;
}
__global__ void outside_mask(float* y) {
  y[threadIdx.x] = __shfl_sync(0x0000ffffu, 1.0f, 0);  // BUG outside_mask
}
__global__ void from_outside(float* y) {
  if (threadIdx.x < 16) y[threadIdx.x] = __shfl_sync(0x0000ffffu, 1.0f, 16);  // BUG from_outside
}
__global__ void partial_warp(float* y) {
  float all[32];
  emulator::all_lanes(y[threadIdx.x], all);  // BUG partial_warp
}
__global__ void wrong_width(float* y) {
  y[threadIdx.x] = __shfl_sync(0xffffffffu, 1.0f, 0, 12);  // BUG wrong_width
}

// Asynchronous copies

__global__ void unwaited(const float* x, float* y) {
  __shared__ float tile[32];
  copy(&tile[threadIdx.x], x + threadIdx.x);  // BUG unwaited
  commit();
  y[threadIdx.x] = 1;
}
__global__ void uncommitted(const float* x, float* y) {
  __shared__ float tile[32];
  copy(&tile[threadIdx.x], x + threadIdx.x);  // BUG uncommitted
  wait(0);
  y[threadIdx.x] = 1;
}
__global__ void read_before_wait(const float* x, float* y) {
  __shared__ float tile[2][32];
  copy(&tile[0][threadIdx.x], x + threadIdx.x);
  commit();
  copy(&tile[1][threadIdx.x], x + threadIdx.x);
  commit();
  wait(1);
  y[threadIdx.x] = tile[1][threadIdx.x];
  wait(0);
}
// The barrier comes before the wait: others may read what has not arrived.
__global__ void barrier_before_wait(const float* x, float* y) {
  __shared__ float tile[64];
  copy(&tile[threadIdx.x], x + threadIdx.x);
  commit();
  __syncthreads();
  wait(0);
  y[threadIdx.x] = tile[63 - threadIdx.x];  // BUG barrier_before_wait
}
__global__ void overwritten_stage(const float* x, float* y, int steps) {
  __shared__ float tile[64];
  float sum = 0;
  copy(&tile[threadIdx.x], x + threadIdx.x);
  commit();
  for (int step = 0; step < steps; ++step) {
    wait(0);
    __syncthreads();
    sum += tile[63 - threadIdx.x];  // BUG overwritten_stage
    if (step + 1 < steps) copy(&tile[threadIdx.x], x + 64 * (step + 1) + threadIdx.x);
    commit();
  }
  y[threadIdx.x] = sum;
}
__global__ void copy_beyond(const float* x, float* y) {
  __shared__ float tile[33];
  copy(&tile[threadIdx.x], x + threadIdx.x + 1);  // BUG copy_beyond
  commit();
  wait(0);
}
__global__ void copy_past_shared(const float* x, float* y) {
  __shared__ float tile[32];
  copy(&tile[threadIdx.x] + 1, x + threadIdx.x);  // BUG copy_past_shared
  commit();
  wait(0);
}
__global__ void copy_misaligned(const float* x, float* y) {
  __shared__ float tile[64];
  emulator::copy_async(&tile[threadIdx.x], x + threadIdx.x, 8, 8);  // BUG copy_misaligned
  commit();
  wait(0);
}

// Calls

template <typename T>
__global__ void __launch_bounds__(128) takes(const float* x, T* y,  // BUG takes
                                             const Pair* pairs, int n, float alpha, Pair pair) {
  y[0] = T(x[0] * n + alpha + pair.first);
}
__global__ void too_much_shared(float* y) {
  __shared__ float tile[48 * 256 + 1];  // BUG too_much_shared
  y[0] = tile[0];
}
"""

PIPELINE = """
#pragma once

template <typename T>
__device__ __forceinline__ void put(T* y, int i, T value) { y[i] = value; }  // BUG put
__device__ __forceinline__ void copy(float* to, const float* from, emulator::Where where = emulator::Where::here()) {
  emulator::copy_async(to, from, 4, 4, where);  // BUG copy
}
__device__ __forceinline__ void commit() { emulator::copy_commit(); }
__device__ __forceinline__ void wait(int pending, emulator::Where where = emulator::Where::here()) {
  emulator::copy_wait(pending, where);  // BUG wait
}
__device__ __noinline__ float deep(int depth) {  // BUG recursion
  volatile float room[64];
  room[depth & 63] = depth;
  return depth == 0 ? 0 : deep(depth - 1) + room[depth & 63];
}
"""

RIGHT = """
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include "pipeline.cuh"

// The sum of all elements: a warp by shuffles, a block by shared memory, the grid by an atomic.
template <int kThreads>
__global__ void __launch_bounds__(kThreads) sum(const float* __restrict__ x, int* total, int n) {
  __shared__ int partial[kThreads / 32];
  int v = 0;
  for (int i = blockIdx.x * kThreads + threadIdx.x; i < n; i += gridDim.x * kThreads) v += int(x[i]);
#pragma unroll
  for (int d = 16; d > 0; d /= 2) v += __shfl_down_sync(0xffffffffu, v, d);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = v;
  __syncthreads();
  if (threadIdx.x < 32) {
    v = threadIdx.x < kThreads / 32 ? partial[threadIdx.x] : 0;
    for (int d = 16; d > 0; d /= 2) v += __shfl_xor_sync(0xffffffffu, v, d);
    if (threadIdx.x == 0) atomicAdd(total, v);
  }
}

// What the rewriting of __shared__ must read past: sizes that compare, labels, and a string of braces.
template <int kThreads>
__global__ void awkward(int* y) {
  const char* text = R"(" { __shared__ float a[2];)";
  const int digit = 1'000; /* '{ */
  __shared__ int tile[kThreads >= 64 ? 64 : 32][(kThreads > 1) + 1];
  switch (text[2]) {
    case 'x': y[0] = digit; break;
    default: __shared__ int last; if (threadIdx.x == 31) last = digit;
      tile[threadIdx.x][1] = threadIdx.x;
      __syncthreads();
      y[threadIdx.x] = last + tile[31 - threadIdx.x][1];
  }
}

template <typename T, int kTile>
__global__ void product(const T* a, const T* b, T* c, int M, int N, int K) {
  __shared__ T left[kTile][kTile];
  __shared__ T right[kTile][kTile + 1];
  const int row = blockIdx.y * kTile + threadIdx.y, column = blockIdx.x * kTile + threadIdx.x;
  T sum = 0;
  for (int k = 0; k < K; k += kTile) {
    left[threadIdx.y][threadIdx.x] = row < M && k + threadIdx.x < K ? a[row * K + k + threadIdx.x] : T(0);
    right[threadIdx.y][threadIdx.x] = k + threadIdx.y < K && column < N ? b[(k + threadIdx.y) * N + column] : T(0);
    __syncthreads();
    for (int i = 0; i < kTile; ++i) sum += left[threadIdx.y][i] * right[i][threadIdx.x];
    __syncthreads();
  }
  if (row < M && column < N) c[row * N + column] = sum;
}

// Two stages: each is filled while the other is read, backwards, by other warps.
__global__ void pipelined(const float* x, float* y, int steps) {
  __shared__ __align__(16) float tile[2][64];
  float sum = 0;
  copy(&tile[0][threadIdx.x], x + threadIdx.x);
  commit();
  for (int step = 0; step < steps; ++step) {
    if (step + 1 < steps) copy(&tile[(step + 1) % 2][threadIdx.x], x + 64 * (step + 1) + threadIdx.x);
    commit();
    wait(1);
    __syncthreads();
    sum += (step + 1) * tile[step % 2][63 - threadIdx.x];
    __syncthreads();
  }
  wait(0);
  y[threadIdx.x] = sum;
}

__global__ void early_return(const float* x, float* y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  y[i] = -x[i];
}

// The last block to finish adds what all have written.
__global__ void last_block(float* partial, unsigned* finished, float* y) {
  partial[blockIdx.x] = float(blockIdx.x + 1);
  __threadfence();
  if (atomicAdd(finished, 1u) != gridDim.x - 1) return;
  __threadfence();
  float sum = 0;
  for (int i = 0; i < gridDim.x; ++i) sum += partial[i];
  y[0] = sum;
}

__global__ void partial_masks(int* y) {
  extern __shared__ int memory[];
  const int half_warp = threadIdx.x / 16;
  const unsigned mask = half_warp ? 0xffff0000u : 0x0000ffffu;
  for (int i = 0; i <= half_warp; ++i) {
    memory[threadIdx.x] = __shfl_xor_sync(mask, int(threadIdx.x), 1, 16);
    __syncwarp(mask);
    y[threadIdx.x] = memory[threadIdx.x ^ 2];
    __syncwarp(mask);
  }
}

__global__ void lanes(int* y) {
  const int lane = threadIdx.x % warpSize;
  int* mine = y + 12 * threadIdx.x;
  mine[0] = __shfl_sync(0xffffffffu, lane, 5, 8);
  mine[1] = __shfl_up_sync(0xffffffffu, lane, 3, 16);
  mine[2] = __shfl_down_sync(0xffffffffu, lane, 3, 16);
  mine[3] = __shfl_xor_sync(0xffffffffu, lane, 5, 4);
  mine[4] = __popc(__ballot_sync(0xffffffffu, lane % 3 == 0));
  mine[5] = __any_sync(0xffffffffu, lane == 31) + 2 * __all_sync(0xffffffffu, lane < 31);
  mine[6] = __match_any_sync(0xffffffffu, lane / 8);
  mine[7] = __reduce_add_sync(0xffffffffu, lane) + 1000 * __reduce_max_sync(0xffffffffu, -lane);
  mine[8] = __syncthreads_count(threadIdx.x % 5 == 0);
  mine[9] = __syncthreads_or(threadIdx.x == 40) + 2 * __syncthreads_and(threadIdx.x < 40);
  short all[32];
  emulator::all_lanes(short(lane * lane), all);
  mine[10] = all[7] + all[31];
  mine[11] = int(__shfl_sync(0xffffffffu, (long long)lane << 40, 9) >> 40);
}

__global__ void bits(const unsigned* x, unsigned* y) {
  const unsigned v = x[threadIdx.x];
  unsigned* mine = y + 10 * threadIdx.x;
  mine[0] = __popc(v);
  mine[1] = __ffs(v);
  mine[2] = __clz(v);
  mine[3] = __brev(v);
  mine[4] = __umulhi(v, 0x9e3779b9u);
  mine[5] = __float_as_uint(__uint_as_float(v));
  mine[6] = __byte_perm(v, ~v, 0x7210);
  mine[7] = __funnelshift_l(v, ~v, 5);
  mine[8] = __float2int_rn(__int2float_rn(v >> 1));
  mine[9] = max(1, min(int(v), 7)) + max(2u, v % 5);
}

__global__ void conversions(const float* x, const double* d, __half* half_, __nv_bfloat16* bfloat, __half* half_d,
                            __nv_bfloat16* bfloat_d, float* back, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  half_[i] = __float2half(x[i]);
  bfloat[i] = __float2bfloat16(x[i]);
  half_d[i] = __double2half(d[i]);
  bfloat_d[i] = __double2bfloat16(d[i]);
  back[2 * i] = __half2float(half_[i]);
  back[2 * i + 1] = __bfloat162float(bfloat[i]);
}

template <typename T>
__global__ void arithmetic(const T* x, T* y, int n) {
  const int i = threadIdx.x;
  if (i + 1 >= n) return;
  y[4 * i] = x[i] + x[i + 1];
  y[4 * i + 1] = x[i] * x[i + 1];
  y[4 * i + 2] = x[i] / x[i + 1];
  y[4 * i + 3] = __hfma(x[i], x[i + 1], x[i]);
}

// By how many steps a warp gets ahead of another.
__global__ void lead(int* steps, int* most) {
  const int warp = threadIdx.x / 32;
  for (int i = 0; i < 64; ++i) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) atomicMax(most, atomicAdd(&steps[warp], 1) + 1 - atomicAdd(&steps[1 - warp], 0));
  }
}

__global__ void prints(int n) { if (threadIdx.x == 1) printf("%d of %d\\n", threadIdx.x, n); }
"""

TRAFFIC = """
__global__ void coalesced(const float* x, float* y) { y[threadIdx.x] = x[threadIdx.x]; }  // LINE coalesced
__global__ void strided(const float* x, float* y) { y[threadIdx.x] = x[32 * threadIdx.x]; }
__global__ void broadcast(const float* x, float* y) { y[threadIdx.x] = x[0]; }
__global__ void vectors(const float* __restrict__ x, float* __restrict__ y) {
  float4 v = reinterpret_cast<const float4*>(x)[threadIdx.x];
  v.x += 1;
  v.w *= v.y;
  reinterpret_cast<float4*>(y)[threadIdx.x] = v;
}
template <int kColumns>
__global__ void transposed(const float* x, float* y) {
  __shared__ float tile[32][kColumns];
  for (int i = 0; i < 32; ++i) tile[i][threadIdx.x] = x[32 * i + threadIdx.x];
  __syncthreads();
  for (int i = 0; i < 32; ++i) y[32 * i + threadIdx.x] = tile[threadIdx.x][i];
}
__global__ void shared_vectors(float* y) {
  __shared__ float4 tile[64];
  tile[threadIdx.x] = make_float4(0, 1, 2, 3);
  tile[2 * threadIdx.x] = make_float4(0, 1, 2, 3);
  y[threadIdx.x] = 1;
}
__global__ void copied(const float* x, float* y) {
  __shared__ float tile[32];
  emulator::copy_async(&tile[threadIdx.x], x + threadIdx.x, 4, threadIdx.x < 16 ? 4 : 0);  // LINE copied
  emulator::copy_commit();
  emulator::copy_wait(0);
  y[threadIdx.x] = tile[threadIdx.x];
}
__global__ void some_lanes(int* y) { if (threadIdx.x % 2) atomicAdd(y + 40, 1); }
"""


# --- Fixtures: each executable is compiled once


def kernels_of(source: str) -> list[str]:
    """Every kernel of a source; templates with the arguments that the tests use."""
    instances = {"in_a_helper": ["<float>"], "takes": ["<double>"], "sum": ["<64>", "<256>"]}
    instances |= {"product": ["<float, 8>", "<double, 4>"], "arithmetic": ["<__half>", "<__nv_bfloat16>"]}
    instances |= {"transposed": ["<32>", "<33>"], "awkward": ["<32>"]}
    names = re.findall(r"__global__ void (?:__launch_bounds__\(.*?\) )?(\w+)", source)
    return [name + arguments for name in names for arguments in instances.get(name, [""])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kernels")
    for name, text in (
        ("bugs.cu", BUGS),
        ("right.cu", RIGHT),
        ("traffic.cu", TRAFFIC),
        ("pipeline.cuh", PIPELINE),
    ):
        (folder / name).write_text(text)
    return folder


Make = Callable[[str, str], Emulator]


@pytest.fixture(scope="module")
def emulator(folder: Path) -> Make:
    made: dict[tuple[str, str], Emulator] = {}

    def make(name: str, check: str) -> Emulator:
        if (name, check) not in made:
            path = folder / name
            kernels = kernels_of(path.read_text())
            made[name, check] = Emulator(path, kernels, check=check, cache=folder / "cache", timeout=20)
        return made[name, check]

    return make


def place(mark: str) -> tuple[str, int]:
    """The file's name and the line that a mark ends."""
    for name, text in (("bugs.cu", BUGS), ("pipeline.cuh", PIPELINE)):
        for number, line in enumerate(text.splitlines(), 1):
            if line.endswith(f"// BUG {mark}"):
                return name, number
    raise LookupError(mark)


def places(error: EmulatorError) -> list[tuple[str, int]]:
    return [(Path(file).name, line) for file, line in error.places]


ORDERS = ("forward", "reverse", "random")
MODES = [("address", *mode) for mode in itertools.product(ORDERS, ("eager", "late"))]
MODES += [("threads", "forward", "eager"), ("threads", "random", "late"), ("none", "random", "eager")]

# --- Bugs that end the launch


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, F32)


# name, check, kind, where, block, arguments
ENDING = [
    ("read_beyond", "address", "heap-buffer-overflow", "read_beyond", 32, lambda: (zeros(32), zeros(32))),
    ("write_beyond", "address", "heap-buffer-overflow", "write_beyond", 64, lambda: (zeros(40), I32(40))),
    ("in_a_helper<float>", "address", "heap-buffer-overflow", "put", 32, lambda: (zeros(32),)),
    ("shared_beyond", "address", "heap-buffer-overflow", "shared_beyond", 32, lambda: (zeros(32),)),
    ("dynamic_beyond", "address", "heap-buffer-overflow", "dynamic_beyond", 32, lambda: (zeros(32),)),
    ("misaligned", "address", "misaligned", "misaligned", 32, lambda: (zeros(8), zeros(8))),
    ("overflow", "address", "undefined behaviour", "overflow", 32, lambda: (zeros(32), I32(1 << 16))),
    ("null_pointer", "address", "undefined behaviour", "null_pointer", 32, lambda: (None, zeros(32))),
    ("recursion", "address", "stack-overflow", "recursion", 1, lambda: (zeros(1), I32(1 << 20))),
    ("traps", "address", "assertion", "traps", 1, lambda: (zeros(1),)),
    ("lost_update", "threads", "data race", "lost_update: read", 64, lambda: (zeros(1),)),
    ("no_atomic", "threads", "data race", "no_atomic", 1, lambda: (zeros(1),)),
    ("no_fence", "threads", "data race", "no_fence", 1, lambda: (zeros(2), np.zeros(1, np.uint32))),
    ("some_return", "address", "divergent barrier", "some_return", 64, lambda: (zeros(64),)),
    ("two_barriers", "address", "divergent barrier", "two_barriers", 64, lambda: (zeros(64),)),
    ("missing_lane", "address", "missing lanes", "missing_lane", 32, lambda: (zeros(32),)),
    ("two_shuffles", "address", "missing lanes", "two_shuffles", 32, lambda: (zeros(32),)),
    ("outside_mask", "address", "invalid mask", "outside_mask", 32, lambda: (zeros(32),)),
    ("from_outside", "address", "invalid lane", "from_outside", 32, lambda: (zeros(32),)),
    ("partial_warp", "address", "missing lanes", "partial_warp", 40, lambda: (zeros(64),)),
    ("wrong_width", "address", "invalid width", "wrong_width", 32, lambda: (zeros(32),)),
    ("unwaited", "address", "unwaited copy", "unwaited", 32, lambda: (zeros(32), zeros(32))),
    ("uncommitted", "address", "unwaited copy", "uncommitted", 32, lambda: (zeros(32), zeros(32))),
    ("copy_beyond", "address", "out of bounds", "copy_beyond", 32, lambda: (zeros(32), zeros(32))),
    ("copy_past_shared", "address", "out of bounds", "copy_past_shared", 32, lambda: (zeros(32), zeros(32))),
    ("copy_misaligned", "address", "misaligned", "copy_misaligned", 32, lambda: (zeros(64), zeros(32))),
    ("too_much_shared", "address", "shared memory", "too_much_shared", 32, lambda: (zeros(32),)),
]


@pytest.mark.parametrize(
    ("name", "check", "kind", "mark", "block", "arguments"), ENDING, ids=[e[0] for e in ENDING]
)
def test_bugs_are_found_where_they_are(emulator: Make, name, check, kind, mark, block, arguments) -> None:
    # Grids of two: the second block must not find the first one's error gone.
    kernel = emulator("bugs.cu", check).kernel(name)
    with pytest.raises(EmulatorError) as caught:
        kernel((2,), (block,), arguments(), shared_mem=124)
    assert caught.value.kind == kind
    assert places(caught.value)[0] == place(mark)
    assert name in str(caught.value)
    assert re.search(r"thread \(\d+, 0, 0\) of block \([01], 0, 0\)", str(caught.value))


def test_an_error_names_array_and_distance(emulator: Make) -> None:
    f = emulator("bugs.cu", "address")
    with pytest.raises(
        EmulatorError, match=r"0 bytes after the end of the 128 bytes of argument 1; thread .31, 0, 0."
    ):
        f.kernel("read_beyond")((1,), (32,), (zeros(32), zeros(32)))
    with pytest.raises(EmulatorError, match="0 bytes after the end of the 124 bytes of memory"):
        f.kernel("dynamic_beyond")((1,), (32,), (zeros(32),), shared_mem=124)
    with pytest.raises(EmulatorError, match=r"put.*|pipeline.cuh:\d+, called at .*bugs.cu:\d+"):
        f.kernel("in_a_helper<float>")((1,), (32,), (zeros(32),))


def test_a_crash_has_its_line_under_every_check(emulator: Make) -> None:
    with pytest.raises(EmulatorError, match=r"SEGV at .*bugs.cu:\d+") as caught:
        emulator("bugs.cu", "threads").kernel("null_pointer")((1,), (1,), (None, zeros(1)))
    assert places(caught.value) == [place("null_pointer")]


def test_a_meeting_that_fails_names_all_threads(emulator: Make) -> None:
    f, line = emulator("bugs.cu", "address"), place("two_barriers")[1]
    with pytest.raises(EmulatorError, match=r"threads 0-39 in __syncthreads at .*; threads 40-63 returned"):
        f.kernel("some_return")((1,), (64,), (zeros(64),))
    with pytest.raises(EmulatorError, match=f"threads 0-31 in .*:{line}; threads 32-63 in .*:{line + 2}"):
        f.kernel("two_barriers")((1,), (64,), (zeros(64),))
    with pytest.raises(
        EmulatorError, match=r"mask 0xffffffff that never come: threads 0-15 in .*; threads 16-31 returned"
    ):
        f.kernel("missing_lane")((1,), (32,), (zeros(32),))


def test_an_endless_kernel_is_ended(folder: Path) -> None:
    f = Emulator(folder / "bugs.cu", kernels_of(BUGS), check="address", cache=folder / "cache", timeout=1)
    with pytest.raises(EmulatorError, match="endless: not done after 1 seconds"):
        f.kernel("endless")((1,), (1,), (zeros(1),))


# --- Bugs that only change the results, or the order of things


def test_a_missing_barrier_shows_in_every_order(emulator: Make) -> None:
    for order in ORDERS:
        y = zeros(64)
        emulator("bugs.cu", "address").kernel("no_barrier", order=order)((1,), (64,), (y,))
        assert np.isnan(y).any()


def test_a_buffer_overwritten_too_early_shows_in_some_order(emulator: Make) -> None:
    expected = np.r_[np.full(64, 1 + 2 + 3), np.zeros(32)]
    right = {}
    for order in ORDERS:
        y = zeros(96)
        emulator("bugs.cu", "address").kernel("one_buffer", order=order)((1,), (96,), (y, I32(4)))
        right[order] = bool((y == expected).all())
    assert right == {"forward": True, "reverse": False, "random": False}


def test_only_a_warp_that_runs_ahead_shows_a_lost_update(emulator: Make) -> None:
    right = {}
    for order in ORDERS:
        y = zeros(1)
        emulator("bugs.cu", "address").kernel("lost_update", order=order)((1,), (256,), (y,))
        right[order] = y[0] == 8
    assert right == {"forward": True, "reverse": True, "random": False}


RACES = {  # block, arguments, the two lines
    "no_barrier": (64, lambda: (zeros(64),), ("no_barrier: read", "no_barrier: write")),
    "one_buffer": (96, lambda: (zeros(96), I32(3)), ("one_buffer: read", "one_buffer: write")),
    "barrier_before_wait": (64, lambda: (zeros(64), zeros(64)), ("barrier_before_wait", "wait")),
    "overwritten_stage": (64, lambda: (zeros(192), zeros(64), I32(3)), ("overwritten_stage", "copy")),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", RACES)
def test_races_are_found_in_any_order_with_both_lines(emulator: Make, name: str, order: str) -> None:
    block, arguments, marks = RACES[name]
    kernel = emulator("bugs.cu", "threads").kernel(name, order=order, copies="late")
    with pytest.raises(
        EmulatorError, match=r"data race: .* by thread .* and previous .* by thread"
    ) as caught:
        kernel((1,), (block,), arguments())
    assert set(places(caught.value)) == {place(mark) for mark in marks}


def test_a_shuffle_orders_no_memory(emulator: Make) -> None:
    with pytest.raises(EmulatorError, match="data race") as caught:
        emulator("bugs.cu", "threads").kernel("shuffle_is_no_barrier")((1,), (32,), (zeros(32),))
    assert place("shuffle_is_no_barrier") in places(caught.value)


def test_shared_memory_begins_as_nan(emulator: Make) -> None:
    kernel = emulator("bugs.cu", "address").kernel("uninitialised")
    for _ in range(2):
        y = zeros(32)
        kernel((1,), (32,), (y,))
        assert np.isnan(y[31])
        assert (y[:31] == 0).all()
    kernel((3,), (32,), (y := zeros(32),))
    assert np.isnan(y[29:]).all()  # each block finds none of what the one before has left


def test_late_copies_show_a_read_before_the_wait(emulator: Make) -> None:
    x, y = np.arange(32, dtype=F32), zeros(32)
    emulator("bugs.cu", "address").kernel("read_before_wait", copies="eager")((1,), (32,), (x, y))
    assert (y == x).all()
    emulator("bugs.cu", "address").kernel("read_before_wait", copies="late")((1,), (32,), (x, y))
    assert np.isnan(y).all()


@pytest.mark.parametrize("copies", ["eager", "late"])
def test_copies_show_an_overwritten_stage(emulator: Make, copies: str) -> None:
    x, y = np.repeat([F32(1), F32(10), F32(100)], 64), zeros(64)
    emulator("bugs.cu", "address").kernel("overwritten_stage", copies=copies)((1,), (64,), (x, y, I32(3)))
    assert not (y == 111).all()


# --- Calls that are refused


def good_call() -> list:
    pair = np.zeros(2, [("first", I32), ("second", F32)])
    return [zeros(4), np.zeros(4), pair, I32(3), F32(2), pair[1]]


READ_ONLY = np.zeros(4)
READ_ONLY.flags.writeable = False

WRONG = [
    (
        0,
        np.zeros(4),
        "argument 1 must be a C-contiguous array or None for const float[*], got a float64 array",
    ),
    (0, [1.0, 2.0], "argument 1 .* got a list"),
    (0, zeros(8)[::2], r"argument 1 .* got an array of strides \(8,\) for shape \(4,\)"),
    (0, F32(1), "argument 1 .* got a float32"),
    (
        1,
        zeros(4),
        r"argument 2 must be a writable, C-contiguous array or None for double\*, got a float32 array",
    ),
    (1, READ_ONLY, "argument 2 .* got a read-only array"),
    (1, np.zeros(1, ">f8"), "argument 2 .* got a >f8 array"),
    (3, np.int64(3), r"argument 4 must be int, got int64 \(np.int64\(3\)\)"),
    (3, F32(3), "argument 4 must be int, got float32"),
    (3, 3, "argument 4 must be int, got a Python int"),
    (3, np.uint32(3), "argument 4 must be int, got uint32"),
    (4, I32(3), "argument 5 must be float, got int32"),
    (4, None, "argument 5 must be float, got None"),
    (5, np.zeros(1, "V4")[0], "argument 6 must be struct of 8 bytes, got .V4"),
]


@pytest.mark.parametrize(("index", "value", "message"), WRONG)
def test_wrong_arguments_are_named(emulator: Make, index: int, value: object, message: str) -> None:
    arguments = good_call()
    arguments[index] = value
    with pytest.raises(EmulatorError, match=message) as caught:
        emulator("bugs.cu", "address").kernel("takes<double>")((1,), (1,), arguments)
    assert places(caught.value) == [place("takes")]


def test_right_arguments_are_taken(emulator: Make) -> None:
    arguments = good_call()
    arguments[0][0], arguments[5]["first"] = 5, 100
    emulator("bugs.cu", "address").kernel("takes<double>")((1,), (1,), arguments)
    assert arguments[1][0] == 5 * 3 + 2 + 100


def test_wrong_calls_are_named(emulator: Make) -> None:
    f = emulator("bugs.cu", "address")
    kernel, y = f.kernel("dynamic_beyond"), zeros(64)
    with pytest.raises(EmulatorError, match="takes 1 arguments, got 2"):
        kernel((1,), (32,), (y, y))
    with pytest.raises(
        EmulatorError, match="232449 bytes of dynamic shared memory are not between 0 and 232448"
    ):
        kernel((1,), (32,), (y,), shared_mem=232449)
    with pytest.raises(EmulatorError, match=r"block of \(32, 33, 1\) has more than 1024 threads"):
        kernel((1,), (32, 33), (y,))
    with pytest.raises(EmulatorError, match=r"a grid has one to three sizes, got \(1, 1, 1, 1\)"):
        kernel((1, 1, 1, 1), (32,), (y,))
    with pytest.raises(EmulatorError, match=r"grid of \(1, 65536, 1\) is not between"):
        kernel((1, 65536), (32,), (y,))
    with pytest.raises(EmulatorError, match="two of the arrays overlap"):
        f.kernel("read_beyond")((1,), (32,), (y[:40], y[8:]))
    with pytest.raises(ValueError, match="no kernel 'nothing'; there are read_beyond"):
        f.kernel("nothing")
    with pytest.raises(ValueError, match="order must be one of forward, reverse, random, got 'up'"):
        f.kernel("traps", order="up")
    with pytest.raises(ValueError, match="copies must be one of eager, late, got 'never'"):
        f.kernel("traps", copies="never")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "__shared__ float a[2], b[2];",
            r"broken.cu:2: several __shared__ arrays in one declaration cannot be",
        ),
        (
            "__shared__ float a = 1;",
            r"broken.cu:2: a __shared__ variable with an initial value cannot be emulated",
        ),
        ("\n#define TILE __shared__ float a[2];\n", r"broken.cu:3: __shared__ in a macro cannot be emulated"),
        (
            "}\n__shared__ float a[2];\nvoid f() {",
            r"broken.cu:3: __shared__ outside of a function cannot be emulated",
        ),
        ("\n\n  y[0] = z;", r"broken.cu:4: 'z' was not declared in this scope"),
        ('asm volatile("bar.sync 0;");', r"inline assembly cannot run here"),
    ],
)
def test_what_cannot_be_compiled_is_named(tmp_path: Path, body: str, message: str) -> None:
    source = tmp_path / "broken.cu"
    source.write_text(f"\n__global__ void broken(float* y) {{ {body} }}")
    with pytest.raises(EmulatorError, match=message):
        Emulator(source, ["broken"], check="none", cache=tmp_path)


def test_no_compiler_is_one_clear_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert available() == "the CUDA emulator needs a C++ compiler, and there is no no-such-compiler"
    (tmp_path / "f.cu").write_text("")
    with pytest.raises(EmulatorError, match="needs a C\\+\\+ compiler"):
        Emulator(tmp_path / "f.cu", [], cache=tmp_path)


def test_the_cache_forgets_what_was_used_longest_ago(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, cache = tmp_path / "k.cu", tmp_path / "cache"
    cache.mkdir()
    for age, name in enumerate(("new", "old")):
        (cache / name).write_bytes(bytes(8 << 20))
        os.utime(cache / name, (1e9 - age, 1e9 - age))
    source.write_text("__global__ void k(int* y) { *y = 1; }")
    monkeypatch.setattr("cuda_emulator.build.MOST_CACHED", 12 << 20)
    first = Emulator(source, ["k"], check="none", cache=cache).executable
    assert [path.name for path in cache.iterdir() if path.stat().st_mtime <= 1e9] == ["new"]
    os.utime(first, (1e9, 1e9))
    assert Emulator(source, ["k"], check="none", cache=cache).executable == first
    assert first.stat().st_mtime > 1e9  # compiled once, but used again


def test_an_error_leaves_the_emulator_usable(emulator: Make) -> None:
    f, y = emulator("bugs.cu", "address"), zeros(64)
    with pytest.raises(EmulatorError):
        f.kernel("some_return")((1,), (64,), (y,))
    f.kernel("some_return")((1,), (40,), (y,))
    assert y.sum() == 40


# --- Right programs, in all modes


@pytest.fixture(params=MODES, ids="-".join)
def right(request: pytest.FixtureRequest, emulator: Make) -> Callable[[str], Callable]:
    check, order, copies = request.param
    return lambda name: emulator("right.cu", check).kernel(name, order=order, copies=copies, seed=1)


def test_a_reduction(right) -> None:
    for n, grid, block in ((1, 1, 64), (63, 2, 64), (1000, 3, 64), (1001, 2, 256)):
        total = np.zeros(1, I32)
        right(f"sum<{block}>")((grid,), (block,), (np.arange(n, dtype=F32), total, I32(n)))
        assert total[0] == n * (n - 1) // 2


@pytest.mark.parametrize(
    ("dtype", "name"), [(np.float32, "product<float, 8>"), (np.float64, "product<double, 4>")]
)
def test_a_tiled_product(right, dtype, name) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(-5, 5, (17, 23)).astype(dtype), rng.integers(-5, 5, (23, 19)).astype(dtype)
    c, tile = np.full((17, 19), np.nan, dtype), 8 if dtype == np.float32 else 4
    right(name)((-(-19 // tile), -(-17 // tile)), (tile, tile), (a, b, c, I32(17), I32(19), I32(23)))
    assert (c == a @ b).all()


def test_a_pipeline_of_asynchronous_copies(right) -> None:
    x, y = np.arange(5 * 64, dtype=F32), zeros(64)
    right("pipelined")((1,), (64,), (x, y, I32(5)))
    assert (y == (np.arange(1, 6)[:, None] * x.reshape(5, 64)[:, ::-1]).sum(0)).all()


def test_other_right_programs(right) -> None:
    x, y = np.arange(100, dtype=F32), np.full(100, np.nan, F32)
    right("early_return")((1,), (32,), (x[:0], y[:0].copy(), I32(0)))
    right("early_return")((40,), (64,), (x, y, I32(100)))  # more threads than the race detector knows at once
    assert (y == -x).all()
    partial, y = zeros(20), zeros(1)
    right("last_block")((20,), (1,), (partial, np.zeros(1, np.uint32), y))
    assert y[0] == 210
    y = np.zeros(32, I32)
    right("awkward<32>")((1,), (32,), (y,))
    assert (y == 1031 - np.arange(32)).all()
    half = np.full(32, -1, I32)
    right("partial_masks")((1,), (32,), (half,), shared_mem=128)
    assert (half == np.arange(32) ^ 3).all()


def test_what_lanes_do_together(right) -> None:
    y = np.full((64, 12), -1, I32)
    right("lanes")((1,), (64,), (y,))
    lane = np.arange(64) % 32
    assert (y[:, 0] == lane // 8 * 8 + 5).all()
    assert (y[:, 1] == np.where(lane % 16 < 3, lane, lane - 3)).all()
    assert (y[:, 2] == np.where(lane % 16 > 12, lane, lane + 3)).all()
    assert (y[:, 3] == np.where(lane ^ 5 > lane | 3, lane, lane ^ 5)).all()
    assert (y[:, 4] == 11).all()
    assert (y[:, 5] == 1).all()
    assert (y[:, 6].view(np.uint32) == np.uint32(0xFF) << (lane // 8 * 8)).all()
    assert (y[:, 7] == 496).all()
    assert (y[:, 8] == 13).all()
    assert (y[:, 9] == 1).all()
    assert (y[:, 10] == 49 + 961).all()
    assert (y[:, 11] == 9).all()


def test_at_random_a_warp_runs_far_ahead_or_only_a_little(emulator: Make) -> None:
    leads = []
    for seed in range(8):
        most = np.zeros(1, I32)
        kernel = emulator("right.cu", "address").kernel("lead", order="random", seed=seed)
        kernel((1,), (64,), (np.zeros(2, I32), most))
        leads.append(int(most[0]))
    assert max(leads) > 24
    assert len(set(leads)) > 3


# --- Numbers


def test_bit_tricks(emulator: Make) -> None:
    x = np.random.default_rng(0).integers(0, 2**32, 64, dtype=np.uint64)
    x[:3] = 0, 1, 2**32 - 1
    y = np.zeros((64, 10), np.uint32)
    emulator("right.cu", "address").kernel("bits")((1,), (64,), (x.astype(np.uint32), y))
    for value, mine in zip(map(int, x), y.tolist(), strict=True):
        text, inverse = f"{value:032b}", value ^ 0xFFFFFFFF
        signed = value - (value >> 31 << 32)
        assert mine == [
            text.count("1"),
            text[::-1].find("1") + 1,
            (text + "1").find("1"),
            int(text[::-1], 2),
            value * 0x9E3779B9 >> 32,
            value,
            int.from_bytes([(value | inverse << 32) >> 8 * i & 0xFF for i in (0, 1, 2, 7)], "little"),
            (inverse << 5 | value >> 27) & 0xFFFFFFFF,
            min(int(F32(value >> 1)), 2**31 - 1),
            max(1, min(signed, 7)) + max(2, value % 5),
        ]


def awkward_numbers() -> np.ndarray:
    """All halves, some bfloat16, the ties between neighbours, and what lies just beside all of these."""
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    words = np.arange(0, 2**32, 2**16 * 17, dtype=np.uint64).astype(np.uint32).view(F32)
    exact = [np.sort(a[np.isfinite(a)].astype(np.float64)) for a in (halves, words)]
    ties = [(a[1:] + a[:-1]) / 2 for a in exact]
    numbers = np.concatenate([*exact, *ties, [65519.99, 65520, 3.4e38, -3.4e38, 1e-45]])
    beside = [np.nextafter(numbers, 0), np.nextafter(numbers, np.inf)]
    return np.concatenate([numbers, *beside, [np.inf, -np.inf, np.nan]])


def test_half_precision_is_rounded_to_nearest_even(emulator: Make) -> None:
    d = awkward_numbers()
    with np.errstate(all="ignore"):
        x, n = d.astype(F32), len(d)
        halves = [a.astype(np.float16) for a in (x, d)]
        bfloats = [a.astype(ml_dtypes.bfloat16).astype(F32) for a in (x, d)]
    half, half_d = np.zeros(n, np.float16), np.zeros(n, np.float16)
    bfloat, bfloat_d = np.zeros(n, ml_dtypes.bfloat16), np.zeros(n, ml_dtypes.bfloat16)
    back = np.zeros((n, 2), F32)
    arguments = (x, d, half, bfloat, half_d, bfloat_d, back, I32(n))
    emulator("right.cu", "none").kernel("conversions")((-(-n // 1024),), (1024,), arguments)
    np.testing.assert_array_equal(half, halves[0])
    np.testing.assert_array_equal(half_d, halves[1])
    np.testing.assert_array_equal(bfloat.astype(F32), bfloats[0])
    np.testing.assert_array_equal(back, np.stack([half.astype(F32), bfloat.astype(F32)], axis=1))
    # ml_dtypes rounds a double to float first: ours may differ from that, if it is then closer to the number.
    ours = bfloat_d.astype(F32)
    differs = ~((ours == bfloats[1]) | (np.isnan(ours) & np.isnan(d)))
    assert differs.any()
    assert (np.abs(ours[differs] - d[differs]) < np.abs(bfloats[1][differs] - d[differs])).all()


@pytest.mark.parametrize(
    ("name", "dtype"), [("arithmetic<__half>", np.float16), ("arithmetic<__nv_bfloat16>", ml_dtypes.bfloat16)]
)
def test_half_arithmetic_is_rounded_once(emulator: Make, name: str, dtype: type) -> None:
    x = np.random.default_rng(0).standard_normal(257).astype(dtype)
    y = np.zeros((256, 4), dtype)
    emulator("right.cu", "address").kernel(name)((1,), (256,), (x, y, I32(257)))
    a, b = x[:-1].astype(np.float64), x[1:].astype(np.float64)
    exact = np.stack([a + b, a * b, a / b, a * b + a], 1)
    np.testing.assert_array_equal(y.astype(F32), exact.astype(dtype).astype(F32))


def test_what_a_kernel_prints_is_printed(emulator: Make, capsys: pytest.CaptureFixture[str]) -> None:
    emulator("right.cu", "address").kernel("prints")((2,), (32,), (I32(7),))
    assert capsys.readouterr().out == "1 of 7\n1 of 7\n"


def test_the_same_array_twice_is_one(emulator: Make) -> None:
    x = np.arange(32, dtype=F32)
    emulator("right.cu", "address").kernel("early_return")((1,), (32,), (x, x, I32(32)))
    assert (x == -np.arange(32)).all()


# --- Traffic


def traffic_of(emulator: Make, name: str, block: int = 32) -> tuple[Traffic, list]:
    kernel = emulator("traffic.cu", "traffic").kernel(name)
    x, y = zeros(1024), zeros(1024)
    integer = np.zeros(64, I32)
    arguments = {"shared_vectors": (y,), "some_lanes": (integer,)}.get(name, (x, y))
    kernel((1,), (block,), arguments)
    assert kernel.traffic is not None
    return kernel.traffic, kernel.trace


def test_sectors_are_what_a_warp_touches(emulator: Make) -> None:
    counts = {
        name: traffic_of(emulator, name)[0] for name in ("coalesced", "strided", "broadcast", "vectors")
    }
    assert [t.global_read for t in counts.values()] == [128, 128, 128, 512]
    assert [t.sectors_read for t in counts.values()] == [4, 32, 1, 16]
    assert [t.sectors_written for t in counts.values()] == [4, 4, 4, 16]
    assert [t.global_requests for t in counts.values()] == [2, 2, 2, 2]  # a float4 is one access, not four
    assert traffic_of(emulator, "coalesced")[0].used == 1


def test_bank_conflicts(emulator: Make) -> None:
    without, padded = traffic_of(emulator, "transposed<32>")[0], traffic_of(emulator, "transposed<33>")[0]
    assert without.shared_requests == padded.shared_requests == 64
    assert without.shared_read == without.shared_written == 4096
    assert without.bank_conflicts == 32 * 31
    assert padded.bank_conflicts == 0
    # Eight float4 in a row fill the banks once; every other one needs them twice, in each of four quarters.
    assert traffic_of(emulator, "shared_vectors")[0].bank_conflicts == 4


def test_asynchronous_copies_and_atomics_count(emulator: Make) -> None:
    traffic, trace = traffic_of(emulator, "copied")
    assert (traffic.global_read, traffic.shared_written, traffic.shared_read) == (64, 128, 128)
    line = (
        TRAFFIC.splitlines().index(next(text for text in TRAFFIC.splitlines() if "LINE copied" in text)) + 1
    )
    assert [access.array for access in trace if access.place[1] == line] == [0, "tile"]
    traffic, trace = traffic_of(emulator, "some_lanes", block=64)
    assert (traffic.global_read, traffic.global_written, traffic.sectors_read) == (128, 128, 2)
    assert trace[0].offsets == (None, 40) * 16


def test_the_trace_has_each_access(emulator: Make) -> None:
    _, trace = traffic_of(emulator, "coalesced", block=64)
    line = (
        TRAFFIC.splitlines().index(next(text for text in TRAFFIC.splitlines() if "LINE coalesced" in text))
        + 1
    )
    assert {(Path(access.place[0]).name, access.place[1]) for access in trace} == {("traffic.cu", line)}
    assert Counter((access.array, access.written, access.warp, access.size) for access in trace) == Counter(
        itertools.product((0,), (False,), (0, 1), (4,))
    ) + Counter(itertools.product((1,), (True,), (0, 1), (4,)))
    assert {access.offsets for access in trace} == {tuple(range(32)), tuple(range(32, 64))}


# --- The command line


def test_the_command_finds_nothing_wrong(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [str(folder / "traffic.cu"), "--kernel", "coalesced", "--cache", str(folder / "cache")]
    assert main([*command, "--order", "forward,random", "float32[32]", "float32[32]:zeros"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    runs = [["address", o, c, "ok"] for o in ("forward", "random") for c in ("eager", "late")]
    assert lines[:5] == [["check", "order", "copies", "result"], *runs]
    assert ["sectors", "read", "4"] in lines


def test_the_command_finds_bugs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [str(folder / "traffic.cu"), "--kernel", "coalesced", "--cache", str(folder / "cache")]
    assert main([*command, "--check", "address", "float32[31]", "float32[32]:nan"]) == 1
    out = capsys.readouterr().out
    assert (
        out.count("heap-buffer-overflow, read of size 4") == 7
    )  # each of six runs, and the first one's report
    assert main([*command, "float64[32]", "float32[32]"]) == 2
    assert "argument 1 must be" in capsys.readouterr().err
    assert main([*command, "float32[32", "float32[32]"]) == 2
    assert "'float32[32' is no argument" in capsys.readouterr().err
    assert main([*command, "int:99999999999"]) == 2
    assert "99999999999 out of bounds for int32" in capsys.readouterr().err
    assert main(["no_such_file.cu", "--kernel", "coalesced"]) == 2
    assert "No such file or directory" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, "--grid", "1,x"])
    assert "'1,x' is not one to three numbers x,y,z" in capsys.readouterr().err
