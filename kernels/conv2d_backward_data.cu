// conv2d_backward_data.cu: the gradient of a convolution's input
//
// Purpose: dx = ∂L/∂x of y = conv2d(x, w), from g = ∂L/∂y,
//
//            dx[n, h, w, c] = Σ_{r, s, k} g[n, p, q, k] · w[k, r, s, c]
//            p·stride_h + r·dilation_h = h + pad_h,   q·stride_w + s·dilation_w = w + pad_w
//
//          over the windows (p, q) inside P×Q that see pixel (h, w), and with groups over the kernels k of
//          c's group.  Every pixel gathers what it is owed, so no two threads add to one number: no atomics,
//          and the same bits in every run.  With stride 1 it is a convolution of g with the kernels turned
//          by 180° (V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning", 2016,
//          section 4).  The loops of v3 to v8 are in implicit_gemm.cuh.
// Shapes:  g [N, P, Q, K], w [K, R, S, C/G], dx [N, H, W, C]; the workspace of v5 to v8 is w turned,
//          [C, R, S, K/G]
// Threads: v1, v2: one a number of dx.  From v3 on a block computes a tile of the pixels × C/G channels of
//          one group and of one residue (see Residue): blockIdx.x is the tile, blockIdx.z residue and group.
// Cost:    2·N·K·P·Q·(C/G)·R·S FLOPs, less those of the padding.  The least bytes, each number moved once:
//          (N·P·Q·K + K·R·S·C/G + N·H·W·C) · bytes of a number, and twice w more where it is turned.
// Versions:
//   conv2d_backward_data_v1        the definition: one thread a number of dx, neighbours along the columns
//   conv2d_backward_data_v2        neighbours along the channels: a warp's weights are contiguous, its g one
//   conv2d_backward_data_v3        tiles in shared memory: each number loaded serves 16; pixels by residue,
//                                  so that no tap of a tile falls between two windows of a stride
//   conv2d_backward_data_v4        8 × 8 numbers a thread: each one read from shared memory serves 8
//   conv2d_backward_data_v5_turn   kernels and channels of w change places, for v5 to v8
//   conv2d_backward_data_v5        16 bytes an instruction, from global and from shared memory
//   conv2d_backward_data_v6        tiles copied ahead by cp.async, and warp tiles
//   conv2d_backward_data_v7        tensor cores on TF32, which rounds g and w to 10 bits of mantissa
//   conv2d_backward_data_v8        tensor cores on 16-bit numbers, sums in float
#include "common.cuh"
#include "implicit_gemm.cuh"
#include "window.cuh"

// dx[n, row, column, c] as it is defined.
template <typename T, typename Index>
__device__ T gradient_of_pixel(const T* g, const T* w, const Conv2d& conv, const Place& pixel, int c) {
  const int kernels = conv.K / conv.G, channels = conv.C / conv.G;
  const int first = c / channels * kernels;  // of the kernels of c's group
  const Index kernel_size = static_cast<Index>(conv.R) * conv.S * channels;
  T sum = 0;
  for (int r = 0; r < conv.R; ++r) {
    const int p = window_seeing(pixel.row + conv.pad_h, r * conv.dilation_h, conv.stride_h, conv.P);
    if (p < 0) continue;
    for (int s = 0; s < conv.S; ++s) {
      const int q = window_seeing(pixel.column + conv.pad_w, s * conv.dilation_w, conv.stride_w, conv.Q);
      if (q < 0) continue;
      const T* gradients = g + number_of<Index>(pixel.n, p, q, conv.P, conv.Q) * conv.K + first;
      const T* weights = w + first * kernel_size + (r * conv.S + s) * channels + c % channels;
      for (int k = 0; k < kernels; ++k) sum += gradients[k] * weights[k * kernel_size];
    }
  }
  return sum;
}

