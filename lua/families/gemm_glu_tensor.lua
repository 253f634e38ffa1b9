-- gemm-glu on tensor cores: gemm_tensor of up and gate, and the gated linear unit of both.
-- The first value of a tunable is its default.

return {
  name = "gemm_glu_tensor",
  op = "gemm-glu",
  path = "tensor",
  rank = 1,
  x_tile = 8,
  needs = { "mma_k16" },
  template = "templates/gemm_tensor.cu.in",
  help = "Y = activation(gate) * up of two linears in one launch, on tensor cores, batch 1 to 64",
  -- atomic and owned sums are of one row group, not of a pair
  tunables = gemm_tensor_tunables({ "atomic", "owned" }),
  constraint = gemm_tensor_allows,
}
