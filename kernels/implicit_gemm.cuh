// implicit_gemm.cuh: a convolution as a product of matrices that are never stored, in six ways.
//
// The three convolutions of training are products  D[i][j] = Σ_kk A(i, kk) · B(j, kk)  of two *operands*:
// matrices whose elements are looked up where they lie, in images and kernels, not copied out of them first.
//
//   forward           D[m][k]         A = windows of x   [m][(r,s,c)]      B = kernels w  [k][(r,s,c)]
//   backward data     D[pixel][c]     A = gradients g    [pixel][(r,s,k)]  B = kernels w  [c][(r,s,k)]
//   backward weight   D[k][(r,s,c)]   A = gradients g    [k][m]            B = windows x  [(r,s,c)][m]
//
// with m = (n, p, q) a window.  (S. Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning", 2014,
// section 3.)  Groups are products of their own: blockIdx.z, and operands of their own for each.
//
// What an operand is:
//
//   struct Operand {
//     using T = …;                        // its elements
//     static constexpr bool kAlongDepth;  // neighbours in memory are neighbours along kk (true) or i (false)
//     struct Row;                         // what row i needs, worth working out once
//     struct Depth;                       // what place kk of the depth needs, likewise
//     Row row(int i) const;               // for any i ≥ 0 and any kk ≥ 0: also beyond the end,
//     Depth depth(int kk) const;          //   where at() is not asked
//     const T* at(const Row&, const Depth&) const;  // the element's address; null where it is 0 (padding)
//   };
//
// With kVector > 1, at() answers for kVector elements that follow each other: all are there or none is,
// and their address is a multiple of their size.  (So rows or depth, whichever is contiguous, is a
// multiple of it.)
//
// What takes the sums, a tail: tail(i, j, sum), where `sum` is an array of those of D[i][j], D[i][j + 1], …
// There are row i and column j; of the columns after j the tail drops what D does not have.
//
// How a kernel calls it.  Threads in one dimension, blockIdx.x the tile of D; tiles of the same rows
// follow each other, so that blocks at work at the same time share what they load of A:
//
//   product_tiles<kTile>                                     v3   kTile² threads
//   product_registers<kSide>                                 v4   256 threads, a tile of 16·kSide squared
//   product_vectors<kSide, kVector>                          v5   256 threads, the same tile
//       (a, b, Extent{rows, columns, depth_begin, depth_end}, tail)
//   product_pipeline<kTileM, kTileN, kVector, kDepth>        v6   kTileM · kTileN / 64 threads
//   product_tensor_cores<kTileM, kTileN, kVector, kDepth>    v7   the same, floats as TF32
//                                                            v8   the same, __half or __nv_bfloat16
//       (a, b, Extent{…}, tail, shared)
//
// with Pipeline<A, B, kTileM, kTileN, kDepth>::kBytes of `shared` memory, 16-byte aligned.
#pragma once

#include "common.cuh"
#include "ptx.cuh"
#include "vector.cuh"

// What a grid computes: all rows and columns of D, of the sums the places depth_begin to depth_end of the
// depth.
struct Extent {
  int rows;
  int columns;
  int depth_begin;
  int depth_end;
};

// Operands

// Division by a number known only at run time, as multiplication: for n < 2³¹,
//     n / d = (n + ⌊n·m / 2³²⌋) / 2^shift
// (T. Granlund, P. L. Montgomery, "Division by invariant integers using multiplication", 1994, figure 4.1).
struct Divisor {
  unsigned divisor;
  unsigned multiplier;
  int shift;

  __device__ __forceinline__ explicit Divisor(int d) : divisor(d), shift(32 - __clz(d - 1)) {
    multiplier = static_cast<unsigned>(((1ull << 32) * ((1ull << shift) - divisor)) / divisor + 1);
  }
  __device__ __forceinline__ int quotient(int n) const { return (__umulhi(n, multiplier) + n) >> shift; }
};