// v1: one thread a number of dx, in the order N, C, H, W: the threads of a warp are pixels side by side, of
//     one channel.  They read the same weights; but each g lies K numbers from the next, and each dx C from
//     the next, so that a warp's load touches 32 sectors of 32 bytes and uses 4 bytes of each.
// instances: <float, int>, <double, int>, <float, long long>
// budget: 64 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4)
    conv2d_backward_data_v1(const T* __restrict__ g,  // [N, P, Q, K]
                            const T* __restrict__ w,  // [K, R, S, C/G]
                            T* __restrict__ dx,       // [N, H, W, C]
                            Conv2d conv) {
  const Index i = thread_in_grid<Index>();
  const Index area = static_cast<Index>(conv.H) * conv.W;
  if (i >= area * conv.N * conv.C) return;
  const int c = static_cast<int>(i / area % conv.C), n = static_cast<int>(i / area / conv.C);
  const Place pixel{n, static_cast<int>(i % area / conv.W), static_cast<int>(i % conv.W)};
  dx[number_of<Index>(n, pixel.row, pixel.column, conv.H, conv.W) * conv.C + c] =
      gradient_of_pixel<T, Index>(g, w, conv, pixel, c);
}

// v2: the same sums, the threads in the order of memory, channels fastest.  A warp now loads 32 weights side
//     by side, 4 sectors of which every byte is used, and one g, which is the same for all its threads.
// instances: <float, int>, <double, int>, <float, long long>
// budget: 64 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4)
    conv2d_backward_data_v2(const T* __restrict__ g,  // [N, P, Q, K]
                            const T* __restrict__ w,  // [K, R, S, C/G]
                            T* __restrict__ dx,       // [N, H, W, C]
                            Conv2d conv) {
  const Index i = thread_in_grid<Index>();
  if (i >= static_cast<Index>(conv.N) * conv.H * conv.W * conv.C) return;
  const Place pixel = place_of(i / conv.C, conv.H, conv.W);
  dx[i] = gradient_of_pixel<T, Index>(g, w, conv, pixel, static_cast<int>(i % conv.C));
}

// The pixels of one residue along an axis, (pixel + pad) mod stride = residue, and the windows that see them:
//
//   pixel(i)     = first_pixel + i · stride             0 ≤ i < pixels
//   tap(j)       = first_tap + j · tap_step             0 ≤ j < taps
//   window(i, j) = first_window + i - j · window_step   the one whose tap(j) lies on pixel(i)
//
// A pixel and a tap meet in some window only once in `stride` times.  In a tile all pixels should have the
// same taps, and those of one residue do: so each residue is a product of its own, in effect a convolution
// of stride 1, over the taps that meet it.  All together cost 1/stride, on each axis, of one product over
// all pixels and all taps: 3×3 kernels of stride 2 have residues of 4, 2, 2 and 1 taps, each of a quarter of
// the pixels, and so 2.25 taps a pixel in place of 9.
struct Residue {
  int stride;
  int pixels;
  int first_pixel;
  int taps;
  int first_tap;
  int tap_step;
  int first_window;
  int window_step;

  __device__ Residue(int residue, int size, int kernel, int stride, int pad, int dilation) : stride(stride) {
    first_pixel = (residue + stride - pad % stride) % stride;
    pixels = size > first_pixel ? ceil_div(size - first_pixel, stride) : 0;
    tap_step = 1;
    while (tap_step * dilation % stride != 0) ++tap_step;
    first_tap = 0;
    while (first_tap < kernel && first_tap * dilation % stride != residue) ++first_tap;
    taps = ceil_div(kernel - first_tap, tap_step);
    first_window = (first_pixel + pad - first_tap * dilation) / stride;
    window_step = tap_step * dilation / stride;
  }

  __device__ __forceinline__ int tap(int j) const { return first_tap + j * tap_step; }
};

// One of the products that dx is made of, of a group and a residue on each axis.  Its rows are the residues'
// pixels, image after image; its depth is their taps, with the kernels of the group, which run fastest.
struct Piece {
  int group;
  int kernels;   // of a group
  int channels;  // of a group
  Residue rows;
  Residue columns;
  Divisor by_kernels;
  Divisor by_taps;    // of a row of the kernel
  Divisor by_width;   // pixels of a row
  Divisor by_height;  // rows of an image

  // A place of the depth.
  struct Term {
    int k;
    int tap_row;
    int tap_column;
  };

