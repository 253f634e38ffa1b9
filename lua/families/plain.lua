-- plain: a linear that stays in 16 bits, for few rows of X: templates/plain.cu.in.
-- The first value of a tunable is its default.

return {
  name = "plain",
  op = "plain",
  template = "templates/plain.cu.in",
  help = "rows of X times a matrix in 16 bits, with a norm or a gated unit before it",
  tunables = {
    tunable("warps", { 8, 4, 16 }),
    { name = "rows", tag = "r", values = { 4, 2, 8 }, help = "rows of W at once, of a warp" },
    tunable("pdl", { 0, 1 }),
  },
  constraint = pdl_allows,
}
