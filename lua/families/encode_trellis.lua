-- encode_trellis: codes of a trellis by Viterbi's algorithm: templates/encode_trellis.cu.in.
-- The first value of a tunable is its default.

return encoder("trellis",
  "the codes of weights by a trellis quantizer, circular sequences, as the CPU finds them", {
  tunable("warps", { 16, 32, 8, 4 }),
  { name = "pairs", tag = "p", values = { 0, 1, 2, 4, 8, 16, 32 },
    help = "pairs of sequences a block has in flight; 0: as suits the linear" },
  { name = "keep", tag = "s", values = { 0, 16, 64, 256 },
    help = "steps whose sums are kept together; 0: as many as fit" },
})
