-- experts on tensor cores: stacks of linears among which a router chooses:
-- templates/experts_tensor.cu.in.
-- The first value of a tunable is its default.

return {
  name = "experts_tensor",
  op = "experts",
  path = "tensor",
  rank = 1,
  x_tile = 8,
  needs = { "mma_k16" },
  template = "templates/experts_tensor.cu.in",
  help = "Y = r (X~ W^T) + bias of each assignment's expert on tensor cores",
  tunables = experts_tensor_tunables(),
  constraint = experts_allow,
}
