// winograd.cu: convolution of 3×3 kernels by Winograd's minimal filtering, F(2×2, 3×3) and F(4×4, 3×3)
//
// Purpose: y = x ∗ w + b, or its positive part (ReLU): stride 1, dilation 1, one group, any padding.  The
//          output is cut into tiles of m×m pixels.  Each sees t×t pixels of the input, t = m + 2, of which
//          two rows and columns are the next tile's too, and takes t² multiplications a channel, not 9·m²:
//
//            Y = Aᵀ [ Σ_c (G w_c Gᵀ) ⊙ (Bᵀ d_c B) ] A       2.25 times fewer for m = 2, 4 times for m = 4
//
//          For each of the t² positions of a transformed tile the sum over channels is a matrix product:
//
//            U [t², C, K] the kernels,   V [t², T, C] the tiles' data,   M[i] = V[i] U[i]   [t², T, K]
//
//          The matrices are those of minicnn/conv/cook_toom.py, of the points 0, ±1, ∞ and 0, ±5/8, ±3/2, ∞.
//          The gradient of x is the same convolution of g, with the kernels turned by 180° and transposed
//          (kRotate), padded by 2 − padding.
//          A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, section 4.
// Shapes:  x [N, H, W, C], w [K, 3, 3, C], b [K], y [N, P, Q, K]; T = N·⌈P/m⌉·⌈Q/m⌉ tiles
// Threads: The transforms: one for each tile and channel (or four channels); channels run fastest, for they
//          are neighbours in memory.  Fused: a block takes some tiles and some kernels through all stages;
//          a thread stands for a tile and a channel in the first, for some sums in the second, for a tile
//          and a kernel in the last.
// Cost:    Products: 2·t²·T·C·K FLOPs; that is 16/36 of the definition's 18·N·P·Q·C·K with m = 2, 36/144 with
//          m = 4.  Transforms: 32·T·C + 24·T·K with m = 2, 264·T·C + 160·T·K with m = 4; fused, the first
//          of the two once for every 16, 32 or 64 kernels.
//          Bytes of float: U, 4·t²·C·K, written once, and 4·(N·H·W·C + 2·t²·T·(C + K) + N·P·Q·K) in separate
//          kernels or 4·(N·H·W·C + N·P·Q·K) fused, as far as the caches serve blocks that read the same.
// Versions:
//   winograd2_v1_kernels   U of F(2×2): a thread a kernel and channel
//   winograd2_v1_input     V: a thread a tile and channel; then cuBLAS makes M, 16 products
//   winograd2_v1_output    y from M: a thread a tile and kernel
//   winograd2_v2           fused: V and M, four times the size of x and y, never leave the block
//   winograd2_v3_kernels   U by squares of 32×32: whole lines are read and whole lines are written
//   winograd2_v3           64 sums a thread: 0.375 words of shared memory a multiplication, where v2 reads 2
//   winograd2_v4           128 sums a thread, 0.25 words; the next channels arrive while these are multiplied
//   winograd4_v1_kernels   U of F(4×4), which multiplies 4 times less than the definition, F(2×2) 2.25 times
//   winograd4_v1_input     V: 2.25 times the size of x, where F(2×2) has 4 times
//   winograd4_v1_output    y from M
//   winograd4_v2_kernels   U by squares of 32×32
//   winograd4_v2_input     four channels a thread: a quarter of the instructions, 4 times the bytes in flight
//   winograd4_v2_output    four kernels a thread
#include "common.cuh"
#include "ptx.cuh"
#include "vector.cuh"

// ---- Four channels as one value

