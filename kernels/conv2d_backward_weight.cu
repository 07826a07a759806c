// conv2d_backward_weight.cu: the gradients of a convolution's kernels and of its bias
//
// Purpose: dw = ∂L/∂w and db = ∂L/∂b of y = conv2d(x, w) + b, from g = ∂L/∂y,
//
//            dw[k, r, s, c] = Σ_{n, p, q} g[n, p, q, k] · x[n, h, w, c]       db[k] = Σ_{n, p, q} g[n, p, q, k]
//            h = p·stride_h + r·dilation_h - pad_h,   w = q·stride_w + s·dilation_w - pad_w
//
//          where x is 0 outside the image and, with groups, c runs over the channels of k's group only.
//          As a product of matrices dw is small, K/G × R·S·C/G, and its depth, the N·P·Q windows, is long: tiles of dw
//          alone would leave most of a GPU without work.  From v5 on the windows are cut into M parts ("split-K"),
//          and a block sums one tile of one part; a second kernel adds the parts, in their order.  No atomics: the
//          same M gives the same bits.
// Shapes:  g [N, P, Q, K], x [N, H, W, C], dw [K, R, S, C/G], db [K]; the workspace of v5 to v8 is parts
//          [M, K, R, S, C/G] and that of the bias's v2 [M, K], in the type that sums are kept in (float for halves)
// Threads: v1, v2 one a number of dw; from v3 on a block computes a tile of the K/G × R·S·C/G numbers of one group,
//          blockIdx.x the tile, blockIdx.y the part and blockIdx.z the group.
// Cost:    2·N·P·Q·K·(C/G)·R·S FLOPs; each of g, x and dw moved once is the least:
//          (N·P·Q·K + N·H·W·C + K·(C/G)·R·S) · bytes of a number, and in M > 1 parts 2·M·K·(C/G)·R·S · 4 bytes more.
//          db: N·P·Q·K FLOPs, and as many numbers loaded.
// Versions:
//   conv2d_backward_weight_v1       the definition: one thread a weight, neighbours along the kernel's window
//   conv2d_backward_weight_v2       neighbours along the channels: what a warp loads of x is contiguous
//   conv2d_backward_weight_v3       tiles in shared memory: each number loaded serves 16 weights
//   conv2d_backward_weight_v4       8 × 8 weights a thread: each number read from shared memory serves 8
//   conv2d_backward_weight_v5       16 bytes an instruction, and the windows in parts, so that all of a GPU works
//   conv2d_backward_weight_v5_sum   the parts added up, for v5 to v8 and for the bias
//   conv2d_backward_weight_v6       tiles copied ahead by cp.async, and warp tiles
//   conv2d_backward_weight_v7       tensor cores on TF32, which rounds g and x to 10 bits of mantissa
//   conv2d_backward_weight_v8       tensor cores on 16-bit numbers, sums in float
//   conv2d_backward_bias_v1         one thread a number of db
//   conv2d_backward_bias_v2         the windows in parts: 8·M threads a number
#include "implicit_gemm.cuh"

// dw[k, r, s, c] as it is defined.
template <typename T, typename Index>
__device__ T gradient_of_weight(const T* g, const T* x, const Conv2d& conv, int k, int r, int s, int c) {
  const int channels = conv.C / conv.G;
  const T* channel = x + k / (conv.K / conv.G) * channels + c;
  accumulator_t<T> sum = 0;
  for (int n = 0; n < conv.N; ++n) {
    for (int p = 0; p < conv.P; ++p) {
      const int row = p * conv.stride_h + r * conv.dilation_h - conv.pad_h;
      if (row < 0 || row >= conv.H) continue;
      const T* gradient = g + (static_cast<Index>(n) * conv.P + p) * conv.Q * conv.K + k;
      const T* pixels = channel + (static_cast<Index>(n) * conv.H + row) * conv.W * conv.C;
      for (int q = 0; q < conv.Q; ++q) {
        const int column = q * conv.stride_w + s * conv.dilation_w - conv.pad_w;
        if (column < 0 || column >= conv.W) continue;
        sum += load(gradient[static_cast<Index>(q) * conv.K]) * load(pixels[static_cast<Index>(column) * conv.C]);
      }
    }
  }
  return store<T>(sum);
}

