/* What memory gives: reads n vectors of 16 bytes once and keeps nothing. */
struct Args {
  const uint4 *data;
  unsigned *out; /* never written: the compiler cannot know that */
  unsigned long long n;
};

extern "C" __global__ void __launch_bounds__(1024) qpal__read(const __grid_constant__ Args a) {
  const unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
  unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x;
  unsigned sum = 0;
  for (; i + 3 * stride < a.n; i += 4 * stride) {
    uint4 v[4];
#pragma unroll
    for (int k = 0; k < 4; k++) v[k] = __ldcs(a.data + i + k * stride);
#pragma unroll
    for (int k = 0; k < 4; k++) sum |= v[k].x & v[k].y & v[k].z & v[k].w;
  }
  for (; i < a.n; i += stride) sum |= a.data[i].x;
  if (sum == 0x9e3779b9) *a.out = sum;
}