__device__ __forceinline__ float4 operator+(float4 a, float4 b) {
  return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

__device__ __forceinline__ float4 operator-(float4 a, float4 b) {
  return make_float4(a.x - b.x, a.y - b.y, a.z - b.z, a.w - b.w);
}

__device__ __forceinline__ float4 operator*(float a, float4 b) {
  return make_float4(a * b.x, a * b.y, a * b.z, a * b.w);
}

template <int kVector>
struct Packed {
  using type = float;
};
template <>
struct Packed<4> {
  using type = float4;
};

// ---- The matrices, one vector at a time

template <int m>
struct Data;  // Bᵀ: m + 2 pixels → m + 2
template <int m>
struct Taps;  // G: 3 taps of a kernel → m + 2
template <int m>
struct Output;  // Aᵀ: m + 2 products → m

template <>
struct Data<2> {
  template <typename Value>
  static __device__ __forceinline__ void apply(const Value (&d)[4], Value (&out)[4]) {
    out[0] = d[2] - d[0];
    out[1] = d[2] + d[1];
    out[2] = d[2] - d[1];
    out[3] = d[3] - d[1];
  }
};

template <>
struct Taps<2> {
  template <typename Value>
  static __device__ __forceinline__ void apply(const Value (&g)[3], Value (&out)[4]) {
    const Value half = static_cast<Value>(0.5);
    out[0] = -g[0];
    out[1] = half * (g[0] + g[2] + g[1]);
    out[2] = half * (g[0] + g[2] - g[1]);
    out[3] = g[2];
  }
};

template <>
struct Output<2> {
  template <typename Value>
  static __device__ __forceinline__ void apply(const Value (&products)[4], Value (&y)[2]) {
    y[0] = products[0] + products[1] + products[2];
    y[1] = products[1] - products[2] + products[3];
  }
};

// The points ±a and ±b of F(4, 3) and their powers: all exact in float.
constexpr float kA = 5 / 8.f, kA2 = kA * kA, kA3 = kA2 * kA;
constexpr float kB = 3 / 2.f, kB2 = kB * kB, kB3 = kB2 * kB;

template <>
struct Data<4> {
  template <typename Value>
  static __device__ __forceinline__ void apply(const Value (&d)[6], Value (&out)[6]) {
    const Value even_a = d[4] - kB2 * d[2], odd_a = kA * (d[3] - kB2 * d[1]);
    const Value even_b = d[4] - kA2 * d[2], odd_b = kB * (d[3] - kA2 * d[1]);
    out[0] = d[4] - (kA2 + kB2) * d[2] + kA2 * kB2 * d[0];
    out[1] = even_a + odd_a;
    out[2] = even_a - odd_a;
    out[3] = even_b + odd_b;
    out[4] = even_b - odd_b;
    out[5] = d[5] - (kA2 + kB2) * d[3] + kA2 * kB2 * d[1];
  }
};

template <>
struct Taps<4> {
  template <typename Value>
  static __device__ __forceinline__ void apply(const Value (&g)[3], Value (&out)[6]) {
    constexpr double a2 = kA2, b2 = kB2;  // each value is divided by Π (its point − another)
    const Value at_0 = static_cast<Value>(1 / (a2 * b2));
    const Value at_a = static_cast<Value>(1 / (2 * a2 * (a2 - b2)));
    const Value at_b = static_cast<Value>(1 / (2 * b2 * (b2 - a2)));
    const Value even_a = at_a * (g[0] + kA2 * g[2]), odd_a = at_a * kA * g[1];
    const Value even_b = at_b * (g[0] + kB2 * g[2]), odd_b = at_b * kB * g[1];
    out[0] = at_0 * g[0];
    out[1] = even_a + odd_a;
    out[2] = even_a - odd_a;
    out[3] = even_b + odd_b;
    out[4] = even_b - odd_b;
    out[5] = g[2];
  }
};

template <>
struct Output<4> {
  template <typename Value>
  static __device__ __forceinline__ void apply(const Value (&products)[6], Value (&y)[4]) {
    const Value even_a = products[1] + products[2], odd_a = products[1] - products[2];
    const Value even_b = products[3] + products[4], odd_b = products[3] - products[4];
    y[0] = products[0] + even_a + even_b;
    y[1] = kA * odd_a + kB * odd_b;
    y[2] = kA2 * even_a + kB2 * even_b;
    y[3] = kA3 * odd_a + kB3 * odd_b + products[5];
  }
};

// Matrix · in · Matrixᵀ: first every column, then every row.
template <typename Matrix, typename Value, int from, int to>
__device__ __forceinline__ void on_both_axes(const Value (&in)[from][from], Value (&out)[to][to]) {
  Value half[to][from];
#pragma unroll
  for (int s = 0; s < from; ++s) {
    Value column[from], result[to];
#pragma unroll
    for (int r = 0; r < from; ++r) column[r] = in[r][s];
    Matrix::apply(column, result);
#pragma unroll
    for (int r = 0; r < to; ++r) half[r][s] = result[r];
  }
#pragma unroll
  for (int r = 0; r < to; ++r) Matrix::apply(half[r], out[r]);
}

// ---- Tiles

// A tile's image and the first of its m×m output pixels.
struct Origin {
  int n, p, q;
};

template <int m, typename Index>
__device__ __forceinline__ Origin origin_of(Index tile, const Conv2d& conv) {
  const int down = ceil_div(conv.P, m), across = ceil_div(conv.Q, m);
  const Index row = tile / across;
  const int n = static_cast<int>(row / down);
  return {n, static_cast<int>(row % down) * m, static_cast<int>(tile % across) * m};
}

// The pixels that a tile sees: the offset of the first, and a bit for each row and column that lies in the
// image.
template <typename Index>
struct Seen {
  Index first;
  unsigned rows, columns;
};

template <int t>
__device__ __forceinline__ unsigned bits_inside(int first, int size) {
  unsigned bits = 0;
#pragma unroll
  for (int i = 0; i < t; ++i) bits |= static_cast<unsigned>(first + i >= 0 && first + i < size) << i;
  return bits;
}

template <int m, typename Index>
__device__ __forceinline__ Seen<Index> seen_by(const Origin& origin, const Conv2d& conv, int channels) {
  const int h = origin.p - conv.pad_h, w = origin.q - conv.pad_w;
  const Index first = ((static_cast<Index>(origin.n) * conv.H + h) * conv.W + w) * channels;
  return {first, bits_inside<m + 2>(h, conv.H), bits_inside<m + 2>(w, conv.W)};
}

// One channel of these pixels, 0 where there is only padding.
template <int t, typename Value, typename Index>
__device__ __forceinline__ void read_pixels(const Value* x, const Seen<Index>& seen, int width, int channels,
                                            Value (&d)[t][t]) {
  const Value* row = x + seen.first;
#pragma unroll
  for (int r = 0; r < t; ++r) {
#pragma unroll
    for (int s = 0; s < t; ++s) {
      const bool inside = (seen.rows >> r & 1) && (seen.columns >> s & 1);
      d[r][s] = inside ? row[static_cast<Index>(s) * channels] : Value{};
    }
    row += static_cast<Index>(width) * channels;
  }
}

__device__ __forceinline__ float positive(float value) { return value < 0 ? 0 : value; }  // NaN stays NaN
__device__ __forceinline__ double positive(double value) { return value < 0 ? 0 : value; }
__device__ __forceinline__ float4 positive(float4 value) {
  return make_float4(positive(value.x), positive(value.y), positive(value.z), positive(value.w));
}

// Transforms a tile's products back and writes what lies in the image, with bias and ReLU.
template <int m, typename Value, typename Index>
__device__ __forceinline__ void write_tile(const Value (&products)[m + 2][m + 2], const Value* b, Value* y,
                                           const Origin& origin, const Conv2d& conv, int kernels, int k,
                                           bool relu) {
  Value out[m][m];
  on_both_axes<Output<m>>(products, out);
  const Value bias = b == nullptr ? Value{} : b[k];
#pragma unroll
  for (int i = 0; i < m; ++i) {
#pragma unroll
    for (int j = 0; j < m; ++j) {
      const int p = origin.p + i, q = origin.q + j;
      if (p >= conv.P || q >= conv.Q) continue;
      const Index pixel = (static_cast<Index>(origin.n) * conv.P + p) * conv.Q + q;
      const Value value = out[i][j] + bias;
      y[pixel * kernels + k] = relu ? positive(value) : value;
    }
  }
}

// ---- The three transforms, each a pass over memory

// One entry of U at all positions; 0 where U is larger than the kernels.
template <int m, bool kRotate, typename T, typename Index>
__device__ __forceinline__ void transform_kernel(const T* w, T* U, int K, int C, int depth, int width) {
  constexpr int t = m + 2;
  const Index i = thread_in_grid<Index>();
  const int row = static_cast<int>(i / width), column = static_cast<int>(i % width);
  if (row >= depth) return;
  const int k = kRotate ? row : column, c = kRotate ? column : row;  // the product sums over U's rows
  T g[3][3], u[t][t];
#pragma unroll
  for (int tap = 0; tap < 9; ++tap) {
    const int from = kRotate ? 8 - tap : tap;
    g[tap / 3][tap % 3] = k < K && c < C ? w[(static_cast<Index>(k) * 9 + from) * C + c] : T{};
  }
  on_both_axes<Taps<m>>(g, u);
  T* to = U + i;
#pragma unroll
  for (int at = 0; at < t * t; ++at, to += static_cast<Index>(depth) * width) *to = u[at / t][at % t];
}

constexpr int kSquare = 32;     // kernels and channels that a block transforms,
constexpr int kSquareRows = 8;  // so many rows of them at a time

// A square of U by a block of 32×8 threads: along channels they read, along kernels they write.
template <int m, typename Index>
__device__ __forceinline__ void transform_kernel_square(const float* w, float* U, int K, int C, int depth,
                                                        int width) {
  constexpr int t = m + 2;
  __shared__ float square[9][kSquare][kSquare + 1];  // [tap][kernel][channel], padded against bank conflicts
  const int x = threadIdx.x, y = threadIdx.y;
  const int k0 = blockIdx.x * kSquare, c0 = blockIdx.y * kSquare;
  for (int k = y; k < kSquare; k += kSquareRows) {
#pragma unroll
    for (int tap = 0; tap < 9; ++tap) {
      const bool exists = k0 + k < K && c0 + x < C;
      square[tap][k][x] = exists ? w[(static_cast<Index>(k0 + k) * 9 + tap) * C + c0 + x] : 0;
    }
  }
  __syncthreads();
  for (int c = y; c < kSquare; c += kSquareRows) {
    if (c0 + c >= depth || k0 + x >= width) continue;
    float g[3][3], u[t][t];
#pragma unroll
    for (int tap = 0; tap < 9; ++tap) g[tap / 3][tap % 3] = square[tap][x][c];
    on_both_axes<Taps<m>>(g, u);
    float* to = U + (static_cast<Index>(c0 + c) * width + k0 + x);
#pragma unroll
    for (int at = 0; at < t * t; ++at, to += static_cast<Index>(depth) * width) *to = u[at / t][at % t];
  }
}

// One tile and channel of V; its tiles are those from `first` on.
template <int m, typename Value, typename Index>
__device__ __forceinline__ void transform_input(const Value* x, Value* V, const Conv2d& conv, int channels,
                                                Index first, Index tiles) {
  constexpr int t = m + 2;
  const Index i = thread_in_grid<Index>();
  const Index tile = i / channels;
  const int c = static_cast<int>(i % channels);
  if (tile >= tiles) return;
  Value d[t][t], v[t][t];
  const Seen<Index> seen = seen_by<m, Index>(origin_of<m>(first + tile, conv), conv, channels);
  read_pixels(x + c, seen, conv.W, channels, d);
  on_both_axes<Data<m>>(d, v);
  Value* to = V + i;
#pragma unroll
  for (int at = 0; at < t * t; ++at, to += tiles * channels) *to = v[at / t][at % t];
}

// One tile and kernel of y from M.
template <int m, typename Value, typename Index>
__device__ __forceinline__ void transform_output(const Value* M, const Value* b, Value* y, const Conv2d& conv,
                                                 int kernels, Index first, Index tiles, bool relu) {
  constexpr int t = m + 2;
  const Index i = thread_in_grid<Index>();
  const Index tile = i / kernels;
  const int k = static_cast<int>(i % kernels);
  if (tile >= tiles) return;
  Value products[t][t];
  const Value* from = M + i;
#pragma unroll
  for (int at = 0; at < t * t; ++at, from += tiles * kernels) products[at / t][at % t] = *from;
  write_tile<m, Value, Index>(products, b, y, origin_of<m>(first + tile, conv), conv, kernels, k, relu);
}

// ---- F(2×2, 3×3)

// v1: as the formula is read, in three passes with cuBLAS before the last.  V and M hold four numbers for
//     each of x and y, are written once and read once: 36 bytes of memory move for a number of x or y,
//     where 4 would do.  The kernels: threads along k write whole lines of U, but each load is 9·C numbers
//     from its neighbour's.  With kRotate k and c change places, and loads and stores are both of whole
//     lines.
// instances: <float, int, false>, <float, int, true>, <double, int, false>, <double, int, true>,
//            <float, long long, false>, <float, long long, true>
// budget: 40 registers, 0 B shared
template <typename T, typename Index, bool kRotate>
__global__ void __launch_bounds__(256) winograd2_v1_kernels(const T* __restrict__ w,  // [K, 3, 3, C]
                                                            T* __restrict__ U,        // [16, depth, width]
                                                            int K, int C, int depth, int width) {
  transform_kernel<2, kRotate, T, Index>(w, U, K, C, depth, width);
}

// v1: the input's tiles: 16 loads and 16 stores a thread, all of a warp's next to each other.
// instances: <float, int>, <double, int>, <float, long long>
// budget: 48 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256) winograd2_v1_input(const T* __restrict__ x,  // [N, H, W, C]
                                                          T* __restrict__ V,        // [16, tiles, C]
                                                          Conv2d conv, Index first, Index tiles) {
  transform_input<2, T, Index>(x, V, conv, conv.C, first, tiles);
}

