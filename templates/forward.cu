/* The steps of a forward pass beside its large products, and a product of its own where cuBLAS is
   not used.  Activations that a product reads are fp16, all others fp32. */
typedef unsigned short half;

static __device__ __forceinline__ float of_half(half h) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
  return f;
}
static __device__ __forceinline__ half to_half(float f) {
  half h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
  return h;
}

#define infinity __int_as_float(0x7f800000)
constexpr unsigned WARP = 32, BLOCK = 128, WARPS = BLOCK / WARP, ALL = 0xffffffff;

/* The sum over the block, in every thread. */
static __device__ float block_sum(float v, float *room) {
  for (unsigned d = WARP / 2; d; d /= 2) v += __shfl_xor_sync(ALL, v, d);
  __syncthreads(); /* what was in 'room' is read */
  if (threadIdx.x % WARP == 0) room[threadIdx.x / WARP] = v;
  __syncthreads();
  v = 0;
  for (unsigned i = 0; i < WARPS; i++) v += room[i];
  return v;
}

/* ---- Norms:  out = norm(x) weight + bias of each piece of a row; see qp_norm_rows ---- */

struct NormArgs {
  const float *x, *weight, *bias; /* weight NULL: no norm, out = x */
  float *out;                     /* fp32, or NULL; may be x */
  half *out_half;                 /* fp16, or NULL */
  unsigned long long x_stride, out_stride;
  unsigned width, count, layer, add; /* add: out += */
  float eps, offset;
};

extern "C" __global__ void __launch_bounds__(BLOCK)
    qpal__forward_norm(const __grid_constant__ NormArgs a) {
  __shared__ float room[WARPS];
  const unsigned long long row = blockIdx.x / a.count;
  const unsigned piece = blockIdx.x % a.count * a.width;
  const float *x = a.x + row * a.x_stride + piece;
  const unsigned long long to = row * a.out_stride + piece;
  float mean = 0, factor = 1;
  if (a.weight) {
    float sum = 0;
    for (unsigned i = threadIdx.x; a.layer && i < a.width; i += BLOCK) sum += x[i];
    if (a.layer) mean = block_sum(sum, room) / a.width;
    sum = 0;
    for (unsigned i = threadIdx.x; i < a.width; i += BLOCK) sum += (x[i] - mean) * (x[i] - mean);
    factor = 1 / sqrtf(block_sum(sum, room) / a.width + a.eps);
  }
  for (unsigned i = threadIdx.x; i < a.width; i += BLOCK) {
    float y = x[i];
    if (a.weight) y = (y - mean) * factor * (a.weight[i] + a.offset) + (a.bias ? a.bias[i] : 0);
    if (a.out_half) a.out_half[to + i] = to_half(y);
    if (a.out) a.out[to + i] = a.add ? a.out[to + i] + y : y;
  }
}

/* ---- A product:  y[r][f] = sum_k x[r][k] w[f][k]  (where cuBLAS is not used) ---- */

constexpr unsigned TILE = 16, DEPTH = 32;

struct ProductArgs {
  const half *x, *w; /* [rows][columns], [features][columns] */
  float *y;          /* rows 'y_stride' apart */
  unsigned long long y_stride;
  unsigned rows, features, columns, feature_tiles;
};

extern "C" __global__ void __launch_bounds__(TILE *TILE)
    qpal__forward_product(const __grid_constant__ ProductArgs a) {
  __shared__ float x[TILE][DEPTH + 1], w[TILE][DEPTH + 1];
  const unsigned row0 = blockIdx.x / a.feature_tiles * TILE;
  const unsigned feature0 = blockIdx.x % a.feature_tiles * TILE;
  const unsigned i = threadIdx.x / TILE, j = threadIdx.x % TILE;
  float sum = 0;
  for (unsigned k0 = 0; k0 < a.columns; k0 += DEPTH) {
    __syncthreads();
    for (unsigned e = threadIdx.x; e < TILE * DEPTH; e += TILE * TILE) {
      const unsigned n = e / DEPTH, k = k0 + e % DEPTH;
      const bool in = k < a.columns;
      x[n][e % DEPTH] = in && row0 + n < a.rows
                            ? of_half(a.x[(unsigned long long)(row0 + n) * a.columns + k]) : 0;
      w[n][e % DEPTH] = in && feature0 + n < a.features
                            ? of_half(a.w[(unsigned long long)(feature0 + n) * a.columns + k]) : 0;
    }
    __syncthreads();
    for (unsigned k = 0; k < DEPTH; k++) sum += x[i][k] * w[j][k];
  }
  if (row0 + i < a.rows && feature0 + j < a.features)
    a.y[(row0 + i) * a.y_stride + feature0 + j] = sum;
}

/* ---- y[r][f] = cap(y[r][f] + bias[f]) ---- */

struct FinishArgs {
  float *y;
  const float *bias; /* [features], or NULL */
  unsigned long long y_stride, all;
  unsigned features;
  float softcap; /* 0: none */
};

extern "C" __global__ void __launch_bounds__(BLOCK)
    qpal__forward_finish(const __grid_constant__ FinishArgs a) {
  const unsigned long long e = (unsigned long long)blockIdx.x * BLOCK + threadIdx.x;
  if (e >= a.all) return;
  float *y = a.y + e / a.features * a.y_stride + e % a.features;
  float v = *y + (a.bias ? a.bias[e % a.features] : 0);
  if (a.softcap > 0) v = a.softcap * tanhf(v / a.softcap);
  *y = v;
}

