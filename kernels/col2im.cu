// col2im.cu: the adjoint of im2col, by which the input of a convolution gets its gradient
//
// Purpose: adds each number of the columns to the pixel that im2col copied it from,
//
//            dx[n, h, w, g·C/G + c] = Σ columns[g, (n, p, q), (r, s, c)]   over all r, s, p, q with
//            p·stride_h + r·dilation_h = h + pad_h,   q·stride_w + s·dilation_w = w + pad_w.
//
//          If the columns gave, several would add to one pixel at once; that takes atomics, whose order, and
//          so the sum's last bits, changes from run to run.  Here each pixel gathers: it asks which windows
//          see it, and by which tap.  All versions add in the same order, r ascending and s within it.
// Shapes:  columns [G, N·P·Q, R·S·C/G], dx [N, H, W, C]
// Threads: one a number of dx (v1); a row of threads a pixel (v2); a thread four channels of a pixel (v3, v4)
// Cost:    N·P·Q·R·S·C additions; bytes = 4·(N·P·Q·R·S·C + N·H·W·C): each number of the columns is read once
// Versions:
//   col2im_v1   a thread a number, in the order n, c, h, w; tries all taps
//   col2im_v2   channels run fastest, an eighth of the traffic; steps from hit to hit without a division
//   col2im_v3   four channels an instruction
//   col2im_v4   for 3×3 and stride 1: all taps' loads in flight at once
#include "vector.cuh"
#include "window.cuh"

// v1: one thread a number, pixels fastest: a warp reads 32 numbers R·S·C/G apart, 32 sectors of 32 bytes for
//     4 bytes of each.  All R·S taps are tried, each by a division, though one in stride_h·stride_w hits.
// instances: <float, int>, <float, long long>, <double, int>
// budget: 48 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4) col2im_v1(
    const T* __restrict__ columns,  // [G, N*P*Q, R*S*C/G]
    T* __restrict__ dx,             // [N, H, W, C]
    Conv2d conv, Index count) {
  const Index i = thread_in_grid<Index>();
  if (i >= count) return;
  const int column = static_cast<int>(i % conv.W), row = static_cast<int>(i / conv.W % conv.H);
  const Index plane = i / conv.W / conv.H;
  const int c = static_cast<int>(plane % conv.C), n = static_cast<int>(plane / conv.C);
  const int channels = conv.C / conv.G, taps = conv.R * conv.S;
  const Index windows = static_cast<Index>(conv.N) * conv.P * conv.Q;
  const T* group = columns + c / channels * windows * taps * channels + c % channels;
  T sum = 0;
  for (int r = 0; r < conv.R; ++r) {
    const int p = window_seeing(row + conv.pad_h, r * conv.dilation_h, conv.stride_h, conv.P);
    for (int s = 0; s < conv.S && p >= 0; ++s) {
      const int q = window_seeing(column + conv.pad_w, s * conv.dilation_w, conv.stride_w, conv.Q);
      const Index entry = number_of<Index>(n, p, q, conv.P, conv.Q) * taps + r * conv.S + s;
      if (q >= 0) sum += group[entry * channels];
    }
  }
  dx[number_of<Index>(n, row, column, conv.H, conv.W) * conv.C + c] = sum;
}

// The taps that see one pixel along an axis: tap is of window `window`, tap + step of window − back, and so
// on.
struct Hits {
  int tap;
  int window;
  int step;
  int back;
};

// Tap r sees padded pixel `at` if r·dilation ≡ at (mod stride).  Solutions are step = stride / gcd(stride,
// dilation) apart, so if there is any, one is among the first `step` taps; else the windows step over the
// pixel.
__device__ __forceinline__ Hits hits_on(int at, int stride, int dilation, int taps, int step) {
  for (int tap = 0; tap < step; ++tap) {
    const int distance = at - tap * dilation;
    if (distance % stride == 0) return {tap, distance / stride, step, dilation * step / stride};
  }
  return {taps, 0, step, 0};
}

