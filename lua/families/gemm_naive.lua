-- gemm for readers and for checks: one warp a row, no tricks: templates/gemm_naive.cu.in.
-- Frozen: it is compared with the families that are tuned, and changes only with the packed layout.

return {
  name = "gemm_naive",
  op = "gemm",
  form = "rows",
  path = "naive",
  reference = true,
  template = "templates/gemm_naive.cu.in",
  help = "Y = r (X~ W^T) + bias + residual, weight by weight as the layout is written down: " ..
    "to read, and to check by",
  tunables = { tunable("warps", { 8, 4 }), tunable("blocks", { 1, 2 }) },
}
