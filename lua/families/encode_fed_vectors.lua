-- encode_fed_vectors: vectors with error feedback: templates/encode_fed_vectors.cu.in.
-- The first value of a tunable is its default.

return fed_encoder("vectors",
  "the codes of vectors, of one table or in stages, errors of columns fed forward into " ..
  "those behind them, as the CPU finds them", {
  tunable("warps", { 4, 8 }),
})