// v2: a row of threads takes a pixel, along the channels of a group: a warp's 128 bytes are 4 sectors in
//     place of 32.  Which taps hit is found once a pixel; the sum then goes from hit to hit by additions: 3×3
//     taps at stride 2 cost 2.25 steps a number in place of 9 trials.
// instances: <float, int>, <float, long long>, <double, int>
// budget: 48 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256, 4) col2im_v2(
    const T* __restrict__ columns,  // [G, N*P*Q, R*S*C/G]
    T* __restrict__ dx,             // [N, H, W, C]
    Conv2d conv, int step_h, int step_w, Index pixels) {
  const Index pixel = row_in_grid<Index>();
  if (pixel >= pixels) return;
  const Place at = place_of(pixel, conv.H, conv.W);
  const Hits rows = hits_on(at.row + conv.pad_h, conv.stride_h, conv.dilation_h, conv.R, step_h);
  const Hits across = hits_on(at.column + conv.pad_w, conv.stride_w, conv.dilation_w, conv.S, step_w);
  const int channels = conv.C / conv.G, taps = conv.R * conv.S;
  const Index windows = static_cast<Index>(conv.N) * conv.P * conv.Q;
  for (int g = blockIdx.y; g < conv.G; g += gridDim.y) {
    for (int c = threadIdx.x; c < channels; c += blockDim.x) {
      T sum = 0;
      for (int r = rows.tap, p = rows.window; r < conv.R; r += rows.step, p -= rows.back) {
        for (int s = across.tap, q = across.window; s < conv.S; s += across.step, q -= across.back) {
          if (!is_inside(p, q, conv.P, conv.Q)) continue;
          const Index window = g * windows + number_of<Index>(at.n, p, q, conv.P, conv.Q);
          sum += columns[(window * taps + r * conv.S + s) * channels + c];
        }
      }
      dx[pixel * conv.C + g * channels + c] = sum;
    }
  }
}

// v3: one thread takes four channels: 16 bytes an instruction, a quarter as many accesses.  C/G must be a
//     multiple of 4.
// instances: <int>, <long long>
// budget: 48 registers, 0 B shared
template <typename Index>
__global__ void __launch_bounds__(256, 4) col2im_v3(
    const float* __restrict__ columns,  // [G, N*P*Q, R*S*C/G]
    float* __restrict__ dx,             // [N, H, W, C]
    Conv2d conv, int step_h, int step_w, Index vectors) {  // vectors: N·H·W·C/4
  const Index i = thread_in_grid<Index>();
  if (i >= vectors) return;
  const int channels = conv.C / conv.G, taps = conv.R * conv.S, c = static_cast<int>(i % (conv.C / 4)) * 4;
  const Place at = place_of(i / (conv.C / 4), conv.H, conv.W);
  const Hits rows = hits_on(at.row + conv.pad_h, conv.stride_h, conv.dilation_h, conv.R, step_h);
  const Hits across = hits_on(at.column + conv.pad_w, conv.stride_w, conv.dilation_w, conv.S, step_w);
  const Index windows = static_cast<Index>(conv.N) * conv.P * conv.Q;
  const float* group = columns + c / channels * windows * taps * channels + c % channels;
  float sum[4] = {};
  for (int r = rows.tap, p = rows.window; r < conv.R; r += rows.step, p -= rows.back) {
    for (int s = across.tap, q = across.window; s < conv.S; s += across.step, q -= across.back) {
      if (!is_inside(p, q, conv.P, conv.Q)) continue;
      float seen[4];
      read(group + (number_of<Index>(at.n, p, q, conv.P, conv.Q) * taps + r * conv.S + s) * channels, seen);
#pragma unroll
      for (int k = 0; k < 4; ++k) sum[k] += seen[k];
    }
  }
  write(dx + i * 4, sum);
}

// v4: where stride and dilation are 1 every tap hits: tap r is of window h + pad_h − r.  R and S are
//     constants, so the loop unrolls, and all 9 loads are under way before the first is added, where v3 waits
//     for each.  C/G must be a multiple of 4.
// instances: <int, 3, 3>, <long long, 3, 3>
// budget: 64 registers, 0 B shared
template <typename Index, int kR, int kS>
__global__ void __launch_bounds__(256, 4) col2im_v4(
    const float* __restrict__ columns,  // [G, N*P*Q, R*S*C/G]
    float* __restrict__ dx,             // [N, H, W, C]
    Conv2d conv, Index vectors) {       // vectors: N·H·W·C/4
  const Index i = thread_in_grid<Index>();
  if (i >= vectors) return;
  const int channels = conv.C / conv.G, c = static_cast<int>(i % (conv.C / 4)) * 4;
  const Place at = place_of(i / (conv.C / 4), conv.H, conv.W);
  const Index windows = static_cast<Index>(conv.N) * conv.P * conv.Q;
  const float* group = columns + c / channels * windows * (kR * kS) * channels + c % channels;
  float seen[kR * kS][4] = {};
#pragma unroll
  for (int tap = 0; tap < kR * kS; ++tap) {
    const int p = at.row + conv.pad_h - tap / kS, q = at.column + conv.pad_w - tap % kS;
    if (is_inside(p, q, conv.P, conv.Q)) {
      read(group + (number_of<Index>(at.n, p, q, conv.P, conv.Q) * (kR * kS) + tap) * channels, seen[tap]);
    }
  }
#pragma unroll
  for (int tap = 1; tap < kR * kS; ++tap) {
#pragma unroll
    for (int k = 0; k < 4; ++k) seen[0][k] += seen[tap][k];
  }
  write(dx + i * 4, seen[0]);
}
