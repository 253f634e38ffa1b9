-- experts-glu on tensor cores: experts_tensor of up and gate, and the gated linear unit of both.
-- The first value of a tunable is its default.

return {
  name = "experts_glu_tensor",
  op = "experts-glu",
  path = "tensor",
  rank = 1,
  x_tile = 8,
  needs = { "mma_k16" },
  template = "templates/experts_tensor.cu.in",
  help = "Y = activation(gate) * up of each assignment's expert in one launch, on tensor cores",
  tunables = experts_tensor_tunables(),
  constraint = experts_allow,
}
