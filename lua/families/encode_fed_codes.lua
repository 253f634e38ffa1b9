-- encode_fed_codes: scalars and pairs with error feedback: templates/encode_fed_codes.cu.in.
-- The first value of a tunable is its default.

return {
  name = "encode_fed_codes",
  op = "encode-fed",
  form = "codes",
  path = "fed-codes",
  template = "templates/encode_fed_codes.cu.in",
  help = "codes of weights by a quantizer of scalars or pairs, errors of each fed forward " ..
    "into those behind it, as the CPU finds them at first",
  tunables = {
    tunable("warps", { 4, 8, 2 }),
  },
}
