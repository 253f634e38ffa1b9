-- gemm-glu on CUDA cores: gemm_cuda of up and gate, and the gated linear unit of both.
-- The first value of a tunable is its default.

return {
  name = "gemm_glu_cuda",
  op = "gemm-glu",
  path = "cuda",
  rank = 2,
  template = "templates/gemm_cuda.cu.in",
  help = "Y = activation(gate) * up of two linears in one launch, on CUDA cores, batch 1 to 16",
  -- atomic and owned sums are of one row group, not of a pair
  tunables = gemm_cuda_tunables({ "atomic", "owned" }),
  constraint = gemm_cuda_allows,
}
