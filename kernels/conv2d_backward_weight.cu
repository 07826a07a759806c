// conv2d_backward_weight.cu: the gradients of a convolution's kernels and of its bias
//
// Purpose: dw = ∂L/∂w and db = ∂L/∂b of y = conv2d(x, w) + b, from g = ∂L/∂y,
//
//            dw[k, r, s, c] = Σ_{n, p, q} g[n, p, q, k] · x[n, h, w, c]
//            db[k] = Σ_{n, p, q} g[n, p, q, k]
//            h = p·stride_h + r·dilation_h - pad_h,   w = q·stride_w + s·dilation_w - pad_w
//
//          where x is 0 outside the image and, with groups, c runs over the channels of k's group only.
//          As a product of matrices dw is small, K/G × R·S·C/G, and its depth long, all N·P·Q windows: its
//          tiles alone would leave most of a GPU without work.  So from v5 on the windows are cut into M
//          parts ("split-K"): a block sums one tile over one part, and a second kernel adds the parts, in
//          their order.  No atomics: the same M gives the same bits.  The loops of v3 to v8 are in
//          implicit_gemm.cuh.
// Shapes:  g [N, P, Q, K], x [N, H, W, C], dw [K, R, S, C/G], db [K]; the workspace of v5 to v8 is parts
//          [M, K, R, S, C/G], that of the bias's v2 [M, K], of float for 16-bit g and x, else of their type
// Threads: v1, v2: one a number of dw.  From v3 on a block computes a tile of the K/G × R·S·C/G numbers of
//          one group: blockIdx.x is the tile, blockIdx.y the part, blockIdx.z the group.
// Cost:    2·N·P·Q·K·(C/G)·R·S FLOPs.  The least bytes, each number moved once:
//          (N·P·Q·K + N·H·W·C + K·(C/G)·R·S) · bytes of a number; with M > 1 parts, which are written and
//          read again, 2·M·K·(C/G)·R·S · bytes of a sum more.  db: N·P·Q·K FLOPs, as many numbers loaded.
// Versions:
//   conv2d_backward_weight_v1       the definition: one thread a weight, neighbours along the kernel's window
//   conv2d_backward_weight_v2       neighbours along the channels: what a warp loads of x is contiguous
//   conv2d_backward_weight_v3       tiles in shared memory: each number loaded serves 16 weights
//   conv2d_backward_weight_v4       8 × 8 weights a thread: each number read from shared memory serves 8
//   conv2d_backward_weight_v5       16 bytes an instruction; the windows in parts, so that all of a GPU works
//   conv2d_backward_weight_v5_sum   the parts added up, for v5 to v8 and for the bias
//   conv2d_backward_weight_v6       tiles copied ahead by cp.async, and warp tiles
//   conv2d_backward_weight_v7       tensor cores on TF32, which rounds g and x to 10 bits of mantissa
//   conv2d_backward_weight_v8       tensor cores on 16-bit numbers, sums in float
//   conv2d_backward_bias_v1         one thread a number of db
//   conv2d_backward_bias_v2         8 threads a number and part
#include "common.cuh"
#include "implicit_gemm.cuh"

// dw[k, r, s, c] as it is defined.
template <typename T, typename Index>
__device__ T gradient_of_weight(const T* g, const T* x, const Conv2d& conv, int k, int r, int s, int c) {
  const int channels = conv.C / conv.G, first = k / (conv.K / conv.G) * channels;  // of k's group
  T sum = 0;
  for (int n = 0; n < conv.N; ++n) {
    for (int p = 0; p < conv.P; ++p) {
      const int row = p * conv.stride_h + r * conv.dilation_h - conv.pad_h;
      if (row < 0 || row >= conv.H) continue;
      const T* gradients = g + (static_cast<Index>(n) * conv.P + p) * conv.Q * conv.K + k;
      const T* pixels = x + (static_cast<Index>(n) * conv.H + row) * conv.W * conv.C + first + c;
      for (int q = 0; q < conv.Q; ++q) {
        const int column = q * conv.stride_w + s * conv.dilation_w - conv.pad_w;
        if (column < 0 || column >= conv.W) continue;
        sum += gradients[static_cast<Index>(q) * conv.K] * pixels[static_cast<Index>(column) * conv.C];
      }
    }
  }
  return sum;
}

