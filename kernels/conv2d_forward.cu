// conv2d_forward.cu: convolution, with bias and ReLU
//
// Purpose: y = conv2d(x, w) + b, and its positive part if asked,
//
//            y[n, p, q, k] = b[k] + Σ_{r, s, c} x[n, h, w, c] · w[k, r, s, c]
//            h = p·stride_h + r·dilation_h - pad_h,   w = q·stride_w + s·dilation_w - pad_w
//
//          where x is 0 outside the image and, with groups, c runs over the channels of k's group only.
//          As a product of matrices it has a row for each window (n, p, q), a column for each kernel k, and
//          the depth (r, s, c): "implicit GEMM", for the matrix of windows is never stored.  (S. Chetlur et
//          al., "cuDNN: Efficient Primitives for Deep Learning", 2014, section 3.)  The loops of v3 to v8
//          are in implicit_gemm.cuh, where the convolutions of backward use them too.
// Shapes:  x [N, H, W, C], w [K, R, S, C/G], b [K], y [N, P, Q, K]
// Threads: v1: one an output.  v2: one warp an output.  From v3 on a block computes a tile of the N·P·Q × K/G
//          outputs of one group: blockIdx.x is the tile, blockIdx.z the group.
// Cost:    2·N·P·Q·K·(C/G)·R·S FLOPs.  The least bytes, each number moved once:
//          (N·H·W·C + K·(C/G)·R·S + N·P·Q·K) · bytes of a number.  A tile of TM × TN outputs loads TM + TN
//          numbers for TM·TN multiply-adds: with floats and 128 × 128, 32 FLOPs a byte, most of them from the
//          second-level cache, where the tiles of the same windows and of the same kernels meet.
// Versions:
//   conv2d_forward_v1   the definition: one thread an output, neighbours along q
//   conv2d_forward_v2   one warp an output, lanes along the channels: every load of a warp is contiguous
//   conv2d_forward_v3   tiles in shared memory: each number loaded serves 16 outputs
//   conv2d_forward_v4   8 × 8 outputs a thread: each number read from shared memory serves 8
//   conv2d_forward_v5   16 bytes an instruction, from global and from shared memory
//   conv2d_forward_v6   tiles copied ahead by cp.async, and warp tiles
//   conv2d_forward_v7   tensor cores on TF32, which rounds x and w to 10 bits of mantissa
//   conv2d_forward_v8   tensor cores on 16-bit numbers, sums in float
#include "common.cuh"
#include "implicit_gemm.cuh"

// One group's convolution as a product: what v3 to v8 have in common.
template <typename T, typename Index, int kKernel>
struct Forward {
  Windows<T, Index, kKernel> windows;
  Matrix<T, Index> kernels;
  RowMajor<T, Index> tail;
  Extent extent;

  __device__ __forceinline__ Forward(const T* x, const T* w, const T* b, T* y, const Conv2d& conv, bool relu)
      : windows(x, conv, blockIdx.z) {
    const int group = blockIdx.z, count = conv.K / conv.G, depth = conv.R * conv.S * (conv.C / conv.G);
    kernels = {w, depth, static_cast<Index>(group) * count * depth};
    tail = {y, conv.K, count, b, relu, group * count};
    extent = {conv.N * conv.P * conv.Q, count, 0, depth};
  }
};