  __device__ Piece(const Conv2d& conv, int number)
      : group(number % conv.G),
        kernels(conv.K / conv.G),
        channels(conv.C / conv.G),
        rows(number / conv.G / conv.stride_w, conv.H, conv.R, conv.stride_h, conv.pad_h, conv.dilation_h),
        columns(number / conv.G % conv.stride_w, conv.W, conv.S, conv.stride_w, conv.pad_w, conv.dilation_w),
        by_kernels(kernels),
        by_taps(max(columns.taps, 1)),
        by_width(max(columns.pixels, 1)),
        by_height(max(rows.pixels, 1)) {}

  __device__ __forceinline__ Place pixel(int i) const {
    const int line = by_width.quotient(i), n = by_height.quotient(line);
    return {n, line - n * rows.pixels, i - line * columns.pixels};
  }

  // kKernel is 1 for 1×1 kernels, 0 for any: how many taps of 3×3 there are differs among residues.
  template <int kKernel>
  __device__ __forceinline__ Term term(int kk) const {
    if (kKernel == 1) return {kk, 0, 0};
    const int tap = by_kernels.quotient(kk), tap_row = by_taps.quotient(tap);
    return {kk - tap * kernels, tap_row, tap - tap_row * columns.taps};
  }
};

// This block's piece.  It is kept in shared memory, made by one thread, since 31 registers a thread are more
// than the sums leave; as bare numbers, since objects in shared memory have no constructors.
__device__ __forceinline__ const Piece& piece_of_block(const Conv2d& conv) {
  __shared__ int numbers[sizeof(Piece) / sizeof(int)];
  Piece& piece = *reinterpret_cast<Piece*>(numbers);
  if (threadIdx.x == 0) piece = Piece(conv, blockIdx.z);
  __syncthreads();
  return piece;
}

// A: for each pixel what its windows got, g[pixel][(r, s, k)].
template <typename T_, typename Index, int kKernel>
struct Gradients {
  using T = T_;
  static constexpr bool kAlongDepth = true;
  struct Row {
    Index base;  // of the window whose first tap lies on the pixel, even where there is no such window
    int p;
    int q;
  };
  struct Depth {
    int offset;  // from that window
    int p;
    int q;
  };

  const T* g;
  const Conv2d& conv;
  const Piece& piece;

  __device__ __forceinline__ Row row(int i) const {
    const Place at = piece.pixel(i);
    const int p = piece.rows.first_window + at.row, q = piece.columns.first_window + at.column;
    return {number_of<Index>(at.n, p, q, conv.P, conv.Q) * conv.K + piece.group * piece.kernels, p, q};
  }

  __device__ __forceinline__ Depth depth(int kk) const {
    const Piece::Term term = piece.term<kKernel>(kk);
    const int p = -term.tap_row * piece.rows.window_step, q = -term.tap_column * piece.columns.window_step;
    return {(p * conv.Q + q) * conv.K + term.k, p, q};
  }

  __device__ __forceinline__ const T* at(const Row& row, const Depth& depth) const {
    const bool exists = static_cast<unsigned>(row.p + depth.p) < static_cast<unsigned>(conv.P) &&
                        static_cast<unsigned>(row.q + depth.q) < static_cast<unsigned>(conv.Q);
    return exists ? g + (row.base + depth.offset) : nullptr;
  }
};

// B: for each channel its weights, w[c][(r, s, k)], as they lie: channels side by side.
template <typename T_, typename Index>
struct Weights {
  using T = T_;
  static constexpr bool kAlongDepth = false;
  struct Row {
    int c;
  };
  struct Depth {
    Index base;
  };

  const T* w;
  const Conv2d& conv;
  const Piece& piece;

  __device__ __forceinline__ Row row(int c) const { return {c}; }

  __device__ __forceinline__ Depth depth(int kk) const {
    const Piece::Term term = piece.term<0>(kk);
    const int k = piece.group * piece.kernels + term.k;
    const int r = piece.rows.tap(term.tap_row), s = piece.columns.tap(term.tap_column);
    return {number_of<Index>(k, r, s, conv.R, conv.S) * piece.channels};
  }

  __device__ __forceinline__ const T* at(const Row& row, const Depth& depth) const {
    return w + (depth.base + row.c);
  }
};

// B of weights that were turned: kernels side by side, as in g.
template <typename T_, typename Index, int kKernel>
struct TurnedWeights {
  using T = T_;
  static constexpr bool kAlongDepth = true;
  struct Row {
    Index base;
  };
  struct Depth {
    int offset;
  };

