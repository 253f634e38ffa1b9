-- encode_codes: nearest codewords of vector and scalar quantizers: templates/encode_codes.cu.in.
-- The first value of a tunable is its default.

return {
  name = "encode_codes",
  op = "encode",
  form = "codes",
  path = "codes",
  template = "templates/encode_codes.cu.in",
  help = "the codes of weights by a vector or scalar quantizer, each the nearest, " ..
    "as the CPU finds them",
  tunables = {
    tunable("warps", { 8, 16, 4 }),
    { name = "each", tag = "e", values = { 4, 1, 2, 8 }, help = "targets a thread" },
  },
}