// The windows of a convolution, one a row, m = (n, p, q): what sample (r, s) of a kernel sees of x in
// channel c of the group, kk = (r, s, c).  kKernel says what is known of R×S: 3 for 3×3; 1 for 1×1
// without padding, where all samples lie inside the image; 0 for nothing.
template <typename T_, typename Index, int kKernel>
struct Windows {
  using T = T_;
  static constexpr bool kAlongDepth = true;
  struct Row {
    Index base;  // of the window's first sample, even where that lies in the padding
    int h;
    int w;
  };
  struct Depth {
    int offset;  // from the window's first sample
    int h;
    int w;
  };

  const T* x;
  const Conv2d& conv;
  int first;  // channel of the group
  Divisor by_channels;
  Divisor by_kernel_width;
  Divisor by_windows;  // of an image
  Divisor by_width;    // windows side by side

  __device__ __forceinline__ Windows(const T* x, const Conv2d& conv, int group)
      : x(x),
        conv(conv),
        first(group * (conv.C / conv.G)),
        by_channels(conv.C / conv.G),
        by_kernel_width(conv.S),
        by_windows(conv.P * conv.Q),
        by_width(conv.Q) {}

  __device__ __forceinline__ Row row(int m) const {
    const int n = by_windows.quotient(m);
    const int window = m - n * conv.P * conv.Q;
    const int p = by_width.quotient(window), q = window - p * conv.Q;
    const int h = p * conv.stride_h - conv.pad_h, w = q * conv.stride_w - conv.pad_w;
    return {((static_cast<Index>(n) * conv.H + h) * conv.W + w) * conv.C + first, h, w};
  }

  __device__ __forceinline__ Depth depth(int kk) const {
    if (kKernel == 1) return {kk, 0, 0};
    const int sample = by_channels.quotient(kk), c = kk - sample * static_cast<int>(by_channels.divisor);
    const int r = kKernel == 3 ? sample / 3 : by_kernel_width.quotient(sample);
    const int s = sample - r * (kKernel == 3 ? 3 : conv.S);
    const int h = r * conv.dilation_h, w = s * conv.dilation_w;
    return {(h * conv.W + w) * conv.C + c, h, w};
  }

  __device__ __forceinline__ const T* at(const Row& row, const Depth& depth) const {
    const int h = row.h + depth.h, w = row.w + depth.w;
    const bool inside = kKernel == 1 || (static_cast<unsigned>(h) < static_cast<unsigned>(conv.H) &&
                                         static_cast<unsigned>(w) < static_cast<unsigned>(conv.W));
    return inside ? x + (row.base + depth.offset) : nullptr;
  }
};

// A matrix in memory, its rows `stride` apart: element (i, kk) is data[first + i·stride + kk].
template <typename T_, typename Index>
struct Matrix {
  using T = T_;
  static constexpr bool kAlongDepth = true;
  struct Row {
    Index base;
  };
  struct Depth {
    int offset;
  };

  const T* data;
  Index stride;
  Index first;

  __device__ __forceinline__ Row row(int i) const { return {first + static_cast<Index>(i) * stride}; }
  __device__ __forceinline__ Depth depth(int kk) const { return {kk}; }
  __device__ __forceinline__ const T* at(const Row& row, const Depth& depth) const {
    return data + (row.base + depth.offset);
  }
};

// Another operand with its rows as the depth: what backward weight needs, which sums over the windows.
template <typename Operand>
struct Transposed {
  using T = typename Operand::T;
  static constexpr bool kAlongDepth = !Operand::kAlongDepth;
  using Row = typename Operand::Depth;
  using Depth = typename Operand::Row;

  Operand operand;

  __device__ __forceinline__ Row row(int i) const { return operand.depth(i); }
  __device__ __forceinline__ Depth depth(int kk) const { return operand.row(kk); }
  __device__ __forceinline__ const T* at(const Row& row, const Depth& depth) const {
    return operand.at(depth, row);
  }
};

// Copies, and the tail

// Copies kVector elements, or writes zeros for a null.
template <int kVector, typename T>
__device__ __forceinline__ void copy(T* to, const T* from) {
  using Moved = Vector<T, kVector>;
  *reinterpret_cast<Moved*>(to) = from ? *reinterpret_cast<const Moved*>(from) : Moved{};
}

