-- encode_codes: nearest codewords of vector and scalar quantizers: templates/encode_codes.cu.in.
-- The first value of a tunable is its default.

return encoder("codes",
  "the codes of weights by a vector or scalar quantizer, each the nearest, " ..
  "as the CPU finds them", {
  tunable("warps", { 8, 16, 4 }),
  { name = "each", tag = "e", values = { 4, 1, 2, 8 }, help = "targets a thread" },
})