// v1: the output's tiles, with bias and ReLU while they are in registers.
// instances: <float, int>, <double, int>, <float, long long>
// budget: 56 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256) winograd2_v1_output(const T* __restrict__ M,  // [16, tiles, K]
                                                           const T* __restrict__ b,  // [K] or null
                                                           T* __restrict__ y,        // [N, P, Q, K]
                                                           Conv2d conv, Index first, Index tiles, bool relu) {
  transform_output<2, T, Index>(M, b, y, conv, conv.K, first, tiles, relu);
}

// Where a block of a fused kernel works.  Blocks that read the same pixels are neighbours.
template <int kKernels>
__device__ __forceinline__ int first_kernel(int width) {
  return static_cast<int>(blockIdx.x) % (width / kKernels) * kKernels;
}

template <int kKernels, int kTiles, typename Index>
__device__ __forceinline__ Index first_tile(int width) {
  return static_cast<Index>(static_cast<int>(blockIdx.x) / (width / kKernels)) * kTiles;
}

constexpr int kSide = 16;  // of v2's block: tiles, kernels, and channels at a time

// v2: fused.  A block keeps its part of V and M to itself, and only x, U and y pass through device memory.
//     It takes 16 tiles and 16 kernels, 16 channels at a time: each thread transforms one tile and channel
//     and copies 16 numbers of U, then adds to the 16 sums of its tile and kernel, which the last transform
//     needs together.  Shared memory serves 32 words a cycle, the arithmetic 128 multiply-adds: a quarter
//     of a word for each.  Here they take two, which holds the kernel to an eighth of the peak.
// instances: <int>, <long long>
// budget: 128 registers, 34816 B shared
template <typename Index>
__global__ void __launch_bounds__(256) winograd2_v2(const float* __restrict__ x,  // [N, H, W, C]
                                                    const float* __restrict__ U,  // [16, depth, width]
                                                    const float* __restrict__ b,  // [K] or null
                                                    float* __restrict__ y,        // [N, P, Q, K]
                                                    Conv2d conv, int depth, int width, Index tiles,
                                                    bool relu) {
  __shared__ float data[16][kSide][kSide + 2];  // [position][channel][tile], padded against bank conflicts
  __shared__ float kernels[16][kSide][kSide];   // [position][channel][kernel]
  const int column = threadIdx.x, row = threadIdx.y;
  const int k = first_kernel<kSide>(width) + column;
  const Index tile = first_tile<kSide, kSide, Index>(width) + row;
  const Origin origin = origin_of<2>(tile, conv);
  const Seen<Index> seen = seen_by<2, Index>(origin, conv, conv.C);
  float sums[4][4] = {};
  for (int c0 = 0; c0 < depth; c0 += kSide) {
    float d[4][4], v[4][4];
    const int c = c0 + column;
    const bool exists = tile < tiles && c < conv.C;
    read_pixels(x + c, exists ? seen : Seen<Index>{}, conv.W, conv.C, d);
    on_both_axes<Data<2>>(d, v);
#pragma unroll
    for (int at = 0; at < 16; ++at) {
      data[at][column][row] = v[at / 4][at % 4];
      kernels[at][row][column] = U[(static_cast<Index>(at) * depth + c0 + row) * width + k];
    }
    __syncthreads();
#pragma unroll 4
    for (int i = 0; i < kSide; ++i) {
#pragma unroll
      for (int at = 0; at < 16; ++at) sums[at / 4][at % 4] += data[at][i][row] * kernels[at][i][column];
    }
    __syncthreads();
  }
  if (tile < tiles && k < conv.K) write_tile<2, float, Index>(sums, b, y, origin, conv, conv.K, k, relu);
}

