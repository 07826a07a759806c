// im2col.cu: what each window sees as one row of a matrix
//
// Purpose: makes a convolution one product of matrices a group.  The columns of the images x are
//
//            columns[g, (n, p, q), (r, s, c)] = x[n, p·stride_h + r·dilation_h − pad_h,
//                                                    q·stride_w + s·dilation_w − pad_w, g·C/G + c]
//
//          and 0 in the padding; with the kernels w [K, R, S, C/G] read as [G, K/G, R·S·C/G] the convolution
//          is  y[g] = columns[g] · w[g]ᵀ.
//          K. Chellapilla, S. Puri, P. Simard, "High Performance Convolutional Neural Networks for Document
//          Processing", 2006, section 3.
// Shapes:  x [N, H, W, C], columns [G, N·P·Q, R·S·C/G]
// Threads: one a number of the columns (v1); a row of threads what one sample of one window sees (v2); a
//          thread four channels of all that a window sees (v3)
// Cost:    no FLOPs; bytes = 4·(N·H·W·C + N·P·Q·R·S·C).  The columns are R·S / (stride_h·stride_w) times the
//          images, so nearly all of it is writing
// Versions:
//   im2col_v1   a thread a number, in the order of images [N, C, H, W]: windows run fastest
//   im2col_v2   channels run fastest: an eighth of the traffic, and 5 divisions a run in place of 7 a number
//   im2col_v3   four channels an instruction and all samples by one thread: R·S loads in flight
#include "vector.cuh"
#include "window.cuh"

// v1: one thread a number, windows fastest, as one unfolds where a channel's pixels are neighbours in memory.
//     Here they are not: a warp writes 32 numbers R·S·C/G apart, and moves 32 sectors of 32 bytes to fill 4
//     bytes of each; its reads are no better.  Each thread finds its place by 7 divisions, of some 20
//     instructions each.
// instances: <float, int>, <float, long long>, <double, int>
// budget: 40 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4) im2col_v1(
    const T* __restrict__ x,  // [N, H, W, C]
    T* __restrict__ columns,  // [G, N*P*Q, R*S*C/G]
    Conv2d conv, Index count) {
  const Index i = thread_in_grid<Index>();
  if (i >= count) return;
  const Index windows = static_cast<Index>(conv.N) * conv.P * conv.Q;
  const int channels = conv.C / conv.G;
  const Index window = i % windows;
  const int entry = static_cast<int>(i / windows);  // (g, r, s, c)
  const int c = entry % channels;
  const int tap = entry / channels % (conv.R * conv.S);
  const int g = entry / channels / (conv.R * conv.S);
  const Place at = place_of(window, conv.P, conv.Q);
  const int row = at.row * conv.stride_h + tap / conv.S * conv.dilation_h - conv.pad_h;
  const int column = at.column * conv.stride_w + tap % conv.S * conv.dilation_w - conv.pad_w;
  const Index to = ((g * windows + window) * (conv.R * conv.S) + tap) * channels + c;
  columns[to] = is_inside(row, column, conv.H, conv.W)
                    ? x[number_of<Index>(at.n, row, column, conv.H, conv.W) * conv.C + g * channels + c]
                    : T(0);
}

// v2: what one sample of one window sees is a run of C/G channels, in x as in the columns.  A row of threads
//     takes a run.  A warp's 128 bytes now are 4 sectors in place of 32, an eighth of the traffic, and the 5
//     divisions that are left serve a thread's whole share of the run.
// instances: <float, int>, <float, long long>, <double, int>
// budget: 32 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4) im2col_v2(
    const T* __restrict__ x,  // [N, H, W, C]
    T* __restrict__ columns,  // [G, N*P*Q, R*S*C/G]
    Conv2d conv, Index runs) {  // runs: N·P·Q·R·S, of one group
  const Index run = row_in_grid<Index>();
  if (run >= runs) return;
  const int taps = conv.R * conv.S, channels = conv.C / conv.G;
  const int tap = static_cast<int>(run % taps);
  const Place at = place_of(run / taps, conv.P, conv.Q);
  const int row = at.row * conv.stride_h + tap / conv.S * conv.dilation_h - conv.pad_h;
  const int column = at.column * conv.stride_w + tap % conv.S * conv.dilation_w - conv.pad_w;
  const bool inside = is_inside(row, column, conv.H, conv.W);
  const Index pixel = inside ? number_of<Index>(at.n, row, column, conv.H, conv.W) : 0;
  for (int g = blockIdx.y; g < conv.G; g += gridDim.y) {
    const T* from = x + pixel * conv.C + g * channels;
    T* to = columns + (g * runs + run) * channels;
    for (int c = threadIdx.x; c < channels; c += blockDim.x) to[c] = inside ? from[c] : T(0);
  }
}

// v3: one thread takes four channels of a window, and copies all its samples.  16 bytes an instruction: a
//     quarter as many accesses.  5 divisions serve 4·R·S numbers.  And where R and S are constants the loop
//     unrolls: 3×3 has 9 loads under way at once, where v2 waits for one after the other.  (kR = 0: any
//     window, by a loop.)  C/G must be a multiple of 4.
// instances: <int, 3, 3>, <int, 1, 1>, <int, 0, 0>, <long long, 3, 3>, <long long, 1, 1>, <long long, 0, 0>
// budget: 64 registers, 0 B shared
template <typename Index, int kR, int kS>
__global__ void __launch_bounds__(256, 4) im2col_v3(
    const float* __restrict__ x,  // [N, H, W, C]
    float* __restrict__ columns,  // [G, N*P*Q, R*S*C/G]
    Conv2d conv, Index vectors) {  // vectors: N·P·Q·C/4
  const Index i = thread_in_grid<Index>();
  if (i >= vectors) return;
  const int R = kR ? kR : conv.R, S = kS ? kS : conv.S;
  const int channels = conv.C / conv.G, c = static_cast<int>(i % (conv.C / 4)) * 4;
  const Index window = i / (conv.C / 4), windows = static_cast<Index>(conv.N) * conv.P * conv.Q;
  const Place at = place_of(window, conv.P, conv.Q);
  const int top = at.row * conv.stride_h - conv.pad_h, left = at.column * conv.stride_w - conv.pad_w;
  const float* image = x + static_cast<Index>(at.n) * conv.H * conv.W * conv.C + c;
  float* to = columns + (c / channels * windows + window) * (R * S * channels) + c % channels;
  constexpr int kAtOnce = kR ? kR * kS : 1;
  int r = 0, s = 0;
  for (int first = 0; first < R * S; first += kAtOnce) {
    float seen[kAtOnce][4] = {};
#pragma unroll
    for (int tap = 0; tap < kAtOnce; ++tap) {
      const int row = top + r * conv.dilation_h, column = left + s * conv.dilation_w;
      if (is_inside(row, column, conv.H, conv.W)) {
        read(image + (static_cast<Index>(row) * conv.W + column) * conv.C, seen[tap]);
      }
      if (++s == S) s = 0, ++r;
    }
#pragma unroll
    for (int tap = 0; tap < kAtOnce; ++tap) write(to + (first + tap) * channels, seen[tap]);
  }
}