// The same by cp.async, which copies no less than 4 bytes: single 16-bit numbers pass through a register.
template <int kVector, typename T>
__device__ __forceinline__ void copy_async(T* to, const T* from) {
  constexpr int kBytes = kVector * sizeof(T);
  if constexpr (kBytes < 4) {
    copy<kVector>(to, from);
  } else {
    cp_async<kBytes>(to, from, from ? kBytes : 0);
  }
}

// The tail of all three convolutions: D in memory, rows `stride` apart, after the bias of its column and
// ReLU.
template <typename T, typename Index>
struct RowMajor {
  T* d;
  Index stride;  // a multiple of `columns`, as `first` is: vectors of a row are vectors in memory
  int columns;
  const T* bias;  // one a column, or null
  bool relu;
  int first;  // where column 0 is in a row of d, and its bias: a group's

  template <typename Sum, int kCount>
  __device__ __forceinline__ void operator()(int i, int j, const Sum (&sum)[kCount]) const {
    Vector<T, kCount> rounded{};
#pragma unroll
    for (int e = 0; e < kCount; ++e) {
      const Sum value = sum[e] + (bias && j + e < columns ? load(bias[first + j + e]) : Sum(0));
      rounded.at[e] = store<T>(relu && value < 0 ? Sum(0) : value);  // a NaN stays
    }
    T* const to = d + (static_cast<Index>(i) * stride + first + j);
    if (columns % kCount == 0) {
      *reinterpret_cast<Vector<T, kCount>*>(to) = rounded;
    } else {
      for (int e = 0; e < kCount && j + e < columns; ++e) to[e] = rounded.at[e];
    }
  }
};

// Tiles

// kRows × kDepth elements of an operand in shared memory, contiguous the way the operand is, so that
// vectors stay vectors: lines are rows, [row][kk], or places of the depth, [kk][row].  Each line is
// padded so that what is read at once lies in different banks:
//   [row][kk]  by 16 bytes.  Lines of 64 bytes begin 20 banks after each other, eight of them in the banks
//              0, 20, 8, 28, 16, 4, 24, 12: 16 bytes of each make up all 32 banks.  (Of 128 bytes: 36 after
//              each other, in 0, 4, 8, ….)
//   [kk][row]  by 8 elements.  Lines of floats begin 8 banks after each other: 8 floats of 4 lines make up
//              all 32 banks.  Lines of 16-bit numbers begin 4 after each other: 16 bytes of 8 lines do.
template <typename T, int kRows, int kDepth, bool kAlongDepth_>
struct Tile {
  static constexpr bool kAlongDepth = kAlongDepth_;
  static constexpr int kLine = kAlongDepth ? kDepth + 16 / static_cast<int>(sizeof(T)) : kRows + 8;
  static constexpr int kSize = (kAlongDepth ? kRows : kDepth) * kLine;

  T* data;

  __device__ __forceinline__ T* at(int row, int kk) const {
    return data + (kAlongDepth ? row * kLine + kk : kk * kLine + row);
  }
};

// How the kThreads threads of a block go over a tile of an operand: side by side along what is contiguous
// in memory, kVector elements each, and as many lines at a time as that leaves threads for.  Shared
// memory is written by eight lanes of 16 bytes at once: where a line has only 64 bytes, they go down
// eight lines, whose banks differ, instead of along two.  Global memory does not mind: the warp still
// loads eight lines of 64 bytes.
template <typename Operand, int kRows, int kDepth, int kThreads, int kVector>
struct Gather {
  using T = typename Operand::T;
  static constexpr bool kAlongDepth = Operand::kAlongDepth;
  static constexpr int kLines = kAlongDepth ? kRows : kDepth;
  static constexpr int kAcross = (kAlongDepth ? kDepth : kRows) / kVector;  // threads side by side
  static constexpr int kStep = kThreads / kAcross;                          // lines at a time
  static constexpr int kLoads = kLines / kStep;                             // vectors a thread
  static constexpr bool kDown = kAlongDepth && kAcross == 4;
  static constexpr int kKept = !kAlongDepth ? 1 : kLoads <= 8 ? kLoads : 0;  // rows in registers; 0: too many
  static_assert(kThreads % kAcross == 0 && kLines % kStep == 0, "the threads do not make up a tile");

