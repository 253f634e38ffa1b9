-- experts-glu on CUDA cores: experts_cuda of up and gate, and the gated linear unit of both.
-- The first value of a tunable is its default.

return {
  name = "experts_glu_cuda",
  op = "experts-glu",
  path = "cuda",
  rank = 2,
  template = "templates/experts_cuda.cu.in",
  help = "Y = activation(gate) * up of each assignment's expert in one launch, on CUDA cores",
  tunables = experts_cuda_tunables(),
  constraint = experts_allow,
}