// v1: one thread an output, in the order N, K, P, Q: the threads of a warp are windows side by side, of one
//     kernel.  They read the same w; but each x lies C numbers from the next, and each y K from the next, so
//     that a warp's load touches 32 sectors of 32 bytes and uses 4 bytes of each.
// instances: <float, int>, <double, int>, <float, long long>
// budget: 64 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4) conv2d_forward_v1(const T* __restrict__ x,  // [N, H, W, C]
                                                            const T* __restrict__ w,  // [K, R, S, C/G]
                                                            const T* __restrict__ b,  // [K] or null
                                                            T* __restrict__ y,        // [N, P, Q, K]
                                                            Conv2d conv, bool relu) {
  const Index i = thread_in_grid<Index>();
  const int windows = conv.P * conv.Q;  // of an image
  if (i >= static_cast<Index>(conv.N) * windows * conv.K) return;
  const int p = i % windows / conv.Q, q = i % conv.Q;
  const int k = i / windows % conv.K, n = i / windows / conv.K;
  const int channels = conv.C / conv.G, first = k / (conv.K / conv.G) * channels;  // of k's group
  T sum[1] = {};
  for (int r = 0; r < conv.R; ++r) {
    const int row = p * conv.stride_h + r * conv.dilation_h - conv.pad_h;
    for (int s = 0; s < conv.S; ++s) {
      const int column = q * conv.stride_w + s * conv.dilation_w - conv.pad_w;
      if (row < 0 || row >= conv.H || column < 0 || column >= conv.W) continue;
      const T* pixel = x + ((static_cast<Index>(n) * conv.H + row) * conv.W + column) * conv.C + first;
      const T* kernel = w + ((static_cast<Index>(k) * conv.R + r) * conv.S + s) * channels;
      for (int c = 0; c < channels; ++c) sum[0] += pixel[c] * kernel[c];
    }
  }
  const RowMajor<T, Index> tail{y, conv.K, conv.K, b, relu, 0};
  tail(n * windows + p * conv.Q + q, k, sum);
}

// v2: one warp an output, in the order of y, its lanes along the channels: a warp's load is of 128 bytes
//     side by side, 4 sectors used whole, where the two loads of v1 touch 33.  In return 5 shuffles add
//     up what the lanes have, and below 32 channels a group some lanes have nothing to do.
// instances: <float, int>, <double, int>, <float, long long>
// budget: 64 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4) conv2d_forward_v2(const T* __restrict__ x,  // [N, H, W, C]
                                                            const T* __restrict__ w,  // [K, R, S, C/G]
                                                            const T* __restrict__ b,  // [K] or null
                                                            T* __restrict__ y,        // [N, P, Q, K]
                                                            Conv2d conv, bool relu) {
  const Index i = static_cast<Index>(blockIdx.x) * (blockDim.x / kWarp) + threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;
  const int windows = conv.N * conv.P * conv.Q;
  if (i >= static_cast<Index>(windows) * conv.K) return;  // the whole warp
  const int k = i % conv.K, m = i / conv.K;
  const int q = m % conv.Q, p = m / conv.Q % conv.P, n = m / conv.Q / conv.P;
  const int channels = conv.C / conv.G, first = k / (conv.K / conv.G) * channels;  // of k's group
  T sum[1] = {};
  for (int r = 0; r < conv.R; ++r) {
    const int row = p * conv.stride_h + r * conv.dilation_h - conv.pad_h;
    for (int s = 0; s < conv.S; ++s) {
      const int column = q * conv.stride_w + s * conv.dilation_w - conv.pad_w;
      if (row < 0 || row >= conv.H || column < 0 || column >= conv.W) continue;
      const T* pixel = x + ((static_cast<Index>(n) * conv.H + row) * conv.W + column) * conv.C + first;
      const T* kernel = w + ((static_cast<Index>(k) * conv.R + r) * conv.S + s) * channels;
      for (int c = lane; c < channels; c += kWarp) sum[0] += pixel[c] * kernel[c];
    }
  }
  for (int apart = kWarp / 2; apart > 0; apart /= 2) sum[0] += __shfl_xor_sync(kAllLanes, sum[0], apart);
  const RowMajor<T, Index> tail{y, conv.K, conv.K, b, relu, 0};
  if (lane == 0) tail(m, k, sum);
}

// v3: a block of 256 threads computes 16 windows × 16 kernels, and loads 16 + 16 numbers for 256
//     multiply-adds, where v2 loads two for each: a sixteenth of the traffic.
// instances: <float, int>, <double, int>, <float, long long>
// budget: 56 registers, 4352 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4) conv2d_forward_v3(const T* __restrict__ x,  // [N, H, W, C]
                                                            const T* __restrict__ w,  // [K, R, S, C/G]
                                                            const T* __restrict__ b,  // [K] or null
                                                            T* __restrict__ y,        // [N, P, Q, K]
                                                            Conv2d conv, bool relu) {
  const Forward<T, Index, 0> of(x, w, b, y, conv, relu);
  product_tiles<16>(of.windows, of.kernels, of.extent, of.tail);
}