  const Operand& operand;
  const int line = kDown ? threadIdx.x / 32 * 8 + threadIdx.x % 8 : threadIdx.x / kAcross;
  const int place = (kDown ? threadIdx.x % 32 / 8 : threadIdx.x % kAcross) * kVector;
  const int first;  // row of D, or column, of this thread's first vector
  const int left;   // rows from there to the end
  typename Operand::Row kept[kKept > 0 ? kKept : 1];

  __device__ __forceinline__ Gather(const Operand& operand, int tile_row, int rows)
      : operand(operand), first(tile_row + (kAlongDepth ? line : place)), left(rows - first) {
#pragma unroll
    for (int l = 0; l < kKept; ++l) kept[l] = operand.row(first + l * kStep);
  }

  __device__ __forceinline__ typename Operand::Row row(int l) const {
    if constexpr (kKept > 0) return kept[l];
    return operand.row(first + l * kStep);
  }

  // Calls put(row in the tile, place in the tile, address) for each of this thread's vectors, for the tile at
  // `kk` of the depth.
  template <typename Put>
  __device__ __forceinline__ void each(int kk, int depth_end, Put put) const {
    if constexpr (kAlongDepth) {
      const bool inside = kk + place < depth_end;
      const auto depth = operand.depth(kk + place);
#pragma unroll
      for (int l = 0; l < kLoads; ++l) {
        const bool exists = inside && l * kStep < left;
        put(line + l * kStep, place, exists ? operand.at(row(l), depth) : nullptr);
      }
    } else {
#pragma unroll
      for (int l = 0; l < kLoads; ++l) {
        const int at = kk + line + l * kStep;
        const bool exists = 0 < left && at < depth_end;
        put(place, line + l * kStep, exists ? operand.at(row(0), operand.depth(at)) : nullptr);
      }
    }
  }
};

// Which tile of D is this block's.
struct Corner {
  int row;
  int column;

  __device__ __forceinline__ Corner(const Extent& extent, int tile_rows, int tile_columns) {
    const int across = ceil_div(extent.columns, tile_columns);
    row = static_cast<int>(blockIdx.x) / across * tile_rows;
    column = static_cast<int>(blockIdx.x) % across * tile_columns;
  }
};

// v3: tiles.  The block loads kTile rows of A and of B, kTile places of the depth at a time, and uses
// each number kTile times from shared memory: kTile / 4 FLOPs a byte of global memory (of floats: 4 for a
// kTile of 16), where one thread an output has 1/4.  Each multiply-add still reads two numbers from
// shared memory.
template <int kTile, typename A, typename B, typename Tail>
__device__ __forceinline__ void product_tiles(const A& a, const B& b, const Extent& extent,
                                              const Tail& tail) {
  using T = typename A::T;
  __shared__ T tile_a[kTile][kTile + 1];  // one more: a column of the tile lies in different banks
  __shared__ T tile_b[kTile][kTile + 1];
  const Corner corner(extent, kTile, kTile);
  const Gather<A, kTile, kTile, kTile * kTile, 1> gather_a(a, corner.row, extent.rows);
  const Gather<B, kTile, kTile, kTile * kTile, 1> gather_b(b, corner.column, extent.columns);
  const int i = threadIdx.x / kTile, j = threadIdx.x % kTile, end = extent.depth_end;
  accumulator_t<T> sum[1] = {};
  for (int kk = extent.depth_begin; kk < end; kk += kTile) {
    gather_a.each(kk, end, [&](int row, int k, const T* from) { copy<1>(&tile_a[row][k], from); });
    gather_b.each(kk, end, [&](int row, int k, const T* from) { copy<1>(&tile_b[row][k], from); });
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kTile; ++k) sum[0] += load(tile_a[i][k]) * load(tile_b[j][k]);
    __syncthreads();
  }
  const int row = corner.row + i, column = corner.column + j;
  if (row < extent.rows && column < extent.columns) tail(row, column, sum);
}