/* ---- Rotary embedding of the heads of q and k, in place; see qp_rotary_apply ---- */

struct TurnArgs {
  float *x;           /* of a sequence: rows 'stride' apart, heads one behind another */
  const float *table; /* [positions][2][pairs] */
  unsigned long long stride, all; /* all: rows heads pairs */
  unsigned heads, head_dim, pairs;
};

extern "C" __global__ void __launch_bounds__(BLOCK)
    qpal__forward_turn(const __grid_constant__ TurnArgs a) {
  const unsigned long long e = (unsigned long long)blockIdx.x * BLOCK + threadIdx.x;
  if (e >= a.all) return;
  const unsigned i = e % a.pairs, head = e / a.pairs % a.heads;
  const unsigned long long row = e / a.pairs / a.heads;
  const float cosine = a.table[row * 2 * a.pairs + i], sine = a.table[(row * 2 + 1) * a.pairs + i];
  float *x = a.x + row * a.stride + head * a.head_dim + i;
  const float u = x[0], v = x[a.pairs];
  x[0] = u * cosine - v * sine;
  x[a.pairs] = v * cosine + u * sine;
}

/* ---- Causal attention of one sequence; see qp_attention_run ---- */

constexpr unsigned MAX_HEAD = 256;

struct AttendArgs {
  const float *q, *k, *v; /* rows 'stride' apart */
  half *out;              /* [rows][heads][head_dim] */
  unsigned long long stride;
  unsigned rows, heads, kv_heads, head_dim, window;
  float scale, softcap;
};

/* A warp has a query and a head. Each lane has a key of 32 for the scores, then every 32nd element
   of the values' sum. */
extern "C" __global__ void __launch_bounds__(BLOCK)
    qpal__forward_attend(const __grid_constant__ AttendArgs a) {
  __shared__ float queries[WARPS][MAX_HEAD];
  const unsigned warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  const unsigned task = blockIdx.x * WARPS + warp;
  if (task >= a.rows * a.heads) return;
  const unsigned t = task / a.heads, head = task % a.heads;
  const unsigned kv = head / (a.heads / a.kv_heads) * a.head_dim;
  float *q = queries[warp], sum[MAX_HEAD / WARP] = {}, total = 0, most = -infinity;
  for (unsigned i = lane; i < a.head_dim; i += WARP)
    q[i] = a.q[t * a.stride + head * a.head_dim + i] * a.scale;
  __syncwarp();
  const unsigned first = a.window && t + 1 > a.window ? t + 1 - a.window : 0;
  for (unsigned u0 = first; u0 <= t; u0 += WARP) {
    const unsigned u = u0 + lane;
    float s = -infinity;
    if (u <= t) {
      const float *k = a.k + u * a.stride + kv;
      s = 0;
      for (unsigned i = 0; i < a.head_dim; i++) s += q[i] * k[i];
      if (a.softcap > 0) s = a.softcap * tanhf(s / a.softcap);
    }
    float top = s;
    for (unsigned d = WARP / 2; d; d /= 2) top = fmaxf(top, __shfl_xor_sync(ALL, top, d));
    top = fmaxf(top, most);
    const float shrink = expf(most - top), p = expf(s - top);
    total = total * shrink + p;
    most = top;
    for (unsigned i = 0; i < MAX_HEAD / WARP; i++) sum[i] *= shrink;
    const unsigned keys = t + 1 - u0 < WARP ? t + 1 - u0 : WARP;
    for (unsigned n = 0; n < keys; n++) {
      const float share = __shfl_sync(ALL, p, n);
      const float *v = a.v + (u0 + n) * a.stride + kv;
#pragma unroll
      for (unsigned i = 0; i < MAX_HEAD / WARP; i++)
        if (i * WARP + lane < a.head_dim) sum[i] += share * v[i * WARP + lane];
    }
  }
  for (unsigned d = WARP / 2; d; d /= 2) total += __shfl_xor_sync(ALL, total, d);
  half *out = a.out + (unsigned long long)task * a.head_dim;
#pragma unroll
  for (unsigned i = 0; i < MAX_HEAD / WARP; i++)
    if (i * WARP + lane < a.head_dim) out[i * WARP + lane] = to_half(sum[i] / total);
}

/* ---- out = activation(gate) up ---- */

struct GateArgs {
  const float *gate, *up; /* rows 'stride' apart; up NULL: activation(gate) */
  half *out;              /* [rows][inner] */
  unsigned long long stride, all;
  unsigned inner, activation; /* as qp_activation: silu, gelu, gelu_tanh, relu */
};

static __device__ float activate(unsigned kind, float x) {
  if (kind == 0) return x / (1 + expf(-x));
  if (kind == 1) return 0.5f * x * (1 + erff(x * 0.70710678118654752f));
  if (kind == 2)
    return 0.5f * x * (1 + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
  return x < 0 ? 0 : x;
}

extern "C" __global__ void __launch_bounds__(BLOCK)
    qpal__forward_gate(const __grid_constant__ GateArgs a) {
  const unsigned long long e = (unsigned long long)blockIdx.x * BLOCK + threadIdx.x;
  if (e >= a.all) return;
  const unsigned long long at = e / a.inner * a.stride + e % a.inner;
  a.out[e] = to_half(activate(a.activation, a.gate[at]) * (a.up ? a.up[at] : 1));
}
