// sgd.cu: stochastic gradient descent with momentum, Nesterov's too, dampening and weight decay
//
// Purpose: one step for parameters p with gradients g and velocities v (rate η, momentum μ, dampening τ,
//          decay λ):
//
//            d ← g + λ p                     (−g + λ p to go up)
//            v ← μ v + (1 − τ) d             (v ← d at the first step; no v if μ = 0)
//            p ← p − η v                     (Nesterov: p ← p − η (d + μ v);  μ = 0: p ← p − η d)
//
//          I. Sutskever, J. Martens, G. Dahl, G. Hinton, "On the importance of initialization and momentum in
//          deep learning", ICML 2013, in the form that leaves the rate out of the velocity.
// Shapes:  p, g, v [n]; of all parameters in one buffer: p, g, v [chunks, 1024], group [chunks], options
//          [groups, 5]
// Threads: one an element, or four.
// Cost:    6·n FLOPs with momentum, and bytes of memory, of elements of s bytes: 3·s·n a pass of v1, that is
//          9·s·n (12·s·n with Nesterov); 5·s·n fused (p, g and v in, p and v out), 3·s·n without momentum.
// Versions:
//   sgd_v1         a pass for each line of the rule, as array libraries do it
//   sgd_v2         all lines at once, nothing in between is stored
//   sgd_v3         16 bytes a thread
//   sgd_chunks_v1  all parameters of a network, in one buffer, in one launch
#include "common.cuh"
#include "vector.cuh"

// The rule for one element; v is not touched where momentum is 0.
template <typename T>
struct Rule {
  T rate, momentum, fresh, decay, sign;  // fresh = 1 − τ, or 1 at the first step; sign = −1 to go up
  bool nesterov;

  __device__ void step(T& p, T g, T& v) const {
    const T d = decay == T(0) ? sign * g : sign * g + decay * p;  // for 0 · ∞ is NaN
    if (momentum == T(0)) {
      p -= rate * d;
      return;
    }
    v = momentum * v + fresh * d;
    p -= rate * (nesterov ? d + momentum * v : v);
  }
};

// v1: out = α x + β y: launched once for d, once for v, once for Nesterov's sum and once for p.  Two arrays
//     are read and one is written each time, 12 bytes an element for 3 FLOPs.  `out` may be x or y; β = 0
//     leaves y out.
// instances: <float, int>, <float, long long>, <double, int>
// budget: 16 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256) sgd_v1(const T* x,  // [n]
                                              const T* y,  // [n]
                                              T* out,      // [n]
                                              Index n, T alpha, T beta) {
  const Index i = thread_in_grid<Index>();
  if (i < n) out[i] = beta == T(0) ? alpha * x[i] : alpha * x[i] + beta * y[i];
}

// v2: the whole rule in registers: 20 bytes an element where v1 moves 36 (48 with Nesterov), and one launch
//     for 3 or 4.
// instances: <float, int>, <float, long long>, <double, int>
// budget: 24 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256) sgd_v2(T* __restrict__ p,        // [n]
                                              const T* __restrict__ g,  // [n]
                                              T* __restrict__ v,        // [n] or null
                                              Index n, T rate, T momentum, T fresh, T decay, T sign,
                                              bool nesterov) {
  const Index i = thread_in_grid<Index>();
  if (i >= n) return;
  T parameter = p[i], velocity = v ? v[i] : T(0);
  Rule<T>{rate, momentum, fresh, decay, sign, nesterov}.step(parameter, g[i], velocity);
  p[i] = parameter;
  if (v) v[i] = velocity;
}

// v3: four elements a thread, 16 bytes an instruction: 5 instructions move what 20 did.  The up to three
//     elements after the last whole four go one by one to the last thread.
// instances: <float, int>, <float, long long>
// budget: 32 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256) sgd_v3(T* __restrict__ p,        // [n]
                                              const T* __restrict__ g,  // [n]
                                              T* __restrict__ v,        // [n] or null
                                              Index n, T rate, T momentum, T fresh, T decay, T sign,
                                              bool nesterov) {
  const Rule<T> rule = {rate, momentum, fresh, decay, sign, nesterov};
  const Index i = 4 * thread_in_grid<Index>();
  if (i + 4 <= n) {
    T ps[4], gs[4], vs[4] = {};
    load_all<4>(p + i, ps);
    load_all<4>(g + i, gs);
    if (v) load_all<4>(v + i, vs);
#pragma unroll
    for (int j = 0; j < 4; ++j) rule.step(ps[j], gs[j], vs[j]);
    store_all<4>(p + i, ps);
    if (v) store_all<4>(v + i, vs);
    return;
  }
  for (Index j = i; j < n; ++j) {
    T parameter = p[j], velocity = v ? v[j] : T(0);
    rule.step(parameter, g[j], velocity);
    p[j] = parameter;
    if (v) v[j] = velocity;
  }
}

// v1: a network has hundreds of parameters, most of them small: ResNet-50's 161 take as many launches of some
//     3 µs, half a millisecond, for 512 MB of memory traffic that an H100 moves in 0.15.  Here they stand in
//     one buffer, each filled up with zeros to whole chunks of 1024, which stay zeros; one launch has a block
//     a chunk, and a chunk's group says which options it has: rate, momentum, fresh, decay and sign.
// instances: <float, int>, <float, long long>
// budget: 32 registers, 0 B shared
template <typename T, typename Index>
__global__ void __launch_bounds__(256) sgd_chunks_v1(T* __restrict__ p,              // [chunks, 1024]
                                                     const T* __restrict__ g,        // [chunks, 1024]
                                                     T* __restrict__ v,              // [chunks, 1024]
                                                     const int* __restrict__ group,  // [chunks]
                                                     const T* __restrict__ options,  // [groups, 5]
                                                     bool nesterov) {
  const T* option = options + 5 * group[blockIdx.x];
  const Rule<T> rule = {option[0], option[1], option[2], option[3], option[4], nesterov};
  const Index i = 4 * thread_in_grid<Index>();
  T ps[4], gs[4], vs[4];
  load_all<4>(p + i, ps);
  load_all<4>(g + i, gs);
  load_all<4>(v + i, vs);
#pragma unroll
  for (int j = 0; j < 4; ++j) rule.step(ps[j], gs[j], vs[j]);
  store_all<4>(p + i, ps);
  store_all<4>(v + i, vs);
}