// v4: registers.  A thread computes kSide × kSide sums: of 2·kSide numbers read from shared memory it
// makes kSide² products, for a kSide of 8 a quarter of a read each, where v3 needs two.  The tile of D is
// 16·kSide squared, so that a byte of global memory serves 4·kSide FLOPs: 32.  A thread's rows are 16
// apart: neighbours read neighbouring rows, 9 banks apart.
template <int kSide, typename A, typename B, typename Tail>
__device__ __forceinline__ void product_registers(const A& a, const B& b, const Extent& extent,
                                                  const Tail& tail) {
  using T = typename A::T;
  using Sum = accumulator_t<T>;
  constexpr int kTile = 16 * kSide, kDepth = 8;
  __shared__ T tile_a[kTile][kDepth + 1];
  __shared__ T tile_b[kTile][kDepth + 1];
  const Corner corner(extent, kTile, kTile);
  const Gather<A, kTile, kDepth, 256, 1> gather_a(a, corner.row, extent.rows);
  const Gather<B, kTile, kDepth, 256, 1> gather_b(b, corner.column, extent.columns);
  const int i = threadIdx.x / 16, j = threadIdx.x % 16, end = extent.depth_end;
  Sum sum[kSide][kSide] = {};
#pragma unroll 1
  for (int kk = extent.depth_begin; kk < end; kk += kDepth) {
    gather_a.each(kk, end, [&](int row, int k, const T* from) { copy<1>(&tile_a[row][k], from); });
    gather_b.each(kk, end, [&](int row, int k, const T* from) { copy<1>(&tile_b[row][k], from); });
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      Sum of_b[kSide];
#pragma unroll
      for (int f = 0; f < kSide; ++f) of_b[f] = load(tile_b[j + 16 * f][k]);
#pragma unroll
      for (int e = 0; e < kSide; ++e) {
        const Sum of_a = load(tile_a[i + 16 * e][k]);
#pragma unroll
        for (int f = 0; f < kSide; ++f) sum[e][f] += of_a * of_b[f];
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int e = 0; e < kSide; ++e)
#pragma unroll
    for (int f = 0; f < kSide; ++f) {
      const int row = corner.row + i + 16 * e, column = corner.column + j + 16 * f;
      const Sum value[1] = {sum[e][f]};
      if (row < extent.rows && column < extent.columns) tail(row, column, value);
    }
}

// v5 and v6: 16 bytes a read of shared memory

// Which rows of a tile are one thread's: four of every 4·kLanes, so that it can read 16 bytes at a time
// whichever way the tile lies.  [row][kk]: every kLanes-th row, four places of the depth each, so that
// the lanes read neighbouring rows.  [kk][row]: four neighbouring rows, one place of the depth each.
template <int kLanes>
struct Share {
  int first;  // row of the tile where the lanes' rows begin
  int lane;

  template <bool kAlongDepth>
  __device__ __forceinline__ int row(int i) const {
    return first + i / 4 * 4 * kLanes + (kAlongDepth ? i % 4 * kLanes + lane : 4 * lane + i % 4);
  }
};

// Four of a thread's rows by four places of the depth: 16 numbers by 4 reads.
template <typename Tile, typename Rows>
__device__ __forceinline__ void load_square(float (*square)[4], const Tile& tile, const Rows& rows, int i,
                                            int kk) {
  constexpr bool kAlongDepth = Tile::kAlongDepth;
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    const int row = rows.template row<kAlongDepth>(kAlongDepth ? i + e : i);
    const float* from = tile.at(row, kAlongDepth ? kk : kk + e);
    const auto four = *reinterpret_cast<const Vector<float, 4>*>(from);
#pragma unroll
    for (int f = 0; f < 4; ++f) (kAlongDepth ? square[e][f] : square[f][e]) = four.at[f];
  }
}

// Adds to a thread's sums the products of its rows of two tiles.  For 8 × 8 sums and four places of the
// depth, 16 reads of 16 bytes and 256 multiply-adds.  (One step at a time: reads of the next one, moved
// up by the compiler, would need more registers than there are.)
template <int kDepth, int kRows, int kColumns, typename TileA, typename RowsA, typename TileB, typename RowsB>
__device__ __forceinline__ void multiply(float (&sum)[kRows][kColumns], const TileA& tile_a,
                                         const RowsA& rows_a, const TileB& tile_b, const RowsB& rows_b) {
#pragma unroll 1
  for (int kk = 0; kk < kDepth; kk += 4) {
    float of_b[kColumns][4];
#pragma unroll
    for (int j = 0; j < kColumns; j += 4) load_square(of_b + j, tile_b, rows_b, j, kk);
#pragma unroll
    for (int i = 0; i < kRows; i += 4) {
      float of_a[4][4];
      load_square(of_a, tile_a, rows_a, i, kk);
#pragma unroll
      for (int e = 0; e < 4; ++e)
#pragma unroll
        for (int k = 0; k < 4; ++k)
#pragma unroll
          for (int j = 0; j < kColumns; ++j) sum[i + e][j] += of_a[e][k] * of_b[j][k];
    }
  }
}