  const T* turned;
  const Conv2d& conv;
  const Piece& piece;

  __device__ __forceinline__ Row row(int c) const {
    const Index kernel_size = conv.R * conv.S * piece.kernels;
    return {(piece.group * piece.channels + c) * kernel_size};
  }

  __device__ __forceinline__ Depth depth(int kk) const {
    const Piece::Term term = piece.term<kKernel>(kk);
    const int r = piece.rows.tap(term.tap_row), s = piece.columns.tap(term.tap_column);
    return {(r * conv.S + s) * piece.kernels + term.k};
  }

  __device__ __forceinline__ const T* at(const Row& row, const Depth& depth) const {
    return turned + (row.base + depth.offset);
  }
};

// The tail: row i of D goes to its pixel of dx.
template <typename T, typename Index>
struct ToPixels {
  T* dx;
  const Conv2d& conv;
  const Piece& piece;

  template <typename Sum, int kCount>
  __device__ __forceinline__ void operator()(int i, int c, const Sum (&sum)[kCount]) const {
    const RowMajor<T, Index> images{dx, conv.C, piece.channels, nullptr, false, piece.group * piece.channels};
    const Place at = piece.pixel(i);
    const int row = piece.rows.first_pixel + at.row * piece.rows.stride;
    const int column = piece.columns.first_pixel + at.column * piece.columns.stride;
    images(number_of<int>(at.n, row, column, conv.H, conv.W), c, sum);
  }
};

// What v3 to v8 have in common: the product that this block's piece is.
template <typename T, typename Index, int kKernel, typename B>
struct BackwardData {
  Gradients<T, Index, kKernel> gradients;
  B weights;
  ToPixels<T, Index> tail;
  Extent extent;

  __device__ __forceinline__ BackwardData(const T* g, const T* w, T* dx, const Conv2d& conv,
                                          const Piece& piece)
      : gradients{g, conv, piece},
        weights{w, conv, piece},
        tail{dx, conv, piece},
        extent{conv.N * piece.rows.pixels * piece.columns.pixels, piece.channels, 0,
               piece.rows.taps * piece.columns.taps * piece.kernels} {}

  // Whether this block has a tile: the grid is made for the residues with the most pixels.
  __device__ __forceinline__ bool has_tile(int rows, int columns) const {
    return static_cast<int>(blockIdx.x) < ceil_div(extent.rows, rows) * ceil_div(extent.columns, columns);
  }
};

template <typename T, typename Index>
using AsTheyLie = BackwardData<T, Index, 0, Weights<T, Index>>;
template <typename T, typename Index, int kKernel>
using Turned = BackwardData<T, Index, kKernel, TurnedWeights<T, Index, kKernel>>;

// v3: a block of 256 threads computes 16 pixels × 16 channels and loads 16 + 16 numbers for 256
//     multiply-adds, where v2 loads 2 for each: a sixteenth of the traffic.
// instances: <float, int>, <double, int>, <float, long long>
// budget: 56 registers, 4480 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4)
    conv2d_backward_data_v3(const T* __restrict__ g,  // [N, P, Q, K]
                            const T* __restrict__ w,  // [K, R, S, C/G]
                            T* __restrict__ dx,       // [N, H, W, C]
                            Conv2d conv) {
  const AsTheyLie<T, Index> of(g, w, dx, conv, piece_of_block(conv));
  if (of.has_tile(16, 16)) product_tiles<16>(of.gradients, of.weights, of.extent, of.tail);
}

// v4: the same 256 threads compute 16·kSide pixels × 16·kSide channels, kSide × kSide a thread.  v3 is bound
//     by its two reads of shared memory a multiply-add; here they are 2 / kSide, a quarter for kSide = 8
//     (small problems, and double, take 4).
// instances: <float, int, 8>, <float, int, 4>, <double, int, 4>, <float, long long, 4>
// budget: 128 registers, 9344 B shared
template <typename T, typename Index, int kSide>
__global__ void __launch_bounds__(256, 2)
    conv2d_backward_data_v4(const T* __restrict__ g,  // [N, P, Q, K]
                            const T* __restrict__ w,  // [K, R, S, C/G]
                            T* __restrict__ dx,       // [N, H, W, C]
                            Conv2d conv) {
  constexpr int kTile = 16 * kSide;
  const AsTheyLie<T, Index> of(g, w, dx, conv, piece_of_block(conv));
  if (of.has_tile(kTile, kTile)) product_registers<kSide>(of.gradients, of.weights, of.extent, of.tail);
}

