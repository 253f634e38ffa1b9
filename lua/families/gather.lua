-- gather: rows of a packed matrix by their numbers, as an embedding is asked for them:
-- templates/gather.cu.in.
-- The first value of a tunable is its default.

return {
  name = "gather",
  op = "gather",
  template = "templates/gather.cu.in",
  help = "rows of W by their numbers, the rotation undone: the look-up of a packed embedding",
  tunables = {
    tunable("warps", { 8, 4, 16, 32 }),
    tunable("blocks", { 1, 2, 4 }),
    tunable("pdl", { 0, 1 }),
  },
  constraint = function(problem, t)
    if t.warps * t.blocks > 64 then return false, "a multiprocessor holds at most 64 warps" end
    return pdl_allows(problem, t)
  end,
}
