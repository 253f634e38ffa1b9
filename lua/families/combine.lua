-- combine: the weighted sum of a token's experts: templates/combine.cu.in.
-- The first value of a tunable is its default.

return {
  name = "combine",
  op = "combine",
  template = "templates/combine.cu.in",
  help = "the sum of the outputs of each token's experts by the router's weights, in one order",
  tunables = { tunable("warps", { 4, 8, 2, 16 }), tunable("pdl", { 0, 1 }) },
  constraint = pdl_allows,
}