// v5: first, w is turned.  In w channels are contiguous, in g kernels.  With the kernels of w side by side
//     too, both operands are contiguous along the depth, as those of the forward convolution are: then it
//     is enough for vectors that K/G is a multiple of theirs, and ldmatrix can load all fragments of v7.  A
//     block takes 32 × 32 numbers of one tap through shared memory, whose lines are padded by one, so that
//     columns lie in different banks: what is read from memory is contiguous, and what is written is.
// instances: <float, int>, <__half, int>, <__nv_bfloat16, int>, <float, long long>, <__half, long long>,
//            <__nv_bfloat16, long long>
// budget: 32 registers, 4224 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4)
    conv2d_backward_data_v5_turn(const T* __restrict__ w,  // [K, R, S, C/G]
                                 T* __restrict__ turned,   // [C, R, S, K/G]
                                 Conv2d conv) {
  __shared__ T tile[kWarp][kWarp + 1];
  const int kernels = conv.K / conv.G, channels = conv.C / conv.G, taps = conv.R * conv.S;
  const int across = ceil_div(channels, kWarp), down = ceil_div(kernels, kWarp);
  const int block = static_cast<int>(blockIdx.x);  // (group, tap, kernels, channels)
  const int group = block / across / down / taps, tap = block / across / down % taps;
  const int k = block / across % down * kWarp, c = block % across * kWarp;
  const int lane = threadIdx.x % kWarp, line = threadIdx.x / kWarp;
  for (int i = line; i < kWarp; i += 8) {
    if (k + i >= kernels || c + lane >= channels) continue;
    const Index kernel = group * kernels + k + i;
    tile[i][lane] = w[(kernel * taps + tap) * channels + c + lane];
  }
  __syncthreads();
  for (int i = line; i < kWarp; i += 8) {
    if (c + i >= channels || k + lane >= kernels) continue;
    const Index channel = group * channels + c + i;
    turned[(channel * taps + tap) * kernels + k + lane] = tile[lane][i];
  }
}

// v5: then, 16 bytes an instruction.  For 16 places of the depth a thread of v4 loads 16 numbers from global
//     memory and reads shared memory 256 times, for its 1,024 multiply-adds; here it loads 4 times and
//     reads 64 times.  (kVector = 1 is for kernels of a group that are no multiple of 4: only reads are of
//     16 bytes.)
// instances: <float, int, 4, 0, 8>, <float, int, 4, 1, 8>, <float, int, 1, 0, 8>, <float, int, 4, 0, 4>,
//            <float, int, 1, 0, 4>, <float, long long, 1, 0, 4>
// budget: 168 registers, 20608 B shared
template <typename T, typename Index, int kVector, int kKernel, int kSide>
__global__ void __launch_bounds__(256, kVector == 1 ? 1 : 2)
    conv2d_backward_data_v5(const T* __restrict__ g,       // [N, P, Q, K]
                            const T* __restrict__ turned,  // [C, R, S, K/G]
                            T* __restrict__ dx,            // [N, H, W, C]
                            Conv2d conv) {
  constexpr int kTile = 16 * kSide;
  const Turned<T, Index, kKernel> of(g, turned, dx, conv, piece_of_block(conv));
  if (!of.has_tile(kTile, kTile)) return;
  product_vectors<kSide, kVector>(of.gradients, of.weights, of.extent, of.tail);
}

