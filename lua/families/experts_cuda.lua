-- experts on CUDA cores: stacks of linears among which a router chooses:
-- templates/experts_cuda.cu.in.
-- The first value of a tunable is its default.

return {
  name = "experts_cuda",
  op = "experts",
  path = "cuda",
  rank = 2,
  template = "templates/experts_cuda.cu.in",
  help = "Y = r (X~ W^T) + bias of each assignment's expert on CUDA cores",
  tunables = gemm_tunables(
    tunable("warps", { 0, 8, 16, 32 },
      "warps a block; 0: 16, or 8 where tiles of more than 4 rows need the registers"),
    tunable("runs", { 0, 1, 2 }),
    { "atomic", "owned", "staged" }),
  constraint = experts_allow,
}