// v3: U, where v1's loads touch 32 bytes for each 4 they use: a block reads the lines of 32 channels of 32
//     kernels, turns the square in shared memory, and writes lines of U.
// instances: <int>, <long long>
// budget: 88 registers, 38016 B shared
template <typename Index>
__global__ void __launch_bounds__(256) winograd2_v3_kernels(const float* __restrict__ w,  // [K, 3, 3, C]
                                                            float* __restrict__ U,  // [16, depth, width]
                                                            int K, int C, int depth, int width) {
  transform_kernel_square<2, Index>(w, U, K, C, depth, width);
}

// ---- The fused kernel with registers blocked: 32 tiles × kKernels kernels, 8 warps, 8 channels at a time

constexpr int kTiles = 32;
constexpr int kDepth = 8;
constexpr int kPositions = 16;
constexpr int kThreads = 256;
// From a channel's data to the next one's in shared memory: 4 more than there are, so that a warp, which
// stores 8 channels of 4 tiles, meets 32 different banks.  (4, because float4s must stay aligned.)
constexpr int kChannelStep = kPositions * kTiles + 4;
constexpr int kDataSize = kDepth * kChannelStep;

template <int kKernels>
constexpr int kKernelsSize = kDepth * kPositions * kKernels;

// One thread's part in reading x: a tile and, of each 8 channels, one.  Eight threads read 32 bytes in a row.
template <typename Index>
struct Reader {
  const float* x;
  Seen<Index> seen;
  int channel, width, channels;