// v1: one thread a weight, in the order K, C, R, S: the threads of a warp are taps side by side, of one or a
//     few channels.  They read the same g; but each x lies C numbers from the next, so that a warp's load
//     touches up to 32 sectors of 32 bytes and uses 4 bytes of each.
// instances: <float, int>, <double, int>, <float, long long>
// budget: 64 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4)
    conv2d_backward_weight_v1(const T* __restrict__ g,  // [N, P, Q, K]
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

// v2: the same sums, the threads in the order of memory, channels fastest.  A warp now loads 32 channels of
//     one pixel, 4 sectors of which every byte is used, and one g, which is the same for all its threads.
// instances: <float, int>, <double, int>, <float, long long>
// budget: 64 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4)
    conv2d_backward_weight_v2(const T* __restrict__ g,  // [N, P, Q, K]
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

// What v3 to v8 have in common: one group's product over at most `length` windows from `begin` on.  The
// windows are the depth of both operands; kernels and channels, which are contiguous, are their rows.
template <typename T, typename Index, int kKernel>
struct BackwardWeight {
  using Sum = accumulator_t<T>;

  Transposed<Matrix<T, Index>> gradients;
  Transposed<Windows<T, Index, kKernel>> windows;
  RowMajor<Sum, Index> tail;
  Extent extent;

  __device__ __forceinline__ BackwardWeight(const T* g, const T* x, Sum* dw, const Conv2d& conv, int begin,
                                            int length)
      : windows{Windows<T, Index, kKernel>(x, conv, blockIdx.z)} {
    const int group = blockIdx.z, count = conv.K / conv.G, columns = conv.R * conv.S * (conv.C / conv.G);
    gradients = {{g, conv.K, group * count}};
    tail = {dw + static_cast<Index>(group) * count * columns, columns, columns, nullptr, false, 0};
    extent = {count, columns, begin, begin + min(length, conv.N * conv.P * conv.Q - begin)};
  }
};

// v3: a block of 256 threads computes 16 kernels × 16 of their weights and loads 16 + 16 numbers for 256
//     multiply-adds, where v2 loads 2 for each: a sixteenth of the traffic.
// instances: <float, int>, <double, int>, <float, long long>
// budget: 56 registers, 4352 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4)
    conv2d_backward_weight_v3(const T* __restrict__ g,  // [N, P, Q, K]
                              const T* __restrict__ x,  // [N, H, W, C]
                              T* __restrict__ dw,       // [K, R, S, C/G]
                              Conv2d conv) {
  const BackwardWeight<T, Index, 0> of(g, x, dw, conv, 0, conv.N * conv.P * conv.Q);
  product_tiles<16>(of.gradients, of.windows, of.extent, of.tail);
}

// v4: the same 256 threads compute 16·kSide kernels × 16·kSide weights, kSide × kSide a thread.  v3 is bound
//     by its two reads of shared memory a multiply-add; here they are 2 / kSide, a quarter for kSide = 8
//     (small problems, and double, take 4).
// instances: <float, int, 8>, <float, int, 4>, <double, int, 4>, <float, long long, 4>
// budget: 112 registers, 9216 B shared
template <typename T, typename Index, int kSide>
__global__ void __launch_bounds__(256, 2)
    conv2d_backward_weight_v4(const T* __restrict__ g,  // [N, P, Q, K]
                              const T* __restrict__ x,  // [N, H, W, C]
                              T* __restrict__ dw,       // [K, R, S, C/G]
                              Conv2d conv) {
  const BackwardWeight<T, Index, 0> of(g, x, dw, conv, 0, conv.N * conv.P * conv.Q);
  product_registers<kSide>(of.gradients, of.windows, of.extent, of.tail);
}

// The product over this block's part of the windows, into that part of the workspace.
template <typename T, typename Index, int kKernel>
__device__ __forceinline__ BackwardWeight<T, Index, kKernel> part_of_block(const T* g, const T* x,
                                                                           accumulator_t<T>* parts,
                                                                           const Conv2d& conv,
                                                                           int windows_a_part) {
  const int part = blockIdx.y, begin = part * windows_a_part;
  const Index weights = static_cast<Index>(conv.K) * conv.R * conv.S * (conv.C / conv.G);
  return {g, x, parts + part * weights, conv, begin, windows_a_part};
}

// v5: 16 bytes an instruction, and M times the blocks.  For 16 windows a thread of v4 loads 16 numbers from
//     global memory and reads shared memory 256 times, for its 1,024 multiply-adds; here it loads 4 times
//     and reads 64 times.  (kVector = 1 is for kernels or channels of a group that are no multiple of 4:
//     only reads are of 16 bytes.)  And where v4 has as many blocks as dw has tiles, 9 of 128 × 128 for 128
//     kernels of 3×3×128, here 30 parts make 270, two for each of 132 multiprocessors.
// instances: <float, int, 4, 0, 8>, <float, int, 4, 1, 8>, <float, int, 1, 0, 8>, <float, int, 4, 0, 4>,
//            <float, int, 1, 0, 4>, <float, long long, 1, 0, 4>
// budget: 128 registers, 17408 B shared
template <typename T, typename Index, int kVector, int kKernel, int kSide>
__global__ void __launch_bounds__(256, kVector == 1 ? 1 : 2)
    conv2d_backward_weight_v5(const T* __restrict__ g,               // [N, P, Q, K]
                              const T* __restrict__ x,               // [N, H, W, C]
                              accumulator_t<T>* __restrict__ parts,  // [M, K, R, S, C/G]
                              Conv2d conv,
                              int windows_a_part) {  // M times this is all windows, or more
  const auto of = part_of_block<T, Index, kKernel>(g, x, parts, conv, windows_a_part);
  product_vectors<kSide, kVector>(of.gradients, of.windows, of.extent, of.tail);
}

// v5: then, the parts are added, one thread a number, in their order.  They have the type that sums are kept
//     in, and are rounded to dw's type only here.
// instances: <float, int>, <double, int>, <__half, int>, <__nv_bfloat16, int>, <float, long long>,
//            <__half, long long>, <__nv_bfloat16, long long>
// budget: 48 registers, 0 B shared
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

// v6: the tiles of the next three steps are on their way, by cp.async, while this one is computed: nobody
//     waits for global memory, and one barrier a step is left of two.  Tiles of 128 × 128 take 69,632 B of
//     shared memory.
// instances: <float, int, 4, 0, 128, 128, 16>, <float, int, 4, 1, 128, 128, 16>,
//            <float, int, 4, 0, 128, 64, 16>, <float, int, 4, 0, 64, 64, 16>,
//            <float, int, 1, 0, 128, 64, 16>, <float, long long, 1, 0, 128, 64, 16>
// budget: 168 registers, 0 B shared
// needs: sm_80
template <typename T, typename Index, int kVector, int kKernel, int kTileM, int kTileN, int kDepth>
__global__ void __launch_bounds__(kTileM * kTileN / 64, kResident<Index, kVector, kTileN>)
    conv2d_backward_weight_v6(const T* __restrict__ g,               // [N, P, Q, K]
                              const T* __restrict__ x,               // [N, H, W, C]
                              accumulator_t<T>* __restrict__ parts,  // [M, K, R, S, C/G]
                              Conv2d conv,
                              int windows_a_part) {  // M times this is all windows, or more
  extern __shared__ __align__(16) unsigned char memory[];
  const auto of = part_of_block<T, Index, kKernel>(g, x, parts, conv, windows_a_part);
  product_pipeline<kTileM, kTileN, kVector, kDepth>(of.gradients, of.windows, of.extent, of.tail,
                                                    reinterpret_cast<T*>(memory));
}

// v7: v6's pipeline feeds the tensor cores: by one instruction a warp multiplies 16 × 8 by 8 × 8, 1,024
//     multiply-adds, where an FMA of its lanes is 32.  g and x are rounded to TF32, 10 bits of mantissa:
//     each number is wrong by up to 1 in 2,048, while sums stay float.  Steps are of 32 windows, in 2 stages.
// instances: <float, int, 4, 0, 128, 128, 32>, <float, int, 4, 1, 128, 128, 32>,
//            <float, int, 4, 0, 128, 64, 32>, <float, int, 4, 0, 64, 64, 32>,
//            <float, int, 1, 0, 128, 64, 16>, <float, long long, 1, 0, 128, 64, 16>
// budget: 160 registers, 0 B shared
// needs: sm_80
template <typename T, typename Index, int kVector, int kKernel, int kTileM, int kTileN, int kDepth>
__global__ void __launch_bounds__(kTileM * kTileN / 64, kResident<Index, kVector, kTileN>)
    conv2d_backward_weight_v7(const T* __restrict__ g,               // [N, P, Q, K]
                              const T* __restrict__ x,               // [N, H, W, C]
                              accumulator_t<T>* __restrict__ parts,  // [M, K, R, S, C/G]
                              Conv2d conv,
                              int windows_a_part) {  // M times this is all windows, or more
  extern __shared__ __align__(16) unsigned char memory[];
  const auto of = part_of_block<T, Index, kKernel>(g, x, parts, conv, windows_a_part);
  product_tensor_cores<kTileM, kTileN, kVector, kDepth>(of.gradients, of.windows, of.extent, of.tail,
                                                        reinterpret_cast<T*>(memory));
}

// v8: 16-bit g and x.  The same bytes hold twice the numbers, and an mma of the same time makes twice the
//     products, 16 × 16 by 16 × 8.  Sums and parts are float, whatever type dw is wanted in.
// instances: <__half, int, 8, 0, 128, 128, 64>, <__half, int, 8, 1, 128, 128, 64>,
//            <__half, int, 1, 0, 128, 64, 32>, <__half, long long, 1, 0, 128, 64, 32>,
//            <__nv_bfloat16, int, 8, 0, 128, 128, 64>, <__nv_bfloat16, int, 8, 1, 128, 128, 64>,
//            <__nv_bfloat16, int, 1, 0, 128, 64, 32>, <__nv_bfloat16, long long, 1, 0, 128, 64, 32>
// budget: 168 registers, 0 B shared
// needs: sm_80
template <typename T, typename Index, int kVector, int kKernel, int kTileM, int kTileN, int kDepth>
__global__ void __launch_bounds__(kTileM * kTileN / 64, kResident<Index, kVector, kTileN>)
    conv2d_backward_weight_v8(const T* __restrict__ g,               // [N, P, Q, K]
                              const T* __restrict__ x,               // [N, H, W, C]
                              accumulator_t<T>* __restrict__ parts,  // [M, K, R, S, C/G]
                              Conv2d conv,
                              int windows_a_part) {  // M times this is all windows, or more
  extern __shared__ __align__(16) unsigned char memory[];
  const auto of = part_of_block<T, Index, kKernel>(g, x, parts, conv, windows_a_part);
  product_tensor_cores<kTileM, kTileN, kVector, kDepth>(of.gradients, of.windows, of.extent, of.tail,
                                                        reinterpret_cast<T*>(memory));
}

// v1: one thread a number of db.  A warp loads 32 numbers side by side; but only K threads have work.
// instances: <float, int>, <double, int>, <__half, int>, <__nv_bfloat16, int>, <float, long long>,
//            <__half, long long>, <__nv_bfloat16, long long>
// budget: 48 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4)
    conv2d_backward_bias_v1(const T* __restrict__ g,  // [N, P, Q, K]
                            T* __restrict__ db,       // [K]
                            Index windows,            // N·P·Q
                            int K) {
  const int k = thread_in_grid<int>();
  if (k >= K) return;
  accumulator_t<T> sum = 0;
  for (Index i = 0; i < windows; ++i) sum += load(g[i * K + k]);
  db[k] = store<T>(sum);
}

// v2: M parts of the windows, and 8 threads a number of each: of a block's 8 rows of 32 threads each takes
//     every eighth window, for 32 kernels.  The rows are added in shared memory, the parts as those of dw.
// instances: <float, int>, <double, int>, <__half, int>, <__nv_bfloat16, int>, <float, long long>,
//            <__half, long long>, <__nv_bfloat16, long long>
// budget: 48 registers, 2048 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4)
    conv2d_backward_bias_v2(const T* __restrict__ g,               // [N, P, Q, K]
                            accumulator_t<T>* __restrict__ parts,  // [M, K]
                            Index windows,                         // N·P·Q
                            Index windows_a_part,                  // M times this is all windows, or more
                            int K) {
  using Sum = accumulator_t<T>;
  constexpr int kRows = 8;
  __shared__ Sum sums[kRows][kWarp];
  const int row = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int k = blockIdx.x * kWarp + lane;
  const Index begin = blockIdx.y * windows_a_part, end = begin + min(windows_a_part, windows - begin);
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
