-- encode_stages: codes of vectors in stages: templates/encode_stages.cu.in.
-- The first value of a tunable is its default.

return encoder("stages",
  "the codes of vectors that are sums of several codewords, by a beam, " ..
  "as the CPU finds them", {
  tunable("warps", { 4, 8, 2 }),
  { name = "each", tag = "e", values = { 4, 2, 1 }, help = "targets a warp" },
})