  __device__ __forceinline__ Reader(const float* x, Index first, Index tiles, const Conv2d& conv)
      : x(x), seen{}, channel(threadIdx.x % kDepth), width(conv.W), channels(conv.C) {
    const Index tile = first + threadIdx.x / kDepth;
    if (tile < tiles) seen = seen_by<2, Index>(origin_of<2>(tile, conv), conv, channels);
  }

  __device__ __forceinline__ void read(int c0, float (&d)[4][4]) const {
    const int c = c0 + channel;
    read_pixels(x + c, c < channels ? seen : Seen<Index>{}, width, channels, d);
  }

  __device__ __forceinline__ void transform(const float (&d)[4][4], float* data) const {
    float v[4][4];
    on_both_axes<Data<2>>(d, v);
    float* const to = data + channel * kChannelStep + threadIdx.x / kDepth;
#pragma unroll
    for (int at = 0; at < kPositions; ++at) to[at * kTiles] = v[at / 4][at % 4];
  }
};

// One thread's part in copying U for 8 channels, 16 bytes at a time, to [channel][position][kernel].
template <int kKernels, bool kAsync, typename Index>
__device__ __forceinline__ void copy_kernels(const float* U, int depth, int width, int c0, int k0,
                                             float* to) {
  constexpr int kQuads = kKernels / 4;
#pragma unroll
  for (int i = 0; i < kKernelsSize<kKernels> / 4; i += kThreads) {
    const int piece = i + threadIdx.x;
    const int quad = piece % kQuads, row = piece / kQuads;
    const int position = row % kPositions, c = c0 + row / kPositions;
    const float* const from = U + (static_cast<Index>(position) * depth + c) * width + k0 + 4 * quad;
    if constexpr (kAsync) {
      cp_async<16>(to + 4 * piece, from, 16);
    } else {
      float four[4];
      read(from, four);
      write(to + 4 * piece, four);
    }
  }
}