// v1: one thread a weight, in the order in which the formula is usually written: kernel, channel, row, column.
//     Neighbours in a warp are neighbours in the kernel's window: they load pixels C numbers apart.
// instances: <float, int>, <double, int>, <float, long long>
// budget: 64 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4) conv2d_backward_weight_v1(const T* __restrict__ g,  // [N, P, Q, K]
                                                                    const T* __restrict__ x,  // [N, H, W, C]
                                                                    T* __restrict__ dw,       // [K, R, S, C/G]
                                                                    Conv2d conv) {
  const int channels = conv.C / conv.G;
  const Index i = thread_in_grid<Index>();
  if (i >= static_cast<Index>(conv.K) * channels * conv.R * conv.S) return;
  const int s = i % conv.S;
  const int r = i / conv.S % conv.R;
  const int c = i / conv.S / conv.R % channels;
  const int k = i / conv.S / conv.R / channels;
  dw[((static_cast<Index>(k) * conv.R + r) * conv.S + s) * channels + c] =
      gradient_of_weight<T, Index>(g, x, conv, k, r, s, c);
}

// v2: the same sum, the threads in the order of memory: channels run fastest.  A warp loads 32 neighbouring
//     channels of one pixel, 4 sectors of 32 bytes in place of up to 32, and one g, which all its threads share.
// instances: <float, int>, <double, int>, <float, long long>
// budget: 64 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4) conv2d_backward_weight_v2(const T* __restrict__ g,  // [N, P, Q, K]
                                                                    const T* __restrict__ x,  // [N, H, W, C]
                                                                    T* __restrict__ dw,       // [K, R, S, C/G]
                                                                    Conv2d conv) {
  const int channels = conv.C / conv.G;
  const Index i = thread_in_grid<Index>();
  if (i >= static_cast<Index>(conv.K) * channels * conv.R * conv.S) return;
  const int c = i % channels;
  const int s = i / channels % conv.S;
  const int r = i / channels / conv.S % conv.R;
  const int k = i / channels / conv.S / conv.R;
  dw[i] = gradient_of_weight<T, Index>(g, x, conv, k, r, s, c);
}

// What v3 to v8 have in common: one group's product over windows `begin` to `end`.  Both operands have the windows as
// their depth, and kernels or channels, which are contiguous, as their rows.
template <typename T, typename Index, int kKernel>
struct BackwardWeight {
  using Sum = accumulator_t<T>;

  Transposed<Matrix<T, Index>> gradients;
  Transposed<Windows<T, Index, kKernel>> windows;
  RowMajor<Sum, Index> tail;
  Extent extent;

  __device__ __forceinline__ BackwardWeight(const T* g, const T* x, Sum* dw, const Conv2d& conv, int begin, int end)
      : windows{Windows<T, Index, kKernel>(x, conv, blockIdx.z)} {
    const int group = blockIdx.z, count = conv.K / conv.G, columns = conv.R * conv.S * (conv.C / conv.G);
    gradients = {{g + group * count, conv.K}};
    tail = {dw + static_cast<Index>(group) * count * columns, columns, columns, nullptr, false};
    extent = {count, columns, begin, min(end, conv.N * conv.P * conv.Q)};
  }
};

// v3: tiles.  A block loads 16 + 16 numbers for each 256 multiply-adds, where v2 loads 2 for each: a sixteenth of the
//     traffic.
// instances: <float, int>, <double, int>, <float, long long>
// budget: 64 registers, 4352 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4) conv2d_backward_weight_v3(const T* __restrict__ g,  // [N, P, Q, K]
                                                                    const T* __restrict__ x,  // [N, H, W, C]
                                                                    T* __restrict__ dw,       // [K, R, S, C/G]
                                                                    Conv2d conv) {
  const BackwardWeight<T, Index, 0> of(g, x, dw, conv, 0, conv.N * conv.P * conv.Q);
  product_tiles<16>(of.gradients, of.windows, of.extent, of.tail);
}

// v4: registers.  A thread computes kSide × kSide weights: for 8, 64 multiply-adds of 16 reads of shared memory, where
//     v3 makes 8.  (4 is for small problems, and for double.)
// instances: <float, int, 8>, <float, int, 4>, <double, int, 4>, <float, long long, 4>
// budget: 128 registers, 17408 B shared
template <typename T, typename Index, int kSide>
__global__ void __launch_bounds__(256, 2) conv2d_backward_weight_v4(const T* __restrict__ g,  // [N, P, Q, K]
                                                                    const T* __restrict__ x,  // [N, H, W, C]
                                                                    T* __restrict__ dw,       // [K, R, S, C/G]
                                                                    Conv2d conv) {
  const BackwardWeight<T, Index, 0> of(g, x, dw, conv, 0, conv.N * conv.P * conv.Q);
  product_registers<kSide>(of.gradients, of.windows, of.extent, of.tail);
}