// v4: 256 threads compute 16·kSide windows × 16·kSide kernels, kSide × kSide outputs a thread.  v3 is bound
//     by its two reads of shared memory a multiply-add; here there are 2 / kSide: a quarter for a kSide of 8.
//     (4 is for small problems, which would otherwise leave multiprocessors without work.)  From here on
//     kKernel tells the compiler what R×S is: to find a sample of 3×3 it divides by a constant, and of 1×1
//     there is nothing to find.
// instances: <float, int, 3, 8>, <float, int, 1, 8>, <float, int, 0, 8>, <float, int, 0, 4>,
//            <double, int, 0, 4>, <float, long long, 0, 4>
// budget: 128 registers, 9216 B shared
template <typename T, typename Index, int kKernel, int kSide>
__global__ void __launch_bounds__(256, 2) conv2d_forward_v4(const T* __restrict__ x,  // [N, H, W, C]
                                                            const T* __restrict__ w,  // [K, R, S, C/G]
                                                            const T* __restrict__ b,  // [K] or null
                                                            T* __restrict__ y,        // [N, P, Q, K]
                                                            Conv2d conv, bool relu) {
  const Forward<T, Index, kKernel> of(x, w, b, y, conv, relu);
  product_registers<kSide>(of.windows, of.kernels, of.extent, of.tail);
}

// v5: 16 bytes an instruction.  For 16 places of the depth a thread of v4 loads 16 numbers from global memory
//     and reads shared memory 256 times, for its 1,024 multiply-adds; here it loads 4 times and reads 64
//     times.  (kVector = 1 is for channels of a group that are no multiple of 4: only reads are of 16 bytes.)
// instances: <float, int, 4, 3, 8>, <float, int, 4, 1, 8>, <float, int, 4, 0, 8>, <float, int, 1, 0, 8>,
//            <float, int, 4, 0, 4>, <float, int, 1, 0, 4>, <float, long long, 1, 0, 4>
// budget: 168 registers, 20480 B shared
template <typename T, typename Index, int kVector, int kKernel, int kSide>
__global__ void __launch_bounds__(256, kVector == 1 ? 1 : 2)
    conv2d_forward_v5(const T* __restrict__ x,  // [N, H, W, C]
                      const T* __restrict__ w,  // [K, R, S, C/G]
                      const T* __restrict__ b,  // [K] or null
                      T* __restrict__ y,        // [N, P, Q, K]
                      Conv2d conv, bool relu) {
  const Forward<T, Index, kKernel> of(x, w, b, y, conv, relu);
  product_vectors<kSide, kVector>(of.windows, of.kernels, of.extent, of.tail);
}

// v6: the tiles of the next three steps are on their way, by cp.async, while this one is computed: nobody
//     waits for global memory, and one barrier a step is left of two.  The 32 × 64 outputs of a warp ask
//     shared memory for 12 different vectors a read instead of 18.  A step of four places of the depth is
//     283 instructions of sm_90, 256 of them multiply-adds.  Tiles of 128 × 128 take 81,920 B of shared
//     memory.
// instances: <float, int, 4, 3, 128, 128, 16>, <float, int, 4, 1, 128, 128, 16>,
//            <float, int, 4, 0, 128, 128, 16>, <float, int, 4, 3, 128, 64, 16>,
//            <float, int, 4, 0, 64, 64, 16>, <float, int, 1, 0, 128, 64, 16>,
//            <float, long long, 4, 0, 128, 128, 16>
// budget: 168 registers, 0 B shared
// needs: sm_80
template <typename T, typename Index, int kVector, int kKernel, int kTileM, int kTileN, int kDepth>
__global__ void __launch_bounds__(kTileM * kTileN / 64, kResident<Index, kVector, kTileN>)
    conv2d_forward_v6(const T* __restrict__ x,  // [N, H, W, C]
                      const T* __restrict__ w,  // [K, R, S, C/G]
                      const T* __restrict__ b,  // [K] or null
                      T* __restrict__ y,        // [N, P, Q, K]
                      Conv2d conv, bool relu) {
  extern __shared__ __align__(16) unsigned char memory[];
  const Forward<T, Index, kKernel> of(x, w, b, y, conv, relu);
  product_pipeline<kTileM, kTileN, kVector, kDepth>(of.windows, of.kernels, of.extent, of.tail,
                                                    reinterpret_cast<T*>(memory));
}

