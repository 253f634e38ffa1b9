-- gemm-glu on CUDA cores: gemm_cuda of up and gate, and the gated linear unit of both.
-- The first value of a tunable is its default.

return {
  name = "gemm_glu_cuda",
  op = "gemm-glu",
  path = "cuda",
  rank = 2,
  template = "templates/gemm_cuda.cu.in",
  help = "Y = activation(gate) * up of two linears in one launch, on CUDA cores, batch 1 to 16",
  tunables = gemm_glu_tunables(
    tunable("warps", { 0, 8, 16, 24, 32 },
      "warps a block; 0: 16, or 8 where more than 4 rows of x need the registers"),
    tunable("runs", { 0, 1, 2 })),
  constraint = function(problem, t)
    if problem.batch > 16 then
      return false, "CUDA cores take at most 16 batch rows; use the tensor path"
    end
    return gemm_allows(problem, t)
  end,
}