// Hands a thread's sums to the tail.
template <typename A, typename B, int kRows, int kColumns, typename RowsA, typename RowsB, typename Tail>
__device__ __forceinline__ void store_sums(const float (&sum)[kRows][kColumns], const RowsA& rows_a,
                                           const RowsB& rows_b, const Corner& corner, const Extent& extent,
                                           const Tail& tail) {
#pragma unroll
  for (int i = 0; i < kRows; ++i)
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      const int row = corner.row + rows_a.template row<A::kAlongDepth>(i);
      const int column = corner.column + rows_b.template row<B::kAlongDepth>(j);
      const float value[1] = {sum[i][j]};
      if (row < extent.rows && column < extent.columns) tail(row, column, value);
    }
}

// v5: vectors.  As v4, but a load from global memory is of kVector numbers, and a read from shared memory
// of four: the same bytes by a quarter of the instructions.  For 8 × 8 sums and four places of the depth,
// 16 reads and 256 multiply-adds, where v4 has 64 reads.
template <int kSide, int kVector, typename A, typename B, typename Tail>
__device__ __forceinline__ void product_vectors(const A& a, const B& b, const Extent& extent,
                                                const Tail& tail) {
  constexpr int kTile = 16 * kSide, kDepth = 16;
  using TileA = Tile<float, kTile, kDepth, A::kAlongDepth>;
  using TileB = Tile<float, kTile, kDepth, B::kAlongDepth>;
  __shared__ Vector<float, 4> shared_a[TileA::kSize / 4];
  __shared__ Vector<float, 4> shared_b[TileB::kSize / 4];
  const TileA tile_a{shared_a[0].at};
  const TileB tile_b{shared_b[0].at};
  const Corner corner(extent, kTile, kTile);
  const Gather<A, kTile, kDepth, 256, kVector> gather_a(a, corner.row, extent.rows);
  const Gather<B, kTile, kDepth, 256, kVector> gather_b(b, corner.column, extent.columns);
  const Share<16> rows_a{0, static_cast<int>(threadIdx.x) / 16};
  const Share<16> rows_b{0, static_cast<int>(threadIdx.x) % 16};
  const int end = extent.depth_end;
  float sum[kSide][kSide] = {};
#pragma unroll 1
  for (int kk = extent.depth_begin; kk < end; kk += kDepth) {
    gather_a.each(kk, end, [&](int i, int k, const float* from) { copy<kVector>(tile_a.at(i, k), from); });
    gather_b.each(kk, end, [&](int j, int k, const float* from) { copy<kVector>(tile_b.at(j, k), from); });
    __syncthreads();
    multiply<kDepth>(sum, tile_a, rows_a, tile_b, rows_b);
    __syncthreads();
  }
  store_sums<A, B>(sum, rows_a, rows_b, corner, extent, tail);
}

// v6, v7, v8: a pipeline

// Tiles of A and B in shared memory in 2 or 4 stages, 256 bytes of the depth in all: one is computed with
// while cp.async copies the next ones in, so that a copy has kStages - 1 tiles' time to arrive.
template <typename A, typename B, int kTileM, int kTileN, int kDepth>
struct Pipeline {
  using T = typename A::T;
  static constexpr int kStages = 256 / (kDepth * static_cast<int>(sizeof(T)));
  static constexpr int kThreads = kTileM * kTileN / 64;  // 64 sums a thread
  using TileA = Tile<T, kTileM, kDepth, A::kAlongDepth>;
  using TileB = Tile<T, kTileN, kDepth, B::kAlongDepth>;
  static constexpr int kStage = TileA::kSize + TileB::kSize;
  static constexpr int kBytes = kStages * kStage * static_cast<int>(sizeof(T));