// v7: v6's pipeline feeds the tensor cores: by one instruction a warp multiplies 16 × 8 by 8 × 8, 1,024
//     multiply-adds, where an FMA of its lanes is 32.  x and w are rounded to TF32, 10 bits of mantissa:
//     each number is wrong by up to 1 in 2,048, while sums stay float.  A step is twice as deep, 128 bytes
//     of the depth in 2 stages: of the instructions of one (sm_90), 4 · 91 multiply, and the 172 that come
//     with every step, for the copies and the barrier, weigh more now.  Tiles of 128 × 128 take 73,728 B of
//     shared memory.
// instances: <float, int, 4, 3, 128, 128, 32>, <float, int, 4, 1, 128, 128, 32>,
//            <float, int, 4, 0, 128, 128, 32>, <float, int, 4, 3, 128, 64, 32>,
//            <float, int, 4, 0, 64, 64, 32>, <float, int, 1, 0, 128, 64, 16>,
//            <float, long long, 4, 0, 128, 128, 32>
// budget: 168 registers, 0 B shared
// needs: sm_80
template <typename T, typename Index, int kVector, int kKernel, int kTileM, int kTileN, int kDepth>
__global__ void __launch_bounds__(kTileM * kTileN / 64, kResident<Index, kVector, kTileN>)
    conv2d_forward_v7(const T* __restrict__ x,  // [N, H, W, C]
                      const T* __restrict__ w,  // [K, R, S, C/G]
                      const T* __restrict__ b,  // [K] or null
                      T* __restrict__ y,        // [N, P, Q, K]
                      Conv2d conv, bool relu) {
  extern __shared__ __align__(16) unsigned char memory[];
  const Forward<T, Index, kKernel> of(x, w, b, y, conv, relu);
  product_tensor_cores<kTileM, kTileN, kVector, kDepth>(of.windows, of.kernels, of.extent, of.tail,
                                                        reinterpret_cast<T*>(memory));
}

// v8: 16-bit x, w and y, sums in float.  The same bytes hold twice the numbers, and an mma of the same
//     time makes twice the products, 16 × 16 by 16 × 8.  Nothing has to be rounded on the way.
// instances: <__half, int, 8, 3, 128, 128, 64>, <__half, int, 8, 0, 128, 64, 64>,
//            <__half, int, 1, 0, 128, 64, 32>, <__half, long long, 1, 0, 128, 64, 32>,
//            <__nv_bfloat16, int, 8, 3, 128, 128, 64>, <__nv_bfloat16, int, 8, 0, 128, 64, 64>,
//            <__nv_bfloat16, int, 1, 0, 128, 64, 32>, <__nv_bfloat16, long long, 1, 0, 128, 64, 32>
// budget: 255 registers, 0 B shared
// needs: sm_80
template <typename T, typename Index, int kVector, int kKernel, int kTileM, int kTileN, int kDepth>
__global__ void __launch_bounds__(kTileM * kTileN / 64, kResident<Index, kVector, kTileN>)
    conv2d_forward_v8(const T* __restrict__ x,  // [N, H, W, C]
                      const T* __restrict__ w,  // [K, R, S, C/G]
                      const T* __restrict__ b,  // [K] or null
                      T* __restrict__ y,        // [N, P, Q, K]
                      Conv2d conv, bool relu) {
  extern __shared__ __align__(16) unsigned char memory[];
  const Forward<T, Index, kKernel> of(x, w, b, y, conv, relu);
  product_tensor_cores<kTileM, kTileN, kVector, kDepth>(of.windows, of.kernels, of.extent, of.tail,
                                                        reinterpret_cast<T*>(memory));
}