// The product of this block's part of the windows, into its part of the workspace.
template <typename T, typename Index, int kKernel>
__device__ __forceinline__ BackwardWeight<T, Index, kKernel> part_of_block(const T* g, const T* x,
                                                                           accumulator_t<T>* parts, const Conv2d& conv,
                                                                           int windows_a_part) {
  const Index weights = static_cast<Index>(conv.K) * conv.R * conv.S * (conv.C / conv.G);
  const int part = blockIdx.y, begin = part * windows_a_part;
  return {g, x, parts + part * weights, conv, begin, begin + windows_a_part};
}

// v5: vectors and parts.  Four floats a read of shared memory, and a load where K/G and C/G are multiples of 4: a quarter
//     of v4's instructions for the same bytes.  And M blocks a tile: v4 has 5 for 64 kernels of 3×3×64, whatever the
//     number of windows, on a GPU of 132 multiprocessors.
// instances: <float, int, 4, 0, 8>, <float, int, 4, 1, 8>, <float, int, 1, 0, 8>, <float, int, 4, 0, 4>,
//            <float, int, 1, 0, 4>, <float, long long, 1, 0, 4>
// budget: 255 registers, 20736 B shared
template <typename T, typename Index, int kVector, int kKernel, int kSide>
__global__ void __launch_bounds__(256, kVector == 1 ? 1 : 2)
    conv2d_backward_weight_v5(const T* __restrict__ g,               // [N, P, Q, K]
                              const T* __restrict__ x,               // [N, H, W, C]
                              accumulator_t<T>* __restrict__ parts,  // [M, K, R, S, C/G]
                              Conv2d conv,
                              int windows_a_part) {  // M of them are all, or more
  const auto of = part_of_block<T, Index, kKernel>(g, x, parts, conv, windows_a_part);
  product_vectors<kSide, kVector>(of.gradients, of.windows, of.extent, of.tail);
}

// v5, sum: dw from its parts, which are added in their order, by one thread a number, and rounded to dw's type once.
// instances: <float, int>, <double, int>, <__half, int>, <__nv_bfloat16, int>, <float, long long>,
//            <__half, long long>, <__nv_bfloat16, long long>
// budget: 64 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4)
    conv2d_backward_weight_v5_sum(const accumulator_t<T>* __restrict__ parts,  // [M, L]
                                  T* __restrict__ sums,                        // [L]
                                  int M, Index L) {
  const Index i = thread_in_grid<Index>();
  if (i >= L) return;
  accumulator_t<T> sum = 0;
  for (int part = 0; part < M; ++part) sum += parts[part * L + i];
  sums[i] = store<T>(sum);
}

// v6: pipeline.  The tiles of the next three steps are on their way by cp.async while this one is computed with.
// instances: <float, int, 4, 0, 128, 128>, <float, int, 4, 1, 128, 128>, <float, int, 4, 0, 128, 64>,
//            <float, int, 4, 0, 64, 64>, <float, int, 1, 0, 128, 64>, <float, long long, 1, 0, 128, 64>
// budget: 255 registers, 0 B shared
// needs: sm_80
template <typename T, typename Index, int kVector, int kKernel, int kTileM, int kTileN>
__global__ void __launch_bounds__(kTileM * kTileN / 64, kVector == 1 ? 1 : 32768 / (kTileM * kTileN))
    conv2d_backward_weight_v6(const T* __restrict__ g,               // [N, P, Q, K]
                              const T* __restrict__ x,               // [N, H, W, C]
                              accumulator_t<T>* __restrict__ parts,  // [M, K, R, S, C/G]
                              Conv2d conv,
                              int windows_a_part) {  // M of them are all, or more
  extern __shared__ __align__(16) unsigned char memory[];
  const auto of = part_of_block<T, Index, kKernel>(g, x, parts, conv, windows_a_part);
  product_pipeline<kTileM, kTileN, kVector>(of.gradients, of.windows, of.extent, of.tail,
                                            reinterpret_cast<T*>(memory));
}

