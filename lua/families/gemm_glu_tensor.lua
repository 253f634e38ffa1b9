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
  tunables =
    gemm_glu_tunables(tunable("warps", { 16, 8, 24, 32 }), tunable("runs", { 0, 1, 2, 4 })),
  constraint = function(problem, t)
    if t.warps * t.blocks > 32 and problem.batch > 8 then
      return false, "more than 8 batch rows need more registers than 32 warps have"
    end
    return gemm_allows(problem, t)
  end,
}
