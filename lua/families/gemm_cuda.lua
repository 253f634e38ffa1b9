-- gemm on CUDA cores (fp32 multiply-adds), decode fused: templates/gemm_cuda.cu.in.
-- The first value of a tunable is its default.

return {
  name = "gemm_cuda",
  op = "gemm",
  path = "cuda",
  rank = 2,
  template = "templates/gemm_cuda.cu.in",
  help = "Y = r (X~ W^T) + bias + residual on CUDA cores, batch 1 to 16",
  tunables = gemm_cuda_tunables(),
  constraint = gemm_cuda_allows,
}
