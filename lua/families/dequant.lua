-- dequant: packed weights to fp16 or bf16: templates/dequant.cu.in.
-- The first value of a tunable is its default.

return {
  name = "dequant",
  op = "dequant",
  template = "templates/dequant.cu.in",
  help = "W^ (times the row scales) as fp16 or bf16, for prefill with another GEMM",
  tunables = {
    { name = "warps", tag = "w", values = { 16, 8, 32 }, help = "warps a block" },
    { name = "unfold", tag = "f", values = { 1, 0 }, help = "1: tables hold what follows the narrowest cut; 0: plain codebooks" },
    { name = "copies", tag = "c", values = { 4, 1, 2, 8, 16, 32, 0 }, help = "copies of each table entry; 0: as many as fit" },
    { name = "mulshift", tag = "m", values = { 1, 0 }, help = "1: left shifts by multiplication" },
    { name = "blocks", tag = "b", values = { 1, 2, 4 }, help = "blocks a multiprocessor" },
  },
  constraint = function(problem, t)
    if t.warps * t.blocks > 64 then return false, "a multiprocessor holds at most 64 warps" end
    return true
  end,
}
