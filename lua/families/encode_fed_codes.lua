-- encode_fed_codes: scalars and pairs with error feedback: templates/encode_fed_codes.cu.in.
-- The first value of a tunable is its default.

return fed_encoder("codes",
  "codes of weights by a quantizer of scalars or pairs, errors of each fed forward " ..
  "into those behind it, as the CPU finds them at first", {
  tunable("warps", { 4, 8, 2 }),
})
