-- encode_fed_vectors: vectors with error feedback: templates/encode_fed_vectors.cu.in.
-- The first value of a tunable is its default.

return {
  name = "encode_fed_vectors",
  op = "encode-fed",
  form = "vectors",
  path = "fed-vectors",
  template = "templates/encode_fed_vectors.cu.in",
  help = "the codes of vectors, of one table or in stages, errors of columns fed forward into " ..
    "those behind them, as the CPU finds them",
  tunables = {
    tunable("warps", { 4, 8 }),
  },
}
