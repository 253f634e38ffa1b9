-- attend: one token of each sequence attends to those before it: templates/attend.cu.in.
-- The first value of a tunable is its default.

return {
  name = "attend",
  op = "attend",
  template = "templates/attend.cu.in",
  help = "rotary positions, the cache of keys and values, and attention of one new token",
  tunables = {
    tunable("warps", { 8, 4, 16 }),
    { name = "heads", tag = "q", values = { 4, 1, 2, 8 }, help = "heads that share a key at once" },
    tunable("pdl", { 0, 1 }),
  },
  constraint = function(problem, t)
    if t.heads * problem.k > 1024 then return false, "a lane has at most 32 sums" end
    return pdl_allows(problem, t)
  end,
}