// A thread's sums, [position][half of the tiles][tile][half of the kernels][kernel]: the 2 positions of its
// warp; of the tiles four from 4·⌊lane/8⌋ on, and the same 16 later; of the kernels four from 4·(lane mod
// 8) on, and of 64 the same 32 later.
template <int kKernels>
using Sums = float[2][2][4][kKernels / 32][4];

// Adds the products of 8 channels.  All loads of a warp are of 64 or 128 bytes that follow each other.
template <int kKernels>
__device__ __forceinline__ void multiply_add(const float* data, const float* kernels, Sums<kKernels>& sums) {
  constexpr int kQuads = kKernels / 32;
  const int position = threadIdx.x / kWarp * 2, lane = threadIdx.x % kWarp;
  data += position * kTiles + lane / 8 * 4;
  kernels += position * kKernels + lane % 8 * 4;
#pragma unroll 2  // more of them at once take more registers than there are
  for (int c = 0; c < kDepth; ++c) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float v[2][4], u[kQuads][4];
#pragma unroll
      for (int half = 0; half < 2; ++half) read(data + c * kChannelStep + i * kTiles + 16 * half, v[half]);
#pragma unroll
      for (int half = 0; half < kQuads; ++half) {
        read(kernels + (c * kPositions + i) * kKernels + 32 * half, u[half]);
      }
#pragma unroll
      for (int e = 0; e < 8 * 4 * kQuads; ++e) {
        const int tile = e / (4 * kQuads), k = e % (4 * kQuads);
        sums[i][tile / 4][tile % 4][k / 4][k % 4] += v[tile / 4][tile % 4] * u[k / 4][k % 4];
      }
    }
  }
}

