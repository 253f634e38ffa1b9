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
  tunables = experts_cuda_tunables(),
  constraint = experts_allow,
}