// v7: tensor cores.  g and x are rounded to TF32, 10 bits of mantissa; an mma of a warp makes 1,024 multiply-adds.
// instances: <float, int, 4, 0, 128, 128>, <float, int, 4, 1, 128, 128>, <float, int, 4, 0, 128, 64>,
//            <float, int, 4, 0, 64, 64>, <float, int, 1, 0, 128, 64>, <float, long long, 1, 0, 128, 64>
// budget: 255 registers, 0 B shared
// needs: sm_80
template <typename T, typename Index, int kVector, int kKernel, int kTileM, int kTileN>
__global__ void __launch_bounds__(kTileM * kTileN / 64, kVector == 1 ? 1 : 32768 / (kTileM * kTileN))
    conv2d_backward_weight_v7(const T* __restrict__ g,               // [N, P, Q, K]
                              const T* __restrict__ x,               // [N, H, W, C]
                              accumulator_t<T>* __restrict__ parts,  // [M, K, R, S, C/G]
                              Conv2d conv,
                              int windows_a_part) {  // M of them are all, or more
  extern __shared__ __align__(16) unsigned char memory[];
  const auto of = part_of_block<T, Index, kKernel>(g, x, parts, conv, windows_a_part);
  product_tensor_cores<kTileM, kTileN, kVector>(of.gradients, of.windows, of.extent, of.tail,
                                                reinterpret_cast<T*>(memory));
}

// v8: 16-bit g and x: half the bytes, and 2,048 multiply-adds an mma.  Sums and parts are float: dw is rounded once, or,
//     where it is wanted in float, never.
// instances: <__half, int, 8, 0, 128, 128>, <__half, int, 8, 1, 128, 128>, <__half, int, 1, 0, 128, 64>,
//            <__nv_bfloat16, int, 8, 0, 128, 128>, <__nv_bfloat16, int, 8, 1, 128, 128>,
//            <__nv_bfloat16, int, 1, 0, 128, 64>, <__half, long long, 1, 0, 128, 64>,
//            <__nv_bfloat16, long long, 1, 0, 128, 64>
// budget: 255 registers, 0 B shared
// needs: sm_80
template <typename T, typename Index, int kVector, int kKernel, int kTileM, int kTileN>
__global__ void __launch_bounds__(kTileM * kTileN / 64, kVector == 1 ? 1 : 32768 / (kTileM * kTileN))
    conv2d_backward_weight_v8(const T* __restrict__ g,               // [N, P, Q, K]
                              const T* __restrict__ x,               // [N, H, W, C]
                              accumulator_t<T>* __restrict__ parts,  // [M, K, R, S, C/G]
                              Conv2d conv,
                              int windows_a_part) {  // M of them are all, or more
  extern __shared__ __align__(16) unsigned char memory[];
  const auto of = part_of_block<T, Index, kKernel>(g, x, parts, conv, windows_a_part);
  product_tensor_cores<kTileM, kTileN, kVector>(of.gradients, of.windows, of.extent, of.tail,
                                                reinterpret_cast<T*>(memory));
}

// v1: one thread a number of db.  A warp loads 32 neighbours, but only K threads have anything to do.
// instances: <float, int>, <double, int>, <__half, int>, <__nv_bfloat16, int>, <float, long long>,
//            <__half, long long>, <__nv_bfloat16, long long>
// budget: 64 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4) conv2d_backward_bias_v1(const T* __restrict__ g,  // [N, P, Q, K]
                                                                  T* __restrict__ db,       // [K]
                                                                  Index windows,            // N·P·Q
                                                                  int K) {
  const int k = thread_in_grid<int>();
  if (k >= K) return;
  accumulator_t<T> sum = 0;
  for (Index i = 0; i < windows; ++i) sum += load(g[i * K + k]);
  db[k] = store<T>(sum);
}

// v2: 8·M threads a number: a block of 8 rows of 32 threads takes one of M parts of the windows for 32 kernels, a row of
//     threads every eighth window.  The eight are added in shared memory, the parts by conv2d_backward_weight_v5_sum.
// instances: <float, int>, <double, int>, <__half, int>, <__nv_bfloat16, int>, <float, long long>,
//            <__half, long long>, <__nv_bfloat16, long long>
// budget: 64 registers, 2048 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4)
    conv2d_backward_bias_v2(const T* __restrict__ g,               // [N, P, Q, K]
                            accumulator_t<T>* __restrict__ parts,  // [M, K]
                            Index windows,                         // N·P·Q
                            Index windows_a_part,                  // M of them are all, or more
                            int K) {
  using Sum = accumulator_t<T>;
  constexpr int kRows = 8;
  __shared__ Sum sums[kRows][kWarp];
  const int row = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int k = blockIdx.x * kWarp + lane;
  const Index begin = blockIdx.y * windows_a_part, end = min(begin + windows_a_part, windows);
  Sum sum = 0;
  if (k < K) {
    for (Index i = begin + row; i < end; i += kRows) sum += load(g[i * K + k]);
  }
  sums[row][lane] = sum;
  __syncthreads();
  if (row > 0 || k >= K) return;
  for (int other = 1; other < kRows; ++other) sum += sums[other][lane];
  parts[static_cast<Index>(blockIdx.y) * K + k] = sum;
}
