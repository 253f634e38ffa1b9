-- gemm on tensor cores (mma.sync m16n8k16), decode fused: templates/gemm_tensor.cu.in.
-- The first value of a tunable is its default.

return {
  name = "gemm_tensor",
  op = "gemm",
  path = "tensor",
  rank = 1,
  x_tile = 8,
  needs = { "mma_k16" },
  template = "templates/gemm_tensor.cu.in",
  help = "Y = r (X~ W^T) + bias + residual on tensor cores, batch 1 to 64",
  tunables = gemm_tensor_tunables(),
  constraint = gemm_tensor_allows,
}