  // Calls multiply(tile_a, tile_b) for each tile of the depth in turn.
  template <int kVector, typename Multiply>
  static __device__ __forceinline__ void run(const A& a, const B& b, const Extent& extent,
                                             const Corner& corner, T* shared, Multiply multiply) {
    const Gather<A, kTileM, kDepth, kThreads, kVector> gather_a(a, corner.row, extent.rows);
    const Gather<B, kTileN, kDepth, kThreads, kVector> gather_b(b, corner.column, extent.columns);
    const int steps = ceil_div(extent.depth_end - extent.depth_begin, kDepth);
    const auto stage_of = [&](int step) { return shared + step % kStages * kStage; };
    const auto fetch = [&](int step) {
      if (step < steps) {
        const TileA tile_a{stage_of(step)};
        const TileB tile_b{stage_of(step) + TileA::kSize};
        const int kk = extent.depth_begin + step * kDepth, end = extent.depth_end;
        gather_a.each(kk, end, [&](int i, int k, const T* x) { copy_async<kVector>(tile_a.at(i, k), x); });
        gather_b.each(kk, end, [&](int j, int k, const T* x) { copy_async<kVector>(tile_b.at(j, k), x); });
      }
      cp_async_commit();  // a group a step, though empty beyond the end: to count groups is to count steps
    };
#pragma unroll
    for (int step = 0; step < kStages - 1; ++step) fetch(step);
#pragma unroll 1
    for (int step = 0; step < steps; ++step) {
      const TileA tile_a{stage_of(step)};
      const TileB tile_b{stage_of(step) + TileA::kSize};
      cp_async_wait<kStages - 2>();  // what this thread copied for this step is there
      __syncthreads();  // what all copied is there; and all are done with the stage that is filled next
      fetch(step + kStages - 1);
      multiply(tile_a, tile_b);
    }
  }
};

// v6: pipeline and warp tiles.  Copies of later tiles go on under the arithmetic of this one, do not pass
// through registers, and need one barrier a tile instead of two.  A warp computes 32 × 64 sums, its lanes
// 4 × 8: at each read they ask for 4 + 8 different vectors, where v5's 2 × 16 lanes ask for 18.  They are
// dealt out so that the two halves of a warp read the same columns, and each half two rows.
template <int kTileM, int kTileN, int kVector, int kDepth, typename A, typename B, typename Tail>
__device__ __forceinline__ void product_pipeline(const A& a, const B& b, const Extent& extent,
                                                 const Tail& tail, float* shared) {
  using P = Pipeline<A, B, kTileM, kTileN, kDepth>;
  using TileA = typename P::TileA;
  using TileB = typename P::TileB;
  const Corner corner(extent, kTileM, kTileN);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  constexpr int kAcross = kTileN / 64;  // warps
  const Share<4> rows_a{warp / kAcross * 32, lane / 2 % 2 + lane / 16 * 2};
  const Share<8> rows_b{warp % kAcross * 64, lane % 2 + lane / 4 % 4 * 2};
  float sum[8][8] = {};
  const auto step = [&](const TileA& tile_a, const TileB& tile_b) {
    multiply<kDepth>(sum, tile_a, rows_a, tile_b, rows_b);
  };
  P::template run<kVector>(a, b, extent, corner, shared, step);
  store_sums<A, B>(sum, rows_a, rows_b, corner, extent, tail);
}

// v7 and v8: tensor cores

__device__ __forceinline__ void mma(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, float) {
  mma_m16n8k8_tf32(d, a, b0, b1);
}
__device__ __forceinline__ void mma(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, __half) {
  mma_m16n8k16_f16(d, a, b0, b1);
}
__device__ __forceinline__ void mma(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1,
                                    __nv_bfloat16) {
  mma_m16n8k16_bf16(d, a, b0, b1);
}

