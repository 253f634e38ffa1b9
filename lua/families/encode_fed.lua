-- encode_fed: codes of a trellis with error feedback: templates/encode_fed.cu.in.
-- The first value of a tunable is its default.

return {
  name = "encode_fed",
  op = "encode-fed",
  form = "trellis",
  path = "fed",
  template = "templates/encode_fed.cu.in",
  help = "the codes of weights by a trellis quantizer, errors of columns fed forward into those " ..
    "behind them, as the CPU finds them",
  tunables = {
    tunable("warps", { 16, 8, 4 }),
    { name = "pairs", tag = "p", values = { 0, 1, 2, 4 },
      help = "pairs of sequences a block has in flight; 0: as many as fit" },
  },
}