// v6: the tiles of the next three steps are on their way, by cp.async, while this one is computed: nobody
//     waits for global memory, and one barrier a step is left of two.  Tiles of 128 × 128 take 81,920 B of
//     shared memory.
// instances: <float, int, 4, 0, 128, 128, 16>, <float, int, 4, 1, 128, 128, 16>,
//            <float, int, 4, 0, 128, 64, 16>, <float, int, 4, 0, 64, 64, 16>,
//            <float, int, 1, 0, 128, 64, 16>, <float, long long, 1, 0, 128, 64, 16>
// budget: 168 registers, 128 B shared
// needs: sm_80
template <typename T, typename Index, int kVector, int kKernel, int kTileM, int kTileN, int kDepth>
__global__ void __launch_bounds__(kTileM * kTileN / 64, kResident<Index, kVector, kTileN>)
    conv2d_backward_data_v6(const T* __restrict__ g,       // [N, P, Q, K]
                            const T* __restrict__ turned,  // [C, R, S, K/G]
                            T* __restrict__ dx,            // [N, H, W, C]
                            Conv2d conv) {
  extern __shared__ __align__(16) unsigned char memory[];
  const Turned<T, Index, kKernel> of(g, turned, dx, conv, piece_of_block(conv));
  if (!of.has_tile(kTileM, kTileN)) return;
  product_pipeline<kTileM, kTileN, kVector, kDepth>(of.gradients, of.weights, of.extent, of.tail,
                                                    reinterpret_cast<T*>(memory));
}

// v7: v6's pipeline feeds the tensor cores: by one instruction a warp multiplies 16 × 8 by 8 × 8, 1,024
//     multiply-adds, where an FMA of its lanes is 32.  g and w are rounded to TF32, 10 bits of mantissa:
//     each number is wrong by up to 1 in 2,048, while sums stay float.  Steps are of 128 bytes of the
//     depth, in 2 stages.
// instances: <float, int, 4, 0, 128, 128, 32>, <float, int, 4, 1, 128, 128, 32>,
//            <float, int, 4, 0, 128, 64, 32>, <float, int, 4, 0, 64, 64, 32>,
//            <float, int, 1, 0, 128, 64, 16>, <float, long long, 1, 0, 128, 64, 16>
// budget: 152 registers, 128 B shared
// needs: sm_80
template <typename T, typename Index, int kVector, int kKernel, int kTileM, int kTileN, int kDepth>
__global__ void __launch_bounds__(kTileM * kTileN / 64, kResident<Index, kVector, kTileN>)
    conv2d_backward_data_v7(const T* __restrict__ g,       // [N, P, Q, K]
                            const T* __restrict__ turned,  // [C, R, S, K/G]
                            T* __restrict__ dx,            // [N, H, W, C]
                            Conv2d conv) {
  extern __shared__ __align__(16) unsigned char memory[];
  const Turned<T, Index, kKernel> of(g, turned, dx, conv, piece_of_block(conv));
  if (!of.has_tile(kTileM, kTileN)) return;
  product_tensor_cores<kTileM, kTileN, kVector, kDepth>(of.gradients, of.weights, of.extent, of.tail,
                                                        reinterpret_cast<T*>(memory));
}

// v8: 16-bit g, w and dx, sums in float.  The same bytes hold twice the numbers, and an mma of the same time
//     makes twice the products, 16 × 16 by 16 × 8.  Nothing has to be rounded on the way.
// instances: <__half, int, 8, 0, 128, 128, 64>, <__half, int, 8, 1, 128, 128, 64>,
//            <__half, int, 1, 0, 128, 64, 32>, <__half, long long, 1, 0, 128, 64, 32>,
//            <__nv_bfloat16, int, 8, 0, 128, 128, 64>, <__nv_bfloat16, int, 8, 1, 128, 128, 64>,
//            <__nv_bfloat16, int, 1, 0, 128, 64, 32>, <__nv_bfloat16, long long, 1, 0, 128, 64, 32>
// budget: 128 registers, 128 B shared
// needs: sm_80
template <typename T, typename Index, int kVector, int kKernel, int kTileM, int kTileN, int kDepth>
__global__ void __launch_bounds__(kTileM * kTileN / 64, kResident<Index, kVector, kTileN>)
    conv2d_backward_data_v8(const T* __restrict__ g,       // [N, P, Q, K]
                            const T* __restrict__ turned,  // [C, R, S, K/G]
                            T* __restrict__ dx,            // [N, H, W, C]
                            Conv2d conv) {
  extern __shared__ __align__(16) unsigned char memory[];
  const Turned<T, Index, kKernel> of(g, turned, dx, conv, piece_of_block(conv));
  if (!of.has_tile(kTileM, kTileN)) return;
  product_tensor_cores<kTileM, kTileN, kVector, kDepth>(of.gradients, of.weights, of.extent, of.tail,
                                                        reinterpret_cast<T*>(memory));
}