// 16 rows by 32 bytes of the depth of a tile, as a fragment of A (ptx.cuh); or 2 · 8 rows as two of B,
// with the registers b0, b1 of the one and then of the other, for an mma takes them from neighbouring
// registers.  By one instruction where the tile lies as the fragment does, or where 2-byte elements can
// be transposed on the way; by four reads of a float else, of 4 places × 8 rows in different banks.
// Floats are rounded to TF32 in the lane that will multiply them: that is done again in each warp that
// reads a number, but to round it once, where it lies, would be one more read and write of every tile, and
// shared memory is what these versions wait for.
template <bool kOfB, typename T, int kRows, int kDepth, bool kAlongDepth>
__device__ __forceinline__ void load_fragment(unsigned (&fragment)[4],
                                              const Tile<T, kRows, kDepth, kAlongDepth>& tile, int row,
                                              int kk) {
  constexpr int kChunk = 16 / static_cast<int>(sizeof(T));  // elements in a row of a quarter
  const auto in_quarter = [&](int q, int down, int along) {
    return tile.at(row + 8 * (kOfB ? q / 2 : q % 2) + down, kk + kChunk * (kOfB ? q % 2 : q / 2) + along);
  };
  const int lane = threadIdx.x % kWarp;
  if constexpr (kAlongDepth) {
    ldmatrix_x4(fragment, in_quarter(lane / 8, lane % 8, 0));
  } else if constexpr (sizeof(T) == 2) {
    ldmatrix_x4_trans(fragment, in_quarter(lane / 8, 0, lane % 8));
  } else {
#pragma unroll
    for (int q = 0; q < 4; ++q) fragment[q] = __float_as_uint(*in_quarter(q, lane / 4, lane % 4));
  }
  if constexpr (sizeof(T) == 4) {
#pragma unroll
    for (unsigned& number : fragment) number = to_tf32(number);
  }
}

// v7, v8: tensor cores.  The pipeline of v6; a warp computes 64 × 32 sums, as 4 × 4 products of 16 × 8.
// For 32 bytes of the depth it reads 4 + 2 fragments and issues 16 mma: 16,384 multiply-adds of floats as
// TF32, twice as many of 16-bit numbers, by 91 and by 42 instructions in all (counted in sm_90's machine
// code; 48 of the 91 round 24 registers).  v6 takes 566 for as many multiply-adds of floats.
template <int kTileM, int kTileN, int kVector, int kDepth, typename A, typename B, typename Tail>
__device__ __forceinline__ void product_tensor_cores(const A& a, const B& b, const Extent& extent,
                                                     const Tail& tail, typename A::T* shared) {
  using T = typename A::T;
  using P = Pipeline<A, B, kTileM, kTileN, kDepth>;
  using TileA = typename P::TileA;
  using TileB = typename P::TileB;
  constexpr int kAcross = kTileN / 32, kStep = 32 / static_cast<int>(sizeof(T));
  const Corner corner(extent, kTileM, kTileN);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int warp_row = warp / kAcross * 64, warp_column = warp % kAcross * 32;
  float sum[4][4][4] = {};
  const auto step = [&](const TileA& tile_a, const TileB& tile_b) {
#pragma unroll 1
    for (int kk = 0; kk < kDepth; kk += kStep) {
      unsigned of_a[4], of_b[2][4];
#pragma unroll
      for (int j = 0; j < 2; ++j) load_fragment<true>(of_b[j], tile_b, warp_column + 16 * j, kk);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        load_fragment<false>(of_a, tile_a, warp_row + 16 * i, kk);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const unsigned* const pair = of_b[j / 2] + j % 2 * 2;
          mma(sum[i][j], of_a, pair[0], pair[1], T());
        }
      }
    }
  };
  P::template run<kVector>(a, b, extent, corner, shared, step);
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = corner.row + warp_row + 16 * i + 8 * half + lane / 4;
        const int column = corner.column + warp_column + 8 * j + lane % 4 * 2;
        const float value[2] = {sum[i][j][2 * half], sum[i][j][2 * half + 1]};
        if (row < extent.rows && column < extent.columns) tail(row, column, value);
      }
}

// Blocks of kTileM · kTileN / 64 threads that a multiprocessor should hold of v6 to v8, for
// __launch_bounds__: two of 256 threads leave a thread 128 registers, three of 128 leave 168.  Loads one
// by one, and indices of 64 bits, need more registers, and leave that to the compiler.
template <typename Index, int kVector, int kTileN>
constexpr int kResident = kVector == 1 || sizeof(Index) == 8 ? 1 : kTileN == 128 ? 2 : 3;
