-- dequant: packed weights to fp16 or bf16: templates/dequant.cu.in.
-- The first value of a tunable is its default.

return {
  name = "dequant",
  op = "dequant",
  template = "templates/dequant.cu.in",
  help = "W^ (times the row scales) as fp16 or bf16, for prefill with another GEMM",
  tunables = {
    tunable("warps", { 16, 8, 32 }),
    tunable("stages", { 2, 3, 1 }, "superblocks in flight a warp"),
    tunable("unfold", { 1, 0 }),
    tunable("copies", { 0, 1, 2, 4, 8, 16, 32 }),
    tunable("mulshift", { 1, 0 }),
    tunable("blocks", { 1, 2, 4 }),
  },
  constraint = function(problem, t)
    if t.warps * t.blocks > 64 then return false, "a multiprocessor holds at most 64 warps" end
    return true
  end,
}