// Brings the 16 sums of a tile and kernel, which the 8 warps hold, to one thread, which transforms and
// writes them: 8 tiles a round, two of each thread's.
template <int kKernels, typename Index>
__device__ __forceinline__ void write_block(const Sums<kKernels>& sums, float* M, const float* b, float* y,
                                            const Conv2d& conv, int first_k, Index first, Index tiles,
                                            bool relu) {
  const int position = threadIdx.x / kWarp * 2, lane = threadIdx.x % kWarp;
#pragma unroll
  for (int round = 0; round < 4; ++round) {
#pragma unroll
    for (int e = 0; e < 4 * (kKernels / 32); ++e) {  // M [position][8 tiles][kernel]
      const int i = e / 2 % 2, j = e % 2, half = e / 4;
      const int row = (position + i) * 8 + lane / 8 * 2 + j;
      write(M + row * kKernels + 32 * half + lane % 8 * 4, sums[i][round / 2][round % 2 * 2 + j][half]);
    }
    __syncthreads();
    for (int pair = threadIdx.x; pair < 8 * kKernels; pair += kThreads) {
      const int kernel = pair % kKernels, row = pair / kKernels;
      const int k = first_k + kernel;
      const Index tile = first + (round / 2 * 16 + row / 2 * 4 + round % 2 * 2 + row % 2);
      if (tile >= tiles || k >= conv.K) continue;
      float products[4][4];
#pragma unroll
      for (int at = 0; at < kPositions; ++at) {
        products[at / 4][at % 4] = M[(at * 8 + row) * kKernels + kernel];
      }
      write_tile<2, float, Index>(products, b, y, origin_of<2>(tile, conv), conv, conv.K, k, relu);
    }
    __syncthreads();
  }
}

// v3: registers blocked.  Each of 8 warps multiplies at 2 of the 16 positions, and each of its lanes holds
//     8 tiles × 4 kernels there: 3 float4s, 12 words, for 32 multiplications, 0.375 words for one, where v2
//     reads two.  The bound is now 2/3 of the peak.  Each tile is transformed for 32 kernels, not 16.  Two
//     blocks fit on a multiprocessor: one computes while the other waits for memory.
// instances: <int>, <long long>
// budget: 128 registers, 32896 B shared
template <typename Index>
__global__ void __launch_bounds__(256, 2) winograd2_v3(const float* __restrict__ x,  // [N, H, W, C]
                                                       const float* __restrict__ U,  // [16, depth, width]
                                                       const float* __restrict__ b,  // [K] or null
                                                       float* __restrict__ y,        // [N, P, Q, K]
                                                       Conv2d conv, int depth, int width, Index tiles,
                                                       bool relu) {
  constexpr int kKernels = 32;
  __shared__ float4 memory[(kDataSize + kKernelsSize<kKernels>) / 4];
  float* const data = reinterpret_cast<float*>(memory);
  float* const kernels = data + kDataSize;
  const int k0 = first_kernel<kKernels>(width);
  const Index first = first_tile<kKernels, kTiles, Index>(width);
  const Reader<Index> reader(x, first, tiles, conv);
  Sums<kKernels> sums = {};
  for (int c0 = 0; c0 < depth; c0 += kDepth) {
    float d[4][4];
    reader.read(c0, d);
    copy_kernels<kKernels, false, Index>(U, depth, width, c0, k0, kernels);
    reader.transform(d, data);
    __syncthreads();
    multiply_add<kKernels>(data, kernels, sums);
    __syncthreads();
  }
  write_block<kKernels, Index>(sums, data, b, y, conv, k0, first, tiles, relu);
}

// v4: 64 kernels a block, and no waiting.  8 tiles × 8 kernels a lane: 16 words for 64 multiplications, the
//     quarter of a word that shared memory can give.  Each tile is transformed for 64 kernels.  The 128
//     sums of a thread leave room for one block on a multiprocessor, so it must hide the memory's latency
//     itself: while 8 channels are multiplied, cp.async brings the next ones' U to a second buffer without
//     passing through registers, and their pixels are on the way to registers.  There is one barrier for 8
//     channels, not two.
// instances: <int>, <long long>
// budget: 255 registers, 0 B shared
// needs: sm_80
template <typename Index>
__global__ void __launch_bounds__(256) winograd2_v4(const float* __restrict__ x,  // [N, H, W, C]
                                                    const float* __restrict__ U,  // [16, depth, width]
                                                    const float* __restrict__ b,  // [K] or null
                                                    float* __restrict__ y,        // [N, P, Q, K]
                                                    Conv2d conv, int depth, int width, Index tiles,
                                                    bool relu) {
  constexpr int kKernels = 64;
  constexpr int kBuffer = kDataSize + kKernelsSize<kKernels>;
  extern __shared__ float4 memory[];  // two buffers of kBuffer floats
  float* now = reinterpret_cast<float*>(memory);
  float* next = now + kBuffer;
  const int k0 = first_kernel<kKernels>(width);
  const Index first = first_tile<kKernels, kTiles, Index>(width);
  const Reader<Index> reader(x, first, tiles, conv);
  Sums<kKernels> sums = {};
  float d[4][4];
  copy_kernels<kKernels, true, Index>(U, depth, width, 0, k0, now + kDataSize);
  reader.read(0, d);
  reader.transform(d, now);
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();
  for (int c0 = 0; c0 < depth; c0 += kDepth) {
    const bool more = c0 + kDepth < depth;
    if (more) {
      copy_kernels<kKernels, true, Index>(U, depth, width, c0 + kDepth, k0, next + kDataSize);
      reader.read(c0 + kDepth, d);
    }
    cp_async_commit();
    multiply_add<kKernels>(now, now + kDataSize, sums);
    if (more) reader.transform(d, next);
    cp_async_wait<0>();
    __syncthreads();
    float* const free = now;
    now = next;
    next = free;
  }
  write_block<kKernels, Index>(sums, now, b, y, conv, k0, first, tiles, relu);
}

