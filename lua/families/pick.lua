-- pick: the likeliest token of each sequence, and its row of a 16-bit embedding:
-- templates/pick.cu.in.  The first value of a tunable is its default.

return {
  name = "pick",
  op = "pick",
  template = "templates/pick.cu.in",
  help = "the next token: the largest logit, or one that is given, and its row of an embedding",
  tunables = { tunable("warps", { 32, 16, 8 }), tunable("pdl", { 0, 1 }) },
  constraint = pdl_allows,
}