// ---- F(4×4, 3×3)

// v1: as for F(2×2), with 36 products for four times as many outputs; V and M hold 2.25 numbers for each of x
//     and y, 22 bytes in place of 36.  The price is rounding: about three times F(2×2)'s error.
// instances: <float, int, false>, <float, int, true>, <double, int, false>, <double, int, true>,
//            <float, long long, false>, <float, long long, true>
// budget: 48 registers, 0 B shared
template <typename T, typename Index, bool kRotate>
__global__ void __launch_bounds__(256) winograd4_v1_kernels(const T* __restrict__ w,  // [K, 3, 3, C]
                                                            T* __restrict__ U,        // [36, depth, width]
                                                            int K, int C, int depth, int width) {
  transform_kernel<4, kRotate, T, Index>(w, U, K, C, depth, width);
}

// v1: the input's tiles, those from `first` on: they may be taken in batches, for V and M are large.
// instances: <float, int>, <double, int>, <float, long long>
// budget: 112 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256) winograd4_v1_input(const T* __restrict__ x,  // [N, H, W, C]
                                                          T* __restrict__ V,        // [36, tiles, C]
                                                          Conv2d conv, Index first, Index tiles) {
  transform_input<4, T, Index>(x, V, conv, conv.C, first, tiles);
}

// v1: the output's tiles: 36 loads, 16 stores.
// instances: <float, int>, <double, int>, <float, long long>
// budget: 72 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256) winograd4_v1_output(const T* __restrict__ M,  // [36, tiles, K]
                                                           const T* __restrict__ b,  // [K] or null
                                                           T* __restrict__ y,        // [N, P, Q, K]
                                                           Conv2d conv, Index first, Index tiles, bool relu) {
  transform_output<4, T, Index>(M, b, y, conv, conv.K, first, tiles, relu);
}

// v2: whole lines of w and of U, as in winograd2_v3_kernels.
// instances: <int>, <long long>
// budget: 120 registers, 38016 B shared
template <typename Index>
__global__ void __launch_bounds__(256) winograd4_v2_kernels(const float* __restrict__ w,  // [K, 3, 3, C]
                                                            float* __restrict__ U,  // [36, depth, width]
                                                            int K, int C, int depth, int width) {
  transform_kernel_square<4, Index>(w, U, K, C, depth, width);
}

// v2: four channels a thread, where C is a multiple of 4.  v1 works out a tile's place, and 72 addresses,
//     for each number of x; here they serve four, and each thread has four times the bytes on their way to
//     memory.
// instances: <int, 1>, <int, 4>, <long long, 1>, <long long, 4>
// budget: 152 registers, 0 B shared
template <typename Index, int kVector>
__global__ void __launch_bounds__(128) winograd4_v2_input(const float* __restrict__ x,  // [N, H, W, C]
                                                          float* __restrict__ V,        // [36, tiles, C]
                                                          Conv2d conv, Index first, Index tiles) {
  using Value = typename Packed<kVector>::type;
  transform_input<4, Value, Index>(reinterpret_cast<const Value*>(x), reinterpret_cast<Value*>(V), conv,
                                   conv.C / kVector, first, tiles);
}

// v2: four kernels a thread likewise, where K is a multiple of 4.
// instances: <int, 1>, <int, 4>, <long long, 1>, <long long, 4>
// budget: 176 registers, 0 B shared
template <typename Index, int kVector>
__global__ void __launch_bounds__(128) winograd4_v2_output(const float* __restrict__ M,  // [36, tiles, K]
                                                           const float* __restrict__ b,  // [K] or null
                                                           float* __restrict__ y,        // [N, P, Q, K]
                                                           Conv2d conv, Index first, Index tiles, bool relu) {
  using Value = typename Packed<kVector>::type;
  transform_output<4, Value, Index>(reinterpret_cast<const Value*>(M), reinterpret_cast<const Value*>(b),
                                    reinterpret_cast<Value*>(y), conv, conv.K / kVector, first, tiles, relu);
}
